"""The page of the demo, and the page of a mirror that runs."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from dynamirror.aws import Aws, describe_table
from dynamirror.cache import Cache
from dynamirror.config import Settings
from dynamirror.handler import Replicator
from dynamirror.local.demo import Demo
from dynamirror.local.follow import Follower
from dynamirror.page.harm import Harm
from dynamirror.page.sampler import Mirrored
from dynamirror.page.server import Page
from dynamirror.report import Tally

_DEMO_SECONDS = 0.5
_RUN_SECONDS = 2.0
# The page must tell that the cache hangs, instead of hanging with it.
_CACHE_SECONDS = 0.5


@contextmanager
def demo_page(demo: Demo, *, port: int | None = None) -> Iterator[tuple[Page, Harm]]:
    """Serve the page of a demo that runs, with buttons that do harm.

    Args:
        demo: the demo.
        port: to listen on; None for any free one.

    Raises:
        DynamirrorError: it cannot be served.
    """
    harm = Harm(demo)
    with closing(Cache(demo.valkey.settings(timeout=_CACHE_SECONDS))) as cache:
        mirrored = Mirrored(
            title=f"DynamoDB table {demo.schema.table} → Valkey, both on this machine",
            cache=cache,
            views=demo.views,
            client=demo.database.aws.dynamodb(),
            stream=lambda: demo.stream_arn,
            delivery=lambda: demo.delivery if demo.is_replicating else None,
            tally=demo.totals,
            written=lambda: demo.totals.written,
            lags=demo.totals.lags,
            events=harm.events,
            buttons=harm.buttons,
            press=harm.press,
            pinned=harm.pinned,
        )
        with Page(mirrored, port=port, every=_DEMO_SECONDS) as page:
            try:
                yield page, harm
            finally:
                harm.close()


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
) -> Iterator[Page]:
    """Serve the page of a mirror that runs; it only looks.

    Args:
        follower: what delivers.
        replicator: what applies.
        aws: where the table is.
        table: its name.
        settings: where the cache is.
        tally: the outcomes so far.
        port: to listen on; None for any free one.

    Raises:
        DynamirrorError: it cannot be served.
    """
    client = aws.dynamodb()
    views = replicator.views.bind(describe_table(client, table).schema)
    with closing(Cache(settings)) as cache:
        mirrored = Mirrored(
            title=f"DynamoDB table {table} → {cache}",
            cache=cache,
            views=views,
            client=client,
            stream=lambda: follower.stream_arn,
            delivery=lambda: follower.delivery,
            tally=tally,
        )
        with Page(mirrored, port=port, every=_RUN_SECONDS) as page:
            yield page
