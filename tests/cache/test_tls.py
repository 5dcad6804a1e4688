"""Speaking TLS, and to nobody who cannot prove who it is."""

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.deadlines import wait_until
from tests.support.strategies import is_one_sentence
from tests.support.wire import Wire

from dynamirror.cache import tls
from dynamirror.cache.client import Cache
from dynamirror.cache.pipeline import CHUNK
from dynamirror.cache.scripts import Command
from dynamirror.cache.tls import AMAZON_ROOTS, tls_context
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import CacheError, ConfigError
from dynamirror.settings import Authorities, Settings

OpenCache = Callable[[Settings], Cache]
StartTlsProxy = Callable[[int, str], tuple[int, str]]
# A fatal internal error, in the clear. https://www.rfc-editor.org/rfc/rfc8446#section-6
_ALERT = bytes((21, 3, 3, 0, 2, 2, 80))


@pytest.mark.parametrize("authorities", ["system", "amazon"])
def test_a_certificate_of_the_authority_given_is_accepted(
    authorities: Authorities,
    single_valkey: EmbeddedValkey,
    start_tls_proxy: StartTlsProxy,
    open_cache: OpenCache,
) -> None:
    port, ca_file = start_tls_proxy(single_valkey.port, "IP:127.0.0.1")
    cache = open_cache(
        Settings(host="127.0.0.1", port=port, authorities=authorities, ca_file=ca_file)
    )
    numbers = [b"%d" % index for index in range(3 * CHUNK)]
    assert cache.execute(Command(n, (b"ECHO", n)) for n in numbers) == numbers


def test_a_tls_connection_that_was_cut_is_replaced(
    single_valkey: EmbeddedValkey, start_tls_proxy: StartTlsProxy, open_cache: OpenCache
) -> None:
    port, ca_file = start_tls_proxy(single_valkey.port, "IP:127.0.0.1")
    cache = open_cache(Settings(host="127.0.0.1", port=port, ca_file=ca_file))
    assert cache.call("k", b"ECHO", b"1") == b"1"
    direct = open_cache(single_valkey.settings())
    assert direct.broadcast(b"CLIENT", b"KILL", b"TYPE", b"normal", b"SKIPME", b"yes") != [0]

    def answers() -> bool:  # the cut reaches us through the proxy, and so a little later
        with suppress(CacheError):
            return bool(cache.call("k", b"ECHO", b"2") == b"2")
        return False

    wait_until(answers)


def test_a_read_over_a_connection_that_tls_gave_up_is_made_over_another(
    single_valkey: EmbeddedValkey, start_tls_proxy: StartTlsProxy, open_cache: OpenCache
) -> None:
    port, ca_file = start_tls_proxy(single_valkey.port, "IP:127.0.0.1")
    read = Command(b"k", (b"ECHO", b"1"))
    with Wire(port) as wire:
        cache = open_cache(Settings(host="127.0.0.1", port=wire.port, ca_file=ca_file))
        assert cache.read_one(read) == b"1"
        wire.to_client.instead = _ALERT
        assert cache.read_one(read) == b"1"
        assert wire.to_client.instead is None
        cache.close()


@pytest.mark.parametrize("authorities", ["system", "amazon"])
def test_a_certificate_of_nobody_known_is_refused(
    authorities: Authorities,
    single_valkey: EmbeddedValkey,
    start_tls_proxy: StartTlsProxy,
    open_cache: OpenCache,
) -> None:
    port, _ = start_tls_proxy(single_valkey.port, "IP:127.0.0.1")
    cache = open_cache(Settings(host="127.0.0.1", port=port, authorities=authorities))
    with pytest.raises(CacheError) as refused:
        cache.call("k", b"ECHO", b"1")
    assert str(refused.value) == (
        f"cache 127.0.0.1:{port}: no connection: certificate verify failed: self-signed "
        "certificate; name the PEM file of its authority in ELASTICACHE_CA_FILE"
    )


