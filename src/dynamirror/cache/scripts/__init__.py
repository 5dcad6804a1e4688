"""The Lua scripts beside this file, and calls of them; nothing here speaks to a server."""

from hashlib import sha1
from pathlib import Path
from typing import Final

import msgspec

Word = bytes | str | int

_FOLDER = Path(__file__).parent


class Command(msgspec.Struct, frozen=True, gc=False):
    """One command and the key that decides which node gets it.

    Args:
        key: the key.
        words: the command's words; or all of it as it goes over the wire.
    """

    key: bytes
    words: tuple[Word, ...] | bytes


class Script:
    """NAME.lua, run in the server; a verb begins with fence.lua.

    The server names a script by the SHA-1 of its text; https://valkey.io/commands/evalsha/.

    Args:
        name: of the file.
        fenced: whether it is a verb, run on an entry and its fence.
        keys: how many keys it is run on.
    """

    def __init__(self, name: str, *, fenced: bool = True, keys: int = 2) -> None:
        parts = ("fence", name) if fenced else (name,)
        self.name = name
        self.source = b"".join((_FOLDER / f"{part}.lua").read_bytes() for part in parts)
        self.sha = sha1(self.source, usedforsecurity=False).hexdigest().encode()
        self._call = b"EVALSHA", self.sha, keys
        self._indexed = b"EVALSHA", self.sha, keys + 1
        head = b"*%d\r\n$7\r\nEVALSHA\r\n$40\r\n%b\r\n$1\r\n%d\r\n" % (8, self.sha, keys)
        self._writing = head + b"$%d\r\n%b\r\n" * 5

    def command(self, key: bytes, *words: Word) -> Command:
        """Return a call of this script: its keys, all of one slot, then its arguments."""
        return Command(key, (*self._call, key, *words))

    def write(
        self, key: bytes, fence: bytes, version: bytes, fence_ttl: bytes, value: bytes
    ) -> Command:
        """`command` with just these, packed here: a general packer takes twice as long."""
        call = self._writing % (
            len(key), key, len(fence), fence, len(version), version,
            len(fence_ttl), fence_ttl, len(value), value,
        )  # fmt: skip
        return Command(key, call)

    def indexed(self, key: bytes, *words: Word) -> Command:
        """Return a call with the entry's sorted set as one more key, after the others."""
        return Command(key, (*self._indexed, key, *words))


PUT: Final = Script("put")
PUT_HASH: Final = Script("put_hash")
DELETE: Final = Script("delete")
PARK: Final = Script("park", fenced=False)
RELEASE: Final = Script("release", fenced=False, keys=1)
GAP: Final = Script("gap", fenced=False, keys=1)
COMPLETE: Final = Script("complete", fenced=False, keys=1)
HEARTBEAT: Final = Script("heartbeat", fenced=False, keys=1)
HEARTBEATS: Final = Script("heartbeats", fenced=False, keys=1)
TAKE_LEASE: Final = Script("take_lease", fenced=False, keys=1)
RELEASE_LEASE: Final = Script("release_lease", fenced=False, keys=1)
CHECKPOINT: Final = Script("checkpoint", fenced=False)
ALL: Final = (
    *(PUT, PUT_HASH, DELETE, PARK, RELEASE, GAP, COMPLETE, HEARTBEAT, HEARTBEATS),
    *(TAKE_LEASE, RELEASE_LEASE, CHECKPOINT),
)
