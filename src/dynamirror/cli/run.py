"""The command that mirrors a table from this process: run."""

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

import msgspec
import typer

from dynamirror.cache import quarantine
from dynamirror.cache.completeness_marker import check_views, read_marker
from dynamirror.cli import options
from dynamirror.cli.addresses import ListenAddress, listen_address
from dynamirror.cli.interrupts import interruptible
from dynamirror.cli.output import print_json
from dynamirror.cli.page import Port, listen_options, of_run
from dynamirror.dynamodb.client import Aws, describe_schema
from dynamirror.errors import CacheError, OptionError
from dynamirror.metrics import catalogue
from dynamirror.metrics.openmetrics import Endpoint
from dynamirror.operations.messages import DEFAULT_MAX_LAG
from dynamirror.replication.canary_probe import CanaryProbe, ProbeResult
from dynamirror.replication.replicator import Replicator, build
from dynamirror.runner.canary_thread import CanaryThread
from dynamirror.runner.event_source_mapping import DeliveryCounts, EventSourceMapping
from dynamirror.runner.follower import Follower
from dynamirror.runner.health_endpoint import HealthEndpoint
from dynamirror.views.batch_result import BatchResult, Tally
from dynamirror.views.canary import check_types


def run(
    *,
    table: options.Table,
    cache: options.CacheAddress = None,
    tls: options.Tls = None,
    config: options.Config = None,
    endpoint_url: options.EndpointUrl = None,
    batch_size: Annotated[
        int, typer.Option(min=1, max=10_000, help="Maximum records per batch.")
    ] = 1000,
    parallelization_factor: Annotated[
        int, typer.Option(min=1, max=10, help="Concurrent batches per shard.")
    ] = 1,
    latest: Annotated[
        bool, typer.Option("--latest", help="Without a checkpoint, start at the newest record.")
    ] = False,
    auto_rebuild: Annotated[
        bool,
        typer.Option(
            "--auto-rebuild/--no-auto-rebuild",
            help="Rebuild an incomplete mirror, beside the stream.",
        ),
    ] = True,
    rate: Annotated[
        float | None,
        typer.Option(min=0.1, metavar="UNITS", help="Maximum read units per second of a rebuild."),
    ] = None,
    new_views: options.NewViews = False,
    interval: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Time between reports.")
    ] = 10,
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="[HOST:]PORT",
            help="Serve OpenMetrics at this address, on 127.0.0.1 without a host; 0: any free "
            "port.",
        ),
    ] = None,
    health: Annotated[
        str | None,
        typer.Option(
            metavar="[HOST:]PORT",
            help="Serve /livez and /readyz at this address, on 127.0.0.1 without a host.",
        ),
    ] = None,
    canary: Annotated[
        float | None,
        typer.Option(
            min=1,
            metavar="SECONDS",
            help="Write a canary item at this interval, and check that it reaches the cache.",
        ),
    ] = None,
    page: Annotated[
        bool, typer.Option("--page", help="Serve a live page; it shows items.")
    ] = False,
    page_port: Port = None,
    as_json: options.JsonLines = False,
) -> None:
    """Mirror a table into a cache, from this process, until stopped.

    Keep checkpoints in the cache, and resume there when started again. Rebuild an incomplete
    mirror (new, flushed, or further behind than the stream reaches) meanwhile.
    """
    options.check_applies("--page-port", given=page_port is not None, needed="--page", present=page)
    options.check_applies(
        "--rate", given=rate is not None, needed="--auto-rebuild", present=auto_rebuild
    )
    metrics_address = None if metrics is None else listen_address("--metrics", metrics)
    health_address = None if health is None else listen_address("--health", health)
    if metrics_address is not None and metrics_address == health_address and health_address.port:
        raise OptionError(f"--health: {health} is the address of --metrics; give another")
    page_address = listen_options(page_port)
    settings = options.read_settings(cache, tls=tls, config=config)
    tally, observers = Tally(), list[Callable[[BatchResult], None]]()
    observers.append(tally.add)
    replicator = build(settings, observe=lambda batch: _notify(observers, batch))
    say = partial(typer.echo, err=as_json)
    aws = options.read_aws(endpoint_url)
    follower = Follower(
        aws,
        table,
        replicator,
        EventSourceMapping(
            batch_size=batch_size, parallelization_factor=parallelization_factor, latest=latest
        ),
        notify=say,
        auto_rebuild=auto_rebuild,
        rate=rate,
    )
    if not new_views:
        _check_views(replicator, table)
    _log_to_stderr()
    say(f"mirroring table {table} into {replicator.cache}; Ctrl-C stops")
    with interruptible(), ExitStack() as stack:
        endpoint = None
        if metrics_address is not None:
            endpoint = _metrics_endpoint(table, metrics_address, replicator, follower)
            stack.enter_context(endpoint)
            observers.append(endpoint.observe)
            say(f"metrics at {endpoint.url}")
        if health_address is not None:
            health_endpoint = HealthEndpoint(
                health_address.host,
                health_address.port,
                why_not_live=follower.why_not_live,
                why_not_ready=partial(follower.why_not_ready, DEFAULT_MAX_LAG),
            )
            say(f"health at {stack.enter_context(health_endpoint).url}")
        if canary is not None:
            stack.enter_context(_canary(aws, table, replicator, canary, endpoint))
        page_of_run = of_run(
            *(follower, replicator, aws, table),
            settings=settings,
            tally=tally,
            wanted=page,
            listen=page_address,
            say=say,
        )
        stack.enter_context(page_of_run)
        follower.follow(_reporter(tally, as_json=as_json), interval=interval)


