"""The ONNX graph of a sentence-transformers model: exported, compared with torch, cached."""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..digest import digest_json
from ..encoder import F32
from ..errors import PyriteError
from ..store import Manifest, atomic_write, discard
from .common import unit_rows
from .onnx_attention import DOMAIN, one_attention_node

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)

SCHEMA = 2
OPSET = 17
GRAPH = "model.onnx"
_WEIGHTS = "model.onnx.data"  # beside the graph, since a graph may not be over 2 GB
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_MODULES = frozenset({"Transformer", "Pooling", "Dense", "Normalize", "LayerNorm", "Dropout"})
# of different lengths, so that padding and its mask are part of what is traced
_TRACED = ("one text", "another text that has a few more words in it than the first")
_COMPARED = (
    "a",
    "some words on a line",
    "def add(a, b):\n    return a + b",
    "a longer text, " * 12,
    "numbers 1 2 3 and signs ; : ?",
)
_LARGEST_ERROR = 1e-3  # of the largest component; rounding stays under 1e-5
_POOR_COSINE = 0.9


def cached_graph(model: SentenceTransformer, source: str, precision: str, cache: Path) -> Path:
    """Folder with the graph `model.onnx` of a model whose fingerprint is `source`.

    Inputs int64 [B, L] by name, output float32 [B, D] after all of the model's modules. Exported
    at the first use, also after another onnxruntime or torch was installed. Raises PyriteError if
    the model cannot be exported or the graph does not compute what torch computes.
    """
    key = digest_json(
        {
            "schema": SCHEMA,
            "source": source,
            "precision": precision,
            "opset": OPSET,
            "versions": [metadata.version(name) for name in ("onnxruntime", "onnx", "torch")],
        }
    )
    folder = cache / "onnx" / key
    manifest = Manifest.read(folder)
    if manifest is not None and manifest.intact(folder):
        return folder
    if manifest is not None:
        logger.warning("%s does not match its manifest: exporting it again", folder)
        discard(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".tmp-") as scratch:
        agreement = _build(model, precision, Path(scratch))
        for name in (_WEIGHTS, GRAPH):
            with (Path(scratch) / name).open("rb") as built, atomic_write(folder / name) as target:
                shutil.copyfileobj(built, target)
    Manifest.write(
        folder,
        only=(GRAPH, _WEIGHTS),
        schema=SCHEMA,
        kind="onnx-graph",
        source=source,
        precision=precision,
        opset=OPSET,
        onnxruntime=metadata.version("onnxruntime"),
        agreement=agreement,
    )
    return folder


def _build(model: SentenceTransformer, precision: str, scratch: Path) -> dict[str, float]:
    """Write graph and weights to `scratch`; how far they are from torch on a few texts."""
    traced = _Traced.of(model)
    expected = traced.torch_vectors()
    exported, error = _exported(traced, expected, scratch)
    agreement = {"float32_error": error}
    if precision == "int8":
        quantised = scratch / "quantised.onnx"
        _quantise(exported, quantised)
        cosine = (unit_rows(traced.graph_vectors(quantised)) * unit_rows(expected)).sum(axis=1)
        agreement["int8_cosine"] = float(cosine.mean())
        if cosine.mean() < _POOR_COSINE:
            logger.warning(
                "int8 vectors have a mean cosine of %.3f to those of float32;"
                " encoder.onnx.precision=float32 is exact",
                cosine.mean(),
            )
        exported = quantised
    _save(exported, scratch / GRAPH)
    return agreement


def _exported(traced: _Traced, expected: F32, scratch: Path) -> tuple[Path, float]:
    """The float32 graph and how far it is from torch, with attention in one node if it can be."""
    with one_attention_node(traced.model) as fused:
        if fused:
            # whatever torch or ONNX Runtime have against it: the plain graph is there
            with contextlib.suppress(Exception):
                return _checked(traced, expected, scratch / "fused", True)
            logger.info("attention is not one node of the graph: that one is not this model")
    return _checked(traced, expected, scratch / "exported", False)


def _checked(traced: _Traced, expected: F32, folder: Path, one_node: bool) -> tuple[Path, float]:
    path = folder / GRAPH
    folder.mkdir()
    traced.export(path, one_node)
    found = traced.graph_vectors(path)
    error = float(np.abs(found - expected).max() / np.abs(expected).max())
    if not error <= _LARGEST_ERROR:
        raise PyriteError(
            f"encoder.kind=onnx: the exported graph is {error:.2g} away from torch, over the limit"
            f" {_LARGEST_ERROR:g}; set encoder.kind=sentence-transformers for this model"
        )
    return path, error


