"""Serve the page of the demo, or of a mirror under `run`."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

from dynamirror.cache.client import Cache
from dynamirror.demo.demo import Demo
from dynamirror.dynamodb.client import Aws, describe_table
from dynamirror.emulators.process import HOST
from dynamirror.inspection.stored import stored_tally
from dynamirror.page.fault_injector import FaultInjector
from dynamirror.page.mirror_source import MirrorSource
from dynamirror.page.server import LivePage
from dynamirror.replication.replicator import Replicator
from dynamirror.runner.follower import Follower
from dynamirror.runner.heartbeat_thread import who_am_i
from dynamirror.settings import Settings
from dynamirror.views.batch_result import Tally

_DEMO_INTERVAL = 0.5
_RUN_INTERVAL = 2.0
# The page must report a hanging cache instead of hanging with it.
_CACHE_TIMEOUT = 0.5


@contextmanager
def demo_page(
    demo: Demo, *, port: int | None = None, host: str = HOST
) -> Iterator[tuple[LivePage, FaultInjector]]:
    """Serve the page of a running demo; on 127.0.0.1 its buttons break and repair the mirror.

    Raises:
        DynamirrorError: the page cannot be served.
    """
    injector = FaultInjector(demo)
    with closing(Cache(demo.valkey.settings(timeout=_CACHE_TIMEOUT))) as cache:
        mirror = MirrorSource(
            title=f"DynamoDB table {demo.schema.table} → Valkey, both on this machine",
            cache=cache,
            views=demo.views,
            client=demo.database.aws.dynamodb(),
            stream=lambda: demo.stream_arn,
            delivery=lambda: demo.delivery if demo.is_replicating else None,
            tally=demo.totals,
            written=lambda: demo.totals.written,
            lags=demo.totals.lags,
            events=injector.events,
            pinned=injector.pinned,
            probe_key=demo.probe_key,
            inspection=demo.inspection,
        )
        if host == HOST:
            mirror = replace(mirror, buttons=injector.buttons, press=injector.press)
        with LivePage(mirror, port=port, host=host, interval=_DEMO_INTERVAL) as page:
            try:
                yield page, injector
            finally:
                injector.close()


@contextmanager
def run_page(
    follower: Follower,
    replicator: Replicator,
    aws: Aws,
    table: str,
    *,
    settings: Settings,
    tally: Tally,
    port: int | None = None,
    host: str = HOST,
) -> Iterator[LivePage]:
    """Serve the page of a mirror under `run`, without buttons.

    Raises:
        DynamirrorError: the page cannot be served.
    """
    client = aws.dynamodb()
    views = replicator.views.bind(describe_table(client, table).schema)
    with closing(Cache(settings)) as cache:
        mirror = MirrorSource(
            title=f"DynamoDB table {table} → {cache}, by {who_am_i()}",
            cache=cache,
            views=views,
            client=client,
            stream=lambda: follower.stream_arn,
            delivery=lambda: follower.delivery,
            tally=tally,
            inspection=lambda: stored_tally(cache, table),
            standby=lambda: follower.role,
        )
        with LivePage(mirror, port=port, host=host, interval=_RUN_INTERVAL) as page:
            yield page
