"""Mistakes with the verbs that compare; the configuration stands where they expect a run."""

from __future__ import annotations

from mistake_case import Case


def compare_cases() -> dict[str, Case]:
    run = "TMP/config.yaml"
    return {
        "a file in the place of a run": Case(
            (run, "no such folder", "a finished run"), ("TMP/data",), verb="compare"
        ),
        "pairs of an unknown kind": Case(
            (run, "ends in none of .csv, .tsv", "rename it"), verb="nevir"
        ),
        "an override that nevir has not": Case(
            ("'encoder.modle'", "mean 'encoder.model'?"), ("encoder.modle=x",), verb="nevir"
        ),
    }
