"""Exact search as tiles of matrix products with a running top-k, on CPU or CUDA.

Where the processor multiplies bfloat16 in hardware (AMX, AVX-512 BF16), the products are taken in
bfloat16, at several times the float32 rate. What that rounding can hide is bounded from the
rounding errors of the vectors themselves, and `FlatIndex` searches wider where the bound leaves a
query open: the results are the same bytes either way.
"""

from __future__ import annotations

import copy
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from ..core.embeddings import Embeddings
from ..core.encoder import F32
from ..core.errors import PyriteError
from ..core.ids import I64
from .config import KEY
from .proposers import F64, NORM_ROWS, Proposer, float32_error, norms
from .sieve import Sieve

_TILE_QUERIES = 1024
_WORKERS = 4
_TILE_DOCS = 8192
_CUDA_TILE_DOCS = 262_144
_HALF_ROUNDOFF = 2.0**-11
_BFLOAT16_ROUNDOFF = 2.0**-8
_SMALLEST = 2.0**-126


def fast_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 itself, in tiles (AMX) or in vectors (AVX-512)."""
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    found = capabilities() if capabilities is not None else {}
    return bool(found.get("amx_bf16") or found.get("avx512_bf16"))


def tile_memory(batch: int, width: int, documents: int, dimension: int, on_cpu: bool) -> int:
    """Bound of one `TorchProposer.propose` beside the mapped corpus, in bytes."""
    rows = min(batch, (_WORKERS if on_cpu else 1) * _TILE_QUERIES)
    columns = _TILE_DOCS if on_cpu else _CUDA_TILE_DOCS
    # beside the scores: the groups above the floor, or a copy for the top of the tile
    each = 24 if on_cpu else 5
    tile = rows * min(columns, documents) * each
    merging = 12 * width * (batch + 8 * rows) + 160 * width * rows
    return tile + merging + 6 * (rows + columns) * dimension


class TorchProposer:
    """A `Proposer` of torch matrix products."""

    def __init__(
        self,
        corpus: Embeddings,
        threads: int = 0,
        device: str = "cpu",
        float16: bool = False,
        bfloat16: bool | None = None,
        key: str = KEY,
    ) -> None:
        """`bfloat16` concerns the CPU; None takes it where it is fast.

        Raises PyriteError for a CUDA device that is missing, or `float16` on a CPU, naming the
        section `key`.
        """
        if threads:
            torch.set_num_threads(threads)
        if device != "cpu" and not torch.cuda.is_available():
            raise PyriteError(
                f"{key}.device={device} but torch sees no CUDA device; set {key}.device=cpu"
            )
        if float16 and device == "cpu":
            raise PyriteError(f"{key}.float16=true needs a CUDA device; set it to false")
        _tensor(corpus.shards[0][:1])
        self._corpus = corpus
        self._device = torch.device(device)
        self._dtype = torch.float16 if float16 else torch.float32
        if device == "cpu" and (fast_bfloat16() if bfloat16 is None else bfloat16):
            self._dtype = torch.bfloat16
        self.largest, self._largest_error = 0.0, 0.0
        for _, block in corpus.blocks(NORM_ROWS):
            self.largest = max(self.largest, norms(block).max(initial=0.0))
            if self._dtype is torch.bfloat16:
                error = norms(block - _rounded(block))
                self._largest_error = max(self._largest_error, error.max(initial=0.0))

    def propose(self, queries_BD: F32, width: int) -> tuple[I64, F32]:
        ids = np.empty((queries_BD.shape[0], width), dtype=np.int64)
        floor = np.empty(queries_BD.shape[0], dtype=np.float32)
        if width == len(self._corpus):
            ids[:], floor[:] = np.arange(width), -np.inf
            return ids, floor
        threads = torch.get_num_threads()
        workers = min(_WORKERS, threads) if self._device.type == "cpu" else 1
        step = min(_TILE_QUERIES, max(1, -(-queries_BD.shape[0] // workers)))

        def search(start: int) -> None:
            torch.set_num_threads(threads // workers)
            part = slice(start, start + step)
            queries = torch.from_numpy(np.ascontiguousarray(queries_BD[part])).to(self._dtype)
            find = self._on_cpu if self._device.type == "cpu" else self._on_cuda
            ids[part], scores = find(queries, width)
            floor[part] = scores.min(axis=1)

        try:
            # beside the products, a search is work of single threads: several of them share it
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(search, range(0, queries_BD.shape[0], step)))
        finally:
            torch.set_num_threads(threads)
        return ids, floor

    def ceiling(self, queries_BD: F32, floor_B: F32) -> F64:
        sizes = norms(queries_BD)
        sums = float32_error(queries_BD.shape[1]) * sizes * self.largest
        if self._dtype is torch.bfloat16:
            largest = self.largest + self._largest_error
            inputs = (
                sizes * self._largest_error + norms(queries_BD - _rounded(queries_BD)) * largest
            )
            # such instructions take numbers below the normal ones for zero
            sums += queries_BD.shape[1] * _SMALLEST * (1 + sizes) * (1 + largest)
            # the products are added as float32, and the sum is rounded again
            return floor_B + 1.01 * (inputs + 2 * sums + _BFLOAT16_ROUNDOFF * np.abs(floor_B))
        if self._dtype is torch.float16:
            # both factors and the result are rounded to half precision, the sum is float32
            return floor_B + sums + 1.01 * 3 * _HALF_ROUNDOFF * sizes * self.largest
        return np.asarray(floor_B + sums, dtype=np.float64)

    def closer(self) -> Proposer | None:
        if self._dtype is torch.float32:
            return None
        single = copy.copy(self)
        single._dtype = torch.float32
        return single

    def memory_bytes(self, batch: int, width: int) -> int:
        shape = len(self._corpus), self._corpus.dimension
        return tile_memory(batch, width, *shape, on_cpu=self._device.type == "cpu")

    def _on_cpu(self, queries_BD: torch.Tensor, width: int) -> tuple[I64, F32]:
        sieve = Sieve(queries_BD.shape[0], width, self._dtype)
        buffer = torch.empty((queries_BD.shape[0], _TILE_DOCS), dtype=self._dtype)
        for first, block in self._corpus.blocks(_TILE_DOCS):
            scores = buffer
            if block.shape[0] < _TILE_DOCS:
                scores = torch.empty((queries_BD.shape[0], block.shape[0]), dtype=self._dtype)
            torch.matmul(queries_BD, torch.from_numpy(block).to(self._dtype).T, out=scores)
            sieve.add(scores, first)
        return sieve.best()

    def _on_cuda(self, queries_BD: torch.Tensor, width: int) -> tuple[I64, F32]:
        queries = queries_BD.to(self._device)
        best = torch.full((len(queries), width), -torch.inf, device=self._device)
        ids = torch.full((len(queries), width), -1, device=self._device)
        for first, block in self._corpus.blocks(_CUDA_TILE_DOCS):
            scores = (queries @ _tensor(block).to(self._device, self._dtype).T).float()
            take = min(width, scores.shape[1])
            top, columns = torch.topk(scores, take, dim=1, sorted=False)
            best, places = torch.topk(torch.cat((best, top), dim=1), width, dim=1, sorted=False)
            ids = torch.cat((ids, columns + first), dim=1).gather(1, places)
        return ids.cpu().numpy(), best.cpu().numpy()


def _rounded(vectors_ND: F32) -> F32:
    """The vectors as bfloat16 holds them, in float32."""
    return np.asarray(_tensor(vectors_ND).bfloat16().float().numpy())


def _tensor(block_CD: F32) -> torch.Tensor:
    """A tensor over the same memory, which is only read.

    The first call is not for a thread: torch warns once, and filters are not kept by thread.
    """
    with warnings.catch_warnings():
        # torch has no read-only tensors and warns of maps that may not be written
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(block_CD)
