"""The custom resource that refuses to turn one mirror into another, and views that do not fit.

CloudFormation invokes it before it changes anything else of the stack, and expects the answer as a
PUT to a signed URL.
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-responses.html
"""

import json
import logging
import os
from collections.abc import Mapping
from typing import Any, Final
from urllib.request import Request, urlopen

from dynamirror.deployment.identity import Identity, refused_changes
from dynamirror.dynamodb.client import Aws, aws_errors
from dynamirror.errors import ConfigError
from dynamirror.settings import text_of
from dynamirror.views.mirror_toml import check_views, parse_tables, parse_views, read_document

logger = logging.getLogger("dynamirror")

# So that no update replaces the resource, which would hide the identity before it.
_PHYSICAL_ID: Final = "dynamirror-identity"
# CloudFormation's limit of an answer is 4,096 bytes.
_LONGEST_REASON: Final = 3_000
_TIMEOUT_SECONDS: Final = 10.0
_ATTEMPTS: Final = 3
_FILE: Final = "mirror.toml"
_OF_VIEWS: Final = frozenset({"view", "table"})
_INCOMPARABLE: Final = "cannot compare this deployment with the deployed mirror"


def handler(event: Mapping[str, Any], _context: object) -> None:
    """Answer a request of CloudFormation.

    Args:
        event: the request, with the `Identity`, the `Mirror` and the `RemovedTables` of the
            deployment as properties, and its `Config` if its views are a parameter.
    """
    kind = event["RequestType"]
    reasons = [] if kind == "Delete" else _wrong_views(event["ResourceProperties"])
    if kind == "Update":
        reasons += _refused(event)
    reason = "; ".join(reasons).encode()[:_LONGEST_REASON].decode(errors="ignore")
    _respond(
        event["ResponseURL"],
        {
            "Status": "FAILED" if reasons else "SUCCESS",
            "Reason": reason,
            "PhysicalResourceId": event.get("PhysicalResourceId", _PHYSICAL_ID),
            "StackId": event["StackId"],
            "RequestId": event["RequestId"],
            "LogicalResourceId": event["LogicalResourceId"],
        },
    )


def _wrong_views(properties: Mapping[str, Any]) -> list[str]:
    """Return why the views of a parameter are refused; none if they are not."""
    config = properties.get("Config")
    if not config:
        return []
    try:
        text, tables = text_of(config), Identity.from_json(properties["Identity"]).tables
        views, document = parse_views(text, _FILE), read_document(text, _FILE)
        for table, keys in tables.items():
            check_views(views, table, tuple(keys), "NEW_AND_OLD_IMAGES")
        others = [f"[{name}]" for name in document if name not in _OF_VIEWS]
        others += [
            f"[[table]] {table.name} with these keys"
            for table in parse_tables(text, _FILE)
            if tuple(table.keys) != tuple(tables.get(table.name, ()))
        ]
    except ConfigError as error:
        return [str(error)]
    return [
        f"{_FILE}: {other} has no effect in this template; remove it, or build the package of the "
        "file with dynamirror package --config"
        for other in others
    ]


def _refused(event: Mapping[str, Any]) -> list[str]:
    """Return why an update is refused; none if it is not."""
    try:
        old, new = event["OldResourceProperties"], event["ResourceProperties"]
        sentences = refused_changes(
            new["Mirror"],
            Identity.from_json(old["Identity"]),
            Identity.from_json(new["Identity"]),
            new.get("RemovedTables", ()),
        )
    # Without an answer, CloudFormation would wait for its timeout.
    except Exception as error:
        logger.exception("cannot compare the identities")
        sentences = [f"{_INCOMPARABLE}: {error}"]
    try:
        return [] if sentences and _is_rolling_back(event["StackId"]) else sentences
    except Exception as error:
        logger.exception("cannot describe the stack")
        return [f"{_INCOMPARABLE}: {error}", *sentences]


def _is_rolling_back(stack: str) -> bool:
    """Return whether CloudFormation undoes an update, which leads back to the deployed identity.

    Raises:
        SourceError: the stack cannot be described.
    """
    with aws_errors(f"stack {stack}"):
        client = Aws(os.environ.get("AWS_REGION")).client("cloudformation")
        (described,) = client.describe_stacks(StackName=stack)["Stacks"]
    return "ROLLBACK" in described["StackStatus"]


def _respond(url: str, answer: Mapping[str, str]) -> None:
    if not url.startswith(("https://", "http://")):
        raise ConfigError(f"event: ResponseURL: {url} is no address")
    # The signature of the URL covers an empty content type.
    request = Request(  # noqa: S310 - checked above
        url, json.dumps(answer, ensure_ascii=False).encode(), {"Content-Type": ""}, method="PUT"
    )
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with urlopen(request, timeout=_TIMEOUT_SECONDS):  # noqa: S310 - checked above
                return
        except OSError:
            if attempt == _ATTEMPTS:
                raise
