"""The parameters of the packaged template, and what takes their place while it is synthesized.

CDK synthesizes the stack with an ordinary deployment, whose values are placeholders. This module
puts the parameters into the template in their place.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from dynamirror.cdk.asset import Architecture
from dynamirror.cdk.template_variants import NO_VALUE, Template, concatenate
from dynamirror.deployment.sections import SERVERLESS_PORT


class Parameter(msgspec.Struct, frozen=True, omit_defaults=True, rename="pascal"):
    """A parameter of a CloudFormation template."""

    description: str
    type: str = msgspec.field(default="")
    default: str | int | None = None
    allowed_pattern: str | None = None
    allowed_values: tuple[str, ...] | None = None
    max_length: int | None = None
    min_value: int | None = None
    max_value: int | None = None
    constraint_description: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the parameter as it is written in a template."""
        return {"Type": self.type or "String", **msgspec.to_builtins(self)}


_FLAG: Final = ("true", "false")
# The environment of a function has 4,096 bytes, and other variables need some of them:
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_INLINE_TOML: Final = 2_500
_USER: Final = "([A-Za-z][A-Za-z0-9-]*)?"
CODE_PARAMETERS: Final[Mapping[str, Parameter]] = {
    "S3Bucket": Parameter(
        "Bucket of this region that holds the zips of the functions.",
        allowed_pattern="[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
        constraint_description="the name of a bucket, without s3://",
    ),
    "S3Key": Parameter(
        "Key of the zip in the bucket. Empty for the name that `make package` gave it.", default=""
    ),
    "Architecture": Parameter(
        "Processor architecture of the functions. The zip must be for it.",
        default="arm64",
        allowed_values=("arm64", "x86_64"),
    ),
}
PARAMETERS: Final[Mapping[str, Parameter]] = {
    "MirrorName": Parameter(
        "Name of the mirror, which is part of the names of its cache and its users.",
        allowed_pattern="[a-z](-?[a-z0-9])*",
        max_length=15,
        constraint_description="up to 15 lower-case letters, digits and single dashes",
    ),
    "StreamArn": Parameter(
        "ARN of the stream of the table. Its view type is NEW_AND_OLD_IMAGES.",
        allowed_pattern="arn:[^:]+:dynamodb:[^:]+:[0-9]{12}:table/[A-Za-z0-9_.-]{3,255}/stream/.+",
        constraint_description="an ARN like arn:aws:dynamodb:REGION:ACCOUNT:table/NAME/stream/TIME",
    ),
    "KeyNames": Parameter(
        "Names of the key attributes of the table, partition key first, as in customer,order.",
        # What the lists and the JSON that hold the names need no escape for.
        allowed_pattern=r"[^\s\",{\\]{1,255}(,[^\s\",{\\]{1,255})?",
        constraint_description="one or two names, as in customer,order, without spaces",
    ),
    "TableKeyArn": Parameter(
        "ARN of the customer-managed KMS key of the table. Empty for none.",
        default="",
        allowed_pattern="(arn:[^:]+:kms:[^:]*:[^:]*:key/.+)?",
    ),
    "MirrorToml": Parameter(
        "Text of a mirror.toml with the views of the table. Empty for the default view, or for "
        "MirrorTomlKey.",
        default="",
        max_length=MAX_INLINE_TOML,
    ),
    "MirrorTomlKey": Parameter(
        "Key in S3Bucket of a zip that holds a mirror.toml, for a long one. Each version needs a "
        "key of its own. Empty for none.",
        default="",
    ),
    "VpcId": Parameter(
        "Id of an existing VPC. Empty for a new one.",
        default="",
        allowed_pattern="(vpc-[0-9a-f]+)?",
    ),
    "SubnetIds": Parameter(
        "Two or three subnets of VpcId, each in a zone of its own, with a way to DynamoDB.",
        default="",
        allowed_pattern="(subnet-[0-9a-f]+(,subnet-[0-9a-f]+){1,2})?",
        constraint_description="two or three ids, as in subnet-0a1b,subnet-1c2d, without spaces",
    ),
    "ApplicationSecurityGroupId": Parameter(
        "Security group of the applications that may connect to the cache. Empty for none.",
        default="",
        allowed_pattern="(sg-[0-9a-f]+)?",
    ),
    "PublicCache": Parameter(
        "Whether to do without a VPC: a cache with a public endpoint, which admits IAM users only.",
        default="false",
        allowed_values=_FLAG,
    ),
    "CacheName": Parameter(
        "Name of an existing serverless cache, or id of a replication group. Empty for a new "
        "serverless cache.",
        default="",
        allowed_pattern="([a-z][a-z0-9-]*)?",
    ),
    "CacheKind": Parameter(
        "Kind of the existing cache.",
        default="serverless",
        allowed_values=("serverless", "node-based"),
    ),
    "CacheHost": Parameter(
        "Address of the existing cache: its configuration endpoint, without the port.",
        default="",
        allowed_pattern="([A-Za-z0-9-]+(\\.[A-Za-z0-9-]+)*)?",
        constraint_description="the name of a host, without the port",
    ),
    "CachePort": Parameter(
        "TCP port of the existing cache. That of a serverless one is 6379.",
        type="Number",
        default=SERVERLESS_PORT,
        min_value=1,
        max_value=65_535,
    ),
    "CacheUser": Parameter(
        "User of the existing cache that replicates, with IAM authentication.",
        default="",
        allowed_pattern=_USER,
    ),
    "CacheReaderUser": Parameter(
        "User of the existing cache that applications connect as, with IAM authentication.",
        default="",
        allowed_pattern=_USER,
    ),
    "CacheSecurityGroupId": Parameter(
        "Security group of the existing cache, to which the stack adds rules.",
        default="",
        allowed_pattern="(sg-[0-9a-f]+)?",
    ),
    "Inspector": Parameter(
        "Whether an inspector asks the cache for a share of all changes.",
        default="false",
        allowed_values=_FLAG,
    ),
    "AlarmTopicArn": Parameter(
        "ARN of the SNS topic that alarms notify. Empty for none.",
        default="",
        allowed_pattern="(arn:[^:]+:sns:[^:]*:[^:]*:[^:]+)?",
    ),
}


