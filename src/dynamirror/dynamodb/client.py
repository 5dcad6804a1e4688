"""AWS clients, the description of a table, and AWS errors as one sentence."""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
)
from botocore.parsers import ResponseParserError

from dynamirror.errors import ConfigError, SourceError
from dynamirror.records.stream_record import check_view_type
from dynamirror.views.view import Schema

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodbstreams import DynamoDBStreamsClient


_CREATING = threading.Lock()
_READ_TIMEOUT = 10.0
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_ENDPOINTS = ("AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL")
_LOCAL_REGION = "us-east-1"
_LOCAL_CREDENTIALS = ("local", "local")
_NO_PROFILE: Any = {"profile": (None, None, None, None)}


@dataclass(frozen=True, slots=True)
class Aws:
    """Creates the clients of AWS services.

    Args:
        region: AWS region; None for the environment's.
        endpoint_url: URL of every service; None for AWS.
        credentials: access key and secret; None for the environment's.
        session: creates the clients, with its own credentials; None for a new one each.
    """

    region: str | None = None
    endpoint_url: str | None = None
    credentials: tuple[str, str] | None = None
    session: boto3.Session | None = None

    @classmethod
    def from_env(cls, endpoint_url: str | None = None) -> "Aws":
        """Return the environment's AWS; an endpoint on this machine needs no credentials or region.

        Args:
            endpoint_url: URL of every service; None for that of AWS_ENDPOINT_URL_DYNAMODB or
                AWS_ENDPOINT_URL, or else AWS.

        Raises:
            ConfigError: the URL is wrong.
            SourceError: the profile that AWS_PROFILE names cannot be read.
        """
        # Of the two variables, boto3 prefers the first.
        named = {"--endpoint-url": endpoint_url} | {
            name: os.environ.get(name) for name in _ENDPOINTS
        }
        source, url = next(((name, url) for name, url in named.items() if url), ("", ""))
        if not url:
            return cls()
        try:
            parts = urlsplit(url)
            is_complete = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError:  # a wrong bracket or port
            is_complete = False
        if not is_complete:
            raise ConfigError(f"{source}: {url} is not an address like http://127.0.0.1:4566")
        if "@" in parts.netloc:  # what is before it may be a password, which no sentence repeats
            raise ConfigError(f"{source}: must be an address without a user and a password")
        if parts.hostname not in _LOOPBACK:
            return cls(endpoint_url=endpoint_url)  # boto3 itself reads the variables
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if not any(map(os.environ.get, ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"))):
            return cls(region or _LOCAL_REGION, endpoint_url, _LOCAL_CREDENTIALS)
        with aws_errors("AWS_PROFILE"):
            return cls(region or boto3.Session().region_name or _LOCAL_REGION, endpoint_url)

    def shared(self) -> "Aws":
        """Return the same AWS, whose clients share one session and so load quickly.

        Raises:
            SourceError: the profile that AWS_PROFILE names cannot be read.
        """
        with aws_errors("AWS_PROFILE"):
            return replace(self, session=self._session())

    def dynamodb(self) -> "DynamoDBClient":
        """Return a new client of DynamoDB."""
        with aws_errors("DynamoDB"):
            client: DynamoDBClient = self._create("dynamodb")
            return client

    def streams(self) -> "DynamoDBStreamsClient":
        """Return a new client of DynamoDB Streams."""
        with aws_errors("DynamoDB Streams"):
            client: DynamoDBStreamsClient = self._create("dynamodbstreams")
            return client

    def client(self, service: str, *, read_timeout: float = _READ_TIMEOUT) -> Any:
        """Return a new client of a service; only one with the default timeout retries."""
        with aws_errors(service):
            return self._create(service, read_timeout)

    def has_credentials(self) -> bool:
        """Return whether there are credentials; they may have expired.

        Raises:
            SourceError: the profile that AWS_PROFILE names cannot be read.
        """
        with aws_errors("AWS_PROFILE"):
            return self._session().get_credentials() is not None

    def _create(self, service: str, read_timeout: float = _READ_TIMEOUT) -> Any:
        # boto3's sessions may not be used by several threads at once.
        with _CREATING if self.session is not None else nullcontext():
            make: Any = self._session().client
            return make(service, **self._options(read_timeout))

    def _session(self) -> boto3.Session:
        if self.session is not None:
            return self.session
        key, secret = self.credentials or (None, None)
        return boto3.Session(
            # Credentials of our own need no profile, and the environment's may not exist here.
            botocore_session=botocore.session.Session(_NO_PROFILE) if self.credentials else None,
            # boto3 itself reads AWS_DEFAULT_REGION only.
            region_name=self.region or os.environ.get("AWS_REGION") or None,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
        )

    def _options(self, read_timeout: float = _READ_TIMEOUT) -> dict[str, Any]:
        # botocore itself retries throttling and transient errors, with backoff.
        attempts = 4 if read_timeout == _READ_TIMEOUT else 1
        config = Config(
            connect_timeout=min(3.0, read_timeout),
            read_timeout=read_timeout,
            retries={"mode": "standard", "total_max_attempts": attempts},
            tcp_keepalive=True,
        )
        if self.endpoint_url and urlsplit(self.endpoint_url).hostname in _LOOPBACK:
            # These are about AWS's own endpoints; boto3 refuses them beside another.
            own = Config(use_fips_endpoint=False, use_dualstack_endpoint=False)
            config = config.merge(own)
        return {"endpoint_url": self.endpoint_url, "config": config}


@contextmanager
def aws_errors(what: str) -> Iterator[None]:
    """Turn an exception of boto3 into one sentence.

    Args:
        what: the subject of the sentence.

    Raises:
        SourceError: boto3 raised an exception.
    """
    try:
        yield
    except NoCredentialsError:
        raise SourceError(
            f"{what}: no AWS credentials found; set AWS_PROFILE or AWS_ACCESS_KEY_ID, or log in"
        ) from None
    except NoRegionError:
        raise SourceError(f"{what}: no AWS region is set; set AWS_REGION") from None
    except EndpointConnectionError as error:
        url = _masked(error.kwargs["endpoint_url"])
        raise SourceError(f"{what}: cannot be reached at {url}") from None
    except ClientError as error:
        raise SourceError(f"{what}: {_message(error)}") from error
    except (KeyError, ResponseParserError) as error:
        # For an unreadable answer boto3 returns an empty one, or raises an error whose text quotes
        # the answer with its items.
        raise SourceError(f"{what}: an answer was damaged on its way") from error
    except (BotoCoreError, ValueError) as error:
        raise SourceError(f"{what}: {' '.join(_masked(str(error)).split())}") from error


def _masked(text: str) -> str:
    """Return a text without what may be a user and a password in a URL."""
    return re.sub(r"//[^/\s]*@", "//***@", text)


def error_code(error: BaseException | None) -> str:
    """Return the error code of an AWS error, or an empty string."""
    return str(error.response["Error"]["Code"]) if isinstance(error, ClientError) else ""


def _message(error: ClientError) -> str:
    code, text = error.response["Error"].get("Code", "?"), error.response["Error"].get("Message")
    match code:
        case "ResourceNotFoundException":
            return "it does not exist in this account and region; check the name and AWS_REGION"
        case "UnrecognizedClientException" | "InvalidSignatureException" | "ExpiredTokenException":
            return f"AWS does not accept the credentials ({code}); renew them"
        case _:
            return f"{code}: {text}"


@dataclass(frozen=True, slots=True)
class Table:
    """A table that can feed a mirror.

    Args:
        schema: the name and the key attributes.
        stream_arn: the ARN of the enabled stream, which carries new images.
        view_type: the stream's view type.
    """

    schema: Schema
    stream_arn: str
    view_type: str


def describe_schema(client: "DynamoDBClient", name: str) -> tuple[Schema, Any]:
    """Return a table's key attributes, and the whole description by AWS.

    Raises:
        SourceError: the table cannot be described.
    """
    with aws_errors(f"table {name}"):
        description = client.describe_table(TableName=name)["Table"]
    return schema_of(name, description), description


def schema_of(name: str, description: Any) -> Schema:
    """Return the key attributes in a table's description by AWS, and those of its indexes."""
    kinds = {key["KeyType"]: key["AttributeName"] for key in description["KeySchema"]}
    keys = tuple(kinds[kind] for kind in ("HASH", "RANGE") if kind in kinds)
    known = description.get("AttributeDefinitions", ())
    types = {attribute["AttributeName"]: attribute["AttributeType"] for attribute in known}
    return Schema(
        name,
        keys,
        tuple(types[key] for key in keys),
        tuple((other, tag) for other, tag in types.items() if other not in keys),
        tuple(index["IndexName"] for index in description.get("LocalSecondaryIndexes", ())),
    )


def describe_table(client: "DynamoDBClient", name: str) -> Table:
    """Return a table after checking that its stream can feed a mirror.

    Raises:
        SourceError: the table cannot be described.
        ConfigError: the stream is off or carries no new images.
    """
    schema, description = describe_schema(client, name)
    stream = description.get("StreamSpecification", {})
    if not stream.get("StreamEnabled"):
        raise ConfigError(
            f"the stream of table {name} is off; switch it on with "
            "StreamViewType=NEW_AND_OLD_IMAGES"
        )
    check_view_type(stream.get("StreamViewType"), name)
    return Table(schema, description["LatestStreamArn"], stream["StreamViewType"])
