"""Valkey behind TLS, and caches that are closed at the end."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest
from tests.support.tls import make_certificate, tls_proxy

from dynamirror.cache.client import Cache
from dynamirror.settings import Settings

OpenCache = Callable[[Settings], Cache]
StartTlsProxy = Callable[[int, str], tuple[int, str]]


@pytest.fixture
def password_file(tmp_path: Path) -> Callable[[str], str]:
    """Write a password into a file of its own; gives the file's path."""
    number = count()

    def write(password: str) -> str:
        path = tmp_path / f"password-{next(number)}"
        path.write_text(f"{password}\n", encoding="utf-8")
        return os.fspath(path)

    return write


@pytest.fixture
def start_tls_proxy(tmp_path: Path) -> Iterator[StartTlsProxy]:
    """Put a TLS server before a port; gives its own port and the file of its certificate.

    The second argument is what the certificate vouches for, as in `IP:127.0.0.1`.
    """
    with ExitStack() as stack:

        def start(target: int, vouched: str) -> tuple[int, str]:
            certificate, key = make_certificate(tmp_path, vouched)
            port = stack.enter_context(tls_proxy(target, certificate, key))
            return port, os.fspath(certificate)

        yield start
