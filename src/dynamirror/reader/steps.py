"""A read as steps that do no input and output themselves, so that threads and coroutines share it.

A read is a generator. It yields what it needs next, is sent the answer, and returns its result.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from enum import StrEnum
from time import sleep
from typing import Any, NamedTuple, NoReturn, TypeAlias, TypeVar

from dynamirror.cache.scripts import Command
from dynamirror.reader.guarded_cache import GuardedCache


class Pause(NamedTuple):
    """A time to wait, after which None is sent."""

    seconds: float


class TableRequest(NamedTuple):
    """A request to the table, after which DynamoDB's answer is sent; its errors are raised.

    Args:
        operation: the name of the method of boto3's low-level client, such as `get_item`.
        arguments: of that method.
    """

    operation: str
    arguments: Mapping[str, Any]


_T = TypeVar("_T")

# Commands for the cache are answered by a list: DOWN, None, or the value of each.
Step: TypeAlias = Sequence[Command] | Pause | TableRequest
Steps: TypeAlias = Generator[Step, Any, _T]


class Reason(StrEnum):
    """Why the cache does not answer a request, so that it goes to the table."""

    CONSISTENT = "consistent"
    """A consistent read is asked for."""
    UNKNOWN_TABLE = "unknown-table"
    """The mirror has no such table."""
    VIEW = "view"
    """No view has the answer exactly as the table would give it."""
    INDEX = "index"
    """No view is an index of that name."""
    NOT_UNDERSTOOD = "not-understood"
    """The request has a part that is not known here, or that DynamoDB may refuse."""
    INCOMPLETE = "incomplete"
    """The mirror is incomplete, was written in other views, or has just changed its state."""
    MISSING = "missing"
    """The cache has no entry, which may have expired or may be on its way."""
    DOWN = "down"
    """The cache did not answer."""
    TOO_NEW = "too-new"
    """A write must be visible that the cache may lack."""
    TRANSACTION = "transaction"
    """The operation is never answered by the cache."""
    OFF = "off"
    """Reading from the cache is switched off, or this call is compared with the table."""


class PassedOn(NamedTuple):
    """The outcome where the table has to be asked."""

    reason: Reason


def run(
    steps: Steps[_T],
    cache: GuardedCache,
    ask_table: Callable[[TableRequest], Any] | None = None,
) -> _T:
    """Carry out the steps of a read, on this thread; returns its result.

    Args:
        steps: the read.
        cache: the cache.
        ask_table: carries out a request to the table; those of `wire` make none.
    """
    answer: Any = None
    try:
        while True:
            match steps.send(answer):
                case Pause(seconds):
                    sleep(seconds)
                    answer = None
                case TableRequest() as request:
                    answer = (ask_table or no_table)(request)
                case [command]:
                    answer = [cache.ask(command)]
                case commands:
                    answer = cache.execute(commands)
    except StopIteration as stop:
        result: _T = stop.value
        return result


def no_table(request: TableRequest) -> NoReturn:
    """Refuse a request to the table, where there is none to ask."""
    raise AssertionError(f"{request.operation}: no table can be asked here")
