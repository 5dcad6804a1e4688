"""Each Prometheus rule is valid, is on the page, and is raised for what it is meant for."""

import json
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.watching import PAGE, RULES, expressions, rules
from tests.support.written_docs import blocks

PROMTOOL = shutil.which("promtool")
promtool_only = pytest.mark.skipif(
    PROMTOOL is None, reason="needs promtool, of Debian's package prometheus"
)
# By alert: the minute at which it is raised, and samples of each minute where it is, and is not.
# A number, or begin and step of a counter. 60 minutes follow.
CASES: Mapping[str, tuple[int, dict[str, tuple[str, str]]]] = {
    "IteratorAge": (10, {'shard_behind_seconds{shard="1"}': ("400+60x60", "2x60")}),
    "ReplicatorErrors": (10, {"invocation_errors_total": ("0+1x60", "3x60")}),
    "EntriesFailed": (10, {"failed_total": ("0+100x60", "0 0 5x58")}),
    "CanaryMissing": (10, {"canary_seen": ("0x60", "1x60")}),
    "CanaryLate": (
        10,
        {
            'canary_latency_seconds_bucket{le="5.0"}': ("0x60", "0+1x60"),
            'canary_latency_seconds_bucket{le="10.0"}': ("0x60", "0+1x60"),
            'canary_latency_seconds_bucket{le="20.0"}': ("0+1x60", "0+1x60"),
            'canary_latency_seconds_bucket{le="+Inf"}': ("0+1x60", "0+1x60"),
        },
    ),
    "MirrorIncomplete": (35, {"mirror_complete": ("0x60", "1x3 0x20 1x40")}),
    "QuarantineNotEmpty": (10, {"quarantine_size": ("0x5 4x60", "0x60")}),
    "ConsistencyViolated": (
        10,
        {'consistency_violations_total{kind="missing"}': ("0x8 1x60", "7x60")},
    ),
    "InspectorFailed": (10, {"inspection_errors_total": ("0x8 1x60", "7x60")}),
    "OperatingErrors": (15, {"check_errors_total": ("0+1x60", "0x4 1x60")}),
    "RebuildFailed": (10, {"rebuild_errors_total": ("0x8 1x60", "7x60")}),
    "JobTakesLong": (10, {"rebuild_running_seconds": ("86400+60x60", "0+60x60")}),
    "WatchdogSilent": (45, {"check_age_seconds": ("0+60x60", "2x60")}),
    "CacheNearStorageLimit": (10, {"cache_memory_share": ("0.85x60", "0.79x60")}),
    "CacheEvictions": (10, {"mirror_doubtful": ("0x5 1x60", "0x60")}),
}


