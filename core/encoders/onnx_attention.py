"""Attention as one node of an ONNX graph, in the place of the many that a tracer makes of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..sbert import architecture

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DOMAIN = "com.microsoft"
_NAME = "pyrite_onnx"


@contextlib.contextmanager
def one_attention_node(model: SentenceTransformer) -> Iterator[bool]:
    """While open, a traced `model` has ONNX Runtime's `MultiHeadAttention`; yields whether it does.

    That node needs no copy of the scores [B, H, L, L] for scaling, mask and softmax each. Models
    whose attention transformers cannot exchange stay as they are.
    """
    transformer = getattr(model[0], "auto_model", None)
    config = architecture(model[0])
    if config is None or not getattr(transformer, "_supports_attention_backend", False):
        yield False
        return
    _register()
    before = config._attn_implementation
    config._attn_implementation = _NAME
    try:
        yield True
    finally:
        config._attn_implementation = before


def _register() -> None:
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, eager_mask

    AttentionInterface.register(_NAME, _attention)
    # the mask as what is added to the scores, float [B, 1, L, L]
    AttentionMaskInterface.register(_NAME, eager_mask)


def _attention(
    module: Any,
    query_BHLD: Any,
    key_BHLD: Any,
    value_BHLD: Any,
    attention_mask: Any,
    scaling: float | None = None,
    dropout: float = 0.0,
    **more: Any,
) -> tuple[Any, None]:
    """What transformers asks of an attention function: the output [B, L, H, D], and no weights."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    heads, width = int(query_BHLD.shape[1]), int(query_BHLD.shape[3])
    grouped = int(key_BHLD.shape[1]) != heads
    plain = all(more.get(name) is None for name in ("position_bias", "softcap", "s_aux"))
    # without a mask the node would see what follows a token
    if grouped or not plain or attention_mask is None:
        tensors = (query_BHLD, key_BHLD, value_BHLD, attention_mask)
        found, weights = sdpa_attention_forward(
            module, *tensors, dropout=dropout, scaling=scaling, **more
        )
        return found, weights
    tensors = tuple(_merged(tensor) for tensor in (query_BHLD, key_BHLD, value_BHLD))
    scale = width**-0.5 if scaling is None else float(scaling)
    out_BLD = _node().apply(*tensors, attention_mask, heads, scale)
    return out_BLD.reshape(out_BLD.shape[0], out_BLD.shape[1], heads, -1), None


def _merged(tensor_BHLD: Any) -> Any:
    """The heads beside each other, [B, L, H * D]."""
    tensor = tensor_BHLD.transpose(1, 2)
    return tensor.reshape(tensor.shape[0], tensor.shape[1], -1)


def _node() -> Any:
    """The operator: torch's own attention when it runs, one node when it is traced."""
    import torch

    class MultiHeadAttention(torch.autograd.Function):
        @staticmethod
        def forward(
            ctx: Any, query: Any, key: Any, value: Any, bias: Any, heads: int, scale: float
        ) -> Any:
            def split(tensor: Any) -> Any:
                return tensor.view(*tensor.shape[:2], heads, -1).transpose(1, 2)

            found = torch.nn.functional.scaled_dot_product_attention(
                split(query), split(key), split(value), attn_mask=bias, scale=scale
            )
            return _merged(found)

        @staticmethod
        def symbolic(
            g: Any, query: Any, key: Any, value: Any, bias: Any, heads: int, scale: float
        ) -> Any:
            none = g.op("prim::Constant")
            none.setType(torch._C.OptionalType.ofTensor())
            # the fourth and fifth inputs are the projections' bias and a padding mask
            inputs = (query, key, value, none, none, bias)
            options = {"num_heads_i": heads, "scale_f": scale}
            return g.op(f"{DOMAIN}::MultiHeadAttention", *inputs, **options).setType(query.type())

    return MultiHeadAttention
