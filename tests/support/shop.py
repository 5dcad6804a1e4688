"""A table of one shop, its views, and what each of them should show, worked out another way."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from time import time
from typing import Any

from tests.support.scans import keys_in

from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import Command
from dynamirror.views.keyspace import RESERVED
from dynamirror.views.mirror_toml import parse_views
from dynamirror.views.view import Schema, ViewSpec

SCHEMA = Schema("shop", ("PK", "SK"), ("S", "S"))
PAST, FUTURE = 1_000_000_000, 4_102_444_800

Image = Mapping[str, Mapping[str, Any]]
Table = Mapping[tuple[str, str], Image]
Shown = dict[str, tuple[Any, int | None]]

MIRROR = """
[[view]]
name = "profiles"                # a key attribute is pinned, so that the key need not name it
key = "user:{PK}"
when = { SK = "profile" }
include = ["name", "address"]
rename = { name = "full_name" }
constants = { kind = "user", version = 2 }
encoding = "dynamodb-json"

[[view]]
name = "by city"                 # a nested attribute that changes is in the key
key = "city:{address.city}:{PK}:{SK}"
when = { any = [{ type = "user" }, { status = { exists = true } }] }
encoding = "attribute"
attribute = "name"

[[view]]
name = "open"                    # items come and go, at a key that does not change
key = "open:{PK}:{SK}"
when = { status = { in = ["open", "paid"] } }
exclude = ["PK", "SK", "address", "until"]
encoding = "hash"

[[view]]
name = "big"
key = "big:{PK}:{SK}"
when = { total = { ">=" = 100, "<" = 100000 } }
include = ["total"]
encoding = "hash"

[[view]]
name = "sessions"
key = "session:{PK}:{SK}"
when = { "address.city" = { prefix = "R" } }
include = ["SK"]
encoding = "hash"
ttl = "until"

[[view]]
name = "orders"
key = "order:{{{PK}}}:{SK}"
when = { SK = { prefix = "order" } }
include = ["total"]
collection = true
ttl = "until"
"""


def specs(*, moving: bool = True) -> tuple[ViewSpec, ...]:
    """The views; without `moving`, those that need no old images."""
    return tuple(one for one in parse_views(MIRROR) if moving or one.name != "by city")


def text(image: Image, name: str) -> str | None:
    """An attribute's text or digits."""
    value = image.get(name)
    return None if value is None else next(iter(value.values()))


def city(image: Image) -> str | None:
    """An item's city."""
    return text(image["address"]["M"], "city") if "address" in image else None


def escaped(value: str) -> str:
    """As it stands between colons."""
    return value.replace("%", "%25").replace("{", "%7B").replace("}", "%7D").replace(":", "%3A")


def bare(value: str) -> str:
    """As it stands alone."""
    return value.replace("%", "%25").replace("{", "%7B").replace("}", "%7D")


def profile(image: Image) -> tuple[str, Any] | None:
    if text(image, "SK") != "profile":
        return None
    shown: dict[str, Any] = {"kind": {"S": "user"}, "version": {"N": "2"}}
    if "name" in image:
        shown["full_name"] = image["name"]
    if "address" in image:
        shown["address"] = image["address"]
    return f"user:{bare(image['PK']['S'])}", shown


def by_city(image: Image) -> tuple[str, Any] | None:
    if text(image, "type") != "user" and "status" not in image:
        return None
    town, name = city(image), text(image, "name")
    if town is None or name is None:
        return None
    return "city:" + ":".join(map(escaped, (town, image["PK"]["S"], image["SK"]["S"]))), name


def open_order(image: Image) -> tuple[str, Any] | None:
    if text(image, "status") not in ("open", "paid"):
        return None
    hidden = ("PK", "SK", "address", "until")
    return f"open:{pair(image)}", {name: text(image, name) for name in image if name not in hidden}


def big(image: Image) -> tuple[str, Any] | None:
    if "N" not in image.get("total", {}) or not 100 <= Decimal(image["total"]["N"]) < 100_000:
        return None
    return f"big:{pair(image)}", {"total": image["total"]["N"]}


def session(image: Image) -> tuple[str, Any] | None:
    if not (city(image) or "").startswith("R"):
        return None
    return f"session:{pair(image)}", {"SK": image["SK"]["S"]}


def order(image: Image) -> tuple[str, Any] | None:
    if not image["SK"]["S"].startswith("order"):
        return None
    shown = {} if "total" not in image else {"total": image["total"]}
    return f"order:{{{bare(image['PK']['S'])}}}:{bare(image['SK']['S'])}", shown


def pair(image: Image) -> str:
    return f"{escaped(image['PK']['S'])}:{escaped(image['SK']['S'])}"


@dataclass(frozen=True)
class Show:
    """How one view shows an item.

    Args:
        entry: of an item: key and value; None for none.
        expires: whether what it shows expires.
    """

    entry: Callable[[Image], tuple[str, Any] | None]
    expires: bool = False


SHOWS = {
    "profiles": Show(profile),
    "by city": Show(by_city),
    "open": Show(open_order),
    "big": Show(big),
    "sessions": Show(session, expires=True),
    "orders": Show(order, expires=True),
}


def shown(table: Table, *, moving: bool = True) -> Shown:
    """Everything that readers should see of a table, and when it expires."""
    seen: Shown = {}
    for image in table.values():
        for name, show in SHOWS.items():
            entry = show.entry(image) if moving or name != "by city" else None
            if entry is None:
                continue
            until = text(image, "until") if show.expires else None
            expires = int(until) if until is not None else None
            if expires is None or expires > time():
                seen[entry[0]] = entry[1], expires
    return seen


def indexed(table: Table) -> dict[str, list[str]]:
    """The members of every index, in order."""
    members: dict[str, list[str]] = {}
    for partition, sort in sorted(table):
        if sort.startswith("order"):
            members.setdefault(f"order:{{{bare(partition)}}}:%%", []).append(sort)
    return members


def held(cache: Cache) -> tuple[Shown, dict[str, list[str]]]:
    """All that the cache shows, and the members of every index."""
    keys = [key for key in keys_in(cache, "*") if not key.decode().startswith(RESERVED)]
    kinds = cache.execute(Command(key, (b"TYPE", key)) for key in keys)
    reads = {
        b"string": (b"GET",),
        b"hash": (b"HGETALL",),
        b"zset": (b"ZRANGE", b"0", b"-1"),
    }
    values = cache.execute(
        Command(key, (reads[kind][0], key, *reads[kind][1:]))
        for key, kind in zip(keys, kinds, strict=True)
    )
    expiries = cache.execute(Command(key, (b"EXPIRETIME", key)) for key in keys)
    entries: Shown = {}
    indices: dict[str, list[str]] = {}
    for key, kind, value, expires in zip(keys, kinds, values, expiries, strict=True):
        if kind == b"zset":
            indices[key.decode()] = [member.decode() for member in value]
            continue
        entries[key.decode()] = _plain(key, kind, value), expires if expires > 0 else None
    return entries, indices


def _plain(key: bytes, kind: bytes, value: Any) -> Any:
    if kind == b"hash":
        flat = [word.decode() for word in value]
        return dict(zip(flat[::2], flat[1::2], strict=True))
    return value.decode() if key.startswith(b"city:") else value
