"""From a chunk of rows to its share of the batch's loss: which estimator sees which columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from .estimators.batch_bm25 import bm25_of_documents
from .estimators.bidirectional_margin import bidirectional_margin
from .estimators.ccl import ccl
from .estimators.cosent import cosent
from .estimators.debiased import debiased
from .estimators.distillation import kl_distillation, margin_mse
from .estimators.false_negatives import (
    dclr_log_weight,
    false_negative_log_weight,
    guided_mask,
)
from .estimators.hcl import hcl
from .estimators.info_nce import info_nce
from .estimators.lambda_loss import lambda_loss
from .estimators.pairwise import pairwise_softplus
from .estimators.soft_weights import hardness_log_weight, soft_info_nce_log_weight
from .estimators.triplet import triplet
from .estimators.unlabelled import nn_pu
from .logits import Logits, Sides, direction_logits
from .loss_config import Direction, LossSection
from .masks import MISSING, Known, first_columns, query_to_doc, relevant
from .step import Step

T = TypeVar("T")
# these couple the rows of a batch: they cannot be computed chunk by chunk
WHOLE = {"cosent", "nn_pu", "cluster_ns"}


@dataclass(frozen=True, slots=True)
class Part:
    """A chunk's share: the batch's loss is the sum of the totals over the sum of the counts.

    `clamped` counts rows whose negatives have no gradient because a floor holds.
    """

    total: Tensor
    count: Tensor
    clamped: Tensor | None = None

    @classmethod
    def mean(cls, loss_R: Tensor, clamped_R: Tensor | None = None) -> Part:
        """Every row counts once."""
        count = loss_R.new_tensor(float(loss_R.numel()))
        return cls(loss_R.sum(), count, None if clamped_R is None else clamped_R.sum())


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a chunk and all that their loss may look at."""

    config: LossSection
    sides: Sides
    step: Step
    known: Known
    rows_R: Tensor
    clusters_T: Tensor | None = None
    noise_KD: Tensor | None = None

    @property
    def local(self) -> slice:
        """The rows' places among this process's rows."""
        first = int(self.rows_R[0] - self.step.rows_B[0])
        return slice(first, first + self.rows_R.numel())


def part_of(rows: Rows) -> Part:
    """The chunk's share of the loss that `rows.config` names."""
    return _LOSSES.get(rows.config.name, _softmax)(rows)


def _softmax(rows: Rows) -> Part:
    """InfoNCE and all that weights, masks or debiases its negatives."""
    config = rows.config
    each = [_weighted(rows, direction) for direction in config.directions]
    if config.partition == "joint":
        joined = each[0]
        for other in each[1:]:
            joined = joined.joined(other)
        each = [joined]
    parts = [_estimate(config, logits) for logits in each]
    total = torch.stack([p.total for p in parts]).mean()
    clamped = [p.clamped for p in parts if p.clamped is not None]
    return Part(total, parts[0].count, torch.stack(clamped).float().mean() if clamped else None)


def _estimate(config: LossSection, logits: Logits) -> Part:
    columns = (logits.pos_R, logits.neg_RN, logits.log_weight_RN, logits.mask_RN)
    if config.name not in ("debiased", "hcl"):
        return Part.mean(info_nce(*columns))
    if config.name == "debiased":
        floored = debiased(
            *columns,
            tau_plus=_given(config.tau_plus),
            temperature=config.temperature,
            marginal_BN=logits.marginal_RN,
        )
    else:
        floored = hcl(
            *columns,
            beta=_given(config.beta),
            tau_plus=_given(config.tau_plus),
            temperature=config.temperature,
            detach_weights=_given(config.detach),
            marginal_BN=logits.marginal_RN,
        )
    return Part.mean(floored.loss_B, floored.clamped_B)


def _weighted(rows: Rows, direction: Direction, temperature: float | None = None) -> Logits:
    """A direction's logits with the miner's doubts and the loss's own weights and masks."""
    config, step = rows.config, rows.step
    logits = direction_logits(
        rows.sides,
        step.ids,
        rows.known,
        direction,
        rows.rows_R,
        config.temperature if temperature is None else temperature,
    )
    if direction == "q2d" and step.doubt_Bn is not None:
        logits = replace(logits, log_weight_RN=_doubts(rows, logits))
    if config.name == "hardness":
        cos = logits.neg_RN * config.temperature
        weight = hardness_log_weight(cos, _given(config.alpha))
        if config.where != "all":
            elsewhere = logits.marginal_RN if config.where == "hard" else ~logits.marginal_RN
            weight = weight.masked_fill(elsewhere, 0.0)
        logits = _plus(logits, weight)
    if config.name == "soft_info_nce":
        logits = _plus(logits, _soft_weights(rows, logits, direction))
    if config.name in ("gist", "dclr"):
        logits = _guided(rows, logits, direction)
    return logits


