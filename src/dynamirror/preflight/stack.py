"""The stack of the mirror: whether it may be deployed, and what it has already."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from dynamirror.deployment.file import Deployment
from dynamirror.deployment.identity import Identity, refused_changes
from dynamirror.errors import SourceError
from dynamirror.preflight.account import Account, MissingError, unanswered
from dynamirror.preflight.report import Check, Place

_UNUSABLE: Final = {
    "ROLLBACK_COMPLETE": "its first deployment failed; delete it, then deploy again",
    "ROLLBACK_FAILED": "its first deployment failed; delete it, then deploy again",
    "DELETE_FAILED": "it could not be deleted; delete it again, then deploy",
    "UPDATE_ROLLBACK_FAILED": "continue its rollback in CloudFormation, then deploy again",
}


@dataclass(slots=True)
class DeployedStack:
    """What is deployed under the name of the mirror's stack.

    Args:
        exists: whether there is such a stack; None if unknown.
        outputs: outputs of the stack.
        resources: physical ids of its resources by type; None if unknown.
    """

    exists: bool | None = None
    outputs: dict[str, str] = field(default_factory=dict)
    resources: dict[str, set[str]] | None = None

    def owns(self, kind: str, physical_id: str) -> bool:
        """Return whether the stack has a resource."""
        return physical_id in (self.resources or {}).get(kind, ())

    def judge(self, check: Check) -> Check:
        """Return a check, as unknown where the stack itself may have what the check found."""
        if check.result != "wrong" or self.resources is not None:
            return check
        return msgspec.structs.replace(
            check,
            result="unknown",
            sentence=f"{check.sentence}, unless it is the deployed stack's own",
            remedy="allow cloudformation:DescribeStacks and cloudformation:ListStackResources, or "
            f"{check.remedy}",
        )


def check_stack(
    account: Account, deployment: Deployment, deployed: DeployedStack
) -> Iterator[Check]:
    """Check that a deployment does not turn the deployed mirror into another.

    Args:
        account: the AWS account.
        deployment: the deployment.
        deployed: is filled with what is found.
    """
    name = deployment.stack_name
    place = Place(f"stack {name}")
    try:
        (stack,) = account.ask("cloudformation", "describe_stacks", StackName=name)["Stacks"]
    except MissingError:
        deployed.exists, deployed.resources = False, {}
        yield place.ok("identity", "it is new")
        return
    except SourceError as error:
        yield unanswered(place, "identity", error)
        return
    status = str(stack["StackStatus"])
    if status == "DELETE_COMPLETE":
        deployed.exists, deployed.resources = False, {}
        yield place.ok("identity", "it is new")
        return
    deployed.exists = True
    deployed.outputs = {
        output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", ())
    }
    yield _status(place, status)
    yield from _identity(place, deployment, deployed.outputs)
    try:
        deployed.resources = _resources(account, name)
    except SourceError as error:
        yield unanswered(place, "resources", error)


def _status(place: Place, status: str) -> Check:
    if remedy := _UNUSABLE.get(status):
        return place.wrong("status", status, remedy)
    if status.endswith("_IN_PROGRESS"):
        return place.wrong("status", status, "wait until its deployment ends")
    return place.ok("status", status)


def _identity(place: Place, deployment: Deployment, outputs: dict[str, str]) -> Iterator[Check]:
    mirror, wanted = deployment.mirror.name, deployment.identity
    text = outputs.get("MirrorIdentity")
    if text is None:
        yield _former(place, deployment, outputs)
        return
    try:
        identity = Identity.from_json(text)
    except ValueError:
        yield place.unknown("identity", f"the output MirrorIdentity cannot be read: {text}")
        return
    refusals = refused_changes(mirror, identity, wanted, deployment.mirror.removed_tables)
    for sentence in refusals:
        finding, _, remedy = sentence.partition("; ")
        yield place.wrong("identity", finding, remedy)
    if not refusals:
        yield place.ok("identity", f"the deployed mirror stays {_words(identity)}")


def _former(place: Place, deployment: Deployment, outputs: dict[str, str]) -> Check:
    """Compare with a stack of version 0.2.0, which had one table and no identity."""
    table = outputs.get("TableName")
    names = [wanted.name for wanted in deployment.tables]
    if table is None:
        return place.wrong(
            "identity", "is the stack of something else", "give the mirror another name"
        )
    # The stack of a created table named it after itself.
    if table in names or (deployment.is_demo and table.startswith(f"{deployment.stack_name}-")):
        return place.ok("identity", f"a stack of an older version, which mirrors table {table}")
    return place.wrong(
        "identity",
        f"a stack of an older version, which mirrors table {table}, which this deployment leaves "
        "out",
        "deploy other tables under another name, as in [mirror] name or -c name=",
    )


def _words(identity: Identity) -> str:
    return json.dumps({name: list(keys) for name, keys in identity.tables.items()})


def _resources(account: Account, stack: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    token: dict[str, Any] = {}
    while True:
        page = account.ask("cloudformation", "list_stack_resources", StackName=stack, **token)
        for resource in page["StackResourceSummaries"]:
            ids = found.setdefault(resource["ResourceType"], set())
            ids.add(resource.get("PhysicalResourceId", ""))
        if not page.get("NextToken"):
            return found
        token = {"NextToken": page["NextToken"]}
