"""The operator function: Lambda's entry point for operators."""

from typing import Any

import msgspec

from dynamirror.errors import DynamirrorError
from dynamirror.functions.environment import convert, operations_of
from dynamirror.operations.messages import Request


class _Invocation(msgspec.Struct, frozen=True):
    """An operator's event."""

    request: Request


def handler(event: Any, _context: object = None) -> dict[str, Any]:
    """Carry out an operator's request.

    Args:
        event: its `request` is one of `operations.messages.Request`, as JSON. The `table` of the
            request names a table of the mirror; without it, the first one.

    Returns:
        The `answer`, one of `operations.messages.Answer`; or an `error` of one sentence.
    """
    try:
        request = convert(event, _Invocation, "event").request
        return {"answer": msgspec.to_builtins(operations_of(event["request"]).perform(request))}
    except DynamirrorError as error:
        return {"error": str(error)}
