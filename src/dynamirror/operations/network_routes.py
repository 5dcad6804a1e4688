"""Whether the subnets of an existing VPC lead to what the functions need.

The functions have no public addresses. They reach DynamoDB through a gateway endpoint or a NAT, and
Secrets Manager through an interface endpoint or a NAT. Without a way, a deployment succeeds, and
nothing ever fills the cache.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

_ANYWHERE: Final = ("0.0.0.0/0", "::/0")
# Targets of a route that leads out for addresses that are private. An internet gateway is not one.
_OUTWARD: Final = (
    *("NatGatewayId", "TransitGatewayId", "NetworkInterfaceId", "InstanceId", "CoreNetworkArn"),
    *("LocalGatewayId", "EgressOnlyInternetGatewayId"),
)
_REMEDIES: Final = {
    "dynamodb": "add a gateway endpoint, which is free, for com.amazonaws.{region}.dynamodb to "
    "{tables}, or a NAT",
    "secretsmanager": "add an interface endpoint with private DNS for "
    "com.amazonaws.{region}.secretsmanager to the VPC, or a NAT to {tables}",
}
_NAMES: Final = {"dynamodb": "DynamoDB", "secretsmanager": "Secrets Manager"}


def missing_routes(
    subnet_ids: Sequence[str],
    route_tables: Iterable[Mapping[str, Any]],
    vpc_endpoints: Iterable[Mapping[str, Any]],
    *,
    region: str,
    uses_secret: bool = False,
) -> list[str]:
    """Return a sentence for each service that some subnets have no way to; none if all have.

    Args:
        subnet_ids: subnets of the functions.
        route_tables: those of the VPC, as EC2's DescribeRouteTables answers.
        vpc_endpoints: those of the VPC, as EC2's DescribeVpcEndpoints answers.
        region: region of the VPC.
        uses_secret: whether the functions read a password from Secrets Manager.
    """
    tables, endpoints = tuple(route_tables), tuple(vpc_endpoints)
    sentences = []
    for service in ("dynamodb", *(["secretsmanager"] if uses_secret else [])):
        without = {
            subnet: table
            for subnet in subnet_ids
            if (table := _table_of(subnet, tables)) is None
            or not _leads_to(service, table, endpoints)
        }
        if without:
            ids = sorted({table["RouteTableId"] for table in without.values() if table})
            place = f"route table{'s' * (len(ids) > 1)} {_listed(ids)}" if ids else "their routes"
            remedy = _REMEDIES[service].format(region=region, tables=place)
            verb = "has" if len(without) == 1 else "have"
            sentences.append(
                f"network.subnet_ids: {_listed(without)} {verb} no way to {_NAMES[service]}; "
                f"{remedy}"
            )
    return sentences


def subnets_of_cdk(
    subnets: Iterable[Mapping[str, Any]], route_tables: Iterable[Mapping[str, Any]]
) -> list[str]:
    """Return the subnets that the stack uses if none are named, as CDK looks them up.

    They are the private ones, or else the isolated ones.
    https://github.com/aws/aws-cdk-cli/blob/main/packages/%40aws-cdk/toolkit-lib/lib/context-providers/vpcs.ts

    Args:
        subnets: those of the VPC, as EC2's DescribeSubnets answers.
        route_tables: those of the VPC, as EC2's DescribeRouteTables answers.
    """
    tables = tuple(route_tables)
    kinds: dict[str, list[str]] = {}
    for subnet in subnets:
        kinds.setdefault(_kind_of_cdk(subnet, tables), []).append(subnet["SubnetId"])
    return kinds.get("Private") or kinds.get("Isolated") or []


def _kind_of_cdk(subnet: Mapping[str, Any], tables: Iterable[Mapping[str, Any]]) -> str:
    for tag in subnet.get("Tags", ()):
        if tag["Key"] == "aws-cdk:subnet-type":
            return str(tag["Value"])
    routes = (_table_of(subnet["SubnetId"], tables) or {}).get("Routes", ())
    if subnet.get("MapPublicIpOnLaunch") or any(
        str(route.get("GatewayId", "")).startswith("igw-") for route in routes
    ):
        return "Public"
    has_way = any(
        route.get("DestinationCidrBlock") == _ANYWHERE[0]
        and (route.get("NatGatewayId") or route.get("TransitGatewayId"))
        for route in routes
    )
    return "Private" if has_way else "Isolated"


def read_routes(ec2: Any, vpc_id: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the route tables and the endpoints of a VPC.

    Args:
        ec2: boto3's ec2 client; its errors pass.
        vpc_id: the VPC.
    """
    found = []
    for operation, field in (
        ("describe_route_tables", "RouteTables"),
        ("describe_vpc_endpoints", "VpcEndpoints"),
    ):
        pages = ec2.get_paginator(operation).paginate(
            Filters=[{"Name": "vpc-id", "Values": [vpc_id]}]
        )
        found.append([entry for page in pages for entry in page.get(field, ())])
    return found[0], found[1]


def _table_of(subnet: str, tables: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the route table of a subnet: its own, or the VPC's main one."""
    main = None
    for table in tables:
        for association in table.get("Associations", ()):
            if association.get("SubnetId") == subnet:
                return table
            if association.get("Main"):
                main = table
    return main


def _leads_to(
    service: str, table: Mapping[str, Any], endpoints: Iterable[Mapping[str, Any]]
) -> bool:
    if any(_is_outward(route) for route in table.get("Routes", ())):
        return True
    for endpoint in endpoints:
        name = str(endpoint.get("ServiceName", ""))
        state = str(endpoint.get("State", "available")).lower()
        if name.rpartition(".")[2] != service or state != "available":
            continue
        if endpoint.get("VpcEndpointType", "Gateway") == "Gateway":
            if table["RouteTableId"] in endpoint.get("RouteTableIds", ()):
                return True
        elif endpoint.get("PrivateDnsEnabled"):
            return True
    return False


def _is_outward(route: Mapping[str, Any]) -> bool:
    destination = route.get("DestinationCidrBlock") or route.get("DestinationIpv6CidrBlock")
    return (
        destination in _ANYWHERE
        and route.get("State", "active") == "active"
        and any(route.get(target) for target in _OUTWARD)
    )


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
