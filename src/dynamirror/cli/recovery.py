"""Commands that see to it that a mirror is whole: backfill, verify."""

import re
import secrets
from time import monotonic
from typing import Annotated, Any

import msgspec
import typer

from dynamirror.backfill import Backfill, Now
from dynamirror.cli import options
from dynamirror.cli.progress import shown
from dynamirror.errors import ConfigError
from dynamirror.operations import Status, StatusRequest, Tell, VerifyRequest
from dynamirror.remote import Operator
from dynamirror.snapshot import MOST_SEGMENTS
from dynamirror.verify import Comparison, Part

# More items than this are compared by the state machine: Lambda ends a function after 15 minutes.
_MOST_ITEMS_AT_ONCE = 2_000_000
_ITEMS_OF_SEGMENT = 250_000
_MOST_REMOTE_SEGMENTS = 1_000
_SEGMENTS = 8
_STILL_INCOMPLETE = "the mirror is incomplete all the same: `dynamirror status` tells why"

Rate = Annotated[
    float | None,
    typer.Option(min=0.1, metavar="UNITS", help="Read units a second at the most."),
]


def backfill(
    *,
    table: options.TableUnlessVia = None,
    cache: options.CacheAddress = None,
    tls: options.Tls = None,
    config: options.Config = None,
    endpoint_url: options.EndpointUrl = None,
    via: options.Via = None,
    segments: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_SEGMENTS,
            help="Parts that the table is read in. [default: 8; with --via as deployed]",
        ),
    ] = None,
    rate: Rate = None,
    eventual: Annotated[
        bool,
        typer.Option(
            "--eventual",
            help="Eventually consistent reads, for half the read units; begins a minute later.",
        ),
    ] = False,
    anew: Annotated[
        bool, typer.Option("--anew", help="Do not go on with one that was interrupted.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Write all items of a table into the cache, beside a running mirror, which is complete then.

    Interrupted, it goes on at the page it had come to. Entries whose items are gone are deleted.
    """
    begin = monotonic()
    with options.interruptible(), shown() as tell:
        if via is not None:
            operator = Operator(options.read_aws(endpoint_url), via)
            given = {"action": "backfill", "consistent": not eventual, "anew": anew}
            if segments is not None:
                given["segments"] = min(segments, _MOST_REMOTE_SEGMENTS)
            if rate is not None:
                given["rate"] = rate
            summary = _remotely(operator, given, tell)
        else:
            here = options.read_operations(
                table, cache=cache, tls=tls, config=config, endpoint_url=endpoint_url
            )
            items = here.status().table_items
            work = Backfill(
                here.rebuild(),
                segments=segments or _SEGMENTS,
                consistent=not eventual,
                rate=rate,
                tell=lambda now: _tell(tell, now, items),
            )
            done = work.run(anew=anew)
            assert done is not None  # nobody stops it but by a signal
            summary = _fields(here.table, done, complete=here.status().complete)
            summary["unswept"] = [view.name for view in here.views if not view.owns_its_keys]
    summary["seconds"] = round(monotonic() - begin, 1)
    if as_json:
        typer.echo(options.to_json(summary))
    else:
        _summarize(summary)
    raise typer.Exit(int(not summary["complete"]))


def _tell(tell: Tell, now: Now, items: int) -> None:
    if now.phase == "sweeping":
        tell("looking for left-over entries", now.swept.entries, now.progress.applied or None)
    else:
        what = f"waiting {now.detail}" if now.phase == "waiting" else "loading items"
        tell(what, now.progress.items, items or None)


def _remotely(operator: Operator, given: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Have the state machine do it; what it did is told by the mirror's status."""

    def look() -> Status:
        now = operator.perform(StatusRequest(), Status)
        if now.progress is not None:
            tell("loading items", now.progress.items, now.table_items or None)
        return now

    operator.wait(operator.start(given), look)
    now = look()
    progress = msgspec.structs.asdict(now.progress) if now.progress else {}
    return {"table": now.table, "complete": now.complete, **progress}


def _fields(table: str, done: Now, *, complete: bool) -> dict[str, Any]:
    return {
        "table": table,
        "complete": complete,
        **msgspec.structs.asdict(done.progress),
        "left_over": done.swept.deleted,
    }


def _summarize(summary: dict[str, Any]) -> None:
    items, seconds = summary.get("items", 0), summary["seconds"]
    typer.echo(
        f"table {summary['table']}: {items:,} items read, {summary.get('applied', 0):,} entries "
        f"written, {summary.get('stale', 0):,} were newer already, "
        f"{summary.get('left_over', 0):,} left over and deleted, in {seconds:.1f} s"
    )
    if summary.get("quarantined"):
        typer.echo(
            f"{summary['quarantined']:,} items could not become entries: "
            f"`dynamirror quarantine --table {summary['table']}` tells why"
        )
    for view in summary.get("unswept", ()):
        typer.echo(
            f"view {view}: left-over entries were not looked for, since its keys have no prefix of "
            "their own; `exclusive = true` says that the cache holds nothing else"
        )
    told = "the mirror is complete" if summary["complete"] else _STILL_INCOMPLETE
    typer.echo(told)


def verify(
    *,
    table: options.TableUnlessVia = None,
    cache: options.CacheAddress = None,
    tls: options.Tls = None,
    config: options.Config = None,
    endpoint_url: options.EndpointUrl = None,
    via: options.Via = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Write what the table says over what differs.")
    ] = False,
    sample: Annotated[
        float | None, typer.Option(metavar="PERCENT", help="Compare a random part only.")
    ] = None,
    segment: Annotated[
        str | None, typer.Option(metavar="I/N", help="Compare part I of N only, from 1/N to N/N.")
    ] = None,
    settle: Annotated[
        float,
        typer.Option(
            min=0, metavar="SECONDS", help="How long a change may take from table to cache."
        ),
    ] = 15,
    rate: Rate = None,
    as_json: options.Json = False,
) -> None:
    """Compare a table with the cache, while both change; exit status 0 only if they agree.

    What is on its way is waited for. With --repair, what differed and was put right agrees.
    """
    request = VerifyRequest(_part(sample, segment), settle, repair, rate)
    if via is not None and request.part.of == 1 and (big := _too_big(via, endpoint_url)):
        with options.interruptible(), shown() as tell:
            result = _verified_remotely(via, endpoint_url, request, big, tell)
    else:
        result = options.perform(
            request,
            Comparison,
            via=via,
            table=table,
            cache=cache,
            tls=tls,
            config=config,
            endpoint_url=endpoint_url,
        )
    if as_json:
        fields = msgspec.to_builtins(result) | {"differences": result.differences}
        typer.echo(options.to_json(fields))
    else:
        _print_comparison(result)
    raise typer.Exit(int(not result.is_true))


def _part(sample: float | None, segment: str | None) -> Part:
    if sample is not None and segment is not None:
        raise ConfigError("--sample and --segment exclude each other; give one")
    if sample is not None:
        return Part.sample(sample, secrets.SystemRandom())
    if segment is None:
        return Part()
    match = re.fullmatch(r"([0-9]{1,7})/([0-9]{1,7})", segment)
    if match is None or not 1 <= int(match[1]) <= int(match[2]) <= MOST_SEGMENTS:
        raise ConfigError(f"--segment: {segment} is not I/N with I from 1 to N, as in 3/10")
    return Part(int(match[2]), (int(match[1]) - 1,))


def _too_big(via: str, endpoint_url: str | None) -> int:
    """The number of items, if they are too many for one function."""
    operator = Operator(options.read_aws(endpoint_url), via)
    items = operator.perform(StatusRequest(), Status).table_items
    return items if items > _MOST_ITEMS_AT_ONCE else 0


def _verified_remotely(
    via: str, endpoint_url: str | None, request: VerifyRequest, items: int, tell: Tell
) -> Comparison:
    operator = Operator(options.read_aws(endpoint_url), via)
    given = {
        "action": "repair" if request.repair else "verify",
        "segments": min(_MOST_REMOTE_SEGMENTS, items // _ITEMS_OF_SEGMENT + 1),
        "settle": request.settle,
    }
    if request.rate is not None:
        given["rate"] = request.rate
    execution = operator.start(given)
    output = operator.wait(execution, lambda: tell("comparing, in the state machine", 0, None))
    return msgspec.convert(output, Comparison)


def _print_comparison(result: Comparison) -> None:
    moving = f", {result.in_flight:,} kept moving" if result.in_flight else ""
    typer.echo(
        f"{result.items:,} items, {result.entries:,} entries: {result.missing:,} missing, "
        f"{result.different:,} different, {result.left_over:,} left over{moving}"
    )
    if result.repaired:
        typer.echo(f"{result.repaired:,} of {result.differences:,} differences repaired")
    for kind, keys in result.sample.items():
        typer.echo(f"  {kind.replace('_', ' ')}: {', '.join(keys)}")
