"""A session with Ray: connected once for each process, and closed with it.

What there is for the stages of a run, all of it for `engine: ray` only:

- `open_session(config.ray, config.threads)`: the process's `Session`; starts or finds the cluster
  at the first call and prints what it has.
- `session.workers()`: how many workers there is room for.
- `session.share(value)`: one copy of `value` in the object store, counted against its bound;
  `shared.get()` on a worker maps it.
- `session.plan(text)`: a line of the resource plan; print it before the stage that it is of.
- `use_threads(session.threads)`, in a `make`: the threads of torch on that worker.
- `blocks.on_workers(session, make, blocks, ...)`: `make()(block)` of each block on the workers,
  `(number, result)` as they come; see `blocks.py`.
- `close_session()`: leave the cluster. Nobody has to: the end of the process does it too.

The driver alone writes files. A worker gets its blocks through the object store and gives arrays
back, so it needs no file of the driver's, and a worker that dies costs the block it was at.
"""

from __future__ import annotations

import logging
import math
import os
import pickle
import socket
import weakref
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from ..encoders.common import require
from ..errors import PyriteError
from .config import RayConfig

logger = logging.getLogger(__name__)

T = TypeVar("T")
MIB = 2**20
_CONNECT_S = 10.0
_open: Session | None = None


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Shared(Generic[T]):
    """A value in the object store; passed to a worker it is a few bytes."""

    ref: Any

    def get(self) -> T:
        """The value; arrays are mapped read-only."""
        import ray

        value: T = ray.get(self.ref)
        return value


