"""Mistakes with negatives that are refreshed while training."""

from __future__ import annotations

from mistake_case import Case


def refresh_cases() -> dict[str, Case]:
    def sync(override: str, *says: str, verb: str = "mine") -> Case:
        return Case(says, ("refresh.mode=sync", override), verb=verb)

    off = "set refresh.mode=off"
    return {
        "refresh without a mode": Case(
            ("refresh.every_steps has", "refresh.mode=off", "set refresh.mode=sync or async"),
            ("refresh.every_steps=50",),
        ),
        "refresh in no mode": Case(("refresh.mode='often'", "'sync'"), ("refresh.mode=often",)),
        "refresh of an age that cannot be": sync(
            "refresh.max_age_steps=5", "refresh.max_age_steps", "remove it", "refresh.mode=async"
        ),
        "refresh stale at no age": Case(
            ("refresh.on_stale has no effect", "set refresh.max_age_steps"),
            ("refresh={mode: async, on_stale: stop}",),
        ),
        "refresh probes no choice": sync(
            "refresh.partial={kind: map, probe: 0.5}", "probe has no effect", "kind=map"
        ),
        "refresh bends no map": sync(
            "refresh.partial={kind: queries, landmarks: 9}",
            "landmarks has no effect",
            "kind=map or choose",
        ),
        "refresh in each step": sync(
            "refresh.every_steps=1", "refresh.every_steps=1", "train.num_workers=0", "at least 2"
        ),
        "refresh in two rhythms": sync(
            "refresh={mode: sync, every_steps: 9, trigger: {easy_share: 0.9}}",
            "refresh.every_steps has no effect",
            "refresh.trigger.min_steps",
        ),
        "refresh in an actor of no cluster": Case(
            ("refresher=ray with engine=local",), ("refresh={mode: async, refresher: ray}",)
        ),
        "refresh of replaced negatives": Case(
            ("refresh.mode=sync", "train.draw=replace", off),
            ("refresh.mode=sync", "train={draw: replace, negatives: 2}", "sampler.n=20"),
        ),
        "refresh of a query side": Case(
            ("refresh.mode=sync", "train.kind=query-side", off),
            ("refresh.mode=sync", "train={kind: query-side, loss: {name: lambda_rank}}"),
        ),
        "refresh moves clusters that nobody uses": sync(
            "refresh.cluster_rate=0.1", "refresh.cluster_rate has", "filters.max_per_cluster"
        ),
        "refresh moves clusters too far": sync("refresh.cluster_rate=2", "refresh.cluster_rate"),
        "refresh in more chunks than queries": sync(
            "refresh={mode: sync, every_steps: 2, chunk: 99}",
            "refresh.chunk=99",
            "15 training queries",
            "at most 15",
            verb="train",
        ),
        "refresh by no device": sync(
            "refresh={mode: sync, every_steps: 2, device: abacus}", "'abacus'", verb="train"
        ),
    }
