"""The cache of a deployment: its room for the tables, and an existing one's state."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from dynamirror.deployment.file import Deployment
from dynamirror.deployment.sections import ExistingCache
from dynamirror.errors import ConfigError, SourceError
from dynamirror.preflight.account import Account, MissingError, unanswered
from dynamirror.preflight.report import Check, Place
from dynamirror.preflight.tables import read_description
from dynamirror.recovery.room import room
from dynamirror.views.view import Schema, bind_views

_GB: Final = 10**9
# The share of the limit that a mirror may take, so that readers and fences have room.
_ROOM: Final = 0.8


def check_cache(account: Account, deployment: Deployment) -> Iterator[Check]:
    """Check the cache of a deployment."""
    place, existing = Place("cache"), deployment.cache.existing
    if existing is not None:
        yield from _existing(account, place, existing)
    if key := deployment.cache.kms_key_arn:
        yield from _key(account, place, key)
    yield _size(account, place, deployment)


def _existing(account: Account, place: Place, cache: ExistingCache) -> Iterator[Check]:
    try:
        found, endpoints = _describe(account, cache)
    except MissingError:
        yield place.wrong(
            "name",
            f"there is no {cache.kind} cache {cache.name} in account {account.id} and region "
            f"{account.region}",
            "correct cache.existing.name or cache.existing.kind",
        )
    except SourceError as error:
        yield unanswered(place, "existing cache", error)
    else:
        if found != "available":
            yield place.wrong("status", f"{cache.name} is {found}", "wait until it is available")
        elif (cache.host, cache.port) not in endpoints:
            known = " or ".join(f"{host}:{port}" for host, port in sorted(endpoints))
            yield place.wrong(
                "address",
                f"{cache.host}:{cache.port} is not that of {cache.name}",
                f"set cache.existing.host and port, as in {known}",
            )
        else:
            yield place.ok("existing cache", f"{cache.name} is available at {cache.host}")
    if cache.secret_arn:
        try:
            account.ask("secretsmanager", "describe_secret", SecretId=cache.secret_arn)
        except MissingError:
            yield place.wrong(
                "secret", f"there is no secret {cache.secret_arn}", "correct secret_arn"
            )
        except SourceError as error:
            yield unanswered(place, "secret", error)
        else:
            yield place.ok("secret", "it exists")


def _describe(account: Account, cache: ExistingCache) -> tuple[str, set[tuple[str, int]]]:
    """Return an existing cache's status and its endpoints for writes."""
    found: Mapping[str, Any]
    if cache.kind == "serverless":
        (found,) = account.ask(
            "elasticache", "describe_serverless_caches", ServerlessCacheName=cache.name
        )["ServerlessCaches"]
        endpoints = [found.get("Endpoint")]
    else:
        (found,) = account.ask(
            "elasticache", "describe_replication_groups", ReplicationGroupId=cache.name
        )["ReplicationGroups"]
        groups = found.get("NodeGroups", ())
        endpoints = [found.get("ConfigurationEndpoint")]
        endpoints += [group.get("PrimaryEndpoint") for group in groups]
    return str(found["Status"]), {
        (str(endpoint["Address"]), int(endpoint["Port"])) for endpoint in endpoints if endpoint
    }


def _key(account: Account, place: Place, key: str) -> Iterator[Check]:
    try:
        metadata = account.ask("kms", "describe_key", KeyId=key)["KeyMetadata"]
    except MissingError:
        yield place.wrong("key", f"there is no KMS key {key}", "correct cache.kms_key_arn")
    except SourceError as error:
        yield unanswered(place, "key", error)
    else:
        if metadata.get("Enabled", True):
            yield place.ok("key", "it is enabled")
        else:
            yield place.wrong("key", f"KMS key {key} is disabled", "enable it")


def _size(account: Account, place: Place, deployment: Deployment) -> Check:
    items = total = 0
    for table in deployment.tables:
        schema = Schema(table.name or "new", table.keys)
        try:
            description = read_description(account, table)
            total += room(bind_views(deployment.views, schema), description, None).needed
        except SourceError:
            return place.unknown("size", "unknown, because a table could not be described")
        except ConfigError:
            return place.unknown("size", "unknown, because a view does not fit its table")
        items += int(description.get("ItemCount", 0))
    estimate = f"{items:,} items need at least {total / _GB:.2f} GB"
    limit = _limit(deployment)
    if limit is None:
        return place.ok("size", f"{estimate}; the memory of the nodes is not compared")
    if total > limit * _GB:
        remedy = "set cache.existing.max_gb" if deployment.cache.existing else "set cache.max_gb"
        return place.wrong(
            "size",
            f"{estimate}, and the cache holds {limit} GB",
            f"{remedy} to {int(total / _GB / _ROOM) + 1} or more, or let views store less",
        )
    return place.ok("size", f"{estimate}, of {limit} GB")


def _limit(deployment: Deployment) -> int | None:
    cache = deployment.cache
    if cache.existing is not None:
        return cache.existing.max_gb
    return cache.max_gb if cache.kind == "serverless" else None
