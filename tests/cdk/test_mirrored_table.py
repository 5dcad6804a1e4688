"""Tables of an app, old and new: their keys, and the functions that follow their streams."""

import json
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_lambda as lambda_
from aws_cdk.assertions import Template
from tests.support.templates import STREAM_ARN, TABLE_ARN, functions, resources

from dynamirror.cdk import (
    ExistingCache,
    FunctionContext,
    LambdaCode,
    Mirror,
    MirroredTable,
    Network,
    Recovery,
)
from dynamirror.cdk.mirrored_table import check_tables, declared_keys
from dynamirror.errors import ConfigError
from dynamirror.settings import Settings
from dynamirror.views.view import Schema

TEXT, NUMBER = dynamodb.AttributeType.STRING, dynamodb.AttributeType.NUMBER
CODE = LambdaCode(
    code=lambda_.Code.from_inline("handler = None"),
    architecture=lambda_.Architecture.ARM_64,
    runtime=lambda_.Runtime("python3.14", lambda_.RuntimeFamily.PYTHON, supports_inline_code=True),
    config=None,
)
NEW_IMAGE = dynamodb.StreamViewType.NEW_IMAGE


def attribute(name: str, kind: dynamodb.AttributeType = TEXT) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=name, type=kind)


def orders(stack: Stack, **options: Any) -> dynamodb.Table:
    return dynamodb.Table(
        stack,
        "Orders",
        partition_key=attribute("customer"),
        sort_key=attribute("order", NUMBER),
        stream=NEW_IMAGE,
        **options,
    )


def test_keys_and_view_type_come_from_a_table_of_the_app() -> None:
    stack = Stack(App(), "Theirs")
    table = MirroredTable.from_table(orders(stack))
    assert (table.keys, table.view_type) == (("customer", "order"), NEW_IMAGE)
    assert table.name is None
    second = dynamodb.TableV2(
        stack,
        "Users",
        table_name="users",
        partition_key=attribute("id"),
        dynamo_stream=dynamodb.StreamViewType.NEW_AND_OLD_IMAGES,
    )
    users = MirroredTable.from_table(second)
    assert (users.keys, users.name) == (("id",), "users")
    assert users.view_type is dynamodb.StreamViewType.NEW_AND_OLD_IMAGES
    assert users.key_patterns(None) == ("users:*",)


@pytest.mark.parametrize("version", ["Table", "TableV2"])
def test_a_table_of_the_app_without_a_stream_is_refused(version: str) -> None:
    kind: Any = getattr(dynamodb, version)
    table = kind(Stack(App(), "Theirs"), "Orders", partition_key=attribute("id"))
    with pytest.raises(ConfigError, match=r"^table Theirs/Orders: has no stream; set stream, or"):
        MirroredTable.from_table(table)


def test_a_table_of_another_app_has_no_keys_to_read() -> None:
    table = dynamodb.Table.from_table_attributes(
        Stack(App(), "Theirs"), "Orders", table_arn=TABLE_ARN, table_stream_arn=STREAM_ARN
    )
    with pytest.raises(ConfigError, match=r"^table Theirs/Orders: belongs to no stack of this app"):
        MirroredTable.from_table(table)


def test_each_table_may_have_a_function_of_its_own() -> None:
    stack = Stack(App(), "Theirs")
    tables = [
        MirroredTable.from_table(orders(stack, table_name="orders")),
        MirroredTable(
            table=dynamodb.Table.from_table_attributes(
                stack, "Users", table_arn=f"{TABLE_ARN}.2", table_stream_arn=STREAM_ARN
            ),
            keys=("id",),
        ),
    ]
    mirror = Mirror(
        stack,
        "Mirror",
        tables=tables,
        cache=ExistingCache.from_attributes(stack, "Cache", name="c", host="h", tls=False),
        network=Network(stack, "Network"),
        code=CODE,
        function_per_table=True,
        reserved_concurrent_executions=3,
    )
    assert list(mirror.functions) == ["-orders", "-orders.2"]
    template = Template.from_stack(stack)
    mappings = resources(template, "AWS::Lambda::EventSourceMapping")
    assert len({json.dumps(mapping["FunctionName"]) for mapping in mappings}) == 2
    found = template.find_resources("AWS::Lambda::Function").values()
    schemas = [
        function["Properties"]["Environment"]["Variables"]["DYNAMIRROR_KEY_SCHEMA"]
        for function in found
    ]
    assert sorted(schemas) == ["customer,order", "id"]
    assert {function["Properties"]["ReservedConcurrentExecutions"] for function in found} == {3}
    # Each may read the stream of its own table only.
    for policy in resources(template, "AWS::IAM::Policy"):
        streams = [
            statement["Resource"]
            for statement in policy["PolicyDocument"]["Statement"]
            if "dynamodb:GetRecords" in statement["Action"]
        ]
        assert len(streams) == 1


