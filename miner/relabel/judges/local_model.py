"""A causal language model of transformers: loaded at its first use, greedy, one call at a time."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....core.digest import digest_file, digest_json
from ....core.errors import PyriteError
from ....core.sbert import check_device
from ..case import State
from ..control_marks import break_marks
from .config import LocalModelConfig


@dataclass(frozen=True, slots=True)
class LocalReply:
    """What a model wrote, and its tokens in and out; `text` only with the state `ok`.

    `failed`: the messages are longer than the model's context, and nothing was asked.
    """

    state: State
    text: str
    prompt_tokens: int
    completion_tokens: int


class LocalModel:
    """Writes what follows two messages; errors name the configuration section `knob`."""

    def __init__(self, config: LocalModelConfig, knob: str, feature: str) -> None:
        """Loads no weights yet; `feature` is what needs the model.

        Raises PyriteError without a model.
        """
        if config.model is None:
            raise PyriteError(f"{feature} needs {knob}.model, a path or a hub id")
        self.name = config.model
        self._config = config
        self._knob = knob

    def reply(self, instructions: str, message: str, limit: int) -> LocalReply:
        """The reply to a message, of at most `limit` tokens; raises PyriteError if it has none."""
        inputs = self._inputs(instructions, message)
        length = int(inputs["input_ids"].shape[1])
        room = self._context() - length
        if room < 1:
            return LocalReply("failed", "", 0, 0)
        text, written = self._write(inputs, min(limit, room))
        state: State = "truncated" if text is None else "ok"
        return LocalReply(state, text or "", length, written)

    @functools.cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """Tokenizer and model."""
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        check_device(self._config.device, f"{self._knob}.device")
        where = {"revision": self._config.revision, "trust_remote_code": False}
        try:
            tokenizer = AutoTokenizer.from_pretrained(self.name, **where)
            model = AutoModelForCausalLM.from_pretrained(
                self.name, dtype=self._config.dtype, **where
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise self._not_loadable(error) from error
        if tokenizer.chat_template is None:
            raise PyriteError(
                f"{self._knob}.model={self.name!r} has no chat template, so it does not follow"
                f" instructions; set {self._knob}.model to one that was trained to"
            )
        return tokenizer, model.to(self._config.device).eval()

    def _inputs(self, instructions: str, message: str) -> Any:
        tokenizer, model = self._loaded
        tokens = tokenizer.added_tokens_decoder.values()
        material = break_marks(message, [token.content for token in tokens if token.special])
        messages = [
            {"role": "system", "content": instructions},
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

    @functools.cached_property
    def weights(self) -> str:
        """Digest of a folder's files, or the hub id with its commit."""
        folder = Path(self.name)
        if folder.is_dir():
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            names = [path.relative_to(folder).as_posix() for path in files]
            return digest_json([names, [digest_file(path) for path in files]])
        from transformers import AutoConfig

        try:
            found = AutoConfig.from_pretrained(
                self.name, revision=self._config.revision, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            raise self._not_loadable(error) from error
        return f"{self.name}@{getattr(found, '_commit_hash', None) or self._config.revision}"

    def _not_loadable(self, error: Exception) -> PyriteError:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        return PyriteError(
            f"{self._knob}.model={self.name!r}: not loadable as a causal language model"
            f" ({reason}); set {self._knob}.model to the folder or hub id of one"
        )
