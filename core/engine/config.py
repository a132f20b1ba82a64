"""Where the blocks of a run are computed, and what a worker of a cluster may take."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from pydantic import Field

from ..config import Section
from ..used import only

EngineName = Literal["local", "ray"]
C = TypeVar("C", bound=Section)


class RayConfig(Section):
    """The workers of `engine: ray`. No key of it changes a result, or the key of one."""

    address: str | None = Field(
        None, description="host:port of a cluster, auto: the one of this node; null: start one here"
    )
    workers: int = Field(0, ge=0, description="workers; 0: as many as the cluster has room for")
    cpus_per_worker: float = Field(1.0, ge=0, description="CPUs of a worker; 0.5: two share one")
    gpus_per_worker: float = Field(0.0, ge=0, description="GPUs of a worker; 0.25: four share one")
    blocks_per_worker: int = Field(2, ge=1, description="blocks under way for each worker")
    object_store_mib: int = Field(
        1024, ge=128, description="MiB of the object store that blocks under way may take"
    )
    tries: int = Field(4, ge=1, description="times that a block is begun before its run fails")
    shared_cache: bool | None = Field(
        None,
        description="every node sees cache_dir under the same path, so vectors are mapped and not"
        " sent; null: where there is one node",
    )
    runtime_env: dict[str, Any] = Field({}, description="Ray's runtime environment of the workers")


RAY_IS_USED = only("ray", "engine", "ray")


def anywhere(config: C) -> C:
    """The configuration as `engine: local` has it: what a manifest says is the same for all.

    Nor does it say what `ray.runtime_env` may hold, such as a token in an environment variable.
    """
    return config.model_copy(update={"engine": "local", "ray": RayConfig()})
