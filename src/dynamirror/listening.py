"""Addresses that this process listens on: their URLs, and the error where one is not available."""

from collections.abc import Iterator
from contextlib import contextmanager

from dynamirror.errors import ConfigError


def authority(host: str, port: int) -> str:
    """Return an address as URLs have it: IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextmanager
def listening(option: str, host: str, port: int) -> Iterator[None]:
    """Raise one sentence if the body cannot listen on an address.

    Args:
        option: the option that names the address.
        host: the host.
        port: the port.

    Raises:
        ConfigError: the address is not available.
    """
    try:
        yield
    except (OSError, UnicodeError) as error:  # UnicodeError: no name of a host
        reason = getattr(error, "strerror", None) or "no name of a host"
        raise ConfigError(
            f"{option}: {authority(host, port)} is not available ({reason}); give another address"
        ) from None
