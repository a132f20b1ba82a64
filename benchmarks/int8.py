"""Encoding on the CPU in fewer bits: speed, and what it costs in nDCG@10 and in neighbours.

    python benchmarks/int8.py --data SCIFACT [--documents 0] [--max-length 256] [--only int8]

MiniLM encodes the corpus and the judged queries of a BEIR folder in the same batches: by torch in
float32 (what all others are compared with) and bfloat16, by ONNX Runtime in float32 and int8, and
by int8 made otherwise. Each in a process of its own; reading, exporting and a first batch are not
timed. Vectors are kept in `--state`, so a killed run goes on. Whole SciFact: about 20 minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent))
from common import RESULTS, hardware, in_process, measured, report
from reference_points import THREADS

DEPTH, SPLIT, MEASURE = 100, "test", "ndcg@10"
STATE = Path(__file__).resolve().parent / ".state" / "int8"
REFERENCE = "torch float32"
# instructions that multiply 8-bit or bfloat16 numbers, as /proc/cpuinfo has them
FEATURES = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")


def config_of(options: argparse.Namespace, **fields: Any) -> Any:
    from pyrite.core.sbert import EncoderConfig

    return EncoderConfig(max_length=options.max_length, **fields)


def by_torch(options: argparse.Namespace, dtype: str) -> Any:
    from pyrite.core.sbert import SentenceTransformerEncoder

    return SentenceTransformerEncoder(config_of(options, dtype=dtype))


def by_torch_int8(options: argparse.Namespace) -> Any:
    """Linear layers by torch's own dynamic quantisation."""
    import torch

    encoder = by_torch(options, "float32")
    encoder.model = torch.ao.quantization.quantize_dynamic(
        encoder.model, {torch.nn.Linear}, dtype=torch.qint8
    )
    return encoder


def by_onnx(
    options: argparse.Namespace,
    precision: str,
    one_node: bool = True,
    exclude: str | None = None,
    **changes: Any,
) -> Any:
    """As `encoder.kind=onnx` has it, unless something is changed.

    `one_node`: attention in one node; `exclude`: part of the names of layers left in float32;
    `changes` are options of the quantiser.
    """
    from pyrite.core.digest import digest_json
    from pyrite.core.encoders import onnx_graph
    from pyrite.core.encoders.onnx import OnnxEncoder

    name = digest_json([precision, one_node, exclude, changes])
    if not one_node:
        onnx_graph.one_attention_node = lambda model: contextlib.nullcontext(False)
    if changes or exclude:
        onnx_graph._quantise = lambda source, target: quantised(source, target, exclude, changes)
    config = config_of(options, kind="onnx", onnx={"precision": precision})
    return OnnxEncoder(config, options.folder / "graphs" / name)


def quantised(source: Path, target: Path, exclude: str | None, changes: dict[str, Any]) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from pyrite.core.encoders import onnx_graph

    nodes = onnx.load(str(source)).graph.node
    left = [node.name for node in nodes if exclude and exclude in node.name]
    assert bool(left) == bool(exclude), exclude
    usual = {"weight_type": QuantType.QInt8, "per_channel": True, "reduce_range": True}
    with onnx_graph._without_root_warnings():
        quantize_dynamic(str(source), str(target), nodes_to_exclude=left, **{**usual, **changes})


CONTESTANTS: dict[str, Callable[[argparse.Namespace], Any]] = {
    REFERENCE: lambda o: by_torch(o, "float32"),
    "torch bfloat16": lambda o: by_torch(o, "bfloat16"),
    "torch int8": by_torch_int8,
    "onnx float32": lambda o: by_onnx(o, "float32"),
    "onnx int8": lambda o: by_onnx(o, "int8"),
    "onnx int8, attention in many nodes": lambda o: by_onnx(o, "int8", one_node=False),
    "onnx int8, weights of 8 bits": lambda o: by_onnx(o, "int8", reduce_range=False),
    "onnx int8, one scale for a matrix": lambda o: by_onnx(o, "int8", per_channel=False),
    "onnx int8, last layers float32": lambda o: by_onnx(o, "int8", exclude="/layer.5/"),
}


def opened(options: argparse.Namespace) -> tuple[Any, Any, Any]:
    """Corpus, queries and judgements; with `--documents` the first and all judged ones."""
    from part_corpus import write_part

    from pyrite.core.beir import open_beir

    part = options.folder / f"part-{options.documents}"
    cache = options.folder / "cache"
    if not part.is_dir():
        scratch = options.folder / "part.tmp"
        write_part(open_beir(options.data, cache, "drop"), scratch, options.documents)
        scratch.rename(part)
    dataset = open_beir(part, cache)
    return dataset.corpus, dataset.queries, dataset.qrels(SPLIT)


