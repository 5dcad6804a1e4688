"""A reader is made from the environment, and finds an endpoint on this machine by itself."""

import asyncio
import os

import pytest
from tests.support.mirrored import MakeMirrored, Mirrored, source_of

from dynamirror import AsyncReader, Reader
from dynamirror.dynamodb.client import Aws
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.errors import ConfigError


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Remove every variable that a reader reads, and hide the files of the AWS CLI."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "ELASTICACHE_", "DYNAMIRROR_", "DYNAMODB_")):
            monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


@pytest.fixture
def world(make: MakeMirrored, dynamodb: EmbeddedDynamoDB, clean: pytest.MonkeyPatch) -> Mirrored:
    """A table of two items, of which the cache has one, and an environment that names both."""
    world = make()
    world.put({"id": "1", "name": "Ada"}, {"id": "2", "name": "Eve"})
    world.mirror({"id": "1"})
    for name, value in world.settings.to_env().items():
        clean.setenv(name, value)
    clean.setenv("AWS_ENDPOINT_URL", dynamodb.endpoint_url)
    clean.setenv("DYNAMODB_TABLE", world.name)
    return world


@pytest.mark.usefixtures("world")
def test_a_reader_of_the_environment_reads_both_without_region_and_credentials() -> None:
    with Reader.from_env() as reader:
        answers = [reader.get_item(Key={"id": item_id}) for item_id in "12"]
    assert [answer["Item"]["name"] for answer in answers] == ["Ada", "Eve"]
    assert list(map(source_of, answers)) == ["cache", "table"]


@pytest.mark.usefixtures("world")
def test_an_asynchronous_reader_of_the_environment_reads_both() -> None:
    async def read() -> list[dict[str, object]]:
        async with await AsyncReader.from_env(view="default", threads=2) as reader:
            return [await reader.get_item(Key={"id": item_id}) for item_id in "12"]

    assert list(map(source_of, asyncio.run(read()))) == ["cache", "table"]


def test_a_reader_of_settings_needs_neither_region_nor_credentials(world: Mirrored) -> None:
    with Reader(world.settings, world.name) as reader:
        assert reader.get_item(Key={"id": "2"})["Item"] == {"id": "2", "name": "Eve"}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ("us-east-1", ("local", "local"))),
        ({"AWS_REGION": "eu-west-1"}, ("eu-west-1", ("local", "local"))),
        ({"AWS_ACCESS_KEY_ID": "mine"}, ("us-east-1", None)),
        ({"AWS_ACCESS_KEY_ID": "mine", "AWS_DEFAULT_REGION": "eu-west-1"}, ("eu-west-1", None)),
    ],
)
def test_what_the_environment_names_goes_before_what_is_assumed(
    clean: pytest.MonkeyPatch, variables: dict[str, str], expected: tuple[str, object]
) -> None:
    for name, value in variables.items():
        clean.setenv(name, value)
    aws = Aws.from_env("http://127.0.0.1:4566")
    assert (aws.region, aws.credentials) == expected


@pytest.mark.usefixtures("clean")
def test_an_endpoint_elsewhere_gets_nothing_assumed() -> None:
    url = "https://dynamodb.example.com"
    assert Aws.from_env(url) == Aws(endpoint_url=url)
    assert Aws.from_env() == Aws()


def test_an_endpoint_of_dynamodb_goes_before_that_of_every_service(
    clean: pytest.MonkeyPatch,
) -> None:
    """As in boto3; on this machine, it needs neither region nor credentials, either."""
    clean.setenv("AWS_ENDPOINT_URL", "https://elsewhere.example.com")
    clean.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:4566")
    client = Aws.from_env().dynamodb()
    assert client.meta.endpoint_url == "http://127.0.0.1:4566"
    assert client.meta.region_name == "us-east-1"
    clean.delenv("AWS_ENDPOINT_URL_DYNAMODB")
    clean.setenv("AWS_REGION", "eu-west-1")
    assert Aws.from_env().dynamodb().meta.endpoint_url == "https://elsewhere.example.com"


@pytest.mark.parametrize("name", ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"])
def test_a_server_on_this_machine_needs_no_profile(clean: pytest.MonkeyPatch, name: str) -> None:
    """Of a shell with the profile of another machine; boto3 refuses FIPS beside an endpoint."""
    clean.setenv(name, "nowhere")
    clean.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    url = "http://127.0.0.1:4566"
    aws = Aws("us-east-1", url, ("local", "local")).shared()
    assert aws.dynamodb().meta.endpoint_url == url


@pytest.mark.usefixtures("clean")
def test_a_table_that_nobody_names_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match=r"^no table is named; pass its name or set"):
        Reader.from_env()


def test_a_wrong_endpoint_in_the_environment_is_named(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("AWS_ENDPOINT_URL", "nonsense")
    with pytest.raises(ConfigError, match=r"^AWS_ENDPOINT_URL: nonsense is not an address"):
        Aws.from_env()
