from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pyrite.core.digest import digest_texts
from pyrite.core.embeddings import Embeddings, StoreLayout, StoreType
from pyrite.core.encoder import F32
from pyrite.core.encoders import precomputed
from pyrite.core.encoders.common import bad_rows
from pyrite.core.encoders.config import PrecomputedConfig
from pyrite.core.encoders.precomputed import PrecomputedEncoder, precomputed_embeddings
from pyrite.core.errors import PyriteError
from pyrite.core.ids import I64
from pyrite.core.sbert import EncoderConfig
from pyrite.core.store import write_part
from pyrite.core.tables import TextTable, write_texts

N = 25
LAYOUT = StoreLayout(part_rows=4, shard_parts=2)
IDS = [f"d{i:02d}" for i in range(N)]
VECTORS = np.random.default_rng(0).standard_normal((N, 5)).astype(np.float32)
UNIT = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
SHUFFLED = np.random.default_rng(1).permutation(N)


def table_of(folder: Path, ids: Sequence[str] = IDS, name: str = "corpus.jsonl") -> TextTable:
    path = folder / f"{name}.arrow"
    write_texts(path, ((i, f"text of {i}") for i in ids))
    return TextTable.open(path, digest_texts(ids), name)


@pytest.fixture
def table(tmp_path: Path) -> TextTable:
    return table_of(tmp_path)


def saved(folder: Path, array: npt.NDArray[Any] = VECTORS, name: str = "corpus.npy") -> Path:
    np.save(folder / name, array)
    return folder / name


def lines(folder: Path, ids: Sequence[str], end: str = "\n") -> Path:
    path = folder / "ids.txt"
    path.write_bytes(("\n".join(ids) + end).encode())
    return path


def opened(path: Path, table: TextTable, cache: Path, **fields: Any) -> Embeddings:
    settings: dict[str, Any] = {"ids": None, "normalize": False, "layout": LAYOUT, **fields}
    return precomputed_embeddings(path, table, cache=cache, **settings)


def rows_of(embeddings: Embeddings) -> npt.NDArray[np.float32]:
    return np.concatenate([block for _, block in embeddings.blocks()])


def written(cache: Path) -> list[str]:
    return sorted(p.name for p in cache.rglob("*.npy"))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_file_that_fits_is_mapped_and_not_copied(
    tmp_path: Path, table: TextTable, dtype: str
) -> None:
    cache = tmp_path / "cache"
    found = opened(saved(tmp_path, VECTORS.astype(dtype)), table, cache)
    expected = VECTORS.astype(dtype).astype(np.float32)
    np.testing.assert_array_equal(rows_of(found), expected)
    np.testing.assert_array_equal(found.take(SHUFFLED), expected[SHUFFLED])
    (shard,) = found.shards
    assert isinstance(shard, np.memmap)
    assert (shard.dtype, len(shard)) == (np.dtype(dtype), N)
    assert not found.shards[0].flags.writeable
    assert (found.dimension, len(found)) == (5, N)
    assert written(cache) == []


def test_the_values_are_read_once_for_each_content(
    tmp_path: Path, table: TextTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path)
    key = opened(path, table, tmp_path / "cache").key
    monkeypatch.setattr(precomputed, "bad_rows", None)
    assert opened(path, table, tmp_path / "cache").key == key
    changed = VECTORS.copy()
    changed[24, 4] += 1
    saved(tmp_path, changed)
    with pytest.raises(TypeError):
        opened(path, table, tmp_path / "cache")


