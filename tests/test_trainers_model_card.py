from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from cli_setup import in_process, write_setup
from huggingface_hub import HfApi
from tiny_model import tiny_model

from pyrite.core.config import load_config
from pyrite.core.errors import PyriteError
from pyrite.core.markdown import fenced, quoted
from pyrite.core.run import RunConfig
from pyrite.core.sbert import EncoderConfig, load_model
from pyrite.core.store import Manifest
from pyrite.eval.results import Evaluation
from pyrite.trainers.hub import check_token, push
from pyrite.trainers.model_card import write_card
from pyrite.trainers.run_config import TrainConfig
from pyrite.trainers.train import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainConfig, Path]:
    home = tmp_path_factory.mktemp("card")
    config = load_config(TrainConfig, write_setup(home))
    train(config)
    return config, home / "runs" / "toy"


def card_of(folder: Path, system: str = "mined") -> str:
    return (folder / "models" / system / "model" / "README.md").read_text("utf-8")


def test_a_card_says_what_the_model_was_trained_on(trained: tuple[TrainConfig, Path]) -> None:
    config, folder = trained
    card = card_of(folder)
    manifest = Manifest.read(folder / "negatives")
    assert manifest is not None
    assert f"- dataset: `{config.dataset.path}`" in card
    assert f"`{manifest.data['inputs']['dataset']}`" in card
    assert f"`{manifest.data['key']}`" in card
    assert '- sampler: `{"name":"topk","n":2}`' in card
    assert "- negatives: `of the same batch, and mined`" in card
    assert "- negatives: `of the same batch`" in card_of(folder, "in_batch")
    assert "| system | nDCG@10 | MRR@10 | Recall@100 |" in card
    assert card.count("\n| ") == 5


def test_the_configuration_in_a_card_can_be_run_again(trained: tuple[TrainConfig, Path]) -> None:
    config, folder = trained
    text = card_of(folder).split("```yaml\n")[1].split("\n```")[0]
    assert TrainConfig.model_validate(yaml.safe_load(text)) == config


def test_a_card_is_no_part_of_what_makes_a_model_whole(
    trained: tuple[TrainConfig, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = trained
    path = folder / "models" / "mined" / "model" / "README.md"
    before = path.read_bytes()
    path.unlink()

    def refuse(*args: Any, **options: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("pyrite.trainers.train.fit", refuse)
    train(config)
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ["a", "`", "a ``` b", "````", "<b>*x*</b>"])
def test_nothing_in_a_quoted_name_acts_as_markdown(text: str) -> None:
    found = quoted(text)
    ticks = len(found) - len(found.lstrip("`"))
    assert found == found[:ticks] + found[ticks:-ticks] + found[:ticks]
    assert found[ticks:-ticks].strip() == text
    assert "`" * ticks not in text
    block = fenced(text, "yaml").splitlines()
    assert block[1:-1] == [text]
    assert block[-1] not in text


def test_a_dataset_named_like_markdown_stays_a_name(tmp_path: Path) -> None:
    encoder = EncoderConfig(model=str(tiny_model(tmp_path)), max_length=32)
    config = RunConfig.model_validate({"dataset": {"path": "a`\n# heading\n```\n<script>"}})
    evaluation = Evaluation(["q"], {"ndcg@10": np.array([0.5])})
    facts = {"dataset": config.dataset.path}
    write_card(load_model(encoder), tmp_path, config, facts, {"mined": evaluation})
    card = (tmp_path / "README.md").read_text("utf-8")
    assert "- dataset: ```` a` # heading ``` <script> ````" in card
    outside = card.split("## How it was trained")[1].split("## Configuration")[0]
    assert "\n# heading" not in outside
    assert "````yaml\n" in card
    assert "| mined | 0.5000 |" in card


class FakeApi:
    """Takes what is pushed."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.calls: list[tuple[str, dict[str, Any]]] = []
        apis.append(self)

    def create_repo(self, repository: str, **options: Any) -> None:
        self.calls.append((repository, options))

    def upload_folder(self, **options: Any) -> None:
        self.calls.append(("upload", options))


apis: list[FakeApi] = []


def test_the_mined_model_is_pushed_with_the_token_of_the_environment(
    trained: tuple[TrainConfig, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = trained
    apis.clear()
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setattr("huggingface_hub.HfApi", FakeApi)
    section = config.train.model_copy(update={"push_to_hub": "me/model"})
    # the weights do not depend on it: nothing is trained again
    monkeypatch.setattr("pyrite.trainers.train.fit", None)
    train(config.model_copy(update={"train": section}))
    assert [api.token for api in apis] == ["secret"]
    (name, created), (_, uploaded) = apis[0].calls
    assert (name, created["private"], created["exist_ok"]) == ("me/model", True, True)
    assert uploaded["folder_path"] == str(folder / "models" / "mined" / "model")
    assert "secret" not in card_of(folder)


def test_pushing_needs_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(PyriteError, match=r"push_to_hub=a/b needs a token.*HF_TOKEN"):
        check_token("a/b")


def test_a_hub_that_cannot_be_reached_is_one_sentence_and_the_model_is_kept(
    trained: tuple[TrainConfig, Path],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    _, folder = trained
    monkeypatch.setenv("HF_TOKEN", "secret")

    def fail(*args: Any, **options: Any) -> None:
        raise ConnectionError("no route to the hub\nsecond line")

    monkeypatch.setattr(HfApi, "create_repo", fail)
    config = str(folder.parent.parent / "config.yaml")
    outcome = in_process(monkeypatch, capfd, "train", config, "train.push_to_hub=me/model")
    assert outcome.code == 2
    assert len(outcome.errors) == 1
    model = folder / "models" / "mined" / "model"
    for part in ("push_to_hub=me/model", "(no route to the hub)", str(model)):
        assert part in outcome.errors[0]
    assert "secret" not in outcome.err
    assert (model / "model.safetensors").is_file()


def test_an_offline_machine_cannot_push(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(PyriteError, match="the hub did not take the model"):
        push(tmp_path, "me/model")
