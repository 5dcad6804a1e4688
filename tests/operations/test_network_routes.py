"""The subnets of the functions must lead to what the functions need."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from dynamirror.emulators.ministack import start_ministack
from dynamirror.emulators.process import HOST
from dynamirror.operations.network_routes import missing_routes, read_routes, subnets_of_cdk

REGION = "eu-west-1"
SUBNETS = ("subnet-a", "subnet-b")
DYNAMODB = f"com.amazonaws.{REGION}.dynamodb"
SECRETS = f"com.amazonaws.{REGION}.secretsmanager"


def table(name: str, *subnets: str, main: bool = False, **route: str) -> dict[str, Any]:
    """Return a route table with the local route, and a default route to a target."""
    routes = [{"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local", "State": "active"}]
    if route:
        routes.append({"DestinationCidrBlock": "0.0.0.0/0", "State": "active", **route})
    associations: list[dict[str, Any]] = [{"Main": False, "SubnetId": subnet} for subnet in subnets]
    if main:
        associations.append({"Main": True})
    return {"RouteTableId": name, "Associations": associations, "Routes": routes}


def gateway(*tables: str, **changes: str) -> dict[str, Any]:
    """Return a gateway endpoint of DynamoDB."""
    return {
        "VpcEndpointType": "Gateway",
        "ServiceName": DYNAMODB,
        "RouteTableIds": list(tables),
        "State": "available",
        **changes,
    }


def interface(service: str, *, private_dns: bool = True) -> dict[str, Any]:
    """Return an interface endpoint."""
    return {
        "VpcEndpointType": "Interface",
        "ServiceName": service,
        "State": "available",
        "PrivateDnsEnabled": private_dns,
    }


@pytest.mark.parametrize(
    ("tables", "endpoints"),
    [
        ([table("rtb-1", *SUBNETS, NatGatewayId="nat-1")], []),
        ([table("rtb-1", *SUBNETS, TransitGatewayId="tgw-1")], []),
        ([table("rtb-1", *SUBNETS)], [gateway("rtb-0", "rtb-1")]),
        ([table("rtb-1", *SUBNETS)], [interface(DYNAMODB)]),
        ([table("rtb-0", main=True)], [gateway("rtb-0")]),
        (
            [table("rtb-1", "subnet-a", NatGatewayId="nat-1"), table("rtb-2", "subnet-b")],
            [gateway("rtb-2")],
        ),
    ],
)
def test_a_nat_or_an_endpoint_is_a_way_to_dynamodb(
    tables: list[dict[str, Any]], endpoints: list[dict[str, Any]]
) -> None:
    assert missing_routes(SUBNETS, tables, endpoints, region=REGION) == []


@pytest.mark.parametrize(
    ("tables", "endpoints", "without"),
    [
        ([table("rtb-1", *SUBNETS)], [], "subnet-a and subnet-b have"),
        ([table("rtb-1", *SUBNETS, GatewayId="igw-1")], [], "subnet-a and subnet-b have"),
        ([table("rtb-1", *SUBNETS)], [gateway("rtb-2")], "subnet-a and subnet-b have"),
        ([table("rtb-1", *SUBNETS)], [gateway("rtb-1", State="deleting")], "subnet-a and"),
        ([table("rtb-1", *SUBNETS)], [interface(SECRETS)], "subnet-a and subnet-b have"),
        ([table("rtb-1", *SUBNETS)], [interface(DYNAMODB, private_dns=False)], "subnet-a and"),
        (
            [table("rtb-1", *SUBNETS, NatGatewayId="nat-1", State="blackhole")],
            [],
            "subnet-a and subnet-b have",
        ),
        (
            [table("rtb-1", "subnet-a", NatGatewayId="nat-1"), table("rtb-0", main=True)],
            [],
            "subnet-b has",
        ),
        ([], [], "subnet-a and subnet-b have"),
    ],
)
def test_subnets_without_a_way_to_dynamodb_are_named_in_one_sentence(
    tables: list[dict[str, Any]], endpoints: list[dict[str, Any]], without: str
) -> None:
    (sentence,) = missing_routes(SUBNETS, tables, endpoints, region=REGION)
    assert sentence.startswith(f"network.subnet_ids: {without}")
    assert f"for {DYNAMODB} to " in sentence
    for found in tables:
        ids = {entry.get("SubnetId", "") for entry in found["Associations"]}
        assert (found["RouteTableId"] in sentence) == (
            bool(ids & {name for name in SUBNETS if name in sentence}) or not ids - {""}
        )


def test_a_secret_needs_a_way_of_its_own() -> None:
    tables = [table("rtb-1", *SUBNETS)]
    endpoints = [gateway("rtb-1")]
    (sentence,) = missing_routes(SUBNETS, tables, endpoints, region=REGION, uses_secret=True)
    assert "no way to Secrets Manager" in sentence
    assert SECRETS in sentence
    endpoints.append(interface(SECRETS))
    assert missing_routes(SUBNETS, tables, endpoints, region=REGION, uses_secret=True) == []


def test_without_a_choice_the_private_subnets_are_used_and_else_the_isolated_ones() -> None:
    """Those of databases, which have no way out, must not be checked where CDK passes them over."""
    names = ("public", "open", "nat", "transit", "isolated")
    subnets: list[dict[str, Any]] = [{"SubnetId": name} for name in names]
    subnets[0]["MapPublicIpOnLaunch"] = True
    tables = [
        table("rtb-1", "nat", NatGatewayId="nat-1"),
        table("rtb-2", "transit", TransitGatewayId="tgw-1"),
        table("rtb-3", "public", "open", GatewayId="igw-1"),
        table("rtb-0", main=True),
    ]
    assert subnets_of_cdk(subnets, tables) == ["nat", "transit"]
    assert subnets_of_cdk([subnets[0], subnets[4]], tables) == ["isolated"]
    assert subnets_of_cdk(subnets[:2], tables) == []
    subnets[4]["Tags"] = [{"Key": "aws-cdk:subnet-type", "Value": "Private"}]
    assert subnets_of_cdk(subnets, tables) == ["nat", "transit", "isolated"]


@pytest.fixture(scope="module")
def ec2() -> Iterator[Any]:
    """EC2 on this machine."""
    server = start_ministack("ec2")
    yield boto3.client(
        "ec2",
        endpoint_url=f"http://{HOST}:{server.port}",
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    server.stop()


def test_a_vpc_is_read_from_ec2(ec2: Any) -> None:
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    route_table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.associate_route_table(RouteTableId=route_table, SubnetId=subnet)
    (sentence,) = missing_routes([subnet], *read_routes(ec2, vpc), region=REGION)
    assert subnet in sentence
    assert route_table in sentence
    ec2.create_vpc_endpoint(VpcId=vpc, ServiceName=DYNAMODB, RouteTableIds=[route_table])
    assert missing_routes([subnet], *read_routes(ec2, vpc), region=REGION) == []