def encode(options: argparse.Namespace) -> Any:
    """Both tables by one contestant, into `folder`; returns what the corpus took."""
    import torch

    from pyrite.core.encode_blocks import encode_texts

    torch.set_num_threads(THREADS)
    corpus, queries, _ = opened(options)
    encoder = CONTESTANTS[options.contestant](options)
    texts = corpus.texts(slice(0, len(corpus)))
    tokens = encoder.lengths(texts, "document")
    encode_texts(encoder, texts[:8], "document", options.batch_tokens)
    with measured() as reading:
        documents = encode_texts(encoder, texts, "document", options.batch_tokens)
    asked = encode_texts(
        encoder, queries.texts(slice(0, len(queries))), "query", options.batch_tokens
    )
    np.savez(
        place(options, options.contestant),
        documents=documents,
        queries=asked,
        tokens=int(tokens.sum()),
        seconds=reading.seconds,
        extra_bytes=reading.extra_bytes,
    )
    return reading


def place(options: argparse.Namespace, name: str) -> Path:
    """Where a contestant's vectors are kept."""
    settings = (
        f"{options.data.name}-{options.documents}-{options.max_length}-{options.batch_tokens}"
    )
    folder: Path = options.folder / settings
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name.replace(', ', '-').replace(' ', '-')}.npz"


def nearest(found: Any) -> Any:
    """The best `DEPTH` rows of each query, int64 [Q, DEPTH]; equal scores by row."""
    scores = found["queries"] @ found["documents"].T
    return np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]


def compared(name: str, found: Any, reference: Any, qrels: Any) -> dict[str, Any]:
    """Speed, nDCG, overlap and cosine of one contestant beside the reference."""
    from pyrite.core.encoders.common import unit_rows
    from pyrite.eval.measures import per_query

    ids, true = nearest(found), nearest(reference)
    rows = qrels.with_positives()
    ndcg, ndcg_true = (
        float(per_query((MEASURE,), qrels, rows, ranked[rows])[MEASURE].mean())
        for ranked in (ids, true)
    )
    shared = [np.isin(a, b).mean() for a, b in zip(ids[rows], true[rows], strict=True)]
    # vectors of bfloat16 are units only nearly
    cosine = (unit_rows(found["documents"]) * unit_rows(reference["documents"])).sum(axis=1)
    return {
        "name": name,
        "tokens_per_second": round(float(found["tokens"] / found["seconds"]), 1),
        "speed": round(float(reference["seconds"] / found["seconds"]), 3),
        MEASURE: round(ndcg, 5),
        "difference": round(ndcg - ndcg_true, 5),
        "overlap@100": round(float(np.mean(shared)), 4),
        "cosine": round(float(cosine.mean()), 5),
        "least_cosine": round(float(cosine.min()), 5),
        "extra_mib": round(float(found["extra_bytes"]) / 2**20, 1),
    }


def table(rows: list[dict[str, Any]], title: str) -> Table:
    shown = Table(title=title, title_justify="left")
    for heading in rows[0]:
        shown.add_column(heading, justify="left" if heading == "name" else "right")
    for row in rows:
        shown.add_row(*map(str, row.values()))
    return shown


def features() -> list[str]:
    """Which of `FEATURES` this processor has."""
    words = set(Path("/proc/cpuinfo").read_text().split())
    return [name for name in FEATURES if name in words]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder in BEIR layout")
    parser.add_argument("--documents", type=int, default=0, help="and all judged ones; 0: all")
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--batch-tokens", type=int, default=2048)
    parser.add_argument("--only", action="append", choices=CONTESTANTS, default=[])
    parser.add_argument("--state", type=Path, default=STATE)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--contestant", choices=CONTESTANTS)
    options = parser.parse_args()
    if options.contestant:
        report(encode(options))
        return
    options.folder = options.state
    given = ("data", "documents", "max_length", "batch_tokens")
    extra = [f"--{name.replace('_', '-')}={getattr(options, name)}" for name in given]
    names = list(dict.fromkeys([REFERENCE, *(options.only or CONTESTANTS)]))
    _, _, qrels = opened(options)
    for name in names:
        if not place(options, name).is_file():
            reading = in_process(Path(__file__), name, options.folder, *extra)
            print(f"{name}: {reading.seconds:.1f} s", flush=True)
    found = {name: dict(np.load(place(options, name))) for name in names}
    rows = [compared(name, found[name], found[REFERENCE], qrels) for name in names]
    sizes = f"{options.data.name}, {len(found[REFERENCE]['documents'])} documents"
    sizes += f" of {options.max_length} tokens, {THREADS} threads"
    Console(width=150).print(table(rows, f"{sizes}, {hardware()}"))
    result = {
        "name": "int8",
        "sizes": sizes,
        "hardware": hardware(),
        "features": features(),
        "date": datetime.date.today().isoformat(),
        "rows": rows,
    }
    options.results.mkdir(exist_ok=True)
    (options.results / "int8.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
