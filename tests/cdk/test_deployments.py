"""The example deployments: each is synthesized once, and no linter finds anything in it."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import Validations
from aws_cdk.assertions import Template
from cdk_nag import AwsSolutionsChecks
from cfnlint import api as cfnlint
from cfnlint.config import ManualArgs
from tests.support.templates import (  # prepares jsii, before any import of aws_cdk
    allowed_actions,
    functions,
    make_stack,
    resources,
)

from dynamirror.metrics.catalogue import DIMENSION

FOLDER = Path(__file__).parents[2] / "examples/deployments"
FILES = sorted(path.stem for path in FOLDER.glob("*.toml"))
FIVE = ("customers", "orders", "products", "carts", "stock")
# Those that the stack creates; the canary writes to those with a partition key of type S.
CREATED = {"carts", "stock"}


@cache
def synthesized(name: str) -> Template:
    """Synthesize a deployment with cdk-nag, which raises what it finds."""
    app, stack = make_stack(config=str(FOLDER / f"{name}.toml"))
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    app.synth()
    return Template.from_stack(stack)


@pytest.mark.parametrize("name", FILES)
def test_no_linter_finds_anything_in_an_example(name: str) -> None:
    text = json.dumps(synthesized(name).to_json())
    # W3005: CDK repeats dependencies that references imply.
    options = ManualArgs(regions=["eu-west-1"], ignore_checks=["W3005"])
    found = cfnlint.lint(text, config=options)
    assert "\n".join(map(str, found)) == ""


def five() -> Template:
    return synthesized("five-tables")


def stream(name: str) -> Any:
    """Return the ARN of a table's stream, or the logical id of a table that is created."""
    ids = five().find_resources("AWS::DynamoDB::Table", {"Properties": {"TableName": name}})
    if name in CREATED:
        (logical_id,) = ids
        return {"Fn::GetAtt": [logical_id, "StreamArn"]}
    return f"arn:aws:dynamodb:eu-west-1:123456789012:table/{name}/stream/2026-01-02T03:04:05.678"


def named(reference: Any) -> str:
    """Return the table that a name in the template refers to."""
    if isinstance(reference, str):
        return reference
    table = five().find_resources("AWS::DynamoDB::Table")[reference["Ref"]]
    return str(table["Properties"]["TableName"])


def inputs(word: str) -> list[str]:
    """Return the tables in the events of the rules whose descriptions have a word."""
    found = []
    for rule in resources(five(), "AWS::Events::Rule"):
        if word in rule["Description"]:
            (target,) = rule["Targets"]
            text = target["Input"]
            if not isinstance(text, str):
                (reference,) = (part for part in text["Fn::Join"][1] if not isinstance(part, str))
                text = json.dumps({"table": named(reference)})
            found.append(json.loads(text)["table"])
    return sorted(found)


def test_one_replicator_follows_the_streams_of_all_tables() -> None:
    mappings = resources(five(), "AWS::Lambda::EventSourceMapping")
    assert [mapping["EventSourceArn"] for mapping in mappings] == [stream(name) for name in FIVE]
    assert len({json.dumps(mapping["FunctionName"]) for mapping in mappings}) == 1
    for mapping in mappings:
        assert mapping["StartingPosition"] == "TRIM_HORIZON"
        assert mapping["MaximumBatchingWindowInSeconds"] == 1
    replicator = functions(five())["dynamirror.handler.handler"]
    assert replicator["ReservedConcurrentExecutions"] == 20
    # The keys are in the packaged mirror.json.
    assert "DYNAMIRROR_KEY_SCHEMA" not in replicator["Environment"]["Variables"]
    assert replicator["Environment"]["Variables"]["DYNAMIRROR_CONFIG"] == "mirror.json"


def test_each_schedule_names_its_table() -> None:
    assert inputs("auditor") == sorted(FIVE)
    assert inputs("checked") == sorted(FIVE)
    # The partition key of `stock` is a number, and the other tables belong to someone else.
    assert inputs("canary") == ["carts"]


def test_each_function_may_use_the_tables_that_it_needs_and_no_other() -> None:
    def tables(role: str, action: str) -> set[str]:
        arns = allowed_actions(five(), role)[action]
        return {
            arn.rpartition("/")[2] if isinstance(arn, str) else named({"Ref": arn["Fn::GetAtt"][0]})
            for arn in arns
        }

    for role in ("OperatorRole", "WorkerRole", "RecoveryAuditorRole"):
        assert tables(role, "dynamodb:Scan") == set(FIVE)
    assert tables("CanaryRole", "dynamodb:PutItem") == {"carts"}
    assert "dynamodb:Scan" not in allowed_actions(five(), "CanaryRole")
    environment = functions(five())["dynamirror.functions.worker.handler"]["Environment"]
    names = environment["Variables"]["DYNAMODB_TABLES"]["Fn::Join"][1]
    listed = "".join(named(part) if isinstance(part, dict) else part for part in names)
    assert listed.split(",") == list(FIVE)


