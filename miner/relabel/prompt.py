"""The prompt: instructions from a versioned file, and material that cannot pass for them.

Layout after RLHN, arXiv 2505.16967: a question, its positives as ground truth, numbered documents.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import numpy as np
from pydantic import Field

from ...core.config import Section
from ...core.digest import digest_texts, u64, u64_array
from ...core.encoders.common import approximate_lengths
from ...core.errors import PyriteError
from ...core.rng import combine, stream
from ..training_row import Doc
from .case import Case, Verdict
from .control_marks import break_marks

_CODE_LETTERS = 12
_CUT = " [...]"
_VERDICT_TOKENS = 40


class ShownConfig(Section):
    """Instructions, and how much of a text a language model is shown."""

    prompt: str = Field("relevance-1", description="a prompt of ours, or the path of a .md file")
    max_chars: int | None = Field(
        8000, ge=1, description="of one text; longer ones are cut and counted; null: never cut"
    )


class PromptConfig(ShownConfig):
    """What a language model that judges documents is shown."""

    most_documents: int = Field(25, ge=1, le=1000, description="in one call; more are split")
    most_tokens: int = Field(
        32768, ge=256, description="of one call's prompt, as UTF-8 bytes / 4; more are split"
    )


@dataclass(frozen=True, slots=True)
class Prompt:
    """Instructions and what decides how a case is written below them."""

    instructions: str
    config: PromptConfig
    seed: int = 0

    @property
    def version(self) -> str:
        """Digest of the instructions, of where texts are cut and of the seed of the order."""
        limit = repr(self.config.max_chars)
        return digest_texts([self.instructions, limit, str(self.seed)])

    def parts(self, case: Case) -> list[Case]:
        """The case as cases of one call each: the same truths, the documents in order.

        A call has at most `most_documents` documents and about `most_tokens` tokens; a document
        that is over that by itself goes alone.
        """
        return [replace(case, documents=tuple(group)) for group in self._groups(case)]

    def _groups(self, case: Case) -> Iterator[list[Doc]]:
        fixed = self.tokens(replace(case, documents=()))
        group: list[Doc] = []
        tokens = fixed
        for doc in case.documents:
            size = int(approximate_lengths([self._shown(doc)])[0])
            full = len(group) == self.config.most_documents
            if group and (full or tokens + size > self.config.most_tokens):
                yield group
                group, tokens = [], fixed
            group.append(doc)
            tokens += size
        if group:
            yield group

    def order(self, case: Case, attempt: int = 0) -> list[int]:
        """The documents in the order in which they are shown, by a hash of query and text.

        Another attempt has another order, or a server without chance would repeat its reply.
        """
        texts = [f"{doc.title}\0{doc.text}" for doc in case.documents]
        start = np.asarray(u64(case.query), dtype=np.uint64)
        keys = combine(combine(stream(self.seed, attempt), start), u64_array(texts))
        return [int(i) for i in np.argsort(keys, kind="stable")]

    def message(self, case: Case, order: list[int]) -> str:
        """The fenced material, documents numbered from 1 in `order`."""
        parts = [("QUESTION", self._cut(case.query))]
        parts += [(f"TRUTH {i}", self._shown(doc)) for i, doc in enumerate(case.truths, 1)]
        documents = [case.documents[i] for i in order]
        parts += [(f"DOCUMENT {i}", self._shown(doc)) for i, doc in enumerate(documents, 1)]
        return fenced(parts, f"Judge the documents 1 to {len(documents)}, each once.")

    def tokens(self, case: Case) -> int:
        """Prompt tokens of one call with all documents of the case, as UTF-8 bytes / 4."""
        texts = [self.instructions, self.message(case, list(range(len(case.documents))))]
        return int(approximate_lengths(texts).sum())

    def reply_tokens(self, case: Case) -> int:
        """What a reply that judges each document in a short sentence takes."""
        return _VERDICT_TOKENS * len(case.documents)

    def cut_texts(self, case: Case) -> int:
        """How many of the case's texts are longer than `max_chars`."""
        limit = self.config.max_chars
        texts = [case.query, *(titled(doc) for doc in (*case.truths, *case.documents))]
        return 0 if limit is None else sum(len(text) > limit for text in texts)

    def _shown(self, doc: Doc) -> str:
        return self._cut(titled(doc))

    def _cut(self, text: str) -> str:
        return cut(text, self.config.max_chars)


def in_place(order: list[int], shown: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """Verdicts in the order of the case's documents, given those in the order `order`."""
    back = sorted(zip(order, shown, strict=True), key=lambda pair: pair[0])
    return tuple(verdict for _, verdict in back)


def titled(doc: Doc) -> str:
    """A document as a language model reads it."""
    return f"Title: {doc.title}\n{doc.text}" if doc.title else doc.text


def cut(text: str, limit: int | None) -> str:
    """The first `limit` characters of a text, its control marks broken."""
    whole = limit is None or len(text) <= limit
    return break_marks(text if whole else text[:limit] + _CUT)


def fenced(parts: Sequence[tuple[str, str]], closing: str) -> str:
    """Named texts between lines that none of them can hold, and what is asked about them."""
    code = _code([text for _, text in parts])
    lines = [f"The code is {code}."]
    for name, text in parts:
        lines += [f"[{code}] {name}", text]
    return "\n".join([*lines, f"[{code}] END", closing])


def _code(texts: list[str]) -> str:
    """Letters that stand in none of the texts: a digest of them all, so no text can name it."""
    salt = 0
    while True:
        code = digest_texts([str(salt), *texts])[:_CODE_LETTERS]
        if not any(code in text for text in texts):
            return code
        salt += 1


def load_prompt(config: PromptConfig, seed: int, knob: str) -> Prompt:
    """The prompt that `config.prompt` names; errors name the configuration section `knob`.

    Raises PyriteError if there is none, or if it is empty.
    """
    return Prompt(load_instructions(config.prompt, str(__package__), knob), config, seed)


def load_instructions(name: str, package: str, knob: str) -> str:
    """The text of one of the files in `prompts` of a package, or of a file of the user's.

    Errors name the configuration section `knob`. Raises PyriteError as `load_prompt`.
    """
    folder = resources.files(package).joinpath("prompts")
    own = {entry.name.removesuffix(".md"): entry for entry in folder.iterdir()}
    try:
        text = (own[name] if name in own else Path(name)).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise PyriteError(
            f"{knob}.prompt={name!r}: not readable ({reason}); set it to the path of a .md file or"
            f" to one of {', '.join(sorted(own))}"
        ) from error
    if not text.strip():
        raise PyriteError(f"{knob}.prompt={name!r}: the file is empty; write instructions into it")
    return text
