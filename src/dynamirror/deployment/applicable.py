"""Refuses fields and options that would be ignored."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dynamirror.deployment.overrides import option_of
from dynamirror.errors import ConfigError

if TYPE_CHECKING:
    from dynamirror.deployment.file import Deployment


class _Rule(NamedTuple):
    """What some fields need.

    Args:
        section: section of the fields.
        fields: names of the fields.
        option: the need, in the words of context.
        field: the need, in the words of the file.
        holds: whether a deployment meets the need.
    """

    section: str
    fields: tuple[str, ...]
    option: str
    field: str
    holds: "Callable[[Deployment], bool]"


def _has_storage_limit(deployment: "Deployment") -> bool:
    existing = deployment.cache.existing
    if existing is None:
        return deployment.cache.kind == "serverless"
    return existing.kind == "serverless" and existing.max_gb is not None


_RULES: Final = (
    _Rule(
        "mirror",
        ("deletion_protection", "point_in_time_recovery"),
        "a new table, and so without tableArn",
        "a [[table]] with create = true",
        lambda deployment: any(table.stream_arn is None for table in deployment.tables),
    ),
    _Rule(
        "network",
        ("max_azs",),
        "a new VPC, and so without vpcId and public",
        "a new VPC, and so without vpc_id and public",
        lambda deployment: not (deployment.network.vpc_id or deployment.network.public),
    ),
    _Rule(
        "network",
        ("security_group_ids", "cidrs"),
        "a new cache, or with security_group_id in [cache.existing]",
        "a new cache, or with security_group_id in [cache.existing]",
        lambda deployment: (
            deployment.cache.existing is None
            or deployment.cache.existing.security_group_id is not None
        ),
    ),
    _Rule(
        "cache",
        ("kind", "engine_version", "kms_key_arn"),
        "a new cache, and so without [cache.existing]",
        "a new cache, and so without [cache.existing]",
        lambda deployment: deployment.cache.existing is None,
    ),
    _Rule(
        "cache",
        ("max_gb", "max_ecpu", "min_ecpu"),
        "a new cache of cacheKind=serverless",
        'a new cache of kind = "serverless"',
        lambda deployment: _makes_cache(deployment, "serverless"),
    ),
    _Rule(
        "cache",
        ("node_type", "shards", "replicas", "durability"),
        "a new cache of cacheKind=node-based",
        'a new cache of kind = "node-based"',
        lambda deployment: _makes_cache(deployment, "node-based"),
    ),
    _Rule(
        "cache",
        ("authorities",),
        "a cache that has TLS",
        "a cache that has TLS",
        lambda deployment: deployment.cache.existing is None or deployment.cache.existing.tls,
    ),
    _Rule(
        "audit",
        ("every_minutes", "parts", "units", "repair", "rate"),
        "audit=true",
        "enabled = true",
        lambda deployment: deployment.audit.enabled,
    ),
    _Rule(
        "inspector",
        ("share", "filter"),
        "inspector=true",
        "enabled = true",
        lambda deployment: deployment.inspector.enabled,
    ),
    _Rule(
        "simulator",
        ("changes_count",),
        "simulator=true",
        "enabled = true",
        lambda deployment: deployment.has_simulator,
    ),
    _Rule(
        "alarms",
        ("runbook_url",),
        "alarms=true or dashboard=true",
        "enabled = true or dashboard = true",
        lambda deployment: deployment.alarms.enabled or deployment.alarms.dashboard,
    ),
    _Rule(
        "alarms",
        (
            *("iterator_age_seconds", "quarantine_items", "drift_items"),
            *("mirror_incomplete_minutes", "cache_storage_percent", "cache_ecpu_percent"),
        ),
        "alarms=true",
        "enabled = true",
        lambda deployment: deployment.alarms.enabled,
    ),
    _Rule(
        "alarms",
        ("quarantine_items", "mirror_incomplete_minutes"),
        "audit=true or canary=true",
        "an audit or a canary",
        lambda deployment: deployment.audit.enabled or bool(deployment.canary_tables),
    ),
    _Rule(
        "alarms",
        ("drift_items",),
        "audit=true",
        "an audit",
        lambda deployment: deployment.audit.enabled,
    ),
    _Rule(
        "alarms",
        ("cache_storage_percent",),
        "a serverless cache of known size",
        "a serverless cache of known size",
        _has_storage_limit,
    ),
    _Rule(
        "alarms",
        ("cache_ecpu_percent",),
        "cacheMaxEcpu",
        "max_ecpu in [cache]",
        lambda deployment: deployment.cache.max_ecpu is not None,
    ),
    _Rule(
        "alarms",
        ("canary_missing_minutes", "canary_late_seconds"),
        "alarms=true and canary=true",
        "enabled = true and a canary",
        lambda deployment: deployment.alarms.enabled and bool(deployment.canary_tables),
    ),
)


def check_applicable(
    deployment: "Deployment",
    document: Mapping[str, Any],
    overrides: Mapping[str, Mapping[str, Any]],
    source: str,
) -> None:
    """Check that no value of a file or of context would be ignored.

    Args:
        deployment: the deployment.
        document: content of the file.
        overrides: values of context, by section and field.
        source: name of the file.

    Raises:
        ConfigError: a value would be ignored.
    """
    for rule in _RULES:
        if rule.holds(deployment):
            continue
        for field in _present(rule, overrides):
            name = option_of(rule.section, field)
            raise ConfigError(f"context: {name}: applies only with {rule.option}")
        for field in _present(rule, document):
            raise ConfigError(f"{source}: {rule.section}.{field}: applies only with {rule.field}")


def _makes_cache(deployment: "Deployment", kind: str) -> bool:
    return deployment.cache.existing is None and deployment.cache.kind == kind


def _present(rule: _Rule, sections: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    section = sections.get(rule.section, {})
    return (field for field in rule.fields if field in section)