def test_users_may_use_the_keys_of_all_views() -> None:
    for user in resources(five(), "AWS::ElastiCache::User"):
        access = user["AccessString"]
        for prefix in ("customer", "order", "open", "product", "cart", "stock"):
            assert f"~{prefix}:*" in access


def test_each_table_has_its_alarms_and_its_graphs() -> None:
    alarms = five().find_resources("AWS::CloudWatch::Alarm")
    tables: dict[str, list[str]] = {}
    for alarm in alarms.values():
        properties = alarm["Properties"]
        section = properties["AlarmDescription"].rpartition("#")[2]
        names = [
            named(dimension["Value"])
            for dimension in properties["Dimensions"]
            if dimension["Name"] == DIMENSION
        ]
        tables.setdefault(section, []).extend(names)
    for section in ("entries-failed", "mirror-incomplete", "quarantine-not-empty", "drift-found"):
        assert sorted(tables[section]) == sorted(FIVE), section
    for section in ("canary-missing", "canary-late"):
        assert tables[section] == ["carts"], section
    (dashboard,) = resources(five(), "AWS::CloudWatch::Dashboard")
    body = json.dumps(dashboard["DashboardBody"])
    assert body.count("Records a minute") == len(FIVE)
    assert body.count("The canary's item") == 1


def test_the_outputs_name_all_tables() -> None:
    (output,) = five().find_outputs("Tables").values()
    parts = output["Value"]["Fn::Join"][1]
    text = "".join(named(part) if isinstance(part, dict) else part for part in parts)
    assert json.loads(text) == list(FIVE)
    (one,) = synthesized("orders").find_outputs("Tables").values()
    assert one["Value"] == '["orders"]'
    assert synthesized("orders").find_outputs("TableName")["TableName"]["Value"] == "orders"


def test_created_tables_are_kept_as_the_file_asks() -> None:
    found = five().find_resources("AWS::DynamoDB::Table").values()
    assert {table["Properties"]["TableName"] for table in found} == CREATED
    for table in found:
        assert (table["DeletionPolicy"], table["UpdateReplacePolicy"]) == ("Retain", "Retain")
        assert table["Properties"]["DeletionProtectionEnabled"] is True
    (stock,) = (table for table in found if table["Properties"]["TableName"] == "stock")
    assert stock["Properties"]["KeySchema"] == [
        {"AttributeName": "warehouse", "KeyType": "HASH"},
        {"AttributeName": "sku", "KeyType": "RANGE"},
    ]


def test_another_table_changes_no_logical_id_of_the_others(tmp_path: Path) -> None:
    blocks = (FOLDER / "five-tables.toml").read_text(encoding="utf-8").split("\n\n")
    four = "\n\n".join(block for block in blocks if '"customers"' not in block)
    (file := tmp_path / "mirror.toml").write_text(four, encoding="utf-8")
    _app, stack = make_stack(config=str(file))
    before, after = Template.from_stack(stack).to_json(), five().to_json()
    assert set(before["Resources"]) < set(after["Resources"])
    for logical_id, resource in before["Resources"].items():
        assert resource["Type"] == after["Resources"][logical_id]["Type"]
    added = set(after["Resources"]) - set(before["Resources"])
    kinds = {after["Resources"][logical_id]["Type"] for logical_id in added}
    assert kinds == {
        "AWS::Lambda::EventSourceMapping",
        "AWS::Lambda::Permission",
        "AWS::Events::Rule",
        "AWS::CloudWatch::Alarm",
    }


def test_two_mirrors_share_no_name_in_an_account() -> None:
    seen: dict[str, str] = {}
    for name in ("demo", "orders", "five-tables"):
        for resource in synthesized(name).to_json()["Resources"].values():
            for field, value in resource.get("Properties", {}).items():
                named = field.endswith(("CacheName", "UserId", "UserName", "GroupId"))
                if named and isinstance(value, str):
                    assert len(value) <= 40
                    assert seen.setdefault(value, name) == name
    assert len(seen) >= 3 * 4
