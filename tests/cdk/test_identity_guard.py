"""The guard of a mirror's identity comes before all else, and may do little."""

import json
from typing import Any

from aws_cdk.assertions import Template
from tests.support.emulated_account import EmulatedAccount
from tests.support.templates import EXISTING, GUARD, Synth, allowed_actions, resources

from dynamirror.deployment.identity import Identity


def test_all_that_a_deployment_changes_waits_for_the_guard(template: Template) -> None:
    """Users and policies, too: a refused deployment must not take the live mirror's rights."""
    (guard,) = template.find_resources("Custom::DynamirrorIdentity")
    found = template.to_json()["Resources"]
    waiting = {name for name, resource in found.items() if guard in resource.get("DependsOn", ())}
    assert {name for name in found if not name.startswith("Identity")} == waiting


def test_a_deletion_does_not_wait_for_the_guard(template: Template) -> None:
    (guard,) = template.find_resources("Custom::DynamirrorIdentity").values()
    assert guard["DeletionPolicy"] == "Retain"


def test_the_identity_is_an_output_and_what_the_guard_compares(synth: Synth) -> None:
    template = synth(**EXISTING, name="shop", removedTables="old,older")
    (properties,) = resources(template, "Custom::DynamirrorIdentity")
    identity: dict[str, Any] = {
        "tables": {"orders": ["customer", "order"]},
        "cache": "serverless",
        "existing_cache": None,
        "created": [],
        "retain": False,
        "fixed": {
            "network.vpc_id": "",
            "network.public": "false",
            "cache.kms_key_arn": "",
            "network.max_azs": "2",
        },
    }
    assert json.loads(properties["Identity"]) == identity
    assert (properties["Mirror"], properties["RemovedTables"]) == ("shop", ["old", "older"])
    (output,) = template.find_outputs("MirrorIdentity").values()
    assert json.loads(output["Value"]) == identity


def test_the_guard_may_write_its_log_and_read_the_status_of_its_stack(template: Template) -> None:
    allowed: dict[str, list[Any]] = allowed_actions(template, "IdentityRole")
    assert set(allowed) == {
        *("logs:CreateLogStream", "logs:PutLogEvents", "cloudformation:DescribeStacks"),
    }
    assert allowed["cloudformation:DescribeStacks"] == [{"Ref": "AWS::StackId"}]
    (function,) = [
        function
        for function in resources(template, "AWS::Lambda::Function")
        if function["Handler"] == GUARD
    ]
    assert "VpcConfig" not in function


def test_an_update_that_fails_later_is_rolled_back_past_the_guard(
    account: EmulatedAccount,
) -> None:
    """The way back from two tables to one is not refused, and from there all works on."""
    guard = account.function(
        "guard", "from dynamirror.functions.identity_guard import handler as handler\n"
    )

    def stack(*tables: str, removed: tuple[str, ...] = (), fails: bool = False) -> Any:
        identity = Identity(tables=dict.fromkeys(tables, ("id",)), cache="serverless")
        properties = {
            "ServiceToken": guard,
            "Mirror": "shop",
            "Identity": identity.to_json(),
            "RemovedTables": list(removed),
        }
        resources: dict[str, Any] = {
            "Guard": {"Type": "Custom::DynamirrorIdentity", "Properties": properties},
            "Logs": {"Type": "AWS::Logs::LogGroup", "Properties": {}, "DependsOn": "Guard"},
        }
        if fails:
            resources["Broken"] = {
                "Type": "Custom::Broken",
                "Properties": {"ServiceToken": f"{guard}-absent"},
                "DependsOn": "Logs",
            }
        return {"Resources": resources}

    name = "Dynamirror-guarded"
    account.deploy(name, stack("orders"))
    account.deploy(name, stack("orders", "users", fails=True), end="ROLLBACK_COMPLETE")
    account.deploy(name, stack("users"), end="ROLLBACK_COMPLETE")
    account.deploy(name, stack("orders", "users"))
    account.deploy(name, stack("orders"), end="ROLLBACK_COMPLETE")
    account.deploy(name, stack("orders", removed=("users",)))
