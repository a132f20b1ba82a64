"""Folders that hold an adapter alone: its base model is loaded, the adapter merged into it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import MissingExtraError, PyriteError
from .json_lines import json_object

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

ADAPTER = "adapter_config.json"


def adapter_base(model: str, knob: str = "encoder.model") -> str | None:
    """The base model of the adapter in the folder `model`; None if it is no such folder.

    A folder that sentence-transformers saved with its adapter inside is a whole model to it, and
    None here too. Raises PyriteError, naming the key `knob`, if the adapter names no base, and
    MissingExtraError without the package `peft`.
    """
    path = Path(model) / ADAPTER
    if not path.is_file():
        return None
    if importlib.util.find_spec("peft") is None:
        raise MissingExtraError(f"{knob}={model}, an adapter,", "peft", "lora")
    if (Path(model) / "modules.json").is_file():
        return None
    base = json_object(path.read_bytes(), str(path)).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise PyriteError(
            f"{path}: names no base model; set base_model_name_or_path there to a folder or a hub"
            f" id, or {knob} to a whole model"
        )
    return base


def merge_adapters(model: SentenceTransformer) -> None:
    """Add the adapters to the weights they stand beside, and take them away."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, BaseTunerLayer):
                child.merge()
                setattr(module, name, child.get_base_layer())
    transformer = model.transformers_model
    # without these the model would be saved as an adapter
    transformer._hf_peft_config_loaded = False
    del transformer.peft_config
    for parameter in model.parameters():
        parameter.requires_grad_(True)
