"""The losses in float64, written down from their formulas entry by entry; for tests only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from loss_cases import CLUSTERS, GUIDE_SEED, TEXTS, LossBatch, random_table
from torch import Tensor

from pyrite.trainers.masks import MISSING

Flags = list[list[bool]]
ZERO = torch.zeros((), dtype=torch.float64)


def relevant(batch: LossBatch, query: int, text: int) -> bool:
    return (query, text) in batch.known or any(r[0] == query and r[1] == text for r in batch.rows)


def masks(batch: LossBatch, direction: str) -> Flags:
    """Which column is a negative of which row."""
    queries, docs = batch.queries, batch.docs
    found: Flags = []
    for query, positive, *negatives in batch.rows:
        row = []
        for at, text in enumerate(docs if direction in ("q2d", "d2d") else queries):
            if direction in ("q2d", "d2d"):
                good = (
                    text != MISSING and text not in docs[:at] and not relevant(batch, query, text)
                )
                if direction == "d2d":
                    good = good and text not in negatives
            else:
                other = text
                good = other != query and other not in queries[:at]
                good = good and not relevant(batch, other, positive)
                if direction == "q2q":
                    theirs = [r[1] for r in batch.rows if r[0] == other]
                    good = good and not any(relevant(batch, query, t) for t in theirs)
            row.append(good)
        found.append(row)
    return found


class Term(NamedTuple):
    """A negative that counts: its similarity, its weight, and whether it is in-batch."""

    sim: Tensor
    weight: Tensor
    marginal: bool


@dataclass(frozen=True)
class Oracle:
    """One batch's loss from `table`, float64 rows: texts, then queries."""

    table: Tensor
    batch: LossBatch
    config: Any  # a LossSection, whose parameters depend on the loss

    def value(self) -> Tensor:
        name = self.config.name
        if name in ("margin_mse", "kl", "lambda_rank", "cosent"):
            return self._of_lists()
        if name in ("ccl", "triplet", "pairwise", "nn_pu"):
            return self._of_pairs()
        rows = range(len(self.batch.rows))
        each = [[self._terms(i, d) for d in self.config.directions] for i in rows]
        if self.config.partition == "joint":
            each = [[[t for terms in row for t in terms]] for row in each]
        losses = [self._softmax(i, terms) for i in rows for terms in each[i]]
        return torch.stack(losses).mean() + self._cluster_term()

    def _vector(self, table: Tensor, row: int) -> Tensor:
        vector = table[row]
        return vector if self.config.similarity == "dot" else vector / vector.norm()

    def _sim(self, i: int, column: int, direction: str, guide: bool = False) -> Tensor:
        table = random_table(GUIDE_SEED).double() if guide else self.table
        query, positive = self.batch.rows[i][:2]
        anchor = TEXTS + query if direction in ("q2d", "q2q") else positive
        if direction in ("q2d", "d2d"):
            other = self.batch.docs[column]
        else:
            other = TEXTS + self.batch.queries[column]
        if guide:
            norms: Tensor = table[anchor].norm() * table[other].norm()
            return (table[anchor] @ table[other]) / norms
        return self._vector(table, anchor) @ self._vector(table, other)

    def _pos(self, i: int, guide: bool = False) -> Tensor:
        return self._sim(i, i, "q2d", guide)

    def _doubt(self, i: int, text: int) -> float:
        """The least weight that the row's own doubts leave the text."""
        if self.batch.doubt is None:
            return 1.0
        own = zip(self.batch.rows[i][2:], self.batch.doubt[i], strict=True)
        return min([max(1 - f, self.config.weight_floor) for t, f in own if t == text], default=1.0)

    def _terms(self, i: int, direction: str) -> list[Term]:
        config, size = self.config, len(self.batch.rows)
        columns = [at for at, good in enumerate(masks(self.batch, direction)[i]) if good]
        soft = self._soft(i, columns, direction)
        found = []
        for at in columns:
            sim, weight = self._sim(i, at, direction), torch.ones((), dtype=torch.float64)
            if direction == "q2d":
                weight = weight * self._doubt(i, self.batch.docs[at])
            if config.name == "hardness":
                chosen = {"in_batch": at < size, "hard": at >= size, "all": True}
                if chosen[config.where or "all"]:
                    weight = weight * (config.alpha * sim.detach()).exp()
            if config.name == "soft_info_nce":
                weight = weight * soft[at]
            if config.name == "gist":
                own = self._pos(i, guide=True)
                allowance = config.margin * (own.abs() if config.relative else 1)
                if self._sim(i, at, direction, guide=True) > own - allowance:
                    continue
            if config.name == "dclr" and self._sim(i, at, direction, guide=True) > config.phi:
                continue
            if weight > 0:
                found.append(Term(sim, weight, at < size))
        return found

    def _soft(self, i: int, columns: list[int], direction: str) -> dict[int, Tensor]:
        config = self.config
        if config.name != "soft_info_nce" or not columns:
            return {}
        estimates = torch.stack([self._sim(i, at, direction, guide=True) for at in columns])
        shares = torch.softmax(estimates / config.spread, dim=0)
        scale = config.beta - config.alpha / len(columns)
        weights = [(config.beta - config.alpha * share) / scale for share in shares]
        return {at: w.clamp(min=config.floor) for at, w in zip(columns, weights, strict=True)}

    def _softmax(self, i: int, terms: list[Term]) -> Tensor:
        config = self.config
        t, pos = config.temperature, (self._pos(i) / config.temperature).exp()
        if config.name not in ("debiased", "hcl"):
            mass = sum((x.weight * (x.sim / t).exp() for x in terms), ZERO)
            return -torch.log(pos / (pos + mass))
        other = sum((x.weight * (x.sim / t).exp() for x in terms if not x.marginal), ZERO)
        drawn = [x for x in terms if x.marginal]
        number = sum((x.weight for x in drawn), ZERO)
        mass = ZERO
        if drawn:
            beta = config.beta if config.name == "hcl" else 0.0
            sims = [x.sim.detach() if config.detach else x.sim for x in drawn]
            hard = [x.weight * (beta * s / t).exp() for x, s in zip(drawn, sims, strict=True)]
            mass = sum((h * (x.sim / t).exp() for h, x in zip(hard, drawn, strict=True)), ZERO)
            mass = mass / (sum(hard, ZERO) / number)
            if config.tau_plus:
                mass = (mass - config.tau_plus * number * pos) / (1 - config.tau_plus)
                mass = torch.maximum(mass, number * math.exp(-1 / t))
        return -torch.log(pos / (pos + mass + other))

    def _cluster_term(self) -> Tensor:
        config, rows = self.config, self.batch.rows
        if config.name != "cluster_ns":
            return ZERO
        costs = []
        for i, good in enumerate(masks(self.batch, "q2d")):
            for j in range(len(rows)):
                if i != j and good[j] and CLUSTERS[rows[i][1]] == CLUSTERS[rows[j][1]]:
                    delta = self._sim(i, j, "q2d") - self._pos(i)
                    costs.append(relu(delta + config.alpha) + relu(-delta - config.beta))
        return config.weight * torch.stack(costs).mean() if costs else ZERO

    def _of_pairs(self) -> Tensor:
        config, rows = self.config, range(len(self.batch.rows))
        terms = [self._terms(i, "q2d") for i in rows]
        if config.name == "nn_pu":
            return self._nn_pu([x.sim for row in terms for x in row])
        if config.name == "pairwise":
            t = config.temperature
            share = [(i, x, config.weight if x.marginal else 1.0) for i in rows for x in terms[i]]
            costs = [
                w * x.weight * softplus((x.sim - self._pos(i)) / t) for i, x, w in share if w > 0
            ]
            return torch.stack(costs).mean() if costs else ZERO
        of_row = self._ccl if config.name == "ccl" else self._triplet
        return torch.stack([of_row(i, terms[i]) for i in rows]).mean()

    def _ccl(self, i: int, terms: list[Term]) -> Tensor:
        hinges = [x.weight * relu(x.sim - self.config.margin) for x in terms]
        weight: float = self.config.weight
        return 1 - self._pos(i) + weight * sum(hinges, ZERO) / max(len(hinges), 1)

    def _triplet(self, i: int, terms: list[Term]) -> Tensor:
        hinges = [x.weight * relu(self.config.margin + x.sim - self._pos(i)) for x in terms]
        if not hinges:
            return ZERO
        if self.config.hardest is None:
            return torch.stack(hinges).mean()
        order = sorted(range(len(terms)), key=lambda at: -terms[at].sim.item())
        chosen = order[: self.config.hardest]
        shares = torch.softmax(torch.stack([terms[at].sim.detach() for at in chosen]) / 0.1, dim=0)
        return sum((s * hinges[at] for s, at in zip(shares, chosen, strict=True)), ZERO)

    def _nn_pu(self, unlabelled: list[Tensor]) -> Tensor:
        config, t = self.config, self.config.temperature
        logits = [self._pos(i) / t for i in range(len(self.batch.rows))]
        plus = config.prior * torch.stack([softplus(-x) for x in logits]).mean()
        minus = config.prior * torch.stack([softplus(x) for x in logits]).mean()
        bracket = -minus
        if unlabelled:
            bracket = torch.stack([softplus(x / t) for x in unlabelled]).mean() - minus
        value: Tensor = plus + relu(bracket)
        step: Tensor = -config.gamma * bracket if bracket < -config.beta else plus + bracket
        return value.detach() + step - step.detach()

    def _own(self, i: int) -> list[int]:
        """Columns of the row's own negatives that count."""
        query, _, *negatives = self.batch.rows[i]
        found = []
        for at, text in enumerate(negatives):
            doubt = 0.0 if self.batch.doubt is None else self.batch.doubt[i][at]
            kept = max(1 - doubt, self.config.weight_floor) > 0
            if text != MISSING and not relevant(self.batch, query, text) and kept:
                found.append(at)
        return found

    def _of_lists(self) -> Tensor:
        config, size = self.config, len(self.batch.rows)
        if config.name == "cosent":
            wrong = [
                (
                    (self._sim(k, (1 + at) * size + k, "q2d") - self._pos(i)) / config.temperature
                ).exp()
                for i in range(size)
                for k in range(size)
                for at in self._own(k)
            ]
            return torch.log1p(sum(wrong, ZERO))
        each = [self._list(i) for i in range(size)]
        counted = [x for x in each if x is not None]
        return torch.stack(counted).mean() if counted else ZERO

    def _list(self, i: int) -> Tensor | None:
        config, size = self.config, len(self.batch.rows)
        own = self._own(i)
        teacher: list[float] = []
        if config.name != "lambda_rank":
            assert self.batch.teacher is not None
            given = self.batch.teacher[i]
            own = [at for at in own if not math.isnan(given[1 + at] + given[0])]
            teacher = [given[0], *(given[1 + at] for at in own)]
        if not own:
            return None
        sims = [self._pos(i), *(self._sim(i, (1 + at) * size + i, "q2d") for at in own)]
        if config.name == "margin_mse":
            gaps = [
                (sims[0] - s - (teacher[0] - t)) ** 2
                for s, t in zip(sims[1:], teacher[1:], strict=True)
            ]
            return torch.stack(gaps).mean()
        scores = torch.stack(sims) / config.temperature
        if config.name == "kl":
            p = torch.softmax(torch.tensor(teacher, dtype=torch.float64) / config.spread, dim=0)
            q = torch.softmax(scores, dim=0)
            divergence: Tensor = (p * (p.log() - q.log())).sum()
            return divergence * float(config.temperature) ** 2
        return self._lambda(scores)

    def _lambda(self, scores: Tensor) -> Tensor:
        """The positive is first; ties go to the earlier column."""
        config, values = self.config, scores.tolist()
        order = sorted(range(len(values)), key=lambda at: (-values[at], at))
        ranks = [order.index(at) + 1 for at in range(len(values))]
        mrr = config.metric == "mrr"
        gains = [1 / r if mrr else 1 / math.log2(1 + r) for r in ranks]
        gains = [g if r <= config.cut else 0.0 for g, r in zip(gains, ranks, strict=True)]
        # one relevant text: the ideal NDCG is 1, and 2**1 - 2**0 is 1
        costs = [
            abs(gains[0] - gains[at]) * softplus(-config.sigma * (scores[0] - scores[at]))
            for at in range(1, len(values))
        ]
        return torch.stack(costs).mean()


def relu(x: Tensor) -> Tensor:
    return torch.clamp(x, min=0.0)


def softplus(x: Tensor) -> Tensor:
    return torch.log1p((-x.abs()).exp()) + torch.clamp(x, min=0.0)
