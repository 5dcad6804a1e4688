"""All checks of a deployment."""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from dynamirror.deployment.file import Deployment
from dynamirror.dynamodb.client import Aws
from dynamirror.errors import SourceError
from dynamirror.preflight.account import Account
from dynamirror.preflight.cache import check_cache
from dynamirror.preflight.entries import check_entries
from dynamirror.preflight.names import check_names
from dynamirror.preflight.network import check_network
from dynamirror.preflight.report import Check, Place, Report
from dynamirror.preflight.stack import DeployedStack, check_stack
from dynamirror.preflight.tables import check_table, check_views_of


def preflight(
    deployment: Deployment, aws: Aws, template: Mapping[str, Any] | None = None
) -> Report:
    """Check a deployment against the AWS account.

    Args:
        deployment: the deployment.
        aws: creates the clients.
        template: template of the stack, whose names are checked; None where it is not known.
    """
    return _report(deployment, _checks(deployment, Account(aws), template))


def preflight_offline(deployment: Deployment) -> Report:
    """Check what needs no AWS account: the views and the streams that feed them."""
    return _report(
        deployment,
        chain(
            (check_views_of(deployment, table) for table in deployment.tables),
            check_entries(deployment),
        ),
    )


def _checks(
    deployment: Deployment, account: Account, template: Mapping[str, Any] | None
) -> Iterator[Check]:
    place = Place("AWS")
    try:
        account.identify()
        yield place.ok("credentials", f"account {account.id}, region {account.region}")
    except SourceError as error:
        yield place.unknown(
            "credentials",
            f"cannot be used: {error}",
            "--offline makes the checks that need no account",
        )
        return
    deployed = DeployedStack()
    yield from check_stack(account, deployment, deployed)
    for table in deployment.tables:
        yield from check_table(account, deployment, table, deployed)
    yield from check_entries(deployment)
    yield from check_cache(account, deployment)
    yield from check_network(account, deployment)
    if template is not None:
        yield from check_names(account, template, deployed)


def _report(deployment: Deployment, checks: Iterator[Check]) -> Report:
    return Report(mirror=deployment.mirror.name, stack=deployment.stack_name, checks=tuple(checks))
