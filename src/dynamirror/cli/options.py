"""Options that several commands share, and the settings they name."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

import typer

from dynamirror.cli.interrupts import interruptible
from dynamirror.cli.progress import progress_shown
from dynamirror.dynamodb.client import Aws
from dynamirror.errors import ConfigError, OptionError
from dynamirror.operations.messages import Request
from dynamirror.operations.remote import Operator
from dynamirror.operations.service import Operations
from dynamirror.settings import MOST_PORT, Settings

A = TypeVar("A")

Table = Annotated[
    str,
    typer.Option("--table", "-t", envvar="DYNAMODB_TABLE", help="Name of the DynamoDB table."),
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
        "--cache",
        metavar="HOST[:PORT]",
        help="Address of the cache. [default: ELASTICACHE_HOST and _PORT]",
    ),
]
Tls = Annotated[
    bool | None,
    typer.Option(
        "--tls/--no-tls", help="Connect to the cache with TLS. [default: ELASTICACHE_TLS or on]"
    ),
]
EndpointUrl = Annotated[
    str | None, typer.Option("--endpoint-url", help="URL of DynamoDB. [default: AWS]")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
ReadRate = Annotated[
    float | None,
    typer.Option(min=0.1, metavar="UNITS", help="Maximum read units per second."),
]
NewViews = Annotated[
    bool,
    typer.Option(
        "--new-views", help="Write in these views, although the mirror was written in others."
    ),
]
JsonLines = Annotated[bool, typer.Option("--json", help="Print one JSON object per report.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorOptions:
    """The mirror a command works on, from here or through its operator Lambda."""

    table: Annotated[
        str | None,
        typer.Option(
            "--table",
            "-t",
            envvar="DYNAMODB_TABLE",
            help="Name of the DynamoDB table; not needed with --via.",
        ),
    ] = None
    cache: CacheAddress = None
    tls: Tls = None
    config: Config = None
    endpoint_url: EndpointUrl = None
    via: Annotated[
        str | None,
        typer.Option(
            metavar="FUNCTION_OR_STACK",
            help="Let the operator Lambda do the work, inside the cache's network.",
        ),
    ] = None

    def operator(self, *, new_views: bool = False) -> Operator | None:
        """Return the operator Lambda, or None without --via.

        Args:
            new_views: whether --new-views is given.

        Raises:
            OptionError: an option does not apply with --via, or the endpoint's URL is wrong.
        """
        if self.via is None:
            return None
        # The variable names the table of other commands, and so need not be unset.
        table = self.table if self.table != os.environ.get("DYNAMODB_TABLE") else None
        for option, value in {
            "--table": table or None,
            "--cache": self.cache,
            "--tls": self.tls,
            "--config": self.config,
            "--new-views": new_views or None,
        }.items():
            if value is not None:
                raise OptionError(
                    f"{option}: does not apply with --via, whose function has its own"
                )
        return Operator(read_aws(self.endpoint_url), self.via)

    def operations(self) -> Operations:
        """Return the mirror's operations, done from here.

        Raises:
            ConfigError: an option or a setting is missing or wrong.
        """
        if self.table is None:
            raise ConfigError("no table is named; give --table NAME, or --via FUNCTION_OR_STACK")
        settings = read_settings(self.cache, tls=self.tls, config=self.config)
        return Operations(settings, read_aws(self.endpoint_url), self.table)

    def perform(
        self,
        request: Request,
        answer_type: type[A],
        *,
        before: Callable[[Operations], object] = lambda _operations: None,
        new_views: bool = False,
    ) -> A:
        """Show progress while a request is performed, and return its answer.

        Args:
            request: the request.
            answer_type: the type of the answer.
            before: called with the operations before they perform the request; not with --via.
            new_views: whether --new-views is given.

        Raises:
            DynamirrorError: the request cannot be performed.
        """
        with interruptible(), progress_shown() as on_progress:
            operator = self.operator(new_views=new_views)
            if operator is not None:
                return operator.perform(request, answer_type)
            operations = self.operations()
            before(operations)
            answer = operations.perform(request, on_progress)
            assert isinstance(answer, answer_type)
            return answer


def check_applies(option: str, *, given: bool, needed: str, present: bool) -> None:
    """Check that an option that is given has the option that it needs.

    Args:
        option: the option.
        given: whether it is given.
        needed: the option that it needs.
        present: whether that one is given.

    Raises:
        OptionError: the option would be ignored.
    """
    if given and not present:
        raise OptionError(f"{option}: applies only with {needed}")


def read_settings(cache: str | None, *, tls: bool | None, config: str | None) -> Settings:
    """Return the settings of the environment, overridden by options.

    Raises:
        ConfigError: a setting is missing or wrong.
    """
    overrides: dict[str, str] = {}
    if cache is not None:
        host, port = _address(cache)
        overrides["ELASTICACHE_HOST"] = host
        if port:
            overrides["ELASTICACHE_PORT"] = port
    if tls is not None:
        overrides["ELASTICACHE_TLS"] = str(tls).lower()
    if config is not None:
        overrides["DYNAMIRROR_CONFIG"] = config
    environment = {**os.environ, **overrides}
    if not environment.get("ELASTICACHE_HOST"):
        raise ConfigError("no cache is named; give --cache HOST[:PORT] or set ELASTICACHE_HOST")
    return Settings.from_env(environment)


def _address(text: str) -> tuple[str, str]:
    """Return host and port of a cache's address; an empty port where it has none.

    Raises:
        OptionError: the port is no port.
    """
    # The colons of an IPv6 address are no port's, unless it stands in brackets.
    match = re.fullmatch(
        r"\[(?P<six>.*)\](?::(?P<port6>.*))?|(?P<host>[^:]*)(?::(?P<port>[^:]*))?", text
    )
    if match is None:
        return text, ""
    host, port = match["six"] or match["host"] or "", match["port6"] or match["port"] or ""
    if port and not (port.isascii() and port.isdigit() and 1 <= int(port) <= MOST_PORT):
        raise OptionError(
            f"--cache: {text}: the port must be a whole number from 1 to {MOST_PORT}, not {port!r}"
        )
    return host, port


def read_aws(endpoint_url: str | None) -> Aws:
    """Return how to reach DynamoDB; a local emulator needs neither credentials nor a region.

    Raises:
        ConfigError: the URL is wrong.
    """
    try:
        return Aws.from_env(endpoint_url)
    except ConfigError as error:
        raise (OptionError(str(error)) if endpoint_url else error) from None
