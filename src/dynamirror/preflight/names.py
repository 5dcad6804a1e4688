"""Names of a synthesized template, which other resources may have already."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from dynamirror.errors import SourceError
from dynamirror.preflight.account import Account, MissingError, unanswered
from dynamirror.preflight.report import Check, Place
from dynamirror.preflight.stack import DeployedStack


class _Named(NamedTuple):
    """How to find a resource by its name.

    Args:
        field: property of the template, and argument of the operation, that holds the name.
        operation: operation of ElastiCache.
        words: the resource in words.
    """

    field: str
    operation: str
    words: str


_NAMED: Final[Mapping[str, _Named]] = {
    "AWS::ElastiCache::ServerlessCache": _Named(
        "ServerlessCacheName", "describe_serverless_caches", "cache"
    ),
    "AWS::ElastiCache::ReplicationGroup": _Named(
        "ReplicationGroupId", "describe_replication_groups", "cache"
    ),
    "AWS::ElastiCache::User": _Named("UserId", "describe_users", "user"),
    "AWS::ElastiCache::UserGroup": _Named("UserGroupId", "describe_user_groups", "user group"),
}


def check_names(
    account: Account, template: Mapping[str, Any], deployed: DeployedStack
) -> Iterator[Check]:
    """Check that nothing outside the stack has the names of its cache, users and user groups.

    Args:
        account: the AWS account.
        template: the template of the stack.
        deployed: what is deployed already.
    """
    for resource in template["Resources"].values():
        kind = _NAMED.get(resource["Type"])
        name = kind and resource["Properties"].get(kind.field)
        if kind is None or not isinstance(name, str) or deployed.owns(resource["Type"], name):
            continue
        place = Place(f"{kind.words} {name}")
        try:
            account.ask("elasticache", kind.operation, **{kind.field: name})
        except MissingError:
            yield place.ok("name", "it is free")
        except SourceError as error:
            yield unanswered(place, "name", error)
        else:
            taken = place.wrong(
                "name",
                f"another {kind.words} in account {account.id} has it",
                "delete that one, or give the mirror another name",
            )
            yield deployed.judge(taken)
