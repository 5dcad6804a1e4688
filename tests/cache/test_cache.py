"""Connecting to a Valkey, and sending it many commands at once."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from itertools import chain
from threading import Thread

import pytest
from tests.support.deadlines import wait_until
from tests.support.scans import scanned_keys

from dynamirror.cache.answers import Failure
from dynamirror.cache.client import Cache
from dynamirror.cache.pipeline import CHUNK, UNDER_WAY
from dynamirror.cache.scripts import DELETE, PUT, PUT_HASH, Command
from dynamirror.emulators.process import free_port
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import CacheError
from dynamirror.records.version import ChangeVersion
from dynamirror.settings import Settings
from dynamirror.views.encoding import pack_fields
from dynamirror.views.keyspace import fence_key

MANY = 3 * CHUNK + 17
OpenCache = Callable[[Settings], Cache]


@pytest.fixture
def cache(server: EmbeddedValkey, open_cache: OpenCache) -> Cache:
    """That Valkey, empty."""
    cache = open_cache(server.settings())
    cache.broadcast(b"FLUSHALL")
    return cache


@pytest.fixture
def other(server: EmbeddedValkey, open_cache: OpenCache) -> Cache:
    """The same Valkey through connections of its own."""
    return open_cache(server.settings())


def put(index: int) -> Command:
    """Write an entry of its own."""
    key = f"k{index}"
    version = str(ChangeVersion(1, 1, 1))
    return PUT.command(key.encode(), fence_key(key).encode(), version, 90_000, b"v%d" % index)


def echo(index: int) -> Command:
    """Have the server repeat a number."""
    return Command(b"k%d" % index, (b"ECHO", b"%d" % index))


def one_sentence(error: BaseException | None) -> str:
    """The error's message, which must be fit to be shown as it is."""
    text = str(error)
    assert text
    assert "\n" not in text
    assert ". " not in text
    assert "Traceback" not in text
    return text


def test_what_was_written_is_there(cache: Cache) -> None:
    assert cache.execute(put(index) for index in range(MANY)) == [b"applied"] * MANY
    assert cache.call("k616", b"GET", "k616") == b"v616"


def test_a_single_read_answers_as_any_other(cache: Cache, other: Cache) -> None:
    cache.call("k", b"SET", "k", b"text")
    read = Command(b"k", (b"GET", b"k"))
    assert [other.read_one(read) for _ in range(3)] == [b"text"] * 3
    assert other.read_one(Command(b"none", (b"GET", b"none"))) is None
    failure = other.read_one(Command(b"k", (b"HGETALL", b"k")))
    assert isinstance(failure, Failure)
    assert "WRONGTYPE" in failure.reason
    # The server closes its connection, which nobody looks at before the next read.
    cache.broadcast(b"CLIENT", b"KILL", b"TYPE", b"NORMAL")
    assert [other.read_one(read) for _ in range(3)] == [b"text"] * 3


def test_single_reads_of_a_child_process_use_connections_of_its_own(
    cache: Cache, other: Cache
) -> None:
    cache.call("k", b"SET", "k", b"text")
    read = Command(b"k", (b"GET", b"k"))
    other.read_one(read)
    (mine,) = [idle for nodes in other.cluster._idle.values() for idle in nodes]
    other.cluster._pid += (
        1  # as in a child, whose number is not the one that the connections are of
    )
    assert other.read_one(read) == b"text"
    (new,) = [idle for nodes in other.cluster._idle.values() for idle in nodes]
    assert new is not mine


def test_a_read_that_nobody_answers_is_an_error() -> None:
    cache = Cache(Settings(host="127.0.0.1", port=free_port(), tls=False))
    with pytest.raises(CacheError, match="no connection"):
        cache.read_one(Command(b"k", (b"GET", b"k")))


def test_nothing_to_do_is_nothing_done(cache: Cache) -> None:
    assert cache.execute([]) == []


def test_answers_keep_the_order_of_commands(cache: Cache) -> None:
    answers = cache.execute(echo(index) for index in range(MANY))
    assert answers == [b"%d" % index for index in range(MANY)]