def test_functions_learn_the_keys_of_tables_without_a_name_of_their_own() -> None:
    stack = Stack(App(), "Theirs")
    users = dynamodb.Table(
        stack,
        "Users",
        partition_key=attribute("id"),
        stream=dynamodb.StreamViewType.NEW_AND_OLD_IMAGES,
    )
    context = FunctionContext(
        tables=[MirroredTable.from_table(orders(stack)), MirroredTable.from_table(users)],
        cache=ExistingCache.from_attributes(stack, "Cache", name="c", host="h", tls=False),
        network=Network(stack, "Network"),
        code=CODE,
    )
    Recovery(stack, "Recovery", context=context)
    template = Template.from_stack(stack)
    worker = functions(template)["dynamirror.functions.worker.handler"]
    schema = worker["Environment"]["Variables"]["DYNAMIRROR_KEY_SCHEMA"]
    names = iter(["orders-1", "users-1"])
    text = "".join(part if isinstance(part, str) else next(names) for part in schema["Fn::Join"][1])
    settings = Settings(host="cache", key_schema=text)
    declared = [settings.declared_schema(name) for name in ("orders-1", "users-1")]
    assert [schema and schema.keys for schema in declared] == [("customer", "order"), ("id",)]
    assert settings.declared_schema("other") is None
    rules = resources(template, "AWS::Events::Rule")
    assert len(rules) == 4


@pytest.mark.parametrize("keys", [("a,b", "c"), ("{a", "b"), (" a",)])
def test_functions_learn_keys_that_a_list_cannot_hold(keys: tuple[str, ...]) -> None:
    stack = Stack(App(), "Theirs")
    table = MirroredTable(
        table=dynamodb.Table.from_table_name(stack, "Orders", "orders"), keys=keys
    )
    declared = stack.resolve(declared_keys([table], None, stack))
    settings = Settings(host="cache", key_schema=declared)
    assert settings.declared_schema("orders") == Schema("orders", keys)


@pytest.mark.parametrize(
    ("count", "sentence"),
    [(0, "mirror: there is no table; pass at least one"), (2, "mirror: a table is there twice;")],
)
def test_tables_are_there_once(count: int, sentence: str) -> None:
    stack = Stack(App(), "Theirs")
    with pytest.raises(ConfigError, match=f"^{sentence}"):
        Mirror(
            stack,
            "Mirror",
            tables=[MirroredTable.from_table(orders(stack))][:count] * count,
            cache=ExistingCache.from_attributes(stack, "Cache", name="c", host="h", tls=False),
            network=Network(stack, "Network"),
            code=CODE,
        )


def test_views_whose_entries_could_meet_are_refused_across_tables(tmp_path: Path) -> None:
    stack = Stack(App(), "Theirs")
    tables = [
        MirroredTable(
            table=dynamodb.Table.from_table_attributes(
                stack,
                name,
                table_arn=TABLE_ARN.replace("orders", name),
                table_stream_arn=STREAM_ARN,
            ),
            keys=("id",),
        )
        for name in ("orders", "users")
    ]
    (config := tmp_path / "mirror.toml").write_text('[[view]]\nkey = "x:{id}"\n')
    with pytest.raises(
        ConfigError, match=r"\(table orders\) and default \(table users\) could both"
    ):
        check_tables(tables, str(config))
    config.write_text('[[view]]\nkey = "x:{id}"\ntable = "orders"\n')
    with pytest.raises(
        ConfigError, match=r"^no view is for table users \(there are views for orders"
    ):
        check_tables(tables, str(config))
    # The default keys begin with the names of the tables.
    assert check_tables(tables, None) == ("orders:*", "users:*")
