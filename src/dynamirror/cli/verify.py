"""The command that compares a table with its cache: verify."""

import re
import secrets
from functools import partial
from typing import Annotated, Any

import msgspec
import typer

from dynamirror.cli import options
from dynamirror.cli.notes import note, note_time
from dynamirror.cli.option_groups import with_option_groups
from dynamirror.cli.output import fitted
from dynamirror.cli.printable import printable
from dynamirror.cli.table_mirror import TableMirror, prefix, print_json_of, work_on
from dynamirror.counted import counted
from dynamirror.dynamodb.scan import MOST_SEGMENTS
from dynamirror.errors import ConfigError, OptionError
from dynamirror.operations.messages import Status, StatusRequest, VerifyRequest
from dynamirror.operations.remote import Operator
from dynamirror.operations.service import OnProgress, Operations
from dynamirror.recovery.comparison import Comparison, Share
from dynamirror.recovery.limits import verification_time

# The state machine compares larger tables: Lambda ends a function after 15 minutes.
_MOST_OF_FUNCTION = 2_000_000
_KINDS = {"left_over": "orphaned"}


@with_option_groups
def verify(
    *,
    mirror: options.MirrorOptions,
    repair: Annotated[
        bool, typer.Option("--repair", help="Correct entries that differ from the table.")
    ] = False,
    sample: Annotated[
        float | None, typer.Option(metavar="PERCENT", help="Compare only a random part.")
    ] = None,
    segment: Annotated[
        str | None, typer.Option(metavar="I/N", help="Compare only part I of N, from 1/N to N/N.")
    ] = None,
    settle: Annotated[
        float,
        typer.Option(
            min=0,
            max=options.DAY,
            metavar="SECONDS",
            help="Time a change may take to reach the cache.",
        ),
    ] = 15,
    rate: options.ReadRate = None,
    new_views: options.NewViews = False,
    as_json: options.JsonPerTable = False,
) -> None:
    """Compare tables with the cache while both change; exit with 0 only if they agree.

    Wait for changes in flight. Do not count differences that --repair corrects.
    """
    request = VerifyRequest(_part(sample, segment), settle, repair, rate)
    options.check_applies("--new-views", given=new_views, needed="--repair", present=repair)
    mirrors = mirror.mirrors(new_views=new_views)
    before = partial(_before, request=request, new_views=new_views)

    def compare(mirror: TableMirror, on_progress: OnProgress) -> Comparison:
        # At a rate, even a small table may take longer than a function has.
        if (
            mirror.operator is not None
            and request.part.of == 1
            and (rate or mirror.perform(StatusRequest(), Status).table_items > _MOST_OF_FUNCTION)
        ):
            return _verify_remotely(mirror, mirror.operator, request, on_progress)
        return mirror.perform(request, Comparison, on_progress, before=before)

    def show(result: Comparison, mirror: TableMirror) -> int:
        if as_json:
            fields = msgspec.to_builtins(result) | {"differences": result.differences}
            print_json_of(mirror.table, fields)
        else:
            typer.echo(prefix(mirror, mirrors), nl=False)
            _print_comparison(result)
        return int(not result.is_true)

    work_on(mirrors, compare, show, as_json=as_json)


def _before(operations: Operations, *, request: VerifyRequest, new_views: bool) -> None:
    """Refuse to repair a mirror that was written in other views; only report it otherwise.

    Report how long the work takes at its rate, too.
    """
    if request.repair and not new_views:
        operations.check_views()
    elif sentence := operations.other_views():
        note(sentence)
    if request.rate and request.part.is_whole:
        note_time(verification_time(operations.size(), request.rate))


def _part(sample: float | None, segment: str | None) -> Share:
    if sample is not None and segment is not None:
        raise OptionError("--sample and --segment exclude each other; give one")
    if sample is not None:
        try:
            return Share.sample(sample, secrets.SystemRandom())
        except ConfigError as error:
            raise OptionError(str(error)) from None
    if segment is None:
        return Share()
    match = re.fullmatch(r"([0-9]{1,7})/([0-9]{1,7})", segment)
    if match is None or not 1 <= int(match[1]) <= int(match[2]) <= MOST_SEGMENTS:
        raise OptionError(f"--segment: {segment} is not I/N with I from 1 to N, as in 3/10")
    return Share(int(match[2]), (int(match[1]) - 1,))


def _verify_remotely(
    mirror: TableMirror,
    operator: Operator,
    request: VerifyRequest,
    on_progress: OnProgress,
) -> Comparison:
    job: dict[str, Any] = {
        "action": "repair" if request.repair else "verify",
        "segments": 0,  # as many as suit the table's size
        "settle": request.settle,
    }
    if request.rate is not None:
        job["rate"] = request.rate
    output = operator.wait(
        operator.start(job, mirror.table),
        lambda: on_progress("comparing, in the state machine", 0, None),
    )
    return msgspec.convert(output, Comparison)


def _print_comparison(result: Comparison) -> None:
    in_flight = f", {result.in_flight:,} kept changing" if result.in_flight else ""
    found = (
        f"{counted(result.items, 'items')}, {counted(result.entries, 'entries')}: "
        f"{result.missing:,} missing, {result.different:,} different, "
        f"{result.orphaned:,} orphaned{in_flight}"
    )
    typer.echo(fitted(found))
    if result.repaired:
        typer.echo(f"{result.repaired:,} of {result.differences:,} differences repaired")
    for kind, keys in result.sample.items():
        typer.echo(printable(f"  {_KINDS.get(kind, kind)}: {', '.join(keys)}"))
