"""A password that Secrets Manager holds."""

from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import Any, Final

import msgspec

from dynamirror.errors import CacheError

_REGION: Final = 3  # in arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME
_TIMEOUT_SECONDS: Final = 5
# By the code of the error.
_REMEDIES: Final = {
    "AccessDeniedException": "; allow secretsmanager:GetSecretValue on it",
    "ResourceNotFoundException": "; set ELASTICACHE_SECRET_ARN to the ARN of a secret",
}


class SecretPassword:
    """Reads a password from Secrets Manager, and keeps it in memory.

    A rotation leaves a cache without a password that is valid: `read_again` replaces it.

    Args:
        arn: ARN of the secret, whose text is the password, or JSON with a field `password`.
        client: returns a client of Secrets Manager; None for one of the environment.
    """

    def __init__(self, arn: str, client: Callable[[], Any] | None = None) -> None:
        self._arn = arn
        self._make_client = client or self._environment_client
        self._client: Any = None
        self._password: str | None = None
        self._lock = Lock()

    def read(self) -> str:
        """Return the password, from memory if it was read before.

        Raises:
            CacheError: Secrets Manager refuses, or the secret holds no password.
        """
        with self._lock:
            if self._password is None:
                self._password = self._fetch()
            return self._password

    def read_again(self, refused: str) -> str:
        """Return the password that Secrets Manager holds now.

        Args:
            refused: password that the cache refused.

        Raises:
            CacheError: as `read`.
        """
        with self._lock:
            if self._password == refused:  # else another thread has just read it again
                self._password = self._fetch()
            assert self._password is not None
            return self._password

    def _fetch(self) -> str:
        # botocore takes 110 ms to import: only a secret pays for it.
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            if self._client is None:
                self._client = self._make_client()
            answer = self._client.get_secret_value(SecretId=self._arn)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            raise CacheError(
                f"Secrets Manager refuses to return {self._arn}: {code}{_REMEDIES.get(code, '')}"
            ) from error
        except BotoCoreError as error:
            raise CacheError(
                f"Secrets Manager cannot be reached for {self._arn}: {error}; subnets without NAT "
                "need an interface endpoint for secretsmanager"
            ) from error
        return _password(answer.get("SecretString") or "", self._arn)

    def _environment_client(self) -> Any:
        from botocore.config import Config  # noqa: PLC0415 - as above
        from botocore.session import Session  # noqa: PLC0415

        limits = Config(
            connect_timeout=_TIMEOUT_SECONDS,
            read_timeout=_TIMEOUT_SECONDS,
            retries={"total_max_attempts": 2},
        )
        region = self._arn.split(":")[_REGION]
        return Session().create_client("secretsmanager", region_name=region, config=limits)


def _password(text: str, arn: str) -> str:
    password: Any = text.strip()
    if text.lstrip().startswith("{"):
        with suppress(msgspec.DecodeError):  # a password may begin with a brace
            password = msgspec.json.decode(text, type=dict[str, Any]).get("password")
    if not isinstance(password, str) or not password:
        raise CacheError(
            f"the secret {arn} holds no password; it must be text, or JSON with a field `password`"
        )
    return password
