"""Real servers, started once for the whole run."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import chain
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from deadlines import done, settle
from dynamirror.cache import Cache
from dynamirror.config import Settings
from dynamirror.local.dynamodb import EmbeddedDynamoDB
from dynamirror.local.valkey import EmbeddedValkey

# What one run tries, the next one tries, and a machine that pauses fails nothing.
settings.register_profile(
    "steady",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
# Each run tries something else: --hypothesis-profile=anew
settings.register_profile("anew", settings.get_profile("steady"), derandomize=False)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def valkey() -> Iterator[EmbeddedValkey]:
    """A Valkey in cluster mode, as ElastiCache Serverless is; emptied by `cache`."""
    with EmbeddedValkey() as server:
        yield server


@pytest.fixture(scope="session")
def single_valkey() -> Iterator[EmbeddedValkey]:
    """A Valkey without cluster mode."""
    with EmbeddedValkey(cluster=False) as server:
        yield server


@pytest.fixture
def cache(valkey: EmbeddedValkey) -> Iterator[Cache]:
    """The cluster, empty."""
    cache = Cache(valkey.settings())
    settle(done(lambda: cache.broadcast(b"FLUSHALL")))
    yield cache
    cache.close()


@pytest.fixture(scope="session")
def dynamodb() -> Iterator[EmbeddedDynamoDB]:
    """DynamoDB and its streams; tables are told apart by name."""
    with EmbeddedDynamoDB() as server:
        yield server


@pytest.fixture(params=["cluster", "single"])
def server(
    request: pytest.FixtureRequest, valkey: EmbeddedValkey, single_valkey: EmbeddedValkey
) -> EmbeddedValkey:
    """Either kind of Valkey."""
    return valkey if request.param == "cluster" else single_valkey


@pytest.fixture
def open_cache() -> Iterator[Callable[[Settings], Cache]]:
    """Make caches; all are closed when the test ends."""
    with ExitStack() as stack:

        def open_(settings: Settings) -> Cache:
            cache = Cache(settings)
            stack.callback(cache.close)
            return cache

        yield open_


@pytest.fixture
def given_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The nodes that a cache gave up, one by one."""
    nodes: list[str] = []
    suspect = Cache.suspect

    def noted(cache: Cache, node: Any) -> None:
        nodes.append(str(node))
        suspect(cache, node)

    monkeypatch.setattr(Cache, "suspect", noted)
    return nodes


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell how many schedules the simulation tried, in all processes."""
    tried = [
        value
        for report in chain.from_iterable(terminalreporter.stats.values())
        if getattr(report, "when", None) == "teardown"
        for name, value in report.user_properties
        if name == "tried"
    ]
    if tried:
        schedules, states = map(sum, zip(*tried, strict=True))
        terminalreporter.write_line(
            f"simulation: {schedules:,} schedules, none of which broke the promise; "
            f"{states:,} states visited, as schedules that meet in a state go on as one"
        )
