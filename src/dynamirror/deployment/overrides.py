"""Single values of a deployment that CDK context overrides: `-c NAME=VALUE`."""

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any, Final

import msgspec

from dynamirror.errors import ConfigError
from dynamirror.validation import explain, field_of
from dynamirror.views.mirror_toml import is_stream

# The section and the field that each name overrides.
FIELDS: Final[Mapping[str, tuple[str, str]]] = {
    "name": ("mirror", "name"),
    "stackName": ("mirror", "stack"),
    "retain": ("mirror", "retain"),
    "deletionProtection": ("mirror", "deletion_protection"),
    "pointInTimeRecovery": ("mirror", "point_in_time_recovery"),
    "removedTables": ("mirror", "removed_tables"),
    "vpcId": ("network", "vpc_id"),
    "subnetIds": ("network", "subnet_ids"),
    "public": ("network", "public"),
    "maxAzs": ("network", "max_azs"),
    "securityGroupIds": ("network", "security_group_ids"),
    "cidrs": ("network", "cidrs"),
    "dynamodbPrefixListId": ("network", "dynamodb_prefix_list_id"),
    "cacheKind": ("cache", "kind"),
    "cacheEngineVersion": ("cache", "engine_version"),
    "cacheMaxGb": ("cache", "max_gb"),
    "cacheMaxEcpu": ("cache", "max_ecpu"),
    "cacheMinEcpu": ("cache", "min_ecpu"),
    "cacheNodeType": ("cache", "node_type"),
    "cacheShards": ("cache", "shards"),
    "cacheReplicas": ("cache", "replicas"),
    "cacheDurability": ("cache", "durability"),
    "cacheAuthorities": ("cache", "authorities"),
    "cacheKeyArn": ("cache", "kms_key_arn"),
    "architecture": ("functions", "architecture"),
    "python": ("functions", "python"),
    "tracing": ("functions", "tracing"),
    "batchSize": ("replicator", "batch_size"),
    "parallelizationFactor": ("replicator", "parallelization_factor"),
    "maxBatchingWindow": ("replicator", "max_batching_window"),
    "memoryMb": ("replicator", "memory_mb"),
    "reservedConcurrency": ("replicator", "reserved_concurrency"),
    "functionPerTable": ("replicator", "function_per_table"),
    "logBatches": ("replicator", "log_batches"),
    "heal": ("recovery", "heal"),
    "segments": ("recovery", "segments"),
    "concurrency": ("recovery", "concurrency"),
    "rate": ("recovery", "rate"),
    "audit": ("audit", "enabled"),
    "auditEvery": ("audit", "every_minutes"),
    "auditParts": ("audit", "parts"),
    "auditUnits": ("audit", "units"),
    "auditRepair": ("audit", "repair"),
    "auditRate": ("audit", "rate"),
    "canary": ("canary", "enabled"),
    "inspector": ("inspector", "enabled"),
    "inspectorShare": ("inspector", "share"),
    "inspectorFilter": ("inspector", "filter"),
    "simulator": ("simulator", "enabled"),
    "changesCount": ("simulator", "changes_count"),
    "alarms": ("alarms", "enabled"),
    "dashboard": ("alarms", "dashboard"),
    "alarmTopicArn": ("alarms", "topic_arn"),
    "alarmEmail": ("alarms", "email"),
    "runbookUrl": ("alarms", "runbook_url"),
    "iteratorAgeSeconds": ("alarms", "iterator_age_seconds"),
    "canaryMissingMinutes": ("alarms", "canary_missing_minutes"),
    "canaryLateSeconds": ("alarms", "canary_late_seconds"),
    "quarantineItems": ("alarms", "quarantine_items"),
    "driftItems": ("alarms", "drift_items"),
    "mirrorIncompleteMinutes": ("alarms", "mirror_incomplete_minutes"),
    "cacheStoragePercent": ("alarms", "cache_storage_percent"),
    "cacheEcpuPercent": ("alarms", "cache_ecpu_percent"),
}
# What describes one existing table, beside the file or in its place.
TABLE_NAMES: Final = ("tableArn", "streamArn", "keys", "viewType", "tableKeyArn")
# What the app itself reads.
OFFLINE: Final = "offline"
NAMES: Final = ("config", OFFLINE, *TABLE_NAMES, *FIELDS)
_LISTS: Final = ("removedTables", "subnetIds", "securityGroupIds", "cidrs")
_VIEW_TYPES: Final = ("NEW_AND_OLD_IMAGES", "NEW_IMAGE", "OLD_IMAGE", "KEYS_ONLY")
_OPTIONS: Final = {field: name for name, field in FIELDS.items()}
# CDK's own: aws:cdk:enable-path-metadata, @aws-cdk/core:checkSecretUsage, availability-zones:...
_CDKS_OWN: Final = re.compile("[@:/]")


