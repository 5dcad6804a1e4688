"""How users connect to a cache, and what all kinds of caches have in common."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import jsii
from aws_cdk import ArnFormat, Names, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from dynamirror.cache.acl import Role
from dynamirror.errors import ConfigError
from dynamirror.settings import Authorities, CacheKind

_ELASTICACHE = ".cache.amazonaws.com"
_MAX_NAME_LENGTH = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEndpoint:
    """Describe how one user connects to a cache.

    Args:
        host: host name of the cache.
        port: TCP port of the cache.
        tls: whether the cache requires TLS.
        authorities: certificate authorities that the functions trust, `amazon` or `system`; None
            for Amazon's if the host is ElastiCache's, else the system's.
        kind: what the cache is: `serverless`, or `node-based` for a replication group.
        name: name of the serverless cache or id of the replication group, for IAM authentication
            and metrics; None for none.
        user: name of the user; None for the default user.
        secret: secret that holds the user's password, in place of IAM; None for none.
        connect_arns: ARNs on which IAM must allow `elasticache:Connect`.
    """

    host: str
    port: int = 6379
    tls: bool = True
    authorities: Authorities | None = None
    kind: CacheKind = "serverless"
    name: str | None = None
    user: str | None = None
    secret: secretsmanager.ISecret | None = None
    connect_arns: tuple[str, ...] = ()

    @property
    def trusted(self) -> Authorities:
        """Return the certificate authorities that the functions trust."""
        if self.authorities is not None:
            return self.authorities
        return "amazon" if self.host.lower().endswith(_ELASTICACHE) else "system"

    @property
    def iam_cache(self) -> str | None:
        """Return the name that IAM tokens are signed for; None if the user needs no token."""
        return self.name if self.user and self.secret is None else None

    def grant_connect(self, grantee: iam.IGrantable) -> None:
        """Allow an identity to connect as this user: by IAM, or by reading the password."""
        if self.secret is not None:
            self.secret.grant_read(grantee)
            if self.secret.encryption_key is not None:
                # CDK grants it in the policy of the key only, which may belong to another stack.
                self.secret.encryption_key.grant_decrypt(grantee)
        elif self.connect_arns:
            grantee.grant_principal.add_to_principal_policy(self.connect_statement())

    def connect_statement(self) -> iam.PolicyStatement:
        """Return the statement that allows to connect as this user with IAM."""
        return iam.PolicyStatement(
            actions=["elasticache:Connect"], resources=list(self.connect_arns)
        )


@jsii.implements(ec2.IConnectable)
class MirrorCache(Construct):
    """Describe a cache of any kind: a user for each role, and a network.

    `Cache`, `NodeCache` and `ExistingCache` are such caches. A client in the VPC is admitted as
    with other constructs: `cache.connections.allow_default_port_from(client)`.
    """

    kind: CacheKind
    name: str
    max_storage_gb: int | None = None
    max_ecpu: int | None = None
    min_ecpu: int | None = None
    _connections: ec2.Connections
    _endpoints: Mapping[Role, CacheEndpoint]
    _reader_policy: iam.ManagedPolicy | None = None

    @property
    def connections(self) -> ec2.Connections:
        """Return the cache's security groups and port; without a VPC, there are no groups."""
        return self._connections

    def endpoint(self, role: Role | str) -> CacheEndpoint:
        """Return how a role connects.

        Args:
            role: replicator, operator, auditor, canary, or reader for applications.

        Raises:
            ConfigError: the cache has no user for the role.
        """
        endpoint = self._endpoints.get(Role(role))
        if endpoint is None:
            raise ConfigError(f"cache {self.name}: has no user for the {role}; set {role}_user")
        return endpoint

    def trust(self, authorities: Authorities) -> None:
        """Set the certificate authorities that the functions trust."""
        self._endpoints = {
            role: replace(endpoint, authorities=authorities)
            for role, endpoint in self._endpoints.items()
        }

    def grant_connect(self, grantee: iam.IGrantable, role: Role | str = Role.READER) -> None:
        """Allow an identity to connect.

        Args:
            grantee: an application's role or function.
            role: as whom it connects; default as the reader.

        Raises:
            ConfigError: the cache has no user for the role.
        """
        self.endpoint(role).grant_connect(grantee)

    @property
    def reader_user(self) -> str | None:
        """Return the name of the user that applications connect as; None for none."""
        reader = self._endpoints.get(Role.READER)
        return reader.user if reader else None

    @property
    def reader_policy(self) -> iam.ManagedPolicy | None:
        """Return a managed policy that allows to connect as the reader; None without IAM.

        It is created when it is first asked for.
        """
        reader = self._endpoints.get(Role.READER)
        if self._reader_policy is None and reader and reader.connect_arns:
            self._reader_policy = iam.ManagedPolicy(
                self,
                "ReaderPolicy",
                description=f"Connects to the cache {self.node.path} as its reader",
                statements=[reader.connect_statement()],
            )
        return self._reader_policy


def cache_arn(scope: Construct, kind: CacheKind, name: str) -> str:
    """Return the ARN of a cache of the stack's account and region."""
    return _arn(scope, "serverlesscache" if kind == "serverless" else "replicationgroup", name)


def user_arn(scope: Construct, user: str) -> str:
    """Return the ARN of a user of the stack's account and region."""
    return _arn(scope, "user", user)


def _arn(scope: Construct, resource: str, name: str) -> str:
    return Stack.of(scope).format_arn(
        service="elasticache",
        resource=resource,
        resource_name=name,
        arn_format=ArnFormat.COLON_RESOURCE_NAME,
    )


def unique_name(scope: Construct, kind: str) -> str:
    """Return a name for a part of a cache, from the path of its construct."""
    length = _MAX_NAME_LENGTH - len(kind) - 1
    unique = Names.unique_resource_name(scope, max_length=length, separator="-")
    return f"{kind}-{unique}".lower()
