"""Everything that a YAML file can say, read without torch: a mistake is reported at once."""

from __future__ import annotations

from pydantic import model_validator

from ..eval.evaluate import EvalConfig
from ..miner.mine import MineConfig
from .draw_config import FIRST_REPLACEMENT
from .reranker_config import RerankerSection
from .train_config import TrainSection


class TrainConfig(MineConfig, EvalConfig):
    """Mining, training and evaluation of one run."""

    train: TrainSection = TrainSection()
    reranker: RerankerSection = RerankerSection()

    @model_validator(mode="after")
    def _enough_are_mined(self) -> TrainConfig:
        for name, section in (("train", self.train), ("reranker", self.reranker)):
            if (section.negatives or 0) > self.sampler.total:
                raise ValueError(
                    f"{name}.negatives={section.negatives}, but only"
                    f" sampler.n={self.sampler.total} are mined for each query; raise sampler.n or"
                    f" lower {name}.negatives"
                )
        return self

    @model_validator(mode="after")
    def _some_are_left_to_replace(self) -> TrainConfig:
        n, mined = self.train.negatives or self.sampler.total, self.sampler.total
        if self.train.draw == "replace" and mined < FIRST_REPLACEMENT + n:
            raise ValueError(
                f"train.draw=replace with train.negatives={n} takes places {FIRST_REPLACEMENT} to"
                f" {FIRST_REPLACEMENT + n - 1} of those mined first, but sampler.n={mined}; set"
                f" sampler.n to at least {FIRST_REPLACEMENT + n}, or train.negatives"
            )
        return self

    @model_validator(mode="after")
    def _teacher_is_there(self) -> TrainConfig:
        loss, doubt = self.train.loss, self.train.doubt
        if self.filters.denoise.model is not None or not (loss.needs_teacher or doubt != "none"):
            return self
        what = f"loss.name={loss.name}" if loss.needs_teacher else f"doubt={doubt}"
        raise ValueError(
            f"train.{what} needs a cross-encoder's scores; set filters.denoise.model, which scores"
            " the candidates while mining"
        )

    @model_validator(mode="after")
    def _each_positive_is_a_row(self) -> TrainConfig:
        if self.filters.positive_score == "each" and self.train.positives == "one":
            raise ValueError(
                "filters.positive_score=each mines for every positive, and train.positives=one"
                " draws one of a query's; set train.positives=all"
            )
        return self

    @model_validator(mode="after")
    def _one_similarity(self) -> TrainConfig:
        cosine = self.train.loss.similarity == "cos"
        if self.train.kind == "query-side" and cosine and not self.encoder.normalize:
            raise ValueError(
                "train.loss.similarity=cos with train.kind=query-side and encoder.normalize=false:"
                " the document vectors stay as they are; set train.loss.similarity=dot or"
                " encoder.normalize=true"
            )
        return self

    @model_validator(mode="after")
    def _dev_is_its_own(self) -> TrainConfig:
        split = self.train.early_stopping.split
        for key in ("train_split", "eval_split"):
            if split is not None and split == getattr(self.dataset, key):
                raise ValueError(
                    f"train.early_stopping.split={split} is dataset.{key} too; set it to a third"
                    " split, such as dev"
                )
        return self
