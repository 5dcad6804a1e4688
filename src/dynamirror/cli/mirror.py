"""Commands that go on until they are stopped: run, simulate."""

import itertools
import logging
import random
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from dynamirror import metrics as catalogue
from dynamirror import quarantine, simulator
from dynamirror.aws import Aws, aws_errors, describe_schema
from dynamirror.canary import check_types
from dynamirror.cli import options
from dynamirror.cli.page import Port, of_run
from dynamirror.errors import CacheError, SourceError
from dynamirror.handler import Replicator, build
from dynamirror.heartbeat import Beat, Canary
from dynamirror.local.beating import Beating
from dynamirror.local.follow import Follower
from dynamirror.local.invoker import Counts, EventSourceMapping
from dynamirror.local.openmetrics import Endpoint
from dynamirror.report import Batch, Tally


def run(
    *,
    table: options.Table,
    cache: options.CacheAddress = None,
    tls: options.Tls = None,
    config: options.Config = None,
    endpoint_url: options.EndpointUrl = None,
    batch_size: Annotated[
        int, typer.Option(min=1, max=10_000, help="Records of one batch at the most.")
    ] = 1000,
    parallelization_factor: Annotated[
        int, typer.Option(min=1, max=10, help="Batches of one shard at a time.")
    ] = 1,
    latest: Annotated[
        bool,
        typer.Option("--latest", help="Begin with what is written from now on, if new here."),
    ] = False,
    heal: Annotated[
        bool,
        typer.Option(
            "--heal/--no-heal", help="Rebuild the mirror, beside the stream, when it is incomplete."
        ),
    ] = True,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.1, metavar="UNITS", help="Read units a second of a rebuild, at the most."
        ),
    ] = None,
    every: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Pause between reports.")
    ] = 10,
    metrics: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, metavar="PORT", help="Serve OpenMetrics there; 0 for any free port."
        ),
    ] = None,
    canary: Annotated[
        float | None,
        typer.Option(
            min=1,
            metavar="SECONDS",
            help="Write an item of our own to the table that often, and see it come through.",
        ),
    ] = None,
    page: Annotated[
        bool, typer.Option("--page", help="Serve a live page on 127.0.0.1; it shows items.")
    ] = False,
    page_port: Port = None,
    as_json: options.JsonLines = False,
) -> None:
    """Mirror a table into a cache, in this process, until stopped.

    How far it got is kept in the cache: started again, it goes on from there. A mirror that is
    incomplete (new, flushed, or behind by more than a stream keeps) is rebuilt meanwhile.
    """
    settings = options.read_settings(cache, tls=tls, config=config)
    tally, observers = Tally(), list[Callable[[Batch], None]]()
    observers.append(tally.add)
    replicator = build(settings, observe=lambda batch: _tell_all(observers, batch))
    say = partial(typer.echo, err=as_json)
    aws = options.read_aws(endpoint_url)
    follower = Follower(
        aws,
        table,
        replicator,
        EventSourceMapping(
            batch_size=batch_size, parallelization_factor=parallelization_factor, latest=latest
        ),
        tell=say,
        heal=heal,
        rate=rate,
    )
    _log_to_stderr()
    say(f"mirroring table {table} into {replicator.cache}; Ctrl-C stops")
    told: dict[str, int] = {}

    def report(counts: Counts) -> None:
        nonlocal told
        now = asdict(counts) | asdict(tally)
        if now == told:
            return
        told = now
        text = ", ".join(f"{number:,} {name}" for name, number in now.items() if number)
        typer.echo(options.to_json(now) if as_json else text)

    with options.interruptible(), ExitStack() as stack:
        endpoint = None
        if metrics is not None:
            endpoint = stack.enter_context(_endpoint(table, metrics, replicator, follower))
            observers.append(endpoint.observe)
            say(f"metrics at {endpoint.url}")
        if canary is not None:
            stack.enter_context(_canary(aws, table, replicator, canary, endpoint))
        page_of_run = of_run(
            *(follower, replicator, aws, table),
            settings=settings,
            tally=tally,
            wanted=page,
            port=page_port,
            say=say,
        )
        stack.enter_context(page_of_run)
        follower.follow(report, every=every)


def _tell_all(observers: list[Callable[[Batch], None]], batch: Batch) -> None:
    for observe in observers:
        observe(batch)


def _endpoint(table: str, port: int, replicator: Replicator, follower: Follower) -> Endpoint:
    def quarantined() -> int | None:
        try:
            return quarantine.count(replicator.cache, table)
        except CacheError:
            return None

    endpoint = Endpoint(table, port)
    endpoint.show_mirror(
        complete=lambda: follower.complete, quarantined=quarantined, behind=follower.behind
    )
    return endpoint


@contextmanager
def _canary(
    aws: Aws, table: str, replicator: Replicator, every: float, endpoint: Endpoint | None
) -> Iterator[None]:
    """Have the canary beat for as long as this lasts."""
    client, halt = aws.dynamodb(), threading.Event()
    schema, _description = describe_schema(client, table)
    check_types(schema)

    def tell(beat: Beat) -> None:
        values: dict[catalogue.Metric, float] = {catalogue.CANARY_SEEN: int(beat.seen)}
        if beat.latency is not None:
            values[catalogue.CANARY_LATENCY] = beat.latency * 1000
        if endpoint is not None:
            endpoint.add(values)

    beats = Canary(replicator.cache, client, schema, wait=halt.wait)
    beating = Beating(beats, table, every=every, halt=halt, tell=tell)
    beating.start()
    try:
        yield
    finally:
        beating.stop()


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


class _Line(logging.Formatter):
    """One line that also shows what was logged as `extra`: the reason stands there."""

    _known = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        extra = (
            f"{name}={value}" for name, value in vars(record).items() if name not in self._known
        )
        return " ".join((super().formatMessage(record), *extra))


def _progress() -> Progress:
    """A bar on a terminal, nothing elsewhere; always on standard error."""
    console = Console(stderr=True)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description} {task.completed:,.0f}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def simulate(
    *,
    table: options.Table,
    count: Annotated[
        int | None, typer.Option(min=1, help="How many writes. [default: until stopped]")
    ] = None,
    rate: Annotated[float, typer.Option(min=0.01, help="Writes a second.")] = 10,
    ids: Annotated[int, typer.Option(min=1, help='Ids are "1" to this.')] = simulator.IDS,
    seed: Annotated[int | None, typer.Option(help="Of the random source. [default: any]")] = None,
    endpoint_url: options.EndpointUrl = None,
    as_json: options.Json = False,
) -> None:
    """Write random changes to a table: two upserts for each delete."""
    client = options.read_aws(endpoint_url).dynamodb()
    schema, _description = describe_schema(client, table)
    if schema.keys != ("id",):
        raise SourceError(
            f"table {table}: its key is {' and '.join(schema.keys)}; the simulator needs a table "
            "with the key id (S)"
        )
    seed = secrets.randbits(32) if seed is None else seed
    written = 0
    begin = time.monotonic()
    drawn = simulator.operations(random.Random(seed), ids=ids)  # noqa: S311 - no secret
    with options.interruptible(), _progress() as progress:
        task = progress.add_task("written", total=count)
        try:
            for operation in itertools.islice(drawn, count):
                time.sleep(max(0.0, begin + written / rate - time.monotonic()))
                with aws_errors(f"table {table}"):
                    simulator.write(client, table, operation)
                written += 1
                progress.advance(task)
        finally:
            summary = {"written": written, "seed": seed}
            typer.echo(options.to_json(summary) if as_json else f"{written} written (seed {seed})")
