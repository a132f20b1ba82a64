"""Which checkpoint a training goes on from."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyrite.core.store import Manifest
from pyrite.trainers.checkpoints import last_checkpoint


def checkpoint(folder: Path, step: int, key: str = "key", sealed: bool = True) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "weights").write_bytes(b"w" * 100)
    if sealed:
        Manifest.write(path, schema=1, kind="checkpoint", key=key, step=step)
    return path


def test_the_newest_checkpoint_is_that_of_the_highest_step(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path, "key") is None
    assert last_checkpoint(tmp_path / "nothing", "key") is None
    older, newest = checkpoint(tmp_path, 9), checkpoint(tmp_path, 10)
    assert last_checkpoint(tmp_path, "key") == newest
    assert older.is_dir()


@pytest.mark.parametrize("fault", ["unsealed", "other key", "truncated", "missing file"])
def test_a_checkpoint_that_cannot_be_trusted_is_removed(tmp_path: Path, fault: str) -> None:
    good = checkpoint(tmp_path, 2)
    key = "other" if fault == "other key" else "key"
    bad = checkpoint(tmp_path, 4, key, sealed=fault != "unsealed")
    if fault == "truncated":
        (bad / "weights").write_bytes(b"w" * 99)
    if fault == "missing file":
        (bad / "weights").unlink()
    assert last_checkpoint(tmp_path, "key") == good
    assert not bad.exists()
    assert last_checkpoint(tmp_path, "new key") is None
    assert not good.exists()
