"""Attaching clients of an application to mirrors that a test has made."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from tests.support.mirrored import Mirrored

from dynamirror import Attachment, attach


class Attached:
    """Attaches targets, and detaches them at the end of the stack."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def __call__(self, target: Any, world: Mirrored, **options: Any) -> Attachment:
        """Attach a target to a mirror."""
        given = {"settings": world.settings, "views": world.specs, **options}
        return self._stack.enter_context(attach(target, **given))


def source_of(answer: Mapping[str, Any]) -> str:
    """Return whether the cache or the table answered a call."""
    return str(answer["ResponseMetadata"].get("dynamirror", {}).get("source", "table"))
