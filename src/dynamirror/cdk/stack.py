"""The whole system as one stack: table, stream, Lambda, cache, network, simulator."""

from typing import Any, Literal

from aws_cdk import CfnOutput, RemovalPolicy, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from constructs import Construct

from dynamirror.cdk.cache import Cache
from dynamirror.cdk.changes_simulator import ChangesSimulator
from dynamirror.cdk.function import LambdaCode
from dynamirror.cdk.inside import Inside
from dynamirror.cdk.mirror import Mirror, MirroredTable
from dynamirror.cdk.network import Network
from dynamirror.cdk.recovery import Recovery
from dynamirror.errors import ConfigError

_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no")


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

    Raises:
        ConfigError: an option is wrong, or a view does not fit the table.
    """

    def __init__(self, scope: Construct, id: str, **options: Any) -> None:
        super().__init__(scope, id, **options)
        self._removal = RemovalPolicy.RETAIN if self._flag("retain") else RemovalPolicy.DESTROY
        config = self._text("config")
        code = LambdaCode.build(
            self,
            architecture=self._architecture(),
            python=self._text("python") or "3.14",
            config=config,
        )
        source = self._source()
        network = Network(self, "Network")
        cache = Cache(
            self,
            "Cache",
            network=network,
            key_patterns=source.key_patterns(config),
            max_storage_gb=self._number("cacheMaxGb", 1, 5_000) or 5,
            max_ecpu=self._number("cacheMaxEcpu", 1_000, 15_000_000),
        )
        mirror = Mirror(
            self,
            "Mirror",
            source=source,
            endpoint=cache.endpoint,
            network=network,
            code=code,
            batch_size=self._number("batchSize", 1, 10_000) or 1000,
            parallelization_factor=self._number("parallelizationFactor", 1, 10) or 1,
            memory_mb=self._number("memoryMb", 128, 10_240) or 1024,
            tracing=self._flag("tracing"),
            log_retention=logs.RetentionDays.ONE_MONTH,
            removal_policy=self._removal,
        )
        inside = Inside(
            source=source,
            endpoint=cache.endpoint,
            network=network,
            code=code,
            tracing=self._flag("tracing"),
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
        if self._flag("simulator", default=self._text("tableArn") is None):
            simulator = ChangesSimulator(
                self,
                "ChangesSimulator",
                table=source.table,
                code=code,
                changes_count=self._number("changesCount", 1, 1_000) or 10,
            )
            outputs["SimulatorName"] = simulator.function.function_name
        for name, value in outputs.items():
            CfnOutput(self, name, value=value)

    def _recovery(self, inside: Inside) -> Recovery:
        return Recovery(
            self,
            "Recovery",
            inside=inside,
            heal=self._flag("heal", default=True),
            audit=self._flag("audit", default=True),
            audit_every=self._number("auditEvery", 1, 1_440) or 5,
            audit_parts=self._number("auditParts", 1, 100_000),
            audit_repair=self._flag("auditRepair", default=True),
            audit_rate=self._number("auditRate", 1, 1_000_000),
            segments=self._number("segments", 1, 10_000) or 64,
            concurrency=self._number("concurrency", 1, 1_000) or 8,
            rate=self._number("rate", 1, 10_000_000),
        )

    def _source(self) -> MirroredTable:
        arn, stream, keys = (self._text(name) for name in ("tableArn", "streamArn", "keys"))
        if arn is None:
            return MirroredTable(table=self._new_table(), keys=("id",))
        if stream is None or keys is None:
            raise ConfigError("context: tableArn needs streamArn and keys, as in -c keys=pk,sk")
        if stream.rpartition("/stream/")[0] != arn or ":table/" not in arn:
            raise ConfigError(f"context: streamArn: {stream} is not a stream of {arn}")
        key_arn = self._text("tableKeyArn")
        table = dynamodb.Table.from_table_attributes(
            self,
            "Table",
            table_arn=arn,
            table_stream_arn=stream,
            encryption_key=kms.Key.from_key_arn(self, "TableKey", key_arn) if key_arn else None,
        )
        view_type = self._text("viewType") or "NEW_AND_OLD_IMAGES"
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
                point_in_time_recovery_enabled=self._flag("pointInTimeRecovery", default=True)
            ),
            deletion_protection=self._flag("deletionProtection"),
            removal_policy=self._removal,
        )

    def _text(self, name: str) -> str | None:
        value = self.node.try_get_context(name)
        return None if value in (None, "") else str(value)

    def _flag(self, name: str, *, default: bool = False) -> bool:
        value = self._text(name)
        if value is None:
            return default
        if value.lower() not in _TRUE + _FALSE:
            raise ConfigError(f"context: {name}: must be true or false, not {value!r}")
        return value.lower() in _TRUE

    def _number(self, name: str, low: int, high: int) -> int | None:
        value = self._text(name)
        if value is None:
            return None
        if not value.isascii() or not value.isdigit() or not low <= int(value) <= high:
            raise ConfigError(
                f"context: {name}: must be a whole number from {low} to {high}, not {value!r}"
            )
        return int(value)

    def _architecture(self) -> Literal["arm64", "x86_64"]:
        match self._text("architecture"):
            case None | "arm64":
                return "arm64"
            case "x86_64":
                return "x86_64"
            case other:
                raise ConfigError(f"context: architecture: must be arm64 or x86_64, not {other!r}")
