"""Answers of the cache that are failures, and their wording."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from dynamirror.cache.connection import AnswerError, RefusedError


@dataclass(frozen=True, slots=True)
class Failure:
    """The answer to a command that was not carried out, or of which it is not known."""

    reason: str
    cause: AnswerError | None = field(default=None, repr=False, compare=False)


_WHAT_IT_MEANS: Final[Mapping[str, str]] = {
    "NOSCRIPT": "NOSCRIPT",
    "TRYAGAIN": "TRYAGAIN (a slot is being moved)",
    "LOADING": "it is still loading its data",
}


# Codes that the sentence after them makes superfluous.
_SAID_TWICE: Final = ("ERR", "OOM", "READONLY", "NOPERM", "CLUSTERDOWN", "WRONGPASS", "NOAUTH")


def _reason(error: AnswerError | OSError) -> str:
    match error:
        case TimeoutError():
            return "no answer in time"
        case OSError():
            return f"no connection: {str(error.strerror or error).rstrip('.')}"
    if meaning := _WHAT_IT_MEANS.get(error.code):
        return meaning
    said = str(error)
    if error.code in _SAID_TWICE:
        said = said.removeprefix(error.code).lstrip()
    if isinstance(error, RefusedError) or error.code == "NOAUTH":
        return f"it refuses the user or the password: {said}"
    # A refusal within a script ends with where that was; others go on with advice.
    said = said.rpartition(" script: ")[0] or said
    return said.partition(". ")[0].rstrip(".")
