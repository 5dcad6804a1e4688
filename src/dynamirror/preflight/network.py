"""The network of a deployment: subnets of an existing VPC and their ways to AWS services."""

from collections.abc import Iterator
from typing import Any

from dynamirror.deployment.file import Deployment
from dynamirror.dynamodb.client import aws_errors
from dynamirror.errors import SourceError
from dynamirror.operations.network_routes import missing_routes, read_routes
from dynamirror.preflight.account import Account, MissingError, unanswered
from dynamirror.preflight.report import Check, Place


def check_network(account: Account, deployment: Deployment) -> Iterator[Check]:
    """Check the existing VPC of a deployment, if it has one."""
    section = deployment.network
    if section.vpc_id is None:
        return
    place = Place(f"VPC {section.vpc_id}")
    try:
        subnets = _subnets(account, section.vpc_id)
        with aws_errors("ec2:describe_route_tables"):
            tables, endpoints = read_routes(account.client("ec2"), section.vpc_id)
    except MissingError:
        subnets = {}
    except SourceError as error:
        yield unanswered(place, "routes", error)
        return
    if not subnets:
        yield place.wrong(
            "subnets",
            f"it has none in account {account.id} and region {account.region}",
            "correct network.vpc_id",
        )
        return
    if strange := [subnet for subnet in section.subnet_ids if subnet not in subnets]:
        yield place.wrong(
            "subnets", f"{', '.join(strange)} are not its own", "correct network.subnet_ids"
        )
        return
    yield place.ok("subnets", ", ".join(section.subnet_ids) or "CDK looks them up")
    existing = deployment.cache.existing
    chosen = (
        section.subnet_ids
        or [subnet for subnet, public in subnets.items() if not public]
        or [*subnets]
    )
    missing = missing_routes(
        chosen,
        tables,
        endpoints,
        region=account.region,
        uses_secret=existing is not None and existing.secret_arn is not None,
    )
    for sentence in missing:
        finding, _, remedy = sentence.partition("; ")
        yield place.wrong("routes", finding, remedy)
    if not missing:
        yield place.ok("routes", "they lead to what the functions need")


def _subnets(account: Account, vpc_id: str) -> dict[str, bool]:
    """Return the subnets of a VPC, and whether each gives public addresses."""
    filters: list[dict[str, Any]] = [{"Name": "vpc-id", "Values": [vpc_id]}]
    found = account.ask("ec2", "describe_subnets", Filters=filters)["Subnets"]
    return {subnet["SubnetId"]: bool(subnet.get("MapPublicIpOnLaunch")) for subnet in found}