def _check_views(replicator: Replicator, table: str) -> None:
    views = replicator.views.bound(table)
    assert views is not None  # the follower has bound them
    check_views(read_marker(replicator.cache, table), views)


def _notify(observers: list[Callable[[BatchResult], None]], batch: BatchResult) -> None:
    for observe in observers:
        observe(batch)


def _reporter(tally: Tally, *, as_json: bool) -> Callable[[DeliveryCounts], None]:
    """Return a function that prints the counts when they have changed."""
    reported: dict[str, int] = {}

    def report(counts: DeliveryCounts) -> None:
        nonlocal reported
        totals = asdict(counts) | msgspec.structs.asdict(tally)
        if totals == reported:
            return
        reported = totals
        at = datetime.now(UTC)
        if as_json:
            print_json({"at": at.isoformat(timespec="seconds"), **totals})
        else:
            figures = (_counted(number, name) for name, number in totals.items() if number)
            typer.echo(f"{at:%H:%M:%S} UTC: {', '.join(figures) or 'nothing yet'}")

    return report


# The counts whose names are nouns.
_SINGULARS = {
    "records": "record",
    "invocations": "invocation",
    "retries": "retry",
    "gaps": "gap",
}


def _counted(number: int, name: str) -> str:
    return f"{number:,} {_SINGULARS.get(name, name) if number == 1 else name}"


def _metrics_endpoint(
    table: str, address: ListenAddress, replicator: Replicator, follower: Follower
) -> Endpoint:
    def quarantined() -> int | None:
        try:
            return quarantine.count(replicator.cache, table)
        except CacheError:
            return None

    endpoint = Endpoint(table, address.port, host=address.host)
    endpoint.show_mirror(
        complete=lambda: follower.complete, quarantined=quarantined, behind=follower.behind
    )
    return endpoint


@contextmanager
def _canary(
    aws: Aws, table: str, replicator: Replicator, interval: float, endpoint: Endpoint | None
) -> Iterator[None]:
    """Run the canary in the background."""
    client, halt = aws.dynamodb(), threading.Event()
    schema, _description = describe_schema(client, table)
    check_types(schema)

    def add_metrics(beat: ProbeResult) -> None:
        values: dict[catalogue.Metric, float] = {catalogue.CANARY_SEEN: int(beat.seen)}
        if beat.latency is not None:
            values[catalogue.CANARY_LATENCY] = beat.latency * 1000
        if endpoint is not None:
            endpoint.add(values)

    beats = CanaryProbe(replicator.cache, client, schema, wait=halt.wait)
    thread = CanaryThread(beats, table, interval=interval, halt=halt, on_result=add_metrics)
    thread.start()
    try:
        yield
    finally:
        thread.stop()


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LineFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


class _LineFormatter(logging.Formatter):
    """One line that includes the fields logged as `extra`, such as the reason."""

    _standard = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        extra = (
            f"{name}={value}" for name, value in vars(record).items() if name not in self._standard
        )
        return " ".join((super().formatMessage(record), *extra))