@dataclass(frozen=True, slots=True)
class _Traced:
    """A model with the inputs that it takes: what is exported and compared."""

    model: Any
    inputs: tuple[str, ...]
    constants: dict[str, Any]

    @classmethod
    def of(cls, model: SentenceTransformer) -> _Traced:
        """Raises PyriteError for a model with modules or inputs that no graph is made of."""
        import torch

        for module in model:
            name = type(module).__name__
            whole = getattr(module, "include_prompt", True)
            if name not in _MODULES or not whole:
                detail = name if whole else "Pooling without the prompt"
                raise PyriteError(
                    f"encoder.kind=onnx cannot export the module {detail}, only"
                    f" {', '.join(sorted(_MODULES))}; set encoder.kind=sentence-transformers"
                )
        features = model.preprocess(list(_TRACED))
        tensors = {name for name, value in features.items() if torch.is_tensor(value)}
        if not {"input_ids", "attention_mask"} <= tensors <= set(_INPUTS):
            raise PyriteError(
                f"encoder.kind=onnx cannot export a model of {', '.join(sorted(tensors))}, only of"
                f" {', '.join(_INPUTS)}; set encoder.kind=sentence-transformers"
            )
        constants = {name: value for name, value in features.items() if name not in tensors}
        return cls(model, tuple(name for name in _INPUTS if name in tensors), constants)

    def export(self, path: Path, one_node: bool) -> None:
        """Trace the model on the CPU with free batch and sequence axes."""
        import torch

        axes = {name: {0: "batch", 1: "sequence"} for name in self.inputs}
        try:
            with torch.no_grad(), warnings.catch_warnings():
                # the tracer warns of every shape that it reads; the comparison decides
                warnings.simplefilter("ignore")
                torch.onnx.export(
                    _pipeline(self),
                    self._tensors(_TRACED),
                    str(path),
                    input_names=list(self.inputs),
                    output_names=["embedding"],
                    dynamic_axes={**axes, "embedding": {0: "batch"}},
                    opset_version=OPSET,
                    custom_opsets={DOMAIN: 1} if one_node else None,
                    dynamo=False,  # the newer exporter needs one more package, onnxscript
                )
        except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
            reason = str(error).strip().splitlines()[0]
            raise PyriteError(
                f"encoder.kind=onnx: torch cannot export this model ({reason});"
                " set encoder.kind=sentence-transformers"
            ) from error

    def torch_vectors(self) -> F32:
        """What torch computes for the compared texts, float32 [n, D]."""
        import torch

        with torch.inference_mode():
            return np.asarray(_pipeline(self)(*self._tensors(_COMPARED)).numpy())

    def graph_vectors(self, path: Path) -> F32:
        """What a graph computes for the compared texts, float32 [n, D]."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        feeds = dict(zip(self.inputs, self._tensors(_COMPARED), strict=True))
        names = [item.name for item in session.get_inputs()]
        return np.asarray(session.run(None, {name: feeds[name].numpy() for name in names})[0])

    def _tensors(self, texts: tuple[str, ...]) -> tuple[Any, ...]:
        features = self.model.preprocess(list(texts))
        return tuple(features[name] for name in self.inputs)


def _pipeline(traced: _Traced) -> Any:
    """A torch module from the input tensors to the sentence embedding [B, D]."""
    import torch

    class Pipeline(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stages = torch.nn.ModuleList(list(traced.model))

        def forward(self, *tensors: Any) -> Any:
            features = {**traced.constants, **dict(zip(traced.inputs, tensors, strict=True))}
            for stage in self.stages:
                features = stage(features)
            return features["sentence_embedding"]

    return Pipeline().eval()


def _quantise(source: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _without_root_warnings():
        quantize_dynamic(
            str(source),
            str(target),
            weight_type=QuantType.QInt8,
            # one scale for each output column: with one for a matrix the cosine falls to 0.95
            per_channel=True,
            # 7-bit weights: 8-bit ones saturate on a CPU without VNNI, which so computes others
            reduce_range=True,
        )


def _save(source: Path, target: Path) -> None:
    import onnx

    onnx.save_model(
        onnx.load(str(source)),
        str(target),
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=_WEIGHTS,
        size_threshold=0,
    )


@contextlib.contextmanager
def _without_root_warnings() -> Iterator[None]:
    # the quantiser logs to the root logger that a pre-processing step exists
    def quiet(record: logging.LogRecord) -> bool:
        return record.levelno > logging.WARNING

    root = logging.getLogger()
    root.addFilter(quiet)
    try:
        yield
    finally:
        root.removeFilter(quiet)
