"""What travels with a batch beside its texts: ids, the miner's doubts, a teacher's scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..core.errors import PyriteError
from .masks import BatchIds

if TYPE_CHECKING:
    from .logits import Sides

Labels = Tensor | Mapping[str, Tensor] | None


@dataclass(frozen=True, slots=True)
class Step:
    """One batch, B rows of this process out of the G on all devices, n negatives each.

    `ids` covers all G rows; `rows_B` are this process's among them. `doubt_Bn` float32 is the
    miner's P(false negative) of the row's own negatives; `teacher_BC` float32 [B, 1 + n] a
    teacher's scores of the positive and the negatives, NaN where unknown. `numbers_B2` int64 are
    each row's number and how often its negatives were replaced. `terms` holds the
    token ids of each text, columns in the order (queries, positives, first negatives, ..), where
    a loss asks for them.
    """

    ids: BatchIds
    rows_B: Tensor
    doubt_Bn: Tensor | None = None
    teacher_BC: Tensor | None = None
    numbers_B2: Tensor | None = None
    guide: Sides | None = None
    terms: list[list[list[int]]] | None = None

    @property
    def negatives(self) -> int:
        """Columns of mined negatives, n."""
        return self.ids.docs_M.numel() // self.ids.queries_G.numel() - 1


def step_of(labels: Labels, rows: int, columns: int, device: torch.device, gather: bool) -> Step:
    """Read what came with a batch of `rows` rows and `columns` texts in each.

    `labels` is int64 [B, columns]: query number, text numbers, -1 a missing negative; or a mapping
    with that as `ids` and optionally `doubt`, `teacher` and `numbers`; or None: all texts are taken
    for different, and each query for one of its own. Raises PyriteError on another shape or dtype.
    """
    values = dict(labels) if isinstance(labels, Mapping) else {"ids": labels}
    ids = values.get("ids")
    if ids is None:
        ids = _all_different(rows, columns, device)
    _check(ids, rows, columns)
    # narrower numbers would overflow in `query * span + text`
    ids = ids.to(device, torch.int64)
    everyone, first = _gathered(ids) if gather else (ids, 0)
    return Step(
        BatchIds.of(everyone),
        torch.arange(first, first + rows, device=device),
        _scores(values, "doubt", (rows, columns - 2), device),
        _scores(values, "teacher", (rows, columns - 1), device),
        values.get("numbers"),
    )


def _check(ids: Tensor, rows: int, columns: int) -> None:
    whole = not (ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool)
    if tuple(ids.shape) != (rows, columns) or not whole:
        raise PyriteError(
            f"the batch's labels are {ids.dtype} {list(ids.shape)}; expected whole numbers"
            f" [{rows}, {columns}]: the query's number, then one text number for each document"
        )


def _scores(
    values: Mapping[str, Tensor | None], name: str, shape: tuple[int, int], device: torch.device
) -> Tensor | None:
    scores = values.get(name)
    if scores is None:
        return None
    if tuple(scores.shape) != shape:
        raise PyriteError(
            f"the batch's labels[{name!r}] have the shape {list(scores.shape)}; expected"
            f" {list(shape)}: one number for each {'negative' if name == 'doubt' else 'document'}"
        )
    return scores.to(device).float()


def _all_different(rows: int, columns: int, device: torch.device) -> Tensor:
    from sentence_transformers.util import get_rank

    first = get_rank() * rows
    queries = torch.arange(first, first + rows, device=device)
    texts = torch.arange(columns - 1, device=device)
    return torch.cat((queries[:, None], queries[:, None] * (columns - 1) + texts[None, :]), dim=1)


def _gathered(ids: Tensor) -> tuple[Tensor, int]:
    """All devices' rows, and where this process's begin."""
    from sentence_transformers.util import get_rank
    from sentence_transformers.util.distributed import all_gather

    return all_gather(ids), get_rank() * ids.shape[0]