@pytest.mark.parametrize("stored", ["float32", "float16"])
@pytest.mark.parametrize(
    ("array", "normalize", "expected"),
    [
        (VECTORS, True, UNIT),
        (VECTORS.astype(np.float16), True, UNIT),
        (np.asfortranarray(VECTORS), False, VECTORS),
        (VECTORS.astype(">f4"), False, VECTORS),
    ],
    ids=["unit", "float16-unit", "fortran", "big-endian"],
)
def test_a_file_that_must_change_is_copied_by_parts(
    tmp_path: Path,
    table: TextTable,
    array: npt.NDArray[Any],
    normalize: bool,
    expected: F32,
    stored: StoreType,
) -> None:
    cache = tmp_path / "cache"
    layout = StoreLayout(stored, part_rows=4, shard_parts=2)
    found = opened(saved(tmp_path, array), table, cache, normalize=normalize, layout=layout)
    assert written(cache) == [f"emb-0000{i}.npy" for i in range(4)]
    assert [len(s) for s in found.shards] == [8, 8, 8, 1]
    exact = stored == "float32" and array.itemsize == 4
    np.testing.assert_allclose(rows_of(found), expected, atol=1e-6 if exact else 2e-3)
    assert all(s.dtype == stored and s.flags.c_contiguous for s in found.shards)
    manifest = json.loads(next(cache.rglob("manifest.json")).read_text(encoding="utf-8"))
    assert (manifest["counts"], manifest["dimension"]) == ({"rows": N}, 5)
    assert sorted(manifest["files"]) == written(cache)


def test_memory_holds_one_part(
    tmp_path: Path, table: TextTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def observed(vectors: F32) -> I64:
        seen.append(len(vectors))
        return bad_rows(vectors)

    monkeypatch.setattr(precomputed, "bad_rows", observed)
    opened(saved(tmp_path), table, tmp_path / "a")
    assert seen == [4] * 6 + [1]
    opened(saved(tmp_path), table, tmp_path / "b", normalize=True)
    assert set(seen) == {4, 1}


@pytest.mark.parametrize("kind", ["txt", "txt-no-end", "npy"])
def test_ids_bring_rows_in_another_order(tmp_path: Path, table: TextTable, kind: str) -> None:
    names = [IDS[i] for i in SHUFFLED]
    if kind == "npy":
        ids = saved(tmp_path, np.array(names), "ids.npy")
    else:
        ids = lines(tmp_path, names, "\n" if kind == "txt" else "")
    found = opened(saved(tmp_path, VECTORS[SHUFFLED]), table, tmp_path / "cache", ids=ids)
    np.testing.assert_array_equal(rows_of(found), VECTORS)


def test_ids_in_table_order_are_mapped_and_further_rows_are_left(
    tmp_path: Path, table: TextTable
) -> None:
    cache = tmp_path / "cache"
    opened(saved(tmp_path), table, cache, ids=lines(tmp_path, IDS))
    assert written(cache) == []
    ids = lines(tmp_path, ["extra", *IDS, "more \u2028 text"])
    more = np.concatenate([VECTORS[:1] * 9, VECTORS, VECTORS[:1] * 7])
    found = opened(saved(tmp_path, more), table, cache, ids=ids)
    np.testing.assert_array_equal(rows_of(found), VECTORS)
    ids = lines(tmp_path, [*IDS, "at", "the end"])
    found = opened(saved(tmp_path, np.concatenate([VECTORS, VECTORS[:2]])), table, cache, ids=ids)
    np.testing.assert_array_equal(rows_of(found), VECTORS)


@pytest.mark.parametrize("with_ids", [False, True])
def test_chosen_rows_come_in_their_order(tmp_path: Path, table: TextTable, with_ids: bool) -> None:
    rows = np.array([20, 3, 3, 11, 0, 24, 7, 8, 9, 10])
    order = SHUFFLED if with_ids else np.arange(N)
    ids = lines(tmp_path, [IDS[i] for i in order]) if with_ids else None
    found = opened(saved(tmp_path, VECTORS[order]), table, tmp_path / "c", ids=ids, rows=rows)
    np.testing.assert_array_equal(rows_of(found), VECTORS[rows])
    assert [len(s) for s in found.shards] == [8, 2]


def failure(array: Any, table: TextTable, tmp_path: Path, **fields: Any) -> str:
    path = saved(tmp_path, array)
    with pytest.raises(PyriteError) as caught:
        opened(path, table, tmp_path / "cache", **fields)
    text = str(caught.value)
    assert "\n" not in text
    assert not list((tmp_path / "cache").rglob("manifest.json"))
    return text


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_names_its_row(
    tmp_path: Path, table: TextTable, normalize: bool, value: float
) -> None:
    broken = VECTORS.copy()
    broken[19, 2] = value
    text = failure(broken, table, tmp_path, normalize=normalize)
    assert f"{tmp_path / 'corpus.npy'}: row 19 has NaN or infinity" in text


def test_a_value_over_the_stored_type_names_its_row(tmp_path: Path, table: TextTable) -> None:
    large = np.asfortranarray(VECTORS)
    large[17, 3] = 1e5
    text = failure(large, table, tmp_path, layout=StoreLayout("float16", 4, 2))
    assert "row 17 has NaN or infinity in float16" in text


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (VECTORS[:24], "24 rows for the 25 texts of corpus.jsonl; compute the missing ones or"),
        (VECTORS.astype(np.float64), "dtype float64, expected float32 or float16; convert"),
        (np.ones((N, 5), dtype=np.int32), "dtype int32, expected float32"),
        (VECTORS[:, 0], "shape (25,), expected [rows, D]"),
        (VECTORS[:, :0], "shape (25, 0), expected [rows, D]"),
    ],
    ids=["rows", "float64", "int32", "flat", "empty"],
)
def test_a_file_of_another_form_is_one_sentence(
    tmp_path: Path, table: TextTable, array: npt.NDArray[Any], said: str
) -> None:
    assert said in failure(array, table, tmp_path)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (IDS[:-1], "24 ids for the 25 rows"),
        ([*IDS[:-1], "other"], "no vector for id 'd24' of corpus.jsonl (1 such ids)"),
        ([*IDS[:-1], "d03"], "id 'd03' stands in rows 4 and 25"),
    ],
    ids=["count", "missing", "twice"],
)
def test_ids_that_do_not_fit_are_named(
    tmp_path: Path, table: TextTable, names: list[str], said: str
) -> None:
    assert said in failure(VECTORS, table, tmp_path, ids=lines(tmp_path, names))


