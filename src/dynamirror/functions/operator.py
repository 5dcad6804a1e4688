"""The operator function: Lambda's entry point for operators."""

from typing import Any

import msgspec

from dynamirror.errors import DynamirrorError
from dynamirror.functions.environment import convert, operations
from dynamirror.operations.messages import Request


class _Invocation(msgspec.Struct, frozen=True):
    """An operator's event."""

    request: Request


def handler(event: Any, _context: object = None) -> dict[str, Any]:
    """Carry out an operator's request.

    Args:
        event: its `request` is one of `operations.messages.Request`, as JSON.

    Returns:
        The `answer`, one of `operations.messages.Answer`; or an `error` of one sentence.
    """
    try:
        request = convert(event, _Invocation, "event").request
        return {"answer": msgspec.to_builtins(operations().perform(request))}
    except DynamirrorError as error:
        return {"error": str(error)}