class Override(msgspec.Struct, frozen=True):
    """The values that context gives.

    Args:
        sections: values by section and field, as text or lists of text.
        table: fields of `DeployedTable`; empty for none.
    """

    sections: dict[str, dict[str, Any]]
    table: dict[str, Any]

    def explain(self, message: str, sections: type) -> str:
        """Turn msgspec's message about an override into a sentence that names the option.

        Args:
            message: msgspec's message.
            sections: struct that the values were read as.
        """
        sentence = explain(message, sections, self.sections)
        where = field_of(message) or ""
        section, _, field = where.partition(".")
        if option := _OPTIONS.get((section, field.partition("[")[0])):
            return f"{option}{sentence.removeprefix(where)}"
        # A section refuses fields that do not go together.
        return re.sub(
            r"`(\w+)`",
            lambda found: option_of(section, found[1]) or found[0],
            sentence.removeprefix(f"{section}: "),
        )


def option_of(section: str, field: str) -> str | None:
    """Return the name of context that overrides a field; None if there is none."""
    return _OPTIONS.get((section, field))


def check_names(context: Collection[str], others: Collection[str] = ()) -> None:
    """Check that each name of context is an option, or CDK's own.

    Args:
        context: names of context.
        others: names that other parts of the app read.

    Raises:
        ConfigError: an option is unknown.
    """
    for name in context:
        if name not in NAMES and name not in others and not _CDKS_OWN.search(name):
            near = get_close_matches(name, NAMES, n=1)
            hint = f"did you mean {near[0]}?" if near else "docs/cdk-options.md lists all"
            raise ConfigError(f"context: {name}: there is no such option; {hint}")


def is_offline(value: Any) -> bool:
    """Return whether the option `offline` leaves out the preflight.

    Raises:
        ConfigError: the value is neither true nor false.
    """
    text = str(value or "false").lower()
    if text in {"true", "yes"}:
        return True
    if text in {"false", "no"}:
        return False
    raise ConfigError(f"context: {OFFLINE}: must be true or false, not {value!r}")


def override(context: Mapping[str, str]) -> Override:
    """Return the values that CDK context gives; empty texts count as absent.

    Args:
        context: text by name; names of others are ignored.

    Raises:
        ConfigError: an option of the table is wrong.
    """
    sections: dict[str, dict[str, Any]] = {}
    for name, (section, field) in FIELDS.items():
        if text := context.get(name):
            value = _parts(text) if name in _LISTS else text
            sections.setdefault(section, {})[field] = value
    return Override(sections, _table({name: context.get(name) or None for name in TABLE_NAMES}))


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _table(options: Mapping[str, str | None]) -> dict[str, Any]:
    arn, stream = options["tableArn"], options["streamArn"]
    if arn is None:
        for name, value in options.items():
            if value is not None:
                raise ConfigError(f"context: {name}: applies only with tableArn")
        return {}
    if stream is None:
        raise ConfigError("context: tableArn needs streamArn and keys, as in -c keys=pk,sk")
    name = arn.partition(":table/")[2]
    if stream.rpartition("/stream/")[0] != arn or not is_stream(stream, name):
        raise ConfigError(f"context: streamArn: {stream} is not a stream of {arn}")
    table: dict[str, Any] = {"name": name, "stream_arn": stream}
    if keys := options["keys"]:
        table |= {"keys": tuple(_parts(keys)), "types": None}
    if view_type := options["viewType"]:
        if view_type not in _VIEW_TYPES:
            raise ConfigError(f"context: viewType: {view_type!r} is not a stream's view type")
        table["view_type"] = view_type
    if key := options["tableKeyArn"]:
        table["kms_key_arn"] = key
    return table
