"""A password in Secrets Manager: read when a connection begins, and again after a rotation."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import boto3
import pytest
from tests.support.strategies import is_one_sentence

from dynamirror.cache.client import Cache
from dynamirror.cache.secret import SecretPassword
from dynamirror.emulators.ministack import start_ministack
from dynamirror.emulators.process import HOST
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import CacheError, ConfigError
from dynamirror.settings import Settings

StartTlsProxy = Callable[[int, str], tuple[int, str]]
REGION = "eu-west-1"
ABSENT = f"arn:aws:secretsmanager:{REGION}:000000000000:secret:absent-AbCdEf"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Secrets Manager on this machine."""
    server = start_ministack("secretsmanager")
    yield f"http://{HOST}:{server.port}"
    server.stop()


class Manager:
    """Secrets Manager, which counts how often a secret is read."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.reads = 0
        client.meta.events.register("before-call.secrets-manager.GetSecretValue", self._count)

    def _count(self, **_: object) -> None:
        self.reads += 1

    def create(self, text: str) -> str:
        """Create a secret, and return its ARN."""
        name = f"cache-{len(self.client.list_secrets()['SecretList'])}"
        return str(self.client.create_secret(Name=name, SecretString=text)["ARN"])

    def rotate(self, arn: str, text: str) -> None:
        """Replace what a secret holds."""
        self.client.put_secret_value(SecretId=arn, SecretString=text)


@pytest.fixture
def manager(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Manager:
    """Secrets Manager, to which the environment leads."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    manager = Manager(boto3.client("secretsmanager", region_name=REGION))
    # What the cache connects with is counted, too.
    monkeypatch.setattr(SecretPassword, "_environment_client", lambda _: manager.client)
    return manager


@pytest.fixture
def admin(single_valkey: EmbeddedValkey) -> Iterator[Cache]:
    """The server without limits."""
    admin = Cache(single_valkey.settings())
    yield admin
    admin.broadcast(b"ACL", b"DELUSER", b"mirror")
    admin.close()


def admit(admin: Cache, *passwords: str) -> None:
    """Let the user in with these passwords only."""
    rules = ("reset", "on", *(f">{password}" for password in passwords), "allkeys", "+@all")
    admin.broadcast(b"ACL", b"SETUSER", b"mirror", *rules)


@pytest.fixture
def connect(
    single_valkey: EmbeddedValkey, start_tls_proxy: StartTlsProxy
) -> Iterator[Callable[[str], Cache]]:
    """Make caches whose user's password is in a secret."""
    port, ca_file = start_tls_proxy(single_valkey.port, "IP:127.0.0.1")
    caches: list[Cache] = []

    def connect_(arn: str) -> Cache:
        settings = Settings(host=HOST, port=port, ca_file=ca_file, user="mirror", secret_arn=arn)
        caches.append(Cache(settings))
        return caches[-1]

    yield connect_
    for cache in caches:
        cache.close()


@pytest.mark.parametrize(
    "write", [str, lambda text: json.dumps({"username": "mirror", "password": text})]
)
def test_the_password_is_the_secret_or_its_field(
    write: Callable[[str], str],
    manager: Manager,
    admin: Cache,
    connect: Callable[[str], Cache],
) -> None:
    admit(admin, "first")
    cache = connect(manager.create(write("first")))
    assert manager.reads == 0  # nothing connects yet
    for _ in range(2):
        assert cache.broadcast(b"ACL", b"WHOAMI") == [b"mirror"]
        cache.close()
    assert manager.reads == 1


def test_a_rotated_password_is_read_again_by_the_connection_that_is_refused(
    manager: Manager, admin: Cache, connect: Callable[[str], Cache]
) -> None:
    admit(admin, "first")
    arn = manager.create("first")
    cache = connect(arn)
    assert cache.broadcast(b"ACL", b"WHOAMI") == [b"mirror"]
    manager.rotate(arn, "second")
    admit(admin, "second")
    cache.close()  # a connection that is open stays valid
    assert cache.broadcast(b"ACL", b"WHOAMI") == [b"mirror"]
    assert manager.reads == 2


def test_a_password_that_stays_wrong_is_refused_in_one_sentence_and_heals_later(
    manager: Manager, admin: Cache, connect: Callable[[str], Cache]
) -> None:
    admit(admin, "other")
    arn = manager.create("first")
    cache = connect(arn)
    for _ in range(2):
        with pytest.raises(CacheError, match=r"refuses the user or the password[^\n]+$") as caught:
            cache.broadcast(b"PING")
        assert "first" not in str(caught.value)
    manager.rotate(arn, "other")
    assert cache.broadcast(b"PING") == [b"PONG"]


def test_connections_that_are_refused_together_read_the_secret_once(
    manager: Manager, admin: Cache, connect: Callable[[str], Cache]
) -> None:
    admit(admin, "first")
    arn = manager.create("first")
    cache = connect(arn)
    assert cache.broadcast(b"PING") == [b"PONG"]
    manager.rotate(arn, "second")
    admit(admin, "second")
    cache.close()  # a connection that is open stays valid
    barrier = Barrier(4)
    answers_: list[list[bytes]] = []

    def ping() -> None:
        barrier.wait(10)
        answers_.append(cache.broadcast(b"PING"))

    threads = [Thread(target=ping) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert answers_ == [[b"PONG"]] * 4
    assert manager.reads == 2


@pytest.mark.parametrize("text", ["{}", '{"password": 7}', '{"password": ""}', " "])
def test_a_secret_without_a_password_is_named_in_one_sentence(
    text: str, manager: Manager, connect: Callable[[str], Cache]
) -> None:
    arn = manager.create(text)
    with pytest.raises(CacheError, match="holds no password") as caught:
        connect(arn).broadcast(b"PING")
    assert arn in str(caught.value)
    assert is_one_sentence(caught.value)


def test_a_secret_that_is_not_there_is_named_with_the_remedy(
    manager: Manager, connect: Callable[[str], Cache]
) -> None:
    with pytest.raises(CacheError, match="; set ELASTICACHE_SECRET_ARN to the ARN") as caught:
        connect(ABSENT).broadcast(b"PING")
    assert ABSENT in str(caught.value)
    assert is_one_sentence(caught.value)
    assert manager.reads == 1


def test_the_environment_leads_to_secrets_manager_of_the_secret_s_region(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    arn = Manager(boto3.client("secretsmanager", region_name=REGION)).create("by environment")
    assert SecretPassword(arn).read() == "by environment"


def test_a_secret_excludes_other_ways_and_needs_tls() -> None:
    variables = {"ELASTICACHE_HOST": "cache", "ELASTICACHE_SECRET_ARN": ABSENT}
    with pytest.raises(ConfigError, match=r"^environment: ELASTICACHE_PASS.+ exclude"):
        Settings.from_env({**variables, "ELASTICACHE_PASSWORD_FILE": "password"})
    for name, value, sentence in (
        ("SECRET_ARN", "cache", "must be an ARN like .+:NAME$"),
        ("KIND", "nodes", "'nodes' is not one of serverless, node-based"),
    ):
        with pytest.raises(ConfigError, match=f"^environment: ELASTICACHE_{name}:? {sentence}"):
            Settings.from_env({**variables, f"ELASTICACHE_{name}": value})
    with pytest.raises(ConfigError, match="needs TLS"):
        Settings.from_env({**variables, "ELASTICACHE_TLS": "false"})
