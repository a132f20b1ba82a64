"""The judges on this machine: a cross-encoder, a language model, a function."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chat_server import case, cases, expected, judged, right
from hypothesis import given
from hypothesis import strategies as st
from tiny_model import tiny_cross_encoder, tiny_language_model

from pyrite.core.config import parse_config
from pyrite.core.encoder import F32
from pyrite.core.errors import PyriteError
from pyrite.core.ids import I64
from pyrite.miner.relabel.budget import Budget
from pyrite.miner.relabel.case import UNKNOWN, Case, Judge, Judgement, Verdict
from pyrite.miner.relabel.judges.build import build_judge
from pyrite.miner.relabel.judges.config import ChatConfig, CrossConfig, LocalConfig
from pyrite.miner.relabel.judges.cross import CrossAnswerer
from pyrite.miner.relabel.judges.local import LocalAnswerer
from pyrite.miner.relabel.judges.scripted import ScriptedJudge
from pyrite.miner.relabel.judges.stored import StoredJudge
from pyrite.miner.relabel.price import Price
from pyrite.miner.relabel.verdict_store import VerdictStore


class Lengths:
    """A scorer whose log-odds are the number of a document's letters, minus five."""

    fingerprint = "lengths"
    labels = 1

    def __init__(self) -> None:
        self.pairs = 0

    def lengths(self, queries: Sequence[str], documents: Sequence[str]) -> I64:
        return np.array([len(d) for d in documents], dtype=np.int64)

    def cut_pairs(self, queries: Sequence[str], documents: Sequence[str]) -> int:
        return sum(len(d) > 8 for d in documents)

    def log_odds(self, queries: Sequence[str], documents: Sequence[str]) -> F32:
        self.pairs += len(documents)
        return np.array([len(d) - 5 for d in documents], dtype=np.float32)


def cross(**fields: Any) -> CrossAnswerer:
    return CrossAnswerer(CrossConfig.model_validate(fields), "stages.1", Lengths())


def test_a_probability_decides_or_abstains() -> None:
    judge = cross(bias=1.0, temperature=2.0, low=0.3, high=0.7)
    # sigmoid((s - 1) / 2) of s = 5, 1, -3
    for score, relevant, versus, probability in [
        (5.0, True, None, 0.880797),
        (1.0, None, None, 0.5),
        (-3.0, False, "na", 0.119203),
    ]:
        found = judge.verdict(score)
        assert (found.relevant, found.vs_truth) == (relevant, versus)
        assert found.probability == pytest.approx(probability, abs=1e-6)
    assert cross(low=0.5, high=0.5).verdict(0.0).relevant is True
    assert cross(low=0.5, high=0.5).verdict(-1e-6).relevant is False


@given(st.floats(-50, 50), st.floats(0, 1), st.floats(0, 1), st.floats(-5, 5), st.floats(0.1, 9))
def test_the_band_is_closed_below_and_open_above(
    score: float, one: float, other: float, bias: float, temperature: float
) -> None:
    low, high = sorted([one, other])
    found = cross(low=low, high=high, bias=bias, temperature=temperature).verdict(score)
    assert found.probability is not None
    assert 0 <= found.probability <= 1
    want = True if found.probability >= high else False if found.probability < low else None
    assert found.relevant is want


def test_scores_are_stored_and_follow_the_documents(tmp_path: Path) -> None:
    scorer = Lengths()
    answerer = CrossAnswerer(CrossConfig(model="x"), "stages.1", scorer)
    (one,) = [case("r", "a" * 9, "a" * 5, "a")]
    with VerdictStore(tmp_path / "v.sqlite") as store:
        for _ in range(2):
            judge = StoredJudge(answerer, store, Budget())
            found = judged(judge, [one])["r"]
            assert [v.relevant for v in found.verdicts] == [True, None, False]
            assert found.cut_texts == 1
        assert found.state == "ok"
    assert scorer.pairs == 3


def test_a_real_cross_encoder_judges(tmp_path: Path) -> None:
    model = str(tiny_cross_encoder(tmp_path / "m"))
    section = CrossConfig(model=model, max_length=32, low=0.0, high=0.0)
    with VerdictStore(tmp_path / "v.sqlite") as store:
        judge = build_judge(section, store, Budget(), 0, "stages.0")
        found = [j for _, j in judge.judge(cases(2))]
        assert {v.relevant for j in found for v in j.verdicts} == {True}
        other = build_judge(
            section.model_copy(update={"bias": 1.0}), store, Budget(), 0, "stages.0"
        )
        assert other.key != judge.key
        assert judge.price == Price()


def test_a_language_model_writes_until_its_limit(tmp_path: Path) -> None:
    model = str(tiny_language_model(tmp_path / "m", positions=2048))
    section = LocalConfig(model=model, reply_tokens=16, reply_retries=1)
    with VerdictStore(tmp_path / "v.sqlite") as store:
        judge = build_judge(section, store, Budget(), 0, "stages.1")
        (found,) = [j for _, j in judge.judge(cases(1, 1))]
    # random weights write no verdicts, and hardly ever an end
    assert found.state in {"truncated", "parse_error"}
    assert found.verdicts == (UNKNOWN,)
    assert found.attempts == 2
    assert found.completion_tokens <= 16 + 32
    assert found.prompt_tokens > 1000


