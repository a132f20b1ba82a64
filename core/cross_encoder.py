"""Cross-encoders: a query and a document read together, one number for how relevant it is."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from pydantic import Field
from scipy.special import expit

from .config import Section
from .encoder import F32, plan_batches, token_budget
from .errors import PyriteError
from .ids import I64
from .sbert import (
    BUNDLED,
    architecture,
    bundled_model_path,
    check_device,
    content_fingerprint,
    limit_length,
)

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

Activation = Literal["auto", "sigmoid", "softmax", "none"]
_HEADS = ("ForSequenceClassification", "ForCausalLM")


class CrossEncoderConfig(Section):
    """How a model reads query and document together; which one, the sections that use it say."""

    max_length: int = Field(
        512, ge=8, le=32768, description="tokens of query and document; longer pairs are truncated"
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="number type of the weights"
    )
    device: str = Field("cpu", description="a torch device")
    batch_tokens: int | None = Field(
        None,
        ge=64,
        description="padded tokens in one forward pass; null: 2,048 on a processor, else 8,192",
    )

    @property
    def token_budget(self) -> int:
        """Padded tokens in one forward pass."""
        return token_budget(self.batch_tokens, self.device)


class PairScorer(Protocol):
    """Scores pairs of texts. Equal fingerprints promise equal scores for equal batches."""

    @property
    def fingerprint(self) -> str:
        """Digest of weights, tokenizer, prompts, maximum length and dtype."""

    @property
    def labels(self) -> int:
        """Outputs of the model's head, 1 or 2."""

    def lengths(self, queries: Sequence[str], documents: Sequence[str]) -> I64:
        """Tokens of each pair after truncation, int64 [len(queries)]."""

    def cut_pairs(self, queries: Sequence[str], documents: Sequence[str]) -> int:
        """How many of the pairs are longer than the model reads."""

    def log_odds(self, queries: Sequence[str], documents: Sequence[str]) -> F32:
        """One batch: the log-odds of "relevant", float32 [len(queries)]."""


class CrossEncoderScorer:
    """A `PairScorer` around a sentence-transformers CrossEncoder.

    With one label its logit is the log-odds; with two labels it is the second logit minus the first
    (label 1 is "relevant"), whose sigmoid is the softmax.
    """

    def __init__(self, name: str, config: CrossEncoderConfig, knob: str) -> None:
        """Load the model `name`, a path or a hub id; errors name the configuration section `knob`.

        Raises PyriteError as `load_cross_encoder`, and for a head that is not about relevance.
        """
        self.config = config
        self.model = load_cross_encoder(name, config, knob)
        _check_head(self.model, name, knob)
        self._fingerprint = pair_fingerprint(self.model, config)
        # a fast tokenizer keeps padding and truncation as state, and one thread may count the
        # tokens of a case while another scores the one before
        self._counter = copy.deepcopy(self.model.tokenizer)
        self._counting = threading.Lock()

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    @property
    def labels(self) -> int:
        return int(self.model.num_labels)

    def lengths(self, queries: Sequence[str], documents: Sequence[str]) -> I64:
        return self._tokens(queries, documents, truncation=True, max_length=self.config.max_length)

    def cut_pairs(self, queries: Sequence[str], documents: Sequence[str]) -> int:
        # verbose: it would warn of each pair that is too long, which is what is asked here
        whole = self._tokens(queries, documents, truncation=False, verbose=False)
        return int((whole > self.config.max_length).sum())

    def _tokens(self, queries: Sequence[str], documents: Sequence[str], **options: Any) -> I64:
        pairs = list(queries), list(documents)
        with self._counting:
            encoded = self._counter(*pairs, padding=False, return_attention_mask=False, **options)
        encoded = encoded["input_ids"]
        return np.array([len(row) for row in encoded], dtype=np.int64)

    def log_odds(self, queries: Sequence[str], documents: Sequence[str]) -> F32:
        from torch import nn

        logits = self.model.predict(
            list(zip(queries, documents, strict=True)),
            batch_size=max(len(queries), 1),
            show_progress_bar=False,
            activation_fn=nn.Identity(),
            convert_to_numpy=True,
        )
        logits = np.asarray(logits, dtype=np.float32)
        return logits if logits.ndim == 1 else logits[:, 1] - logits[:, 0]


