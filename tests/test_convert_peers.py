"""Mined output in the trainers' and the hub's own readers, datasets of the hub, and the card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest
import yaml
from cli_setup import in_process, write_setup
from huggingface_hub import DatasetCard
from tiny_model import tiny_model

from pyrite import ConvertOptions, PyriteError, convert, load_config, mine
from pyrite.core.dataset import open_dataset
from pyrite.core.hub_tables import SCHEME
from pyrite.miner.convert.card import _origin_of, _unrooted_within
from pyrite.trainers.run_config import TrainConfig


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished mining run."""
    folder = tmp_path_factory.mktemp("mined")
    mine(load_config(TrainConfig, write_setup(folder)))
    return folder


def run_of(home: Path) -> Path:
    return home / "runs" / "toy"


def mined(home: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(
        run_of(home) / "negatives" / "negatives.parquet"
    ).to_pylist()
    return rows


def texts_of(home: Path) -> tuple[dict[str, str], dict[str, str]]:
    config = load_config(TrainConfig, home / "config.yaml")
    dataset = open_dataset(config.dataset, config.cache)
    corpus, queries = (
        dict(zip(t.id_strings(slice(None)), t.texts(slice(None)), strict=True))
        for t in (dataset.corpus, dataset.queries)
    )
    return corpus, queries


def test_mined_negatives_are_the_rows_of_the_file(home: Path, tmp_path: Path) -> None:
    done = convert(run_of(home), tmp_path / "train.jsonl", "tevatron", ConvertOptions(strict=True))
    assert done.lost == {}
    corpus, queries = texts_of(home)
    rows = mined(home)
    written = [json.loads(line) for line in (tmp_path / "train.jsonl").open(encoding="utf-8")]
    assert [w["query_id"] for w in written] == [r["query_id"] for r in rows]
    for row, record in zip(rows, written, strict=True):
        assert record["query"] == queries[row["query_id"]]
        passages = record["negative_passages"]
        assert [p["docid"] for p in passages] == row["negative_ids"]
        assert [f"{p['title']} {p['text']}".strip() for p in passages] == [
            corpus[name] for name in row["negative_ids"]
        ]
        for plural, one in (("scores", "score"), ("ranks", "rank"), ("sources", "source")):
            assert [p[one] for p in passages] == row[plural]
        assert {p["score"] for p in record["positive_passages"]} == {row["pos_score"]}


@pytest.mark.parametrize("to", ["st", "st-triplet"])
def test_a_trainer_takes_the_file_unchanged(home: Path, tmp_path: Path, to: str) -> None:
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.training_args import (
        SentenceTransformerTrainingArguments,
    )

    convert(run_of(home), tmp_path / "out", to)
    data = datasets.load_dataset(
        str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "c")
    )
    model = SentenceTransformer(str(tiny_model(tmp_path / "model")), device="cpu")
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path / "model-out"),
        max_steps=2,
        per_device_train_batch_size=4,
        report_to=[],
        use_cpu=True,
    )
    loss = MultipleNegativesRankingLoss(model)
    trainer = SentenceTransformerTrainer(model, arguments, data, loss=loss)
    assert trainer.train().global_step == 2


@pytest.mark.parametrize("to", ["st-ids", "pylate"])
def test_sentence_transformers_resolves_the_ids(home: Path, tmp_path: Path, to: str) -> None:
    from sentence_transformers.util.dataset import resolve_ids

    convert(run_of(home), tmp_path / "out", to)
    options = {"split": "train", "cache_dir": str(tmp_path / "cache")}
    train, queries, documents = (
        datasets.load_dataset(str(tmp_path / "out"), name, **options)
        for name in ("train", "queries", "documents")
    )
    if to == "st-ids":
        lookups = {"query_id": queries, "positive_id": documents, "negative_id": documents}
        train.set_transform(resolve_ids(lookups))
    else:
        lookups = {"query_id": queries, "document_ids": documents}
        train.set_transform(resolve_ids(lookups, output_format="lists"))
    corpus, asked = texts_of(home)
    # a row without negatives makes no triplet
    first = next(row for row in mined(home) if row["negative_ids"] or to == "pylate")
    found = train[0]
    assert found["query"] == asked[first["query_id"]]
    if to == "st-ids":
        assert list(found) == ["query", "positive", "negative"]
        assert found["negative"] == corpus[first["negative_ids"][0]]
    else:
        assert found["documents"][1:] == [corpus[name] for name in first["negative_ids"]]
        assert len(found["scores"]) == len(found["documents"])


