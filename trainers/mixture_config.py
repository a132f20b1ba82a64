"""One of the datasets that a model is trained on, and its share of the batches."""

from __future__ import annotations

from pydantic import Field

from ..core.config import Section
from ..core.dataset import DatasetConfig
from ..indexes.retrieve import RetrieveConfig
from ..miner.filters import FilterConfig
from ..miner.samplers import SamplerConfig
from .made_config import MadeSection


class DatasetEntry(Section):
    """An item of `train.datasets`: a section that is given replaces the run's own section whole."""

    weight: float = Field(
        1.0, gt=0, description="share of the batches, relative to the weights of the others"
    )
    dataset: DatasetConfig | None = Field(None, description="null: the run's own")
    retrieve: RetrieveConfig | None = Field(None, description="null: the run's own")
    filters: FilterConfig | None = Field(None, description="null: the run's own")
    sampler: SamplerConfig | None = Field(None, description="null: the run's own")
    made: MadeSection | None = Field(
        None, description="null: the run's own, and none for another dataset"
    )
    query_prompt: str | None = Field(None, description="null: the encoder's")
    document_prompt: str | None = Field(None, description="null: the encoder's")

    @property
    def sections(self) -> dict[str, Section]:
        """The sections that stand in the place of the run's."""
        given = ((name, getattr(self, name)) for name in _SECTIONS)
        found = {name: section for name, section in given if section is not None}
        if self.dataset is not None:
            # what was made for the run's queries is about no other dataset's
            found.setdefault("made", MadeSection())
        return found

    @property
    def prompts(self) -> dict[str, str]:
        """The keys of `encoder` that stand in the place of the run's."""
        given = ((name, getattr(self, name)) for name in ("query_prompt", "document_prompt"))
        return {name: prompt for name, prompt in given if prompt is not None}


_SECTIONS = ("dataset", "retrieve", "filters", "sampler", "made")
