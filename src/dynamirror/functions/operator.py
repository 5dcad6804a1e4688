"""Lambda's entry point for operators."""

from typing import Any

import msgspec

from dynamirror.errors import DynamirrorError
from dynamirror.functions.auditor import _operations, _read
from dynamirror.operations.messages import Request


class _Invocation(msgspec.Struct, frozen=True):
    """What the operator is asked."""

    request: Request


def operator(event: Any, _context: object = None) -> dict[str, Any]:
    """Lambda's entry point for operators: `{"request": …}` in, `{"answer": …}` or an error out.

    Args:
        event: its `request` is one of `operations.Request`, as JSON.

    Returns:
        The answer, one of `operations.Answer`; or `{"error": …}`, one sentence.
    """
    try:
        request = _read(event, _Invocation, "event").request
        return {"answer": msgspec.to_builtins(_operations().perform(request))}
    except DynamirrorError as error:
        return {"error": str(error)}
