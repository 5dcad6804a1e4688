"""A cache of nodes for a mirror: a replication group in cluster mode, with TLS and IAM."""

from collections.abc import Sequence
from typing import Final, Literal

from aws_cdk import Acknowledgment, RemovalPolicy, Token, Validations
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticache as elasticache
from aws_cdk import aws_kms as kms
from constructs import Construct

from dynamirror.cdk.cache_endpoint import (
    CacheEndpoint,
    MirrorCache,
    cache_arn,
    unique_name,
    user_arn,
)
from dynamirror.cdk.cache_users import CacheUsers
from dynamirror.cdk.network import Network
from dynamirror.errors import ConfigError

Durability = Literal["default", "async", "sync", "disabled"]
# The newest version that ElastiCache documents for nodes.
NEWEST: Final = "9.1"
_FIRST_IAM: Final = 7
_FIRST_DURABLE: Final = 9
_PORT: Final = 6379
# https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/Durability.Limitations.html
_DURABLE_FAMILIES: Final = ("r8g", "r7g", "r6g", "m8g", "m7g", "m6g", "c8gn", "c7gn")


class NodeCache(MirrorCache):
    """Create a replication group in cluster mode with a user for each role of the mirror.

    A full cache refuses writes and evicts nothing, so fences stay until they expire. Applications
    connect as the reader, as with `Cache`.

    With `durability="sync"`, a failover loses no write that the cache acknowledged. Without
    durability, it may lose the newest ones, which the auditor finds later.

    CloudFormation refuses a change of the network's VPC or of `encryption_key`, because the cache
    has a name. A change of the construct's path makes another cache. Durability cannot be switched
    on or off later.

    Args:
        network: network of the cache.
        key_patterns: glob patterns of the keys that the replicator writes.
        table_names: names of the mirrored tables.
        engine_version: version of Valkey; None for the newest that is documented.
        node_type: type of the nodes.
        shards: number of shards.
        replicas: number of replicas of each shard; without any, a failed node loses its entries.
        durability: whether writes reach a log in several zones: `sync` before they are
            acknowledged, `async` up to 10 seconds later, `disabled`, or `default` for what
            ElastiCache chooses.
        encryption_key: key that encrypts the data at rest; None for one of AWS's own.
        security_groups: security groups of the cache; None for that of the network.
        removal_policy: what happens to the cache when the stack is deleted.

    Raises:
        ConfigError: durability or replicas lack what they need, or the version is too old for IAM.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        network: Network,
        key_patterns: Sequence[str],
        table_names: Sequence[str],
        engine_version: str | None = None,
        node_type: str = "cache.r7g.large",
        shards: int = 1,
        replicas: int = 1,
        durability: Durability = "default",
        encryption_key: kms.IKey | None = None,
        security_groups: Sequence[ec2.ISecurityGroup] | None = None,
        removal_policy: RemovalPolicy = RemovalPolicy.DESTROY,
    ) -> None:
        super().__init__(scope, id)
        self.kind = "node-based"
        self.name = unique_name(self, "cache")
        version = engine_version or NEWEST
        major = _major(version)
        if durability in ("sync", "async"):
            _check_durable(durability, major, node_type, replicas)
        groups = list(security_groups or [network.cache_security_group])
        self._connections = ec2.Connections(
            default_port=ec2.Port.tcp(_PORT), security_groups=groups
        )
        users = CacheUsers(self, key_patterns=key_patterns, table_names=table_names)
        self.resource = elasticache.CfnReplicationGroup(
            self,
            "Resource",
            replication_group_id=self.name,
            replication_group_description="Mirror of a DynamoDB table, kept by dynamirror",
            engine="valkey",
            engine_version=version,
            cache_node_type=node_type,
            num_node_groups=shards,
            replicas_per_node_group=replicas,
            # Cluster mode requires it, even where there is no replica to take over.
            automatic_failover_enabled=True,
            multi_az_enabled=replicas > 0,
            cluster_mode="enabled",
            durability=None if durability == "default" else durability,
            port=_PORT,
            # Without a mode, the cache accepts TLS only.
            transit_encryption_enabled=True,
            at_rest_encryption_enabled=True,
            kms_key_id=encryption_key.key_arn if encryption_key else None,
            auto_minor_version_upgrade=True,
            cache_parameter_group_name=self._parameters(major).ref,
            cache_subnet_group_name=self._subnets(network, replicas).ref,
            security_group_ids=[group.security_group_id for group in groups],
            user_group_ids=[users.group.ref],
        )
        self.resource.apply_removal_policy(removal_policy)
        _acknowledge(self.resource)
        self._endpoints = {
            role: CacheEndpoint(
                host=self.resource.attr_configuration_end_point_address,
                port=_PORT,
                authorities="amazon",
                kind="node-based",
                name=self.name,
                user=user.user_id,
                connect_arns=(
                    cache_arn(self, "node-based", self.resource.ref),
                    user_arn(self, user.user_id),
                ),
            )
            for role, user in users.users.items()
        }
        network.connect(self)

    def _parameters(self, major: int) -> elasticache.CfnParameterGroup:
        # The name is CloudFormation's, so that another major version can have another group.
        return elasticache.CfnParameterGroup(
            self,
            "Parameters",
            cache_parameter_group_family=f"valkey{major}",
            description="In cluster mode; a full cache refuses writes and evicts nothing",
            properties={"cluster-enabled": "yes", "maxmemory-policy": "noeviction"},
        )

    def _subnets(self, network: Network, replicas: int) -> elasticache.CfnSubnetGroup:
        subnets = network.one_subnet_per_zone()
        if replicas and len(subnets) == 1:
            raise ConfigError(
                "cache: replicas: need subnets in two zones; add a subnet, or set replicas = 0"
            )
        return elasticache.CfnSubnetGroup(
            self, "Subnets", description="Subnets of the mirror", subnet_ids=subnets
        )


def _major(version: str) -> int:
    major, _, minor = version.partition(".")
    if not (major.isascii() and major.isdigit() and minor.isascii() and minor.isdigit()):
        raise ConfigError(
            f"cache: engine_version: a cache of nodes takes a version as in {NEWEST!r}, not "
            f"{version!r}"
        )
    if int(major) < _FIRST_IAM:
        raise ConfigError(
            f"cache: engine_version: IAM authentication needs Valkey {_FIRST_IAM} or newer, not "
            f"{version!r}"
        )
    return int(major)


def _check_durable(durability: str, major: int, node_type: str, replicas: int) -> None:
    problem = None
    if major < _FIRST_DURABLE:
        problem = f"Valkey {_FIRST_DURABLE}.0 or newer"
    elif not replicas:
        problem = "at least one replica"
    elif not Token.is_unresolved(node_type) and (
        node_type.removeprefix("cache.").partition(".")[0] not in _DURABLE_FAMILIES
    ):
        problem = f"nodes of the families {', '.join(_DURABLE_FAMILIES)}"
    if problem:
        raise ConfigError(f"cache: durability: {durability} needs {problem}")


def _acknowledge(resource: elasticache.CfnReplicationGroup) -> None:
    for rule, reason in {
        "AwsSolutions-AEC5": (
            "Security groups limit who reaches the port; another number would only hide it from "
            "scans that never get there."
        ),
        "AwsSolutions-AEC6": (
            "Users authenticate with IAM, as members of a user group. It excludes AUTH tokens."
        ),
    }.items():
        Validations.of(resource).acknowledge(Acknowledgment(id=rule, reason=reason))
