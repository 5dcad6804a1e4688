"""IAM authentication: a token signed with the caller's AWS credentials stands for the password.

https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/auth-iam.html
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from dynamirror.errors import CacheError

_VALID_SECONDS = 900


@dataclass(frozen=True, slots=True)
class IamToken:
    """Signs tokens for one user of one serverless cache.

    Args:
        user: user id and user name, which must be equal for IAM.
        cache: the cache's name.
        region: its region.
        credentials: gives botocore credentials; default those of the environment.
    """

    user: str
    cache: str
    region: str
    credentials: Callable[[], Any] | None = None

    def sign(self) -> str:
        """Make a token, valid for 15 minutes; needs no network.

        Raises:
            CacheError: there are no AWS credentials to sign with.
        """
        # botocore takes 110 ms to import, so only those pay who authenticate by IAM.
        from botocore.auth import SigV4QueryAuth  # noqa: PLC0415
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415

        try:
            credentials = self.credentials() if self.credentials else _from_environment()
        except BotoCoreError as error:
            raise CacheError(f"no AWS credentials to sign the IAM token with: {error}") from error
        if credentials is None:
            raise CacheError("no AWS credentials to sign the IAM token with; set them up")
        query = {"Action": "connect", "User": self.user, "ResourceType": "ServerlessCache"}
        # The cache's name is signed in lower case, whatever its case is.
        request = AWSRequest("GET", f"http://{self.cache.lower()}/?{urlencode(query)}")
        SigV4QueryAuth(credentials, "elasticache", self.region, expires=_VALID_SECONDS).add_auth(
            request
        )
        return str(request.url).removeprefix("http://")


def _from_environment() -> Any:
    from botocore.session import Session  # noqa: PLC0415

    return Session().get_credentials()
