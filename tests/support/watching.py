"""The alert rules and the dashboard of deploy/, and the names in their expressions."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped] # publishes no types

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy/prometheus/dynamirror.rules.yml"
DASHBOARD = ROOT / "deploy/grafana/dynamirror.json"
PAGE = ROOT / "docs/grafana.md"
_NAME = re.compile(r"\bdynamirror_\w+")


@cache
def rules() -> dict[str, dict[str, Any]]:
    """Return the alert rules by name."""
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


@cache
def panels() -> list[dict[str, Any]]:
    """Return the panels of the dashboard that show data."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    """Return the expressions of all rules and panels."""
    shown = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [*(rule["expr"] for rule in rules().values()), *shown]


def names(expression: str) -> set[str]:
    """Return the names of the samples in an expression."""
    return set(_NAME.findall(expression))


def without_rule() -> dict[str, str]:
    """Return the reasons for the sections of the runbook that have no rule, from the docs page."""
    text = PAGE.read_text(encoding="utf-8").partition("## Alarms without a rule\n")[2]
    rows = re.findall(r"^\| \[([a-z-]+)\]\(runbook\.md#\1\) \| (.+) \|$", text, re.MULTILINE)
    return dict(rows)
