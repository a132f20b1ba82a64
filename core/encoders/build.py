"""The encoder of a configuration, and the vectors of a table whatever the encoder is."""

from __future__ import annotations

from pathlib import Path

from ..embeddings import DEFAULT_LAYOUT, Embeddings, StoreLayout, embed
from ..encoder import Encoder, Role
from ..ids import I64
from ..sbert import EncoderConfig, SentenceTransformerEncoder
from ..tables import TextTable


def build_encoder(config: EncoderConfig, cache: Path) -> Encoder:
    """The encoder that `encoder.kind` names; packages are imported only for the chosen kind.

    `cache` receives the graph of kind `onnx`. Raises PyriteError as the encoders do and
    MissingExtraError, naming the extra, where the kind's packages are not installed.
    """
    if config.kind == "onnx":
        from .onnx import OnnxEncoder

        return OnnxEncoder(config, cache)
    if config.kind == "callable":
        from .callable import callable_encoder

        return callable_encoder(config)
    if config.kind == "precomputed":
        from .precomputed import PrecomputedEncoder

        return PrecomputedEncoder(config)
    if config.kind == "openai":
        from .openai import OpenAIEncoder

        return OpenAIEncoder(config)
    if "," in config.device:
        from .devices import MultiDeviceEncoder

        return MultiDeviceEncoder(config)
    return SentenceTransformerEncoder(config)


def embed_table(
    encoder: Encoder,
    table: TextTable,
    role: Role,
    cache: Path,
    max_tokens: int,
    rows: I64 | None = None,
    layout: StoreLayout = DEFAULT_LAYOUT,
) -> Embeddings:
    """Vectors of `rows` of a table (all by default): encoded by `embed`, or precomputed."""
    from .precomputed import PrecomputedEncoder

    if isinstance(encoder, PrecomputedEncoder):
        return encoder.embeddings(table, role, cache, rows, layout)
    return embed(encoder, table, role, cache, max_tokens, rows, layout)
