"""A causal language model of transformers on this machine."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

from ....core.digest import digest_file, digest_json
from ....core.errors import PyriteError
from ....core.sbert import check_device
from ..case import Case, Judgement, unknown
from ..control_marks import break_marks
from ..parse import parse_reply
from ..price import FREE, Price
from ..prompt import in_place, load_prompt
from .config import LocalConfig
from .prompted import Prompted


class LocalAnswerer(Prompted):
    """An `Answerer` that writes greedily, one part at a time; its tokens cost nothing.

    The model is loaded at the first part. A reply that cannot be used is asked for again with the
    documents in another order and twice the tokens, `reply_retries` times. A part that is longer
    than the model's context gets the state `failed`.
    """

    def __init__(self, config: LocalConfig, seed: int, knob: str) -> None:
        """Loads no weights yet; errors name the configuration section `knob`.

        Raises PyriteError without a model or its device, and as `load_prompt`.
        """
        if config.model is None:
            raise PyriteError(f"the local judge {knob} needs {knob}.model, a path or a hub id")
        self._name = config.model
        self._config = config
        self._knob = knob
        super().__init__(load_prompt(config, seed, knob), config.reply_tokens)

    @property
    def label(self) -> str:
        return f"local {self._name}"

    @functools.cached_property
    def key(self) -> str:
        return digest_json(
            {
                "kind": "local",
                "weights": self._weights(),
                "dtype": self._config.dtype,
                "prompt": self._prompt.version,
            }
        )

    @property
    def price(self) -> Price:
        return FREE

    @property
    def concurrency(self) -> int:
        return 1

    def answers(self, part: Case, stop: threading.Event) -> Iterator[Judgement]:
        for attempt in range(self._config.reply_retries + 1):
            if stop.is_set():
                raise CancelledError
            order = self._prompt.order(part, attempt)
            inputs = self._inputs(self._prompt.message(part, order))
            length = int(inputs["input_ids"].shape[1])
            room = self._context() - length
            if room < 1:
                yield Judgement("failed", unknown(part))
                return
            text, written = self._write(inputs, min(self._config.reply_tokens << attempt, room))
            if text is None:
                yield Judgement("truncated", unknown(part), length, written, 1)
                continue
            state, shown = parse_reply(text, len(order))
            yield Judgement(state, in_place(order, shown), length, written, 1)
            if state == "ok":
                return

    @functools.cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """Tokenizer and model."""
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        check_device(self._config.device, f"{self._knob}.device")
        where = {"revision": self._config.revision, "trust_remote_code": False}
        try:
            tokenizer = AutoTokenizer.from_pretrained(self._name, **where)
            model = AutoModelForCausalLM.from_pretrained(
                self._name, dtype=self._config.dtype, **where
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise self._not_loadable(error) from error
        if tokenizer.chat_template is None:
            raise PyriteError(
                f"{self._knob}.model={self._name!r} has no chat template, so it does not follow"
                f" instructions; set {self._knob}.model to one that was trained to"
            )
        return tokenizer, model.to(self._config.device).eval()

    def _inputs(self, message: str) -> Any:
        tokenizer, model = self._loaded
        tokens = tokenizer.added_tokens_decoder.values()
        material = break_marks(message, [token.content for token in tokens if token.special])
        messages = [
            {"role": "system", "content": self._prompt.instructions},
            {"role": "user", "content": material},
        ]
        return tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        ).to(model.device)

    def _write(self, inputs: Any, limit: int) -> tuple[str | None, int]:
        """The model's words, None if they do not end within `limit` tokens; and their tokens."""
        import torch

        tokenizer, model = self._loaded
        with torch.inference_mode():
            out = model.generate(
                **inputs, max_new_tokens=limit, do_sample=False, pad_token_id=self._ends()[0]
            )
        written = out[0, inputs["input_ids"].shape[1] :]
        if int(written[-1]) not in self._ends():
            return None, int(written.shape[0])
        return tokenizer.decode(written, skip_special_tokens=True), int(written.shape[0])

    def _ends(self) -> list[int]:
        tokenizer, model = self._loaded
        ends = model.generation_config.eos_token_id
        if ends is None:
            ends = tokenizer.eos_token_id
        return list(ends) if isinstance(ends, list) else [int(ends)]

    def _context(self) -> int:
        _, model = self._loaded
        config = model.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", None) or 1 << 30)

    def _weights(self) -> str:
        folder = Path(self._name)
        if folder.is_dir():
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            names = [path.relative_to(folder).as_posix() for path in files]
            return digest_json([names, [digest_file(path) for path in files]])
        from transformers import AutoConfig

        try:
            found = AutoConfig.from_pretrained(
                self._name, revision=self._config.revision, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            raise self._not_loadable(error) from error
        return f"{self._name}@{getattr(found, '_commit_hash', None) or self._config.revision}"

    def _not_loadable(self, error: Exception) -> PyriteError:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        return PyriteError(
            f"{self._knob}.model={self._name!r}: not loadable as a causal language model"
            f" ({reason}); set {self._knob}.model to the folder or hub id of one"
        )
