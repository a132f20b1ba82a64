"""Encoding with ONNX Runtime on the CPU, in float32 or int8."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..digest import digest_json
from ..encoder import F32, Role
from ..errors import PyriteError
from ..ids import I64
from ..sbert import EncoderConfig, SentenceTransformerEncoder, load_model, prompt_for
from .common import require, unit_rows
from .onnx_graph import GRAPH, SCHEMA, cached_graph
from .tokens_ahead import tokenized_ahead

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class OnnxEncoder:
    """An `Encoder` that runs a sentence-transformers model's graph in ONNX Runtime.

    float32 gives torch's vectors to about 1e-6. int8 quantises the activations of a whole batch
    together, so a vector moves a little with its batch; the batch plan fixes that as well. Texts
    are tokenised by the model itself.
    """

    def __init__(
        self, config: EncoderConfig, cache: Path, model: SentenceTransformer | None = None
    ) -> None:
        """Maps the cached graph, or exports it: seconds for a small model.

        Raises PyriteError for a device other than the CPU, a dtype other than float32, or a model
        that cannot be exported; MissingExtraError without `onnxruntime` and `onnx`.
        """
        require("encoder.kind=onnx", "onnx", "onnxruntime", "onnx")
        _check(config)
        self._model = load_model(config) if model is None else model
        self._source = SentenceTransformerEncoder(config, self._model)
        self._config = config
        self._dimension = self._source.dimension
        precision = config.onnx.precision
        self._fingerprint = digest_json(["onnx", SCHEMA, precision, self._source.fingerprint])
        folder = cached_graph(self._model, self._source.fingerprint, precision, cache)
        self._session = _session(folder / GRAPH)
        self._inputs: list[str] = [item.name for item in self._session.get_inputs()]
        if model is None:
            self._model.to("meta")  # its weights are in the graph: no need for them twice

    @property
    def dimension(self) -> int:
        return self._dimension

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def lengths(self, texts: Sequence[str], role: Role) -> I64:
        return self._source.lengths(texts, role)

    def encode_queries(self, texts: Sequence[str]) -> F32:
        return self._encode(texts, "query")

    def encode_documents(self, texts: Sequence[str]) -> F32:
        return self._encode(texts, "document")

    def encode_batches(self, batches: Iterable[Sequence[str]], role: Role) -> Iterator[F32]:
        """Vectors of each batch, float32 [len(batch), D]; a thread tokenizes the next ones."""
        prompt = prompt_for(self._model, self._config, role)
        for batch in tokenized_ahead(self._model, batches, prompt, role, list):
            yield self._encode(batch, role)

    def _encode(self, texts: Sequence[str], role: Role) -> F32:
        if not texts:
            return np.empty((0, self._dimension), dtype=np.float32)
        prompt = prompt_for(self._model, self._config, role)
        features = self._model.preprocess(list(texts), prompt=prompt, task=role)
        feeds = {name: features[name].numpy().astype(np.int64) for name in self._inputs}
        vectors: F32 = self._session.run(None, feeds)[0][:, : self._dimension]
        return unit_rows(vectors) if self._config.normalize else np.ascontiguousarray(vectors)


def _check(config: EncoderConfig) -> None:
    if config.device != "cpu":
        raise PyriteError(
            f"encoder.device={config.device}: encoder.kind=onnx runs on the CPU; set"
            " encoder.device=cpu or encoder.kind=sentence-transformers"
        )
    if config.dtype != "float32":
        raise PyriteError(
            f"encoder.dtype={config.dtype}: encoder.kind=onnx exports float32; set"
            " encoder.dtype=float32 and choose encoder.onnx.precision"
        )


def _session(path: Path) -> Any:
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # its threads would burn a core while they wait for the next batch to be tokenised
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
