"""Durable files: temporary name, fsync, rename, and a manifest that is written last.

An artefact is a directory. It exists once its `manifest.json` does; every file that the manifest
lists is checked by size and digest before it is trusted. Whatever a kill leaves behind has
either a temporary name or no manifest.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from .digest import digest_bytes, digest_file
from .errors import PyriteError

MANIFEST = "manifest.json"
_TMP = ".tmp"
_SUM = ".sum"
_PART = "part-"
_HOST = digest_bytes(platform.node().encode())[:8]
_VERSIONED = ("torch", "transformers", "sentence-transformers", "faiss-cpu", "numpy")


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path`; on success fsync it and rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.name.startswith(_PART):
        _sweep(path)
    temporary = path.with_name(f"{path.name}{_TMP}-{_HOST}-{os.getpid()}")
    try:
        with temporary.open("wb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        publish(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside `path` to build it in; whoever succeeds publishes it as `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    # the thread: two of one process may build the same folder
    owner = f"{_HOST}-{os.getpid()}-{threading.get_ident()}"
    scratch = path.with_name(f"{path.name}{_TMP}-{owner}")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _sweep(path: Path) -> None:
    """Delete what killed processes of this machine left of earlier tries to write `path`."""
    for entry in os.listdir(path.parent):
        if entry.startswith(path.name) and _abandoned(entry):
            left = path.parent / entry
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def _abandoned(name: str) -> bool:
    """True for a temporary file or folder of a process of this machine that is gone."""
    _, _, owner = name.partition(f"{_TMP}-{_HOST}-")
    process, _, _ = owner.partition("-")
    return process.isdigit() and not _runs(int(process))


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def publish(temporary: Path, path: Path) -> None:
    """Rename `temporary` to `path` and fsync the folder: the one moment at which `path` appears."""
    os.replace(temporary, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the renames in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_write(path) as handle:
        handle.write(data)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value atomically, readable and with a fixed layout."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def write_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write one `.npy` atomically; object arrays are refused (they would need pickle)."""
    with atomic_write(path) as handle:
        np.save(handle, np.ascontiguousarray(array), allow_pickle=False)


def write_part(path: Path, array: npt.NDArray[Any]) -> None:
    """Write one array of a resumable stage, and seal it."""
    write_array(path, array)
    seal_part(path)


def seal_part(path: Path) -> None:
    """Write the digest of a finished file beside it: from then on the part counts as done."""
    write_bytes(_sum_path(path), digest_file(path).encode())


def part_done(path: Path) -> bool:
    """True if an earlier run finished this part and its bytes are still those it wrote."""
    try:
        return _sum_path(path).read_text(encoding="ascii") == digest_file(path)
    except (FileNotFoundError, UnicodeDecodeError):
        return False


def _sum_path(path: Path) -> Path:
    return path.with_name(path.name + _SUM)


def read_array(path: Path) -> npt.NDArray[Any]:
    """Map one `.npy` read-only.

    Raises PyriteError if the file is missing, truncated or not an array.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except (OSError, ValueError, EOFError) as error:
        raise PyriteError(
            f"{path}: not a readable .npy array ({error}); delete it and run again"
        ) from error


def join_arrays(
    parts: Iterable[Path],
    path: Path,
    dtype: npt.DTypeLike,
    shape: tuple[int, ...],
    field: str | None = None,
) -> None:
    """Stream arrays into one of `shape`, row after row; one part is in memory at a time.

    `field` names the one to take of structured arrays.
    """
    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    with atomic_write(path) as handle:
        np.lib.format.write_array_header_1_0(handle, header)
        for part in parts:
            array = read_array(part)
            column = array if field is None else array[field]
            handle.write(np.ascontiguousarray(column, dtype=dtype).data)


def remove_parts(folder: Path) -> None:
    """Delete the parts of a finished stage, and temporary files that a kill left beside them."""
    for path in folder.glob("*"):
        done = path.name.startswith(_PART) and _TMP not in path.name
        if done or _abandoned(path.name):
            path.unlink(missing_ok=True)


def versions() -> dict[str, str]:
    """Versions of what computed an artefact; recorded, never part of a key."""
    found = {"python": platform.python_version()}
    for name in ("pyrite", *_VERSIONED):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


@dataclass(frozen=True, slots=True)
class Manifest:
    """The last file of an artefact: what it is, what it was made from, and its files' digests."""

    data: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """The manifest of `folder`, or None where there is none: the artefact is not complete."""
        path = folder / MANIFEST
        try:
            return cls(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            raise PyriteError(
                f"{path}: not a readable manifest ({error}); delete {folder}"
            ) from error

    @classmethod
    def write(cls, folder: Path, only: Iterable[str] | None = None, **fields: Any) -> Manifest:
        """Record the files below `folder` with size and digest, then publish the manifest.

        `only` names the files to record, for a folder that holds other artefacts too. Raises
        PyriteError if one of them is not there.
        """
        names = None if only is None else set(only)
        files = listing(folder, names)
        missing = sorted((names or set()) - files.keys())
        if missing:
            raise PyriteError(
                f"{folder}: {', '.join(missing)} should be recorded in {MANIFEST} and is no lasting"
                " file there; run again"
            )
        data = {**fields, "versions": versions(), "files": files}
        write_json(folder / MANIFEST, data)
        return cls(data)

    def intact(self, folder: Path) -> bool:
        """True if every recorded file is there with the recorded size and digest."""
        return "files" in self.data and not self.damaged(folder)

    def damaged(self, folder: Path) -> set[str]:
        """Recorded files that are missing or have another size or digest."""
        files: dict[str, dict[str, Any]] = self.data.get("files", {})
        return {
            name
            for name, entry in files.items()
            if not (folder / name).is_file()
            or (folder / name).stat().st_size != entry["bytes"]
            or digest_file(folder / name) != entry["digest"]
        }


def listing(folder: Path, names: set[str] | None = None) -> dict[str, dict[str, Any]]:
    """Size and digest of every lasting file below `folder`, by relative path in sorted order.

    Left out: the manifest, temporary files, seals, and parts, which go when the stage is done.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        scratch = (
            path.name == MANIFEST
            or _TMP in path.name
            or path.suffix == _SUM
            or path.name.startswith(_PART)
        )
        if path.is_file() and not scratch:
            name = path.relative_to(folder).as_posix()
            if names is not None and name not in names:
                continue
            found[name] = {"bytes": path.stat().st_size, "digest": digest_file(path)}
    return found


def discard(folder: Path) -> None:
    """Take an artefact back: its manifest first, so that no half of it is ever read."""
    (folder / MANIFEST).unlink(missing_ok=True)
    if folder.is_dir():
        sync_folder(folder)
