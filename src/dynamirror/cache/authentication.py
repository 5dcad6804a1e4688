"""How a connection authenticates: with an IAM token, a password, or not at all."""

from collections.abc import Callable
from pathlib import Path

from dynamirror.cache.iam import IamToken
from dynamirror.errors import ConfigError
from dynamirror.settings import Settings


def credentials(settings: Settings) -> Callable[[], tuple[str, str]] | None:
    """Return a function that returns user and password for a new connection; None for neither.

    Raises:
        ConfigError: the file with the password cannot be read.
    """
    if settings.iam_cache:
        assert settings.user is not None
        assert settings.region is not None
        token = IamToken(user=settings.user, cache=settings.iam_cache, region=settings.region)
        return lambda: (token.user, token.sign())
    if settings.password_file:
        user, password = settings.user or "default", _read_password(settings.password_file)
        return lambda: (user, password)
    return None


def _read_password(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(
            f"ELASTICACHE_PASSWORD_FILE: {path} cannot be read: {error.strerror}"
        ) from None
