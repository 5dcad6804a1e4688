"""A stack of version 0.2.0 becomes one of this version, and keeps its table and its cache."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.emulated_account import EmulatedAccount
from tests.support.stateful import CREATE_ONLY, stateful
from tests.support.templates import EXISTING, STREAM_ARN, Synth, synthesize

from dynamirror.emulators.dynamodb import write_items

if TYPE_CHECKING:
    from aws_cdk.assertions import Template

# As docs/upgrade.md says.
IN_PLACE = {"stackName": "Dynamirror"}
OLD = json.loads(
    (Path(__file__).parents[1] / "support" / "stateful_0_2_0.json").read_text(encoding="utf-8")
)
MAPPING = "MirrorReplicatorDynamoDBEventSourceDynamirrorTableF993CEBFAFA1B3FA"
NAMES = {"AWS::ElastiCache::User": "UserId", "AWS::ElastiCache::UserGroup": "UserGroupId"}


def new(synth: Synth) -> dict[str, Any]:
    """Return the resources of this version in a stack that is updated in place."""
    template: Template = synth(**IN_PLACE)
    return stateful(template.to_json())


def test_no_stateful_resource_of_the_version_before_is_replaced(synth: Synth) -> None:
    resources = new(synth)
    assert {old["Type"] for old in OLD.values()} >= {
        *("AWS::DynamoDB::Table", "AWS::ElastiCache::ServerlessCache", "AWS::EC2::VPC"),
    }
    for name, old in OLD.items():
        assert name in resources, f"{name} would be deleted"
        assert create_only(resources[name]) == create_only(old)


def test_no_new_resource_takes_the_name_of_one_that_is_deleted_later(synth: Synth) -> None:
    """CloudFormation creates before it deletes, and names are unique."""
    taken = {
        (old["Type"], old["Properties"][NAMES[old["Type"]]]): name
        for name, old in OLD.items()
        if old["Type"] in NAMES
    }
    for name, resource in new(synth).items():
        if field := NAMES.get(resource["Type"]):
            owner = taken.get((resource["Type"], resource["Properties"][field]), name)
            assert owner == name


@pytest.mark.parametrize("options", [{}, EXISTING], ids=["new table", "existing table"])
def test_the_event_source_mapping_stays(synth: Synth, options: dict[str, str]) -> None:
    """Lambda refuses the one that CloudFormation would create before it deletes the old one."""
    mappings = synth(**IN_PLACE, **options).find_resources("AWS::Lambda::EventSourceMapping")
    assert mappings.keys() == {MAPPING}
    assert mappings[MAPPING]["Properties"]["FunctionName"] == {"Ref": "MirrorReplicator10AB97E5"}


def test_the_first_of_several_tables_keeps_the_event_source_mapping(tmp_path: Path) -> None:
    tables = "".join(
        f'[[table]]\nname = "{name}"\nkeys = {{ id = "S" }}\n'
        f'stream_arn = "{STREAM_ARN.replace("/orders/", f"/{name}/")}"\n'
        for name in ("orders", "users")
    )
    (file := tmp_path / "mirror.toml").write_text(
        f'[mirror]\nname = "shop"\nstack = "Dynamirror"\n{tables}', encoding="utf-8"
    )
    mappings = synthesize(config=str(file)).find_resources("AWS::Lambda::EventSourceMapping")
    assert len(mappings) == 2
    assert mappings[MAPPING]["Properties"]["EventSourceArn"] == STREAM_ARN


def test_the_emulator_updates_the_version_before_in_place(
    synth: Synth, account: EmulatedAccount
) -> None:
    """Only the stateful resources are deployed, since the rest needs assets of another version."""
    before = account.deploy("Dynamirror", {"Resources": OLD})
    table = next(before[name] for name in OLD if OLD[name]["Type"] == "AWS::DynamoDB::Table")
    client = account.aws.dynamodb()
    write_items(client, table, [{"id": {"S": "1"}}])
    stream = account.stream(table)
    after = account.deploy("Dynamirror", {"Resources": new(synth)})
    assert {name: after[name] for name in before} == before
    assert client.get_item(TableName=table, Key={"id": {"S": "1"}})["Item"]
    assert account.stream(table) == stream


def create_only(resource: dict[str, Any]) -> dict[str, Any]:
    """Return the properties of a resource whose change would replace it."""
    properties = resource.get("Properties", {})
    return {name: properties.get(name) for name in CREATE_ONLY[resource["Type"]]}