def test_a_command_that_fails_leaves_its_neighbours_alone(cache: Cache) -> None:
    cache.call("k", b"SET", "k", b"text")
    wrong = Command(b"k", (b"HGETALL", b"k"))
    first, failure, last = cache.execute([echo(1), wrong, echo(2)])
    assert (first, last) == (b"1", b"2")
    assert isinstance(failure, Failure)
    assert "WRONGTYPE" in failure.reason


def test_commands_are_drawn_while_earlier_ones_are_under_way(cache: Cache, other: Cache) -> None:
    seen: dict[int, int] = {}

    def commands() -> Iterator[Command]:
        for index in range((UNDER_WAY + 3) * CHUNK):
            if index % CHUNK == 0:
                seen[index // CHUNK] = len(set(scanned_keys(other, "k*")))
            yield put(index)

    cache.execute(commands())
    # Never more than so many chunks are under way while the next is made.
    chunks = range(UNDER_WAY + 3)
    assert [seen[chunk] >= (chunk - UNDER_WAY) * CHUNK for chunk in chunks] == [True] * len(chunks)
    assert [seen[chunk] <= chunk * CHUNK for chunk in chunks] == [True] * len(chunks)


@pytest.mark.parametrize("drawn", [0, 1, CHUNK + 50, 3 * CHUNK])
def test_an_iterable_that_fails_leaves_the_cache_usable(cache: Cache, drawn: int) -> None:
    def commands() -> Iterator[Command]:
        yield from map(put, range(drawn))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cache.execute(commands())
    answers = cache.execute(echo(index) for index in range(MANY))
    assert answers == [b"%d" % index for index in range(MANY)]


def test_scripts_forgotten_before_are_loaded_again(cache: Cache) -> None:
    cache.broadcast(b"SCRIPT", b"FLUSH", b"SYNC")
    version = str(ChangeVersion(1, 1, 1))
    commands = [
        PUT.command(b"a", b"f:{a}", version, 90_000, b"v"),
        PUT_HASH.command(b"b", b"f:{b}", version, 90_000, pack_fields({b"x": b"y"})),
        DELETE.command(b"c", b"f:{c}", version, 90_000),
    ]
    assert cache.execute(commands) == [b"applied"] * 3


@pytest.mark.parametrize("at", [0, 1, CHUNK - 1, CHUNK, 2 * CHUNK + 50, MANY - 1])
def test_scripts_forgotten_in_the_middle_are_loaded_again(
    cache: Cache, other: Cache, at: int
) -> None:
    def commands() -> Iterator[Command]:
        for index in range(MANY):
            if index == at:
                other.broadcast(b"SCRIPT", b"FLUSH", b"SYNC")
            yield put(index)

    assert cache.execute(commands()) == [b"applied"] * MANY


def test_commands_and_forgotten_scripts_keep_their_own_answers(cache: Cache) -> None:
    cache.broadcast(b"SCRIPT", b"FLUSH", b"SYNC")
    pairs = list(chain.from_iterable((put(index), echo(index)) for index in range(MANY)))
    answers = cache.execute(pairs)
    assert answers[::2] == [b"applied"] * MANY
    assert answers[1::2] == [b"%d" % index for index in range(MANY)]


def test_a_connection_that_was_cut_is_replaced_at_next_use(cache: Cache, other: Cache) -> None:
    assert cache.execute([put(1)]) == [b"applied"]
    assert other.broadcast(b"CLIENT", b"KILL", b"TYPE", b"normal", b"SKIPME", b"yes") != [0]
    assert cache.execute([put(2)]) == [b"applied"]


def test_a_connection_cut_in_the_middle_fails_only_what_was_not_answered(
    cache: Cache, other: Cache
) -> None:
    cut = (UNDER_WAY + 2) * CHUNK

    def commands() -> Iterator[Command]:
        for index in range(cut + CHUNK):
            if index == cut:
                other.broadcast(b"CLIENT", b"KILL", b"TYPE", b"normal", b"SKIPME", b"yes")
            yield put(index)

    answers = cache.execute(commands())
    # What was under way may have been answered, but the answers are lost with the connection.
    assert answers[: 2 * CHUNK] == [b"applied"] * (2 * CHUNK)
    for failure in answers[cut:]:
        assert isinstance(failure, Failure)
        assert "no connection" in failure.reason
    again = cache.execute(put(index) for index in range(cut + CHUNK))
    assert set(again) == {b"applied", b"stale"}
    assert again[cut:] == [b"applied"] * CHUNK


class _LeftError(Exception):
    """What a handler of a signal raises."""


@pytest.fixture
def leaves_by_signal() -> Iterator[None]:
    """SIGUSR1 has the main thread leave whatever it is in."""

    def leave(*_: object) -> None:
        raise _LeftError

    before = signal.signal(signal.SIGUSR1, leave)
    yield
    signal.signal(signal.SIGUSR1, before)


def test_answers_that_a_signal_left_unread_are_nobodys(
    server: EmbeddedValkey, open_cache: OpenCache, other: Cache, leaves_by_signal: None
) -> None:
    assert leaves_by_signal is None
    cache = open_cache(server.settings(timeout=30))  # longer than it takes to send the signal
    cache.broadcast(b"FLUSHALL")

    def signal_once_blocked() -> None:
        wait_until(lambda: any(b"blocked_clients:1\r" in told for told in other.broadcast("INFO")))
        os.kill(os.getpid(), signal.SIGUSR1)

    thread = Thread(target=signal_once_blocked)
    thread.start()
    blocking = Command(b"list", (b"BLPOP", b"list", 0))
    with pytest.raises(_LeftError):
        cache.execute([echo(1), blocking, echo(2)])
    thread.join()
    other.call("list", b"RPUSH", "list", b"another's")
    assert cache.read_one(echo(3)) == b"3"
    assert cache.execute([echo(4), echo(5)]) == [b"4", b"5"]


def test_connections_are_reused(cache: Cache, other: Cache) -> None:
    def connected() -> bytes:
        (info,) = other.broadcast(b"INFO", b"stats")
        line: bytes = next(text for text in info.splitlines() if b"total_connections" in text)
        return line

    cache.execute([put(1)])
    before = connected()
    for index in range(20):
        cache.execute([put(index)])
    assert connected() == before


def test_scan_yields_all_keys_that_fit(cache: Cache) -> None:
    cache.execute(Command(b"k%d" % i, (b"SET", b"k%d" % i, b"")) for i in range(2_500))
    cache.call("other", b"SET", "other", b"")
    assert set(scanned_keys(cache, "k*")) == {b"k%d" % index for index in range(2_500)}
    assert len(set(scanned_keys(cache, "*"))) == 2_501


def test_scan_of_an_empty_cache_yields_nothing(cache: Cache) -> None:
    assert list(scanned_keys(cache, "*")) == []


def test_a_call_that_fails_says_so(cache: Cache) -> None:
    cache.call("k", b"SET", "k", b"text")
    with pytest.raises(CacheError, match="WRONGTYPE") as caught:
        cache.call("k", b"HGETALL", "k")
    one_sentence(caught.value)


def test_a_port_that_nothing_listens_on_is_named_in_one_sentence(open_cache: OpenCache) -> None:
    port = free_port()
    cache = open_cache(Settings(host="127.0.0.1", port=port, tls=False))
    for _ in range(2):
        with pytest.raises(CacheError, match=f"127.0.0.1:{port}: no connection") as caught:
            cache.execute([put(1)])
        one_sentence(caught.value)


@pytest.mark.parametrize("host", ["nowhere.invalid", "two..dots"])
def test_a_host_that_does_not_exist_is_named_in_one_sentence(
    open_cache: OpenCache, host: str
) -> None:
    cache = open_cache(Settings(host=host, tls=False))
    with pytest.raises(CacheError, match=f"{re.escape(host)}:6379: no connection") as caught:
        cache.execute([put(1)])
    one_sentence(caught.value)


def test_a_server_that_comes_back_is_found_again(
    open_cache: OpenCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedValkey(cluster=False) as server:
        cache = open_cache(server.settings())
        assert cache.execute([put(1)]) == [b"applied"]
        port = server.port
    (failure,) = cache.execute([put(2)])
    assert isinstance(failure, Failure)
    with pytest.raises(CacheError):
        cache.execute([put(2)])
    monkeypatch.setattr("dynamirror.emulators.process.free_port", lambda _highest: port)
    with EmbeddedValkey(cluster=False):

        def answers() -> bool:
            try:
                return cache.execute([put(2)]) == [b"applied"]
            except CacheError:
                return False

        wait_until(answers)


@pytest.fixture
def user(cache: Cache) -> Iterator[str]:
    """A user of the cache, whose password is `right`."""
    cache.broadcast(b"ACL", b"SETUSER", b"mirror", b"on", b">right", b"allkeys", b"+@all")
    yield "mirror"
    cache.broadcast(b"ACL", b"DELUSER", b"mirror")


def test_a_user_and_password_are_presented(
    server: EmbeddedValkey, user: str, open_cache: OpenCache, password_file: Callable[[str], str]
) -> None:
    cache = open_cache(server.settings(user=user, password_file=password_file("right")))
    assert cache.broadcast(b"ACL", b"WHOAMI") == [user.encode()]


def test_a_wrong_password_is_refused_in_one_sentence_each_time(
    server: EmbeddedValkey, user: str, open_cache: OpenCache, password_file: Callable[[str], str]
) -> None:
    cache = open_cache(server.settings(user=user, password_file=password_file("wrong")))
    for _ in range(2):
        with pytest.raises(CacheError, match="refuses the user or the password") as caught:
            cache.execute([put(1)])
        assert "wrong" not in one_sentence(caught.value)


def test_a_password_without_a_user_is_that_of_the_default_user(
    open_cache: OpenCache, password_file: Callable[[str], str]
) -> None:
    with EmbeddedValkey(cluster=False, options=("--requirepass", "right")) as server:
        cache = open_cache(server.settings(password_file=password_file("right")))
        assert cache.execute([put(1)]) == [b"applied"]
        with pytest.raises(CacheError, match="refuses the user or the password"):
            open_cache(server.settings()).execute([put(1)])


def test_too_many_clients_are_not_taken_for_a_wrong_password(
    open_cache: OpenCache, password_file: Callable[[str], str]
) -> None:
    with EmbeddedValkey(cluster=False, options=("--requirepass", "right")) as server:
        settings = server.settings(password_file=password_file("right"))
        open_cache(settings).broadcast(b"CONFIG", b"SET", b"maxclients", 1)
        with pytest.raises(CacheError, match=f"{server.port}: max number of clients reached$"):
            open_cache(settings).execute([put(2)])


def test_a_right_the_user_lacks_fails_only_what_needs_it(
    cache: Cache,
    server: EmbeddedValkey,
    user: str,
    open_cache: OpenCache,
    password_file: Callable[[str], str],
) -> None:
    cache.broadcast(b"ACL", b"SETUSER", user, b"-get")
    limited = open_cache(server.settings(user=user, password_file=password_file("right")))
    echoed, failure = limited.execute([echo(1), Command(b"k", (b"GET", b"k"))])
    assert echoed == b"1"
    assert isinstance(failure, Failure)
    assert "no permissions" in failure.reason


def test_a_demoted_primary_is_left_for_the_new_one(
    single_valkey: EmbeddedValkey, open_cache: OpenCache
) -> None:
    # Without cluster mode, a failover moves the name of the primary to another node; the old one
    # keeps its connections, and refuses writes.
    cache = open_cache(single_valkey.settings())
    cache.broadcast(b"FLUSHALL")
    identity = cache.broadcast(b"CLIENT", b"ID")
    cache.broadcast(b"REPLICAOF", b"127.0.0.1", str(free_port()))
    try:
        (failure,) = cache.execute([put(1)])
        assert isinstance(failure, Failure)
    finally:
        cache.broadcast(b"REPLICAOF", b"NO", b"ONE")
    assert cache.broadcast(b"CLIENT", b"ID") > identity
    assert cache.execute([put(1)]) == [b"applied"]
