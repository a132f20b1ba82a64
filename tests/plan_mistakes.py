"""Mistakes in what a plan is asked for."""

from __future__ import annotations

from mistake_case import Case, put, remove


def plan_cases() -> dict[str, Case]:
    def given(option: str, *says: str) -> Case:
        return Case(says, (option,), verb="plan")

    whole = "expected a whole number from 1 to 1e13"
    return {
        "no number of documents": given("--docs=many", "--docs=many", whole, "8.8M"),
        "half a query": given("--queries=1.5", "--queries=1.5", whole),
        "a depth of nothing": given("--depth=0", "--depth=0", whole),
        "an unknown device": given("--device=abacus", "--device=abacus", "cpu or cuda", "h200"),
        "sizes of a dataset elsewhere": given(
            "dataset.path=TMP/none", "dataset.path=TMP/none", "--docs and --queries"
        ),
        "no configuration of judges": given(
            "--relabel=TMP/none.yaml", "TMP/none.yaml", "no such configuration file"
        ),
        "a plan of no documents": Case(
            ("TMP/data/corpus.jsonl", "no texts"), spoil=put("data/corpus.jsonl", ""), verb="plan"
        ),
        "a plan of no queries": Case(
            ("TMP/data/queries.jsonl", "no such file"),
            spoil=remove("data/queries.jsonl"),
            verb="plan",
        ),
        "a plan of an object without a text": Case(
            ("TMP/data/corpus.jsonl", "no object with _id and text"),
            spoil=put("data/corpus.jsonl", '{"_id": "x"}\n'),
            verb="plan",
        ),
    }