def _plus(logits: Logits, log_weight_RN: Tensor) -> Logits:
    present = logits.log_weight_RN
    total = log_weight_RN if present is None else present + log_weight_RN
    return replace(logits, log_weight_RN=total)


def _doubts(rows: Rows, logits: Logits) -> Tensor:
    """The miner's P(false negative) at the columns of each row's own negatives, as log-weights."""
    ids = rows.step.ids
    # a text that stands in several columns counts in its first one
    first = first_columns(ids.docs_M)[ids.own_columns(rows.rows_R)[:, 1:]]
    return torch.zeros_like(logits.neg_RN, dtype=torch.float32).scatter_reduce(
        1, first, _own_weights(rows), "amin"
    )


def _own_weights(rows: Rows) -> Tensor:
    """Log-weights of the doubts, of each row's own negatives [R, n]; 0 where one is missing."""
    ids = rows.step.ids
    missing = ids.docs_M[ids.own_columns(rows.rows_R)[:, 1:]] == MISSING
    doubt = _given(rows.step.doubt_Bn)[rows.local].masked_fill(missing, 0.0)
    return false_negative_log_weight(doubt, rows.config.weight_floor)


def _soft_weights(rows: Rows, logits: Logits, direction: Direction) -> Tensor:
    config, step = rows.config, rows.step
    mask = logits.mask_RN
    if config.source == "guide":
        estimate = _given(step.guide).products(direction, rows.rows_R)
    else:
        terms = _given(step.terms)
        asked = terms[0][rows.local]
        if config.source == "bm25_documents":
            documents = [text for column in terms[1:] for text in column]
            estimate = bm25_of_documents(asked, documents)
        else:
            # a document stands for the query that it was put into the batch for: mined negatives
            # have none, and keep weight 1
            estimate = bm25_of_documents(asked, terms[0])
            mask = mask & logits.marginal_RN
            estimate = pad(estimate, (0, mask.shape[1] - estimate.shape[1]))
    estimate = estimate.to(mask.device)
    settings = (_given(config.alpha), _given(config.beta), _given(config.spread))
    found = soft_info_nce_log_weight(estimate, mask, *settings, floor=_given(config.floor))
    return found.log_weight_BN


def _guided(rows: Rows, logits: Logits, direction: Direction) -> Logits:
    config, guide = rows.config, _given(rows.step.guide)
    theirs = guide.products(direction, rows.rows_R)
    if config.name == "gist":
        own = guide.positives(rows.rows_R)
        keep = guided_mask(own, theirs, _given(config.margin), bool(config.relative))
        return replace(logits, mask_RN=logits.mask_RN & keep)
    logits = _plus(logits, dclr_log_weight(theirs, _given(config.phi)))
    if rows.noise_KD is None or direction != "q2d":
        return logits
    queries = rows.sides.queries_GD[rows.rows_R]
    noise = queries @ normalize(rows.noise_KD, dim=1).T / config.temperature
    every = torch.ones_like(noise, dtype=torch.bool)
    return logits.joined(Logits(logits.pos_R, noise, every, every))


def _cluster_ns(rows: Rows) -> Part:
    config, ids = rows.config, rows.step.ids
    part = _softmax(rows)
    texts = ids.positives_G[rows.rows_R]
    clusters = _given(rows.clusters_T)[texts]
    queries = rows.sides.queries_GD[rows.rows_R]
    cosines = queries @ rows.sides.docs_MD[rows.rows_R].T
    delta = cosines - cosines.diagonal()[:, None]
    # a text that is known to be relevant is no false negative to keep at a distance
    counts = (clusters[:, None] == clusters[None, :]) & query_to_doc(ids, rows.known, rows.rows_R)[
        :, rows.rows_R
    ]
    margin = bidirectional_margin(delta, counts, _given(config.alpha), _given(config.beta))
    return replace(part, total=part.total + _given(config.weight) * margin * part.count)


