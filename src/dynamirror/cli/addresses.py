"""Addresses to listen on, as options name them: `[HOST:]PORT`."""

import re
from dataclasses import dataclass
from typing import Final

import typer

_LOCAL: Final = "127.0.0.1"
_MOST = 65_535


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """A host and a port to listen on."""

    host: str
    port: int


def listen_address(option: str, text: str, *, least: int = 0) -> ListenAddress:
    """Return the address that an option names; without a host it is of this machine only.

    Args:
        option: the option, for the message.
        text: `PORT`, `HOST:PORT` or `[IPv6]:PORT`.
        least: the lowest port.

    Raises:
        typer.BadParameter: the text is no such address.
    """
    match = re.fullmatch(r"(?:(\[[0-9a-fA-F:.]+\]|[^\[\]:/\s]+):)?([0-9]{1,5})", text)
    if match is None or not least <= int(match[2]) <= _MOST:
        raise typer.BadParameter(
            f"{text} is not [HOST:]PORT with a port from {least} to {_MOST}, as in 9100 or "
            "0.0.0.0:9100",
            param_hint=option,
        )
    return ListenAddress((match[1] or _LOCAL).strip("[]"), int(match[2]))
