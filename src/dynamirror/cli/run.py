"""The command that mirrors tables from this process: run."""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Annotated

import typer

from dynamirror.cache.lease import Leases, read_lease
from dynamirror.cli import options
from dynamirror.cli.addresses import ListenAddress, listen_address
from dynamirror.cli.interrupts import interruptible
from dynamirror.cli.page import Port, listen_options, of_run
from dynamirror.cli.run_canaries import Canaries
from dynamirror.cli.run_inspections import Inspections, both, check_option
from dynamirror.cli.run_output import RunOutput
from dynamirror.cli.run_upkeep import CacheReadings, show_upkeep
from dynamirror.cli.table_mirror import named_tables
from dynamirror.dynamodb.scan import Rate
from dynamirror.errors import CacheError, ConfigError, OptionError
from dynamirror.metrics.openmetrics import Endpoint
from dynamirror.metrics.tracing import traced
from dynamirror.operations.messages import DEFAULT_MAX_LAG
from dynamirror.replication.replicator import Replicator, build
from dynamirror.runner.event_source_mapping import EventSourceMapping
from dynamirror.runner.follower import Follower
from dynamirror.runner.followers import Followers
from dynamirror.runner.health_endpoint import HealthEndpoint
from dynamirror.runner.heartbeat_thread import who_am_i
from dynamirror.runner.leadership import LEASE_SECONDS, Leadership
from dynamirror.runner.service_manager import reported_to_systemd
from dynamirror.views.batch_result import BatchResult
from dynamirror.views.key_spaces import check_tables


def run(
    *,
    table: options.Tables = None,
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
        float,
        typer.Option(min=0.1, max=options.DAY, metavar="SECONDS", help="Time between reports."),
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
            max=options.DAY,
            metavar="SECONDS",
            help="Write a canary item at this interval, and check that it reaches the cache.",
        ),
    ] = None,
    inspect: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", help="Measure how right the cache is, with this share of the items."
        ),
    ] = None,
    page: Annotated[
        bool, typer.Option("--page", help="Serve a live page; it shows items.")
    ] = False,
    page_port: Port = None,
    ha: Annotated[
        bool,
        typer.Option("--ha", help="Share the mirror: one process replicates, others stand by."),
    ] = False,
    lease: Annotated[
        float | None,
        typer.Option(
            min=2,
            max=60,
            metavar="SECONDS",
            help="With --ha: time after which a leader without a sign of life is replaced. "
            "[default: 6]",
        ),
    ] = None,
    drain: Annotated[
        float,
        typer.Option(
            min=0.1,
            max=options.DAY,
            metavar="SECONDS",
            help="Maximum time from SIGTERM to the end.",
        ),
    ] = 20,
    as_json: options.JsonLines = False,
) -> None:
    """Mirror tables into a cache, from this process, until stopped.

    Keep checkpoints in the cache, and resume there when started again. Rebuild an incomplete
    mirror (new, flushed, or further behind than the stream reaches) meanwhile.

    With --ha, start it two or three times: one process leads, the others take over within seconds.

    After SIGTERM, finish the batches under way, and exit with 0.

    Of several tables, one that cannot be followed does not stop the others: it is reported, and
    tried again. The command ends when none is left.
    """
    for option, value, needed, present in (
        ("--page-port", page_port, "--page", page),
        ("--rate", rate, "--auto-rebuild", auto_rebuild),
        ("--lease", lease, "--ha", ha),
    ):
        options.check_applies(option, given=value is not None, needed=needed, present=present)
    check_option(inspect)
    metrics_address, health_address = _addresses(metrics, health)
    page_address = listen_options(page_port)
    tables = _tables(table, config, page=page)
    settings = options.read_settings(cache, tls=tls, config=config).shared_by(len(tables))
    check_tables(settings.views(), tables)
    output = RunOutput(tables, as_json=as_json)
    observers: list[Callable[[BatchResult], None]] = [output.count]
    replicator = build(settings, observe=lambda batch: _notify(observers, batch))
    aws, limit = options.read_aws(endpoint_url), Rate(rate)
    _log_to_stderr()

    def leadership_of(name: str) -> Leadership:
        leases = Leases(replicator.cache, name, who_am_i(), lease or LEASE_SECONDS)
        return Leadership(leases, name, notify=partial(output.say_of, name))

    def follower_of(name: str) -> Follower:
        if not ha:
            _warn_of_leader(replicator, name, output)
        return Follower(
            aws,
            name,
            replicator,
            EventSourceMapping(
                batch_size=batch_size, parallelization_factor=parallelization_factor, latest=latest
            ),
            notify=partial(output.say_of, name),
            auto_rebuild=auto_rebuild,
            rate=limit,
            new_views=new_views,
            leadership=leadership_of(name) if ha else None,
        )

    with ExitStack() as stack:
        stack.enter_context(interruptible(terminated=0, drain=drain))
        stack.callback(replicator.cache.close)
        canaries = Canaries(aws, replicator, canary, say=output.say_of, is_only=len(tables) == 1)
        inspections = Inspections(aws, settings, replicator, inspect)
        output.tally_of = inspections.tally
        readings = CacheReadings(replicator.cache)
        output.quarantined_of = readings.quarantined
        beside = both(canaries.running, inspections.running)
        followers = Followers(tables, follower_of, beside=beside, notify=output.say_of)
        stack.enter_context(traced(os.environ, observers))
        word = "table" if len(tables) == 1 else "tables"
        output.say(f"mirroring {word} {', '.join(tables)} into {replicator.cache}; Ctrl-C stops")
        if metrics_address is not None:
            endpoint = _metrics_endpoint(metrics_address, readings, followers, tables)
            stack.enter_context(endpoint)
            observers.append(endpoint.observe)
            inspections.show(endpoint, tables)
            canaries.show(endpoint, tables)
            output.say(f"metrics at {endpoint.url}")
        if health_address is not None:
            health_endpoint = HealthEndpoint(
                health_address.host,
                health_address.port,
                why_not_live=followers.why_not_live,
                why_not_ready=partial(followers.why_not_ready, DEFAULT_MAX_LAG),
                role=followers.role,
            )
            output.say(f"health at {stack.enter_context(health_endpoint).url}")
        if page:
            follower = followers.follower(tables[0])
            assert follower is not None  # the only table, or else it could not begin
            page_of_run = of_run(
                *(follower, replicator, aws, tables[0]),
                settings=settings,
                tally=output.tallies[tables[0]],
                listen=page_address,
                say=output.say,
            )
            stack.enter_context(page_of_run)
        stack.enter_context(reported_to_systemd(followers.why_not_live))
        followers.follow(output.report, interval=interval)


