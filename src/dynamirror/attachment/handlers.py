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
        handlers: of the attachment that has looked at the call.
        calls: decided the call.
        what: what is left to do; None for nothing.
    """

    handlers: "Handlers"
    calls: Calls
    what: _Written | PartialBatch | Comparison | None = None


class Handlers:
    """Answers calls; its methods are steps, whose driver reads the cache.

    Args:
        counts: counts the outcomes.
        compare_later: carries out the steps of a comparison, for which no caller waits.
        shadow: the share of answers that are compared with DynamoDB's.
        chance: returns a number from 0 to 1.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        counts: Counts,
        compare_later: Callable[[Steps[None]], None],
        *,
        shadow: float = 0.0,
        chance: Callable[[], float] = random,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.counts = counts
        self._compare_later = compare_later
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
                self._keep(context, calls, _Written(calls.own_writes, names))
            return None
        outcome = yield from calls.read(operation, body)
        match outcome:
            case Answered(answered, can_compare):
                if can_compare and self._shadow and self._chance() < self._shadow:
                    self._keep(context, calls, Comparison(operation, body, answered))
                    self.counts.read(operation, "table", "shadow")
                    return None
                reply = answer(params["url"], answered)
                self.counts.read(operation, "cache")
                return reply
            case Partly(partial, rest):
                params["body"] = _encode(rest)
                self._keep(context, calls, partial)
                self.counts.read(operation, "partly")
            case TablePart(reason) if reason:
                self._keep(context, calls)
                self.counts.read(operation, "table", reason)
        return None

    def _keep(self, context: dict[str, Any], calls: Calls, what: Any = None) -> None:
        context.setdefault(_STATE, []).append(_State(self, calls, what))

    def after(self, state: _State, status: int, parsed: dict[str, Any]) -> None:
        """Take note of DynamoDB's answer to a call, and complete it.

        Args:
            state: what was kept of the call.
            status: the status of the answer.
            parsed: the answer as botocore parsed it; it is completed.
        """
        what = state.what
        if isinstance(what, _Written):
            what.end(_second(status, parsed))
        elif what is None or status >= _ERROR:
            return
        elif isinstance(what, PartialBatch):
            merge(what, parsed)
        elif what.agrees(parsed):
            self.counts.shadow(what.operation, AGREED)
        else:
            self._compare_later(self._compare_again(state.calls, what, deepcopy(parsed)))

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


def after_call(
    *, http_response: Any, parsed: dict[str, Any], context: dict[str, Any], **_rest: Any
) -> None:
    """Complete DynamoDB's answer to a call for all attachments that have looked at it.

    Calls may be under way while their attachment is detached. So each emitter keeps this function.
    """
    for state in context.pop(_STATE, ()):
        try:
            state.handlers.after(state, http_response.status_code, parsed)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not be the caller's
            state.handlers.fault(error)


def after_error(*, context: dict[str, Any], **_rest: Any) -> None:
    """Take note that a call has no answer."""
    for state in context.pop(_STATE, ()):
        if isinstance(state.what, _Written):
            state.what.end(NEVER)


def _second(status: int, parsed: Mapping[str, Any]) -> int | None:
    """Return DynamoDB's time of a write; None if nothing was written, NEVER if that is unknown."""
    if status < _ERROR:
        return second_of(parsed["ResponseMetadata"]["HTTPHeaders"], time())
    return NEVER if status >= _SERVER_ERROR else None
