"""TLS with the cache: certificates are always verified."""

import ssl
from pathlib import Path

from dynamirror.errors import ConfigError
from dynamirror.settings import Authorities

# The five roots that Amazon recommends for trust stores: https://www.amazontrust.com/repository/
AMAZON_ROOTS = Path(__file__).with_name("amazon_roots.pem")


def tls_context(authorities: Authorities, ca_file: str | None) -> ssl.SSLContext:
    """Return a context that trusts the system's or Amazon's authorities, and those of a file.

    Args:
        authorities: `system` for the system's store, which takes 20 ms to parse; `amazon` for
            Amazon's roots only, which take less than 1 ms.
        ca_file: PEM file of more authorities; None for none.

    Raises:
        ConfigError: a file cannot be read, or holds no certificates.
    """
    roots = str(AMAZON_ROOTS) if authorities == "amazon" else None
    source = f"ELASTICACHE_CA: {roots}"
    try:
        context = ssl.create_default_context(cafile=roots)
        # Whatever the system's OpenSSL would still allow.
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if ca_file:
            source = f"ELASTICACHE_CA_FILE: {ca_file}"
            context.load_verify_locations(ca_file)
    except ssl.SSLError:
        raise ConfigError(f"{source} is not a PEM file of certificates") from None
    except OSError as error:
        raise ConfigError(f"{source} cannot be read: {error.strerror}") from None
    return context
