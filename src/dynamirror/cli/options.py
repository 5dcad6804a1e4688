"""Options that several commands share, and what is made of them."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

import msgspec
import typer

from dynamirror.aws import Aws
from dynamirror.cli.progress import shown
from dynamirror.config import Settings
from dynamirror.errors import ConfigError
from dynamirror.operations import Operations, Request
from dynamirror.remote import Operator

A = TypeVar("A")

Table = Annotated[
    str,
    typer.Option("--table", "-t", envvar="DYNAMODB_TABLE", help="Name of the DynamoDB table."),
]
TableUnlessVia = Annotated[
    str | None,
    typer.Option(
        "--table",
        "-t",
        envvar="DYNAMODB_TABLE",
        help="Name of the DynamoDB table; not needed with --via.",
    ),
]
Via = Annotated[
    str | None,
    typer.Option(
        metavar="FUNCTION_OR_STACK",
        help="Have the operator Lambda do it, where the cache can be reached.",
    ),
]
Config = Annotated[
    str | None,
    typer.Option(
        "--config", "-c", help="Path of mirror.toml. [default: DYNAMIRROR_CONFIG or none]"
    ),
]
CacheAddress = Annotated[
    str | None,
    typer.Option(
        "--cache", metavar="HOST[:PORT]", help="The cache. [default: ELASTICACHE_HOST and _PORT]"
    ),
]
Tls = Annotated[
    bool | None,
    typer.Option(
        "--tls/--no-tls", help="Speak TLS with the cache. [default: ELASTICACHE_TLS or on]"
    ),
]
EndpointUrl = Annotated[
    str | None, typer.Option("--endpoint-url", help="Where to find DynamoDB. [default: AWS]")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for machines.")]

JsonLines = Annotated[
    bool, typer.Option("--json", help="Print one JSON object a report, for machines.")
]

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def read_settings(cache: str | None, *, tls: bool | None, config: str | None) -> Settings:
    """Settings from the environment, and from options, which take precedence.

    Raises:
        ConfigError: something is missing or wrong; says what.
    """
    given: dict[str, str] = {}
    if cache is not None:
        host, _, port = cache.rpartition(":") if ":" in cache else (cache, "", "")
        given["ELASTICACHE_HOST"] = host
        if port:
            given["ELASTICACHE_PORT"] = port
    if tls is not None:
        given["ELASTICACHE_TLS"] = str(tls).lower()
    if config is not None:
        given["DYNAMIRROR_CONFIG"] = config
    environment = {**os.environ, **given}
    if not environment.get("ELASTICACHE_HOST"):
        raise ConfigError("no cache is named; give --cache HOST[:PORT] or set ELASTICACHE_HOST")
    return Settings.from_env(environment)


def read_aws(endpoint_url: str | None) -> Aws:
    """How to reach DynamoDB; an emulator on this machine needs neither credentials nor a region."""
    url = endpoint_url or os.environ.get("AWS_ENDPOINT_URL")
    if not url:
        return Aws()
    try:
        parts = urlsplit(url)
        complete = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # a bracket or a port that is wrong
        complete = False
    if not complete:
        raise ConfigError(f"--endpoint-url: {url} is not an address like http://127.0.0.1:4566")
    local = parts.hostname in _LOOPBACK
    if local and "AWS_ACCESS_KEY_ID" not in os.environ and "AWS_PROFILE" not in os.environ:
        return Aws("us-east-1", url, ("local", "local"))
    return Aws(None, url)


def read_operations(
    table: str | None,
    *,
    cache: str | None,
    tls: bool | None,
    config: str | None,
    endpoint_url: str | None,
) -> Operations:
    """What is to be operated from here.

    Raises:
        ConfigError: something is missing or wrong; says what.
    """
    if table is None:
        raise ConfigError("no table is named; give --table NAME, or --via FUNCTION_OR_STACK")
    settings = read_settings(cache, tls=tls, config=config)
    return Operations(settings, read_aws(endpoint_url), table)


def perform(
    request: Request,
    answer: type[A],
    *,
    via: str | None,
    table: str | None,
    cache: str | None = None,
    tls: bool | None = None,
    config: str | None = None,
    endpoint_url: str | None = None,
) -> A:
    """Do what is asked, here or via the operator Lambda.

    Raises:
        DynamirrorError: it cannot be done; says why.
    """
    with interruptible(), shown() as tell:
        if via is not None:
            return Operator(read_aws(endpoint_url), via).perform(request, answer)
        here = read_operations(
            table, cache=cache, tls=tls, config=config, endpoint_url=endpoint_url
        )
        given = here.perform(request, tell)
        assert isinstance(given, answer)
        return given


def to_json(value: object) -> str:
    """One line of JSON."""
    return msgspec.json.encode(value).decode()


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM end the work as Ctrl-C does: in order, with exit status 128 + signal."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise _TerminatedError

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(128 + signal.SIGINT) from None
    except _TerminatedError:
        raise typer.Exit(128 + signal.SIGTERM) from None
    finally:
        signal.signal(signal.SIGTERM, previous)


class _TerminatedError(BaseException):
    pass
