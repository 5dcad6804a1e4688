"""The users of a cache that the stack creates: one for each role, with its own rights."""

from collections.abc import Sequence

from aws_cdk import aws_elasticache as elasticache
from constructs import Construct

from dynamirror.cache.acl import Role, access_string
from dynamirror.cdk.cache_endpoint import unique_name


class CacheUsers:
    """Create a user for each role, and their group, within the construct of a cache.

    There is no default user, so nobody else can log in. All users authenticate with IAM.

    Args:
        scope: construct of the cache.
        key_patterns: glob patterns of the keys that the views write.
        table_names: names of the tables.
    """

    def __init__(
        self, scope: Construct, *, key_patterns: Sequence[str], table_names: Sequence[str]
    ) -> None:
        self._scope = scope
        self.users = {
            role: self._user(role, access_string(role, patterns=key_patterns, tables=table_names))
            for role in Role
        }
        self.group = elasticache.CfnUserGroup(
            scope,
            "UserGroup",
            engine="valkey",
            user_group_id=unique_name(scope, "users"),
            user_ids=[user.ref for user in self.users.values()],
        )

    def _user(self, role: Role, access: str) -> elasticache.CfnUser:
        # The replicator's is named as when it was the only user beside the reader.
        kind = "user" if role is Role.REPLICATOR else role.value
        user_id = unique_name(self._scope, kind)
        return elasticache.CfnUser(
            self._scope,
            kind.capitalize(),
            engine="valkey",
            # IAM authentication requires that id and name are equal.
            user_id=user_id,
            user_name=user_id,
            authentication_mode={"Type": "iam"},
            access_string=access,
        )
