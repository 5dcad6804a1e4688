"""Options of a stack, given as context: `-c name=value`."""

from typing import Literal

from constructs import Node

from dynamirror.errors import ConfigError

_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no")


class Context:
    """Reads options, and says in one sentence what is wrong with one.

    Args:
        node: of the stack.
    """

    def __init__(self, node: Node) -> None:
        self._node = node

    def text(self, name: str) -> str | None:
        """A text; None if it was not given."""
        value = self._node.try_get_context(name)
        return None if value in (None, "") else str(value)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """A choice.

        Raises:
            ConfigError: it is neither true nor false.
        """
        value = self.text(name)
        if value is None:
            return default
        if value.lower() not in _TRUE + _FALSE:
            raise ConfigError(f"context: {name}: must be true or false, not {value!r}")
        return value.lower() in _TRUE

    def number(self, name: str, low: int, high: int) -> int | None:
        """A whole number; None if it was not given.

        Raises:
            ConfigError: it is none, or not from `low` to `high`.
        """
        value = self.text(name)
        if value is None:
            return None
        if not value.isascii() or not value.isdigit() or not low <= int(value) <= high:
            raise ConfigError(
                f"context: {name}: must be a whole number from {low} to {high}, not {value!r}"
            )
        return int(value)

    def architecture(self) -> Literal["arm64", "x86_64"]:
        """The functions' processor.

        Raises:
            ConfigError: Lambda has no such.
        """
        match self.text("architecture"):
            case None | "arm64":
                return "arm64"
            case "x86_64":
                return "x86_64"
            case other:
                raise ConfigError(f"context: architecture: must be arm64 or x86_64, not {other!r}")
