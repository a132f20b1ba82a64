"""The last look at negatives before they are written: what an audit calls an error stays out.

The filters, fall-backs and caps before it must not let such a negative through; this is one more
comparison for each negative of a block, not a reading of the file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..core.candidates import PAD_ID, Candidates, Negatives, Reason
from ..core.errors import PyriteError
from ..core.tables import TextTable
from .choose import Context
from .filters import structural_reasons

_ERRORS = {
    Reason.NONFINITE: "has a score that is not finite",
    Reason.POSITIVE: "is one of its positives",
    Reason.SAME_TEXT: "has the text of the query or of one of its positives",
}


def check_sound(
    negatives: Negatives, context: Context, queries: TextTable, corpus: TextTable, path: Path
) -> None:
    """Raise PyriteError if a negative of a block is what an audit calls an error.

    Checked: document rows, scores, known positives (those of equal queries too), equal texts.
    """
    ids = negatives.ids
    if ((ids < PAD_ID) | (ids >= len(corpus))).any():
        raise _refusal(path, f"a document row is outside 0..{len(corpus) - 1}")
    if not np.isfinite(negatives.pos_scores).all():
        at = int(np.flatnonzero(~np.isfinite(negatives.pos_scores))[0])
        [query] = queries.id_strings(negatives.query_rows[at : at + 1])
        raise _refusal(path, f"the positive of query {query!r} has a score that is not finite")
    columns = Candidates.of_one(negatives.query_rows, ids, negatives.scores, "")
    texts_Q = context.query_texts_Q[negatives.query_rows]
    reasons = structural_reasons(columns, context.qrels, texts_Q, context.doc_texts_N)
    for reason, says in _ERRORS.items():
        rows, places = np.nonzero(reasons & np.uint16(reason))
        if rows.size:
            [query] = queries.id_strings(negatives.query_rows[rows[:1]])
            [document] = corpus.id_strings(ids[rows[:1], places[:1]])
            raise _refusal(path, f"negative {document!r} of query {query!r} {says}")


def _refusal(path: Path, what: str) -> PyriteError:
    return PyriteError(
        f"{path}: not written, since {what}; mine again with another cache_dir, and report this"
    )
