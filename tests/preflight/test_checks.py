"""Each check against emulated AWS: what it finds, and what to do."""

import json
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from tests.support.emulated_account import EmulatedAccount

from dynamirror.deployment.file import read_deployment
from dynamirror.dynamodb.client import Aws
from dynamirror.emulators.dynamodb import REGION, write_items
from dynamirror.preflight.report import Check, Report
from dynamirror.preflight.run import preflight

KEYS = {"pk": "S", "sk": "N"}
NO_KEY = "arn:aws:kms:us-east-1:000000000000:key/0b1c"


def only(report: Report, result: str) -> Check:
    """Return the only check with a result."""
    (check,) = [check for check in report.checks if check.result == result]
    return check


def test_a_table_as_declared_is_all_right(account: EmulatedAccount) -> None:
    report = account.report(account.deployment(account.table(KEYS), "pk,sk"))
    assert (report.exit_status, report.wrong, report.unknown) == (0, [], [])
    assert {"identity", "keys", "stream", "stream status", "readers", "size"} <= {
        check.what for check in report.checks
    }


@pytest.mark.parametrize("keys", ["wrong,names", "sk,pk", "pk"])
def test_other_keys_are_wrong(account: EmulatedAccount, keys: str) -> None:
    check = only(account.report(account.deployment(account.table(KEYS), keys)), "wrong")
    assert check.what == "keys"
    assert check.sentence == f"they are pk (S), sk (N), not {', '.join(keys.split(','))}"
    assert check.remedy == 'set keys = { pk = "S", sk = "N" }, or -c keys=pk,sk'


def test_other_types_of_keys_are_wrong(account: EmulatedAccount, tmp_path: Any) -> None:
    table = account.table(KEYS)
    (path := tmp_path / "mirror.toml").write_text(
        f'[mirror]\nname = "shop"\n[[table]]\nname = "{table}"\nkeys = {{ pk = "S", sk = "S" }}\n'
        f'stream_arn = "{account.stream(table)}"\n'
    )
    check = only(account.report(read_deployment(str(path))), "wrong")
    assert check.sentence == "they are pk (S), sk (N), not pk (S), sk (S)"


def test_a_stream_that_is_off_or_carries_less_is_wrong(account: EmulatedAccount) -> None:
    table = account.table(KEYS)
    deployment = account.deployment(table, "pk,sk")
    client = account.aws.dynamodb()
    client.update_table(TableName=table, StreamSpecification={"StreamEnabled": False})
    off = [check for check in account.report(deployment).wrong if check.what == "stream"]
    assert [check.sentence for check in off] == ["it is off"]
    assert f"update-table --table-name {table} --stream-specification" in off[0].remedy
    client.update_table(
        TableName=table,
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    )
    former = next(check for check in account.report(deployment).wrong if check.what == "stream")
    assert former.remedy == f"set stream_arn = {account.stream(table)}"
    again = only(account.report(account.deployment(table, "pk,sk")), "wrong")
    assert (again.what, again.remedy) == ("view type", 'set view_type = "NEW_IMAGE"')


def test_views_that_do_not_fit_are_wrong(account: EmulatedAccount, tmp_path: Any) -> None:
    (path := tmp_path / "mirror.toml").write_text('[[view]]\nkey = "user:{pk}"\n')
    deployment = account.deployment(account.table(KEYS), "pk,sk", config=str(path))
    check = only(account.report(deployment), "wrong")
    assert (check.what, check.remedy[:8]) == ("views", "add {sk}")


def test_a_view_of_an_index_s_name_has_its_key_and_attributes(
    account: EmulatedAccount, tmp_path: Any
) -> None:
    table = account.table(KEYS)
    account.aws.dynamodb().update_table(
        TableName=table,
        AttributeDefinitions=[{"AttributeName": "city", "AttributeType": "S"}],
        GlobalSecondaryIndexUpdates=[
            {
                "Create": {
                    "IndexName": "by-city",
                    "KeySchema": [{"AttributeName": "city", "KeyType": "HASH"}],
                    "Projection": {"ProjectionType": "KEYS_ONLY"},
                }
            }
        ],
    )
    view = '[[view]]\nname = "by-city"\nindex = { partition = "city" }\n'
    (path := tmp_path / "mirror.toml").write_text(view)
    deployment = account.deployment(table, "pk,sk", config=str(path))
    check = only(account.report(deployment), "wrong")
    assert check.what == "index by-city"
    assert "it has all attributes, and the table's index has city, pk, sk" in check.sentence
    path.write_text(f'{view}include = ["pk"]\n')
    assert not account.report(account.deployment(table, "pk,sk", config=str(path))).wrong


