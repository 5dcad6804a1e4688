"""IAM: a signed token stands for the password."""

import datetime as dt
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import CredentialRetrievalError

from dynamirror.cache.authentication import credentials
from dynamirror.cache.client import Cache
from dynamirror.cache.iam import IamToken
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import CacheError
from dynamirror.settings import Settings

KEYS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
NOON = dt.datetime(2026, 1, 2, 12, tzinfo=dt.UTC).replace(tzinfo=None)
HOUR = 3600.0
StartTlsProxy = Callable[[int, str], tuple[int, str]]


class Clock:
    """Both clocks: the one that tokens are dated by, and the monotonic one."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self, remove_tzinfo: bool = True) -> dt.datetime:  # noqa: FBT001, FBT002 - botocore's
        """The time of day, as botocore asks for it."""
        assert remove_tzinfo
        return NOON + dt.timedelta(seconds=self.seconds)

    def __call__(self) -> float:
        """Monotonic seconds."""
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time stands still until it is told to go on."""
    clock = Clock()
    monkeypatch.setattr("botocore.auth.get_current_datetime", clock.now)
    return clock


def token(**changes: str) -> IamToken:
    """A token of which only what matters is said."""
    given = {"user": "mirror", "cache": "my-cache", "region": "eu-central-1"} | changes
    return IamToken(given["user"], given["cache"], given["region"], lambda: KEYS)


def query(signed: str) -> dict[str, str]:
    """The parameters of a token, each of which comes once."""
    parsed = parse_qs(urlsplit(f"http://{signed}").query, strict_parsing=True)
    assert all(len(values) == 1 for values in parsed.values())
    return {name: values[0] for name, values in parsed.items()}


def test_a_token_is_what_botocore_signs(clock: Clock) -> None:
    assert clock() == 0
    request = AWSRequest(
        "GET",
        "http://my-cache/",
        params={"Action": "connect", "User": "mirror", "ResourceType": "ServerlessCache"},
    )
    SigV4QueryAuth(KEYS, "elasticache", "eu-central-1", expires=900).add_auth(request)
    expected = str(request.url).removeprefix("http://")
    assert query(token().sign()) == query(expected)
    assert token().sign().split("?")[0] == "my-cache/"


def test_a_token_says_what_elasticache_asks_for(clock: Clock) -> None:
    assert clock() == 0
    said = query(token().sign())
    signature = said.pop("X-Amz-Signature")
    assert len(signature) == 64
    assert said == {
        "Action": "connect",
        "User": "mirror",
        "ResourceType": "ServerlessCache",
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": "AKIDEXAMPLE/20260102/eu-central-1/elasticache/aws4_request",
        "X-Amz-Date": "20260102T120000Z",
        "X-Amz-Expires": "900",
        "X-Amz-SignedHeaders": "host",
    }


def test_a_token_for_a_replication_group_names_no_type_of_resource() -> None:
    signed = IamToken("mirror", "my-group", "eu-central-1", lambda: KEYS, "node-based").sign()
    assert signed.startswith("my-group/?")
    assert "ResourceType" not in query(signed)
    settings = Settings.from_env(
        {
            "ELASTICACHE_HOST": "clustercfg.my-group.x.euc1.cache.amazonaws.com",
            "ELASTICACHE_NAME": "my-group",
            "ELASTICACHE_KIND": "node-based",
            "ELASTICACHE_USER": "mirror",
            "AWS_REGION": "eu-central-1",
        }
    )
    assert settings.kind == "node-based"
    assert Settings.from_env({**settings.to_env()}) == settings


def test_the_kind_of_the_settings_is_that_of_the_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dynamirror.cache.iam._from_environment", lambda: KEYS)
    settings = Settings(
        host="cache", iam_cache="c", user="mirror", region="eu-central-1", kind="node-based"
    )
    for kind, expected in (("node-based", False), ("serverless", True)):
        found = credentials(msgspec.structs.replace(settings, kind=kind))
        assert found is not None
        assert ("ResourceType" in query(found.password())) == expected


def test_a_token_has_no_scheme_before_it() -> None:
    assert "://" not in token().sign()


def test_the_caches_name_is_signed_in_lower_case(clock: Clock) -> None:
    assert clock() == 0
    assert token(cache="My-CACHE").sign() == token(cache="my-cache").sign()


