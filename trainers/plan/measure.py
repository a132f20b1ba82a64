"""The rates of this machine: measured once by a short calibration, and kept in the cache."""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import logging
import math
import os
import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ...core.dataset import EMBEDDED
from ...core.digest import digest_file, digest_json
from ...core.encoder import Encoder
from ...core.sbert import EncoderConfig
from ...core.stdlib_dataset import collect
from ...core.store import versions, write_bytes, write_json
from ..run_config import TrainConfig
from .measure_ann import measure_ann
from .measure_mining import measure_dense, measure_rest
from .measure_model import measure_encode, measure_tokens, measure_training
from .rates import Line, Rates
from .shape import ModelShape
from .sizes import Sizes
from .stopwatch import Stopwatch

logger = logging.getLogger(__name__)

SCHEMA = 2
FOLDER = "plan-rates"
_WRITE_BYTES = 32 << 20
_SMALL_FILES = 8
# a server's speed and price are not this machine's
_ASKED = ("openai",)


def measured_rates(
    config: TrainConfig,
    encoder: Encoder,
    shape: ModelShape | None,
    sizes: Sizes,
    load_seconds: float,
    again: bool = False,
) -> Rates:
    """The rates of this machine for this configuration: read, or measured and written.

    `again` measures what is there anew. Takes about half a minute on two cores for MiniLM.
    """
    path = config.cache / FOLDER / f"{_key(config, encoder, sizes)}.json"
    if path.is_file() and not again:
        return Rates.from_json(json.loads(path.read_text(encoding="utf-8")))
    logger.info("measuring this machine with small batches of the configured work")
    with tempfile.TemporaryDirectory(prefix="pyrite-plan-") as scratch, _quiet():
        rates = _measure(config, encoder, shape, sizes, load_seconds, Path(scratch))
    write_json(path, rates.as_json())
    return rates


def hardware(device: str) -> str:
    """Processor and cores, and the GPU where one is computed on."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    found = f"{name}, {os.cpu_count()} cores"
    if device.startswith("cuda"):
        import torch

        found += f", {torch.cuda.get_device_name(device.partition(',')[0])}"
    return found


def _key(config: TrainConfig, encoder: Encoder, sizes: Sizes) -> str:
    train = config.train
    # twice the length is another rate, a few tokens are not
    lengths = [round(math.log2(f.mean_tokens)) for f in (sizes.document, sizes.query)]
    return digest_json(
        {
            "schema": SCHEMA,
            "hardware": hardware(config.encoder.device),
            "versions": versions(),
            "encoder": encoder.fingerprint,
            "settings": config.encoder.model_dump(mode="json", include=_OF_ENCODER),
            "threads": config.threads,
            "lengths": lengths,
            "known": sizes.where is not None,
            "retrieve": config.retrieve.model_dump(mode="json"),
            "eval": config.eval.model_dump(mode="json"),
            "filters": config.filters.model_dump(mode="json"),
            "sampler": config.sampler.model_dump(mode="json"),
            "block": config.block_queries,
            "train": train.model_dump(mode="json", exclude={"steps", "epochs", "save_every"}),
        }
    )


_OF_ENCODER = {name for name in EncoderConfig.model_fields if name not in ("store",)}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress and the log of the stages that are only tried."""
    ours = logging.getLogger("pyrite")
    before = ours.level
    ours.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        ours.setLevel(before)


def _measure(
    config: TrainConfig,
    encoder: Encoder,
    shape: ModelShape | None,
    sizes: Sizes,
    load_seconds: float,
    scratch: Path,
) -> Rates:
    dimension = encoder.dimension
    depth = min(config.retrieve.depth, sizes.documents)
    most = config.encoder.token_budget
    computed = config.encoder.kind not in (*_ASKED, "precomputed")
    encode: dict[str, float | None] = {"document": None, "query": None}
    if computed:
        encode = {
            "document": measure_encode(
                encoder, shape, sizes.document, "document", sizes.documents, most
            ),
            "query": measure_encode(encoder, shape, sizes.query, "query", sizes.queries, most),
        }
    dense = measure_dense(config, dimension, depth)
    ann = measure_ann(config, dimension, depth)
    rest = measure_rest(config, sizes, dimension, dense, scratch)
    # last: it imports what mining would have to import itself
    train: tuple[float | None, float, float] = (None, 0.0, 0.0)
    forward = encode["document"]
    if shape is not None and forward is not None and config.train.kind == "encoder":
        train = measure_training(config, shape, sizes, forward, scratch / "train")
    if config.dataset.path == EMBEDDED:
        # the library is read at every opening, to see whether it has changed
        with Stopwatch() as watch:
            collect(_library())
        rest = {**rest, **{k: Line(watch.seconds) + rest[k] for k in ("read", "reopen")}}
    write, sync = _disk(scratch)
    return Rates(
        load=load_seconds,
        encode=encode,
        tokens=measure_tokens(encoder, sizes.document) if computed else 0.0,
        train=train[0],
        train_start=train[1],
        save=train[2],
        dense=dense,
        build=ann.build,
        probe=ann.probe,
        table=ann.table,
        write=write,
        sync=sync,
        hardware=hardware(config.encoder.device),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        versions=versions(),
        **rest,
    )


def _library() -> Path:
    import sysconfig

    return Path(sysconfig.get_paths()["stdlib"])


def _disk(scratch: Path) -> tuple[float, float]:
    """Bytes written, synced and hashed in a second, and seconds for a small file."""
    with Stopwatch() as small:
        for at in range(_SMALL_FILES):
            write_bytes(scratch / f"small-{at}", b"0")
    with Stopwatch() as large:
        write_bytes(scratch / "large", bytes(_WRITE_BYTES))
        digest_file(scratch / "large")
    sync = small.seconds / _SMALL_FILES
    return _WRITE_BYTES / max(large.seconds - sync, 1e-6), sync
