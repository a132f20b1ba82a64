"""Query encoders that belong to the document vectors of another model, as their manifest says."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from .errors import PyriteError
from .store import Manifest

KIND = "model"
FIELD = "document_encoder"


class DocumentEncoder(TypedDict):
    """The encoder of the documents: its name as configured, and the digest of its content."""

    model: str
    fingerprint: str


def document_encoder(model: str) -> DocumentEncoder | None:
    """Who encodes the documents for a query encoder in the folder `model`; None for any other."""
    folder = Path(model)
    if not folder.is_dir():
        return None
    try:
        manifest = Manifest.read(folder.resolve().parent)
    except PyriteError:
        # a file of this name beside a model need not be ours
        return None
    data = manifest.data if manifest is not None else None
    if not isinstance(data, dict) or data.get("kind") != KIND:
        return None
    found: DocumentEncoder | None = data.get(FIELD)
    return found


def refuse_query_encoder(model: str) -> None:
    """Raise PyriteError if `model` is a query encoder whose documents another model encodes."""
    found = document_encoder(model)
    if found is not None:
        raise PyriteError(
            f"encoder.model={model}: was trained for queries only, against documents encoded by"
            f" {found['model']}; set encoder.model={found['model']} and eval.query_model={model}"
        )
