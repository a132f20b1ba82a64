"""Which dense index searches the corpus, where, and how good it must be."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ..core.config import Section
from ..core.used import Used

FLAT = "Flat"
KEY = "index"  # what errors call the section where nobody says of which source it is


class IndexConfig(Section):
    """A dense index. `Flat` is exact; any other FAISS factory string is approximate."""

    backend: Literal["torch", "faiss"] = Field("torch", description="`torch` is exact only")
    factory: str = Field(FLAT, description="FAISS factory string: Flat, IVF1024,Flat, HNSW32 ...")
    device: str = Field("cpu", description="cpu, cuda, or several: cuda:0,cuda:1")
    float16: bool = Field(False, description="half precision on the GPU; scores stay exact")
    several: Literal["shard", "replicate"] = Field("shard", description="for several GPUs")
    nprobe: int | None = Field(None, ge=1, description="IVF: lists visited")
    ef_search: int | None = Field(None, ge=1, description="HNSW: beam width of a search")
    ef_construction: int | None = Field(None, ge=1, description="HNSW: beam width of the build")
    parameters: str = Field("", description="more FAISS parameters: quantizer_efSearch=64,ht=30")
    train_size: int = Field(262_144, ge=256, description="vectors that train an IVF or PQ")
    rescore: int = Field(2, ge=1, description="approximate: retrieve this many times k, rescore")
    min_recall: float | None = Field(
        None, gt=0, le=1, description="approximate: recall@k below this is an error"
    )
    recall_sample: int = Field(200, ge=1, description="queries that recall is measured on")

    USED = (
        Used(
            (
                *("nprobe", "ef_search", "ef_construction", "parameters", "train_size"),
                *("rescore", "min_recall", "recall_sample"),
            ),
            ("factory",),
            lambda index: not index.exact,
            "set {at}backend=faiss and {at}factory to an approximate index",
        ),
        Used(
            ("several",),
            ("device", "factory"),
            lambda index: not index.exact and "," in index.device,
            "set {at}device to several GPUs, as cuda:0,cuda:1, and {at}factory to an approximate"
            " index",
        ),
        Used(
            ("float16",),
            ("device", "backend"),
            # torch on a CPU refuses it with a sentence of its own
            lambda index: index.backend == "torch" or (not index.exact and index.device != "cpu"),
            "set {at}backend=torch and {at}device=cuda",
        ),
    )

    @model_validator(mode="after")
    def _torch_is_exact(self) -> IndexConfig:
        if self.backend == "torch" and self.factory != FLAT:
            raise ValueError(
                f"factory={self.factory!r} needs backend: faiss; backend: torch is exact search"
            )
        return self

    @property
    def exact(self) -> bool:
        """True if the index finds the true top k."""
        return self.factory == FLAT