def promtool(command: str, file: Path) -> subprocess.CompletedProcess[str]:
    """Run `promtool COMMAND rules FILE`."""
    assert PROMTOOL is not None
    words = [PROMTOOL, command, "rules", str(file)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def series(name: str, values: str, table: str) -> dict[str, str]:
    """Return a series of promtool's for a table."""
    metric, _, labels = name.partition("{")
    inside = ", ".join(
        filter(None, ['job="dynamirror"', f'table="{table}"', labels.removesuffix("}")])
    )
    return {"series": f"dynamirror_{metric}{{{inside}}}", "values": values}


def expected(alert: str, table: str | None) -> dict[str, Any]:
    """Return an alert as promtool expects it."""
    rule = rules()[alert]
    labels = {"severity": rule["labels"]["severity"]}
    if table is not None:
        labels |= {"job": "dynamirror", "table": table}
    annotations = {
        name: text.replace("{{ $labels.table }}", table or "").replace("{{ $value }}", "4")
        for name, text in rule["annotations"].items()
    }
    return {"exp_labels": labels, "exp_annotations": annotations}


def at(minute: int, alert: str, *raised: dict[str, Any]) -> dict[str, Any]:
    """Return what promtool expects of an alert at a minute."""
    return {"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": list(raised)}


def run_tests(folder: Path, tests: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    """Run promtool's unit tests over the rules."""
    file = folder / "tests.yml"
    document = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}
    file.write_text(json.dumps(document), encoding="utf-8")  # which is YAML, too
    return promtool("test", file)


def test_the_page_names_each_rule_with_its_metrics() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for alert, rule in rules().items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| {alert} |")]
        for word in row.split("`")[1::2]:
            assert not word.startswith("dynamirror_") or word in rule["expr"]
    assert f"`SUCCESS: {len(rules())} rules found`" in page


@promtool_only
def test_promtool_finds_no_fault_in_the_rules_and_the_panels(tmp_path: Path) -> None:
    done = promtool("check", RULES)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"SUCCESS: {len(rules())} rules found" in done.stdout
    recorded = [
        {"record": f"shown:{index}", "expr": text.replace("$__rate_interval", "2m")}
        for index, text in enumerate(expressions())
    ]
    file = tmp_path / "shown.yml"
    file.write_text(json.dumps({"groups": [{"name": "shown", "rules": recorded}]}), "utf-8")
    done = promtool("check", file)
    assert done.returncode == 0, done.stdout + done.stderr


@promtool_only
def test_each_rule_is_raised_for_the_table_in_trouble_only(tmp_path: Path) -> None:
    assert CASES.keys() == rules().keys()
    tests = [
        {
            "name": alert,
            "interval": "1m",
            "input_series": [
                series(name, values, table)
                for name, of_table in samples.items()
                for table, values in zip(("orders", "users"), of_table, strict=True)
            ],
            "alert_rule_test": [at(0, alert), at(minute, alert, expected(alert, "orders"))],
        }
        for alert, (minute, samples) in CASES.items()
    ]
    done = run_tests(tmp_path, tests)
    assert done.returncode == 0, done.stdout + done.stderr


# Samples of each minute of mirrors that are well, by what happens to them; each is of one table.
WELL: Mapping[str, dict[str, str]] = {
    "new": {
        "leader": "1x60",
        "check_age_seconds": "1x60",
        "mirror_complete": "0x25 1x35",
        "rebuild_running_seconds": "0+60x25 0x35",
        "canary_seen": "0x3 1x57",
        "canary_latency_seconds_count": "_x4 1+1x56",
        'canary_latency_seconds_bucket{le="10.0"}': "_x4 0+1x56",
        'canary_latency_seconds_bucket{le="+Inf"}': "_x4 1+1x56",
        "failed_total": "0x60",
        "invocation_errors_total": "0x60",
        "check_errors_total": "0x60",
        'consistency_violations_total{kind="missing"}': "_x2 0x60",
    },
    "started again": {
        "leader": "1x20 _ 1x40",
        "check_age_seconds": "1x20 _ 1x40",
        "mirror_complete": "1x20 _x2 1x40",
        "canary_seen": "1x20 _x2 1x40",
        "canary_latency_seconds_count": "900+1x20 _x2 1+1x40",
        'canary_latency_seconds_bucket{le="10.0"}': "890+1x20 _x2 1+1x40",
        'canary_latency_seconds_bucket{le="+Inf"}': "900+1x20 _x2 1+1x40",
        "failed_total": "70x20 _ 0x40",
        "invocation_errors_total": "7x20 _ 0x40",
        "check_errors_total": "9x20 _ 0x40",
        "rebuild_errors_total": "2x20 _ 0x40",
        'consistency_violations_total{kind="missing"}': "3x20 _x2 0x40",
    },
    "failed over": {
        'leader{instance="a"}': "1x20 stale",
        'leader{instance="b"}': "0x20 1x40",
        'check_age_seconds{instance="a"}': "1x20 stale",
        'check_age_seconds{instance="b"}': "_x20 1x40",
        'mirror_complete{instance="a"}': "1x20 stale",
        'mirror_complete{instance="b"}': "_x20 1x40",
        'canary_seen{instance="a"}': "1x20 stale",
        'canary_seen{instance="b"}': "_x22 1x38",
        'canary_latency_seconds_count{instance="a"}': "5+1x20 stale",
        'canary_latency_seconds_count{instance="b"}': "_x22 1+1x38",
        'failed_total{instance="b"}': "0x60",
        'quarantine_size{instance="b"}': "0x60",
    },
    "in trouble for a moment": {
        "leader": "1x60",
        "check_age_seconds": "1x60",
        "failed_total": "0x10 100x2 200x48",
        "invocation_errors_total": "0x10 1x2 2x48",
        'canary_latency_seconds_bucket{le="10.0"}': "0+1x10 10x0 11x0 12x0 12+1x47",
        'canary_latency_seconds_bucket{le="+Inf"}': "0+1x10 11x0 12x0 14x0 14+1x47",
        "canary_seen": "1x10 0x3 1x46",
        "canary_latency_seconds_count": "0+1x10 10x3 11+1x46",
    },
}


@promtool_only
def test_no_rule_is_raised_for_a_mirror_that_is_well(tmp_path: Path) -> None:
    tests = [
        {
            "name": name,
            "interval": "1m",
            "input_series": [series(name, values, "orders") for name, values in samples.items()],
            "alert_rule_test": [at(minute, alert) for alert in rules() for minute in range(2, 60)],
        }
        for name, samples in WELL.items()
    ]
    done = run_tests(tmp_path, tests)
    assert done.returncode == 0, done.stdout + done.stderr


# What is raised for the table that is in trouble, by what happens to processes.
TROUBLE: Mapping[str, tuple[dict[str, str], list[tuple[int, str, bool]]]] = {
    "the only process is gone, and another table's is not": (
        {
            "leader": "1x10 stale",
            "check_age_seconds": "1x10 stale",
            'leader{table="users"}': "1x60",
            'check_age_seconds{table="users"}': "1x60",
        },
        [(11, "WatchdogSilent", False), (14, "WatchdogSilent", True), (59, "WatchdogSilent", True)],
    ),
    "all processes stand by": (
        {
            'leader{instance="a"}': "1x10 0x50",
            'leader{instance="b"}': "0x60",
            'check_age_seconds{instance="a"}': "1x10 stale",
        },
        [(11, "WatchdogSilent", False), (14, "WatchdogSilent", True)],
    ),
    "the canary stops": (
        {"canary_seen": "1x60", "canary_latency_seconds_count": "0+1x10 10x50"},
        [(10, "CanaryMissing", False), (16, "CanaryMissing", True)],
    ),
    "the canary of the new leader does not arrive": (
        {
            'canary_seen{instance="a"}': "1x10 stale",
            'canary_seen{instance="b"}': "_x10 0x50",
            'canary_latency_seconds_count{instance="a"}': "0+1x10 10x50",
        },
        [(10, "CanaryMissing", False), (17, "CanaryMissing", True)],
    ),
    "batches fail in three minutes of five, in two processes": (
        {
            'invocation_errors_total{instance="a"}': "0x10 1x1 2x48",
            'invocation_errors_total{instance="b"}': "0x13 5x47",
        },
        [(12, "ReplicatorErrors", False), (14, "ReplicatorErrors", True)],
    ),
    "two processes without --ha disagree": (
        {'mirror_complete{instance="a"}': "1x60", 'mirror_complete{instance="b"}': "0x60"},
        [(50, "MirrorIncomplete", False)],
    ),
}


@promtool_only
def test_trouble_of_processes_is_noticed(tmp_path: Path) -> None:
    tests = [
        {
            "name": name,
            "interval": "1m",
            "input_series": [
                series(name.replace('table="users"', ""), values, table)
                for name, values in samples.items()
                for table in ("users" if 'table="users"' in name else "orders",)
            ],
            "alert_rule_test": [
                at(minute, alert, *([expected(alert, "orders")] if is_raised else []))
                for minute, alert, is_raised in alerts
            ],
        }
        for name, (samples, alerts) in TROUBLE.items()
    ]
    gone = {
        "name": "no process is left",
        "interval": "1m",
        "input_series": [series("check_age_seconds", "1x10 stale", "orders")],
        "alert_rule_test": [
            at(10, "WatchdogSilent"),
            at(20, "WatchdogSilent", expected("WatchdogSilent", None)),
        ],
    }
    done = run_tests(tmp_path, [*tests, gone])
    assert done.returncode == 0, done.stdout + done.stderr


@promtool_only
def test_the_page_s_configuration_and_its_links_are_valid(tmp_path: Path) -> None:
    assert PROMTOOL is not None
    page = PAGE.read_text(encoding="utf-8")
    (configuration,) = [block.text for block in blocks(page) if block.language == "yaml"]
    (tmp_path / "prometheus.yml").write_text(configuration, encoding="utf-8")
    shutil.copy(RULES, tmp_path)
    (command,) = [
        line for block in blocks(page) for line in block.text.splitlines() if line[:4] == "sed "
    ]
    subprocess.run(shlex.split(command), cwd=tmp_path, check=True, timeout=60)
    links = (tmp_path / RULES.name).read_text(encoding="utf-8")
    assert links.count("runbook_url: https://wiki.example.com/runbook#") == len(rules())
    words = [PROMTOOL, "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
