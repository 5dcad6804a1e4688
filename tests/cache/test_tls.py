"""Speaking TLS, and to nobody who cannot prove who it is."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from tests.support.deadlines import wait_until
from tests.support.wire import Wire

from dynamirror.cache.client import Cache
from dynamirror.cache.pipeline import CHUNK
from dynamirror.cache.scripts import Command
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import CacheError
from dynamirror.settings import Settings

OpenCache = Callable[[Settings], Cache]
StartTlsProxy = Callable[[int, str], tuple[int, str]]
# A fatal internal error, in the clear. https://www.rfc-editor.org/rfc/rfc8446#section-6
_ALERT = bytes((21, 3, 3, 0, 2, 2, 80))


def test_a_certificate_of_the_authority_given_is_accepted(
    single_valkey: EmbeddedValkey, start_tls_proxy: StartTlsProxy, open_cache: OpenCache
) -> None:
    port, ca_file = start_tls_proxy(single_valkey.port, "IP:127.0.0.1")
    cache = open_cache(Settings(host="127.0.0.1", port=port, ca_file=ca_file))
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


def test_a_certificate_of_nobody_known_is_refused(
    single_valkey: EmbeddedValkey, start_tls_proxy: StartTlsProxy, open_cache: OpenCache
) -> None:
    port, _ = start_tls_proxy(single_valkey.port, "IP:127.0.0.1")
    cache = open_cache(Settings(host="127.0.0.1", port=port))
    with pytest.raises(CacheError, match=f"127.0.0.1:{port}: .*certificate verify failed"):
        cache.call("k", b"ECHO", b"1")


def test_a_certificate_for_another_host_is_refused(
    single_valkey: EmbeddedValkey, start_tls_proxy: StartTlsProxy, open_cache: OpenCache
) -> None:
    port, ca_file = start_tls_proxy(single_valkey.port, "DNS:cache.example,IP:127.0.0.2")
    cache = open_cache(Settings(host="127.0.0.1", port=port, ca_file=ca_file))
    with pytest.raises(CacheError, match="IP address mismatch"):
        cache.call("k", b"ECHO", b"1")


def test_a_server_that_speaks_no_tls_is_refused(
    single_valkey: EmbeddedValkey, open_cache: OpenCache
) -> None:
    cache = open_cache(single_valkey.settings(tls=True, timeout=0.2))
    with pytest.raises(CacheError, match=f"cache 127.0.0.1:{single_valkey.port}: no "):
        cache.call("k", b"ECHO", b"1")


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
