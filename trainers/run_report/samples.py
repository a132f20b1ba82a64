"""Sampled queries: positives, negatives, and why each of the first candidates was passed over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from ...core.candidates import PAD_ID, Candidates
from ...core.cross_encoder import activated
from ...core.digest import u64
from ...core.encoder import F32
from ...core.ids import I64
from ...miner.calibrate import RAW, Calibration, fit_calibration
from ...miner.denoise_checks import TEACHER
from ...miner.draw import first_draw_probability
from ...miner.filters import U16
from ...miner.samplers import SamplerPart, Scored, log_weights
from ...miner.tally import TIERS
from .mined_rows import Listed, MinedRows
from .part import Table
from .run_folder import RunFolder
from .sample import Candidate, Card, Entry
from .shown import count, number, shown
from .texts import RunTexts
from .why import Explainer, by_reason, copies

FIRST = 20
MOST = 20
_TEXT, _CANDIDATE_TEXT = 700, 240
# what these see is known without vectors and judgements
_PLAIN = ("topk", "window", "scincl", "simans", "softmax")


def sampled(rows: MinedRows, wanted: int) -> I64:
    """At most `wanted` rows, those with the smallest hashes of ids, in the order of the file."""
    names = ("query_id", "positive_id")
    columns = (rows.table.column(name).to_pylist() for name in names)
    hashes = [
        u64(f"{query}\0{own or ''}", salt="report") for query, own in zip(*columns, strict=True)
    ]
    order = np.argsort(np.array(hashes, dtype=np.uint64), kind="stable")
    return np.sort(order[:wanted]).astype(np.int64)


def cards_of(
    run: RunFolder, rows: MinedRows, texts: RunTexts, listed: Listed | None, wanted: int
) -> list[Card]:
    """A card for each sampled row; without `listed` candidates they have none."""
    chosen = sampled(rows, wanted)
    records = rows.table.take(chosen).to_pylist()
    sampler = _Sampler(run, texts, listed, [record["query_id"] for record in records])
    return [sampler.card(int(row), record) for row, record in zip(chosen, records, strict=True)]


@dataclass(frozen=True)
class _Sampler:
    run: RunFolder
    texts: RunTexts
    listed: Listed | None
    query_ids: Sequence[str]

    @cached_property
    def explainer(self) -> Explainer:
        denoise = self.run.manifests["negatives"].data["denoise"]
        if denoise is None:
            return Explainer(self.run.config.filters, self._calibration())
        path = self.run.home("negatives") / TEACHER
        found = pq.read_table(path, filters=[("query_id", "in", list(self.query_ids))])
        pairs = zip(*(found.column(n).to_pylist() for n in ("query_id", "doc_id")), strict=True)
        log_odds = np.asarray(found.column("log_odds").to_numpy(), dtype=np.float32)
        scores = dict(zip(pairs, activated(log_odds, denoise["activation"]).tolist(), strict=True))
        calibration, threshold = self._calibration(), denoise["threshold"]
        return Explainer(self.run.config.filters, calibration, scores, threshold)

    def _calibration(self) -> Calibration | None:
        method = self.run.config.filters.calibrate
        if method == "none":
            return RAW
        # that of `ecdf` was fitted on the scores of all positives, which a run does not keep
        if method == "ecdf" or self.listed is None:
            return None
        return fit_calibration(method, np.empty(0, np.float32), self.listed.candidates.scores)

    def card(self, row: int, record: Mapping[str, Any]) -> Card:
        """One row of the negatives; `record` is what the file has of it."""
        query_id = record["query_id"]
        at = int(self.texts.queries.ids.find([query_id])[0])
        [query] = self.texts.queries.texts([at])
        positives = self.texts.qrels.positives(at)
        names = self.texts.corpus.id_strings(positives)
        found = dict(zip(names, self.texts.corpus.texts(positives), strict=True))
        place = self._place(row)
        candidates, rest = self._candidates(record, query, found, place)
        own = record["positive_id"]
        facts = [f"positive's score {number(record['pos_score'])}"]
        if own is not None:
            facts.append(f"row of the positive {own}")
        facts += [
            f"{MOST} of {count(len(ids))} {what} are shown"
            for what, ids in (("positives", found), ("negatives", record["negative_ids"]))
            if len(ids) > MOST
        ]
        return Card(
            query_id,
            shown(query, _TEXT),
            facts,
            [f"{count(len(record['negative_ids']))} negatives"],
            [self._positive(name, text, place) for name, text in list(found.items())[:MOST]],
            self._negatives(record),
            candidates,
            rest,
        )

    def _place(self, row: int) -> tuple[Candidates, U16] | None:
        return None if self.listed is None else self.listed.rows(np.array([row]))

    def _positive(self, name: str, text: str, place: tuple[Candidates, U16] | None) -> Entry:
        said = "labelled a positive"
        if place is not None:
            at = np.flatnonzero(place[0].ids[0] == self.texts.corpus.ids.find([name])[0])
            depth = place[0].ids.shape[1]
            said += f"; not among the {depth} candidates"
            if at.size:
                score = float(place[0].scores[0, at[0]])
                said = f"labelled a positive; candidate {at[0] + 1}, score {number(score)}"
        return Entry(name, shown(text, _TEXT), said)

    def _negatives(self, record: Mapping[str, Any]) -> list[Entry]:
        texts = self.texts.of_documents(record["negative_ids"])
        found = []
        for at, name in enumerate(record["negative_ids"][:MOST]):
            score, rank = record["scores"][at], record["ranks"][at]
            gap = record["pos_score"] - score
            where = f"rank {rank} of {record['sources'][at]}" if rank else record["sources"][at]
            chance = 100 * record["probabilities"][at]
            tier = TIERS[record["tiers"][at]].replace("_", " ")
            said = (
                f"score {number(score)}, {number(gap)} below the positive; {where};"
                f" chance of the first draw {chance:.2g}%; {tier}"
            )
            found.append(Entry(name, shown(texts.get(name, ""), _TEXT), said))
        return found

    def _candidates(
        self,
        record: Mapping[str, Any],
        query: str,
        positives: Mapping[str, str],
        place: tuple[Candidates, U16] | None,
    ) -> tuple[list[Candidate], Table | None]:
        """The first candidates and those that were drawn; a table of the others."""
        if place is None:
            return [], None
        block, reasons = place
        ids, scores = block.ids[0], block.scores[0]
        real = int((ids != PAD_ID).sum())
        names = self.texts.corpus.id_strings(ids[:real])
        texts = self.texts.corpus.texts(ids[:real])
        drawn = {name: at for at, name in enumerate(record["negative_ids"], start=1)}
        shown_at = [
            at for at in range(real) if at < FIRST or drawn.get(names[at], MOST + 1) <= MOST
        ]
        same = copies(query, list(positives.items()), texts)
        chances = self._chances(block, reasons, record["pos_score"])
        found = []
        for at in shown_at:
            pair = (record["query_id"], names[at])
            score = float(scores[at])
            why = self.explainer.why(
                int(reasons[0, at]), score, record["pos_score"], pair, same[at]
            )
            outcome = "rejected" if why else ("drawn" if names[at] in drawn else "kept")
            said = why or [self._kept(drawn.get(names[at]), chances, at)]
            text = shown(texts[at], _CANDIDATE_TEXT)
            source = block.sources[block.source[0, at]]
            found.append(Candidate(at + 1, names[at], text, number(score), source, outcome, said))
        return found, self._rest(reasons[0], ids, scores, shown_at)

    def _kept(self, draw: int | None, chances: F32 | None, at: int) -> str:
        """What is said of a candidate that passes every filter."""
        if draw is not None:
            return f"passes every filter; drawn as negative {draw}"
        name = self.run.config.sampler.label
        if chances is None:
            return f"passes every filter; not drawn ({name})"
        if self.run.config.sampler.name == "topk":
            return f"passes every filter; not among the best that are left ({name})"
        if chances[at] == 0:
            return f"passes every filter; outside what the sampler draws from ({name})"
        return f"passes every filter; not drawn, chance of the first draw {100 * chances[at]:.2g}%"

    def _chances(self, block: Candidates, reasons: U16, pos_score: float) -> F32 | None:
        """The chance of each candidate in the first draw, where candidates alone decide it."""
        sampler = self.run.config.sampler
        alone = len(sampler.parts) == 1 and sampler.source is None and sampler.cluster == "any"
        if not alone or sampler.parts[0].name not in _PLAIN:
            return None
        part: SamplerPart = sampler.parts[0]
        positive = np.array([pos_score], dtype=np.float32)
        view = Scored(block.scores, reasons, positive, documents=len(self.texts.corpus))
        return np.asarray(first_draw_probability(log_weights(view, part))[0])

    def _rest(
        self, reasons_K: U16, ids_K: I64, scores_K: F32, shown_at: Sequence[int]
    ) -> Table | None:
        left = np.ones(ids_K.size, dtype=bool)
        left[list(shown_at)] = False
        left &= ids_K != PAD_ID
        if not left.any():
            return None
        rows = by_reason(reasons_K, ids_K, left, scores_K)
        caption = f"{count(int(left.sum()))} candidates further down"
        return Table(caption, ["what", "count", "scores"], rows)
