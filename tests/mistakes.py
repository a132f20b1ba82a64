"""Good setups spoilt in one place each, and what the sentence about it must hold."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from compare_mistakes import compare_cases
from engine_mistakes import engine_cases
from eval_mistakes import eval_cases
from loss_mistakes import loss_cases
from made_mistakes import made_mistakes
from mistake_case import Case, add, put, remove
from plan_mistakes import plan_cases
from query_side_mistakes import query_side_cases
from refresh_mistakes import refresh_cases
from relabel_mistakes import relabel_mistakes
from report_mistakes import report_cases
from source_mistakes import source_cases
from text_faults import text_faults
from training_mistakes import training_cases


def truncate_manifests(pattern: str) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        found = list(folder.glob(pattern))
        assert found, pattern
        for path in found:
            path.write_text(path.read_text("utf-8")[:40], encoding="utf-8")

    return spoil


def config_cases() -> dict[str, Case]:
    def text(content: str | bytes, *says: str, broken: str = "") -> Case:
        return Case(("TMP/config.yaml", *says), spoil=put("config.yaml", content), broken=broken)

    def given(override: str, *says: str, broken: str = "") -> Case:
        return Case(says, (override,), broken=broken)

    form = "expected the form section.key=value"
    return {
        "no file": Case(
            ("TMP/config.yaml", "no such configuration file"), spoil=remove("config.yaml")
        ),
        "not YAML": text("a: [", "not readable as YAML", "line 1"),
        "tabs": text("dataset:\n\tpath: x\n", "not readable as YAML", "line 2"),
        "not text": text(b"\xff\xfe\x00", "not readable as YAML"),
        "a key twice": text(
            "seed: 1\nretrieve: {depth: 5}\nseed: 2\n", "'seed' is given twice", "lines 1 and 3"
        ),
        "a section twice": text(
            "retrieve:\n  depth: 5\nsampler: {n: 1}\nretrieve:\n  depth: 6\n",
            "'retrieve' is given twice",
            "lines 1 and 4",
        ),
        "a key twice in one line": given("sampler={n: 1, n: 2}", "'n' is given twice", "line 1"),
        "a list": text("- a\n", "a YAML list", "keys and values"),
        "no such date": text("name: 2020-99-99", "not readable as YAML"),
        "nested without end": text("[" * 5000, "not readable as YAML"),
        "unknown key": text("zzzzzz: 1", "unknown key 'zzzzzz'", "valid keys: name", "train.steps"),
        "unknown section": text("dataste: {path: x}", "'dataste'", "did you mean 'dataset'?"),
        "unknown nested key": text("sampler: {taw: 1}", "'sampler.taw'", "mean 'sampler.tau'?"),
        "key without its section": text("depth: 5", "'depth'", "mean 'retrieve.depth'?"),
        "a number as key": text("1: 2", "keys should be strings"),
        "empty section": text("train:", "train=None", "dictionary"),
        "override without value": given("seed", "override 'seed'", form),
        "override without key": given("=3", "override '=3'", form),
        "override with empty part": given("train.=3", "override 'train.=3'", form),
        "override not YAML": given("name={a: [", "override 'name={a: ['", "not valid YAML"),
        "override below a value": given("name.a=1", "override 'name.a=1'", "'name' is a value"),
        "override unknown": given("sampler.tua=3", "key 'sampler.tua'", "mean 'sampler.tau'?"),
        "name with slash": given("name=a/b", "name='a/b'", "pattern"),
        "name that climbs": given("name=..", "name='..'", "pattern"),
        "window upside down": Case(
            ("sampler.window_min=30", "below", "sampler.window_max=30"),
            ("sampler.window_min=30", "sampler.window_max=30"),
        ),
        "unknown measure": given("eval.measures=[hits@3]", "'hits@3'", "ndcg@k", "k from 1"),
        "no measures": given("eval.measures=[]", "eval.measures=[]", "at least 1"),
        "more negatives than mined": given("train.negatives=3", "train.negatives=3", "sampler.n=2"),
    }


def choosing_cases() -> dict[str, Case]:
    def given(override: str, *says: str) -> Case:
        return Case(says, (override,))

    return {
        "no second cluster": Case(
            ("sampler.cluster=second_nearest", "filters.clusters=1", "to at least 2"),
            ("sampler.cluster=second_nearest", "filters.clusters=1"),
        ),
        "one cluster for all": Case(
            ("filters.cluster_false_negatives", "filters.clusters=1", "to at least 2"),
            ("filters.cluster_false_negatives=true", "filters.clusters=1"),
        ),
        "random documents of a cluster": Case(
            ("sampler.cluster=second_nearest", "sampler.name=random", "remove sampler.cluster"),
            ("sampler={name: random, n: 2, cluster: second_nearest}",),
        ),
        "a cross-encoder's depth without one": given(
            "filters.denoise.depth=9", "filters.denoise.depth has no effect", "denoise.model to a"
        ),
        "a quantile of no calibration": Case(
            ("quantile has no effect", "calibrate=none", "calibrate=positives_quantile"),
            ("filters.denoise={model: x, quantile: 0.1}",),
        ),
        "more than the window holds": given(
            "sampler={name: scincl, n: 3}", "sampler.name=scincl", "c_hard=2", "set sampler.n"
        ),
        "window below the depth": given(
            "sampler={name: scincl, n: 2, k_share: 1}", "rank 40", "retrieve.depth", "k_hard"
        ),
        "window of nothing": given(
            "sampler={name: scincl, n: 2, k_share: 0.01}", "40 documents", "raise sampler.k_share"
        ),
    }


def machine_cases() -> dict[str, Case]:
    def given(override: str, *says: str, verb: str = "mine", broken: str = "") -> Case:
        return Case(says, (override,), spoil=put("file", ""), verb=verb, broken=broken)

    unlike = "set encoder.device="
    return {
        "no such model": given(
            "encoder.model=TMP/nowhere",
            "TMP/nowhere",
            "not a folder",
            "set encoder.model",
            "minilm",
        ),
        "model is no model": given("encoder.model=TMP/data", "TMP/data", "set encoder.model"),
        "no such model to train": given(
            "encoder.model=a/b/c", "encoder.model='a/b/c'", verb="train"
        ),
        "no such model to evaluate": given("encoder.model=a/b/c", "'a/b/c'", verb="eval"),
        "model too short": given("encoder.max_length=65", "max_length=65", "at most 64"),
        "no such device": given("encoder.device=gpu", "encoder.device", "'gpu'", unlike),
        "device without driver": given("encoder.device=cuda", "cuda", "set encoder.device=cpu"),
        "clusters without a GPU": Case(
            ("filters.cluster_device=cuda", "GPU", "set filters.cluster_device=cpu"),
            (
                "filters.max_per_cluster=1",
                "filters.clusters=4",
                "filters.cluster_device=cuda",
            ),
        ),
        "device not built in": given("encoder.device=xpu", "encoder.device", "xpu"),
        "too many threads": given("threads=99999999999", "threads=99999999999"),
        "runs_dir cannot be made": given(
            "runs_dir=/proc/pyrite", "runs_dir=/proc/pyrite", "cannot write in /proc (", "set runs"
        ),
        **{
            f"{key} is a file, {verb}": Case(
                (f"{key}=TMP/file", "cannot write in TMP/file (Not a directory)", f"set {key}"),
                # the model is looked for afterwards
                (f"{key}=TMP/file", "encoder.model=TMP/nowhere"),
                spoil=put("file", ""),
                verb=verb,
            )
            for key in ("runs_dir", "cache_dir")
            for verb in ("mine", "suggest", "truth", "train", "eval")
        },
        "corrupt manifest of texts": Case(
            ("TMP/cache/texts/", "not a readable manifest", "delete TMP/cache/texts/"),
            spoil=truncate_manifests("cache/texts/*/manifest.json"),
        ),
        "corrupt manifest of vectors": Case(
            ("TMP/cache/embeddings/", "not a readable manifest", "delete"),
            spoil=truncate_manifests("cache/embeddings/*/manifest.json"),
            verb="eval",
        ),
        "corrupt manifest of candidates": Case(
            ("TMP/cache/candidates/", "not a readable manifest", "delete"),
            spoil=truncate_manifests("cache/candidates/*/manifest.json"),
            verb="train",
        ),
    }


def encoder_cases() -> dict[str, Case]:
    kind = "encoder.kind=precomputed"
    keys = ("encoder.precomputed.corpus", "encoder.precomputed.queries")

    def vectors(corpus: bytes, *says: str, queries: bytes | None = None) -> Case:
        def spoil(folder: Path) -> None:
            (folder / "corpus.npy").write_bytes(corpus)
            (folder / "queries.npy").write_bytes(queries or array((20, 4)))

        files = (f"{keys[0]}=TMP/corpus.npy", f"{keys[1]}=TMP/queries.npy")
        return Case(("TMP/corpus.npy", *says), (kind, *files), spoil)

    def function(path: str, *says: str) -> Case:
        call = ("encoder.kind=callable", "encoder.callable.fingerprint=1")
        return Case(says, (*call, f"encoder.callable.function={path}"))

    return {
        "no vectors named": Case(("encoder.precomputed.corpus", ".npy"), (kind,)),
        "no vectors there": Case(
            ("TMP/x.npy", "no such file"), (kind, f"{keys[0]}=TMP/x.npy", f"{keys[1]}=TMP/y.npy")
        ),
        "vectors unreadable": vectors(b"x", "not a readable .npy", "numpy.save"),
        "vectors too few": vectors(array((39, 4)), "39 rows", "40 texts", "corpus_ids"),
        "vectors not a matrix": vectors(array((40,)), "shape (40,)", "[rows, D]"),
        "vectors of integers": vectors(array((40, 4), "int64"), "int64", "float32 or float16"),
        "vectors not finite": vectors(array((40, 4), fill=np.nan), "row 0", "finite"),
        "vectors of two models": vectors(
            array((40, 4)), "TMP/queries.npy", "5 numbers", queries=array((20, 5))
        ),
        "no function named": Case(("encoder.callable.function",), ("encoder.kind=callable",)),
        "no such module": function("nowhere_to_be:f", "nowhere_to_be", "PYTHONPATH"),
        "no such function": function("math:nope", "math has no nope"),
        "no server named": Case(("encoder.openai.base_url",), ("encoder.kind=openai",)),
        "training what cannot be trained": Case(
            ("encoder.kind=callable", "train"),
            ("encoder.kind=callable", "encoder.callable.function=math:sqrt"),
            verb="train",
        ),
    }


def draw_cases() -> dict[str, Case]:
    def given(says: str, *settings: str) -> Case:
        return Case(tuple(says.split("; ")), tuple(f"train.{setting}" for setting in settings))

    return {
        "unknown draw": given("train.draw='nope'; 'rotate'", "draw=nope"),
        "too few mined to replace": given(
            "train.draw=replace; sampler.n=2; set sampler.n to at least 12", "draw=replace"
        ),
        "replacing without its draw": given("train.replace; set train.draw", "replace.every=5"),
        "replacing by products": given(
            "train.draw=replace; set train.loss.similarity=cos",
            "draw=replace",
            "loss.similarity=dot",
        ),
        "clusters without NGAME": given("train.ngame; set train.batches", "ngame.double_at=[1]"),
        "an epoch below 0": given(
            "train.ngame.double_at=[-1]; from 0", "batches=ngame", "ngame.double_at=[-1]"
        ),
    }


def cross_encoder_cases() -> dict[str, Case]:
    here = "filters.denoise"

    def denoise(override: str, *says: str) -> Case:
        model = (f"{here}.model=TMP/nowhere", f"{here}.max_length=32")
        return Case(says, (*model, f"{here}.{override}"))

    def reranker(override: str, *says: str) -> Case:
        model = ("train={kind: cross-encoder}", "reranker.max_length=32")
        return Case(says, (*model, f"reranker.{override}"), verb="train")

    return {
        "no such cross-encoder": denoise(
            "depth=5", f"{here}.model='TMP/nowhere'", "not loadable", f"set {here}.model"
        ),
        "an encoder as cross-encoder": denoise(
            "model=minilm", "has no head", f"set {here}.model", "train.kind=cross-encoder"
        ),
        "device of the cross-encoder": denoise("device=gpu", f"{here}.device='gpu'", "cpu"),
        "thresholds upside down": denoise(
            "negative_below=0.95", "negative_below=0.95", "positive_above=0.9", "lower"
        ),
        "threshold beyond a probability": denoise(
            "positive_above=3", "positive_above=3", "[0, 1]", "activation=none"
        ),
        "no such reranker": reranker("model=a/b/c", "reranker.model='a/b/c'", "not loadable"),
        "reranker too short": reranker(
            "max_length=999", "reranker.max_length=999", "512 positions", "at most 512"
        ),
        "reranker with more negatives than mined": reranker(
            "negatives=3", "reranker.negatives=3", "sampler.n=2"
        ),
    }


def array(shape: tuple[int, ...], dtype: str = "float32", fill: float = 1) -> bytes:
    """An `.npy` file."""
    file = io.BytesIO()
    np.save(file, np.full(shape, fill, dtype=dtype))
    return file.getvalue()


def dataset_cases() -> dict[str, Case]:
    data = "TMP/data"
    names = {"documents": "corpus", "queries": "queries"}
    cases = {
        "no such dataset": Case((f"{data}x", "dataset.path"), (f"dataset.path={data}x",)),
        "limit on a folder": Case(
            ("dataset.max_documents has no effect", "remove it or set dataset.path=stdlib"),
            ("dataset.max_documents=20",),
        ),
        "no such split": Case(
            (f"{data}/qrels/dev.tsv", "no such split", "test, train"), ("dataset.train_split=dev",)
        ),
        "no such split to evaluate": Case(
            (f"{data}/qrels/dev.tsv", "test, train"), ("dataset.eval_split=dev",), verb="eval"
        ),
        "split of another folder": Case(
            ("dataset.train_split='../qrels/train'", "pattern"),
            ("dataset.train_split=../qrels/train",),
        ),
        "split of another folder to evaluate": Case(
            ("dataset.eval_split='/test'", "pattern"), ("dataset.eval_split=/test",), verb="eval"
        ),
        "no judgements": Case((f"{data}/qrels/train.tsv",), spoil=remove("data/qrels/train.tsv")),
        "grade too high": Case(
            (f"{data}/qrels/train.tsv", "grade >= 2", "lower dataset.min_grade"),
            ("dataset.min_grade=2",),
        ),
        "too deep": Case(
            ("41", "40 documents", "set retrieve.depth to at most 40"), ("retrieve.depth=41",)
        ),
        "batch over the pairs": Case(
            ("train.batch_size=99", "training pairs", "set train.batch_size to at most"),
            ("train.batch_size=99",),
            verb="train",
        ),
    }
    for what, name in names.items():
        file = f"data/{name}.jsonl"
        cases[f"no {what}"] = Case((f"TMP/{file}", "no such file"), spoil=remove(file))
        cases[f"{what} empty"] = Case((f"TMP/{file}", "at least one line"), spoil=put(file, ""))
        for kind, (line, *says) in text_faults(name).items():
            where = f"TMP/{file}:{LINES[name] + 1}"
            cases[f"{what} {kind}"] = Case((where, *says), spoil=add(file, line))
        first = "d0000" if name == "corpus" else "q0000"
        again = json.dumps({"_id": first, "text": "once more"})
        cases[f"{what} twice"] = Case(
            (f"TMP/{file}", repr(first), f"lines 1 and {LINES[name] + 2}", "unique"),
            spoil=add(file, f"\n{again}"),
        )
        long = json.dumps({"_id": "i" * 513, "text": "a"})
        cases[f"{what} with long id"] = Case(
            (f"TMP/{file}", "513 bytes", "512", "shorten"), spoil=add(file, long)
        )
    for kind, (line, *says) in QRELS_FAULTS.items():
        where = f"{data}/qrels/train.tsv:{LINES['train'] + 1}"
        cases[f"judgements {kind}"] = Case((where, *says), spoil=add("data/qrels/train.tsv", line))
    return cases


# lines of the good setup's files
LINES = {"corpus": 40, "queries": 20, "train": 31}
QRELS_FAULTS: dict[str, tuple[str | bytes, *tuple[str, ...]]] = {
    "in TREC form": ("q0001\t0\td0001\t1", "4 tab-separated fields", "expected 3"),
    "with blanks": ("q0001 d0001 1", "1 tab-separated fields", "expected 3"),
    "with a word as grade": ("q0001\td0001\tyes", "score 'yes'", "whole number"),
    "with half a grade": ("q0001\td0001\t0.5", "score '0.5'", "whole number"),
    "with a giant grade": ("q0001\td0001\t40000", "40000", "-32768..32767"),
    "of an unknown query": ("q9999\td0001\t1", "unknown queries id 'q9999'", "queries.jsonl"),
    "of an unknown document": ("q0001\td9999\t1", "unknown corpus id 'd9999'", "corpus.jsonl"),
    "not UTF-8": (b"q0001\td\xff\t1", "not UTF-8"),
}


CASES = {
    **compare_cases(),
    **config_cases(),
    **engine_cases(),
    **choosing_cases(),
    **machine_cases(),
    **encoder_cases(),
    **loss_cases(),
    **draw_cases(),
    **training_cases(),
    **source_cases(),
    **cross_encoder_cases(),
    **query_side_cases(),
    **relabel_mistakes(),
    **plan_cases(),
    **report_cases(),
    **made_mistakes(),
    **refresh_cases(),
    **dataset_cases(),
    **eval_cases(),
}
