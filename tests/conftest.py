"""Real servers, started once for the whole run."""

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import chain
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from botocore.loaders import JSONFileLoader
from hypothesis import HealthCheck, settings
from tests.support.deadlines import done, settle
from tests.support.fault_proxy import Proxy
from tests.support.sandboxes import fresh_handler
from tests.support.scans import keys_in
from tests.support.world import MakeWorld, World

from dynamirror.cache.client import Cache
from dynamirror.cache.cluster import Cluster
from dynamirror.cache.slot_map import Node
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.process import HOST, ServerProcess, answers
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.settings import Settings
from dynamirror.views.view import ViewSpec

if TYPE_CHECKING:
    from tests.support.emulated_account import EmulatedAccount

# What one run tries, the next one tries, and a machine that pauses fails nothing.
settings.register_profile(
    "steady",
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
# Each run tries something else, and more: `make properties`.
settings.register_profile(
    "anew", settings.get_profile("steady"), derandomize=False, max_examples=100
)
# `make test-fast` tries less.
settings.register_profile("quick", settings.get_profile("steady"), max_examples=20)
settings.load_profile("steady")

# Each new session of boto3 parses the same megabytes of JSON, which takes longer than many a test.
_parse = functools.cache(JSONFileLoader().load_file)
JSONFileLoader.load_file = lambda _self, file_path: _parse(file_path)  # type: ignore[method-assign,assignment]

# Fixtures that start more than one Valkey, DynamoDB or emulated AWS, or that build something.
_SLOW_FIXTURES = frozenset(
    {"account", "alarms", "cloud", "cluster_nodes", "dynamodb", "kept", "lambda_code", "synth"}
)
_SERVERS = frozenset({"single_valkey", "valkey"})
# A test module that imports one of these starts processes, a browser, a demo or CDK.
_SLOW_IMPORTS = frozenset(
    {
        "aws_cdk",
        "dynamirror.demo.demo",
        "playwright",
        "soak.run",
        "subprocess",
        "tests.support.clusters",
        "tests.support.node",
        "tests.support.processes",
    }
)
# These take half a minute and more, mostly waiting. Begun last, they would run alone.
_LONGEST = ("test_deploy.py", "test_tutorial.py", "test_upgrade.py", "test_chaos.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests, and mark those that `make test-fast` leaves out."""
    places = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))
    for item in items:
        if isinstance(item, pytest.Function) and _is_slow(item):
            item.add_marker("slow")


def _is_slow(test: pytest.Function) -> bool:
    needs = set(test.fixturenames)
    is_property = getattr(test.function, "is_hypothesis_test", False)
    return bool(
        needs & _SLOW_FIXTURES
        or (is_property and needs & _SERVERS)
        or _imported(test.module) & _SLOW_IMPORTS
    )


@functools.cache
def _imported(module: ModuleType) -> set[str]:
    """Return the modules that a test module imports, or imports names from, and their parents."""
    names = {
        getattr(value, "__name__" if isinstance(value, ModuleType) else "__module__", None) or ""
        for value in vars(module).values()
    }
    parts = [name.split(".") for name in names if isinstance(name, str)]
    return {".".join(part[:end]) for part in parts for end in range(1, len(part) + 1)}


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


@pytest.fixture
def lambda_env(
    valkey: EmbeddedValkey, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, str]]:
    """A fresh Lambda sandbox whose environment points to the cluster, which is empty."""
    assert not list(keys_in(cache, "*"))
    with fresh_handler(valkey.settings(), monkeypatch) as env:
        yield env


@pytest.fixture(scope="session")
def account() -> Iterator["EmulatedAccount"]:
    """An AWS account, emulated, with a session that starts one."""
    from tests.support.emulated_account import EmulatedAccount  # noqa: PLC0415 - few tests need it

    account = EmulatedAccount()
    yield account
    account.server.stop()


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
    mark_suspect = Cluster.mark_suspect

    def noted(cluster: Cluster, node: Node) -> None:
        nodes.append(str(node))
        mark_suspect(cluster, node)

    monkeypatch.setattr(Cluster, "mark_suspect", noted)
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


@pytest.fixture
def make_world(cache: Cache, dynamodb: EmbeddedDynamoDB) -> Iterator[MakeWorld]:
    """Make worlds, in a cluster that is empty; what they started is stopped when the test ends."""
    with ExitStack() as stack:

        def make(*specs: ViewSpec, **options: Any) -> World:
            world = World(dynamodb, cache, *specs, **options)
            stack.callback(world.stack.close)
            return world

        yield make


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """A table of its own, empty, with the default view."""
    return make_world()


@pytest.fixture(scope="session")
def burst(dynamodb: EmbeddedDynamoDB) -> Iterator[Proxy]:
    """The proxy, started once."""

    def command(port: int, _folder: object) -> list[str]:
        upstream = dynamodb.endpoint_url
        return [
            *(sys.executable, "-m", "microburst", "--host", HOST),
            *("--port", str(port), "--upstream", upstream),
        ]

    process = ServerProcess("microburst", command, ready=answers)
    yield Proxy(process)
    process.stop()


@pytest.fixture
def proxy(burst: Proxy) -> Iterator[Proxy]:
    """The proxy, without faults at first and at last."""
    burst.inject()
    yield burst
    burst.inject()
