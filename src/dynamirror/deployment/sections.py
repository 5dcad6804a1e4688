"""The sections of a `mirror.toml` that describe a deployment.

Each field is written in the file as it is named here. In CDK context, `-c NAME=VALUE` overrides a
single field: `overrides.py` lists the names.
"""

from typing import Annotated, Any, Final, Literal

import msgspec

from dynamirror.deployment.aws_names import (
    CacheName,
    Cidr,
    Host,
    KeyArn,
    PrefixListId,
    SecretArn,
    SecurityGroupId,
    SubnetId,
    TopicArn,
    VpcId,
)
from dynamirror.settings import Authorities, Port
from dynamirror.validation import Name

MINUTES_A_DAY: Final = 1_440
# That of a serverless cache, and the usual one of nodes.
SERVERLESS_PORT: Final = 6379

# A name becomes a part of names of stacks, caches and users, which ElastiCache limits to 40.
MAX_NAME_LENGTH: Final = 20
MirrorName = Annotated[
    str,
    msgspec.Meta(
        pattern=rf"^(?=.{{1,{MAX_NAME_LENGTH}}}$)[a-z](?:-?[a-z0-9])*$",
        description="up to 20 lower-case letters, digits and single dashes, a letter first",
    ),
]
StackName = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z][A-Za-z0-9-]{0,127}$",
        description="up to 128 letters, digits and dashes, a letter first",
    ),
]
_Count = Annotated[int, msgspec.Meta(ge=1)]
_Mail = Annotated[
    str,
    msgspec.Meta(pattern=r"^[^@\s]+@[^@\s]+$", description="an address like ops@example.com"),
]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A section; unknown fields are refused."""

    def _check_once(self, *fields: str) -> None:
        for field in fields:
            values = getattr(self, field)
            if twice := [value for value in values if values.count(value) > 1]:
                raise ValueError(f"`{field}` holds {twice[0]} twice; leave one out")


class MirrorSection(_Section, frozen=True):
    """[mirror]: the mirror as a whole.

    Args:
        name: name of the mirror; its stack is `Dynamirror-NAME`. Up to 20 lower-case letters,
            digits and single dashes. Several tables need one; without it, the name is that of the
            only table, or demo.
        stack: name of the stack in place of `Dynamirror-NAME`, for a stack that version 0.2.0
            deployed as `Dynamirror`.
        retain: whether created tables and the mirror's logs outlive the stack.
        deletion_protection: whether created tables have deletion protection.
        point_in_time_recovery: whether created tables have point-in-time recovery.
        removed_tables: names of tables that this mirror had, and that it gives up on purpose. A
            table that the stack created must first be deployed with `retain`.
    """

    name: MirrorName = ""
    stack: StackName | None = None
    retain: bool = False
    deletion_protection: bool = False
    point_in_time_recovery: bool = True
    removed_tables: list[Name] = []

    def __post_init__(self) -> None:
        self._check_once("removed_tables")


class NetworkSection(_Section, frozen=True):
    """[network]: where the cache and the functions are, and who may connect.

    Args:
        vpc_id: id of an existing VPC; without it, the stack creates one.
        subnet_ids: subnets of that VPC for cache and functions; without them, those that have a
            route to what the functions need.
        public: whether to do without a VPC: a serverless cache with a public connection type, which
            accepts IAM and TLS only, and functions outside VPCs.
        max_azs: number of availability zones of a new VPC.
        security_group_ids: security groups of applications that may connect.
        cidrs: blocks of addresses that may connect, as in 10.0.0.0/16.
        dynamodb_prefix_list_id: id of AWS's prefix list of DynamoDB, to which the functions'
            HTTPS connections are limited; None for no limit.
    """

    vpc_id: VpcId | None = None
    subnet_ids: list[SubnetId] = []
    public: bool = False
    max_azs: Annotated[int, msgspec.Meta(ge=1, le=3)] = 2
    security_group_ids: list[SecurityGroupId] = []
    cidrs: list[Cidr] = []
    dynamodb_prefix_list_id: PrefixListId | None = None

    def __post_init__(self) -> None:
        self._check_once("subnet_ids", "security_group_ids", "cidrs")
        in_vpc = self.vpc_id, self.subnet_ids, self.security_group_ids, self.cidrs
        if self.public and (any(in_vpc) or self.dynamodb_prefix_list_id):
            raise ValueError(
                "`public` needs no VPC, and so excludes `vpc_id`, `subnet_ids`, `cidrs`, "
                "`security_group_ids` and `dynamodb_prefix_list_id`"
            )
        if self.subnet_ids and not self.vpc_id:
            raise ValueError("`subnet_ids` needs `vpc_id`, the VPC that they belong to")


class ExistingCache(_Section, frozen=True):
    """[cache.existing]: a cache that another stack owns.

    Args:
        name: name of the serverless cache, or id of the replication group.
        host: address of the cache: the configuration endpoint, or the primary endpoint where
            cluster mode is off.
        port: TCP port.
        kind: serverless, or node-based for a replication group.
        tls: whether the cache has TLS.
        security_group_id: security group of the cache, to which the stack adds rules; None for
            none, and so no rules.
        user: name of the user that replicates.
        reader_user: name of the user that applications connect as; None for none.
        secret_arn: ARN of the secret in Secrets Manager that holds the user's password; without
            it, authentication is by IAM if there is a user.
        secret_kms_key_arn: ARN of the customer-managed KMS key that encrypts the secret; None for
            AWS's own.
        max_gb: size of the cache in GB, where known.
    """

    name: CacheName
    host: Host
    port: Port = SERVERLESS_PORT
    kind: Literal["serverless", "node-based"] = "serverless"
    tls: bool = True
    security_group_id: SecurityGroupId | None = None
    user: Name | None = None
    reader_user: Name | None = None
    secret_arn: SecretArn | None = None
    secret_kms_key_arn: KeyArn | None = None
    max_gb: _Count | None = None

    def __post_init__(self) -> None:
        if self.kind == "serverless" and not self.tls:
            raise ValueError("a serverless cache always has TLS; leave `tls` out")
        if self.kind == "serverless" and self.port != SERVERLESS_PORT:
            raise ValueError(f"a serverless cache has port {SERVERLESS_PORT}; leave `port` out")
        for field in ("user", "reader_user"):
            if getattr(self, field) and not self.tls:
                raise ValueError(
                    f"`{field}` needs `tls`, because passwords and tokens must not be read"
                )
        if self.user and self.user == self.reader_user:
            raise ValueError(
                "`reader_user` must be another user than `user`, because applications only read"
            )
        if self.secret_arn and not self.user:
            raise ValueError("`secret_arn` needs `user`, whose password it holds")
        if self.secret_kms_key_arn and not self.secret_arn:
            raise ValueError("`secret_kms_key_arn` needs `secret_arn`, which it encrypts")


class CacheSection(_Section, frozen=True):
    """[cache]: the cache, which the stack creates unless it names an existing one.

    Args:
        kind: serverless, or node-based for a replication group in cluster mode.
        engine_version: version of Valkey; the default is the newest that is documented.
        max_gb: limit of a serverless cache's storage, in GB.
        max_ecpu: limit of a serverless cache's processing units a second; None for no limit.
        min_ecpu: processing units a second that a serverless cache is scaled to at least.
        node_type: type of the nodes of a node-based cache.
        shards: number of shards of a node-based cache.
        replicas: number of replicas of each shard.
        durability: durability of a node-based cache.
        authorities: certificate authorities that the functions trust: amazon, whose roots load
            20 ms faster at a cold start, or system, for those of Lambda's runtime.
        kms_key_arn: ARN of the KMS key that encrypts the cache; None for AWS's own.
        existing: a cache that another stack owns.
    """

    kind: Literal["serverless", "node-based"] = "serverless"
    engine_version: Name | None = None
    max_gb: Annotated[int, msgspec.Meta(ge=1, le=5_000)] = 5
    max_ecpu: Annotated[int, msgspec.Meta(ge=1_000, le=15_000_000)] | None = None
    min_ecpu: Annotated[int, msgspec.Meta(ge=1_000, le=15_000_000)] | None = None
    node_type: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^cache\.[a-z0-9-]+\.[a-z0-9]+$", description="a type like cache.r7g.large"
        ),
    ] = "cache.r7g.large"
    shards: Annotated[int, msgspec.Meta(ge=1, le=500)] = 1
    replicas: Annotated[int, msgspec.Meta(ge=0, le=5)] = 1
    durability: Literal["default", "async", "sync", "disabled"] = "default"
    authorities: Authorities = "amazon"
    kms_key_arn: KeyArn | None = None
    existing: ExistingCache | None = None


class Functions(_Section, frozen=True):
    """[functions]: all Lambda functions.

    Args:
        architecture: processor architecture: arm64 or x86_64.
        python: version of Python.
        tracing: whether X-Ray traces functions and state machines.
    """

    architecture: Literal["arm64", "x86_64"] = "arm64"
    python: Annotated[
        str,
        msgspec.Meta(pattern=r"^3\.(1[1-9]|[2-9]\d)$", description="3.11 or newer, as in 3.13"),
    ] = "3.14"
    tracing: bool = False


class Replicator(_Section, frozen=True):
    """[replicator]: the function that applies changes, and its event source mappings.

    Args:
        batch_size: maximum number of records in a batch.
        parallelization_factor: number of concurrent batches of a shard.
        max_batching_window: seconds for which Lambda gathers changes before it invokes the
            replicator. A longer window costs less, and changes wait for it.
        memory_mb: memory in MB; 1,769 is one vCPU.
        reserved_concurrency: number of concurrent invocations that are reserved; None for none.
        function_per_table: whether each table has a function of its own.
        log_batches: whether the replicator and Lambda log each batch; such lines cost more than
            the batches.
    """

    batch_size: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1_000
    parallelization_factor: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1
    max_batching_window: Annotated[int, msgspec.Meta(ge=0, le=10)] = 0
    memory_mb: Annotated[int, msgspec.Meta(ge=128, le=10_240)] = 1_024
    reserved_concurrency: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None
    function_per_table: bool = False
    log_batches: bool = False


class RecoverySection(_Section, frozen=True):
    """[recovery]: rebuilds.

    Args:
        heal: whether a watchdog rebuilds the mirror whenever it is incomplete, as a new mirror is.
        segments: number of parts in which a rebuild reads a table; the default suits its size.
        concurrency: number of parts that a rebuild reads at a time.
        rate: limit of all parts together in read units a second; None for no limit.
    """

    heal: bool = True
    segments: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 8
    rate: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] | None = None


class Audit(_Section, frozen=True):
    """[audit]: the scheduled comparison of table and cache.

    Args:
        enabled: whether an auditor compares a part of each table with the cache on a schedule.
        every_minutes: minutes between two audits.
        parts: number of parts of a table; the default covers it in a day.
        units: read units a day of one table, from which the number of its parts follows instead;
            `status` shows how long a round takes.
        repair: whether an audit repairs differences.
        rate: limit of an audit in read units a second; None for no limit.
    """

    enabled: bool = True
    every_minutes: Annotated[int, msgspec.Meta(ge=1, le=MINUTES_A_DAY)] = 5
    parts: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    units: Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000_000)] | None = None
    repair: bool = True
    rate: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None

    def __post_init__(self) -> None:
        if self.parts and self.units:
            raise ValueError("`parts` and `units` exclude each other; set one")


class Canary(_Section, frozen=True):
    """[canary]: the item that is written each minute and awaited in the cache.

    Args:
        enabled: whether there is a canary; None for created tables only, because the canary writes
            to its table.
    """

    enabled: bool | None = None


class Inspector(_Section, frozen=True):
    """[inspector]: the functions that measure how right the cache is.

    Args:
        enabled: whether an inspector asks the cache for a share of all changes. It is the second
            reader of each table's stream, and a shard has two at the most.
        share: share of the items that are inspected, chosen by a hash of their keys.
        filter: pattern of Lambda's event filter, in JSON, for the records that the inspector gets;
            None for all records.
    """

    enabled: bool = False
    share: Annotated[float, msgspec.Meta(gt=0, le=1, description="a number above 0, up to 1")] = (
        0.01
    )
    filter: Name | None = None

    def __post_init__(self) -> None:
        if self.filter is None:
            return
        try:
            msgspec.json.decode(self.filter, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise ValueError(
                f'`filter` must be a JSON object, as in {{"eventName":["INSERT"]}}: {error}'
            ) from None


class Simulator(_Section, frozen=True):
    """[simulator]: the function that makes random changes.

    Args:
        enabled: whether there is a simulator; None for the demo's table only.
        changes_count: number of writes of one run.
    """

    enabled: bool | None = None
    changes_count: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 10


class Alarms(_Section, frozen=True):
    """[alarms]: alarms and dashboard.

    Args:
        enabled: whether there are alarms.
        dashboard: whether there is a dashboard.
        topic_arn: ARN of an SNS topic that alarms notify.
        email: mail address for which the stack creates a topic.
        runbook_url: address of docs/runbook.md, for the links in alarms and dashboard.
        iterator_age_seconds: age of the oldest record in a batch that raises an alarm.
        canary_missing_minutes: minutes without a canary item that arrived.
        canary_late_seconds: seconds of a canary item from table to cache; without it, 10 beside
            the batching window.
        quarantine_items: number of quarantined items.
        drift_items: number of items that an audit found different.
        mirror_incomplete_minutes: minutes for which the mirror is incomplete.
        cache_storage_percent: percentage of the cache's storage limit.
        cache_ecpu_percent: percentage of the cache's limit of processing units.
    """

    enabled: bool = True
    dashboard: bool = True
    topic_arn: TopicArn | None = None
    email: _Mail | None = None
    runbook_url: Name | None = None
    iterator_age_seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 300
    canary_missing_minutes: Annotated[int, msgspec.Meta(ge=1, le=MINUTES_A_DAY)] = 5
    canary_late_seconds: Annotated[int, msgspec.Meta(ge=1, le=45)] | None = None
    quarantine_items: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    drift_items: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    mirror_incomplete_minutes: Annotated[int, msgspec.Meta(ge=5, le=MINUTES_A_DAY // 2)] = 30
    cache_storage_percent: Annotated[int, msgspec.Meta(ge=1, le=100)] = 80
    cache_ecpu_percent: Annotated[int, msgspec.Meta(ge=1, le=100)] = 80

    def __post_init__(self) -> None:
        if self.topic_arn and self.email:
            raise ValueError("`topic_arn` and `email` exclude each other; set one")
        if not self.enabled and (self.topic_arn or self.email):
            raise ValueError(
                "`topic_arn` and `email` need `enabled`=true, because alarms notify them"
            )
