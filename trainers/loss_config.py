"""The section `train.loss`: which loss, and the parameters that this loss has."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from ..core.config import Section
from ..core.used import Used, only

Direction = Literal["q2d", "d2q", "q2q", "d2d"]
Partition = Literal["joint", "per_direction"]
LossName = Literal[
    "info_nce",
    "hardness",
    "debiased",
    "hcl",
    "dclr",
    "soft_info_nce",
    "gist",
    "cluster_ns",
    "ccl",
    "pairwise",
    "triplet",
    "margin_mse",
    "kl",
    "cosent",
    "nn_pu",
    "lambda_rank",
]
# the parameters that each loss has, with its defaults; any other is an error
PARAMETERS: dict[str, dict[str, Any]] = {
    "info_nce": {},
    "hardness": {"alpha": 5.0, "where": "hard"},
    "debiased": {"tau_plus": 0.001},
    "hcl": {"beta": 1.0, "tau_plus": 0.0, "detach": False},
    "dclr": {"phi": 0.9, "noise": 1.0, "guide_similarity": "cos"},
    "soft_info_nce": {
        **{"source": "guide", "alpha": 1.3, "beta": 0.7, "spread": 0.1, "floor": 0.1},
        "guide_similarity": "cos",
    },
    "gist": {"margin": 0.0, "relative": False, "guide_similarity": "cos"},
    "cluster_ns": {"weight": 1e-4, "alpha": 0.2, "beta": 0.5},
    "ccl": {"margin": 0.5, "weight": 1.0},
    "pairwise": {"weight": 1.0},
    "triplet": {"margin": 0.3, "hardest": None},
    "margin_mse": {},
    "kl": {"spread": 1.0},
    "cosent": {},
    "nn_pu": {"prior": 0.001, "beta": 0.0, "gamma": 1.0},
    "lambda_rank": {"metric": "mrr", "cut": 200, "sigma": 1.0},
}
_EVERY = sorted({key for parameters in PARAMETERS.values() for key in parameters})
GUIDED = {"dclr", "gist"}
TAUGHT = {"margin_mse", "kl"}
# these look at a row's own documents alone
OF_LISTS = {*TAUGHT, "cosent", "lambda_rank"}
# these compare similarities as they are
WITHOUT_TEMPERATURE = {"ccl", "triplet"}
# these read the batch's other documents in no direction but q2d, or not at all
_ONE_DIRECTION = {*OF_LISTS, "ccl", "pairwise", "triplet", "nn_pu"}


def _having(key: str) -> tuple[str, ...]:
    return tuple(name for name, parameters in PARAMETERS.items() if key in parameters)


class LossSection(Section):
    """What a training step minimises; a parameter that the named loss has not is an error."""

    name: LossName = Field("info_nce", description="which loss; docs/losses has a page for each")
    temperature: float = Field(0.05, gt=0, description="similarities are divided by it")
    similarity: Literal["cos", "dot"] = Field("cos", description="cosine, or inner product")
    directions: tuple[Direction, ...] = Field(
        ("q2d",), min_length=1, description="what is set against what: queries, documents"
    )
    partition: Partition = Field("joint", description="one denominator, or one per direction")
    weight_floor: float = Field(
        0.1, ge=0, le=1, description="least weight of a negative that the miner doubts; 0: masked"
    )
    alpha: float | None = Field(None, description="hardness, soft_info_nce, cluster_ns")
    beta: float | None = Field(None, description="hcl, soft_info_nce, cluster_ns, nn_pu")
    tau_plus: float | None = Field(None, ge=0, lt=1, description="debiased, hcl: P(positive)")
    detach: bool | None = Field(None, description="hcl: no gradient through the weights")
    where: Literal["in_batch", "hard", "all"] | None = Field(
        None, description="hardness: which negatives"
    )
    guide_similarity: Literal["cos", "dot"] | None = Field(
        None, description="dclr, gist, soft_info_nce: cosine of the guide's vectors, or product"
    )
    phi: float | None = Field(
        None, description="dclr: the guide's similarity over which weight is 0"
    )
    noise: float | None = Field(
        None, ge=0, description="dclr: noise negatives per row of the batch"
    )
    source: Literal["guide", "bm25_queries", "bm25_documents"] | None = Field(
        None, description="soft_info_nce: what says how likely a negative is relevant"
    )
    spread: float | None = Field(
        None, gt=0, description="soft_info_nce: t of its softmax; kl: the teacher's temperature"
    )
    floor: float | None = Field(None, gt=0, le=1, description="soft_info_nce: least weight")
    margin: float | None = Field(None, description="gist, ccl, triplet")
    hardest: int | None = Field(None, ge=1, description="triplet: of each row, softmax-weighted")
    relative: bool | None = Field(None, description="gist: margin is a share of the positive")
    weight: float | None = Field(
        None, ge=0, description="ccl, cluster_ns: of the second term; pairwise: of in-batch pairs"
    )
    prior: float | None = Field(None, ge=0, lt=1, description="nn_pu: P(relevant) of a negative")
    gamma: float | None = Field(None, ge=0, description="nn_pu: step against a negative risk")
    metric: Literal["mrr", "ndcg"] | None = Field(None, description="lambda_rank")
    cut: int | None = Field(None, ge=1, description="lambda_rank: ranks that count")
    sigma: float | None = Field(None, gt=0, description="lambda_rank: slope")

    USED = (
        *(only(key, "name", *_having(key)) for key in _EVERY),
        Used(
            ("partition",),
            ("directions",),
            lambda section: len(section.directions) > 1,
            "list several in {at}directions",
            "with one direction",
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        name = data.get("name", "info_nce")
        own = PARAMETERS.get(name) if isinstance(name, str) else None
        if own is None:
            return data
        # null is the loss's own default, as a dump writes what a loss has not
        given = {k: v for k, v in data.items() if v is not None or k not in _EVERY}
        return {**own, **given}

    @model_validator(mode="after")
    def _directions(self) -> LossSection:
        if len(set(self.directions)) < len(self.directions):
            raise ValueError(f"train.loss.directions={list(self.directions)} names one twice")
        if self.name in _ONE_DIRECTION and self.directions != ("q2d",):
            raise ValueError(f"train.loss.name={self.name} has one direction; set it to [q2d]")
        if self.partition == "per_direction" and not {"q2d", "d2q"} >= set(self.directions):
            raise ValueError(
                "train.loss.partition=per_direction takes q2d and d2q; q2q and d2d compare no"
                " positive, set partition=joint"
            )
        if self.partition == "joint" and not {"q2d", "d2q"} & set(self.directions):
            raise ValueError("train.loss.directions needs q2d or d2q")
        if self.source == "bm25_documents" and {"d2q", "q2q"} & set(self.directions):
            raise ValueError(
                "train.loss.source=bm25_documents scores documents; set train.loss.directions=[q2d]"
                " or train.loss.source=bm25_queries"
            )
        return self

    @model_validator(mode="after")
    def _ranges(self) -> LossSection:
        name, alpha, beta = self.name, self.alpha or 0.0, self.beta or 0.0
        if self.guide_similarity == "dot" and not self.needs_guide:
            raise ValueError(
                "train.loss.guide_similarity=dot has no effect with"
                f" train.loss.source={self.source}; set train.loss.source=guide"
            )
        floors = "tau_plus" in PARAMETERS[name] and (self.tau_plus or 0.0) > 0
        if floors and self.similarity == "dot":
            raise ValueError(
                f"train.loss.name={name} has a floor that holds for cosines only; set"
                " train.loss.similarity=cos, or train.loss.tau_plus=0"
            )
        if name == "cluster_ns" and alpha > beta:
            raise ValueError(
                f"train.loss.alpha={alpha:g} must not be above train.loss.beta={beta:g}"
            )
        if name in ("hcl", "nn_pu") and beta < 0:
            raise ValueError(f"train.loss.beta={beta:g} must be at least 0 for {name}")
        if name == "soft_info_nce" and (alpha < 0 or beta <= 0):
            raise ValueError(
                f"train.loss.alpha={alpha:g} must be at least 0 and train.loss.beta={beta:g} above"
                " 0 for soft_info_nce"
            )
        return self

    @property
    def needs_guide(self) -> bool:
        """Whether vectors of another, frozen model decide weights or masks."""
        return self.name in GUIDED or (self.name == "soft_info_nce" and self.source == "guide")

    @property
    def looks_up(self) -> bool:
        """Whether vectors of a frozen model are looked up, for a guide or for clusters."""
        return self.needs_guide or self.name == "cluster_ns"

    @property
    def needs_teacher(self) -> bool:
        """Whether each row needs a teacher's score for its positive and its negatives."""
        return self.name in TAUGHT