@pytest.mark.parametrize("authorities", ["system", "amazon"])
def test_a_certificate_for_another_host_is_refused(
    authorities: Authorities,
    single_valkey: EmbeddedValkey,
    start_tls_proxy: StartTlsProxy,
    open_cache: OpenCache,
) -> None:
    port, ca_file = start_tls_proxy(single_valkey.port, "DNS:cache.example,IP:127.0.0.2")
    cache = open_cache(
        Settings(host="127.0.0.1", port=port, authorities=authorities, ca_file=ca_file)
    )
    with pytest.raises(CacheError, match="IP address mismatch") as refused:
        cache.call("k", b"ECHO", b"1")
    assert "ELASTICACHE_CA_FILE" not in str(refused.value)


def test_a_server_that_speaks_no_tls_is_refused(
    single_valkey: EmbeddedValkey, open_cache: OpenCache
) -> None:
    cache = open_cache(single_valkey.settings(tls=True, timeout=0.2))
    with pytest.raises(CacheError) as refused:
        cache.call("k", b"ECHO", b"1")
    assert str(refused.value) == (
        f"cache 127.0.0.1:{single_valkey.port}: no TLS in time; if it has none, set "
        "ELASTICACHE_TLS=false (or --no-tls)"
    )


def test_a_server_that_answers_tls_in_the_clear_is_named(open_cache: OpenCache) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"-ERR Protocol error: invalid multibulk length\r\n")
                with suppress(ConnectionResetError):
                    connection.recv(1 << 16)

        thread = threading.Thread(target=answer)
        thread.start()
        port = server.getsockname()[1]
        cache = open_cache(Settings(host="127.0.0.1", port=port))
        with pytest.raises(CacheError) as refused:
            cache.call("k", b"ECHO", b"1")
        thread.join(30)
    assert str(refused.value) == (
        f"cache 127.0.0.1:{port}: no connection: it has no TLS; set ELASTICACHE_TLS=false (or "
        "--no-tls)"
    )


def test_a_server_that_asks_for_tls_does_not_hang_a_client_without(
    single_valkey: EmbeddedValkey, start_tls_proxy: StartTlsProxy, open_cache: OpenCache
) -> None:
    port, _ = start_tls_proxy(single_valkey.port, "IP:127.0.0.1")
    cache = open_cache(Settings(host="127.0.0.1", port=port, tls=False, timeout=0.2))
    with pytest.raises(CacheError):
        cache.call("k", b"ECHO", b"1")


def test_a_cache_lost_behind_tls_fails_what_is_asked_of_it(
    start_tls_proxy: StartTlsProxy, open_cache: OpenCache
) -> None:
    with EmbeddedValkey(cluster=False) as server:
        port, ca_file = start_tls_proxy(server.port, "IP:127.0.0.1")
        cache = open_cache(Settings(host="127.0.0.1", port=port, ca_file=ca_file))
        assert cache.call("k", b"ECHO", b"1") == b"1"
    for _ in range(3):
        with pytest.raises(CacheError):
            cache.call("k", b"ECHO", b"2")


@pytest.mark.parametrize("authorities", ["system", "amazon"])
def test_the_authority_of_a_file_is_trusted_in_addition(
    authorities: Authorities, single_valkey: EmbeddedValkey, start_tls_proxy: StartTlsProxy
) -> None:
    _, ca_file = start_tls_proxy(single_valkey.port, "IP:127.0.0.1")
    own = ssl.PEM_cert_to_DER_cert(Path(ca_file).read_text(encoding="ascii"))
    without, added = (
        {*tls_context(authorities, path).get_ca_certs(binary_form=True)} for path in (None, ca_file)
    )
    assert own not in without
    assert added == {*without, own}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "is not a PEM file of certificates"),
        (b"no certificate", "is not a PEM file of certificates"),
        (
            b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
            "is not a PEM file of certificates",
        ),
        (AMAZON_ROOTS.read_bytes()[:-200], "is not a PEM file of certificates"),
    ],
    ids=["missing", "empty", "text", "malformed", "cut off"],
)
def test_a_file_without_authorities_is_named_in_one_sentence(
    content: bytes | None, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        Cache(Settings(host="cache", ca_file=str(path)))
    assert str(refused.value) == f"ELASTICACHE_CA_FILE: {path} {reason}"
    assert is_one_sentence(refused.value)
    monkeypatch.setattr(tls, "AMAZON_ROOTS", path)
    with pytest.raises(ConfigError) as refused:
        Cache(Settings(host="cache", authorities="amazon"))
    assert str(refused.value) == f"ELASTICACHE_CA: {path} {reason}"
