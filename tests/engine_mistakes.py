"""Mistakes in `engine: ray`, for `mistakes.CASES`; none of them starts a cluster."""

from __future__ import annotations

from mistake_case import Case


def engine_cases() -> dict[str, Case]:
    return {
        "no such engine": Case(("engine='spark'", "'local' or 'ray'"), ("engine=spark",)),
        "workers without an engine": Case(
            ("ray.workers has no effect with engine=local", "set engine=ray"), ("ray.workers=2",)
        ),
        "a store that is too small": Case(
            ("ray.object_store_mib=9", "128"), ("engine=ray", "ray.object_store_mib=9")
        ),
        "no cluster there": Case(
            ("ray.address=127.0.0.1:1", "no cluster answers there", "ray start --head"),
            ("engine=ray", "ray.address=127.0.0.1:1"),
        ),
        "a cluster from outside": Case(
            ("ray.address=ray://head:10001", "on a node of the cluster", "ray.address=auto"),
            ("engine=ray", "ray.address=ray://head:10001"),
        ),
        "an address without a port": Case(
            ("ray.address=head", "expected host:port or auto"), ("engine=ray", "ray.address=head")
        ),
    }
