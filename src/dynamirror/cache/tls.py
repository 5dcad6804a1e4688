"""TLS with the cache: certificates are always verified."""

import ssl

from dynamirror.errors import ConfigError


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Return a context that trusts the system's authorities, and that of a file.

    Args:
        ca_file: PEM file of an authority; None for none.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        context = ssl.create_default_context()
        if ca_file:
            context.load_verify_locations(ca_file)
    except OSError as error:
        raise ConfigError(
            f"ELASTICACHE_CA_FILE: {ca_file} cannot be read: {error.strerror}"
        ) from None
    return context
