"""The negatives of a mining run: ids in the file, texts and judgements in the run's dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from ...core.config import parse_config
from ...core.dataset import DatasetConfig, open_dataset
from ...core.errors import PyriteError
from ...core.tables import Qrels, TextTable
from ..training_row import (
    Record,
    as_text,
    list_field,
    parallel_field,
    rest,
    score_value,
    text_field,
)
from .by_id import IdFormat, IdRow, Named
from .format import has_length, take
from .sources import CACHE
from .texts import open_texts

# what a run says of each negative, and how it is called of one
_BESIDE = {
    "ranks": "rank",
    "probabilities": "probability",
    "tiers": "tier",
    "sources": "source",
    "false_negative": "false_negative",
}
_KNOWN = ("query_id", "positive_id", "pos_score", "negative_ids", "scores", *_BESIDE)


@dataclass(frozen=True)
class RunFormat(IdFormat):
    """`negatives.parquet` with the dataset it was mined from; the positives are all judged ones.

    A query whose filters left nothing stands there without negatives, as the run's tally counts.
    """

    corpus: TextTable
    queries: TextTable
    qrels: Qrels
    titled: TextTable | None = None
    name = "Pyrite run"
    sides = "mined"

    @classmethod
    def open(cls, negatives: Path, titled: bool = False) -> RunFormat:
        """Open the dataset that the run's `config.yaml` names, `titled` with titles apart.

        The file lies in the folder above the negatives or beside them. Raises PyriteError if it
        does not, or if the dataset cannot be opened.
        """
        path = cls.config_of(negatives)
        settings = _read(path)
        config = parse_config(DatasetConfig, settings.get("dataset") or {}, f"{path}: dataset")
        cache = Path(str(settings.get("cache_dir", CACHE)))
        dataset = open_dataset(config, cache)
        qrels = dataset.qrels(config.train_split, config.min_grade)
        titles = open_texts((dataset.folder / "corpus.jsonl",), cache) if titled else None
        return cls(dataset.corpus, dataset.queries, qrels, titles)

    @property
    def texts(self) -> TextTable:
        return self.corpus if self.titled is None else self.titled

    @staticmethod
    def config_of(negatives: Path) -> Path:
        """The run's `config.yaml`; raises PyriteError if there is none."""
        places = (negatives.parent.parent / "config.yaml", negatives.parent / "config.yaml")
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise PyriteError(
                f"{negatives}: holds ids, and without {places[0]} there are no texts for them;"
                " audit the run folder"
            )
        return path

    def ids(self, record: Record, where: str) -> IdRow:
        query_id = text_field(record, "query_id", where)
        score = score_value(record.get("pos_score"), "pos_score", where)
        judged_ids = judged(query_id, self.queries, self.corpus, self.qrels)
        own = record.get("positive_id")
        # a row for one positive has that one's score, and knows the others
        positives: list[Named] = [(name, None if own else score) for name in judged_ids]
        if own is not None:
            name = as_text(own, "positive_id", where)
            positives = [(name, score), *(p for p in positives if p[0] != name)]
        names = [
            as_text(v, "negative_ids", where) for v in list_field(record, "negative_ids", where)
        ]
        scores = parallel_field(record, "scores", len(names), where)
        negatives: list[Named] = [
            (name, score_value(value, "scores", where))
            for name, value in zip(names, scores, strict=True)
        ]
        beside = [
            {
                said: record[key][at]
                for key, said in _BESIDE.items()
                if has_length(record.get(key), len(names))
            }
            for at in range(len(names))
        ]
        return IdRow(query_id, None, positives, negatives, rest(record, _KNOWN), beside)

    def prune(self, record: Record, keep: Sequence[int]) -> Record:
        before = len(record["negative_ids"])
        return {k: take(v, keep) if has_length(v, before) else v for k, v in record.items()}

    @property
    def judged_outside(self) -> bool:
        return True


def judged(query_id: str, queries: TextTable, corpus: TextTable, qrels: Qrels) -> list[str]:
    """Ids of the positives of a query; none for a query that is not there."""
    row = int(queries.ids.find([query_id])[0])
    return corpus.id_strings(qrels.positives(row)) if row >= 0 else []


def _read(path: Path) -> Record:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        detail = " ".join(str(error).split())
        raise PyriteError(f"{path}: not readable as YAML: {detail}") from error
    if not isinstance(data, dict):
        raise PyriteError(f"{path}: a YAML {type(data).__name__}, expected keys and values")
    return data