def _ref(name: str) -> dict[str, Any]:
    return {"Ref": name}


def _split(name: str, index: int, separator: str) -> dict[str, Any]:
    return {"Fn::Select": [index, {"Fn::Split": [separator, _ref(name)]}]}


def _list(name: str) -> dict[str, Any]:
    """Return the elements of a parameter, which is a text so that a pattern counts them."""
    return {"Fn::Split": [",", _ref(name)]}


def _joined(separator: str, name: str) -> dict[str, Any]:
    return {"Fn::Join": [separator, _list(name)]}


TABLE_ARN: Final = "arn:aws:dynamodb:us-east-1:111122223333:table/TheTable"
STREAM_ARN: Final = f"{TABLE_ARN}/stream/2026-01-01T00:00:00.000"
KEYS: Final = "TheKeys"
TABLE_KEY_ARN: Final = "arn:aws:kms:us-east-1:111122223333:key/TheKey"
MIRROR: Final = "themirror"
STACK: Final = "TheMirror"
VPC: Final = "vpc-aaaabbbbccccdddde"
SUBNET: Final = "subnet-aaaabbbbccccdddde"
APPLICATIONS: Final = "sg-aaaabbbbccccdddde"
TOPIC_ARN: Final = "arn:aws:sns:us-east-1:111122223333:TheTopic"
CACHE: Final = "the-existing-cache"
CACHE_HOST: Final = "the-cache-host"
CACHE_PORT: Final = 61_379
CACHE_USER: Final = "the-cache-user"
CACHE_READER: Final = "the-cache-reader"
CACHE_GROUP: Final = "sg-eeeeddddccccbbbba"
# What a part of a text becomes, in the order of the attempts.
_PARTS: Final[Mapping[str, Any]] = {
    STREAM_ARN: _ref("StreamArn"),
    TABLE_ARN: _split("StreamArn", 0, "/stream/"),
    TABLE_KEY_ARN: _ref("TableKeyArn"),
    TOPIC_ARN: _ref("AlarmTopicArn"),
    "TheTable": _split("StreamArn", 1, "/"),
    # In a list of JSON, each key has its own quotes.
    f'"{KEYS}"': {"Fn::Join": ["", ['"', _joined('","', "KeyNames"), '"']]},
    KEYS: _ref("KeyNames"),
    MIRROR: _ref("MirrorName"),
    STACK: _ref("MirrorName"),
    VPC: _ref("VpcId"),
    SUBNET: _joined(", ", "SubnetIds"),
    APPLICATIONS: _ref("ApplicationSecurityGroupId"),
    CACHE: _ref("CacheName"),
    CACHE_HOST: _ref("CacheHost"),
    str(CACHE_PORT): _ref("CachePort"),
    CACHE_USER: _ref("CacheUser"),
    CACHE_READER: _ref("CacheReaderUser"),
    CACHE_GROUP: _ref("CacheSecurityGroupId"),
}
_PLACEHOLDERS: Final = re.compile(f"({'|'.join(map(re.escape, _PARTS))})")
# Lists of one element that a parameter replaces as a whole.
_LISTS: Final = {SUBNET: _list("SubnetIds")}
# What is left out with the parameter that it contains.
_OPTIONAL: Final = {
    TOPIC_ARN: "HasAlarmTopic",
    TABLE_KEY_ARN: "HasTableKey",
    APPLICATIONS: "HasApplicationSecurityGroup",
}
# What contains logical IDs, which placeholders are parts of, too.
_IDS: Final = frozenset({"Ref", "Fn::GetAtt", "DependsOn", "Condition", "Type"})


