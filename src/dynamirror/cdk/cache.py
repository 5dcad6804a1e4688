"""A cache of its own for a mirror: ElastiCache Serverless for Valkey, with TLS and IAM."""

from collections.abc import Sequence
from typing import Final

from aws_cdk import Acknowledgment, Annotations, Duration, RemovalPolicy, Validations
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticache as elasticache
from aws_cdk import aws_kms as kms
from constructs import Construct

from dynamirror.cdk.cache_endpoint import CacheEndpoint, MirrorCache, unique_name, user_arn
from dynamirror.cdk.cache_metrics import serverless_metric
from dynamirror.cdk.cache_users import CacheUsers
from dynamirror.cdk.network import CACHE_PORTS, Network
from dynamirror.errors import ConfigError

# The newest major version that ElastiCache documents for Serverless.
NEWEST: Final = "9"
_FIRST_PUBLIC: Final = 9


class Cache(MirrorCache):
    """Create an ElastiCache Serverless cache with a user for each role of the mirror.

    Applications connect as the reader: `cache.grant_connect(role)` and
    `cache.connections.allow_default_port_from(application)`. Names derive from the construct's
    path, so that two stacks of one app do not collide.

    ElastiCache evicts entries with an expiry from a full cache: fences, and entries of views with
    `ttl`. Without fences, order may be lost (docs/ordering.md), so leave the cache room.

    CloudFormation refuses a change of the network's subnets or of `encryption_key`, because the
    cache has a name. A change of the construct's path makes another cache.

    Args:
        network: network of the cache; None for a public endpoint, which admits IAM users only.
        key_patterns: glob patterns of the keys that the replicator writes.
        table_names: names of the mirrored tables.
        engine_version: major version of Valkey; None for the newest that is documented.
        max_storage_gb: storage in GB beyond which fences are evicted and writes fail; None for no
            limit.
        max_ecpu: ElastiCache processing units a second beyond which ElastiCache throttles; None
            for no limit.
        min_ecpu: processing units a second that the cache is scaled to at least, and billed for;
            None for none.
        encryption_key: key that encrypts the data at rest; None for one of AWS's own.
        security_groups: security groups of the cache; None for that of the network.
        removal_policy: what happens to the cache when the stack is deleted; a rebuild can always
            fill a new one.

    Raises:
        ConfigError: the version is no major version, or has no public endpoints.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        network: Network | None,
        key_patterns: Sequence[str],
        table_names: Sequence[str],
        engine_version: str | None = None,
        max_storage_gb: int | None = None,
        max_ecpu: int | None = None,
        min_ecpu: int | None = None,
        encryption_key: kms.IKey | None = None,
        security_groups: Sequence[ec2.ISecurityGroup] | None = None,
        removal_policy: RemovalPolicy = RemovalPolicy.DESTROY,
    ) -> None:
        super().__init__(scope, id)
        self.kind = "serverless"
        self.name = unique_name(self, "cache")
        self.max_storage_gb, self.max_ecpu, self.min_ecpu = max_storage_gb, max_ecpu, min_ecpu
        version = engine_version or NEWEST
        _check_version(version, public=network is None)
        groups = list(security_groups or ())
        if network is not None and not groups:
            groups = [network.cache_security_group]
        self._connections = ec2.Connections(default_port=CACHE_PORTS, security_groups=groups)
        users = CacheUsers(self, key_patterns=key_patterns, table_names=table_names)
        self.resource = elasticache.CfnServerlessCache(
            self,
            "Resource",
            engine="valkey",
            major_engine_version=version,
            serverless_cache_name=self.name,
            description="Mirror of a DynamoDB table, kept by dynamirror",
            connection_type="public" if network is None else None,
            security_group_ids=[group.security_group_id for group in groups] or None,
            subnet_ids=None if network is None else network.one_subnet_per_zone(),
            user_group_id=users.group.ref,
            kms_key_id=encryption_key.key_arn if encryption_key else None,
            cache_usage_limits=_limits(max_storage_gb, max_ecpu, min_ecpu),
        )
        if network is None:
            Validations.of(self.resource).acknowledge(
                Acknowledgment(
                    id="CloudFormation-Validate::F3002",
                    reason="CDK's copy of the schema is older than ConnectionType.",
                )
            )
        self.resource.apply_removal_policy(removal_policy)
        self._endpoints = {
            role: CacheEndpoint(
                host=self.resource.attr_endpoint_address,
                authorities="amazon",
                name=self.name,
                user=user.user_id,
                connect_arns=(self.resource.attr_arn, user_arn(self, user.user_id)),
            )
            for role, user in users.users.items()
        }
        if network is None:
            Annotations.of(self).add_info_v2(
                "dynamirror:public-cache",
                "The cache has a public endpoint: whoever may sign in as one of its users with "
                "IAM can connect from anywhere, and no security group limits the addresses",
            )
        else:
            network.connect(self)

    def metric(
        self, name: str, *, statistic: str = "Average", period: Duration | None = None
    ) -> cloudwatch.Metric:
        """Return one of ElastiCache's metrics of this cache.

        Args:
            name: name of the metric, such as SuccessfulReadRequestLatency.
            statistic: how the values of a period become one.
            period: time that one value stands for; default one minute.
        """
        return serverless_metric(self.name, name, statistic, period or Duration.minutes(1))

    def metric_bytes_used(self, *, statistic: str = "Maximum") -> cloudwatch.Metric:
        """Return the metric of the bytes stored."""
        return self.metric("BytesUsedForCache", statistic=statistic)

    def metric_processing_units(self, *, statistic: str = "Sum") -> cloudwatch.Metric:
        """Return the metric of the processing units used."""
        return self.metric("ElastiCacheProcessingUnits", statistic=statistic)

    def metric_evictions(self, *, statistic: str = "Sum") -> cloudwatch.Metric:
        """Return the metric of the keys evicted."""
        return self.metric("Evictions", statistic=statistic)


def _check_version(version: str, *, public: bool) -> None:
    if not version.isascii() or not version.isdigit():
        raise ConfigError(
            f"cache: engine_version: a serverless cache takes a major version, as in {NEWEST!r}, "
            f"not {version!r}"
        )
    if public and int(version) < _FIRST_PUBLIC:
        raise ConfigError(
            f"cache: engine_version: a public cache needs Valkey {_FIRST_PUBLIC} or newer, not "
            f"{version!r}"
        )


def _limits(
    max_storage_gb: int | None, max_ecpu: int | None, min_ecpu: int | None
) -> elasticache.CfnServerlessCache.CacheUsageLimitsProperty | None:
    limits = elasticache.CfnServerlessCache
    if min_ecpu and max_ecpu and min_ecpu > max_ecpu:
        raise ConfigError(f"cache: min_ecpu: {min_ecpu} exceeds max_ecpu, which is {max_ecpu}")
    if max_storage_gb is None and max_ecpu is None and min_ecpu is None:
        return None
    return limits.CacheUsageLimitsProperty(
        data_storage=limits.DataStorageProperty(unit="GB", maximum=max_storage_gb)
        if max_storage_gb
        else None,
        ecpu_per_second=limits.ECPUPerSecondProperty(maximum=max_ecpu, minimum=min_ecpu)
        if max_ecpu or min_ecpu
        else None,
    )