def test_a_table_that_does_not_exist_or_is_elsewhere_is_wrong(account: EmulatedAccount) -> None:
    for region, number, what in (
        (REGION, "000000000000", "name"),
        ("eu-west-1", "000000000000", "region"),
        (REGION, "123456789012", "account"),
    ):
        arn = f"arn:aws:dynamodb:{region}:{number}:table/absent"
        deployment = read_deployment(
            None, {"tableArn": arn, "streamArn": f"{arn}/stream/1", "keys": "pk", "name": "shop"}
        )
        assert [check.what for check in account.report(deployment).wrong] == [what]


def test_two_readers_leave_no_room_unless_they_are_the_mirrors_own(
    account: EmulatedAccount,
) -> None:
    table = account.table(KEYS)
    deployment = account.deployment(table, "pk,sk")
    stream = account.stream(table)
    account.reader(stream, f"{table}-search")
    assert account.report(deployment).exit_status == 0
    second = account.reader(stream, f"{table}-audit")
    check = only(account.report(deployment), "wrong")
    assert check.sentence == (
        f"{table}-audit, {table}-search read the stream already, and a stream serves 2 a shard"
    )
    account.client("lambda").update_event_source_mapping(UUID=second, Enabled=False)
    assert account.report(deployment).exit_status == 0


def test_an_inspector_is_the_second_reader_and_needs_the_room_of_another(
    account: EmulatedAccount,
) -> None:
    table = account.table(KEYS)
    deployment = account.deployment(table, "pk,sk", inspector="true")
    (alone,) = [check for check in account.report(deployment).checks if check.what == "readers"]
    assert alone.sentence == "2 of 2: this mirror's replicator and inspector"
    account.reader(account.stream(table), f"{table}-search")
    check = only(account.report(deployment), "wrong")
    assert check.sentence == (
        f"{table}-search read the stream already, beside this mirror's replicator and inspector, "
        "and a stream serves 2 a shard"
    )
    assert check.remedy.startswith("set inspector.enabled = false, or disable ")


def test_a_global_table_has_no_room_for_an_inspector(account: EmulatedAccount) -> None:
    table = account.table({"id": "S"})
    described = account.aws.dynamodb().describe_table(TableName=table)["Table"]

    def of_two_regions(**_: Any) -> AWSResponse:
        replicas = [{"RegionName": "eu-west-1"}]
        return answered(200, {"Table": {**described, "CreationDateTime": 1, "Replicas": replicas}})

    operation = "dynamodb.DescribeTable"
    assert not intercepted(account, operation, of_two_regions, table).wrong
    check = only(intercepted(account, operation, of_two_regions, table, inspector="true"), "wrong")
    assert check.sentence == (
        "this mirror's replicator and inspector would both read it, and a global table serves 1 a "
        "shard"
    )
    assert check.remedy == "set inspector.enabled = false"


def test_a_table_larger_than_the_cache_is_wrong(account: EmulatedAccount) -> None:
    table = account.table({"id": "S"})
    write_items(account.aws.dynamodb(), table, ({"id": {"S": str(n)}} for n in range(50)))
    report = account.report(account.deployment(table, "id"))
    (size,) = [check for check in report.checks if check.what == "size"]
    assert size.sentence == "50 items need at least 0.00 GB, of 5 GB"

    def large(**_: Any) -> AWSResponse:
        described = account.aws.dynamodb().describe_table(TableName=table)["Table"]
        sizes = {"ItemCount": 20_000_000, "TableSizeBytes": 6_000_000_000}
        return answered(200, {"Table": {**described, "CreationDateTime": 1, **sizes}})

    check = only(intercepted(account, "dynamodb.DescribeTable", large, table), "wrong")
    assert check.sentence == ("20,000,000 items need at least 10.80 GB, and the cache holds 5 GB")
    assert check.remedy == "set cache.max_gb to 14 or more, or let views store less"


def test_what_may_not_be_read_is_unknown(account: EmulatedAccount) -> None:
    table = account.table({"id": "S"})

    def denied(**_: Any) -> AWSResponse:
        return answered(400, {"__type": "x#AccessDeniedException", "Message": "no"})

    report = intercepted(account, "lambda.ListEventSourceMappings", denied, table)
    check = only(report, "unknown")
    assert (check.what, check.remedy) == (
        "readers",
        "allow lambda:ListEventSourceMappings, or check it yourself",
    )
    assert report.exit_status == 2