@pytest.mark.parametrize(
    "to",
    [
        *("tevatron", "flag", "parquet", "st", "st-list", "nemo-inline", "pylate"),
        *("contrastors", "ms-swift", "ms-swift-messages"),
    ],
)
def test_datasets_loads_the_folder(
    home: Path, tmp_path: Path, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    done = convert(run_of(home), tmp_path / "out", to)
    data = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert data["train"].num_rows == done.records
    first = data["train"][0]
    assert first["anchor" if to.startswith("st") else "query_id"]
    assert list(data) == ["train"]
    if to == "pylate":
        tables = {
            name: datasets.load_dataset(
                str(tmp_path / "out"), name, split="train", cache_dir=str(tmp_path / "c")
            )
            for name in ("queries", "documents")
        }
        assert tables["queries"].column_names == ["query_id", "text"]
        assert tables["documents"].column_names == ["document_id", "text"]


@pytest.mark.parametrize("form", ["save_to_disk", "dict", "parquet", "json", "streamed"])
def test_hugging_face_datasets_are_read(
    home: Path, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(run_of(home), tmp_path / "train.jsonl", "tevatron")
    expected = (tmp_path / "train.jsonl").read_bytes()
    records = [json.loads(line) for line in expected.decode().splitlines()]
    data = datasets.Dataset.from_list(records)
    given, asked = tmp_path / "hf", str(tmp_path / "hf")
    if form == "save_to_disk":
        data.save_to_disk(asked)
    elif form == "dict":
        datasets.DatasetDict({"train": data, "test": data.select(range(1))}).save_to_disk(asked)
    elif form == "parquet":
        given.mkdir()
        for at in range(2):
            data.shard(2, at, contiguous=True).to_parquet(
                given / f"train-0000{at}-of-00002.parquet"
            )
    elif form == "json":
        (given / "data").mkdir(parents=True)
        (given / "data" / "train-x.jsonl").write_bytes(expected)
    else:
        asked = f"{SCHEME}me/set"

        def load(name: str, config: str | None, streaming: bool) -> dict[str, Any]:
            assert (name, config, streaming) == ("me/set", None, True)
            return {"train": data.to_iterable_dataset()}

        monkeypatch.setattr(datasets, "load_dataset", load)
        monkeypatch.setattr(datasets, "get_dataset_config_names", lambda name: ["default"])
    done = convert(asked, tmp_path / "back.jsonl", "tevatron")
    assert done.format == "a Hugging Face dataset, Tevatron"
    assert (done.rows, done.lost) == (len(records), {})
    assert [
        json.loads(line) for line in (tmp_path / "back.jsonl").open(encoding="utf-8")
    ] == records


def test_a_split_that_is_not_there(tmp_path: Path) -> None:
    data = datasets.Dataset.from_list([{"anchor": "q", "positive": "p", "negative": "n"}])
    datasets.DatasetDict({"test": data}).save_to_disk(str(tmp_path / "hf"))
    with pytest.raises(PyriteError, match="no split 'train'; the data set has test; set --split"):
        convert(tmp_path / "hf", tmp_path / "out", "st")
    done = convert(tmp_path / "hf", tmp_path / "out", "st", ConvertOptions(split="test"))
    assert done.rows == 1


def test_a_bad_row_of_a_hub_dataset_is_named(tmp_path: Path) -> None:
    rows = [{"query": "q", "pos": ["p"], "neg": ["n"]}, {"query": "q", "pos": None, "neg": ["n"]}]
    datasets.Dataset.from_list(rows).save_to_disk(str(tmp_path / "hf"))
    with pytest.raises(PyriteError, match=r"hf:2: field 'pos' is null; it must be a list"):
        convert(tmp_path / "hf", tmp_path / "out", "tevatron")


def test_a_hub_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*args: Any, **options: Any) -> None:
        raise ConnectionError("no route\nto the hub")

    monkeypatch.setattr(datasets, "get_dataset_config_names", load)
    with pytest.raises(
        PyriteError, match=r"\(no route to the hub\); without the hub, name a local"
    ):
        convert(f"{SCHEME}me/set", tmp_path / "out", "tevatron")
    assert not (tmp_path / "out").exists()


def test_the_card_says_what_was_mined_from_what(home: Path, tmp_path: Path) -> None:
    done = convert(run_of(home), tmp_path / "out", "flag")
    card = DatasetCard.load(tmp_path / "out" / "README.md")
    assert card.data.task_categories == ["text-retrieval", "sentence-similarity"]
    assert card.data.to_dict()["configs"] == [
        {"config_name": "default", "data_files": [{"split": "train", "path": "train.jsonl"}]}
    ]
    manifest = json.loads((run_of(home) / "negatives" / "manifest.json").read_text("utf-8"))
    config = manifest["config"]
    for said in (
        "mined from: `data`",
        f"digest of the dataset: `{manifest['inputs']['dataset']}`",
        f"sampler: `{config['sampler']['name']}, {config['sampler']['n']} a query`",
        f"rows read: {done.rows}",
        "not kept: `field 'rank' of a document`",
        "## Audit of the source",
        "## Limits",
        "train.jsonl",
    ):
        assert said in card.text, said
    block = card.text.partition("```yaml\n")[2].partition("```")[0]
    assert yaml.safe_load(block)["filters"] == config["filters"]
    # nothing of this machine: neither its folders nor a text of the data
    assert str(home) not in card.content
    assert (
        json.loads((tmp_path / "out" / "train.jsonl").open().readline())["query"] not in card.text
    )


def test_nothing_in_a_name_acts_as_markdown_and_no_folder_is_told(tmp_path: Path) -> None:
    row = {"query": "q", "pos": ["p"], "neg": ["n"], "<b>`x": 1}
    (tmp_path / "in.jsonl").write_text(json.dumps(row), encoding="utf-8")
    convert(tmp_path / "in.jsonl", tmp_path / "out", "st")
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "- not kept: `` field '<b>`x' `` (1)" in card
    assert str(tmp_path) not in card
    settings = {"denoise": {"model": str(tmp_path / "secret" / "model")}, "mix": [{"a": "b/c"}]}
    assert _origin_of(str(tmp_path / "data")) == "data"
    assert _origin_of(f"{SCHEME}me/set") == f"{SCHEME}me/set"
    assert _unrooted_within(settings) == {"denoise": {"model": "model"}, "mix": [{"a": "b/c"}]}


def test_the_same_input_gives_the_same_folder(home: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        convert(run_of(home), tmp_path / name, "pylate")
    one, two = (
        {p.relative_to(f).as_posix(): p.read_bytes() for p in f.rglob("*") if p.is_file()}
        for f in (tmp_path / "one", tmp_path / "two")
    )
    assert one == two
    for name in ("one.jsonl.gz", "two.jsonl.gz"):
        convert(run_of(home), tmp_path / name, "flag")
    assert (tmp_path / "one.jsonl.gz").read_bytes() == (tmp_path / "two.jsonl.gz").read_bytes()


class FakeApi:
    """Takes what is pushed."""

    calls: list[tuple[str, dict[str, Any]]] = []  # noqa: RUF012

    def __init__(self, token: str) -> None:
        self.calls.append(("token", {"token": token}))

    def create_repo(self, repository: str, **options: Any) -> None:
        self.calls.append((repository, options))

    def upload_folder(self, **options: Any) -> None:
        names = sorted(p.name for p in Path(options["folder_path"]).iterdir())
        self.calls.append(("upload", {**options, "names": names}))


def test_a_folder_is_pushed_with_the_token_of_the_environment(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeApi.calls.clear()
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setattr("huggingface_hub.HfApi", FakeApi)
    options = ConvertOptions(push_to_hub="me/negatives")
    convert(run_of(home), tmp_path / "out", "flag", options)
    (_, token), (name, made), (_, sent) = FakeApi.calls
    assert token == {"token": "secret"}
    assert (name, made["repo_type"], made["private"]) == ("me/negatives", "dataset", True)
    assert (sent["repo_id"], sent["repo_type"]) == ("me/negatives", "dataset")
    assert sent["names"] == ["README.md", "train.jsonl"]
    assert "secret" not in (tmp_path / "out" / "README.md").read_text("utf-8")


def test_pushing_needs_a_token_and_a_folder(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    options = ConvertOptions(push_to_hub="me/x")
    with pytest.raises(PyriteError, match=r"--push-to-hub me/x needs a token.*HF_TOKEN"):
        convert(run_of(home), tmp_path / "out", "flag", options)
    with pytest.raises(PyriteError, match=r"out.jsonl is a file; name a folder"):
        convert(run_of(home), tmp_path / "out.jsonl", "flag", options)
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(PyriteError, match=r"the hub did not take the dataset \(.*it is kept in"):
        convert(run_of(home), tmp_path / "out", "flag", options)
    assert (tmp_path / "out" / "train.jsonl").is_file()


def test_the_verb_prints_its_guess_and_each_loss(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ("convert", str(run_of(home)), str(tmp_path / "out"), "--to", "st")
    outcome = in_process(monkeypatch, capfd, *arguments)
    assert outcome.code == 0
    said = outcome.out.splitlines()
    assert said[0].startswith(f"{run_of(home)}: read as a parquet file, Pyrite run; ")
    assert any(line.startswith("not kept: query id: ") for line in said)
    assert said[-1].startswith(f"wrote {tmp_path / 'out'}: ")
    again = in_process(monkeypatch, capfd, *arguments)
    assert again.code == 2
    assert "exists and is never overwritten" in again.errors[0]
    file = str(tmp_path / "out.jsonl")
    told = in_process(monkeypatch, capfd, *arguments[:2], file, "--to", "flag", "--json")
    assert json.loads(told.out)["to"] == "flag"


def test_the_folder_that_mine_writes_has_a_card(home: Path, tmp_path: Path) -> None:
    folder = run_of(home) / "negatives"
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    card = DatasetCard.load(folder / "README.md")
    assert manifest["files"]["README.md"]["bytes"] == (folder / "README.md").stat().st_size
    digest = manifest["files"]["negatives.parquet"]["digest"]
    for said in (
        "# `toy`, hard negatives mined by Pyrite",
        "mined from: `data`",
        f"digest of the dataset: `{manifest['inputs']['dataset']}`",
        "sampler: `topk, 2 a query`",
        "model: `model`",
        f"queries: `{manifest['counts']['queries']}`",
        f"{digest} |",
        "## Limits",
    ):
        assert said in card.text, said
    assert str(home) not in card.content
    assert next(iter(texts_of(home)[1].values())) not in card.content
    data = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "c"))
    assert data.num_rows == len(mined(home))
    # the same run elsewhere has the same card, and nothing is mined again for it
    again = tmp_path / "again"
    mine(load_config(TrainConfig, write_setup(again)))
    twin = again / "runs" / "toy" / "negatives" / "README.md"
    assert twin.read_bytes() == (folder / "README.md").read_bytes()
    assert mine(load_config(TrainConfig, home / "config.yaml")).reused
