"""The cache that a `mirror.toml` describes."""

from collections.abc import Sequence
from typing import Any

from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from dynamirror.cache.acl import Role
from dynamirror.cdk.cache import Cache
from dynamirror.cdk.cache_endpoint import MirrorCache
from dynamirror.cdk.existing_cache import ExistingCache
from dynamirror.cdk.network import Network
from dynamirror.cdk.node_cache import NodeCache
from dynamirror.deployment.file import Deployment
from dynamirror.deployment.sections import CacheSection, NetworkSection
from dynamirror.errors import ConfigError


def stack_cache(
    scope: Construct,
    deployment: Deployment,
    *,
    network: Network | None,
    key_patterns: Sequence[str],
    table_names: Sequence[str],
) -> MirrorCache:
    """Create the cache of a stack, or describe the existing one, and admit applications.

    Args:
        scope: the stack.
        deployment: what to deploy.
        network: network of the stack; None for none.
        key_patterns: glob patterns of the keys that the views write.
        table_names: names of the tables.

    Raises:
        ConfigError: the cache cannot be made as described, or not in this network.
    """
    try:
        cache = _cache(scope, deployment.cache, network, key_patterns, table_names)
    except ConfigError as error:
        # What a construct refuses is a field of the file.
        field = str(error).replace("cache: ", "cache.", 1)
        raise ConfigError(f"{deployment.path or 'context'}: {field}") from None
    _admit(scope, cache, deployment.network)
    return cache


def cache_outputs(cache: MirrorCache, network: Network | None) -> dict[str, str]:
    """Return the outputs of the stack that applications need to connect."""
    endpoint = cache.endpoint(Role.OPERATOR)
    outputs = {
        "CacheEndpoint": f"{endpoint.host}:{endpoint.port}",
        "CachePort": str(endpoint.port),
        "CacheName": cache.name,
    }
    groups = cache.connections.security_groups
    if network is not None:
        outputs["VpcId"] = network.vpc.vpc_id
    if groups:
        outputs["CacheSecurityGroupId"] = groups[0].security_group_id
    if user := cache.reader_user:
        outputs["ReaderUser"] = user
    if policy := cache.reader_policy:
        outputs["ReaderPolicyArn"] = policy.managed_policy_arn
    return outputs


def _cache(
    scope: Construct,
    section: CacheSection,
    network: Network | None,
    key_patterns: Sequence[str],
    table_names: Sequence[str],
) -> MirrorCache:
    if section.existing is not None:
        cache: MirrorCache = _existing(scope, section, network)
    else:
        shared: dict[str, Any] = {
            "key_patterns": key_patterns,
            "table_names": table_names,
            "engine_version": section.engine_version,
            "encryption_key": kms.Key.from_key_arn(scope, "CacheKey", section.kms_key_arn)
            if section.kms_key_arn
            else None,
        }
        if section.kind == "node-based":
            assert network is not None
            cache = NodeCache(
                scope,
                "Cache",
                network=network,
                node_type=section.node_type,
                shards=section.shards,
                replicas=section.replicas,
                durability=section.durability,
                **shared,
            )
        else:
            cache = Cache(
                scope,
                "Cache",
                network=network,
                max_storage_gb=section.max_gb,
                max_ecpu=section.max_ecpu,
                min_ecpu=section.min_ecpu,
                **shared,
            )
        cache.trust(section.authorities)
    return cache


def _existing(scope: Construct, section: CacheSection, network: Network | None) -> ExistingCache:
    existing = section.existing
    assert existing is not None
    group, secret = existing.security_group_id, existing.secret_arn
    return ExistingCache.from_attributes(
        scope,
        "Cache",
        name=existing.name,
        host=existing.host,
        port=existing.port,
        kind=existing.kind,
        tls=existing.tls,
        authorities=section.authorities,
        network=network,
        security_group=ec2.SecurityGroup.from_security_group_id(scope, "CacheSecurityGroup", group)
        if group
        else None,
        user=existing.user,
        reader_user=existing.reader_user,
        secret=_secret(scope, secret, existing.secret_kms_key_arn) if secret else None,
        max_storage_gb=existing.max_gb,
    )


def _secret(scope: Construct, arn: str, key_arn: str | None) -> secretsmanager.ISecret:
    return secretsmanager.Secret.from_secret_attributes(
        scope,
        "CacheSecret",
        secret_complete_arn=arn,
        encryption_key=kms.Key.from_key_arn(scope, "CacheSecretKey", key_arn) if key_arn else None,
    )


def _admit(scope: Construct, cache: MirrorCache, network: NetworkSection) -> None:
    for group_id in network.security_group_ids:
        # Their own rules stay as they are: by default they allow connections to anywhere.
        group = ec2.SecurityGroup.from_security_group_id(
            scope, f"Application-{group_id}", group_id, mutable=False
        )
        cache.connections.allow_default_port_from(group, "applications")
    for cidr in network.cidrs:
        cache.connections.allow_default_port_from(ec2.Peer.ipv4(cidr), "applications")
