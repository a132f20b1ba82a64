"""LoRA: low-rank adapters that are trained in place of the weights, and merged into them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .train_config import LoraSection

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def add_lora(model: SentenceTransformer, section: LoraSection, seed: int) -> None:
    """Give `model` adapters and freeze everything else; the first weights follow from `seed`."""
    from peft import LoraConfig

    config = LoraConfig(
        r=section.r,
        lora_alpha=section.alpha,
        lora_dropout=section.dropout,
        target_modules=list(section.target_modules) or "all-linear",
    )
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        model.add_adapter(config)


def merge_lora(model: SentenceTransformer) -> None:
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
