"""Options that several commands share, and the settings they name."""

import os
import re
from dataclasses import dataclass
from typing import Annotated, Final

import typer

from dynamirror.cli.table_mirror import TableMirror, different, named_tables
from dynamirror.dynamodb.client import Aws
from dynamirror.errors import ConfigError, OptionError
from dynamirror.operations.remote import Operator
from dynamirror.operations.service import Operations
from dynamirror.settings import MOST_PORT, Settings
from dynamirror.views.key_spaces import check_tables

# The most seconds of an option: clocks and locks take no more than some years.
DAY: Final = 86_400
YEAR: Final = 365 * DAY

Table = Annotated[
    str,
    typer.Option(
        "--table",
        "-t",
        metavar="NAME",
        envvar="DYNAMODB_TABLE",
        help="Name of the DynamoDB table.",
    ),
]
Tables = Annotated[
    list[str] | None,
    typer.Option(
        "--table",
        "-t",
        metavar="NAME",
        help="Name of a DynamoDB table; may be repeated. [default: DYNAMODB_TABLES, DYNAMODB_TABLE "
        "or all of mirror.toml]",
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
JsonPerTable = Annotated[
    bool, typer.Option("--json", help="Print one JSON object per table, each on a line.")
]
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
JsonLines = Annotated[
    bool, typer.Option("--json", help="Print one JSON object per table and report.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorOptions:
    """The mirror a command works on, from here or through its operator Lambda."""

    table: Annotated[
        list[str] | None,
        typer.Option(
            "--table",
            "-t",
            metavar="NAME",
            help="Name of a DynamoDB table; may be repeated. [default: DYNAMODB_TABLES, "
            "DYNAMODB_TABLE or all of mirror.toml; with --via all of the stack]",
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

    def mirrors(self, *, new_views: bool = False) -> list[TableMirror]:
        """Return the mirror of each table.

        Args:
            new_views: whether --new-views is given.

        Raises:
            OptionError: an option does not apply with --via, or the endpoint's URL is wrong.
            ConfigError: an option or a setting is missing or wrong.
            DynamirrorError: the operator's tables cannot be found out.
        """
        if self.via is None:
            return self._from_here()
        names = different(self.table or ())
        for option, value in {
            "--cache": self.cache,
            "--tls": self.tls,
            "--config": self.config,
            "--new-views": new_views or None,
        }.items():
            if value is not None:
                raise OptionError(
                    f"{option}: does not apply with --via, whose function has its own"
                )
        operator = Operator(read_aws(self.endpoint_url), self.via)
        return [TableMirror(table, operator=operator) for table in operator.choose(names)]

    def _from_here(self) -> list[TableMirror]:
        names = named_tables(self.table, self.config)
        if not names:
            raise ConfigError("no table is named; give --table NAME, or --via FUNCTION_OR_STACK")
        settings = read_settings(self.cache, tls=self.tls, config=self.config)
        check_tables(settings.views(), names)
        aws = read_aws(self.endpoint_url)
        first = Operations(settings, aws, names[0])
        others = (Operations(settings, aws, name, beside=first) for name in names[1:])
        return [TableMirror(each.table, operations=each) for each in (first, *others)]


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
        OptionError: the port is no port, or there is a user before the host.
    """
    if "@" in text:  # the rest may be a password, which no sentence repeats
        raise OptionError(
            "--cache: must be HOST[:PORT]; ELASTICACHE_USER names a user, and "
            "ELASTICACHE_PASSWORD_FILE the file with the password"
        )
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