def put_parameters(template: Template) -> Template:
    """Return a template with parameters in place of the placeholders."""
    resources = {
        name: _substituted(_conditional(resource))
        for name, resource in template["Resources"].items()
    }
    outputs = {
        name: {"Value": _substituted(output["Value"])}
        for name, output in template.get("Outputs", {}).items()
    }
    return {"Resources": resources, "Outputs": outputs}


def put_code(template: Template, zips: Mapping[Architecture, str]) -> Template:
    """Return a template whose functions take architecture and code from parameters.

    Args:
        template: synthesized template.
        zips: names of the zips of the functions by architecture.
    """
    name = {"Fn::If": ["OnArm64", zips["arm64"], zips["x86_64"]]}
    code = {
        "Architectures": [_ref("Architecture")],
        "Code": {
            "S3Bucket": _ref("S3Bucket"),
            "S3Key": {"Fn::If": ["HasS3Key", _ref("S3Key"), name]},
        },
    }
    resources = {
        logical_id: resource | {"Properties": resource["Properties"] | code}
        if resource["Type"] == "AWS::Lambda::Function"
        else resource
        for logical_id, resource in template["Resources"].items()
    }
    return template | {"Resources": resources}


def _conditional(resource: Template) -> Template:
    """Return a resource whose optional elements, or which itself, have conditions."""
    properties = _optional(resource.get("Properties", {}))
    whole = [name for text, name in _OPTIONAL.items() if _contains(properties, text)]
    resource = resource | ({"Properties": properties} if properties else {})
    return resource | ({"Condition": whole[0]} if whole else {})


def _optional(value: Any) -> Any:
    """Wrap the smallest list elements that contain an optional parameter into a condition."""
    if isinstance(value, dict):
        return {key: item if key == "Fn::Join" else _optional(item) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    elements = []
    for item in value:
        element = _optional(item)
        for text, name in _OPTIONAL.items():
            if _contains(element, text):
                element = {"Fn::If": (name, _Kept(element), NO_VALUE)}
        elements.append(element)
    return elements


class _Kept(msgspec.Struct, frozen=True):
    """What has its condition already."""

    value: Any


def _contains(value: Any, text: str) -> bool:
    if isinstance(value, dict):
        return any(_contains(item, text) for item in value.values())
    if isinstance(value, list):
        return any(_contains(item, text) for item in value)
    return isinstance(value, str) and text in value


def _substituted(value: Any) -> Any:
    if isinstance(value, dict):
        return _function(value) or {
            key: item if key in _IDS and isinstance(item, str | list) else _substituted(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        whole = _LISTS.get(value[0]) if len(value) == 1 and isinstance(value[0], str) else None
        return whole or [_substituted(item) for item in value]
    if isinstance(value, _Kept):
        return _substituted(value.value)
    if isinstance(value, str):
        return _text(value)
    return _ref("CachePort") if value == CACHE_PORT else value


def _function(value: Mapping[str, Any]) -> Any:
    """Return a concatenation with parameters; None for what is no concatenation."""
    separator, pieces = value.get("Fn::Join", (None, None))
    return concatenate(map(_substituted, pieces)) if separator == "" else None


def _text(text: str) -> Any:
    if text in _PARTS:
        return _PARTS[text]
    pieces = [piece for piece in _PLACEHOLDERS.split(text) if piece]
    return concatenate(_PARTS.get(piece, piece) for piece in pieces)
