"""Options of connections, from settings."""

from math import inf
from typing import Final

from dynamirror.cache.authentication import credentials
from dynamirror.cache.connection import Options
from dynamirror.cache.tls import tls_context
from dynamirror.settings import Settings

# ElastiCache cuts a connection that IAM authenticated 12 hours ago.
_IAM_SESSION_SECONDS: Final = 11 * 3600


def connection_options(settings: Settings) -> Options:
    """Return the options of connections to a cache.

    Raises:
        ConfigError: a file that the settings name cannot be read.
    """
    return Options(
        timeout=settings.timeout,
        tls=tls_context(settings.authorities, settings.ca_file) if settings.tls else None,
        credentials=credentials(settings),
        session_seconds=_IAM_SESSION_SECONDS if settings.iam_cache else inf,
    )
