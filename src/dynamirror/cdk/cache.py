"""The cache: ElastiCache Serverless for Valkey, with TLS and IAM authentication."""

from collections.abc import Sequence
from dataclasses import dataclass

from aws_cdk import ArnFormat, Names, RemovalPolicy, Stack
from aws_cdk import aws_elasticache as elasticache
from aws_cdk import aws_iam as iam
from constructs import Construct

from dynamirror.cache.acl import Role, access_string
from dynamirror.cdk.network import Network
from dynamirror.settings import Authorities

_MAX_NAME_LENGTH = 40
_ELASTICACHE = ".cache.amazonaws.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEndpoint:
    """Describe how one user connects to a cache.

    Args:
        host: host name of the cache.
        port: TCP port of the cache.
        tls: whether the cache requires TLS.
        authorities: certificate authorities that the functions trust, `amazon` or `system`; None
            for Amazon's if the host is ElastiCache's, else the system's.
        name: name of a serverless cache, for IAM authentication; None for none.
        user: name of the user; None for the default user.
        connect_arns: ARNs on which IAM must allow `elasticache:Connect`.
    """

    host: str
    port: int = 6379
    tls: bool = True
    authorities: Authorities | None = None
    name: str | None = None
    user: str | None = None
    connect_arns: tuple[str, ...] = ()

    @property
    def trusted(self) -> Authorities:
        """Return the certificate authorities that the functions trust."""
        if self.authorities is not None:
            return self.authorities
        return "amazon" if self.host.lower().endswith(_ELASTICACHE) else "system"


class Cache(Construct):
    """Create an ElastiCache Serverless cache with two users: the replicator and a reader.

    Applications connect as the reader: `grant_connect(cache.reader_endpoint, role)` and
    `network.admit(security_group)`. Names derive from the construct's path, so that two stacks of
    one app do not collide.

    ElastiCache evicts entries with an expiry from a full cache: fences, and entries of views with
    `ttl`. Without fences, order may be lost (docs/ordering.md), so leave the cache room.

    Args:
        network: network of the cache.
        key_patterns: glob patterns of the keys that the replicator writes.
        table_names: names of the mirrored tables.
        max_storage_gb: storage in GB beyond which fences are evicted and writes fail; None for no
            limit.
        max_ecpu: ElastiCache processing units a second beyond which ElastiCache throttles; None
            for no limit.
        removal_policy: what happens to the cache when the stack is deleted; a rebuild can always
            fill a new one.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        network: Network,
        key_patterns: Sequence[str],
        table_names: Sequence[str],
        max_storage_gb: int | None = None,
        max_ecpu: int | None = None,
        removal_policy: RemovalPolicy = RemovalPolicy.DESTROY,
    ) -> None:
        super().__init__(scope, id)
        name = self._unique("cache")
        replicator = self._user(
            "user", access_string(Role.OPERATOR, patterns=key_patterns, tables=table_names)
        )
        reader = self._user(
            "reader", access_string(Role.READER, patterns=key_patterns, tables=table_names)
        )
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
            subnet_ids=network.one_subnet_per_zone(),
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
            authorities="amazon",
            name=name,
            user=user.user_id,
            connect_arns=(self.resource.attr_arn, user_arn),
        )

    def _user(self, kind: str, access: str) -> elasticache.CfnUser:
        user_id = self._unique(kind)
        return elasticache.CfnUser(
            self,
            kind.capitalize(),
            engine="valkey",
            # IAM authentication requires that id and name are equal.
            user_id=user_id,
            user_name=user_id,
            authentication_mode={"Type": "iam"},
            access_string=access,
        )

    def _unique(self, kind: str) -> str:
        length = _MAX_NAME_LENGTH - len(kind) - 1
        unique = Names.unique_resource_name(self, max_length=length, separator="-")
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
    """Allow an identity to connect to a cache with IAM authentication."""
    if endpoint.connect_arns:
        grantee.grant_principal.add_to_principal_policy(
            iam.PolicyStatement(
                actions=["elasticache:Connect"], resources=list(endpoint.connect_arns)
            )
        )
