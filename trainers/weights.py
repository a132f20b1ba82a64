"""Weights that a trainer publishes while it trains: whole, or not there."""

from __future__ import annotations

import copy
import logging
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.adapters import merge_adapters
from ..core.digest import digest_json
from ..core.errors import PyriteError
from ..core.store import Manifest, discard, publish, scratch_folder, sync_folder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)

SCHEMA = 1
_NAME = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True, slots=True)
class Weights:
    """Published weights of a step; `key` is a digest of their files, `training` of its settings."""

    folder: Path
    step: int
    key: str
    training: str


def publish_weights(
    model: SentenceTransformer, parent: Path, step: int, training: str
) -> tuple[Weights, bool]:
    """Write `model` to `parent/step-N` by one rename; whether these very weights were there.

    What a killed training published of the same step stays if it is the same.
    """
    target = parent / f"step-{step:08d}"
    with scratch_folder(target) as scratch:
        _merged(model).save(str(scratch), create_model_card=False)
        _sync(scratch)
        manifest = Manifest.write(
            scratch, schema=SCHEMA, kind="weights", step=step, training=training
        )
        weights = _weights(target, manifest)
        there = _read(target)
        if there is not None and there == weights and Manifest(manifest.data).intact(target):
            return weights, True
        discard(target)
        shutil.rmtree(target, ignore_errors=True)
        publish(scratch, target)
    return weights, False


def _merged(model: SentenceTransformer) -> SentenceTransformer:
    if not getattr(model.transformers_model, "peft_config", None):
        return model
    merged = copy.deepcopy(model)
    merge_adapters(merged)
    return merged


def _sync(folder: Path) -> None:
    """Make files durable that somebody else's code has written."""
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as handle:
                os.fsync(handle.fileno())


def newest_weights(parent: Path, training: str) -> Weights | None:
    """The newest published weights of a training; their files are not read."""
    for path in _folders(parent):
        found = _read(path)
        if found is not None and found.training == training:
            return found
    return None


def check_weights(weights: Weights) -> None:
    """Raise PyriteError if a file of published weights is not what its manifest says."""
    manifest = Manifest.read(weights.folder)
    if manifest is None or not manifest.intact(weights.folder):
        raise PyriteError(f"{weights.folder}: weights that are not whole; they are left out")


def remove_weights(parent: Path, keep: int) -> None:
    """Remove all but the `keep` newest."""
    for path in _folders(parent)[keep:]:
        _remove(path)


def remove_weights_after(parent: Path, step: int) -> None:
    """Remove those of later steps than `step`."""
    for path in _folders(parent):
        if _step_of(path) > step:
            _remove(path)


def _remove(folder: Path) -> None:
    # the manifest first, so that nobody takes half of them for whole
    discard(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _step_of(folder: Path) -> int:
    return int(folder.name.partition("-")[2])


def _folders(parent: Path) -> list[Path]:
    """Folders of published weights, the newest first."""
    found = [path for path in parent.glob("step-*") if _NAME.fullmatch(path.name)]
    return sorted(found, key=_step_of, reverse=True)


def _read(folder: Path) -> Weights | None:
    try:
        manifest = Manifest.read(folder)
    except PyriteError as error:
        logger.warning("%s", error)
        return None
    if manifest is None:
        return None
    try:
        return _weights(folder, manifest) if manifest.data["kind"] == "weights" else None
    except (KeyError, TypeError, ValueError, AttributeError):
        logger.warning("%s: the manifest is damaged, and the weights left out", folder)
        return None


def _weights(folder: Path, manifest: Manifest) -> Weights:
    data = manifest.data
    digests = {name: entry["digest"] for name, entry in data["files"].items()}
    return Weights(folder, int(data["step"]), digest_json(digests), str(data["training"]))
