"""IAM authentication, where a token signed with AWS credentials replaces the password.

https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/auth-iam.html
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import msgspec

from dynamirror.errors import CacheError
from dynamirror.settings import CacheKind

_VALID_SECONDS = 900


class IamToken(msgspec.Struct, frozen=True):
    """Signs tokens for one user of one cache.

    Args:
        user: the user id and user name, which must be equal for IAM.
        cache: the name of the serverless cache, or the id of the replication group.
        region: the cache's region.
        credentials: returns botocore credentials; None for those of the environment.
        kind: what the cache is; tokens for nodes do not name a type of resource.
    """

    user: str
    cache: str
    region: str
    credentials: Callable[[], Any] | None = None
    kind: CacheKind = "serverless"

    def sign(self) -> str:
        """Return a token that is valid for 15 minutes, signed without network access.

        Raises:
            CacheError: there are no AWS credentials.
        """
        # botocore takes 110 ms to import: only IAM authentication pays for it.
        from botocore.auth import SigV4QueryAuth  # noqa: PLC0415
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415

        try:
            credentials = self.credentials() if self.credentials else _from_environment()
        except BotoCoreError as error:
            raise CacheError(f"no AWS credentials to sign the IAM token with: {error}") from error
        if credentials is None:
            raise CacheError("no AWS credentials to sign the IAM token with; set them up")
        query = {"Action": "connect", "User": self.user}
        if self.kind == "serverless":
            query["ResourceType"] = "ServerlessCache"
        # AWS expects the cache's name in lower case.
        request = AWSRequest("GET", f"http://{self.cache.lower()}/?{urlencode(query)}")
        SigV4QueryAuth(credentials, "elasticache", self.region, expires=_VALID_SECONDS).add_auth(
            request
        )
        return str(request.url).removeprefix("http://")


def _from_environment() -> Any:
    from botocore.session import Session  # noqa: PLC0415

    return Session().get_credentials()
