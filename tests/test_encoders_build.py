from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import BagOfWords
from tiny_model import tiny_model

from pyrite.core.config import dump_config, load_config
from pyrite.core.digest import digest_texts
from pyrite.core.encoder import F32, Role, plan_batches
from pyrite.core.encoders.build import build_encoder, embed_table
from pyrite.core.encoders.callable import CallableEncoder
from pyrite.core.encoders.devices import MultiDeviceEncoder, device_names
from pyrite.core.encoders.parallel import encode_batches, in_order
from pyrite.core.encoders.precomputed import PrecomputedEncoder
from pyrite.core.errors import MissingExtraError, PyriteError
from pyrite.core.sbert import EncoderConfig, SentenceTransformerEncoder
from pyrite.core.tables import TextTable, write_texts

TEXTS = [f"w{i % 60} " * (1 + i % 13) for i in range(60)]
KINDS = ["sentence-transformers", "onnx", "callable", "precomputed", "openai"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"))


def config(*overrides: str) -> EncoderConfig:
    return load_config(EncoderConfig, None, overrides)


def batches_of(encoder: Any, texts: Sequence[str], role: Role = "document") -> list[list[str]]:
    plan = plan_batches(encoder.lengths(texts, role), 64)
    return [[texts[i] for i in batch] for batch in plan]


def test_the_default_kind_is_the_one_before() -> None:
    assert config().kind == "sentence-transformers"
    dumped = dump_config(config())
    assert load_config(EncoderConfig, None, ["kind=openai", "openai.model=m"]).openai.model == "m"
    assert all(f"\n{section}:\n" in dumped for section in ("onnx", "callable", "openai"))
    with pytest.raises(PyriteError, match=r"unknown key 'onnx.precison'; did you mean 'onnx.prec"):
        config("onnx.precison=int8")
    with pytest.raises(PyriteError, match="kind='tensorflow'"):
        config("kind=tensorflow")


def test_each_kind_is_built(folder: Path, tmp_path: Path) -> None:
    built = build_encoder(config(f"model={folder}", "max_length=60"), tmp_path)
    assert isinstance(built, SentenceTransformerEncoder)
    built = build_encoder(
        config("kind=callable", "callable.function=math:fsum", "callable.fingerprint=1"), tmp_path
    )
    assert isinstance(built, CallableEncoder)
    assert config("kind=openai", "openai.revision=2").openai.revision == "2"
    np.save(tmp_path / "v.npy", np.ones((2, 3), dtype=np.float32))
    files = [f"precomputed.{k}={tmp_path / 'v.npy'}" for k in ("corpus", "queries")]
    built = build_encoder(config("kind=precomputed", *files), tmp_path)
    assert isinstance(built, PrecomputedEncoder)


def test_an_onnx_encoder_is_built(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    settings = config("kind=onnx", f"model={folder}", "max_length=60", "onnx.precision=int8")
    encoder = build_encoder(settings, tmp_path)
    assert type(encoder).__name__ == "OnnxEncoder"
    assert list((tmp_path / "onnx").glob("*/manifest.json"))
    assert encoder.encode_queries(["w1"]).shape == (1, encoder.dimension)


def test_a_server_encoder_is_built(tmp_path: Path) -> None:
    pytest.importorskip("openai", reason="the extra `openai` is not installed")
    settings = config("kind=openai", "openai.base_url=http://h/v1", "openai.model=m")
    assert type(build_encoder(settings, tmp_path)).__name__ == "OpenAIEncoder"


@pytest.mark.parametrize(
    ("kind", "package"), [("onnx", "onnxruntime"), ("onnx", "onnx"), ("openai", "openai")]
)
def test_a_missing_package_names_the_extra(
    kind: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in {"onnx", "onnxruntime", "openai"} - {package}:
        if importlib.util.find_spec(other) is None:
            pytest.skip(f"the package {other} is not installed")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError) as caught:
        build_encoder(config(f"kind={kind}"), tmp_path)
    said = f"encoder.kind={kind} needs the package {package}, which is not installed"
    assert str(caught.value).startswith(said)
    assert f"pip install 'pyrite[{kind}]'" in str(caught.value)


def test_the_configuration_of_every_kind_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from pyrite.core.encoders import build, callable, config, devices, onnx, openai\n"
        "from pyrite.core.encoders import precomputed\n"
        "print(sorted({'torch', 'openai', 'onnx', 'onnxruntime', 'transformers',"
        " 'sentence_transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_table_is_embedded_or_looked_up(tmp_path: Path) -> None:
    write_texts(tmp_path / "t.arrow", ((f"d{i}", text) for i, text in enumerate(TEXTS)))
    table = TextTable.open(tmp_path / "t.arrow", digest_texts(TEXTS), "corpus.jsonl")
    encoder = BagOfWords()
    rows = np.array([5, 1])
    computed = embed_table(encoder, table, "document", tmp_path, 64, rows)
    np.testing.assert_array_equal(
        computed.shards[0], encoder.encode_documents([TEXTS[5], TEXTS[1]])
    )
    vectors = np.arange(2 * len(TEXTS), dtype=np.float32).reshape(-1, 2)
    np.save(tmp_path / "v.npy", vectors)
    files = [f"precomputed.{k}={tmp_path / 'v.npy'}" for k in ("corpus", "queries")]
    ready = build_encoder(config("kind=precomputed", "normalize=false", *files), tmp_path)
    found = embed_table(ready, table, "query", tmp_path, 64, rows)
    np.testing.assert_array_equal(found.shards[0], vectors[[5, 1]])


def test_several_devices_give_the_bytes_of_one(folder: Path, tmp_path: Path) -> None:
    settings = [f"model={folder}", "max_length=60", "query_prompt=w1"]
    one = build_encoder(config(*settings), tmp_path)
    two = build_encoder(config(*settings, "device=cpu, cpu"), tmp_path)
    assert isinstance(two, MultiDeviceEncoder)
    assert (two.fingerprint, two.dimension) == (one.fingerprint, one.dimension)
    assert two.lengths(TEXTS, "query").tolist() == one.lengths(TEXTS, "query").tolist()
    roles: tuple[Role, ...] = ("document", "query")
    for role in roles:
        batches = batches_of(one, TEXTS, role)
        assert len(batches) > 4
        alone = list(encode_batches(one, batches, role))
        for _ in range(3):
            both = list(encode_batches(two, batches, role))
            assert [v.tobytes() for v in both] == [v.tobytes() for v in alone]
    single = two.encode_documents(TEXTS[:7])
    assert single.tobytes() == one.encode_documents(TEXTS[:7]).tobytes()
    assert two.encode_queries(TEXTS[:7]).tobytes() == one.encode_queries(TEXTS[:7]).tobytes()
    assert two.encode_queries(TEXTS[:7]).tobytes() != single.tobytes()


def test_batches_go_to_the_replicas_in_turn_and_at_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    took: dict[int, list[str]] = {}
    both = threading.Barrier(2)

    def observed(self: SentenceTransformerEncoder, texts: Sequence[str]) -> F32:
        took.setdefault(id(self), []).append(texts[0])
        if texts[0] in {"0", "1"}:
            both.wait(20)  # breaks unless the two are under way at once
        # the first replica is the slower one, and still gets every other batch
        time.sleep(0.03 if texts[0] == "0" else 0)
        return np.full((len(texts), 1), float(texts[0]), dtype=np.float32)

    monkeypatch.setattr(SentenceTransformerEncoder, "encode_documents", observed)
    encoder = build_encoder(config(f"model={folder}", "max_length=60", "device=cpu,cpu"), tmp_path)
    found = list(encode_batches(encoder, [[str(i)] for i in range(9)], "document"))
    assert [float(v[0, 0]) for v in found] == list(range(9))
    assert sorted(sorted(v) for v in took.values()) == [list("02468"), list("1357")]


def test_a_store_is_filled_by_all_devices_at_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, took = threading.Barrier(2), set()
    encode = SentenceTransformerEncoder.encode_documents

    def observed(self: SentenceTransformerEncoder, texts: Sequence[str]) -> F32:
        if id(self) not in took:
            took.add(id(self))
            both.wait(20)  # breaks unless the two are under way at once
        return encode(self, texts)

    write_texts(tmp_path / "t.arrow", ((f"d{i}", text) for i, text in enumerate(TEXTS)))
    table = TextTable.open(tmp_path / "t.arrow", digest_texts(TEXTS), "corpus.jsonl")
    settings = [f"model={folder}", "max_length=60"]
    one = build_encoder(config(*settings), tmp_path)
    expected = embed_table(one, table, "document", tmp_path / "one", 64).shards[0]
    two = build_encoder(config(*settings, "device=cpu,cpu"), tmp_path)
    monkeypatch.setattr(SentenceTransformerEncoder, "encode_documents", observed)
    found = embed_table(two, table, "document", tmp_path / "two", 64).shards[0]
    assert len(took) == 2
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("device", ["cpu,", ",cpu", "cpu,cuda:0", "cuda:0,mps", ","])
def test_devices_of_several_types_are_refused(device: str) -> None:
    with pytest.raises(PyriteError, match=r"one device or a list of one type such as cuda:0"):
        device_names(EncoderConfig(device=device))


def test_a_missing_device_of_the_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(PyriteError, match=r"encoder\.device=cuda:98: this machine has"):
        build_encoder(config("device=cuda:98,cuda:99"), tmp_path)
    assert device_names(EncoderConfig(device="cuda:0, cuda:1")) == ["cuda:0", "cuda:1"]


def test_an_encoder_of_one_batch_at_a_time_is_driven_in_order() -> None:
    encoder = BagOfWords()
    batches = batches_of(encoder, TEXTS)
    found = list(encode_batches(encoder, batches, "query"))
    expected = [encoder.encode_queries(batch) for batch in batches]
    assert all((a == b).all() for a, b in zip(found, expected, strict=True))


def test_results_keep_their_order_and_few_wait() -> None:
    begun: list[int] = []

    def call(item: int) -> int:
        begun.append(item)
        time.sleep(0.02 if item % 3 == 0 else 0)
        return item * item

    results = in_order(call, range(30), 3)
    assert next(results) == 0
    assert len(begun) <= 6
    assert list(results) == [i * i for i in range(1, 30)]


@pytest.mark.parametrize("how", ["failure", "consumer"])
def test_an_end_before_the_end_stops_the_rest(how: str) -> None:
    stop = threading.Event()
    begun: list[int] = []

    def call(item: int) -> int:
        begun.append(item)
        if item == 2 and how == "failure":
            raise KeyError(item)
        if item > 0 and stop.wait(0.2 if how == "failure" else 0.01):
            return -1
        return item

    def items() -> Iterator[int]:
        yield from range(1000)

    results = in_order(call, items(), 2, stop.set)
    if how == "failure":
        with pytest.raises(KeyError):
            list(results)
    else:
        assert next(results) == 0
        results.close()  # type: ignore[attr-defined]
    assert stop.is_set()
    assert len(begun) < 10
