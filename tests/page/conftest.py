"""A mirror without a replicator, for the page to show."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser
from tests.support.browser import opened_browser
from tests.support.streams import Source

from dynamirror.cache.client import Cache
from dynamirror.dynamodb.client import describe_table
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.page.mirror_source import MirrorSource
from dynamirror.views.batch_result import Tally
from dynamirror.views.view import ViewSpec


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run one Chromium for the tests of a module: beside it, nothing may run an event loop."""
    with opened_browser() as browser:
        yield browser


@pytest.fixture
def source(dynamodb: EmbeddedDynamoDB) -> Source:
    """Create a table of one item."""
    source = Source(dynamodb)
    source.put("1", name={"S": "Ada"})
    return source


@pytest.fixture
def mirror(source: Source, cache: Cache) -> MirrorSource:
    """Return that table and an empty cache."""
    return MirrorSource(
        title="a test",
        cache=cache,
        views=[ViewSpec().bind(describe_table(source.client, source.name).schema)],
        client=source.client,
        stream=lambda: source.arn,
        delivery=lambda: None,
        tally=Tally(applied=7),
    )
