"""Check a deployment against the AWS account."""

from typing import Annotated

import typer

from dynamirror.cli import options
from dynamirror.cli.interrupts import interruptible
from dynamirror.cli.output import print_json
from dynamirror.deployment.file import read_deployment
from dynamirror.deployment.overrides import OFFLINE, check_names, is_offline
from dynamirror.errors import OptionError
from dynamirror.preflight.run import preflight as run_preflight
from dynamirror.preflight.run import preflight_offline


def preflight(
    *,
    config: Annotated[
        str | None,
        typer.Option("--config", metavar="MIRROR.TOML", help="File of the deployment."),
    ] = None,
    context: Annotated[
        list[str] | None,
        typer.Option(
            "--context",
            "-c",
            metavar="NAME=VALUE",
            help="Value that overrides the file, as for cdk deploy; may be repeated.",
        ),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Check only what needs no AWS account.")
    ] = False,
    endpoint_url: options.EndpointUrl = None,
    as_json: options.Json = False,
) -> None:
    """Check a deployment before it is deployed: tables, streams, cache, network, names.

    Exit with 0 if all is well, 1 if something is wrong, and 2 if something could not be checked.
    """
    values = _context(context or [])
    if config is not None:
        if "config" in values:
            raise OptionError("--config: excludes -c config=; give one")
        values["config"] = config
    offline = is_offline(values.get(OFFLINE)) or offline
    if offline and endpoint_url is not None:
        raise OptionError("--endpoint-url: does not apply with --offline")
    deployment = read_deployment(values.get("config") or None, values)
    with interruptible():
        report = (
            preflight_offline(deployment)
            if offline
            else run_preflight(deployment, options.read_aws(endpoint_url))
        )
    if as_json:
        print_json(report.to_json())
    else:
        typer.echo("\n".join(report.lines()))
    raise typer.Exit(report.exit_status)


def _context(words: list[str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise OptionError(
                f"-c: {word}: must be NAME=VALUE, as in -c batchSize=2000; --config names the file"
            )
        if name in values:
            raise OptionError(f"-c: {name}: is given twice; give it once")
        values[name] = value
    check_names(values)
    return values
