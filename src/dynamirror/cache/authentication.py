"""How a connection authenticates: with an IAM token, a password, or not at all."""

from contextlib import suppress

from dynamirror.cache.connection import Credentials
from dynamirror.cache.iam import IamToken
from dynamirror.cache.secret import SecretPassword
from dynamirror.errors import ConfigError
from dynamirror.settings import Settings, read_text


def credentials(settings: Settings) -> Credentials | None:
    """Return user and password for new connections; None for neither.

    Raises:
        ConfigError: the file with the password cannot be read, or is empty.
    """
    user = settings.user or "default"
    if settings.iam_cache:
        assert settings.region is not None
        token = IamToken(
            user=user, cache=settings.iam_cache, region=settings.region, kind=settings.kind
        )
        return Credentials(user, token.sign, blocks=True)
    if settings.password_file:
        return _from_file(user, settings.password_file)
    if settings.secret_arn:
        secret = SecretPassword(settings.secret_arn)
        return Credentials(user, secret.read, secret.read_again, blocks=True)
    return None


def _from_file(user: str, path: str) -> Credentials:
    """Return a password that is read now, and again where a node refuses it."""
    password = _read_password(path)

    def read_again(_refused: str) -> str:
        nonlocal password
        with suppress(ConfigError):  # whoever replaces the file may be between two steps
            password = _read_password(path)
        return password

    return Credentials(user, lambda: password, read_again)


def _read_password(path: str) -> str:
    try:
        password = read_text(path).strip()
    except ConfigError as error:
        raise ConfigError(f"ELASTICACHE_PASSWORD_FILE: {error}") from None
    if not password:
        raise ConfigError(f"ELASTICACHE_PASSWORD_FILE: {path}: is empty")
    return password
