"""A password in a file: read at the start, and again where the cache refuses it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dynamirror.cache.client import Cache
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import CacheError, ConfigError
from dynamirror.settings import Settings

OpenCache = Callable[[Settings], Cache]


@pytest.fixture
def admin(single_valkey: EmbeddedValkey) -> Iterator[Cache]:
    """The server without limits."""
    admin = Cache(single_valkey.settings())
    yield admin
    admin.broadcast(b"ACL", b"DELUSER", b"mirror")
    admin.close()


def admit(admin: Cache, password: str) -> None:
    """Let the user in with this password only."""
    rules = ("reset", "on", f">{password}", "allkeys", "+@all")
    admin.broadcast(b"ACL", b"SETUSER", b"mirror", *rules)


def test_a_replaced_password_needs_no_restart(
    single_valkey: EmbeddedValkey, admin: Cache, open_cache: OpenCache, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("first\n", encoding="utf-8")
    admit(admin, "first")
    cache = open_cache(single_valkey.settings(user="mirror", password_file=str(file)))

    def who() -> list[object]:
        cache.close()  # a connection that is open stays valid
        return cache.broadcast(b"ACL", b"WHOAMI")

    assert who() == [b"mirror"]
    file.write_text("second\n", encoding="utf-8")
    assert who() == [b"mirror"], "the file was changed before the cache"
    admit(admin, "second")
    assert who() == [b"mirror"]
    admit(admin, "third")
    with pytest.raises(CacheError, match="refuses the user or the password"):
        who()
    file.unlink()
    with pytest.raises(CacheError, match="refuses the user or the password"):
        who()
    file.write_text("third\r\n", encoding="utf-8")
    assert who() == [b"mirror"], "the cache was changed before the file"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"\xff\xfe", "cannot be read: not UTF-8 text"),
        (b"\n", "is empty"),
    ],
)
def test_a_file_without_a_password_is_named(
    content: bytes | None, reason: str, open_cache: OpenCache, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=f"^ELASTICACHE_PASSWORD_FILE: {file}: {reason}$"):
        open_cache(Settings(host="127.0.0.1", password_file=str(file)))
