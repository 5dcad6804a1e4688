"""The tables of a deployment: keys, stream, encryption, size and other readers."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from dynamirror.deployment.file import Deployment
from dynamirror.deployment.tables import DeployedTable
from dynamirror.dynamodb.client import schema_of
from dynamirror.errors import ConfigError, SourceError
from dynamirror.preflight.account import Account, MissingError, unanswered
from dynamirror.preflight.indexes import check_indexes
from dynamirror.preflight.report import Check, Place
from dynamirror.preflight.stack import DeployedStack
from dynamirror.views.mirror_toml import check_views

# DynamoDB's limits of the readers of one shard.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html
_READERS: Final = 2
_READERS_OF_GLOBAL_TABLE: Final = 1


def check_table(
    account: Account, deployment: Deployment, table: DeployedTable, deployed: DeployedStack
) -> Iterator[Check]:
    """Check one table of a deployment.

    Args:
        account: the AWS account.
        deployment: the deployment.
        table: the table.
        deployed: what is deployed already.
    """
    place = _place(table)
    yield check_views_of(deployment, table)
    if table.stream_arn is None:
        yield from _new_name(account, place, table, deployed)
        return
    located = _location(account, place, table.stream_arn)
    yield located
    if located.result != "ok":
        return
    try:
        description = read_description(account, table)
    except MissingError:
        yield place.wrong(
            "name",
            f"there is no such table in account {account.id} and region {account.region}",
            "correct the name, or set create = true for a new table",
        )
        return
    except SourceError as error:
        yield unanswered(place, "description", error)
        return
    yield _keys(place, table, description)
    yield from check_indexes(place, deployment, table.name or "", description)
    yield _stream(place, table, description)
    yield from _described_stream(account, place, table)
    yield from _encryption(account, place, table, description)
    yield from _readers(
        account, place, table, description, deployed, ours=1 + deployment.inspector.enabled
    )


def read_description(account: Account, table: DeployedTable) -> Mapping[str, Any]:
    """Return a table's description by AWS; an empty one if the stack creates the table.

    Raises:
        SourceError: the table cannot be described.
    """
    if table.stream_arn is None:
        return {}
    answer = account.ask("dynamodb", "describe_table", TableName=table.name)
    description: Mapping[str, Any] = answer["Table"]
    return description


def _place(table: DeployedTable) -> Place:
    return Place(f"table {table.name}" if table.name else "new table")


def check_views_of(deployment: Deployment, table: DeployedTable) -> Check:
    """Check that the views fit a table, and that its stream can feed them."""
    place = _place(table)
    try:
        check_views(deployment.views, table.name or "new", table.keys, table.view_type)
    except ConfigError as error:
        finding, _, remedy = str(error).partition("; ")
        return place.wrong("views", finding, remedy or "correct the view")
    return place.ok("views", f"they fit the keys and a stream of {table.view_type}")


def _new_name(
    account: Account, place: Place, table: DeployedTable, deployed: DeployedStack
) -> Iterator[Check]:
    if table.name is None:
        return
    if deployed.owns("AWS::DynamoDB::Table", table.name):
        yield place.ok("name", "the stack created it")
        return
    try:
        account.ask("dynamodb", "describe_table", TableName=table.name)
    except MissingError:
        yield place.ok("name", "it is free")
    except SourceError as error:
        yield unanswered(place, "name", error)
    else:
        exists = place.wrong(
            "name",
            "a table of this name exists, so that it cannot be created",
            "mirror it with stream_arn in place of create = true, or choose another name",
        )
        yield deployed.judge(exists)


def _location(account: Account, place: Place, arn: str) -> Check:
    _, _, _, region, number, *_ = arn.split(":")
    if region != account.region:
        return place.wrong(
            "region",
            f"stream_arn is in {region}, and the deployment goes to {account.region}",
            f"set AWS_REGION={region}, or correct stream_arn",
        )
    if number != account.id:
        return place.wrong(
            "account",
            f"stream_arn is of account {number}, and the credentials are of {account.id}",
            "use credentials of the table's account, or correct stream_arn",
        )
    return place.ok("account", f"{number}, region {region}")


def _keys(place: Place, table: DeployedTable, description: Mapping[str, Any]) -> Check:
    schema = schema_of(table.name or "", description)
    keys, types = schema.keys, schema.types
    found = ", ".join(f"{key} ({kind})" for key, kind in zip(keys, types, strict=True))
    if keys == table.keys and table.types in (None, types):
        return place.ok("keys", found)
    declared = table.types or ("?",) * len(table.keys)
    wanted = ", ".join(
        key if kind == "?" else f"{key} ({kind})"
        for key, kind in zip(table.keys, declared, strict=True)
    )
    fields = ", ".join(f'{key} = "{kind}"' for key, kind in zip(keys, types, strict=True))
    return place.wrong(
        "keys",
        f"they are {found}, not {wanted}",
        f"set keys = {{ {fields} }}, or -c keys={','.join(keys)}",
    )


def _stream(place: Place, table: DeployedTable, description: Mapping[str, Any]) -> Check:
    stream, latest = description.get("StreamSpecification", {}), description.get("LatestStreamArn")
    if not stream.get("StreamEnabled"):
        return place.wrong(
            "stream",
            "it is off",
            f"aws dynamodb update-table --table-name {table.name} --stream-specification "
            f"StreamEnabled=true,StreamViewType={table.view_type}; then set stream_arn",
        )
    if latest != table.stream_arn:
        return place.wrong(
            "stream",
            f"stream_arn is {table.stream_arn}, which an earlier stream of the table had",
            f"set stream_arn = {latest}",
        )
    if stream["StreamViewType"] != table.view_type:
        return place.wrong(
            "view type",
            f"it is {stream['StreamViewType']}, not {table.view_type}",
            f'set view_type = "{stream["StreamViewType"]}"',
        )
    return place.ok("stream", f"on, with {table.view_type}")


def _described_stream(account: Account, place: Place, table: DeployedTable) -> Iterator[Check]:
    """Check that the stream itself is enabled; it may be on its way out."""
    try:
        stream = account.ask(
            "dynamodbstreams", "describe_stream", StreamArn=table.stream_arn, Limit=1
        )["StreamDescription"]
    except MissingError:
        return  # the table's description has shown it
    except SourceError as error:
        yield unanswered(place, "stream status", error)
        return
    status = stream["StreamStatus"]
    if status in {"ENABLED", "ENABLING"}:
        yield place.ok("stream status", str(status).lower())
    else:
        yield place.wrong(
            "stream status", str(status).lower(), "switch the stream on, then set its stream_arn"
        )


def _encryption(
    account: Account, place: Place, table: DeployedTable, description: Mapping[str, Any]
) -> Iterator[Check]:
    key = description.get("SSEDescription", {}).get("KMSMasterKeyArn")
    if key == table.kms_key_arn:
        yield place.ok("encryption", f"with key {key}" if key else "with a key of DynamoDB's own")
        return
    if table.kms_key_arn:
        used = f"key {key}" if key else "a key of DynamoDB's own"
        yield place.wrong(
            "encryption",
            f"with {used}, not with {table.kms_key_arn}",
            f'set kms_key_arn = "{key}"' if key else "leave out kms_key_arn",
        )
        return
    try:
        manager = account.ask("kms", "describe_key", KeyId=key)["KeyMetadata"]["KeyManager"]
    except SourceError as error:
        yield unanswered(place, "encryption", error)
        return
    if manager == "AWS":
        yield place.ok("encryption", "with a key that AWS manages")
    else:
        yield place.wrong(
            "encryption",
            f"with key {key}, which the functions must be allowed to use",
            f'set kms_key_arn = "{key}", or -c tableKeyArn=',
        )


def _readers(
    account: Account,
    place: Place,
    table: DeployedTable,
    description: Mapping[str, Any],
    deployed: DeployedStack,
    *,
    ours: int,
) -> Iterator[Check]:
    is_global = bool(description.get("Replicas"))
    limit = _READERS_OF_GLOBAL_TABLE if is_global else _READERS
    try:
        mappings = account.ask(
            "lambda", "list_event_source_mappings", EventSourceArn=table.stream_arn
        )["EventSourceMappings"]
    except SourceError as error:
        yield unanswered(place, "readers", error)
        return
    others = sorted(
        mapping["FunctionArn"].rpartition(":function:")[2]
        for mapping in mappings
        if mapping.get("State") not in {"Disabled", "Deleting"}
        and not deployed.owns("AWS::Lambda::EventSourceMapping", mapping["UUID"])
    )
    kind = "a global table" if is_global else "a stream"
    count, names = len(others) + ours, ", ".join(others)
    by_us = "this mirror's replicator and inspector" if ours > 1 else "this mirror"
    if count <= limit:
        found = f"{count} of {limit}: {by_us}"
        yield place.ok("readers", f"{found}, and {names}" if others else found)
        return
    remedy = "disable one of their event source mappings"
    if ours > limit:
        finding, remedy = f"{by_us} would both read it", "set inspector.enabled = false"
    elif ours > 1:
        finding = f"{names} read the stream already, beside {by_us}"
        remedy = f"set inspector.enabled = false, or {remedy}"
    else:
        finding = f"{names} read the stream already"
    full = place.wrong("readers", f"{finding}, and {kind} serves {limit} a shard", remedy)
    # Not even the stack's own readers would leave room for two.
    yield full if ours > limit else deployed.judge(full)