def test_without_rights_on_the_stack_its_own_readers_are_not_called_wrong(
    account: EmulatedAccount,
) -> None:
    table = account.table({"id": "S"})
    for name in ("first", "second"):
        account.reader(account.stream(table), f"{table}-{name}")

    def denied(**_: Any) -> AWSResponse:
        body = "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>"
        return answered(403, body)

    report = intercepted(account, "cloudformation.DescribeStacks", denied, table)
    assert [check.what for check in report.unknown] == ["identity", "readers"]
    assert report.unknown[0].remedy.startswith("allow cloudformation:DescribeStacks, ")
    assert report.wrong == []


def test_without_aws_nothing_else_is_tried(account: EmulatedAccount) -> None:
    deployment = account.deployment(account.table(KEYS), "pk,sk")
    closed = Aws(REGION, "http://127.0.0.1:9", ("local", "local"))
    report = preflight(deployment, closed)
    assert [(check.result, check.what) for check in report.checks] == [("unknown", "credentials")]
    assert report.exit_status == 2


def test_a_customer_managed_key_must_be_declared(account: EmulatedAccount) -> None:
    table = account.table({"id": "S"})
    key = account.client("kms").create_key()["KeyMetadata"]["Arn"]
    account.aws.dynamodb().update_table(
        TableName=table,
        SSESpecification={"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": key},
    )
    check = only(account.report(account.deployment(table, "id")), "wrong")
    assert check.remedy == f'set kms_key_arn = "{key}", or -c tableKeyArn='
    assert account.report(account.deployment(table, "id", tableKeyArn=key)).exit_status == 0
    wrong = only(account.report(account.deployment(table, "id", tableKeyArn=NO_KEY)), "wrong")
    assert wrong.what == "encryption"


def test_names_that_others_have_are_wrong(account: EmulatedAccount) -> None:
    deployment = account.deployment(account.table({"id": "S"}), "id")
    account.client("elasticache").create_user(
        UserId="taken",
        UserName="taken",
        Engine="valkey",
        NoPasswordRequired=True,
        AccessString="off",
    )
    template = {
        "Resources": {
            name: {"Type": f"AWS::ElastiCache::{kind}", "Properties": {field: name}}
            for name, kind, field in (
                ("taken", "User", "UserId"),
                ("free", "User", "UserId"),
                ("free-cache", "ServerlessCache", "ServerlessCacheName"),
                ("free-group", "UserGroup", "UserGroupId"),
            )
        }
    }
    check = only(account.report(deployment, template), "wrong")
    assert check.where == "user taken"


def test_the_routes_of_an_existing_vpc_are_checked(account: EmulatedAccount) -> None:
    ec2 = account.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24")["Subnet"]["SubnetId"]
    deployment = account.deployment(account.table({"id": "S"}), "id", vpcId=vpc, subnetIds=subnet)
    check = only(account.report(deployment), "wrong")
    assert check.what == "routes"
    assert "no way to DynamoDB" in check.sentence
    (table,) = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])[
        "RouteTables"
    ]
    ec2.create_vpc_endpoint(
        VpcId=vpc,
        ServiceName=f"com.amazonaws.{REGION}.dynamodb",
        RouteTableIds=[table["RouteTableId"]],
    )
    assert account.report(deployment).exit_status == 0


def test_without_subnet_ids_the_routes_of_the_private_subnets_are_checked(
    account: EmulatedAccount,
) -> None:
    """CDK passes over isolated subnets beside them, as those of databases."""
    ec2 = account.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
    private, _databases = (
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.8.{number}.0/24")["Subnet"]["SubnetId"]
        for number in (1, 2)
    )
    deployment = account.deployment(account.table({"id": "S"}), "id", vpcId=vpc)
    assert only(account.report(deployment), "wrong").what == "routes"
    routes = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.associate_route_table(RouteTableId=routes, SubnetId=private)
    ec2.create_route(
        RouteTableId=routes, DestinationCidrBlock="0.0.0.0/0", NatGatewayId="nat-0a1b2c3d"
    )
    report = account.report(deployment)
    assert report.exit_status == 0, report.wrong
    (subnets,) = [check.sentence for check in report.checks if check.what == "subnets"]
    assert subnets == private


def intercepted(
    account: EmulatedAccount, operation: str, answer: Any, table: str, **options: str
) -> Report:
    """Check a deployment, with an answer in place of the emulator's for one operation."""
    session = boto3.Session("local", "local", region_name=REGION)
    session.events.register(f"before-send.{operation}", answer)
    deployment = account.deployment(table, "id", **options)
    return preflight(deployment, Aws(REGION, account.url, session=session))


def answered(status: int, body: Any) -> AWSResponse:
    """Return an answer of AWS."""

    class Raw:
        def stream(self, **_: Any) -> Any:
            text = body if isinstance(body, str) else json.dumps(body, default=str)
            yield text.encode()

    return AWSResponse("http://aws", status, HTTPHeaders(), Raw())
