"""Read as an application does, once and again at each line of input: reading.py CLIENT PROGRAM."""

import asyncio
import importlib
import json
import os
import runpy
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from dynamirror.cache.iam import IamToken

DAYS = "orders:{c1}:%%"
HURRY = 0.1

Read = Callable[[], Awaitable[dict[str, Any]]]


def password() -> str:
    """Return the password in a file, which may change."""
    return Path(os.environ["PASSWORD_FILE"]).read_text(encoding="utf-8")


def sign(_token: IamToken) -> str:
    """Return the password in place of a token, and note it."""
    signed = password()
    with Path(os.environ["HANDED_OUT"]).open("a", encoding="utf-8") as log:
        log.write(f"{signed}\n")
    return signed


async def of(answer: Any) -> Any:
    """Wait for the answer of a client of either kind."""
    return await answer if hasattr(answer, "__await__") else answer


async def read(cache: Any, days: Callable[[], Any]) -> dict[str, Any]:
    """Read an entry, a hash and a collection, and try to write."""
    entry, fields = await of(cache.get("users:7")), await of(cache.hgetall("hash:7"))
    members = await of(days())
    try:
        refused = str(await of(cache.set("users:7", "")))
    except Exception as error:  # noqa: BLE001 - each client has errors of its own
        refused = getattr(error, "message", None) or str(error)
    return {
        "entry": entry.decode(),
        "hash": {name.decode(): value.decode() for name, value in fields.items()},
        "members": [member.decode() for member in members],
        "refused": refused,
    }


def of_redis(library: str, program: dict[str, Any]) -> dict[str, Read]:
    """The cluster client of the program, and its other kinds."""
    names = ("RedisCluster", "Redis") if library == "redis" else ("ValkeyCluster", "Valkey")
    single = {"host": program["host"], "port": program["port"], "ssl": True}
    single |= {"ssl_check_hostname": True, "credential_provider": program["Login"]()}
    cluster = program.get("options", single)

    def kind(cache: Any) -> Read:
        lexical = {"bylex": True, "offset": 0, "num": 2}
        return lambda: read(cache, lambda: cache.zrange(DAYS, "-", "+", **lexical))

    synchronous = importlib.import_module(library)
    asynchronous = importlib.import_module(f"{library}.asyncio")
    return {
        "cluster": kind(program["cache"]),
        "single": kind(getattr(synchronous, names[1])(**single)),
        "asyncio cluster": kind(getattr(asynchronous, names[0])(**cluster)),
        "asyncio single": kind(getattr(asynchronous, names[1])(**single)),
    }


async def of_glide(program: dict[str, Any]) -> dict[str, Read]:
    """The client of the program, and its synchronous kind."""
    sleep = asyncio.sleep

    async def until_renewal(seconds: float) -> None:
        """Wait for a new password in place of ten minutes."""
        before = password()
        while password() == before:
            await sleep(min(seconds, HURRY))

    asyncio.sleep = until_renewal  # type: ignore[assignment]

    def kind(cache: Any, library: Any) -> Read:
        limit, ends = library.Limit(0, 2), library.InfBound
        lexical = library.RangeByLex(ends.NEG_INF, ends.POS_INF, limit)
        return lambda: read(cache, lambda: cache.zrange(DAYS, lexical))

    synchronous = importlib.import_module("glide_sync")
    login = synchronous.ServerCredentials(username=program["user"], password=sign(program["token"]))
    where = [synchronous.NodeAddress(program["host"], program["port"])]
    cache = synchronous.GlideClusterClient.create(
        synchronous.GlideClusterClientConfiguration(where, use_tls=True, credentials=login)
    )

    def renew() -> None:
        before = password()
        while password() == before:
            time.sleep(HURRY)
        cache.update_connection_password(sign(program["token"]))

    threading.Thread(target=renew, daemon=True).start()
    asynchronous = await program["connect"]()
    return {
        "asyncio": kind(asynchronous, importlib.import_module("glide")),
        "synchronous": kind(cache, synchronous),
    }


async def persistently(read: Read) -> dict[str, Any]:
    """Read; a connection that was closed may fail the requests that were waiting for it."""
    while True:
        try:
            return await read()
        except Exception as error:  # noqa: BLE001 - each client has errors of its own
            print(repr(error), file=sys.stderr)
            await asyncio.to_thread(time.sleep, 0.05)


async def main(client: str, program: str) -> None:
    """Read with all kinds of the client."""
    IamToken.sign = sign  # type: ignore[assignment, method-assign]
    defined = runpy.run_path(program)
    library = client.removesuffix("-py")
    kinds = of_redis(library, defined) if client.endswith("-py") else await of_glide(defined)
    first = {f"{client} {kind}": await read() for kind, read in kinds.items()}
    print(json.dumps(first), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        again = {f"{client} {kind}": await persistently(read) for kind, read in kinds.items()}
        print(json.dumps(again), flush=True)
    os._exit(0)  # without waiting for the clients' threads


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
