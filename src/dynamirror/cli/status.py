"""What state a mirror is in: once, or again and again."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from dynamirror.cli import options
from dynamirror.errors import ConfigError, DynamirrorError
from dynamirror.operations import Status, StatusRequest
from dynamirror.remote import Operator


def status(
    *,
    table: options.TableUnlessVia = None,
    cache: options.CacheAddress = None,
    tls: options.Tls = None,
    config: options.Config = None,
    endpoint_url: options.EndpointUrl = None,
    via: options.Via = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again and again, until stopped.")
    ] = False,
    every: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Pause between looks, with --watch.")
    ] = 2,
    as_json: options.Json = False,
) -> None:
    """Tell whether the cache holds all of a table; exit status 0 only if it does.

    With --watch, exit status 130 when stopped with Ctrl-C.
    """
    ask = _asker(table, cache, tls=tls, config=config, endpoint_url=endpoint_url, via=via)
    with options.interruptible():
        if watch:
            _watch(ask, every, as_json=as_json)
        now = ask()
    typer.echo(options.to_json(now) if as_json else "\n".join(lines(now)))
    raise typer.Exit(int(not now.complete))


def _asker(
    table: str | None,
    cache: str | None,
    *,
    tls: bool | None,
    config: str | None,
    endpoint_url: str | None,
    via: str | None,
) -> Callable[[], Status]:
    """What asks, here or via the operator Lambda, on connections that it keeps."""
    if via is not None:
        operator = Operator(options.read_aws(endpoint_url), via)
        return lambda: operator.perform(StatusRequest(), Status)
    return options.read_operations(
        table, cache=cache, tls=tls, config=config, endpoint_url=endpoint_url
    ).status


def _watch(ask: Callable[[], Status], every: float, *, as_json: bool) -> None:
    """Show it until interrupted: redrawn on a terminal, line by line elsewhere."""
    console = Console()
    if as_json or not console.is_terminal:
        while True:
            now = _looked(ask)
            if as_json:
                error = {"error": str(now)}
                typer.echo(options.to_json(error if isinstance(now, DynamirrorError) else now))
            else:
                typer.echo("\n".join(_shown(now)))
            time.sleep(every)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            # Plain text: a name in it is nobody's markup.
            live.update(Text("\n".join(_shown(_looked(ask)))), refresh=True)
            time.sleep(every)


def _looked(ask: Callable[[], Status]) -> Status | DynamirrorError:
    """The state, or why it cannot be told now: just then, people look on."""
    try:
        return ask()
    except ConfigError:
        raise
    except DynamirrorError as error:
        return error


def _shown(now: Status | DynamirrorError) -> Iterator[str]:
    at = datetime.now(UTC).strftime("%H:%M:%S UTC")
    if isinstance(now, DynamirrorError):
        yield f"{at}: {now}"
    else:
        first, *rest = lines(now)
        yield f"{at}: {first}"
        yield from rest


def lines(now: Status) -> Iterator[str]:
    """A state, for people."""
    if now.complete:
        yield f"table {now.table}: the mirror is complete, since {_time(now.since)}"
    else:
        yield f"table {now.table}: the mirror is incomplete: {now.reason}"
    yield f"  stream      {now.stream or 'none yet'}"
    if now.table_stream != now.stream:
        yield f"  the table's {now.table_stream or 'is off'}"
    for shard, position in sorted(now.positions.items()):
        state = "read to its end" if position.finished else f"read up to {position.after or '-'}"
        made = "" if position.created is None else f", made {_time(position.created)}"
        yield f"  shard       {shard}: {state}{made}"
    if now.rebuild and now.progress:
        state = f"finished {now.rebuild.finished}" if now.rebuild.finished else "not finished"
        yield (
            f"  rebuild     begun {now.rebuild.begun}, {state}: {now.progress.items:,} items read, "
            f"{now.progress.applied:,} entries written"
        )
    if now.canary is not None:
        ago = max(0.0, now.at - now.canary)
        yield f"  canary      written {_time(now.canary)}, {ago:,.0f} s ago, has come through"
    if now.lag is not None:
        yield f"  lag         {now.lag:,.0f} s since the newest change that has come through"
    if now.audited is not None:
        yield f"  audit       {_audit(now)}"
    more = f", and {now.overflow} times one was not listed" if now.overflow else ""
    yield f"  quarantine  {now.quarantined:,} items{more}"
    yield f"  eviction    {now.eviction or 'unknown'}"
    for warning in now.warnings:
        yield f"  warning     {warning}"


def _audit(now: Status) -> str:
    audited = now.audited
    assert audited is not None
    part = f"part {audited.part + 1} of {audited.of}, {audited.at}"
    found = audited.comparison
    if found is None:
        return f"{part}: not compared, the mirror was incomplete"
    return (
        f"{part}: {found.items:,} items, {found.differences:,} differences, "
        f"{found.repaired:,} repaired"
    )


def _time(seconds: float | None) -> str:
    if not seconds or seconds == 1:
        return "the table was made"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
