"""Evaluation: published figures measured again, and the same work beside `mteb` and `beir`.

    python benchmarks/evaluation.py --data SCIFACT [--reference] [--documents 200] [--rounds 3]

Each tool reads a folder in BEIR layout, encodes it with the same MiniLM at the same length,
searches 1,000 deep and measures nDCG, MAP, recall and precision at 1, 10, 100 and 1,000; mteb
cannot be kept from measuring more. Batches are as each tool has them by default. A document with
its query's id is taken out by all, since beir takes it out always, and ties go to the greater id,
as trec_eval has it. mteb has no reader of folders and is given ours. Every contestant runs in a
process of its own, in turns, with OMP_NUM_THREADS threads or one for each core, and with nothing
cached. What is done once is not timed: imports, the model, a first evaluation of eight queries.

`encode` is tokenizing and the model, `search` all that is neither that nor reading the folder: of
ours also the model's fingerprint, the vectors' files and the files of the result.
`--reference` first measures BM25 and MiniLM on the whole folder, beside what is published of it;
without it the reference points of an earlier run stay in the results file.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent))
from common import RESULTS, Reading, in_process, measured, publish, report, rounds, row
from part_corpus import judgements, write_part
from reference_points import MAIN, PUBLISHED, SPLIT, THREADS, reference, settings, table

from pyrite import evaluate
from pyrite.core.beir import open_beir
from pyrite.core.sbert import EncoderConfig, SentenceTransformerEncoder, load_model
from pyrite.core.store import versions

CUTOFFS = (1, 10, 100, 1000)
MEASURES = [f"{name}@{k}" for name in ("ndcg", "map", "recall", "precision") for k in CUTOFFS]
# what cannot be chosen in the peers
SECTION = {"measures": MEASURES, "identical_ids": "drop", "convention": "trec_eval"}
AGREE = 1e-3
WARM_QUERIES = 8


class Clock:
    """Seconds spent inside the calls that it was put around."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return call(*arguments, **options)
            finally:
                self.seconds += time.perf_counter() - start

        return timed


def by_ours(folder: Path, model: Any, clock: Clock) -> tuple[float, float]:
    with tempfile.TemporaryDirectory(dir=folder) as runs:
        config = settings(Path(runs), folder, model.max_seq_length, SECTION)
        start = time.perf_counter()
        open_beir(folder, config.cache, config.dataset.on_empty)
        read = time.perf_counter() - start
        encoder = SentenceTransformerEncoder(config.encoder, model)
        encoder.lengths = clock.around(encoder.lengths)  # type: ignore[method-assign]
        return read, evaluate(config, encoder).means()[MAIN]


def by_mteb(folder: Path, model: Any, clock: Clock) -> tuple[float, float]:
    import mteb

    from pyrite.eval.local_task import LocalTask

    with tempfile.TemporaryDirectory(dir=folder) as cache:
        start = time.perf_counter()
        dataset = open_beir(folder, Path(cache))
        judged: dict[str, dict[str, int]] = {}
        for query, doc, grade in judgements(dataset):
            judged.setdefault(query, {})[doc] = grade
        read = time.perf_counter() - start
        tables = dataset.queries, dataset.corpus
        task = LocalTask(folder.name, SPLIT, *tables, judged, "0", drops_identical=True)
        task.k_values = list(CUTOFFS)
        found = mteb.evaluate(model, task, cache=None, show_progress_bar=False)
    return read, found.task_results[0].scores[SPLIT][0]["ndcg_at_10"]


def by_beir(folder: Path, model: Any, clock: Clock) -> tuple[float, float]:
    from beir.datasets.data_loader import GenericDataLoader
    from beir.retrieval.evaluation import EvaluateRetrieval
    from beir.retrieval.models import SentenceBERT
    from beir.retrieval.search.dense import DenseRetrievalExactSearch

    start = time.perf_counter()
    corpus, queries, judged = GenericDataLoader(str(folder)).load(split=SPLIT)
    read = time.perf_counter() - start
    encoder = SentenceBERT()
    encoder.q_model = encoder.doc_model = model
    search = DenseRetrievalExactSearch(encoder, show_progress_bar=False)
    retriever = EvaluateRetrieval(search, list(CUTOFFS), "cos_sim")
    found = retriever.retrieve(corpus, queries)
    return read, retriever.evaluate(judged, found, list(CUTOFFS))[0]["NDCG@10"]


CONTESTANTS = {"ours": by_ours, "mteb": by_mteb, "beir": by_beir}


