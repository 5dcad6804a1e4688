"""The cache: ElastiCache Serverless for Valkey, with TLS and IAM authentication."""

from collections.abc import Sequence
from dataclasses import dataclass

from aws_cdk import ArnFormat, Names, RemovalPolicy, Stack
from aws_cdk import aws_elasticache as elasticache
from aws_cdk import aws_iam as iam
from constructs import Construct

from dynamirror.cdk.network import Network
from dynamirror.config import COMMANDS, READER_COMMANDS

_LONGEST_NAME = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEndpoint:
    """Where a cache is, and who the replicator is there.

    Args:
        host: its address.
        port: its port.
        tls: whether it speaks TLS.
        name: of a serverless cache, for IAM authentication; None for none.
        user: the user; None for the default user.
        connect: the ARNs that the replicator must be allowed to connect to, for IAM.
    """

    host: str
    port: int = 6379
    tls: bool = True
    name: str | None = None
    user: str | None = None
    connect: tuple[str, ...] = ()


class Cache(Construct):
    """An ElastiCache Serverless cache with two users: the replicator, and one that only reads.

    Applications connect as the reader: `grant_connect(cache.reader_endpoint, role)`, and
    `network.admit(security_group)`. Names follow from the construct's path, so that two stacks of
    one app do not collide. When the cache is full, ElastiCache evicts fences, since only they have
    an expiry (and entries of views with `ttl`): leave it room, or order may be lost
    (docs/ordering.md).

    Args:
        scope: the stack or construct this is part of.
        id: its name there.
        network: where it is.
        key_patterns: glob patterns of the keys that the replicator writes.
        max_storage_gb: storage beyond which fences are evicted and writes fail; None for no limit.
        max_ecpu: ElastiCache processing units a second beyond which it throttles; None for none.
        removal_policy: what becomes of it with the stack; it can always be rebuilt from the table.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        network: Network,
        key_patterns: Sequence[str],
        max_storage_gb: int | None = None,
        max_ecpu: int | None = None,
        removal_policy: RemovalPolicy = RemovalPolicy.DESTROY,
    ) -> None:
        super().__init__(scope, id)
        name = self._unique("cache")
        replicator = self._user("user", ("~dynamirror:*",), key_patterns, COMMANDS)
        # Fences and the marker tell a reader how fresh and how complete the mirror is.
        seen = [f"dynamirror:fence:{tag}{pattern}" for pattern in key_patterns for tag in ("{", "")]
        marker = "dynamirror:{*}:mirror"
        ours = [f"%R~{pattern}" for pattern in (*seen, marker)]
        reader = self._user("reader", ours, key_patterns, READER_COMMANDS, read_only=True)
        group = elasticache.CfnUserGroup(
            self,
            "UserGroup",
            engine="valkey",
            user_group_id=self._unique("users"),
            user_ids=[replicator.ref, reader.ref],
        )
        group.add_resource_dependency(replicator)
        group.add_resource_dependency(reader)
        self.resource = elasticache.CfnServerlessCache(
            self,
            "Resource",
            engine="valkey",
            major_engine_version="8",
            serverless_cache_name=name,
            description="Mirror of a DynamoDB table, kept by dynamirror",
            security_group_ids=[network.cache_security_group.security_group_id],
            subnet_ids=network.one_subnet_an_az(),
            user_group_id=group.ref,
            cache_usage_limits=_limits(max_storage_gb, max_ecpu),
        )
        self.resource.add_resource_dependency(group)
        self.resource.apply_removal_policy(removal_policy)
        self.endpoint = self._endpoint(name, replicator)
        self.reader_endpoint = self._endpoint(name, reader)

    def _endpoint(self, name: str, user: elasticache.CfnUser) -> CacheEndpoint:
        user_arn = Stack.of(self).format_arn(
            service="elasticache",
            resource="user",
            resource_name=user.user_id,
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        return CacheEndpoint(
            host=self.resource.attr_endpoint_address,
            name=name,
            user=user.user_id,
            connect=(self.resource.attr_arn, user_arn),
        )

    def _user(
        self,
        kind: str,
        ours: Sequence[str],
        patterns: Sequence[str],
        commands: Sequence[str],
        *,
        read_only: bool = False,
    ) -> elasticache.CfnUser:
        """A user that is granted keys and commands, and nothing else."""
        mark = "%R~" if read_only else "~"
        # All keys: then Valkey refuses any other pattern beside it.
        keys = [f"{mark}*"] if "*" in patterns else [*(f"{mark}{p}" for p in patterns), *ours]
        user_id = self._unique(kind)
        return elasticache.CfnUser(
            self,
            kind.capitalize(),
            engine="valkey",
            # For IAM, id and name must be equal.
            user_id=user_id,
            user_name=user_id,
            authentication_mode={"Type": "iam"},
            access_string=" ".join(("on", *keys, "-@all", *(f"+{one}" for one in commands))),
        )

    def _unique(self, kind: str) -> str:
        room = _LONGEST_NAME - len(kind) - 1
        unique = Names.unique_resource_name(self, max_length=room, separator="-")
        return f"{kind}-{unique}".lower()


def _limits(
    max_storage_gb: int | None, max_ecpu: int | None
) -> elasticache.CfnServerlessCache.CacheUsageLimitsProperty | None:
    limits = elasticache.CfnServerlessCache
    if max_storage_gb is None and max_ecpu is None:
        return None
    return limits.CacheUsageLimitsProperty(
        data_storage=limits.DataStorageProperty(unit="GB", maximum=max_storage_gb)
        if max_storage_gb
        else None,
        ecpu_per_second=limits.ECPUPerSecondProperty(maximum=max_ecpu) if max_ecpu else None,
    )


def grant_connect(endpoint: CacheEndpoint, grantee: iam.IGrantable) -> None:
    """Allow an identity to connect to a cache by IAM."""
    if endpoint.connect:
        grantee.grant_principal.add_to_principal_policy(
            iam.PolicyStatement(actions=["elasticache:Connect"], resources=list(endpoint.connect))
        )
