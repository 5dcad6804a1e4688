"""The whole system as one stack: table, stream, Lambda, cache, network, and who watches it."""

from collections.abc import Mapping
from typing import Any

from aws_cdk import Annotations, CfnOutput, RemovalPolicy, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns
from constructs import Construct

from dynamirror.cdk.alarms import RUNBOOK, Alarms, Thresholds
from dynamirror.cdk.cache import Cache
from dynamirror.cdk.canary import Canary
from dynamirror.cdk.changes_simulator import ChangesSimulator
from dynamirror.cdk.context import Context
from dynamirror.cdk.dashboard import Dashboard
from dynamirror.cdk.function import LambdaCode
from dynamirror.cdk.inside import Inside
from dynamirror.cdk.measures import Watched
from dynamirror.cdk.mirror import Mirror, MirroredTable
from dynamirror.cdk.network import Network
from dynamirror.cdk.recovery import Recovery
from dynamirror.cdk.topic import AlarmTopic
from dynamirror.errors import ConfigError

_STORAGE_GB = 5
_AUDIT_EVERY = 5
_A_DAY = 1_440  # minutes
_COLONS_OF_TOPIC = 5


class DynamirrorStack(Stack):
    """A table, a cache, and the mirror between them; options come from context (`-c name=value`).

    Context:
        architecture: arm64 (default) or x86_64.
        python: the runtime's version, default 3.14.
        config: path of a `mirror.toml`; default the default view.
        tableArn, streamArn, keys: an existing table instead of a new one, and its key attributes,
            partition key first, separated by a comma.
        viewType: of an existing table's stream, default NEW_AND_OLD_IMAGES.
        tableKeyArn: the customer-managed KMS key that an existing table is encrypted with.
        retain: whether a new table and the mirror's logs outlive the stack; default false.
        deletionProtection, pointInTimeRecovery: of a new table; default false and true.
        batchSize, parallelizationFactor, memoryMb: of the replicator.
        tracing: whether to trace with X-Ray; default false.
        cacheMaxGb, cacheMaxEcpu: limits of the cache's use; default 5 GB and none.
        heal: whether to rebuild the mirror whenever it is incomplete, which fills it at first,
            too; default true.
        segments, concurrency, rate: of a rebuild: parts that the table is read in, how many at a
            time, and read units a second, all together; default 64, 8 and no limit.
        audit: whether to compare a part of the table with the cache on a schedule; default true.
        auditEvery, auditParts: minutes between two audits, default 5, and parts, default so many
            that the table is through in a day (288 for 5 minutes).
        auditRepair, auditRate: whether an audit repairs what differs, default true, and its read
            units a second, default no limit.
        simulator: whether to deploy the changes simulator; default only with a new table.
        changesCount: writes of one run of the simulator; default 10.
        canary: whether an item is written each minute and looked for in the cache; default only
            with a new table, since it writes to the table.
        alarms, dashboard: whether there are any; default true.
        alarmTopicArn, alarmEmail: an SNS topic that alarms go to, or an address, for which a topic
            is made; default neither, so that nobody is told.
        runbookUrl: where docs/runbook.md is read, for the links in alarms and dashboard.
        iteratorAgeSeconds, canaryMissingMinutes, canaryLateSeconds: when alarms about what is
            late are raised, see `Thresholds`; default 300, 5 and 10.
        quarantineItems, driftItems, mirrorIncompleteMinutes: about what is wrong; default 0, 0
            and 30.
        cacheStoragePercent, cacheEcpuPercent: about the cache's limits; default 80 and 80.

    Raises:
        ConfigError: an option is wrong, or a view does not fit the table.
    """

    def __init__(self, scope: Construct, id: str, **options: Any) -> None:
        super().__init__(scope, id, **options)
        self._given = given = Context(self.node)
        self._removal = RemovalPolicy.RETAIN if given.flag("retain") else RemovalPolicy.DESTROY
        config = given.text("config")
        code = LambdaCode.build(
            self,
            architecture=given.architecture(),
            python=given.text("python") or "3.14",
            config=config,
        )
        source = self._source()
        network = Network(self, "Network")
        cache = Cache(
            self,
            "Cache",
            network=network,
            key_patterns=source.key_patterns(config),
            max_storage_gb=self._storage_gb,
            max_ecpu=self._ecpu,
        )
        mirror = Mirror(
            self,
            "Mirror",
            source=source,
            endpoint=cache.endpoint,
            network=network,
            code=code,
            batch_size=given.number("batchSize", 1, 10_000) or 1000,
            parallelization_factor=given.number("parallelizationFactor", 1, 10) or 1,
            memory_mb=given.number("memoryMb", 128, 10_240) or 1024,
            tracing=given.flag("tracing"),
            log_retention=logs.RetentionDays.ONE_MONTH,
            removal_policy=self._removal,
        )
        inside = Inside(
            source=source,
            endpoint=cache.endpoint,
            network=network,
            code=code,
            tracing=given.flag("tracing"),
            removal_policy=self._removal,
        )
        recovery = self._recovery(inside)
        outputs = {
            "TableName": source.table.table_name,
            "StreamArn": source.table.table_stream_arn or "",
            "CacheEndpoint": f"{cache.endpoint.host}:{cache.endpoint.port}",
            "FunctionName": mirror.function.function_name,
            "LogGroup": mirror.log_group.log_group_name,
            "OperatorName": recovery.operator.function_name,
            "StateMachineArn": recovery.machine.state_machine_arn,
        }
        if given.flag("simulator", default=self._is_new):
            simulator = ChangesSimulator(
                self,
                "ChangesSimulator",
                table=source.table,
                code=code,
                changes_count=given.number("changesCount", 1, 1_000) or 10,
            )
            outputs["SimulatorName"] = simulator.function.function_name
        outputs |= self._watch(inside, mirror, recovery)
        for name, value in outputs.items():
            CfnOutput(self, name, value=value)

    @property
    def _is_new(self) -> bool:
        """Whether the table is ours."""
        return self._given.text("tableArn") is None

    @property
    def _storage_gb(self) -> int:
        return self._given.number("cacheMaxGb", 1, 5_000) or _STORAGE_GB

    @property
    def _ecpu(self) -> int | None:
        return self._given.number("cacheMaxEcpu", 1_000, 15_000_000)

    @property
    def _audit_every(self) -> int:
        return self._given.number("auditEvery", 1, _A_DAY) or _AUDIT_EVERY

    def _watch(self, inside: Inside, mirror: Mirror, recovery: Recovery) -> Mapping[str, str]:
        """Canary, alarms and dashboard; gives the outputs."""
        canary = self._canary(inside)
        watched = Watched(
            table=inside.source.table.table_name,
            replicator=mirror.function,
            rebuild=recovery.machine,
            worker=recovery.worker,
            auditor=recovery.auditor.function if recovery.auditor else None,
            audit_every=self._audit_every,
            canary=canary.function if canary else None,
            cache=inside.endpoint.name,
            max_storage_gb=self._storage_gb,
            max_ecpu=self._ecpu,
        )
        outputs = {"CanaryName": canary.function.function_name} if canary else {}
        runbook = self._given.text("runbookUrl") or RUNBOOK
        alarms = self._alarms(watched, runbook)
        if self._given.flag("dashboard", default=True):
            made = tuple(alarms.alarms.values()) if alarms else ()
            board = Dashboard(self, "Dashboard", watched=watched, alarms=made, runbook=runbook)
            outputs["DashboardName"] = board.resource.dashboard_name
        return outputs

    def _canary(self, inside: Inside) -> Canary | None:
        if self._given.flag("canary", default=self._is_new):
            return Canary(self, "Canary", inside=inside)
        if self._given.text("canary") is None:
            Annotations.of(self).add_info_v2(
                "dynamirror:no-canary",
                "There is no canary, since it would write one item a minute to a table that is not "
                "this stack's: nothing is told of changes that stop coming through while no error "
                "is raised, nor of how long they take (alarms CanaryMissing and CanaryLate). Its "
                "partition key must be text. Switch it on with -c canary=true, or hide this with "
                "-c canary=false.",
            )
        return None

    def _alarms(self, watched: Watched, runbook: str) -> Alarms | None:
        topic = self._topic()
        if not self._given.flag("alarms", default=True):
            if topic:
                raise ConfigError("context: alarmTopicArn and alarmEmail need alarms=true")
            return None
        if topic is None:
            Annotations.of(self).add_info_v2(
                "dynamirror:nobody-told",
                "Alarms are seen in CloudWatch only: nobody is told. Give -c alarmTopicArn=ARN or "
                "-c alarmEmail=ADDRESS.",
            )
        return Alarms(
            self,
            "Alarms",
            watched=watched,
            thresholds=self._thresholds(),
            topic=topic,
            runbook=runbook,
        )

    def _topic(self) -> sns.ITopic | None:
        arn, email = self._given.text("alarmTopicArn"), self._given.text("alarmEmail")
        if arn and email:
            raise ConfigError("context: alarmTopicArn and alarmEmail exclude each other; give one")
        if email:
            return AlarmTopic(self, "AlarmTopic", email=email).topic
        if arn is None:
            return None
        if arn.count(":") != _COLONS_OF_TOPIC or ":sns:" not in arn:
            raise ConfigError(f"context: alarmTopicArn: {arn!r} is not the ARN of a topic")
        return sns.Topic.from_topic_arn(self, "AlarmTopic", arn)

    def _thresholds(self) -> Thresholds:
        ranges = {
            "iteratorAgeSeconds": (1, 86_400),
            "canaryMissingMinutes": (1, _A_DAY),
            "canaryLateSeconds": (1, 45),
            "quarantineItems": (0, 1_000_000),
            "driftItems": (0, 1_000_000),
            "mirrorIncompleteMinutes": (5, _A_DAY // 2),
            "cacheStoragePercent": (1, 100),
            "cacheEcpuPercent": (1, 100),
        }
        found = {name: self._given.number(name, *range_) for name, range_ in ranges.items()}
        chosen = {_snake(name): value for name, value in found.items() if value is not None}
        return Thresholds(**chosen)

    def _recovery(self, inside: Inside) -> Recovery:
        given = self._given
        return Recovery(
            self,
            "Recovery",
            inside=inside,
            heal=given.flag("heal", default=True),
            audit=given.flag("audit", default=True),
            audit_every=self._audit_every,
            audit_parts=given.number("auditParts", 1, 100_000),
            audit_repair=given.flag("auditRepair", default=True),
            audit_rate=given.number("auditRate", 1, 1_000_000),
            segments=given.number("segments", 1, 10_000) or 64,
            concurrency=given.number("concurrency", 1, 1_000) or 8,
            rate=given.number("rate", 1, 10_000_000),
        )

    def _source(self) -> MirroredTable:
        arn, stream, keys = (self._given.text(name) for name in ("tableArn", "streamArn", "keys"))
        if arn is None:
            return MirroredTable(table=self._new_table(), keys=("id",))
        if stream is None or keys is None:
            raise ConfigError("context: tableArn needs streamArn and keys, as in -c keys=pk,sk")
        if stream.rpartition("/stream/")[0] != arn or ":table/" not in arn:
            raise ConfigError(f"context: streamArn: {stream} is not a stream of {arn}")
        key_arn = self._given.text("tableKeyArn")
        table = dynamodb.Table.from_table_attributes(
            self,
            "Table",
            table_arn=arn,
            table_stream_arn=stream,
            encryption_key=kms.Key.from_key_arn(self, "TableKey", key_arn) if key_arn else None,
        )
        view_type = self._given.text("viewType") or "NEW_AND_OLD_IMAGES"
        if view_type not in dynamodb.StreamViewType.__members__:
            raise ConfigError(f"context: viewType: {view_type!r} is not a stream's view type")
        return MirroredTable(
            table=table,
            keys=tuple(name.strip() for name in keys.split(",")),
            view_type=dynamodb.StreamViewType[view_type],
        )

    def _new_table(self) -> dynamodb.Table:
        return dynamodb.Table(
            self,
            "Table",
            partition_key=dynamodb.Attribute(name="id", type=dynamodb.AttributeType.STRING),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            stream=dynamodb.StreamViewType.NEW_AND_OLD_IMAGES,
            encryption=dynamodb.TableEncryption.DEFAULT,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=self._given.flag("pointInTimeRecovery", default=True)
            ),
            deletion_protection=self._given.flag("deletionProtection"),
            removal_policy=self._removal,
        )


def _snake(name: str) -> str:
    """A name of context as Python has it."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