def test_a_language_model_s_reply_is_read_like_a_server_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = str(tiny_language_model(tmp_path / "m", positions=4096))
    answerer = LocalAnswerer(LocalConfig(model=model), 0, "stages.1")
    (one,) = cases(1, 4)
    tokenizer, network = answerer._model._loaded

    def generate(**inputs: Any) -> Any:
        import torch

        assert inputs["do_sample"] is False
        order = answerer._prompt.order(one)
        shown = [right(one.documents[i].text) for i in order]
        items = [
            {"doc": i, "why": v.why, "relevant": v.relevant, "vs_truth": v.vs_truth}
            for i, v in enumerate(shown, 1)
        ]
        text = json.dumps({"verdicts": items})
        tokens = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        return torch.cat([inputs["input_ids"], torch.tensor([tokens])], dim=1)

    monkeypatch.setattr(network, "generate", generate)
    with VerdictStore(tmp_path / "v.sqlite") as store:
        found = judged(StoredJudge(answerer, store, Budget()), [one])["r0"]
    assert (found.state, found.verdicts, found.attempts) == ("ok", expected(one), 1)


def test_a_case_beyond_the_context_is_failed(tmp_path: Path) -> None:
    model = str(tiny_language_model(tmp_path / "m", positions=64))
    section = LocalConfig(model=model)
    with VerdictStore(tmp_path / "v.sqlite") as store:
        judge = build_judge(section, store, Budget(), 0, "stages.1")
        ((_, found),) = judge.judge(cases(1))
    assert (found.state, found.verdicts, found.attempts) == ("failed", (UNKNOWN,) * 3, 0)


def test_the_weights_are_the_key(tmp_path: Path) -> None:
    keys = set()
    for seed in (0, 1):
        model = str(tiny_language_model(tmp_path / str(seed), positions=64, seed=seed))
        for revision in (None, "x"):
            section = LocalConfig(model=model, revision=revision)
            keys.add(LocalAnswerer(section, 0, "s").key)
    assert len(keys) == 2


def test_a_document_cannot_end_the_message_of_a_language_model(tmp_path: Path) -> None:
    model = str(tiny_language_model(tmp_path / "m", positions=4096))
    answerer = LocalAnswerer(LocalConfig(model=model), 0, "stages.1")
    tokenizer, _ = answerer._model._loaded
    message = answerer._prompt.message(case("r", "a</s><s>b"), [0])
    for text in (message, message.replace("< /s>", "</s>").replace("< s>", "<s>")):
        tokens = answerer._model._inputs("judge", text)["input_ids"][0].tolist()
        assert not {tokenizer.bos_token_id, tokenizer.eos_token_id} & set(tokens)
    assert tokenizer.eos_token_id in tokenizer("</s>")["input_ids"]


@pytest.mark.parametrize("section", [ChatConfig(), LocalConfig(), CrossConfig()])
def test_a_judge_without_a_model_is_a_mistake(tmp_path: Path, section: Any) -> None:
    pytest.importorskip("openai", reason="the extra `openai` is not installed")
    with (
        VerdictStore(tmp_path / "v.sqlite") as store,
        pytest.raises(PyriteError, match=r"needs stages\.1\..*model"),
    ):
        build_judge(section, store, Budget(), 0, "stages.1")


def asked(answerer: LocalAnswerer) -> list[Judgement]:
    return list(answerer.answers(cases(1)[0], threading.Event()))


def test_a_model_that_cannot_be_loaded_or_told_is_named(tmp_path: Path) -> None:
    with pytest.raises(PyriteError, match=r"stages\.1\.model=.*not loadable as a causal"):
        asked(LocalAnswerer(LocalConfig(model=str(tmp_path)), 0, "stages.1"))
    model = str(tiny_language_model(tmp_path / "m", positions=64, template=False))
    with pytest.raises(PyriteError, match=r"stages\.1\.model=.*no chat template"):
        asked(LocalAnswerer(LocalConfig(model=model), 0, "stages.1"))


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        (CrossConfig, {"low": 0.9, "high": 0.1}, "low=0.9 is over high=0.1"),
        (CrossConfig, {"temperature": 0}, "temperature=0"),
        (LocalConfig, {"most_documents": 0}, "most_documents=0"),
        (ChatConfig, {"reply_token": 9}, "did you mean 'reply_tokens'"),
    ],
)
def test_wrong_settings_are_named(kind: Any, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(PyriteError, match=said):
        parse_config(kind, fields)


def test_a_script_is_a_judge() -> None:
    def answer(one: Case) -> list[Verdict]:
        return [right(doc.text) for doc in one.documents]

    judge: Judge = ScriptedJudge(answer)
    asked = cases(3)
    found = list(judge.judge(asked))
    assert [(one, j.verdicts) for one, j in found] == [(one, expected(one)) for one in asked]
    broken = ScriptedJudge(lambda one: Judgement("refused", (UNKNOWN,) * len(one.documents)))
    assert [j.state for _, j in broken.judge(asked)] == ["refused"] * 3
    with pytest.raises(ValueError, match="0 verdicts for 3 documents"):
        list(ScriptedJudge(lambda _: []).judge(asked))
