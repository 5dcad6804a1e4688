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
# The parts of an error that no retry can help: it concerns this one command, whatever the state of
# the server, its load, its slots and the user's rights. The texts are those of Valkey 9 and of
# ElastiCache Serverless (https://github.com/typeorm/typeorm/issues/11562).
KEY_TOO_LONG: Final = "key that is longer than the max key size"
PROTOCOL_ERROR: Final = "ERR Protocol error: "
# docs/quarantine.md shows both tables.
REFUSED_FOR_GOOD: Final[Mapping[str, str]] = {
    f"ERR Request contains a {KEY_TOO_LONG}": "ElastiCache Serverless takes no longer keys.",
    f"{PROTOCOL_ERROR}invalid bulk length": "The value is larger than `proto-max-bulk-len`.",
    f"{PROTOCOL_ERROR}invalid multibulk length": "The request has too many arguments.",
    "ERR string exceeds maximum allowed size": "The value is larger than `proto-max-bulk-len`.",
    "ERR too many arguments": "The request has too many arguments.",
    "ERR wrong number of arguments": "The same arguments are wrong again.",
    "ERR invalid expire time": "The same arguments are wrong again.",
    "ERR syntax error": "The same arguments are wrong again.",
    "WRONGTYPE": "The key of the fence is another application's, and may not be replaced.",
}
# Errors of the node, the cluster or the user's rights: each may heal, so the write comes again.
# Some have the code ERR, among them those of commands within a script.
RETRIED: Final[Mapping[str, str]] = {
    "OOM": "Somebody frees memory, or adds some.",
    "LOADING": "The node has started, and reads its data.",
    "BUSY": "The script of another client takes long.",
    "CLUSTERDOWN": "A failover gives the slots to another node.",
    "MASTERDOWN": "The replica finds its primary again.",
    "READONLY": "The next slot map names the new primary.",
    "MOVED": "The next slot map names the other node.",
    "ASK": "The slot has soon moved.",
    "TRYAGAIN": "The slot has soon moved.",
    "NOREPLICAS": "Replicas come back.",
    "MISCONF": "The node can write to its disk again.",
    "NOSCRIPT": "The scripts are loaded again.",
    "ERR max number of clients reached": "Other clients leave, or the limit is raised.",
    "NOAUTH": "The next connection authenticates.",
    "WRONGPASS": "Somebody corrects the password.",
    "NOPERM": "Somebody corrects the user's rights, which all records need.",
    "ERR ACL failure in script": "The same, for a command within a script.",
    "ERR Unknown command called from script": "Somebody lets the cache have that command again.",
    "ERR Attempted to": "A slot has soon moved, or a failover gives it to another node.",
    "ERR Script attempted to": "The same, as versions before Valkey 9 word it.",
}
# How an error of a script begins that a slow script ends with; it says nothing of the arguments.
_KILLED: Final = "Script killed"
# How an error ends that a script raised: with its place in the script.
_IN_SCRIPT: Final = " script: "
_PLACE: Final = "on @"
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

    @property
    def is_retried(self) -> bool:
        """Return whether the command may work later: no answer, or an error that may heal."""
        if self.cause is None or self.code in RETRIED:
            return True
        text = str(self.cause)
        return _KILLED in text or text.startswith(tuple(RETRIED))

    @property
    def is_final(self) -> bool:
        """Return whether no retry can help: the server refuses this one command for good."""
        if self.cause is None or self.is_retried:
            return False
        text = str(self.cause)
        return _IN_SCRIPT in text or text.startswith(tuple(REFUSED_FOR_GOOD))

    @property
    def is_of_key(self) -> bool:
        """Return whether the cache takes no key of that length, and so holds none."""
        return self.cause is not None and KEY_TOO_LONG in str(self.cause)


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
    before, _, place = text.rpartition(_IN_SCRIPT)
    text = before if _PLACE in place else text
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
