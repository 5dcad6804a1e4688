"""What goes to a sandbox, and what comes back."""

from typing import Any

import msgspec

from scale.table import Edits


class Setup(msgspec.Struct, frozen=True):
    """The first message to a sandbox.

    Args:
        items: number of the table's items.
        seed: seed of the table and of the end.
        last_command: the number of commands to the cache after which it ends; None for no end.
    """

    items: int
    seed: int
    last_command: int | None


class Request(msgspec.Struct, frozen=True):
    """One invocation.

    Args:
        function: name of the function: worker or auditor.
        event: its event.
        seconds: how long it may take.
        ahead: seconds that the table's clock is ahead.
        edits: what is different in the table.
    """

    function: str
    event: Any
    seconds: float
    ahead: float
    edits: Edits


class Used(msgspec.Struct, frozen=True):
    """What a sandbox has used since its start.

    Args:
        commands: commands to the cache.
        exchanges: batches of commands whose answers were waited for.
        read_units: read units of the table.
        requests: requests to the table.
        scanned: items that Scan returned.
        looked_up: keys that were asked for one by one.
        table_seconds: seconds that the stand-in for the table took.
        cpu_seconds: CPU time in seconds.
        peak_mb: most resident memory in MB.
    """

    commands: int = 0
    exchanges: int = 0
    read_units: float = 0.0
    requests: int = 0
    scanned: int = 0
    looked_up: int = 0
    table_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mb: float = 0.0

    def plus(self, other: "Used") -> "Used":
        """Return the sum, and the higher peak."""
        return self._combined(other, 1)

    def minus(self, other: "Used") -> "Used":
        """Return the difference, and the higher peak."""
        return self._combined(other, -1)

    def _combined(self, other: "Used", sign: int) -> "Used":
        values = {
            name: getattr(self, name) + sign * getattr(other, name)
            for name in self.__struct_fields__
        }
        values["peak_mb"] = max(self.peak_mb, other.peak_mb)
        return Used(**values)


class Answer(msgspec.Struct, frozen=True):
    """The end of an invocation, or of a sandbox.

    Args:
        used: what the sandbox has used since its start.
        value: what the handler returned; unset if it did not return.
        error: class of the error that it raised; empty if it raised none.
        message: text of the error.
    """

    used: Used
    value: Any = msgspec.UNSET
    error: str = ""
    message: str = ""