def test_a_session_token_goes_along() -> None:
    keys = Credentials("AKIDEXAMPLE", "secret", "session/+=")
    signed = IamToken("mirror", "my-cache", "eu-central-1", lambda: keys).sign()
    assert query(signed)["X-Amz-Security-Token"] == "session/+="


def test_a_user_of_odd_letters_is_signed_whole() -> None:
    assert query(token(user="mirror &=é").sign())["User"] == "mirror &=é"


def test_credentials_that_are_not_there_are_asked_for_in_one_sentence() -> None:
    with pytest.raises(CacheError, match="no AWS credentials to sign the IAM token with"):
        IamToken("mirror", "my-cache", "eu-central-1", lambda: None).sign()


def test_credentials_that_cannot_be_had_are_an_error_of_the_cache() -> None:
    def expired() -> object:
        raise CredentialRetrievalError(provider="sso", error_msg="expired")

    with pytest.raises(CacheError, match=r"no AWS credentials .* expired"):
        IamToken("mirror", "my-cache", "eu-central-1", expired).sign()


@pytest.fixture
def iam_cache(
    single_valkey: EmbeddedValkey,
    start_tls_proxy: StartTlsProxy,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Cache]:
    """A cache whose clock is ours, and that authenticates by IAM, over TLS as it must."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS.secret_key)
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    port, ca_file = start_tls_proxy(single_valkey.port, "IP:127.0.0.1")
    settings = Settings(
        host="127.0.0.1",
        port=port,
        ca_file=ca_file,
        user="mirror",
        iam_cache="my-cache",
        region="eu-central-1",
    )
    cache = Cache(settings, clock=clock)
    yield cache
    cache.close()


@pytest.fixture
def admit(single_valkey: EmbeddedValkey) -> Iterator[Callable[[], None]]:
    """Stand in for ElastiCache: let the user in by the token of this moment, and by no other."""
    admin = Cache(single_valkey.settings())

    def admit_() -> None:
        rules = ("reset", "on", f">{token().sign()}", "allkeys", "+@all")
        admin.broadcast(b"ACL", b"SETUSER", b"mirror", *rules)

    yield admit_
    admin.broadcast(b"ACL", b"DELUSER", b"mirror")
    admin.close()


def connection(cache: Cache) -> int:
    """Who we are, and by which connection."""
    assert cache.broadcast(b"ACL", b"WHOAMI") == [b"mirror"]
    (number,) = cache.broadcast(b"CLIENT", b"ID")
    return int(number)


def test_the_token_lets_us_in(iam_cache: Cache, admit: Callable[[], None]) -> None:
    admit()
    assert connection(iam_cache)


def test_a_connection_is_kept_for_eleven_hours_and_then_made_anew_with_a_fresh_token(
    iam_cache: Cache, admit: Callable[[], None], clock: Clock
) -> None:
    admit()
    first = connection(iam_cache)
    clock.seconds = 11 * HOUR
    assert connection(iam_cache) == first
    clock.seconds = 11 * HOUR + 1
    admit()
    second = connection(iam_cache)
    assert second != first
    clock.seconds = 21 * HOUR
    assert connection(iam_cache) == second


def test_a_reconnection_that_is_refused_is_tried_again(
    iam_cache: Cache, admit: Callable[[], None], clock: Clock
) -> None:
    admit()
    first = connection(iam_cache)
    clock.seconds = 12 * HOUR  # the token of noon does not count any more
    for _ in range(2):
        with pytest.raises(CacheError, match="refuses the user or the password"):
            connection(iam_cache)
    admit()
    assert connection(iam_cache) != first


def test_missing_credentials_are_told_each_time(
    iam_cache: Cache, admit: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    admit()
    with monkeypatch.context() as patch:
        patch.setattr("dynamirror.cache.iam._from_environment", lambda: None)
        for _ in range(2):
            with pytest.raises(CacheError, match="no AWS credentials"):
                connection(iam_cache)
    assert connection(iam_cache)


def test_a_password_needs_no_reconnection(single_valkey: EmbeddedValkey, clock: Clock) -> None:
    cache = Cache(single_valkey.settings(), clock=clock)
    first = cache.broadcast(b"CLIENT", b"ID")
    clock.seconds = 1_000 * HOUR
    assert cache.broadcast(b"CLIENT", b"ID") == first
    cache.close()