def _tables(named: Sequence[str] | None, config: str | None, *, page: bool) -> tuple[str, ...]:
    """Return the tables to mirror: one if there is a page."""
    tables = named_tables(named, config)
    if not tables:
        raise ConfigError(
            "no table is named; give --table NAME, or --config with a file that has a [[table]]"
        )
    if page and len(tables) > 1:
        names = ", ".join(tables)
        raise OptionError(f"--page: shows one table; name it with --table, one of {names}")
    return tables


def _addresses(
    metrics: str | None, health: str | None
) -> tuple[ListenAddress | None, ListenAddress | None]:
    """Return the addresses of --metrics and --health."""
    metrics_address = None if metrics is None else listen_address("--metrics", metrics)
    health_address = None if health is None else listen_address("--health", health)
    if metrics_address is not None and metrics_address == health_address and health_address.port:
        raise OptionError(f"--health: {health} is the address of --metrics; give another")
    return metrics_address, health_address


def _warn_of_leader(replicator: Replicator, table: str, output: RunOutput) -> None:
    with suppress(CacheError):  # without a lease, it is not needed
        lease = read_lease(replicator.cache, table)
        if lease is not None:
            output.say_of(
                table,
                f"{lease.who} leads by --ha, and this process does the same work beside it; give "
                "it --ha, too",
            )


def _notify(observers: list[Callable[[BatchResult], None]], batch: BatchResult) -> None:
    for observe in observers:
        observe(batch)


def _metrics_endpoint(
    address: ListenAddress, readings: CacheReadings, followers: Followers, tables: Sequence[str]
) -> Endpoint:
    def is_complete(table: str) -> bool | None:
        follower = followers.follower(table)
        return follower.complete if follower else False

    def behind(table: str) -> dict[str, float]:
        follower = followers.follower(table)
        return follower.behind() if follower else {}

    def leads(table: str) -> bool:
        follower = followers.follower(table)
        return follower is not None and follower.leads

    endpoint = Endpoint(address.port, host=address.host)
    for table in tables:
        show_upkeep(endpoint, table, readings, followers)
        endpoint.show_mirror(
            table,
            complete=partial(is_complete, table),
            quarantined=partial(readings.quarantined, table),
            behind=partial(behind, table),
            leads=partial(leads, table),
        )
    return endpoint


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
