"""What a mirror is, which no deployment under the same name may change by mistake."""

from collections.abc import Collection, Mapping
from typing import Final

import msgspec

# Stands for the name of a table that CloudFormation names.
CREATED: Final = "(created)"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """The tables and the cache of a mirror, as the stack's output `MirrorIdentity` holds them.

    Args:
        tables: names of the key attributes of each table, partition key first.
        cache: kind of the cache.
        existing_cache: name of a cache that another stack owns; None if the stack creates it.
        created: names of the tables that the stack creates.
        retain: whether those tables outlive their removal from the stack.
        fixed: fields of the file that a cache of the stack cannot change, with their values.
    """

    tables: Mapping[str, tuple[str, ...]]
    cache: str
    existing_cache: str | None = None
    created: tuple[str, ...] = ()
    retain: bool = False
    fixed: Mapping[str, str] = {}

    def to_json(self) -> str:
        """Return the identity as text, the same for the same identity."""
        return msgspec.json.encode(self, order="deterministic").decode()

    @classmethod
    def from_json(cls, text: str) -> "Identity":
        """Read an identity.

        Raises:
            ValueError: the text is no identity.
        """
        return msgspec.json.decode(text, type=cls)


def refused_changes(
    mirror: str, deployed: Identity, wanted: Identity, removed: Collection[str] = ()
) -> list[str]:
    """Return a sentence for each change that would turn a mirror into another; none if it stays.

    Args:
        mirror: name of the mirror.
        deployed: the mirror as deployed.
        wanted: the mirror as it would be after the deployment.
        removed: tables that the mirror gives up on purpose.
    """
    sentences = []
    for table, keys in deployed.tables.items():
        if table not in wanted.tables:
            if table not in removed:
                sentences.append(_lost(mirror, table, wanted, removed))
        elif tuple(wanted.tables[table]) != tuple(keys):
            sentences.append(
                f"mirror {mirror}: the keys of {_name(table)} are {', '.join(keys)} as deployed, "
                f"not {', '.join(wanted.tables[table])}; correct the keys, or deploy the other "
                "table under another name"
            )
    if not deployed.retain:
        sentences.extend(
            f"mirror {mirror}: its stack created {_name(table)}, and this deployment would delete "
            "the table with its items; first deploy with retain = true and without this change"
            for table in deployed.created
            if table not in wanted.created and (table in wanted.tables or table in removed)
        )
    if _cache(deployed) != _cache(wanted):
        sentences.append(
            f"mirror {mirror}: has {_cache(deployed)}, which this deployment would replace by "
            f"{_cache(wanted)}; deploy it under another name, as in [mirror] name or -c name=, "
            "and destroy the old stack once applications read from the new one"
        )
    else:
        sentences.extend(
            f"mirror {mirror}: its cache was created with {field} {value or 'unset'}, and "
            f"{wanted.fixed[field] or 'unset'} needs another cache; change it back, or deploy it "
            "under another name, as in [mirror] name or -c name="
            for field, value in deployed.fixed.items()
            if wanted.fixed.get(field, value) != value
        )
    return sentences


def _lost(mirror: str, table: str, wanted: Identity, removed: Collection[str]) -> str:
    others = ", ".join(_name(name) for name in wanted.tables)
    return (
        f"mirror {mirror}: mirrors {_name(table)}, which this deployment leaves out (it has "
        f"{others}); deploy other tables under another name, as in [mirror] name or -c name=, or "
        f"give up the table on purpose with removed_tables = {_toml(sorted({*removed, table}))}"
    )


def _toml(names: list[str]) -> str:
    return f"[{', '.join(msgspec.json.encode(name).decode() for name in names)}]"


def _name(table: str) -> str:
    return "the table that its stack created" if table == CREATED else f"table {table}"


def _cache(identity: Identity) -> str:
    if identity.existing_cache:
        return f"the existing {identity.cache} cache {identity.existing_cache}"
    return f"a {identity.cache} cache of its own"
