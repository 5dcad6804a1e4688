"""A cache that another stack, or a person, created."""

from dataclasses import replace

from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from dynamirror.cache.acl import Role
from dynamirror.cdk.cache_endpoint import (
    CacheEndpoint,
    MirrorCache,
    cache_arn,
    user_arn,
)
from dynamirror.cdk.network import CACHE_PORTS, Network
from dynamirror.deployment.sections import SERVERLESS_PORT
from dynamirror.settings import Authorities, CacheKind


class ExistingCache(MirrorCache):
    """Describe an existing cache, and admit the functions of the mirror to it.

    All functions connect as one user. Its access string is in docs/security.md.
    """

    @classmethod
    def from_attributes(
        cls,
        scope: Construct,
        id: str,
        *,
        name: str,
        host: str,
        port: int = SERVERLESS_PORT,
        kind: CacheKind = "serverless",
        tls: bool = True,
        authorities: Authorities | None = None,
        network: Network | None = None,
        security_group: ec2.ISecurityGroup | None = None,
        user: str | None = None,
        reader_user: str | None = None,
        secret: secretsmanager.ISecret | None = None,
        max_storage_gb: int | None = None,
    ) -> "ExistingCache":
        """Describe a cache by its attributes.

        Args:
            scope: construct that contains this one.
            id: id of the construct.
            name: name of the serverless cache, or id of the replication group.
            host: address of the cache: the configuration endpoint, or the primary endpoint where
                cluster mode is off.
            port: TCP port.
            kind: serverless, or node-based for a replication group.
            tls: whether the cache has TLS.
            authorities: certificate authorities that the functions trust; see `CacheEndpoint`.
            network: network from which the functions connect; None for functions without a VPC.
            security_group: security group of the cache, to which rules are added for the
                functions; None for one that admits them already.
            user: name of the user that replicates; None for the default user.
            reader_user: name of the user that applications connect as; None for none.
            secret: secret that holds the password of `user`; None for IAM.
            max_storage_gb: size of the cache in GB, for alarms; None if unknown.
        """
        cache = cls(scope, id)
        cache.kind, cache.name, cache.max_storage_gb = kind, name, max_storage_gb
        ports = CACHE_PORTS if (kind, port) == ("serverless", SERVERLESS_PORT) else None
        cache._connections = ec2.Connections(
            default_port=ports or ec2.Port.tcp(port),
            security_groups=[security_group] if security_group else [],
            # Where the cache's group is not known, the functions may reach the port anywhere.
            peer=None if security_group else ec2.Peer.any_ipv4(),
        )
        endpoint = CacheEndpoint(
            host=host,
            port=port,
            tls=tls,
            authorities=authorities,
            kind=kind,
            name=name,
            user=user,
            secret=secret,
            connect_arns=_connect_arns(cache, None if secret else user),
        )
        endpoints = dict.fromkeys(Role, endpoint)
        if user is not None:
            # Applications must not connect as a user that writes, nor read its password.
            del endpoints[Role.READER]
        if reader_user is not None:
            endpoints[Role.READER] = replace(
                endpoint,
                user=reader_user,
                secret=None,
                connect_arns=_connect_arns(cache, None if secret else reader_user),
            )
        cache._endpoints = endpoints
        if network is not None:
            network.connect(cache)
            if secret is not None:
                network.allow_secrets()
        return cache


def _connect_arns(cache: ExistingCache, user: str | None) -> tuple[str, ...]:
    """Return the ARNs that IAM must allow a user to connect to; none for no user of IAM."""
    if user is None:
        return ()
    return cache_arn(cache, cache.kind, cache.name), user_arn(cache, user)
