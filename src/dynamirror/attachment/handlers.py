"""What an attachment does with a call before it is sent, and after it is answered.

Nothing here does input or output: threads and coroutines drive the steps alike.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from random import random
from time import monotonic, time
from typing import Any, Final, NamedTuple

import msgspec

from dynamirror.attachment.answers import CacheResponse, answer
from dynamirror.attachment.calls import (
    PASSED_ON,
    READS,
    STATEMENTS,
    WRITES,
    Answered,
    Calls,
    Partly,
    TablePart,
)
from dynamirror.attachment.counts import Counts
from dynamirror.attachment.merging import merge
from dynamirror.attachment.own_writes import NEVER, OwnWrites, second_of
from dynamirror.attachment.shadow import AGREED, DIFFERED, UNDECIDED, Comparison
from dynamirror.reader.steps import Steps
from dynamirror.reader.wire import PartialBatch

logger = logging.getLogger("dynamirror")

# Operations whose calls an attachment sees before they are sent.
READ_OPERATIONS: Final = READS | PASSED_ON
WRITE_OPERATIONS: Final = WRITES | STATEMENTS

_FAULT_LOG_SECONDS: Final = 60.0
_SERVER_ERROR: Final = 500
_ERROR: Final = 300
# The name of a call's state in botocore's context of the call.
_STATE: Final = "dynamirror"

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

# The response and its parsed body, as botocore's endpoint returns both.
Reply = tuple[CacheResponse, dict[str, Any]]


class _Written(NamedTuple):
    """A write until it is answered.

    Args:
        own_writes: remembers the items.
        names: of the items there.
    """

    own_writes: OwnWrites
    names: Sequence[Any]

    def end(self, second: int | None) -> None:
        """Note when DynamoDB answered, as `OwnWrites.end` does."""
        self.own_writes.end(self.names, second)


class _State(NamedTuple):
    """What is kept of a call until it is answered.

    Args:
        calls: decided the call.
        what: what is left to do; None if no other attachment need look at the call.
    """

    calls: Calls | None = None
    what: _Written | PartialBatch | Comparison | None = None


_NOTHING: Final = _State()


class Handlers:
    """Answers calls; its methods are steps, whose driver reads the cache.

    Args:
        counts: counts the outcomes.
        shadow: the share of answers that are compared with DynamoDB's.
        chance: returns a number from 0 to 1.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        counts: Counts,
        *,
        shadow: float = 0.0,
        chance: Callable[[], float] = random,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.counts = counts
        self._shadow = shadow
        self._chance = chance
        self._clock = clock
        self._logged = -_FAULT_LOG_SECONDS

    def before(
        self, calls: Calls, operation: str, params: dict[str, Any], context: dict[str, Any]
    ) -> Steps[Reply | None]:
        """Return the reply to a call, or None, after which botocore sends the request.

        Args:
            calls: decides the call.
            operation: the operation's name.
            params: botocore's request, whose body may be replaced.
            context: botocore's context of the call.
        """
        body = _decode(params["body"])
        if operation in WRITE_OPERATIONS:
            if calls.own_writes is not None:
                names = yield from calls.written(calls.own_writes, operation, body)
                context[_STATE] = _State(calls, _Written(calls.own_writes, names))
            return None
        outcome = yield from calls.read(operation, body)
        match outcome:
            case Answered(answered):
                if self._shadow and self._chance() < self._shadow:
                    context[_STATE] = _State(calls, Comparison(operation, body, answered))
                    self.counts.read(operation, "table", "shadow")
                    return None
                reply = answer(params["url"], answered)
                self.counts.read(operation, "cache")
                return reply
            case Partly(partial, rest):
                params["body"] = _encode(rest)
                context[_STATE] = _State(calls, partial)
                self.counts.read(operation, "partly")
            case TablePart(reason) if reason:
                context[_STATE] = _State(calls, None)
                self.counts.read(operation, "table", reason)
        return None

    def after(
        self, status: int, parsed: dict[str, Any], context: dict[str, Any]
    ) -> Steps[None] | None:
        """Take note of DynamoDB's answer to a call, and complete it.

        Args:
            status: the status of the answer.
            parsed: the answer as botocore parsed it; it is completed.
            context: botocore's context of the call.

        Returns:
            Steps that compare the answer again, which no caller needs to wait for; None for none.
        """
        calls, what = context.pop(_STATE, _NOTHING)
        if calls is None or what is None:
            return None
        if isinstance(what, _Written):
            what.end(_second(status, parsed))
        elif status >= _ERROR:
            return None
        elif isinstance(what, PartialBatch):
            merge(what, parsed)
        elif what.agrees(parsed):
            self.counts.shadow(what.operation, AGREED)
        else:
            return self._compare_again(calls, what, deepcopy(parsed))
        return None

    def failed(self, context: dict[str, Any]) -> None:
        """Take note that a call has no answer."""
        _, what = context.pop(_STATE, _NOTHING)
        if isinstance(what, _Written):
            what.end(NEVER)

    def _compare_again(
        self, calls: Calls, comparison: Comparison, parsed: Mapping[str, Any]
    ) -> Steps[None]:
        result = UNDECIDED
        try:
            result = yield from comparison.look_again(calls, parsed)
        finally:
            self.counts.shadow(comparison.operation, result)
        if result == DIFFERED:
            comparison.report()

    def fault(self, error: Exception) -> None:
        """Count an exception of this package, which no caller may see, and log one a minute."""
        self.counts.fault()
        now = self._clock()
        if now - self._logged >= _FAULT_LOG_SECONDS:
            self._logged = now
            logger.error("attached call passed on after a fault", exc_info=error)


def is_seen(context: Mapping[str, Any]) -> bool:
    """Return whether an attachment has looked at a call."""
    return _STATE in context


def _second(status: int, parsed: Mapping[str, Any]) -> int | None:
    """Return DynamoDB's time of a write; None if nothing was written, NEVER if that is unknown."""
    if status < _ERROR:
        return second_of(parsed["ResponseMetadata"]["HTTPHeaders"], time())
    return NEVER if status >= _SERVER_ERROR else None
