from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from feed_setup import BATCH, FeedBench
from hypothesis import given
from hypothesis import strategies as st
from loss_cases import Lookup, random_batch
from sentence_transformers import SentenceTransformer
from tiny_model import tiny_model

from pyrite.core.config import parse_config
from pyrite.core.errors import PyriteError
from pyrite.core.sbert import EncoderConfig, load_model
from pyrite.trainers.fit import fit
from pyrite.trainers.logits import Sides
from pyrite.trainers.loss import ContrastiveLoss
from pyrite.trainers.loss_config import LossSection
from pyrite.trainers.masks import BatchIds, Known
from pyrite.trainers.refresh_trigger import Trigger, TriggerSection, count_easy
from pyrite.trainers.step import Step
from pyrite.trainers.train_config import TrainSection

NAN = float("nan")


Missing = frozenset[tuple[int, int]] | set[tuple[int, int]]


def batch(scores: list[list[float]], missing: Missing = frozenset()) -> tuple[Step, Sides]:
    """A batch whose rows have these scores with their positive and each of their negatives."""
    size, columns = len(scores), len(scores[0])
    ids = torch.arange(size * (columns + 1)).reshape(size, columns + 1)
    for row, negative in missing:
        ids[row, 2 + negative] = -1
    # a query is a unit vector, so that a document's score is one of its numbers
    docs = torch.zeros(columns * size, size)
    for row, values in enumerate(scores):
        for column, value in enumerate(values):
            docs[column * size + row, row] = value
    return Step(BatchIds.of(ids), torch.arange(size)), Sides(torch.eye(size), docs)


def counts(scores: list[list[float]], lead: float, missing: Missing = frozenset()) -> list[int]:
    found: list[int] = count_easy(*batch(scores, missing), lead).tolist()
    return found


def test_a_row_is_easy_if_its_positive_leads_every_negative() -> None:
    scores = [[0.9, 0.5, 0.1], [0.9, 0.5, 0.8], [0.9, 1.0, 0.1], [0.5, 0.25, 0.25]]
    assert counts(scores, 0.25) == [1, 4]
    assert counts(scores, 0.2) == [2, 4]
    assert counts(scores, 0.0) == [3, 4]


def test_missing_negatives_are_not_counted() -> None:
    scores = [[0.9, 0.1, 0.95], [0.9, 0.95, 0.95], [0.9, 0.1, 0.95]]
    assert counts(scores, 0.1, {(0, 1), (1, 0), (1, 1)}) == [1, 2]
    assert counts([[0.9], [0.1]], 0.1) == [0, 0]


def test_a_row_whose_score_is_no_number_is_not_easy() -> None:
    step, sides = batch([[0.9, 0.1, 0.1], [0.9, 0.1, 0.1], [0.9, 0.1, 0.1]])
    sides.docs_MD[3 + 1, 1] = NAN
    sides.docs_MD[2, 2] = NAN
    assert count_easy(step, sides, 0.0).tolist() == [1, 3]


@given(st.integers(0, 5000), st.floats(0, 3))
def test_the_count_is_that_of_plain_loops(seed: int, lead: float) -> None:
    case = random_batch(seed)
    model = Lookup()
    found: list[list[int]] = []
    loss = ContrastiveLoss(model, LossSection())
    loss.observers.append(lambda step, sides: found.append(count_easy(step, sides, lead).tolist()))
    loss(case.features(), case.labels())
    table = torch.nn.functional.normalize(model.table.detach(), dim=-1)
    easy = rows = 0
    for query, positive, *negatives in case.rows:
        real = [n for n in negatives if n != -1]
        score = float(table[12 + query] @ table[positive])
        gaps = [score - float(table[12 + query] @ table[n]) for n in real]
        if any(abs(gap - lead) < 1e-5 for gap in gaps):
            return
        rows += bool(real)
        easy += bool(real) and all(gap > lead for gap in gaps)
    assert found == [[easy, rows]]


def trigger(**changes: Any) -> Trigger:
    fields = {"easy_share": 0.5, "margin": 0.0, "window": 3, "min_steps": 1}
    return Trigger(TriggerSection(**{**fields, **changes}), 1.0)


def play(rule: Trigger, shares: list[tuple[int, int]], first: int = 1) -> list[int]:
    """Steps with so many easy and hard rows each; those after which a refresh is asked for."""
    asked = []
    for step, (easy, hard) in enumerate(shares, start=first):
        rule.observe(*batch([[1.0, 0.0]] * easy + [[0.0, 1.0]] * hard))
        if rule.end_step(step):
            asked.append(step)
    return asked


def test_a_refresh_is_asked_for_when_the_window_has_become_easy() -> None:
    rule = trigger()
    # 2 of 4, 5 of 8 and so on: the window of the last three steps is over one half at step 5
    assert play(rule, [(1, 3), (1, 3), (2, 2), (2, 2), (3, 1)]) == [5]
    # and the counting begins anew
    assert rule.easy_share is None
    assert play(rule, [(4, 0), (4, 0)], first=6) == []
    assert play(rule, [(4, 0)], first=8) == [8]


def test_not_before_the_window_is_full_and_not_sooner_than_min_steps() -> None:
    assert play(trigger(), [(4, 0)] * 2) == []
    assert play(trigger(min_steps=7), [(4, 0)] * 20) == [7, 14]
    assert play(trigger(min_steps=1, window=4), [(4, 0)] * 9) == [4, 8]


def test_a_share_at_the_limit_is_not_over_it() -> None:
    assert play(trigger(), [(2, 2)] * 5) == []
    assert play(trigger(easy_share=0.49), [(2, 2)] * 3) == [3]


