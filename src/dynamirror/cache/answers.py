"""Commands that were not carried out, and why."""

from collections.abc import Mapping
from typing import Final

import msgspec

from dynamirror.cache.connection import AnswerError, RefusedError

_MEANINGS: Final[Mapping[str, str]] = {
    "NOSCRIPT": "NOSCRIPT",
    "TRYAGAIN": "TRYAGAIN (a slot is being moved)",
    "LOADING": "it is still loading its data",
}
# Codes that the sentence after them repeats.
_REDUNDANT_CODES: Final = (
    "ERR",
    "OOM",
    "READONLY",
    "NOPERM",
    "CLUSTERDOWN",
    "WRONGPASS",
    "NOAUTH",
)


class Failure(msgspec.Struct, frozen=True):
    """The answer to a command that was not carried out, or whose outcome is unknown.

    Args:
        reason: why, in words.
        cause: the server's error; None where it sent none.
    """

    reason: str
    cause: AnswerError | None = None

    @property
    def code(self) -> str:
        """Return the code of the server's error, such as WRONGTYPE; empty where it sent none."""
        return self.cause.code if self.cause else ""


def failure_reason(error: AnswerError | OSError) -> str:
    """Return in words why a command failed."""
    match error:
        case TimeoutError():
            return "no answer in time"
        case OSError():
            return f"no connection: {str(error.strerror or error).rstrip('.')}"
    if meaning := _MEANINGS.get(error.code):
        return meaning
    text = str(error)
    if error.code in _REDUNDANT_CODES:
        text = text.removeprefix(error.code).lstrip()
    if isinstance(error, RefusedError) or error.code == "NOAUTH":
        return f"it refuses the user or the password: {text}"
    # An error within a script ends with its place in the script; others go on with advice.
    text = text.rpartition(" script: ")[0] or text
    return text.partition(". ")[0].rstrip(".")
