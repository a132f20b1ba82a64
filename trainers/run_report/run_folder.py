"""A run's folder: which of its parts are finished, and what is said of those that are not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ...core.config import parse_config
from ...core.errors import PyriteError
from ...core.run import open_queries
from ...core.store import Manifest
from ...miner.made.made_file import FOLDER as MADE_TEXTS
from ...miner.made.made_file import KIND as MADE_KIND
from ...miner.relabel.relabel import FOLDER as RELABELLED
from ..refresh_home import RefreshHome
from ..run_config import TrainConfig
from .texts import RunTexts

# where a part lies below a run, the folder that says that it is begun, its manifest's kind, and
# the verb that makes it
KNOWN = {
    "negatives": ("negatives", "negatives", "negatives", "pyrite mine"),
    "training": (".", "models", "results", "pyrite train"),
    "evaluation": ("eval", "eval", "evaluation", "pyrite eval"),
    "relabelling": (RELABELLED, RELABELLED, "relabelled", "pyrite relabel"),
    "made texts": (MADE_TEXTS, MADE_TEXTS, MADE_KIND, "pyrite make"),
}


@dataclass(frozen=True)
class RunFolder:
    """Finished parts by their name in `KNOWN`, each with its manifest."""

    folder: Path
    manifests: dict[str, Manifest]
    begun: tuple[str, ...]

    @classmethod
    def open(cls, folder: Path) -> RunFolder:
        """Raises PyriteError if there is no such run, nothing finished in it, or a changed file."""
        if not folder.is_dir():
            raise PyriteError(f"{folder}: no such run; name its folder, such as runs/stdlib")
        manifests: dict[str, Manifest] = {}
        begun = []
        for name, (below, trace, kind, verb) in KNOWN.items():
            home = folder / below
            manifest = Manifest.read(home)
            if manifest is None:
                begun += [name] if (folder / trace).is_dir() else []
            elif manifest.data.get("kind") == kind:
                if not manifest.intact(home):
                    changed = ", ".join(sorted(manifest.damaged(home)))
                    raise PyriteError(
                        f"{home}: {changed} was changed since it was written; run {verb} again"
                    )
                manifests[name] = manifest
        found = cls(folder, manifests, tuple(begun))
        if not manifests and not found.refresh.folder.is_dir():
            raise found._nothing()
        return found

    def _nothing(self) -> PyriteError:
        if self.begun:
            verbs = " and ".join(KNOWN[name][3] for name in self.begun)
            what = ", ".join(self.begun)
            return PyriteError(
                f"{self.folder}: nothing is finished there ({what} begun); run {verbs} with the"
                " same configuration again, which goes on where it was"
            )
        return PyriteError(
            f"{self.folder}: no run of Pyrite (no negatives, results or verdicts); name the folder"
            " of one, <runs_dir>/<name>"
        )

    def home(self, name: str) -> Path:
        """Where a part lies."""
        return self.folder / KNOWN[name][0]

    def read(self, name: str, file: str) -> Any:
        """A JSON file of a finished part."""
        return json.loads((self.home(name) / file).read_text("utf-8"))

    @property
    def refresh(self) -> RefreshHome:
        """Where refreshes leave their log and generations."""
        return RefreshHome.of(self.folder)

    @cached_property
    def config(self) -> TrainConfig:
        """What the negatives were mined with.

        Raises PyriteError if this version of Pyrite does not know a key of it.
        """
        where = (
            f"{self.home('negatives')}: its configuration, mined by another version (mine again)"
        )
        return parse_config(TrainConfig, self.manifests["negatives"].data["config"], where)

    @cached_property
    def texts(self) -> RunTexts | str:
        """The dataset of the negatives, or a sentence of why it cannot be shown."""
        digest = self.manifests["negatives"].data["inputs"]["dataset"]
        try:
            split = self.config.dataset.train_split
            dataset, qrels, _ = open_queries(self.config, split, more_qrels=True)
        except PyriteError as error:
            return f"the dataset cannot be read ({error})"
        if dataset.digest() != digest:
            return "the dataset was changed since these negatives were mined"
        return RunTexts(dataset.queries, dataset.corpus, qrels)