def test_batches_of_one_step_add_up_and_rows_weigh_the_same() -> None:
    rule = trigger(window=1)
    rule.observe(*batch([[1.0, 0.0]]))
    rule.observe(*batch([[0.0, 1.0]] * 3))
    assert not rule.end_step(1)
    assert rule.easy_share == 1 / 4


def test_rows_without_negatives_ask_for_nothing() -> None:
    rule = trigger(window=1, easy_share=0.0)
    rule.observe(*batch([[1.0]]))
    assert not rule.end_step(1)
    assert rule.easy_share is None


def test_other_negatives_begin_a_new_window() -> None:
    rule = trigger()
    play(rule, [(4, 0)] * 2)
    rule.restart()
    assert play(rule, [(4, 0)] * 3, first=3) == [5]


def test_steps_that_still_draw_from_the_old_negatives_do_not_count(tmp_path: Path) -> None:
    rule = trigger()
    play(rule, [(0, 4)] * 2)
    rule.restart(since=4)
    # step number 4, from 0, is the fifth to end
    rule.save(tmp_path)
    assert play(rule, [(4, 0)] * 6, first=3) == [7]
    other = trigger()
    other.load(tmp_path)
    assert play(other, [(4, 0)] * 6, first=3) == [7]


def test_without_a_share_nothing_is_counted() -> None:
    rule = Trigger(TriggerSection(), 1.0)
    loss = ContrastiveLoss(Lookup())
    rule.watch(loss)
    assert loss.observers == []
    assert not rule.end_step(1)


def test_a_step_that_nobody_saw_is_a_defect() -> None:
    with pytest.raises(ValueError, match="without a batch"):
        trigger().end_step(1)


@given(
    shares=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=30),
    window=st.integers(1, 5),
    min_steps=st.integers(1, 9),
    data=st.data(),
)
def test_a_resumed_run_asks_at_the_same_steps(
    shares: list[tuple[int, int]],
    window: int,
    min_steps: int,
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    shares = [(easy, hard + (easy + hard == 0)) for easy, hard in shares]
    cut = data.draw(st.integers(1, len(shares) - 1))
    wanted = play(trigger(window=window, min_steps=min_steps), shares)
    rule = trigger(window=window, min_steps=min_steps)
    found = play(rule, shares[:cut])
    folder = tmp_path_factory.mktemp("checkpoint")
    rule.save(folder)
    other = trigger(window=window, min_steps=min_steps)
    other.load(folder)
    assert found + play(other, shares[cut:], first=cut + 1) == wanted
    # plain loops over the last steps
    asked: list[int] = []
    for step in range(1, len(shares) + 1):
        last = asked[-1] if asked else 0
        if step - last < window or step - last < min_steps:
            continue
        seen = shares[step - window : step]
        if sum(easy for easy, _ in seen) / sum(e + h for e, h in seen) > 0.5:
            asked.append(step)
    assert wanted == asked


def test_a_checkpoint_of_another_window_is_a_mistake(tmp_path: Path) -> None:
    trigger(window=3).save(tmp_path)
    with pytest.raises(PyriteError, match=r"counts of 3 steps, but refresh\.trigger\.window=4"):
        trigger(window=4).load(tmp_path)


def test_settings_without_a_share_are_a_mistake() -> None:
    with pytest.raises(PyriteError, match="window has no effect with easy_share=null"):
        parse_config(TriggerSection, {"window": 5})


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> FeedBench:
    folder = tmp_path_factory.mktemp("bench")
    return FeedBench.build(folder).with_model(tiny_model(folder / "tiny", dropout=0.1))


def test_a_training_is_watched_and_not_changed(
    tmp_path: Path, bench: FeedBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SentenceTransformer, "_create_model_card", lambda *args, **kwargs: None)
    weights, rules = [], []
    for watched in (False, True):
        config = TrainSection(steps=2, batch_size=BATCH, learning_rate=1e-3)
        model = load_model(EncoderConfig(model=str(bench.model), max_length=32))
        known = Known(torch.from_numpy(bench.pairs.known), bench.pairs.span)
        loss = ContrastiveLoss(model, known=known, mini_batch_size=8)
        rule = trigger(window=1, easy_share=0.0)
        if watched:
            rule.watch(loss)
        folder = tmp_path / f"watched-{watched}"
        fit(model, loss, bench.feed(2, 0, folder.name), config, folder, "key", 0, {})
        weights.append({name: values.clone() for name, values in model.state_dict().items()})
        rules.append(rule)
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    # two steps, of which none was closed: some of the rows of an epoch are easy by chance
    assert rules[1].end_step(2)
    with pytest.raises(ValueError, match="without a batch"):
        rules[0].end_step(2)


CHILD = """
import json, sys
import torch
import torch.distributed as dist
from test_trainers_refresh_trigger import batch, play, trigger

rank, folder, shares = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
rule = trigger(window=4, min_steps=5)
asked = play(rule, shares[rank])
print(json.dumps({"asked": asked, "share": rule.easy_share, "last": rule.last}))
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_ask_at_the_step_at_which_one_would(tmp_path: Path) -> None:
    draw = random.Random(3)
    shares = [[(draw.randint(0, 4), draw.randint(1, 3)) for _ in range(40)] for _ in range(2)]
    whole = [(a + c, b + d) for (a, b), (c, d) in zip(*shares, strict=True)]
    one = trigger(window=4, min_steps=5)
    wanted = {"asked": play(one, whole), "share": one.easy_share, "last": one.last}
    alone = [play(trigger(window=4, min_steps=5), part) for part in shares]
    assert wanted["asked"]
    assert alone[0] != alone[1]
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(rank), str(tmp_path), json.dumps(shares)],
            cwd=Path(__file__).parent,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    found = [json.loads(child.communicate(timeout=120)[0]) for child in children]
    assert found == [wanted, wanted]