def _pairwise(rows: Rows) -> Part:
    logits = _weighted(rows, "q2d")
    if rows.config.weight != 1.0:
        # the other rows' positives are drawn at random, mined negatives are not
        weight = logits.neg_RN.new_tensor(_given(rows.config.weight)).log()
        zero = torch.zeros_like(logits.neg_RN)
        logits = _plus(logits, torch.where(logits.marginal_RN, weight, zero))
    loss_R = pairwise_softplus(logits.pos_R, logits.neg_RN, logits.log_weight_RN, logits.mask_RN)
    # the mean is over pairs, however they are spread over rows and chunks
    pairs = _counted(logits).sum()
    return Part(loss_R.mean() * pairs, pairs)


def _counted(logits: Logits) -> Tensor:
    if logits.log_weight_RN is None:
        return logits.mask_RN.float()
    return (logits.mask_RN & (logits.log_weight_RN != -torch.inf)).float()


def _ccl(rows: Rows) -> Part:
    config, logits = rows.config, _weighted(rows, "q2d", temperature=1.0)
    columns = (logits.pos_R, logits.neg_RN, logits.log_weight_RN, logits.mask_RN)
    return Part.mean(ccl(*columns, margin=_given(config.margin), weight=_given(config.weight)))


def _triplet(rows: Rows) -> Part:
    config, logits = rows.config, _weighted(rows, "q2d", temperature=1.0)
    columns = (logits.pos_R, logits.neg_RN, logits.log_weight_RN, logits.mask_RN)
    return Part.mean(triplet(*columns, margin=_given(config.margin), top_k=config.hardest))


def _nn_pu(rows: Rows) -> Part:
    config, logits = rows.config, _weighted(rows, "q2d")
    unlabelled = logits.neg_RN[_counted(logits).bool()]
    shape = (_given(config.prior), _given(config.beta), _given(config.gamma))
    return Part.mean(nn_pu(logits.pos_R, unlabelled, *shape)[None])


def _own_lists(rows: Rows) -> tuple[Tensor, Tensor]:
    """Similarities of each row's own documents, positive first [R, 1 + n], and which count."""
    ids = rows.step.ids
    own = ids.own_columns(rows.rows_R)
    known = relevant(ids, rows.known, rows.rows_R).gather(1, own)
    counts = (ids.docs_M[own] != MISSING) & ~known
    counts[:, 0] = True
    if rows.step.doubt_Bn is not None:
        # lists have no weights: a doubt either leaves a negative out or changes nothing
        counts[:, 1:] &= _own_weights(rows) > -torch.inf
    return rows.sides.own(ids, rows.rows_R), counts


def _taught(rows: Rows) -> Part:
    config = rows.config
    own, counts = _own_lists(rows)
    teacher = _given(rows.step.teacher_BC)[rows.local]
    # without the positive's score the row has nothing to compare with
    counts = counts & teacher.isfinite() & teacher[:, :1].isfinite()
    teacher = teacher.masked_fill(~teacher.isfinite(), 0.0)
    lists = (own[:, 0], own[:, 1:], teacher[:, 0], teacher[:, 1:], counts[:, 1:])
    if config.name == "kl":
        loss_R = kl_distillation(*lists, config.temperature, _given(config.spread))
    else:
        loss_R = margin_mse(*lists)
    return Part(loss_R.sum(), counts[:, 1:].any(dim=1).sum().float())


def _cosent(rows: Rows) -> Part:
    own, counts = _own_lists(rows)
    gold = torch.zeros_like(own)
    gold[:, 0] = 1.0
    return Part.mean(cosent(own[counts], gold[counts], rows.config.temperature)[None])


def _lambda_rank(rows: Rows) -> Part:
    config = rows.config
    own, counts = _own_lists(rows)
    gold = torch.zeros_like(own)
    gold[:, 0] = 1.0
    scores = own / config.temperature
    metric = config.metric or "mrr"
    found = lambda_loss(scores, gold, counts, metric, config.cut, _given(config.sigma))
    return Part(found.loss_B.sum(), found.counts_B.sum().float())


_LOSSES: dict[str, Callable[[Rows], Part]] = {
    "cluster_ns": _cluster_ns,
    "pairwise": _pairwise,
    "ccl": _ccl,
    "triplet": _triplet,
    "nn_pu": _nn_pu,
    "margin_mse": _taught,
    "kl": _taught,
    "cosent": _cosent,
    "lambda_rank": _lambda_rank,
}


def _given(value: T | None) -> T:
    """A parameter that the configuration's validator or the loss's constructor has ensured."""
    if value is None:
        raise ValueError("a part of the loss is missing that its constructor should have asked for")
    return value