def contend(name: str, folder: Path, max_length: int) -> Reading:
    """One contestant, once; its parts go to a line of `NAME.jsonl`."""
    import torch

    torch.set_num_threads(THREADS)
    model = load_model(EncoderConfig(max_length=max_length))
    clock = Clock()
    model.encode = clock.around(model.encode)  # type: ignore[method-assign]
    CONTESTANTS[name](folder / "warm", model, clock)
    clock.seconds = 0.0
    with measured() as reading:
        read, ndcg = CONTESTANTS[name](folder / "part", model, clock)
    search = reading.seconds - read - clock.seconds
    parts = {"read": read, "encode": clock.seconds, "search": search, MAIN: ndcg}
    with (folder / f"{name}.jsonl").open("a") as handle:
        handle.write(json.dumps({"seconds": reading.seconds, **parts}) + "\n")
    return reading


def parts_of(folder: Path, name: str, counted: Reading) -> dict[str, float]:
    """The parts of the round that counts."""
    lines = map(json.loads, (folder / f"{name}.jsonl").read_text().splitlines())
    found = next(line for line in lines if line["seconds"] == counted.seconds)
    return {part: round(value, 5) for part, value in found.items()}


def disagreement(values: dict[str, float]) -> str:
    """A sentence if the tools do not find the same; empty if they do."""
    if max(values.values()) - min(values.values()) <= AGREE:
        return ""
    found = ", ".join(f"{name} {value:.5f}" for name, value in values.items())
    return f"the tools differ by more than {AGREE} in {MAIN}, so the work was not the same: {found}"


def parts_table(parts: dict[str, dict[str, float]], texts: int) -> Table:
    shown = Table(title="parts", title_justify="left")
    for heading in ("tool", "read s", "encode s", "search s", "texts/s encoded", MAIN):
        shown.add_column(heading, justify="left" if heading == "tool" else "right")
    for name, part in parts.items():
        seconds = [f"{part[key]:.3f}" for key in ("read", "encode", "search")]
        shown.add_row(name, *seconds, f"{texts / part['encode']:.1f}", f"{part[MAIN]:.5f}")
    return shown


def throughput(options: argparse.Namespace, folder: Path, sizes: tuple[int, int]) -> None:
    """Every contestant in turn on what lies in `folder`; prints and writes the results file."""
    documents, queries = sizes

    def run(name: str) -> Reading:
        script, length = Path(__file__), str(options.max_length)
        return in_process(script, name, folder, "--max-length", length)

    found = rounds(options.rounds, run, list(CONTESTANTS))
    parts = {name: parts_of(folder, name, found[name]) for name in CONTESTANTS}
    complaint = disagreement({name: part[MAIN] for name, part in parts.items()})
    publish(
        "evaluation",
        [row(f"evaluate: {name}", found["ours"], found[name]) for name in ("mteb", "beir")],
        f"{documents} documents, {queries} queries, {options.max_length} tokens, {THREADS} threads",
        {
            "parts": parts,
            "agree": not complaint,
            "versions": versions() | {name: metadata.version(name) for name in ("mteb", "beir")},
            "reference": options.points,
        },
        options.results,
    )
    Console().print(parts_table(parts, documents + queries))
    if complaint:
        print(complaint)


def points(options: argparse.Namespace, folder: Path) -> dict[str, Any] | None:
    """The reference points, measured now or kept from an earlier run; None without either."""
    if not options.reference:
        earlier = options.results / "evaluation.json"
        return json.loads(earlier.read_text()).get("reference") if earlier.is_file() else None
    data = folder / "part" if options.smoke else options.data
    known = {} if options.smoke else PUBLISHED.get(data.name.lower(), {})
    found = reference(data, folder / "reference", options.max_length, known)
    Console().print(table(found))
    for system, why in found["not_measured"].items():
        print(f"{system} not measured: {why}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="a BEIR folder; SciFact has published figures")
    parser.add_argument("--documents", type=int, default=200, help="and all judged ones; 0: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--reference", action="store_true", help="measure published figures again")
    parser.add_argument("--smoke", action="store_true", help="50 documents, 16 tokens, one round")
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--contestant", choices=CONTESTANTS)
    options = parser.parse_args()
    if options.contestant:
        report(contend(options.contestant, options.folder, options.max_length))
        return
    if options.data is None:
        parser.error("--data names a folder in BEIR layout")
    if options.smoke:
        options.documents, options.rounds, options.max_length = 50, 1, 16
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        dataset = open_beir(options.data, folder / "cache", "drop")
        write_part(dataset, folder / "warm", 1, WARM_QUERIES)
        sizes = write_part(dataset, folder / "part", options.documents)
        options.points = points(options, folder)
        throughput(options, folder, sizes)


if __name__ == "__main__":
    main()
