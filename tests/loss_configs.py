"""Every loss in every variant, for tests that must hold for all of them."""

from __future__ import annotations

from typing import Any

# softmax losses take every direction, the others one
SOFTMAX: list[dict[str, Any]] = [
    {"name": "info_nce"},
    {"name": "info_nce", "similarity": "dot", "temperature": 1.0},
    {"name": "hardness", "where": "hard"},
    {"name": "hardness", "where": "in_batch", "alpha": 9.0},
    {"name": "hardness", "where": "all"},
    {"name": "debiased", "tau_plus": 0.1, "temperature": 0.5},
    {"name": "hcl", "tau_plus": 0.05, "temperature": 0.5},
    {"name": "hcl", "tau_plus": 0.0, "beta": 0.5, "detach": True},
    {"name": "soft_info_nce", "alpha": 0.6, "beta": 1.4},
    {"name": "gist"},
    {"name": "gist", "margin": 0.2, "relative": True},
    {"name": "dclr", "phi": 0.2, "noise": 0.0},
    {"name": "cluster_ns", "weight": 0.3},
]
SINGLE: list[dict[str, Any]] = [
    {"name": "ccl", "margin": 0.1},
    {"name": "pairwise", "temperature": 0.5},
    {"name": "pairwise", "weight": 0.3},
    {"name": "pairwise", "weight": 0.0},
    {"name": "triplet"},
    {"name": "triplet", "margin": 0.6, "hardest": 2},
    {"name": "margin_mse"},
    {"name": "kl", "temperature": 0.2, "spread": 2.0},
    {"name": "cosent"},
    {"name": "nn_pu", "prior": 0.3, "temperature": 0.5},
    {"name": "lambda_rank", "temperature": 0.3},
    {"name": "lambda_rank", "metric": "ndcg", "cut": 2, "sigma": 2.0, "temperature": 0.3},
]
WAYS: list[dict[str, Any]] = [
    {"directions": ["q2d"]},
    {"directions": ["d2q"]},
    {"directions": ["q2d", "d2q"]},
    {"directions": ["q2d", "d2q"], "partition": "per_direction"},
    {"directions": ["q2d", "d2q", "q2q", "d2d"]},
]
ALL = [{**loss, **way} for loss in SOFTMAX for way in WAYS] + SINGLE


def named(config: dict[str, Any]) -> str:
    parts = (
        v if isinstance(v, str) else f"{k}={v}" for k, v in config.items() if k != "directions"
    )
    return "-".join([*parts, *config.get("directions", [])])
