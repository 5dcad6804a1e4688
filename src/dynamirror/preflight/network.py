"""The network of a deployment: subnets of an existing VPC and their ways to AWS services."""

from collections.abc import Iterator
from typing import Any

from dynamirror.deployment.file import Deployment
from dynamirror.dynamodb.client import aws_errors
from dynamirror.errors import SourceError
from dynamirror.operations.network_routes import missing_routes, read_routes, subnets_of_cdk
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
        subnets = []
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
    own = {subnet["SubnetId"] for subnet in subnets}
    if strange := [subnet for subnet in section.subnet_ids if subnet not in own]:
        yield place.wrong(
            "subnets", f"{', '.join(strange)} are not its own", "correct network.subnet_ids"
        )
        return
    chosen = section.subnet_ids or subnets_of_cdk(subnets, tables)
    if not chosen:
        yield place.wrong(
            "subnets",
            "all are public, and the functions have no public addresses",
            "add a private subnet in each zone, or set network.subnet_ids",
        )
        return
    yield place.ok("subnets", ", ".join(chosen))
    existing = deployment.cache.existing
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


def _subnets(account: Account, vpc_id: str) -> list[dict[str, Any]]:
    """Return the subnets of a VPC, as EC2 describes them."""
    filters: list[dict[str, Any]] = [{"Name": "vpc-id", "Values": [vpc_id]}]
    found: list[dict[str, Any]] = account.ask("ec2", "describe_subnets", Filters=filters)["Subnets"]
    return found
