"""What a worker could not do, on its way to the driver."""

from __future__ import annotations

import pickle
import traceback
from dataclasses import dataclass

from ..errors import PyriteError


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception of a worker, as a value: Ray would retry it and print it."""

    pickled: bytes | None  # the exception, where it can be sent
    text: str

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """The failure of `error`."""
        text = "".join(traceback.format_exception(error))
        if isinstance(error, PyriteError):
            return cls(pickle.dumps(PyriteError(str(error))), text)
        try:
            pickled = pickle.dumps(error)
            pickle.loads(pickled)
        # whatever an exception of some library does when it is pickled
        except Exception:
            return cls(None, text)
        return cls(pickled, text)

    def error(self) -> Exception:
        """To be raised on the driver."""
        if self.pickled is None:
            return RuntimeError(f"on a worker:\n{self.text}")
        error: Exception = pickle.loads(self.pickled)
        # a mistake of the user's is one sentence
        if not isinstance(error, PyriteError):
            error.add_note(f"on a worker:\n{self.text}")
        return error
