"""The packaged template deploys, without CDK, what CDK deploys."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cfnlint import api as cfnlint
from cfnlint.config import ManualArgs
from tests.support.resolved_template import Resolver
from tests.support.templates import STREAM_ARN  # prepares jsii, before any import of aws_cdk

from dynamirror.cache.acl import Role
from dynamirror.cdk import template_parameters as placeholders
from dynamirror.cdk.package import MAX_TEMPLATE_BYTES
from dynamirror.cdk.template import (
    VARIANTS,
    Variant,
    render_deployment,
)
from dynamirror.cdk.template_variants import Template, concatenate
from dynamirror.deployment.file import read_deployment
from dynamirror.deployment.identity import Identity, refused_changes
from dynamirror.errors import ConfigError

ZIPS: Any = {"arm64": "a.zip", "x86_64": "b.zip"}
REQUIRED = {
    "MirrorName": "orders",
    "StreamArn": STREAM_ARN,
    "KeyNames": "customer,order",
    "S3Bucket": "code",
}
VPC = {"VpcId": "vpc-0a1b2c3d", "SubnetIds": "subnet-0a1b2c3d,subnet-1a1b2c3d"}
CACHE = {
    "CacheName": "cache",
    "CacheHost": "cache.example.com",
    "CacheUser": "writer",
    "CacheReaderUser": "reader",
    "CacheSecurityGroupId": "sg-0a1b2c3d",
}
OF_CACHE = sorted(set(CACHE) - {"CacheName"})


def parameters_of(variant: Variant) -> dict[str, Any]:
    """Return the placeholders of a variant as the values of parameters."""
    place, inspector = variant
    values: dict[str, Any] = {
        "MirrorName": placeholders.MIRROR,
        "StreamArn": placeholders.STREAM_ARN,
        "KeyNames": placeholders.KEYS,
        "TableKeyArn": placeholders.TABLE_KEY_ARN,
        "Inspector": str(inspector).lower(),
        "AlarmTopicArn": placeholders.TOPIC_ARN,
        "S3Bucket": "bucket",
        "S3Key": "zip",
    }
    if place == "Public":
        return values | {"PublicCache": "true"}
    values["ApplicationSecurityGroupId"] = placeholders.APPLICATIONS
    if place != "NewVpc":
        values |= {"VpcId": placeholders.VPC, "SubnetIds": placeholders.SUBNET}
    if place.startswith("Existing"):
        values |= {
            "CacheName": placeholders.CACHE,
            "CacheKind": "serverless" if place == "ExistingCache" else "node-based",
            "CacheHost": placeholders.CACHE_HOST,
            # A serverless cache has port 6379, the default.
            "CachePort": str(6379 if place == "ExistingCache" else placeholders.CACHE_PORT),
            "CacheUser": placeholders.CACHE_USER,
            "CacheReaderUser": placeholders.CACHE_READER,
            "CacheSecurityGroupId": placeholders.CACHE_GROUP,
        }
    return values


def normalized(template: Template) -> Any:
    """Return what a template deploys, where every concatenation and dependency has one form."""
    resources = {}
    for name, resource in template["Resources"].items():
        copy = {key: value for key, value in resource.items() if key != "Metadata"}
        after = [it["Ref"] for it in resource.get("Metadata", {}).get("After", [])]
        copy["DependsOn"] = sorted([*resource.get("DependsOn", []), *after])
        resources[name] = copy
    outputs = {name: output["Value"] for name, output in template["Outputs"].items()}
    # The name of the mirror stands for that of the stack, too.
    text = json.dumps(flattened([resources, outputs]), sort_keys=True)
    return json.loads(text.replace(placeholders.STACK, placeholders.MIRROR))


def flattened(value: Any) -> Any:
    """Return a value whose concatenations have as few pieces as possible."""
    if isinstance(value, list):
        return [flattened(item) for item in value]
    if not isinstance(value, dict):
        # The value of a parameter is a text.
        return str(value) if value == placeholders.CACHE_PORT else value
    if (join := value.get("Fn::Join")) and join[0] == "":
        return concatenate(map(flattened, join[1]))
    return {key: flattened(item) for key, item in value.items()}


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda it: f"{it[0]}-{it[1]}")
def test_with_the_same_values_the_template_deploys_what_cdk_deploys(
    variants: dict[Variant, Template], packaged: Template, variant: Variant
) -> None:
    resolver = Resolver(packaged, parameters_of(variant))
    assert resolver.violations() == []
    assert normalized(resolver.template()) == normalized(variants[variant])


def test_nothing_of_a_placeholder_stays(packaged: Template) -> None:
    texts: list[str] = []

    def collect(value: Any) -> None:
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, list | dict):
            for key in value:
                if isinstance(value, list):
                    collect(key)
                elif key not in ("Ref", "Fn::GetAtt", "DependsOn", "Type"):
                    collect(value[key])

    collect([packaged["Resources"], packaged["Outputs"]])
    found = re.compile(
        r"the-|The(Mirror|Table|Key|Topic)|themirror|1111222|61379|aaaabbbb|eeeedddd"
    )
    assert [text for text in texts if found.search(text)] == []


def test_no_linter_finds_anything_and_cloudformation_takes_the_template(
    packaged: Template,
) -> None:
    text = json.dumps(packaged)
    found = cfnlint.lint(text, config=ManualArgs(regions=["eu-west-1"]))
    assert "\n".join(map(str, found)) == ""
    assert len(text) < MAX_TEMPLATE_BYTES
    assert len(packaged["Parameters"]) <= 200
    assert len(packaged["Resources"]) <= 500


def test_the_template_needs_nothing_of_cdk(packaged: Template) -> None:
    text = json.dumps(packaged)
    assert not re.search("cdk-hnb659fds|BootstrapVersion|AWS::CDK|Custom::(AWS|Cdk|Vpc|S3)", text)
    types = {resource["Type"] for resource in packaged["Resources"].values()}
    # The guard is a function of our own zip.
    assert {kind for kind in types if not kind.startswith("AWS::")} == {
        "Custom::DynamirrorIdentity"
    }
    codes = [
        resource["Properties"]["Code"]
        for resource in packaged["Resources"].values()
        if resource["Type"] == "AWS::Lambda::Function"
    ]
    name = {"Fn::If": ["OnArm64", "a.zip", "b.zip"]}
    key = {"Fn::If": ["HasS3Key", {"Ref": "S3Key"}, name]}
    assert codes == [{"S3Bucket": {"Ref": "S3Bucket"}, "S3Key": key}] * len(codes)


def violations(packaged: Template, **values: Any) -> list[str]:
    """Return which rules values violate, beside the required ones."""
    return Resolver(packaged, REQUIRED | values).violations()


@pytest.mark.parametrize(
    "values",
    [
        {},
        VPC,
        VPC | CACHE,
        VPC | CACHE | {"CacheKind": "node-based", "CachePort": "6380"},
        {"PublicCache": "true"},
    ],
)
def test_values_that_go_together_are_accepted(packaged: Template, values: dict[str, str]) -> None:
    assert violations(packaged, **values) == []


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"VpcId": VPC["VpcId"]}, "VpcId needs SubnetIds"),
        ({"SubnetIds": VPC["SubnetIds"]}, "SubnetIds need VpcId"),
        (CACHE, "An existing cache needs VpcId"),
        *((VPC | CACHE | {name: ""}, "An existing cache needs CacheHost") for name in OF_CACHE),
        *(({name: CACHE[name]}, "describe an existing cache") for name in OF_CACHE),
        ({"CacheKind": "node-based"}, "describe an existing cache"),
        (VPC | CACHE | {"CachePort": "6380"}, "A serverless cache has port 6379"),
        (VPC | CACHE | {"CacheReaderUser": "writer"}, "CacheReaderUser must be another user"),
        (VPC | {"PublicCache": "true"}, "PublicCache excludes VpcId"),
        ({"PublicCache": "true", "ApplicationSecurityGroupId": "sg-1"}, "PublicCache excludes"),
    ],
)
def test_values_that_exclude_each_other_or_would_be_ignored_are_refused(
    packaged: Template, values: dict[str, str], sentence: str
) -> None:
    (violation,) = violations(packaged, **values)
    assert violation.startswith(sentence) or sentence in violation


@pytest.mark.parametrize(
    ("name", "accepted", "refused"),
    [
        ("MirrorName", ["o", "orders-2", "a" * 15], ["", "Orders", "a-", "a--b", "2a", "a" * 16]),
        ("KeyNames", ["id", "customer,order", "a.b-c:d"], ["", "a,", "a, b", "a,b,c", 'a"', "a{"]),
        ("SubnetIds", ["", "subnet-1,subnet-2,subnet-3"], ["subnet-1", "vpc-1,vpc-2", "a, b"]),
        ("S3Bucket", ["my-bucket.eu"], ["", "s3://my-bucket", "My", "bucket/key"]),
        ("CacheName", ["", "shop-cache"], ['a"b', "Cache", "a b"]),
        ("CacheHost", ["", "a.b-1.cache.amazonaws.com"], ["a.b:6379", "https://a.b", "a b"]),
        ("CacheUser", ["", "writer-1"], ["a b", 'a"']),
        ("CacheReaderUser", ["", "reader-1"], ["a b", 'a"']),
    ],
)
def test_the_pattern_of_a_parameter_refuses_what_cannot_work(
    packaged: Template, name: str, accepted: list[str], refused: list[str]
) -> None:
    parameter = packaged["Parameters"][name]
    most = parameter.get("MaxLength", 1_000)
    for values, wanted in ((accepted, True), (refused, False)):
        for value in values:
            matches = re.fullmatch(parameter["AllowedPattern"], value) is not None
            assert (matches and len(value) <= most) is wanted, value


def test_the_port_of_a_cache_is_a_port(packaged: Template) -> None:
    port = packaged["Parameters"]["CachePort"]
    assert (port["MinValue"], port["MaxValue"]) == (1, 65_535)


def test_without_the_optional_values_nothing_refers_to_them(packaged: Template) -> None:
    deployed = Resolver(packaged, REQUIRED).template()["Resources"].values()
    text = json.dumps(list(deployed))
    for name in ("TopicArn", "kms:", "TableKey", '"Resource": []', '"Statement": []'):
        assert name not in text
    alarms = [it["Properties"] for it in deployed if it["Type"] == "AWS::CloudWatch::Alarm"]
    assert alarms
    assert all(alarm["AlarmActions"] == [] for alarm in alarms)
    variables = [
        it["Properties"]["Environment"]["Variables"]
        for it in deployed
        if it["Type"] == "AWS::Lambda::Function"
        and "Environment" in it["Properties"]
        and "DYNAMIRROR_KEY_SCHEMA" in it["Properties"]["Environment"]["Variables"]
    ]
    assert variables
    assert {it["DYNAMIRROR_KEY_SCHEMA"] for it in variables} == {"customer,order"}


VIEWS = """
[[view]]
key = "order:{order}"
"""


@pytest.mark.parametrize(
    ("given", "config", "layers"),
    [
        ({}, None, []),
        ({"MirrorToml": VIEWS}, VIEWS, []),
        ({"MirrorTomlKey": "views-1.zip"}, "/opt/mirror.toml", [{"Ref": "MirrorTomlLayer"}]),
    ],
    ids=["default", "inline", "in-s3"],
)
def test_views_come_from_a_parameter_or_from_s3_with_the_rights_that_they_need(
    packaged: Template, given: dict[str, str], config: str | None, layers: list[Any]
) -> None:
    resolver = Resolver(packaged, REQUIRED | given)
    assert resolver.violations() == []
    deployed = resolver.template()["Resources"]
    functions = [
        properties
        for resource in deployed.values()
        if resource["Type"] == "AWS::Lambda::Function"
        and "ELASTICACHE_HOST"
        in (properties := resource["Properties"]).get("Environment", {}).get("Variables", {})
    ]
    assert len(functions) >= 4
    (guard,) = (it for it in deployed.values() if it["Type"] == "Custom::DynamirrorIdentity")
    assert guard["Properties"].get("Config") == config
    for function in functions:
        assert function["Environment"]["Variables"].get("DYNAMIRROR_CONFIG") == config
    for resource in deployed.values():
        if resource["Type"] == "AWS::Lambda::Function":  # the guard reads the file, too
            assert resource["Properties"].get("Layers", []) == layers
    assert ("MirrorTomlLayer" in deployed) == bool(layers)
    users = {
        name: resource["Properties"]["AccessString"]
        for name, resource in deployed.items()
        if resource["Type"] == "AWS::ElastiCache::User"
    }
    assert len(users) == len(Role)
    # That of the canary has no entries of the views at all.
    of_all_keys = [name for name, access in users.items() if "~* " in access]
    assert len(of_all_keys) == (len(Role) - 1 if given else 0)


def test_views_inline_and_in_s3_exclude_each_other(packaged: Template) -> None:
    given = {"MirrorToml": VIEWS, "MirrorTomlKey": "views-1.zip"}
    assert Resolver(packaged, REQUIRED | given).violations() == [
        "MirrorTomlKey excludes MirrorToml"
    ]


def identity(packaged: Template, **values: str) -> Identity:
    """Return what the guard of a deployed template compares."""
    outputs = Resolver(packaged, REQUIRED | values).template()["Outputs"]
    return Identity.from_json(outputs["MirrorIdentity"]["Value"])


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"MirrorName": "others"}, "created with mirror.stack orders, and others needs another"),
        ({"KeyNames": "customer"}, "the keys of table orders are customer, order as deployed"),
        ({"VpcId": "vpc-2"}, "created with network.vpc_id vpc-0a1b2c3d"),
        ({"SubnetIds": "subnet-2,subnet-3"}, "created with network.subnet_ids"),
        (CACHE, "would replace by the existing serverless cache cache"),
        ({"VpcId": "", "SubnetIds": "", "PublicCache": "true"}, "created with network.public"),
        ({"StreamArn": STREAM_ARN.replace("orders", "users")}, "mirrors table orders, which this"),
    ],
)
def test_the_guard_refuses_an_update_that_would_make_another_mirror(
    packaged: Template, changed: dict[str, str], sentence: str
) -> None:
    deployed, wanted = identity(packaged, **VPC), identity(packaged, **VPC | changed)
    assert sentence in "; ".join(refused_changes("orders", deployed, wanted))


def test_an_existing_cache_knows_the_mirror_by_no_name(packaged: Template) -> None:
    """So its mirror may be renamed; the stack has names of its own only for a cache of its own."""
    deployed, wanted = (
        identity(packaged, **VPC, **CACHE, MirrorName=name) for name in ("orders", "others")
    )
    assert refused_changes("others", deployed, wanted) == []


FILE = """
[mirror]
name = "shop"
[[table]]
name = "orders"
keys = { customer = "S", order = "S" }
stream_arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/2026-01-02T03:04:05.678"
[[table]]
name = "users"
keys = { id = "S" }
create = true
[inspector]
enabled = true
"""


def test_a_file_has_its_own_template_with_all_of_its_tables(tmp_path: Path) -> None:
    path = tmp_path / "mirror.toml"
    path.write_text(FILE)
    template = render_deployment(read_deployment(str(path)), ZIPS)
    assert set(template["Parameters"]) == {"S3Bucket", "S3Key", "Architecture"}
    text = json.dumps(template)
    assert '"DYNAMIRROR_CONFIG": "mirror.json"' in text
    found = cfnlint.lint(text, config=ManualArgs(regions=["eu-west-1"]))
    assert "\n".join(map(str, found)) == ""
    kinds = [resource["Type"] for resource in template["Resources"].values()]
    # Two for the replicator, two for the inspector, and one for its queue.
    assert kinds.count("AWS::Lambda::EventSourceMapping") == 5
    assert kinds.count("AWS::DynamoDB::Table") == 1
    assert template["Parameters"]["Architecture"]["Default"] == "arm64"


def test_the_architecture_of_a_file_is_that_of_its_template(tmp_path: Path) -> None:
    path = tmp_path / "mirror.toml"
    path.write_text(f'{FILE}[functions]\narchitecture = "x86_64"\n')
    template = render_deployment(read_deployment(str(path)), ZIPS)
    deployed = Resolver(template, {"S3Bucket": "code"}).template()["Resources"].values()
    functions = [it["Properties"] for it in deployed if it["Type"] == "AWS::Lambda::Function"]
    assert functions
    for function in functions:
        assert function["Architectures"] == ["x86_64"]
        assert function["Code"] == {"S3Bucket": "code", "S3Key": "b.zip"}


@pytest.mark.parametrize(
    ("network", "field"), [('vpc_id = "vpc-0a1b2c3d"', "subnet_ids"), ("max_azs = 3", "max_azs")]
)
def test_a_file_whose_subnets_cdk_would_look_up_is_refused(
    tmp_path: Path, network: str, field: str
) -> None:
    path = tmp_path / "mirror.toml"
    path.write_text(f"{FILE}[network]\n{network}\n")
    with pytest.raises(ConfigError, match=rf"network\.{field}: a template cannot look up"):
        render_deployment(read_deployment(str(path)), ZIPS)