def test_files_that_cannot_be_read_are_named(tmp_path: Path, table: TextTable) -> None:
    missing = tmp_path / "missing.npy"
    with pytest.raises(PyriteError, match=r"missing\.npy: no such file; set encoder\.precomputed"):
        opened(missing, table, tmp_path)
    for content in (b"", b"not numpy", saved(tmp_path).read_bytes()[:200]):
        missing.write_bytes(content)
        with pytest.raises(PyriteError, match=r"not a readable \.npy array; write it with"):
            opened(missing, table, tmp_path)
    np.savez(tmp_path / "two.npz", a=VECTORS)
    with pytest.raises(PyriteError, match="an archive of arrays"):
        opened(tmp_path / "two.npz", table, tmp_path)
    np.save(tmp_path / "objects.npy", np.array(IDS, dtype=object), allow_pickle=True)
    with pytest.raises(PyriteError, match="save it with dtype str, not object"):
        opened(saved(tmp_path), table, tmp_path, ids=tmp_path / "objects.npy")
    with pytest.raises(PyriteError, match=r"dtype float32, shape \(25, 5\); expected strings"):
        opened(saved(tmp_path), table, tmp_path, ids=saved(tmp_path))
    (tmp_path / "latin.txt").write_bytes(b"\xe9\n")
    for name in ("latin.txt", "none.txt"):
        with pytest.raises(PyriteError, match="not readable as UTF-8 text, one id a line"):
            opened(saved(tmp_path), table, tmp_path, ids=tmp_path / name)


