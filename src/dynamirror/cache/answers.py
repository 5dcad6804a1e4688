"""Commands that were not carried out, and why."""

import ssl
from collections.abc import Mapping
from typing import Final

import msgspec

from dynamirror.cache.connection import AnswerError, HandshakeTimeoutError, RefusedError

_MEANINGS: Final[Mapping[str, str]] = {
    "NOSCRIPT": "NOSCRIPT",
    "TRYAGAIN": "TRYAGAIN (a slot is being moved)",
    "LOADING": "it is still loading its data",
}
# Codes that the sentence after them repeats.
_REDUNDANT_CODES: Final = (
    "ERR",
    "OOM",
    "READONLY",
    "NOPERM",
    "CLUSTERDOWN",
    "WRONGPASS",
    "NOAUTH",
)
_NO_TLS: Final = "set ELASTICACHE_TLS=false (or --no-tls)"
_AUTHORITY: Final = "name the PEM file of its authority in ELASTICACHE_CA_FILE"
# X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT and the three after it, in OpenSSL's x509_vfy.h.
_UNKNOWN_AUTHORITY: Final = range(18, 22)


class Failure(msgspec.Struct, frozen=True):
    """The answer to a command that was not carried out, or whose outcome is unknown.

    Args:
        reason: why, in words.
        cause: the server's error; None where it sent none.
    """

    reason: str
    cause: AnswerError | None = None

    @property
    def code(self) -> str:
        """Return the code of the server's error, such as WRONGTYPE; empty where it sent none."""
        return self.cause.code if self.cause else ""


def failure_reason(error: AnswerError | OSError) -> str:
    """Return in words why a command failed, and what to do about wrong TLS settings."""
    match error:
        case HandshakeTimeoutError():
            return f"no TLS in time; if it has none, {_NO_TLS}"
        case TimeoutError():
            return "no answer in time"
        case OSError():
            return f"no connection: {_connection_reason(error)}"
    if meaning := _MEANINGS.get(error.code):
        return meaning
    text = str(error)
    if error.code in _REDUNDANT_CODES:
        text = text.removeprefix(error.code).lstrip()
    if isinstance(error, RefusedError) or error.code == "NOAUTH":
        return f"it refuses the user or the password: {text}"
    # An error within a script ends with its place in the script; others go on with advice.
    text = text.rpartition(" script: ")[0] or text
    return text.partition(". ")[0].rstrip(".")


def _connection_reason(error: OSError) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            reason = f"certificate verify failed: {error.verify_message.rstrip('.')}"
            return f"{reason}; {_AUTHORITY}" if error.verify_code in _UNKNOWN_AUTHORITY else reason
        case ssl.SSLError(reason="WRONG_VERSION_NUMBER"):
            return f"it has no TLS; {_NO_TLS}"
        case _:
            return str(error.strerror or error).rstrip(".")
