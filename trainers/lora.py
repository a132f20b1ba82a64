"""LoRA: low-rank adapters that are trained in place of the weights."""

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
