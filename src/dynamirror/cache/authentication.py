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
        file = _PasswordFile(settings.password_file)
        return Credentials(user, lambda: file.password, file.read_again)
    if settings.secret_arn:
        secret = SecretPassword(settings.secret_arn)
        return Credentials(user, secret.read, secret.read_again, blocks=True)
    return None


class _PasswordFile:
    """The password in a file, which a rotation replaces while the process runs.

    Args:
        path: the file.

    Raises:
        ConfigError: it cannot be read.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.password = self._read()

    def read_again(self, _refused: str) -> str:
        """Return the password that the file holds now, or held last."""
        with suppress(ConfigError):
            self.password = self._read()
        return self.password

    def _read(self) -> str:
        try:
            return read_text(self._path).strip()
        except ConfigError as error:
            raise ConfigError(f"ELASTICACHE_PASSWORD_FILE: {error}") from None
