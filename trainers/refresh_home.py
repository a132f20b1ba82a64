"""The folder `refresh` of a run: what trainer and refresher say to each other by files.

training.json           key of the training, and whether it still runs
config.yaml             its configuration
weights/step-00000064   published weights
generations/000001      mined with them
CURRENT                 the latest adopted generation
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..core.config import dump_config
from ..core.errors import PyriteError
from ..core.store import discard, write_bytes, write_json
from .run_config import TrainConfig

FOLDER = "refresh"
TRAINING, CONFIG, CURRENT = "training.json", "config.yaml", "CURRENT"
SWAPS, LOG, PROCESS_LOG = "swaps.json", "log.jsonl", "refresher.log"
# what is made of vectors; everything else in a cache is made of texts, and stays true
OF_VECTORS = ("embeddings", "candidates", "indexes", "clusters")

State = Literal["running", "finished"]


@dataclass(frozen=True, slots=True)
class RefreshHome:
    """The folder `refresh` below a run's folder."""

    folder: Path

    @classmethod
    def of(cls, run: Path) -> RefreshHome:
        return cls(run / FOLDER)

    @property
    def weights(self) -> Path:
        return self.folder / "weights"

    @property
    def generations(self) -> Path:
        return self.folder / "generations"

    @property
    def lock(self) -> Path:
        return self.folder / "refresher.lock"

    def read(self, name: str) -> Any:
        """A JSON file of the folder, or None if it is not there.

        Raises PyriteError if it is no JSON: every writer renames it into place whole.
        """
        path = self.folder / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise PyriteError(
                f"{path}: not readable as JSON ({error}); delete {self.folder} to refresh anew"
            ) from error

    def begin(self, key: str, config: TrainConfig) -> None:
        """Say that the training `key` runs; what another one left here is removed."""
        found = self.read(TRAINING)
        if found is None or found.get("key") != key:
            self._clear()
        write_bytes(self.folder / CONFIG, dump_config(config).encode())
        self.say(key, "running")

    def say(self, key: str, state: State) -> None:
        """Tell a refresher whether the training still runs."""
        write_json(self.folder / TRAINING, {"key": key, "state": state})

    def _clear(self) -> None:
        for name in (TRAINING, CURRENT, SWAPS, LOG):
            (self.folder / name).unlink(missing_ok=True)
        for parent in (self.weights, self.generations):
            for path in sorted(parent.glob("*")):
                discard(path)
            shutil.rmtree(parent, ignore_errors=True)

    def own_cache(self, shared: Path) -> Path:
        """A cache for vectors that are soon stale; what is made of texts is `shared`."""
        own = self.folder / "cache"
        own.mkdir(parents=True, exist_ok=True)
        for entry in sorted(shared.iterdir()):
            link = own / entry.name
            if entry.is_dir() and entry.name not in OF_VECTORS and not link.exists():
                link.unlink(missing_ok=True)
                link.symlink_to(entry.resolve(), target_is_directory=True)
        return own

    def sweep(self) -> None:
        """Remove what a refresher that was ended had begun."""
        for parent in (self.weights, self.generations):
            for path in sorted(parent.glob("*.tmp-*")):
                shutil.rmtree(path, ignore_errors=True)

    def prune_cache(self, keep: set[str]) -> None:
        """Remove what was made of vectors, but for the entries named in `keep`."""
        for kind in OF_VECTORS:
            for path in sorted((self.folder / "cache" / kind).glob("*")):
                if path.name not in keep:
                    discard(path)
                    shutil.rmtree(path, ignore_errors=True)
