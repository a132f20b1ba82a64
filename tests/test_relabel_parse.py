from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrite.miner.relabel.case import UNKNOWN, Verdict, VsTruth
from pyrite.miner.relabel.parse import SCHEMA, parse_reply

VERSUS: dict[bool, list[VsTruth]] = {True: ["better", "equal", "worse"], False: ["na"]}


def item(doc: Any, relevant: Any = False, vs_truth: Any = "na", why: Any = "w") -> dict[str, Any]:
    return {"doc": doc, "relevant": relevant, "vs_truth": vs_truth, "why": why}


def reply(*items: Any) -> str:
    return json.dumps({"verdicts": list(items)})


@st.composite
def verdicts(draw: st.DrawFn) -> list[Verdict]:
    found = []
    for relevant in draw(st.lists(st.booleans(), max_size=30)):
        versus = draw(st.sampled_from(VERSUS[relevant]))
        why = draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
        found.append(Verdict(relevant, versus, None, why))
    return found


def items_of(found: list[Verdict]) -> list[dict[str, Any]]:
    return [item(i, v.relevant, v.vs_truth, v.why) for i, v in enumerate(found, 1)]


@given(verdicts(), st.randoms(use_true_random=False), st.booleans())
def test_every_right_reply_is_read_in_any_order(
    found: list[Verdict], random: Any, fence: bool
) -> None:
    items = items_of(found)
    random.shuffle(items)
    text = json.dumps({"verdicts": items}, indent=random.choice([None, 2]))
    text = f"\n```json\n{text}\n```\n" if fence else text
    assert parse_reply(text, len(found)) == ("ok", tuple(found))


@given(verdicts().filter(len), st.data())
def test_every_cut_reply_decides_nothing(found: list[Verdict], data: st.DataObject) -> None:
    text = json.dumps({"verdicts": items_of(found)})
    cut = data.draw(st.integers(0, len(text) - 1))
    assert parse_reply(text[:cut], len(found)) == ("parse_error", (UNKNOWN,) * len(found))


@given(verdicts().filter(len), st.data())
def test_every_wrong_set_of_numbers_is_an_index_error(
    found: list[Verdict], data: st.DataObject
) -> None:
    items = items_of(found)
    place = data.draw(st.integers(0, len(items) - 1))
    right = items[place]["doc"]
    items[place]["doc"] = data.draw(st.integers().filter(lambda n: n != right))
    assert parse_reply(json.dumps({"verdicts": items}), len(found))[0] == "index_error"


@given(st.text(), st.integers(0, 5))
def test_no_text_at_all_is_an_exception_or_a_guess(text: str, documents: int) -> None:
    state, found = parse_reply(text, documents)
    assert len(found) == documents
    assert state == "parse_error"
    assert set(found) <= {UNKNOWN}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["verdicts", "doc", "why", "x"]), inner, max_size=4)
    ),
)


@given(JSON, st.integers(1, 5))
def test_no_other_json_is_a_verdict(value: Any, documents: int) -> None:
    state, found = parse_reply(json.dumps(value), documents)
    assert state != "ok"
    assert found == (UNKNOWN,) * documents


def test_document_26_of_25_is_an_index_error() -> None:
    items = [item(i) for i in range(1, 26)]
    assert parse_reply(reply(*items), 25)[0] == "ok"
    items[24] = item(26)
    assert parse_reply(reply(*items), 25)[0] == "index_error"


@pytest.mark.parametrize("numbers", [[0, 1], [1, 1], [1], [1, 2, 3], [1, 2, 2], [], [-1, 2]])
def test_numbers_must_be_each_once(numbers: list[int]) -> None:
    assert parse_reply(reply(*map(item, numbers)), 2)[0] == "index_error"


@pytest.mark.parametrize(
    "text",
    [
        reply(item(True)),
        reply(item(1.0)),
        reply(item("1")),
        reply(item(None)),
        reply(item(1, relevant=0)),
        reply(item(1, relevant="false")),
        reply(item(1, relevant=None)),
        reply(item(1, vs_truth="na ")),
        reply(item(1, vs_truth=["na"])),
        reply(item(1, vs_truth="worse")),
        reply(item(1, relevant=True, vs_truth="na")),
        reply(item(1, why=None)),
        reply({**item(1), "more": 1}),
        reply({k: v for k, v in item(1).items() if k != "why"}),
        reply([1]),
        "[" + reply(item(1)) + "]",
        '{"verdicts": {}}',
        '{"verdicts": [], "note": 1}',
        json.dumps([item(1)]),
        reply(item(1)) + " Done.",
        "Here you are: " + reply(item(1)),
        reply(item(1)) + reply(item(1)),
        "```json\n" + reply(item(1)),
        "```python\n" + reply(item(1)) + "\n```",
        "<think>so</think>" + reply(item(1)),
        reply(item(1)).replace('"doc": 1', '"doc": 1, "doc": 1'),
        reply(item(1)).replace('"doc": 1', '"doc": ' + "1" * 5000),
        reply(item(1)).replace('"w"', '"\\ud800"'),
        "[" * 100_000,
        "",
    ],
)
def test_anything_else_is_a_parse_error(text: str) -> None:
    assert parse_reply(text, 1) == ("parse_error", (UNKNOWN,))


def test_the_schema_that_servers_get_is_the_one_that_is_read() -> None:
    one = SCHEMA["properties"]["verdicts"]["items"]
    assert set(one["required"]) == set(one["properties"]) == set(item(1))
    for relevant, names in VERSUS.items():
        for name in names:
            assert name in one["properties"]["vs_truth"]["enum"]
            assert parse_reply(reply(item(1, relevant, name)), 1)[0] == "ok"
