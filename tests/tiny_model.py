"""A random two-layer BERT on disk: what training tests need of a model, in milliseconds."""

from __future__ import annotations

import string
from pathlib import Path

WORDS = 60
POSITIONS = 64
HIDDEN = 32


def tiny_model(folder: Path, dropout: float = 0.1, seed: int = 0) -> Path:
    """Write a model to `folder` that `SentenceTransformer(str(folder))` loads without a network.

    Weights are random but follow from `seed`. Toy words w0 .. w59 are tokens of their own; any
    other ASCII text falls into letters, digits and signs, so different texts stay different.
    """
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    source = folder / "source"
    source.mkdir(parents=True)
    tokenizer = BertTokenizerFast(vocab=_vocabulary(), do_lower_case=True)
    tokenizer.save_pretrained(str(source))
    config = BertConfig(
        vocab_size=len(_vocabulary()),
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=POSITIONS,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        bert = BertModel(config)
    with torch.no_grad():
        # what every token has in common would make all texts nearly parallel
        bert.embeddings.position_embeddings.weight.zero_()
        bert.embeddings.token_type_embeddings.weight.zero_()
    bert.save_pretrained(str(source))
    transformer = Transformer(str(source), max_seq_length=POSITIONS)
    model = SentenceTransformer(modules=[transformer, Pooling(HIDDEN, "mean")], device="cpu")
    model.save(str(folder / "model"), create_model_card=False)
    return folder / "model"


def tiny_cross_encoder(folder: Path, labels: int = 1, seed: int = 0) -> Path:
    """Write the same BERT with a random head of `labels` outputs, as a cross-encoder."""
    import torch
    from sentence_transformers import CrossEncoder

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        source = str(tiny_model(folder / "encoder", seed=seed))
        model = CrossEncoder(source, num_labels=labels, max_length=POSITIONS, device="cpu")
        with torch.no_grad():
            # a fresh head gives every pair nearly the same score
            model[0].auto_model.classifier.weight.normal_(0.0, 2.0)
    model.save(str(folder / "cross-encoder"), create_model_card=False)
    return folder / "cross-encoder"


def _vocabulary() -> dict[str, int]:
    signs = string.ascii_lowercase + string.digits
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens += [f"w{i}" for i in range(WORDS)]
    tokens += [*signs, *(f"##{sign}" for sign in signs), *string.punctuation]
    return {token: at for at, token in enumerate(tokens)}


_TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def tiny_language_model(folder: Path, positions: int, seed: int = 0, template: bool = True) -> Path:
    """Write a random one-layer Llama that reads bytes, with or without a chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    if template:
        fast.chat_template = _TEMPLATE
    fast.save_pretrained(str(folder))
    config = LlamaConfig(
        vocab_size=len(letters),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=positions,
        bos_token_id=0,
        eos_token_id=1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(str(folder))
    return folder


def tiny_decoder(folder: Path, seed: int = 0) -> Path:
    """Write that Llama as an encoder that pools the last token."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    source = tiny_language_model(folder / "source", POSITIONS * 8, seed, template=False)
    transformer = Transformer(str(source), max_seq_length=POSITIONS)
    transformer.tokenizer.pad_token = "</s>"
    model = SentenceTransformer(modules=[transformer, Pooling(16, "lasttoken")], device="cpu")
    model.save(str(folder / "model"), create_model_card=False)
    return folder / "model"
