from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrite.core import digest, store
from pyrite.core.digest import digest_array, digest_bytes, digest_file, digest_json, digest_texts
from pyrite.core.errors import PyriteError
from pyrite.core.store import Manifest

KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from pyrite.core.store import atomic_write, Manifest, write_bytes
folder = Path(sys.argv[1])
if sys.argv[2] == "file":
    with atomic_write(folder / "a.bin") as handle:
        handle.write(b"half")
        handle.flush()
        os.kill(os.getpid(), signal.SIGKILL)
import pyrite.core.store as store
write_bytes(folder / "a.bin", b"whole")
store.publish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
Manifest.write(folder, schema=1)
"""


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def artefact(folder: Path) -> Manifest:
    store.write_bytes(folder / "a.bin", bytes(range(200)))
    store.write_array(folder / "deep" / "b.npy", np.arange(12))
    return Manifest.write(folder, schema=1, kind="test")


def write_and_fail(path: Path, error: BaseException) -> None:
    with store.atomic_write(path) as handle:
        handle.write(b"new and longer")
        raise error


def test_a_failing_writer_leaves_neither_the_name_nor_a_scratch_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        write_and_fail(tmp_path / "new", RuntimeError())
    assert names(tmp_path) == []


def test_a_failing_writer_leaves_the_old_file(tmp_path: Path) -> None:
    store.write_bytes(tmp_path / "a", b"old")
    with pytest.raises(KeyboardInterrupt):
        write_and_fail(tmp_path / "a", KeyboardInterrupt())
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_bytes_are_synced_before_the_name_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    fsync, replace = os.fsync, os.replace

    def spy_fsync(descriptor: int) -> None:
        seen.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    def spy_replace(source: Path, target: Path) -> None:
        assert source.read_bytes() == b"data"
        seen.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    store.write_bytes(tmp_path / "a", b"data")
    assert seen == ["file", "rename", "folder"]


@pytest.mark.parametrize("what", ["file", "manifest"])
def test_a_killed_writer_never_leaves_the_final_name(tmp_path: Path, what: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED_WRITER, str(tmp_path), what], check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    final = {"file": "a.bin", "manifest": store.MANIFEST}[what]
    assert not (tmp_path / final).exists()
    assert any(name.startswith(f"{final}.tmp") for name in names(tmp_path)), "killed too early"
    assert Manifest.read(tmp_path) is None
    assert sorted(store.listing(tmp_path)) == ([] if what == "file" else ["a.bin"])
    assert artefact(tmp_path).intact(tmp_path)


def test_the_manifest_is_published_last_and_lists_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published: list[str] = []
    publish = store.publish

    def spy(temporary: Path, path: Path) -> None:
        assert Manifest.read(tmp_path) is None
        published.append(path.name)
        publish(temporary, path)

    monkeypatch.setattr(store, "publish", spy)
    manifest = artefact(tmp_path)
    assert published == ["a.bin", "b.npy", store.MANIFEST]
    assert list(manifest.data["files"]) == ["a.bin", "deep/b.npy"]
    assert manifest.data["files"]["a.bin"] == {
        "bytes": 200,
        "digest": digest_file(tmp_path / "a.bin"),
    }
    assert manifest.data["versions"]["numpy"] == np.__version__
    read = Manifest.read(tmp_path)
    assert read == manifest
    assert manifest.intact(tmp_path)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "first byte": lambda f: flip(f / "a.bin", 0),
    "last byte": lambda f: flip(f / "deep" / "b.npy", -1),
    "truncated": lambda f: os.truncate(f / "a.bin", 199),
    "emptied": lambda f: os.truncate(f / "deep" / "b.npy", 0),
    "grown": lambda f: (f / "a.bin").write_bytes((f / "a.bin").read_bytes() + b"x"),
    "missing": lambda f: (f / "deep" / "b.npy").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_intact_catches(tmp_path: Path, damage: str) -> None:
    manifest = artefact(tmp_path)
    DAMAGE[damage](tmp_path)
    assert not manifest.intact(tmp_path)


def test_a_manifest_without_its_file_list_proves_nothing(tmp_path: Path) -> None:
    assert not Manifest({"schema": 1}).intact(tmp_path)


def test_an_unreadable_manifest_is_an_error_that_says_what_to_delete(tmp_path: Path) -> None:
    artefact(tmp_path)
    os.truncate(tmp_path / store.MANIFEST, 20)
    with pytest.raises(PyriteError, match=f"delete {tmp_path}"):
        Manifest.read(tmp_path)


def test_discard_takes_the_manifest_and_leaves_the_rest(tmp_path: Path) -> None:
    artefact(tmp_path)
    store.discard(tmp_path)
    assert Manifest.read(tmp_path) is None
    assert (tmp_path / "a.bin").is_file()
    store.discard(tmp_path / "never was")


def test_listing_ignores_scratch_seals_and_parts(tmp_path: Path) -> None:
    scratch = ("a.tmp-77", "a.sum", store.MANIFEST, "sub/c.npy.tmp-1", "part-0.npy", "sub/part-1")
    for name in ("sub/c", "b", "a", *scratch):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    assert list(store.listing(tmp_path)) == ["a", "b", "sub/c"]
    manifest = Manifest.write(tmp_path, only=["sub/c", "b"])
    assert list(manifest.data["files"]) == ["b", "sub/c"]
    (tmp_path / "a").write_bytes(b"another artefact")
    assert manifest.intact(tmp_path)
    (tmp_path / "b").write_bytes(b"!")
    assert not manifest.intact(tmp_path)
    # a folder is no file to record
    for missing in ("nowhere", "sub"):
        with pytest.raises(PyriteError, match=rf"^{tmp_path}: {missing} should be recorded"):
            Manifest.write(tmp_path, only=["b", missing])
    assert Manifest.read(tmp_path) == manifest


def test_a_part_is_done_only_while_its_bytes_are_those_sealed(tmp_path: Path) -> None:
    part = tmp_path / "part-0.npy"
    assert not store.part_done(part)
    store.write_array(part, np.arange(5))
    assert not store.part_done(part), "not sealed yet"
    store.seal_part(part)
    assert store.part_done(part)
    flip(part, -1)
    assert not store.part_done(part)
    store.write_part(part, np.arange(5))
    assert store.part_done(part)
    (tmp_path / "part-0.npy.sum").write_bytes(b"\xff\xfe")
    assert not store.part_done(part)
    store.write_part(part, np.arange(5))
    part.unlink()
    assert not store.part_done(part)


def test_remove_parts_removes_parts_only(tmp_path: Path) -> None:
    store.write_part(tmp_path / "part-0.npy", np.arange(2))
    store.write_array(tmp_path / "ids.npy", np.arange(2))
    store.remove_parts(tmp_path)
    assert names(tmp_path) == ["ids.npy"]


@pytest.mark.parametrize("content", [b"", b"not numpy", None, b"\x93NUMPY\x01\x00"])
def test_read_array_names_the_file(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.npy"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PyriteError, match=r"a\.npy: not a readable"):
        store.read_array(path)


def test_read_array_refuses_truncation_and_pickles(tmp_path: Path) -> None:
    store.write_array(tmp_path / "a.npy", np.arange(100))
    os.truncate(tmp_path / "a.npy", 200)
    np.save(tmp_path / "b.npy", np.array([{}], dtype=object), allow_pickle=True)
    for name in ("a.npy", "b.npy"):
        with pytest.raises(PyriteError, match=name):
            store.read_array(tmp_path / name)
    with pytest.raises(ValueError, match="pickle"):
        store.write_array(tmp_path / "c.npy", np.array([{}], dtype=object))
    assert names(tmp_path) == ["a.npy", "b.npy"]


def test_read_array_maps_read_only_whatever_the_memory_order(tmp_path: Path) -> None:
    values = np.arange(12.0).reshape(3, 4)
    store.write_array(tmp_path / "a.npy", np.asfortranarray(values))
    read = store.read_array(tmp_path / "a.npy")
    assert isinstance(read, np.memmap)
    assert not read.flags.writeable
    np.testing.assert_array_equal(read, values)
    store.write_array(tmp_path / "b.npy", values)
    assert digest_file(tmp_path / "b.npy") == digest_file(tmp_path / "a.npy")
    store.write_array(tmp_path / "none.npy", np.zeros((0, 4)))
    assert store.read_array(tmp_path / "none.npy").shape == (0, 4)


@given(
    cuts=st.lists(st.integers(0, 20), max_size=5),
    width=st.integers(1, 4),
    dtype=st.sampled_from(["float32", "int64", "uint16"]),
)
def test_join_arrays_is_concatenate(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], width: int, dtype: str
) -> None:
    folder = tmp_path_factory.mktemp("join")
    whole = np.arange(20 * width, dtype=dtype).reshape(20, width)
    parts = np.split(whole, sorted(cuts))
    for i, part in enumerate(parts):
        store.write_array(folder / f"part-{i}.npy", part)
    paths = [folder / f"part-{i}.npy" for i in range(len(parts))]
    store.join_arrays(paths, folder / "joined.npy", dtype, whole.shape)
    store.write_array(folder / "expected.npy", np.concatenate(parts))
    assert (folder / "joined.npy").read_bytes() == (folder / "expected.npy").read_bytes()


def test_join_arrays_converts_the_dtype_and_needs_every_part(tmp_path: Path) -> None:
    store.write_array(tmp_path / "0.npy", np.arange(6, dtype=np.int32).reshape(3, 2))
    store.join_arrays([tmp_path / "0.npy"], tmp_path / "joined.npy", np.float32, (3, 2))
    joined = store.read_array(tmp_path / "joined.npy")
    assert joined.dtype == np.float32
    np.testing.assert_array_equal(joined, np.arange(6).reshape(3, 2))
    with pytest.raises(PyriteError, match=r"1\.npy"):
        store.join_arrays([tmp_path / "1.npy"], tmp_path / "broken.npy", np.float32, (3, 2))
    assert not (tmp_path / "broken.npy").exists()


def test_json_is_written_readable_and_complete(tmp_path: Path) -> None:
    value: dict[str, Any] = {"b": [1, 2.5, None], "a": "é"}
    store.write_json(tmp_path / "x.json", value)
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert json.loads(text) == value
    assert "é" in text
    assert text.endswith("}\n")


def test_digests_tell_borders_types_and_shapes_apart(tmp_path: Path) -> None:
    assert digest_bytes(b"ab", b"c") != digest_bytes(b"a", b"bc")
    assert digest_texts(["ab", "c"]) != digest_texts(["a", "bc"])
    assert digest_texts(iter(["\ud800"])) != digest_texts(["\ud801"])
    assert digest_json({"a": 1, "b": 2}) == digest_json({"b": 2, "a": 1})
    assert digest_json({"a": 1}) != digest_json({"a": "1"})
    ones = np.ones((2, 3), dtype=np.float32)
    different: list[npt.NDArray[Any]] = [
        ones,
        ones.reshape(3, 2),
        ones.astype(np.float64),
        ones.view(np.int32),
        ones.ravel(),
        ones * 2,
    ]
    assert len({digest_array(a) for a in different}) == len(different)
    assert digest_array(np.asfortranarray(ones)) == digest_array(ones)
    # a file is read in blocks of 1 MiB: one byte in the second block counts
    (tmp_path / "a").write_bytes(bytes(1 << 20) + b"x")
    (tmp_path / "b").write_bytes(bytes(1 << 20) + b"y")
    assert digest_file(tmp_path / "a") != digest_file(tmp_path / "b")


@pytest.mark.parametrize("size", [0, 1, 40, 41, 80, 81, 1000])
def test_a_large_file_is_digested_piece_by_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(digest, "_PIECE", 40)
    monkeypatch.setattr(digest, "_BLOCK", 16)
    raw, path = np.random.default_rng(0).bytes(size), tmp_path / "a"
    path.write_bytes(raw)
    pieces = [raw[at : at + 40] for at in range(0, size, 40)] or [b""]
    hashes = [hashlib.blake2b(piece, digest_size=16).hexdigest() for piece in pieces]
    assert digest_file(path) == (hashes[0] if size <= 40 else digest_texts(hashes))


def dead_process() -> str:
    code = "import os; print(os.getpid())"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    return done.stdout.decode().strip()


def test_folders_that_dead_processes_left_are_swept_up(tmp_path: Path) -> None:
    own = f"index{store._TMP}-{store._HOST}"
    living = f"{own}-{os.getppid()}-140001"
    for name in (living, f"{own}-{dead_process()}-140002"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "a").write_bytes(b"half")
    with store.scratch_folder(tmp_path / "index") as scratch:
        assert names(tmp_path) == sorted([living, scratch.name])
        (scratch / "a").write_bytes(b"whole")
        store.publish(scratch, tmp_path / "index")
    assert names(tmp_path) == ["index", living]
    with pytest.raises(KeyboardInterrupt), store.scratch_folder(tmp_path / "index") as scratch:
        raise KeyboardInterrupt
    assert names(tmp_path) == ["index", living]
    assert names(tmp_path / "index") == ["a"]


def test_what_a_dead_process_left_is_swept_up_and_a_living_one_is_left_alone(
    tmp_path: Path,
) -> None:
    dead = dead_process()
    own = f"a.bin{store._TMP}-{store._HOST}"
    kept = [f"{own}-{os.getppid()}", "a.bin.tmp-elsewhere-1", f"b.bin.tmp-{store._HOST}-{dead}"]
    for name in (*kept, f"{own}-{dead}"):
        (tmp_path / name.strip()).write_bytes(b"half")
    store.write_bytes(tmp_path / "a.bin", b"whole")
    assert names(tmp_path) == sorted(["a.bin", *(name.strip() for name in kept)])
    store.remove_parts(tmp_path)
    assert names(tmp_path) == sorted(["a.bin", *kept[:2]])