def load_cross_encoder(
    name: str, config: CrossEncoderConfig, knob: str, labels: int | None = None
) -> CrossEncoder:
    """Load the model `name`; with `labels`, an encoder without a head gets a new one.

    A new head's weights come from torch's generator. Code that comes with a hub model is never
    run. Raises PyriteError if there is no such model, if the device is missing, if the maximum
    length is over the model's own, or if the model has another number of labels.
    """
    import torch
    from sentence_transformers import CrossEncoder
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    check_device(config.device, f"{knob}.device")
    try:
        model = CrossEncoder(
            str(bundled_model_path()) if name == BUNDLED else name,
            device=config.device,
            num_labels=labels,
            max_length=config.max_length,
            trust_remote_code=False,
            model_kwargs={"dtype": getattr(torch, config.dtype)},
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        wanted = f" with {labels} label" if labels is not None else ""
        raise PyriteError(
            f"{knob}.model={name!r}: not loadable as a cross-encoder{wanted}, from a folder"
            f" or a hub ({reason}); set {knob}.model to the folder or hub id of one"
        ) from error
    limit_length(model, config.max_length, name, knob)
    return model


def _check_head(model: CrossEncoder, name: str, knob: str) -> None:
    found = getattr(architecture(model[0]), "architectures", None) or []
    if found and not any(kind.endswith(_HEADS) for kind in found):
        raise PyriteError(
            f"{knob}.model={name!r}: {found[0]} has no head that scores pairs, its scores"
            f" would be random; set {knob}.model to a cross-encoder, or make one of it with pyrite"
            " train train.kind=cross-encoder"
        )
    if model.num_labels not in (1, 2):
        raise PyriteError(
            f"{knob}.model={name!r} has {model.num_labels} labels; a relevance model has 1"
            f" or 2 (the second meaning relevant): set {knob}.model to one"
        )


def resolve_activation(activation: Activation, labels: int, knob: str) -> Activation:
    """`auto` as what it stands for; raises PyriteError if the head does not fit the activation."""
    fitting: Activation = "sigmoid" if labels == 1 else "softmax"
    if activation in ("sigmoid", "softmax") and activation != fitting:
        raise PyriteError(
            f"{knob}.activation={activation}: the model has {labels} label(s), which takes"
            f" {fitting}; set {knob}.activation=auto"
        )
    return fitting if activation == "auto" else activation


def activated(log_odds: F32, activation: Activation) -> F32:
    """Probabilities in [0, 1] of log-odds of any shape, float32; unchanged for `none`.

    Of two labels the softmax is the sigmoid of the difference, so both are the same function here.
    NaN stays NaN.
    """
    if activation == "none":
        return log_odds
    return np.asarray(expit(log_odds.astype(np.float64)), dtype=np.float32)


def score_pairs(
    scorer: PairScorer,
    queries: Sequence[str],
    documents: Sequence[str],
    max_tokens: int,
    done: Callable[[int], object] = lambda pairs: None,
) -> F32:
    """Log-odds of each pair in the order given, float32 [len(queries)]; long pairs first inside.

    Memory: one batch of at most `max_tokens` padded tokens. `done` hears of each batch's size.
    Raises PyriteError on a score that is not finite.
    """
    out = np.empty(len(queries), dtype=np.float32)
    if not len(queries):
        return out
    for batch in plan_batches(scorer.lengths(queries, documents), max_tokens):
        found = scorer.log_odds([queries[i] for i in batch], [documents[i] for i in batch])
        out[batch] = found
        done(int(batch.size))
    bad = np.flatnonzero(~np.isfinite(out))
    if bad.size:
        raise PyriteError(
            f"the cross-encoder's score of the query {queries[bad[0]][:60]!r} and the document"
            f" {documents[bad[0]][:60]!r} is not finite ({bad.size} such pairs); check the model or"
            " its dtype (dtype=float32)"
        )
    return out


def pair_fingerprint(model: CrossEncoder, config: CrossEncoderConfig) -> str:
    """Digest of weights, architecture, tokenizer, prompts, maximum length and dtype."""
    return content_fingerprint(model, config.model_dump(include={"max_length", "dtype"}))
