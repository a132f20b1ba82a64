"""Tokenizing the next batches in a thread, while the model computes with the one before."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_AHEAD = 2
Arrange = Callable[[Sequence[str]], list[str]]


def longest_first(texts: Sequence[str]) -> list[str]:
    """The order in which sentence-transformers' `encode` tokenizes one batch."""
    return [texts[i] for i in np.argsort([-len(text) for text in texts])]


def tokenized_ahead(
    model: SentenceTransformer,
    batches: Iterable[Sequence[str]],
    prompt: str,
    task: str,
    arrange: Arrange = longest_first,
) -> Iterator[Sequence[str]]:
    """Each of `batches`, while a thread tokenizes the two behind it; the same tokens in any case.

    `arrange` is the order of a batch's texts when they are tokenized. Until the last batch is done
    with, `model.preprocess` gives what is ready, or has the thread tokenize what it did not expect:
    a fast tokenizer keeps its padding as state, so that no second thread may use it.
    """
    with ThreadPoolExecutor(1) as thread, _in_place_of_preprocess(model, thread) as ready:
        waiting: deque[Sequence[str]] = deque()
        try:
            for batch in batches:
                ready.expect(arrange(batch), prompt, task)
                waiting.append(batch)
                if len(waiting) > _AHEAD:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            thread.shutdown(cancel_futures=True)


class _Ready:
    """Called as `model.preprocess` is; `tokenize` is the model's own."""

    def __init__(self, tokenize: Callable[..., Any], thread: ThreadPoolExecutor) -> None:
        self._tokenize = tokenize
        self._thread = thread
        self._expected: dict[tuple[str | None, Any, tuple[str, ...]], Future[Any]] = {}

    def expect(self, texts: list[str], prompt: str, task: str) -> None:
        future = self._thread.submit(self._tokenize, texts, prompt=prompt, task=task)
        self._expected[prompt, task, tuple(texts)] = future

    def __call__(self, inputs: Sequence[Any], prompt: str | None = None, **more: Any) -> Any:
        key = (prompt, more.get("task"), tuple(inputs))
        if set(more) == {"task"} and key in self._expected:
            return self._expected.pop(key).result()
        return self._thread.submit(self._tokenize, inputs, prompt=prompt, **more).result()


@contextlib.contextmanager
def _in_place_of_preprocess(
    model: SentenceTransformer, thread: ThreadPoolExecutor
) -> Iterator[_Ready]:
    ready = _Ready(model.preprocess, thread)
    own = vars(model).get("preprocess")
    model.preprocess = ready
    try:
        yield ready
    finally:
        del model.preprocess
        if own is not None:
            model.preprocess = own
