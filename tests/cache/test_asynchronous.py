"""The cache as coroutines read it."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.support.wire import Wire

from dynamirror.cache.answers import Failure
from dynamirror.cache.asynchronous.client import AsyncCache
from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import Command
from dynamirror.emulators.process import free_port
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import CacheError
from dynamirror.settings import Settings

READ = Command(b"k", (b"GET", b"k"))
StartTlsProxy = Callable[[int, str], tuple[int, str]]


@pytest.fixture
def cache(server: EmbeddedValkey, open_cache: Callable[[Settings], Cache]) -> Cache:
    """That Valkey, with one entry."""
    cache = open_cache(server.settings())
    cache.broadcast(b"FLUSHALL")
    cache.call("k", b"SET", "k", b"text")
    return cache


def use(settings: Settings, work: Callable[[AsyncCache], Awaitable[Any]]) -> Any:
    """Run a coroutine with a cache of its own; the loop must be left without tasks."""

    async def run() -> Any:
        cache = AsyncCache(settings)
        try:
            return await work(cache)
        finally:
            await cache.close()
            assert asyncio.all_tasks() == {asyncio.current_task()}

    return asyncio.run(run())


def echo(number: int) -> Command:
    """Have the server repeat a number."""
    return Command(b"k%d" % number, (b"ECHO", b"%d" % number))


def connections(cache: Cache) -> int:
    """Return how many connections the server has."""
    (listed,) = cache.broadcast(b"CLIENT", b"LIST", b"TYPE", b"NORMAL")
    return len(listed.splitlines())


def test_many_coroutines_get_their_own_answers_over_one_connection(
    server: EmbeddedValkey, cache: Cache
) -> None:
    before = connections(cache)

    async def read(other: AsyncCache) -> int:
        numbers = count()

        async def several() -> None:
            for _ in range(20):
                number = next(numbers)
                if number % 3:
                    assert await other.read_one(echo(number)) == b"%d" % number
                else:
                    commands = [echo(each) for each in range(number, number + 5)]
                    assert await other.execute(commands) == [
                        b"%d" % each for each in range(number, number + 5)
                    ]

        await asyncio.gather(*(several() for _ in range(256)))
        return connections(cache)

    threads = set(threading.enumerate())
    assert use(server.settings(), read) == before + 1
    assert set(threading.enumerate()) <= threads


def test_a_command_that_fails_leaves_its_neighbours_alone(
    server: EmbeddedValkey, cache: Cache
) -> None:
    wrong = Command(b"k", (b"HGETALL", b"k"))
    expected = cache.execute([echo(1), wrong, echo(2)])[1].reason

    async def read(other: AsyncCache) -> None:
        first, failure, last = await other.execute([echo(1), wrong, echo(2)])
        assert (first, last) == (b"1", b"2")
        assert isinstance(failure, Failure)
        assert failure.reason == expected
        assert (await other.read_one(wrong)).reason == expected
        assert await other.execute([]) == []

    use(server.settings(), read)


def test_a_connection_that_was_closed_while_idle_or_in_use_is_replaced(
    server: EmbeddedValkey, cache: Cache
) -> None:
    async def read(other: AsyncCache) -> None:
        assert await other.read_one(READ) == b"text"
        for _ in range(3):  # noticed by the loop
            cache.broadcast(b"CLIENT", b"KILL", b"TYPE", b"NORMAL")
            await asyncio.sleep(0)
            assert await other.read_one(READ) == b"text"
        for _ in range(3):  # with commands under way
            reading = [asyncio.create_task(other.execute([READ] * 3)) for _ in range(50)]
            await asyncio.sleep(0)
            cache.broadcast(b"CLIENT", b"KILL", b"TYPE", b"NORMAL")
            assert await asyncio.gather(*reading) == [[b"text"] * 3] * 50

    use(server.settings(), read)


def test_a_storm_of_cancellations_leaves_every_answer_with_its_own_command(
    server: EmbeddedValkey, cache: Cache
) -> None:
    random = Random(17)
    before = connections(cache)

    async def read(other: AsyncCache) -> int:
        cancelled = 0
        numbers = count()

        async def one() -> None:
            number = next(numbers)
            assert await other.read_one(echo(number)) == b"%d" % number
            commands = [echo(each) for each in range(number, number + 3)]
            assert await other.execute(commands) == [
                b"%d" % each for each in range(number, number + 3)
            ]

        for _ in range(20):
            tasks = [asyncio.create_task(one()) for _ in range(100)]
            for _ in range(random.randrange(4)):
                await asyncio.sleep(0)
            for task in tasks:
                if random.random() < 0.5:
                    task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, asyncio.CancelledError):
                    cancelled += 1
                else:
                    assert result is None, result
        assert connections(cache) == before + 1
        return cancelled

    assert use(server.settings(), read) > 500


def test_the_first_caller_may_be_cancelled_while_the_others_wait_for_its_connection(
    single_valkey: EmbeddedValkey,
) -> None:
    with Wire(single_valkey.port) as wire:
        wire.to_client.held = True

        async def read(other: AsyncCache) -> None:
            first, *others = (asyncio.create_task(other.read_one(echo(7))) for _ in range(10))
            await asyncio.sleep(0.01)
            first.cancel()
            await asyncio.sleep(0)
            wire.to_client.held = False
            assert await asyncio.gather(*others) == [b"7"] * 9
            assert first.cancelled()

        use(Settings(host="127.0.0.1", port=wire.port, tls=False), read)


def test_a_node_that_hangs_costs_all_callers_together_one_timeout(
    single_valkey: EmbeddedValkey,
) -> None:
    with Wire(single_valkey.port) as wire:

        async def read(other: AsyncCache) -> float:
            assert await other.read_one(echo(1)) == b"1"
            wire.to_client.lost = True
            begin = time.monotonic()
            answers = await asyncio.gather(
                *(other.read_one(echo(number)) for number in range(128)),
                *(other.execute([echo(number)] * 3) for number in range(128)),
                return_exceptions=True,
            )
            took = time.monotonic() - begin
            for answer in answers[:128]:
                assert isinstance(answer, CacheError)
                assert "no answer in time" in str(answer)
            for answer in answers[128:]:
                assert isinstance(answer, list)
                assert {"no answer in time" in failure.reason for failure in answer} == {True}
            wire.to_client.lost = False
            assert await other.read_one(echo(2)) == b"2"
            return took

        took = use(Settings(host="127.0.0.1", port=wire.port, tls=False, timeout=0.5), read)
        assert took >= 0.5
        # 256 callers one after the other would take two minutes.
        assert took < 30


def test_a_loop_that_is_held_up_says_nothing_about_the_node(
    server: EmbeddedValkey, cache: Cache
) -> None:
    async def read(other: AsyncCache) -> None:
        assert await other.read_one(READ) == b"text"
        reading = asyncio.create_task(other.execute([READ] * 3))
        other_reading = asyncio.create_task(other.execute([READ] * 3))
        await asyncio.sleep(0)
        time.sleep(0.5)  # noqa: ASYNC251 - an application that holds up its loop, twice the timeout
        assert await reading == await other_reading == [b"text"] * 3

    use(server.settings(timeout=0.2), read)
    assert cache.call("k", b"GET", "k") == b"text"


def test_nobody_at_the_port_is_an_error_of_the_cache_in_the_same_words() -> None:
    settings = Settings(host="127.0.0.1", port=free_port(), tls=False)
    with pytest.raises(CacheError) as expected:
        Cache(settings).read_one(READ)
    with pytest.raises(CacheError) as found:
        use(settings, lambda cache: cache.read_one(READ))
    assert str(found.value) == str(expected.value)


@pytest.mark.parametrize("host", ["a..b", "no-such-host.invalid"])
def test_a_host_that_is_none_is_an_error_of_the_cache(host: str) -> None:
    settings = Settings(host=host, port=6379, tls=False)
    with pytest.raises(CacheError, match="no connection"):
        use(settings, lambda cache: cache.read_one(READ))


def test_tls_is_spoken_and_certificates_are_verified(
    single_valkey: EmbeddedValkey, start_tls_proxy: StartTlsProxy
) -> None:
    port, ca_file = start_tls_proxy(single_valkey.port, "IP:127.0.0.1")

    async def read(cache: AsyncCache) -> Any:
        many = [echo(number) for number in range(600)]
        assert await cache.execute(many) == [b"%d" % number for number in range(600)]
        return await asyncio.gather(*(cache.read_one(echo(number)) for number in range(100)))

    settings = Settings(host="127.0.0.1", port=port, ca_file=ca_file)
    assert use(settings, read) == [b"%d" % number for number in range(100)]
    stranger = Settings(host="127.0.0.1", port=port)
    with pytest.raises(CacheError, match=r"certificate verify failed.*ELASTICACHE_CA_FILE"):
        use(stranger, lambda cache: cache.read_one(READ))


def test_a_node_without_tls_is_named_as_such(single_valkey: EmbeddedValkey) -> None:
    settings = Settings(host="127.0.0.1", port=single_valkey.port, timeout=0.3)
    with pytest.raises(CacheError) as expected:
        Cache(settings).read_one(READ)
    with pytest.raises(CacheError) as found:
        use(settings, lambda cache: cache.read_one(READ))
    assert "ELASTICACHE_TLS=false" in str(found.value)
    assert str(found.value) == str(expected.value)


@pytest.fixture
def user(single_valkey: EmbeddedValkey) -> Iterator[Callable[[str], None]]:
    """Let a user in by a password."""
    admin = Cache(single_valkey.settings())

    def admit(password: str) -> None:
        rules = ("reset", "on", f">{password}", "allkeys", "+@all")
        admin.broadcast(b"ACL", b"SETUSER", b"mirror", *rules)

    yield admit
    admin.broadcast(b"ACL", b"DELUSER", b"mirror")
    admin.close()


WHO = Command(b"k", (b"ACL", b"WHOAMI"))


def test_a_password_lets_the_user_in_and_a_wrong_one_is_named(
    single_valkey: EmbeddedValkey, user: Callable[[str], None], tmp_path: Path
) -> None:
    user("right")
    password = tmp_path / "password"
    for text, expected in (("right\n", b"mirror"), ("wrong\n", None)):
        password.write_text(text, encoding="utf-8")
        settings = single_valkey.settings(user="mirror", password_file=str(password))
        if expected:
            assert use(settings, lambda cache: cache.read_one(WHO)) == expected
        else:
            with pytest.raises(CacheError, match="refuses the user or the password"):
                use(settings, lambda cache: cache.read_one(WHO))


def test_a_password_that_was_rotated_is_read_again(
    single_valkey: EmbeddedValkey,
    user: Callable[[str], None],
    start_tls_proxy: StartTlsProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passwords = iter(["old", "new"])

    class Secrets:
        def get_secret_value(self, **_arguments: object) -> dict[str, str]:
            return {"SecretString": next(passwords)}

    secrets = Secrets()
    monkeypatch.setattr(
        "dynamirror.cache.secret.SecretPassword._environment_client", lambda _self: secrets
    )
    user("old")
    arn = "arn:aws:secretsmanager:us-east-1:000000000000:secret:cache"

    async def read(cache: AsyncCache) -> None:
        assert await cache.read_one(WHO) == b"mirror"
        user("new")  # which also cuts the connection
        assert await cache.read_one(WHO) == b"mirror"

    port, ca_file = start_tls_proxy(single_valkey.port, "IP:127.0.0.1")
    place = Settings(host="127.0.0.1", port=port, ca_file=ca_file, user="mirror", secret_arn=arn)
    use(place, read)


def test_an_iam_connection_is_replaced_before_the_cache_cuts_it(
    single_valkey: EmbeddedValkey,
    user: Callable[[str], None],
    start_tls_proxy: StartTlsProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user("token")
    monkeypatch.setattr("dynamirror.cache.iam.IamToken.sign", lambda _self: "token")
    monkeypatch.setattr("dynamirror.cache.connection_options._IAM_SESSION_SECONDS", 0.05)
    number = Command(b"k", (b"CLIENT", b"ID"))
    port, ca_file = start_tls_proxy(single_valkey.port, "IP:127.0.0.1")
    settings = Settings(
        host="127.0.0.1",
        port=port,
        ca_file=ca_file,
        user="mirror",
        iam_cache="my-cache",
        region="eu-central-1",
    )

    async def read(cache: AsyncCache) -> set[int]:
        seen: set[int] = set()
        while len(seen) < 3:
            seen.update(await asyncio.gather(*(cache.read_one(number) for _ in range(20))))
        return seen

    assert len(use(settings, read)) >= 3


def test_another_event_loop_and_a_closed_cache_are_refused_in_one_sentence(
    server: EmbeddedValkey, cache: Cache
) -> None:
    assert cache.call("k", b"GET", "k") == b"text"
    kept = AsyncCache(server.settings())

    async def read() -> Any:
        return await kept.read_one(READ)

    loop = asyncio.new_event_loop()
    try:
        assert loop.run_until_complete(read()) == b"text"
        with pytest.raises(RuntimeError, match="belong to an event loop other than the running"):
            asyncio.run(read())
        loop.run_until_complete(kept.close())
        with pytest.raises(RuntimeError, match="are closed"):
            loop.run_until_complete(read())
    finally:
        loop.close()
    with pytest.raises(RuntimeError, match="belong to an event loop that is closed"):
        asyncio.run(read())
