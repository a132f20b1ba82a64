"""The recipes of `recipes.py`: what each changes in the configuration that all share."""

from __future__ import annotations

from typing import Any

Overrides = dict[str, Any]

BASE, IN_BATCH, ST_MINED = "base", "in_batch", "st_mined"


def merged(*parts: Overrides) -> Overrides:
    """Nested mappings in one, later values over earlier; none of `parts` is changed."""
    out: Overrides = {}
    for part in parts:
        for key, value in part.items():
            inner = out.get(key)
            both = isinstance(inner, dict) and isinstance(value, dict)
            out[key] = merged(inner, value) if both else value
    return out


SIMANS: Overrides = {
    "filters": {"percent": 0.95},
    "sampler": {"name": "simans", "n": 8},
    "train": {"draw": "rotate"},
}
# `in_batch_half` is the control of `simans_half`: what interpolation gives without mined negatives
RECIPES: dict[str, Overrides] = {
    IN_BATCH: {},
    ST_MINED: {},
    # configs/stdlib.yaml: two negatives, drawn once
    "default": {"filters": {"percent": 0.95}, "sampler": {"name": "simans"}},
    "window": {
        "filters": {"percent": None},
        "sampler": {"name": "window", "n": 8, "window_min": 10, "window_max": 60},
        "train": {"draw": "rotate"},
    },
    "simans": SIMANS,
    "in_batch_half": {"train": {"base_weight": 0.5}},
    "simans_half": merged(SIMANS, {"train": {"base_weight": 0.5}}),
    "simans_distil": merged(SIMANS, {"train": {"distil_base": 1.0}}),
    "simans_lora": merged(SIMANS, {"train": {"lora": {"r": 16}, "learning_rate": 5e-4}}),
    "simans_slow": merged(SIMANS, {"train": {"learning_rate": 1e-5}}),
    "simans_soft": merged(SIMANS, {"train": {"loss": {"name": "soft_info_nce"}}}),
    "softmax_sample": {
        "filters": {"percent": 0.95},
        "sampler": {"name": "softmax", "n": 8},
        "train": {"draw": "sample"},
    },
}
# these see no mined negatives at all
WITHOUT_NEGATIVES = {IN_BATCH, "in_batch_half"}
