"""Everything that a YAML file can say, read without torch: a mistake is reported at once."""

from __future__ import annotations

from pydantic import ValidationError, model_validator

from ..core.config import LATER
from ..core.used import Used, idle_here, only
from ..eval.config import EvalConfig
from ..miner.mine import BY_CLUSTER, NO_CLUSTERS, MineConfig
from .draw_config import FIRST_REPLACEMENT
from .loss_config import WITHOUT_TEMPERATURE
from .made_config import MadeSection
from .refresh_config import RefreshSection, steps_ahead
from .reranker_config import RerankerSection
from .train_config import EarlyStoppingSection, TrainSection


class TrainConfig(MineConfig, EvalConfig):
    """Mining, training and evaluation of one run."""

    train: TrainSection = TrainSection()
    reranker: RerankerSection = RerankerSection()
    refresh: RefreshSection = RefreshSection()
    made: MadeSection = MadeSection()

    USED = (
        only("reranker", "train.kind", "cross-encoder"),
        Used(
            ("refresh.cluster_rate",),
            BY_CLUSTER,
            lambda config: config.refresh.mode == "off" or config.needs_clusters,
            *NO_CLUSTERS,
        ),
        Used(
            ("train.loss.temperature",),
            ("train.loss.name",),
            lambda config: config.reads_temperature,
            "set train.loss.name to a loss with a temperature",
        ),
    )

    @property
    def trains_clusters(self) -> bool:
        return any(run.needs_clusters for run in (self, *self.set_runs()))

    @property
    def reads_clusters(self) -> bool:
        return self.trains_clusters or self.train.loss.name == "cluster_ns"

    @property
    def reads_temperature(self) -> bool:
        """Whether similarities are divided by `train.loss.temperature` anywhere."""
        by_trigger = self.refresh.trigger.easy_share is not None
        return by_trigger or self.train.loss.name not in WITHOUT_TEMPERATURE

    def set_runs(self) -> tuple[TrainConfig, ...]:
        """For each of `train.datasets` the run that it would be alone.

        An item that changes nothing is the run itself; the folders of the others lie below
        `datasets` in the run's folder. Raises ValueError for settings that cannot be combined.
        """
        alone = {"datasets": (), "early_stopping": EarlyStoppingSection(), "push_to_hub": None}
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        fields["train"] = self.train.model_copy(update=alone)
        found = []
        for at, entry in enumerate(self.train.datasets):
            changes: dict[str, object] = dict(entry.sections)
            changes["encoder"] = self.encoder.model_copy(update=entry.prompts)
            if any(fields[name] != value for name, value in changes.items()):
                changes |= {"runs_dir": str(self.run_folder / "datasets"), "name": str(at)}
            try:
                run = TrainConfig.model_validate({**fields, **changes}, context=LATER)
                found.append(run)
            except ValidationError as error:
                message = error.errors()[0]["msg"].removeprefix("Value error, ")
                raise ValueError(f"train.datasets.{at}: {message}") from error
        return tuple(found)

    @model_validator(mode="after")
    def _sets_can_be_mined(self) -> TrainConfig:
        runs = self.set_runs()
        seen: list[object] = []
        for at, run in enumerate(runs):
            alike = (run.dataset, run.retrieve, run.filters, run.sampler, run.encoder)
            if alike in seen:
                raise ValueError(
                    f"train.datasets.{at} is the same as train.datasets.{seen.index(alike)}; remove"
                    " one and give the other the weight of both"
                )
            seen.append(alike)
            for idle in idle_here(run):
                # the run's own sections may be there for another item
                if idle.key.partition(".")[0] in self.train.datasets[at].sections:
                    raise ValueError(f"train.datasets.{at}.{idle.sentence}")
            splits = self.dataset.eval_split, self.train.early_stopping.split
            if run.dataset.path == self.dataset.path and run.dataset.train_split in splits:
                raise ValueError(
                    f"train.datasets.{at}.dataset.train_split={run.dataset.train_split} is held out"
                    " of this run's training; set it to another split"
                )
        return self

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
    def _guide_has_products(self) -> TrainConfig:
        guide = self.train.guide or self.encoder
        key = "encoder" if self.train.guide is None else "train.guide"
        if self.train.loss.guide_similarity == "dot" and guide.normalize:
            raise ValueError(
                f"train.loss.guide_similarity=dot with {key}.normalize=true: products of unit"
                f" vectors are cosines; set {key}.normalize=false"
            )
        return self

    @model_validator(mode="after")
    def _can_be_refreshed(self) -> TrainConfig:
        refresh, train = self.refresh, self.train
        if refresh.mode == "off":
            return self
        needs = "needs a cross-encoder's scores, which refreshed negatives have not"
        clashes = {
            f"train.kind={train.kind} has negatives of its own": train.kind != "encoder",
            "train.draw=replace moves on in the first list": train.draw == "replace",
            "train.datasets mines each set once": bool(train.datasets),
            f"train.loss.name={train.loss.name} {needs}": train.loss.needs_teacher,
            f"train.doubt={train.doubt} {needs}": train.doubt != "none",
        }
        reason = next((reason for reason, holds in clashes.items() if holds), None)
        if reason is not None:
            raise ValueError(
                f"refresh.mode={refresh.mode}: {reason}; change that or set refresh.mode=off"
            )
        if refresh.refresher == "ray" and self.engine != "ray":
            raise ValueError(
                f"refresh.refresher=ray with engine={self.engine}: there is no cluster to stand in;"
                " set engine=ray, or refresh.refresher=spawn"
            )
        ahead = steps_ahead(train.num_workers)
        if refresh.least_steps < ahead:
            name = "every_steps" if refresh.trigger.easy_share is None else "trigger.min_steps"
            raise ValueError(
                f"refresh.{name}={refresh.least_steps}, but new negatives are in force only"
                f" {ahead} steps after a border, with train.num_workers={train.num_workers}; set it"
                f" to at least {ahead}"
            )
        return self

    @model_validator(mode="after")
    def _made_fit(self) -> TrainConfig:
        if self.made.path is None:
            return self
        train = self.train
        vectors = "needs vectors of every document, which made ones have not"
        scores = "needs a cross-encoder's scores, which made negatives have not"
        clashes = {
            f"train.kind={train.kind} has negatives of its own": train.kind != "encoder",
            f"train.loss.name={train.loss.name} {scores}": train.loss.needs_teacher,
            f"train.doubt={train.doubt} {scores}": train.doubt != "none",
            f"train.loss.name={train.loss.name} {vectors}": train.loss.looks_up,
            f"train.distil_base={train.distil_base:g} {vectors}": train.distil_base > 0,
            "train.draw=replace replaces all of a row's negatives": train.draw == "replace",
            "refresh.trigger.easy_share would count them as mined": (
                self.refresh.trigger.easy_share is not None
            ),
            "no item of train.datasets is the run's own dataset": bool(train.datasets)
            and all(run.made.path is None for run in self.set_runs()),
        }
        reason = next((reason for reason, holds in clashes.items() if holds), None)
        if reason is not None:
            raise ValueError(f"made.path={self.made.path}: {reason}; change that or remove made")
        return self

    @model_validator(mode="after")
    def _dev_is_its_own(self) -> TrainConfig:
        splits = {
            "train.early_stopping.split": self.train.early_stopping.split,
            "refresh.gate.split": self.refresh.gate.split,
        }
        for knob, split in splits.items():
            for key in ("train_split", "eval_split"):
                if split is not None and split == getattr(self.dataset, key):
                    raise ValueError(
                        f"{knob}={split} is dataset.{key} too; set it to a third split, such as dev"
                    )
        return self