def test_an_interrupted_conversion_goes_on_where_it_stopped(
    tmp_path: Path, table: TextTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache = saved(tmp_path), tmp_path / "cache"
    done: list[str] = []
    limit = 2

    def dying(target: Path, array: F32) -> None:
        if len(done) == limit:
            raise KeyboardInterrupt
        done.append(target.name)
        write_part(target, array)

    monkeypatch.setattr(precomputed, "write_part", dying)
    with pytest.raises(KeyboardInterrupt):
        opened(path, table, cache, normalize=True)
    assert not list(cache.rglob("manifest.json"))
    done.clear()
    limit = N
    found = opened(path, table, cache, normalize=True)
    assert done == [f"part-{start:010d}.npy" for start in (8, 12, 16, 20, 24)]
    assert not list(cache.rglob("part-*"))
    np.testing.assert_allclose(rows_of(found), UNIT, rtol=1e-6)


def test_a_torn_shard_is_converted_again(tmp_path: Path, table: TextTable) -> None:
    path, cache = saved(tmp_path), tmp_path / "cache"
    opened(path, table, cache, normalize=True)
    shard = next(cache.rglob("emb-00001.npy"))
    content = shard.read_bytes()
    shard.write_bytes(content[:-4] + b"\0\0\0\0")
    np.testing.assert_allclose(rows_of(opened(path, table, cache, normalize=True)), UNIT, rtol=1e-6)


def test_the_key_is_the_content(tmp_path: Path, table: TextTable) -> None:
    cache = tmp_path / "cache"
    path = saved(tmp_path)
    first = opened(path, table, cache).key
    assert opened(saved(tmp_path, name="renamed.npy"), table, cache).key == first
    other = table_of(tmp_path, [f"x{i}" for i in range(N)], "other.jsonl")
    keys = {
        first,
        opened(path, table, cache, normalize=True).key,
        opened(path, table, cache, rows=np.arange(3)).key,
        opened(path, table, cache, normalize=True, layout=StoreLayout("float16", 4, 2)).key,
        opened(path, table, cache, ids=lines(tmp_path, IDS)).key,
        opened(path, other, cache).key,
        opened(saved(tmp_path, VECTORS + 1, "b.npy"), table, cache).key,
    }
    assert len(keys) == 7


def config(tmp_path: Path, **section: Any) -> EncoderConfig:
    files = {
        "corpus": str(saved(tmp_path)),
        "queries": str(saved(tmp_path, VECTORS[:4], "queries.npy")),
    }
    merged = PrecomputedConfig(**{**files, **section})
    return EncoderConfig(kind="precomputed", precomputed=merged, normalize=False)


def test_the_encoder_gives_vectors_by_role_and_encodes_no_text(tmp_path: Path) -> None:
    encoder = PrecomputedEncoder(config(tmp_path))
    assert encoder.dimension == 5
    corpus = encoder.embeddings(table_of(tmp_path), "document", tmp_path / "cache")
    np.testing.assert_array_equal(rows_of(corpus), VECTORS)
    asked = table_of(tmp_path, IDS[:4], "queries.jsonl")
    queries = encoder.embeddings(asked, "query", tmp_path / "cache", np.array([2, 1]))
    np.testing.assert_array_equal(rows_of(queries), VECTORS[[2, 1]])
    for call in (encoder.encode_queries, encoder.encode_documents):
        with pytest.raises(PyriteError, match=r"cannot encode texts; set encoder\.kind"):
            call(["x"])
    with pytest.raises(PyriteError, match="cannot encode texts"):
        encoder.lengths(["x"], "query")


def test_the_fingerprint_is_that_of_the_bytes(tmp_path: Path) -> None:
    base = PrecomputedEncoder(config(tmp_path)).fingerprint
    renamed = str(saved(tmp_path, name="renamed.npy"))
    assert PrecomputedEncoder(config(tmp_path, corpus=renamed)).fingerprint == base
    ids = str(lines(tmp_path, IDS))
    settings = [
        config(tmp_path, corpus=str(saved(tmp_path, VECTORS * 2, "b.npy"))),
        config(tmp_path, queries=renamed),
        config(tmp_path, corpus_ids=ids),
        config(tmp_path, queries_ids=ids),
        config(tmp_path).model_copy(update={"normalize": True}),
    ]
    assert len({base, *(PrecomputedEncoder(c).fingerprint for c in settings)}) == 6


def test_settings_that_cannot_work_are_named(tmp_path: Path) -> None:
    for key in ("corpus", "queries"):
        with pytest.raises(PyriteError, match=rf"needs encoder\.precomputed\.{key}, an \.npy"):
            PrecomputedEncoder(config(tmp_path, **{key: None}))
    narrow = str(saved(tmp_path, VECTORS[:, :3], "narrow.npy"))
    with pytest.raises(PyriteError, match=r"vectors of 3 numbers, but those of .* have 5"):
        PrecomputedEncoder(config(tmp_path, queries=narrow))
