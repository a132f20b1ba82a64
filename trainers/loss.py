"""Every contrastive loss as one sentence-transformers loss module, cached or not.

The cached step is GradCache (Gao et al., arXiv 2101.06983) through sentence-transformers' own
mixin: texts are embedded chunk by chunk, the loss is computed row by row of the whole batch, and
each chunk is embedded again, with the same dropout, to carry its gradient on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers.base.losses.gradcache import CachedLossMixin
from sentence_transformers.base.losses.merged_forward import embed_columns
from sentence_transformers.util import all_gather, all_gather_with_grad
from torch import Tensor, nn

from ..core.errors import PyriteError
from ..core.rng import combine, splitmix64, stream
from .estimators.noise import noise_negatives
from .guide import FrozenVectors
from .logits import Sides
from .loss_config import LossSection
from .masks import Known
from .row_losses import WHOLE, Rows, part_of
from .step import Labels, Step, step_of

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)

_ROWS = 64
_CLAMPED = 0.5
_PURPOSE = 7


class ContrastiveLoss(CachedLossMixin, nn.Module):  # type: ignore[misc]
    """A loss for `SentenceTransformerTrainer`; columns are query, positive, negatives.

    `labels` are what `step.step_of` reads: with numbers in them, known positives, repeated texts
    and missing negatives are masked by number; without, all texts are taken for different.
    """

    known_pairs: Tensor
    clusters: Tensor | None

    def __init__(
        self,
        model: SentenceTransformer,
        config: LossSection | None = None,
        *,
        known: Known | None = None,
        guide: FrozenVectors | None = None,
        clusters: Tensor | None = None,
        mini_batch_size: int | None = None,
        mini_batch_num_tokens: int | None = None,
        gather_across_devices: bool = False,
        seed: int = 0,
    ) -> None:
        """`clusters` int64 [T] is each text's cluster, for cluster_ns.

        With `mini_batch_size` (texts) or `mini_batch_num_tokens` the step is cached: the same
        gradients in the memory of one such chunk. Raises PyriteError if the loss needs a guide or
        clusters that are not given.
        """
        super().__init__()
        self.config = config or LossSection()
        _check(self.config, guide, clusters, gather_across_devices)
        self.model = model
        self.guide = guide
        self.seed = seed
        self.gather_across_devices = gather_across_devices
        self.mini_batch_size = mini_batch_size or _ROWS
        self.mini_batch_num_tokens = mini_batch_num_tokens
        self.observers: list[Callable[[Step, Sides], None]] = []
        self.uses_gradient_cache = bool(mini_batch_size or mini_batch_num_tokens)
        none = torch.empty(0, dtype=torch.int64)
        self.register_buffer("known_pairs", known.pairs_P if known else none, persistent=False)
        self.register_buffer("clusters", clusters, persistent=False)
        self.span = known.span if known else 1
        self.clamped_rows, self.rows, self._warned = 0.0, 0, False
        special = getattr(getattr(model, "tokenizer", None), "all_special_ids", ())
        self._special = frozenset(special)

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: Labels = None) -> Tensor:
        """The batch's loss, a float32 scalar."""
        features = list(sentence_features)
        step = self._step(features, labels)
        if self.uses_gradient_cache:
            loss: Tensor = CachedLossMixin.forward_cached(self, features, step)
            return loss
        vectors = embed_columns(self.model, features)
        return self.calculate_loss([[column] for column in vectors], step)

    def calculate_loss(
        self, reps: list[list[Tensor]], labels: Any = None, *, with_backward: bool = False
    ) -> Tensor:
        """The loss of a whole batch from its vectors, by column and chunk.

        `with_backward` carries the gradient down to `reps`, some rows at a time. A batch in which
        no row counts has the loss 0.
        """
        step: Step = labels
        sides = self._sides(reps)
        step = replace(step, guide=self.guide.vectors(step.ids)) if self.guide else step
        rows = Rows(
            self.config,
            sides,
            step,
            Known(self.known_pairs, self.span),
            step.rows_B,
            self.clusters,
            self._noise(sides, step),
        )
        # autocast would multiply the float32 vectors in its own, coarser dtype
        with torch.autocast(sides.queries_GD.device.type, enabled=False):
            for observe in self.observers:
                observe(step, sides)
            if not with_backward:
                part = part_of(rows)
                self._note(part.clamped, step)
                return part.total / self._divisor(part.count)
            return self._backward(rows)

    def _backward(self, rows: Rows) -> Tensor:
        whole = rows.sides
        leaves = [v.detach().requires_grad_() for v in (whole.queries_GD, whole.docs_MD)]
        rows = replace(rows, sides=Sides(*leaves))
        every = rows.step.rows_B
        size = every.numel() if self.config.name in WHOLE else self.mini_batch_size
        parts = []
        for first in range(0, every.numel(), size):
            chunk = every[first : first + size]
            part = part_of(replace(rows, rows_R=chunk))
            if part.total.requires_grad:
                torch.autograd.backward(part.total)
            parts.append(part)
        count = self._divisor(torch.stack([p.count for p in parts]).sum())
        clamped = [p.clamped for p in parts if p.clamped is not None]
        self._note(torch.stack(clamped).sum() if clamped else None, rows.step)
        gradients = [torch.zeros_like(v) if v.grad is None else v.grad / count for v in leaves]
        torch.autograd.backward([whole.queries_GD, whole.docs_MD], gradients)
        return torch.stack([p.total.detach() for p in parts]).sum() / count

    def _divisor(self, count: Tensor) -> Tensor:
        """What divides this process's total, so that the mean over devices is the batch's loss."""
        if self.gather_across_devices:
            count = all_gather(count[None]).mean()
        return count.where(count > 0, torch.ones_like(count))

    def _sides(self, reps: list[list[Tensor]]) -> Sides:
        columns = [torch.cat(parts).float() for parts in reps]
        if self.config.similarity == "cos":
            columns = [nn.functional.normalize(column, dim=-1) for column in columns]
        if self.gather_across_devices:
            columns = [all_gather_with_grad(column) for column in columns]
        return Sides(columns[0], torch.cat(columns[1:]))

    def _step(self, features: list[dict[str, Any]], labels: Labels) -> Step:
        device = self.known_pairs.device
        self._needs_numbers(labels)
        rows = next(len(v) for v in features[0].values() if isinstance(v, Tensor))
        step = step_of(labels, rows, len(features), device, self.gather_across_devices)
        if self.config.needs_teacher and step.teacher_BC is None:
            raise PyriteError(
                f"train.loss.name={self.config.name} needs a teacher's scores with each batch"
                " (labels['teacher']); mine with filters.denoise, which scores the candidates"
            )
        if (self.config.source or "").startswith("bm25"):
            return replace(step, terms=[_terms(column, self._special) for column in features])
        return step

    def _needs_numbers(self, labels: Labels) -> None:
        given = labels.get("ids") if isinstance(labels, Mapping) else labels
        if given is None and (self.guide is not None or self.clusters is not None):
            raise PyriteError(
                f"train.loss.name={self.config.name} looks texts up by number; give the numbers of"
                " query and documents in the batch's labels"
            )

    def _noise(self, sides: Sides, step: Step) -> Tensor | None:
        count = round((self.config.noise or 0.0) * step.rows_B.numel())
        if not count or not torch.is_grad_enabled():
            return None
        # by what is in the batch, so that a resumed training draws the same
        state = combine(
            stream(self.seed, 0, _PURPOSE), splitmix64(step.ids.queries_G.cpu().numpy())
        )
        seed = int(state.sum(dtype="uint64")) >> 1
        return noise_negatives(
            sides.queries_GD,
            sides.docs_MD[: sides.queries_GD.shape[0]],
            count,
            generator=torch.Generator().manual_seed(seed),
            temperature=self.config.temperature,
        )

    def _note(self, clamped: Tensor | None, step: Step) -> None:
        """Keep count of rows at the floor; warn once if they are the most."""
        if clamped is None:
            return
        self.clamped_rows += float(clamped.detach())
        self.rows += step.rows_B.numel()
        share = self.clamped_rows / self.rows
        if not self._warned and self.rows >= 10 * step.rows_B.numel() and share > _CLAMPED:
            self._warned = True
            logger.warning(
                "train.loss.name=%s: the floor held in %.0f%% of %d rows, whose in-batch negatives"
                " teach nothing; lower train.loss.tau_plus (%g) or raise train.loss.temperature"
                " (%g)",
                self.config.name,
                100 * share,
                self.rows,
                self.config.tau_plus,
                self.config.temperature,
            )

    def get_config_dict(self) -> dict[str, Any]:
        """What the model card shows of the loss."""
        return self.config.model_dump(mode="json", exclude_none=True)


def _check(
    config: LossSection, guide: FrozenVectors | None, clusters: Tensor | None, gather: bool
) -> None:
    if config.needs_guide and guide is None:
        raise PyriteError(f"train.loss.name={config.name} needs a guide model's vectors")
    if config.name == "cluster_ns" and clusters is None:
        raise PyriteError("train.loss.name=cluster_ns needs the clusters of the corpus")
    if gather and (config.source or "").startswith("bm25"):
        raise PyriteError(
            f"train.loss.source={config.source} sees one device's texts only; use source=guide"
        )


def _terms(column: dict[str, Any], special: frozenset[int]) -> list[list[int]]:
    """Token ids of each text without special tokens and padding."""
    ids, mask = column["input_ids"].tolist(), column["attention_mask"].tolist()
    return [
        [token for token, real in zip(*row, strict=True) if real and token not in special]
        for row in zip(ids, mask, strict=True)
    ]
