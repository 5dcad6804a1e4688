"""How a connection authenticates: with an IAM token, a password, or not at all."""

from pathlib import Path

from dynamirror.cache.connection import Credentials
from dynamirror.cache.iam import IamToken
from dynamirror.cache.secret import SecretPassword
from dynamirror.errors import ConfigError
from dynamirror.settings import Settings


def credentials(settings: Settings) -> Credentials | None:
    """Return user and password for new connections; None for neither.

    Raises:
        ConfigError: the file with the password cannot be read.
    """
    user = settings.user or "default"
    if settings.iam_cache:
        assert settings.region is not None
        token = IamToken(
            user=user, cache=settings.iam_cache, region=settings.region, kind=settings.kind
        )
        return Credentials(user, token.sign, blocks=True)
    if settings.password_file:
        password = _read_password(settings.password_file)
        return Credentials(user, lambda: password)
    if settings.secret_arn:
        secret = SecretPassword(settings.secret_arn)
        return Credentials(user, secret.read, secret.read_again, blocks=True)
    return None


def _read_password(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(
            f"ELASTICACHE_PASSWORD_FILE: {path} cannot be read: {error.strerror}"
        ) from None
