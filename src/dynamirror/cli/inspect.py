"""The command that measures how right the cache is: inspect."""

import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from math import inf
from typing import Annotated

import typer

from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import other_views, read_marker
from dynamirror.cli import options
from dynamirror.cli.interrupts import interruptible
from dynamirror.cli.notes import note
from dynamirror.cli.output import fitted, print_json
from dynamirror.cli.printable import printable
from dynamirror.cli.table_mirror import named_tables
from dynamirror.dynamodb.client import describe_schema
from dynamirror.dynamodb.scan import Rate
from dynamirror.errors import CacheError, ConfigError, OptionError
from dynamirror.inspection.judgement import DEFAULT_THRESHOLDS
from dynamirror.inspection.report import summaries
from dynamirror.inspection.sampling import check_share
from dynamirror.inspection.tally import Violation, merged
from dynamirror.inspection.watch import check_thresholds
from dynamirror.runner.inspection import Inspection, Source
from dynamirror.views.key_spaces import check_tables
from dynamirror.views.view import View, bind_views

_DEFAULT = ",".join(f"{seconds:g}" for seconds in DEFAULT_THRESHOLDS)


def inspect(
    *,
    table: options.Tables = None,
    cache: options.CacheAddress = None,
    tls: options.Tls = None,
    config: options.Config = None,
    endpoint_url: options.EndpointUrl = None,
    share: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of the items, up to 1.")
    ] = 1.0,
    source: Annotated[
        Source,
        typer.Option(help="Read changes from the stream, items from the table, or both."),
    ] = Source.STREAM,
    within: Annotated[
        str,
        typer.Option(metavar="SECONDS,...", help="Ages of a change at which to ask the cache."),
    ] = _DEFAULT,
    rate: Annotated[
        float, typer.Option(min=0.1, metavar="UNITS", help="Maximum read units per second.")
    ] = 25,
    duration: Annotated[
        float | None,
        typer.Option(
            "--for", min=0.1, max=options.YEAR, metavar="SECONDS", help="End after this time."
        ),
    ] = None,
    interval: Annotated[
        float,
        typer.Option(min=0.1, max=options.DAY, metavar="SECONDS", help="Time between reports."),
    ] = 10,
    as_json: options.JsonLines = False,
) -> None:
    """Measure how right the cache is, until stopped; exit with 1 if an entry was wrong.

    Take a share of the items. Ask the cache for each of their changes at several ages, as a client
    would. Only read, in the cache and in DynamoDB. A stream serves two readers of a shard at most.
    """
    thresholds = _thresholds(within)
    try:
        check_share(share)
    except ConfigError as error:
        raise OptionError(f"--share: {error}") from None
    names = named_tables(table, config)
    if not names:
        raise ConfigError(
            "no table is named; give --table NAME, or --config with a file that has a [[table]]"
        )
    settings = options.read_settings(cache, tls=tls, config=config)
    check_tables(settings.views(), names)
    aws = options.read_aws(endpoint_url)
    limit = Rate(rate)
    with ExitStack() as stack:
        opened = Cache(settings)
        stack.callback(opened.close)
        client = aws.dynamodb()
        schemas = (describe_schema(client, name)[0] for name in names)
        bound = [bind_views(settings.views(), schema) for schema in schemas]
        for views in bound:
            _note_other_views(opened, views)
        inspections = [
            Inspection(
                *(aws, opened, views),
                share=share,
                thresholds=thresholds,
                source=source,
                rate=limit,
                on_violation=lambda violation: _print_violation(violation, as_json=as_json),
            )
            for views in bound
        ]

        def finish() -> None:
            _report(inspections, as_json=as_json)
            if any(each.tally().violations for each in inspections):
                raise typer.Exit(1)

        stack.enter_context(interruptible(finish))
        for each in inspections:
            stack.enter_context(each)
        end = inf if duration is None else time.monotonic() + duration
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(interval, left))
            if left > interval:
                _report(inspections, as_json=as_json)
        finish()


def _note_other_views(cache: Cache, views: Sequence[View]) -> None:
    """Report a mirror that was written in other views, whose entries are all wrong in these."""
    with suppress(CacheError):  # the inspection counts that the cache does not answer
        if sentence := other_views(read_marker(cache, views[0].schema.table), views):
            note(sentence)


def _thresholds(text: str) -> tuple[float, ...]:
    try:
        thresholds = tuple(map(float, text.split(",")))
        check_thresholds(thresholds)
    except (ConfigError, ValueError):
        raise OptionError(
            f"--within: {text} is not a list of seconds above 0, each more than the one before, "
            f"as in {_DEFAULT}"
        ) from None
    return thresholds


def _report(inspections: Sequence[Inspection], *, as_json: bool) -> None:
    """Print the counts so far."""
    tally = merged(each.tally() for each in inspections)
    if as_json:
        print_json(tally.to_json())
        return
    at = datetime.now(UTC)
    for line in summaries(tally):
        typer.echo(fitted(printable(f"{at:%H:%M:%S} UTC: {line}")))


def _print_violation(violation: Violation, *, as_json: bool) -> None:
    """Print a violation for the operator; with JSON, the reports have the last ones."""
    shown = "never shown" if violation.shown is None else f"last shown at {violation.shown:g} s"
    number = violation.sequence_number
    typer.echo(
        printable(
            f"consistency violated: {violation.kind}, table {violation.table}, view "
            f"{violation.view}, item {violation.item}, {violation.age:,.1f} s old, {shown}"
            + (f", sequence number {number}" if number else "")
        ),
        err=as_json,
    )
