"""Questions to the AWS account, with short timeouts."""

from functools import cache
from typing import Any, Final

from dynamirror.dynamodb.client import Aws, aws_errors, error_code
from dynamirror.errors import SourceError
from dynamirror.preflight.report import Check, Place

_TIMEOUT_SECONDS: Final = 2.0
_DENIED: Final = frozenset(
    {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError"}
)
_MISSING: Final = ("NotFound", "NoSuchEntity", "does not exist")


class MissingError(SourceError):
    """AWS answered that there is no such thing."""


class Account:
    """Ask AWS about what a deployment needs.

    Args:
        aws: creates the clients.
    """

    def __init__(self, aws: Aws) -> None:
        shared = aws.shared()
        self._client = cache(lambda name: shared.client(name, read_timeout=_TIMEOUT_SECONDS))
        self.id = ""

    @property
    def region(self) -> str:
        """Return the region of the session."""
        return str(self._client("dynamodb").meta.region_name)

    def client(self, service: str) -> Any:
        """Return boto3's client of a service."""
        return self._client(service)

    def ask(self, service: str, operation: str, **arguments: Any) -> Any:
        """Return AWS's answer.

        Raises:
            MissingError: there is no such thing.
            SourceError: AWS refused, or cannot be reached.
        """
        try:
            with aws_errors(f"{service}:{operation}"):
                return getattr(self._client(service), operation)(**arguments)
        except SourceError as error:
            text = f"{error_code(error.__cause__)} {error}"
            if any(word in text for word in _MISSING):
                raise MissingError(str(error)) from error
            raise

    def identify(self) -> None:
        """Find out the number of the account.

        Raises:
            SourceError: AWS does not accept the credentials, or cannot be reached.
        """
        self.id = str(self.ask("sts", "get_caller_identity")["Account"])


def unanswered(place: Place, what: str, error: SourceError) -> Check:
    """Return a check that AWS did not answer, with the permission that is missing."""
    if error_code(error.__cause__) in _DENIED:
        operation = str(error).partition(": ")[0]
        return place.unknown(
            what, "no permission to check it", f"allow {_action(operation)}, or check it yourself"
        )
    return place.unknown(what, f"could not be checked: {error}", "try again")


def _action(operation: str) -> str:
    """Return the IAM action of `service:operation`."""
    service, _, words = operation.partition(":")
    prefix = {"dynamodbstreams": "dynamodb"}.get(service, service)
    return f"{prefix}:{''.join(word.title() for word in words.split('_'))}"
