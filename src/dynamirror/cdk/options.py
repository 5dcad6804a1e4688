"""Options of the stack, given as CDK context: `-c name=value`."""

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from itertools import chain
from typing import Final, Literal

from constructs import Node

from dynamirror.errors import ConfigError
from dynamirror.settings import Authorities

MINUTES_A_DAY = 1_440
_DEFAULT_STORAGE_GB = 5
_DEFAULT_AUDIT_MINUTES = 5
# What each option needs, by that; an empty text stands for nothing.
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "": (
        *("architecture", "python", "config", "tableArn", "retain", "batchSize"),
        *("parallelizationFactor", "memoryMb", "tracing", "cacheMaxGb", "cacheMaxEcpu"),
        *("cacheAuthorities", "heal", "segments", "concurrency", "rate", "audit", "simulator"),
        *("canary", "alarms", "dashboard", "alarmTopicArn", "alarmEmail"),
    ),
    "tableArn": ("streamArn", "keys", "viewType", "tableKeyArn"),
    "a new table, and so without tableArn": ("deletionProtection", "pointInTimeRecovery"),
    "audit=true": ("auditEvery", "auditParts", "auditRepair", "auditRate"),
    "simulator=true": ("changesCount",),
    "alarms=true or dashboard=true": ("runbookUrl",),
    "alarms=true": (
        *("iteratorAgeSeconds", "quarantineItems", "driftItems", "mirrorIncompleteMinutes"),
        *("cacheStoragePercent", "cacheEcpuPercent"),
    ),
    "alarms=true and canary=true": ("canaryMissingMinutes", "canaryLateSeconds"),
}
NAMES: Final = tuple(chain.from_iterable(_NAMES.values()))
# CDK's own: aws:cdk:enable-path-metadata, @aws-cdk/core:checkSecretUsage, availability-zones:...
_CDKS_OWN: Final = re.compile("[@:/]")
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no")


class StackOptions:
    """Read options from CDK context.

    Args:
        node: construct node of the stack.
    """

    def __init__(self, node: Node) -> None:
        self._node = node

    def check_names(self, others: Collection[str] = ()) -> None:
        """Check that each name of context is an option that applies, or CDK's own.

        Args:
            others: names that other parts of the app read.

        Raises:
            ConfigError: an option is unknown, or would be ignored.
        """
        for name in self._node.get_all_context():
            if name not in NAMES and name not in others and not _CDKS_OWN.search(name):
                near = get_close_matches(name, NAMES, n=1)
                hint = f"did you mean {near[0]}?" if near else "docs/cdk-options.md lists all"
                raise ConfigError(f"context: {name}: there is no such option; {hint}")
        present = {
            "": True,
            "tableArn": not self.is_new_table,
            "a new table, and so without tableArn": self.is_new_table,
            "audit=true": self.flag("audit", default=True),
            "simulator=true": self.flag("simulator", default=self.is_new_table),
            "alarms=true": self.flag("alarms", default=True),
        }
        present["alarms=true and canary=true"] = present["alarms=true"] and self.flag(
            "canary", default=self.is_new_table
        )
        present["alarms=true or dashboard=true"] = present["alarms=true"] or self.flag(
            "dashboard", default=True
        )
        for needed, names in _NAMES.items():
            for name in names:
                if self.text(name) is not None and not present[needed]:
                    raise ConfigError(f"context: {name}: applies only with {needed}")

    def text(self, name: str) -> str | None:
        """Return an option as text, or None if it is not set."""
        value = self._node.try_get_context(name)
        return None if value in (None, "") else str(value)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return an option as true or false.

        Raises:
            ConfigError: the value is neither true nor false.
        """
        value = self.text(name)
        if value is None:
            return default
        if value.lower() not in _TRUE + _FALSE:
            raise ConfigError(f"context: {name}: must be true or false, not {value!r}")
        return value.lower() in _TRUE

    def number(self, name: str, low: int, high: int) -> int | None:
        """Return an option as a whole number, or None if it is not set.

        Raises:
            ConfigError: the value is no whole number from `low` to `high`.
        """
        value = self.text(name)
        if value is None:
            return None
        if not value.isascii() or not value.isdigit() or not low <= int(value) <= high:
            raise ConfigError(
                f"context: {name}: must be a whole number from {low} to {high}, not {value!r}"
            )
        return int(value)

    def architecture(self) -> Literal["arm64", "x86_64"]:
        """Return the processor architecture of the functions.

        Raises:
            ConfigError: Lambda has no such architecture.
        """
        match self.text("architecture"):
            case None | "arm64":
                return "arm64"
            case "x86_64":
                return "x86_64"
            case other:
                raise ConfigError(f"context: architecture: must be arm64 or x86_64, not {other!r}")

    def authorities(self) -> Authorities:
        """Return the certificate authorities that the functions trust.

        Raises:
            ConfigError: there are no such authorities.
        """
        match self.text("cacheAuthorities"):
            case None | "amazon":
                return "amazon"
            case "system":
                return "system"
            case other:
                raise ConfigError(
                    f"context: cacheAuthorities: must be amazon or system, not {other!r}"
                )

    @property
    def is_new_table(self) -> bool:
        """Return whether the stack creates the table."""
        return self.text("tableArn") is None

    @property
    def max_storage_gb(self) -> int:
        """The cache's storage limit in GB."""
        return self.number("cacheMaxGb", 1, 5_000) or _DEFAULT_STORAGE_GB

    @property
    def max_ecpu(self) -> int | None:
        """The cache's limit of processing units a second; None for no limit."""
        return self.number("cacheMaxEcpu", 1_000, 15_000_000)

    @property
    def audit_interval_minutes(self) -> int:
        """The minutes between two audits."""
        return self.number("auditEvery", 1, MINUTES_A_DAY) or _DEFAULT_AUDIT_MINUTES