@dataclass
class Session:
    """A connection to a cluster, and what a run may take of it."""

    config: RayConfig
    threads: int  # of a worker
    cpus: float
    gpus: float
    node: str  # the driver's
    nodes: int
    ours: bool  # started or joined here, so closed here
    shared_bytes: int = field(default=0, init=False)
    # what holds workers for as long as it is used, by what it is of: two of a kind would not fit
    holders: WeakValueDictionary[Hashable, Any] = field(
        default_factory=WeakValueDictionary, init=False
    )

    def workers(self) -> int:
        """How many workers to ask for: `ray.workers`, or as many as there is room for.

        Raises PyriteError if there is no room for one.
        """
        return self.config.workers or self.room()

    def room(self) -> int:
        """How many workers the cluster holds as it is, at least 1 and at most `ray.workers`.

        Raises PyriteError if there is no room for one.
        """
        room = self.config.workers or math.inf
        for key, kind, each, there in (
            ("cpus_per_worker", "CPUs", self.config.cpus_per_worker, self.cpus),
            ("gpus_per_worker", "GPUs", self.config.gpus_per_worker, self.gpus),
        ):
            if each > there:
                raise PyriteError(
                    f"ray.{key}={each:g} but the cluster has {there:g} {kind}; set ray.{key} to at"
                    f" most {there:g} or add nodes"
                )
            if each:
                room = min(room, there // each)
        return 1 if math.isinf(room) else int(room)

    def share(self, value: T) -> Shared[T]:
        """Put `value` into the object store once, for all workers, for as long as it is held here.

        Raises PyriteError if all that is shared takes more than half of `ray.object_store_mib`.
        """
        import ray

        size = len(pickle.dumps(value, protocol=5))
        most = self.store_bytes // 2
        if self.shared_bytes + size > most:
            needed = -(-2 * (self.shared_bytes + size) // MIB)
            raise PyriteError(
                f"ray.object_store_mib={self.config.object_store_mib}: what all workers share takes"
                f" {(self.shared_bytes + size) / MIB:.0f} MiB, at most half of it; set"
                f" ray.object_store_mib to at least {needed}"
            )
        shared: Shared[T] = Shared(ray.put(value))
        self.shared_bytes += size
        weakref.finalize(shared, self._release, size)
        return shared

    def _release(self, size: int) -> None:
        self.shared_bytes -= size

    @property
    def sees_files(self) -> bool:
        """Whether workers can map the files of the driver's cache."""
        shared = self.config.shared_cache
        return self.nodes == 1 if shared is None else shared

    @property
    def store_bytes(self) -> int:
        """What may lie in the object store at a time, in bytes."""
        return self.config.object_store_mib * MIB

    def plan(self, text: str) -> None:
        """Print one line of the resource plan."""
        logger.info("ray: %s", text)


def open_session(config: RayConfig, threads: int = 0) -> Session:
    """The session of this process; opened at the first call, and again for other settings.

    `threads` of a worker, 0: one for each of its CPUs. A process that is connected to Ray already
    keeps that connection. Raises MissingExtraError without Ray, and PyriteError if the cluster
    cannot be reached.
    """
    global _open  # noqa: PLW0603  # Ray itself is one for each process
    threads = threads or max(1, int(config.cpus_per_worker))
    if _open is not None and _connected():
        if (_open.config, _open.threads) == (config, threads):
            return _open
        if _open.config.address == config.address and not _open.ours:
            _open = _session(config, threads, ours=False)
            return _open
        close_session()
    require("engine=ray", "ray", "ray")
    ours = not _connected()
    if ours:
        _connect(config)
    try:
        _open = _session(config, threads, ours)
    except PyriteError:
        if ours:
            _leave()
        raise
    return _open


def use_threads(threads: int) -> None:
    """Have torch compute with `threads` threads in this process, however many CPUs it has."""
    import torch

    torch.set_num_threads(threads)


def close_session() -> None:
    """Leave the cluster, and end it if it was started here."""
    global _open  # noqa: PLW0603
    if _open is not None and _open.ours:
        _leave()
    _open = None


def _leave() -> None:
    import ray

    ray.shutdown()


def _connected() -> bool:
    import ray

    return bool(ray.is_initialized())


def _session(config: RayConfig, threads: int, ours: bool) -> Session:
    import ray

    there = ray.cluster_resources()
    nodes = sum(bool(node["Alive"]) for node in ray.nodes())
    session = Session(
        config,
        threads,
        float(there.get("CPU", 0.0)),
        float(there.get("GPU", 0.0)),
        ray.get_runtime_context().get_node_id(),
        nodes,
        ours,
    )
    room, workers = session.room(), session.workers()
    less = f" (room for {room} of them now)" if room < workers else ""
    session.plan(
        f"{nodes} node{'s' * (nodes != 1)}, {session.cpus:g} CPUs, {session.gpus:g} GPUs;"
        f" {workers} worker{'s' * (workers != 1)}{less} of {config.cpus_per_worker:g} CPUs,"
        f" {config.gpus_per_worker:g} GPUs and {threads} threads; at most"
        f" {config.object_store_mib} MiB of the object store"
    )
    return session


def _connect(config: RayConfig) -> None:
    import ray

    # nothing is sent to anybody because of a library that is used inside another
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # its native side writes to this terminal what its log files say as well
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    common: dict[str, Any] = {
        "logging_level": logging.ERROR,
        "log_to_driver": False,
        "runtime_env": config.runtime_env or None,
    }
    name = "ray.address" if config.address else "RAY_ADDRESS"
    address = config.address or os.environ.get("RAY_ADDRESS")
    if address is None:
        cores = os.cpu_count() or 1
        ray.init(
            address="local",
            num_cpus=max(cores, math.ceil(config.workers * config.cpus_per_worker)),
            object_store_memory=config.object_store_mib * MIB,
            include_dashboard=False,
            **common,
        )
        return
    _check_address(address, name)
    try:
        ray.init(address=address, **common)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _unreachable(address, name, str(error).strip().partition("\n")[0]) from error


def _check_address(address: str, name: str = "ray.address") -> None:
    """Ray tries for minutes where a look at the port tells at once."""
    if "://" in address:
        raise PyriteError(
            f"{name}={address}: a client from outside cannot hold the files of a run; start"
            " the command on a node of the cluster with ray.address=auto (ray job submit)"
        )
    host, _, port = address.rpartition(":")
    if address == "auto":
        return
    if not host or not port.isdigit():
        raise PyriteError(f"{name}={address}: expected host:port or auto")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except OSError as error:
        raise _unreachable(address, name, error.strerror or str(error)) from error


def _unreachable(address: str, name: str, reason: str) -> PyriteError:
    return PyriteError(
        f"{name}={address}: no cluster answers there ({reason.rstrip('.')}); start one with ray"
        f" start --head, or unset {name} to start one on this machine"
    )
