"""With the values of a user, the packaged template deploys what `make cdk` deploys with them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, DefaultStackSynthesizer, Stack
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from tests.support.resolved_template import Resolver
from tests.support.templates import KEY_ARN  # prepares jsii, before any import of aws_cdk

from dynamirror.cdk import DynamirrorStack, LambdaCode
from dynamirror.cdk.template_variants import Template, concatenate
from dynamirror.deployment.file import read_deployment

FLAGS = json.loads((Path(__file__).parents[2] / "cdk.json").read_text(encoding="utf-8"))["context"]
# Two keys, and a name with all that a table's name may hold.
TABLE_ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/my.table_1-a"
STREAM_ARN = f"{TABLE_ARN}/stream/2026-01-02T03:04:05.678"
TOPIC_ARN = "arn:aws:sns:eu-west-1:123456789012:alarms"
SUBNETS = ["subnet-0a", "subnet-1b", "subnet-2c"]
REQUIRED = {
    "MirrorName": "orders",
    "StreamArn": STREAM_ARN,
    "KeyNames": "customer,order",
    "S3Bucket": "code",
    "AlarmTopicArn": TOPIC_ARN,
}
CONTEXT = {
    "tableArn": TABLE_ARN,
    "streamArn": STREAM_ARN,
    "keys": "customer,order",
    "name": "orders",
    "stackName": "orders",
    "alarmTopicArn": TOPIC_ARN,
}
VPC = {"VpcId": "vpc-0a", "SubnetIds": ",".join(SUBNETS)}
EXISTING = {
    "CacheName": "shop",
    "CacheHost": "shop.cache.amazonaws.com",
    "CacheUser": "writer",
    "CacheReaderUser": "reader",
    "CacheSecurityGroupId": "sg-0c",
    "ApplicationSecurityGroupId": "sg-0a",
}


def existing(kind: str, port: int) -> str:
    """Return the file of a deployment to an existing cache."""
    return f"""
[[table]]
name = "my.table_1-a"
keys = {{ customer = "S", order = "S" }}
stream_arn = "{STREAM_ARN}"
[mirror]
name = "orders"
stack = "orders"
[network]
vpc_id = "vpc-0a"
subnet_ids = {json.dumps(SUBNETS)}
security_group_ids = ["sg-0a"]
[cache.existing]
name = "shop"
host = "shop.cache.amazonaws.com"
port = {port}
kind = "{kind}"
user = "writer"
reader_user = "reader"
security_group_id = "sg-0c"
[alarms]
topic_arn = "{TOPIC_ARN}"
"""


def synthesized(file: Path | None, context: dict[str, str]) -> Template:
    """Return what CDK deploys in this repository, with code from a bucket as in the package."""
    app = App(context=FLAGS, builtin_cloud_formation_validation=False)
    bucket = s3.Bucket.from_bucket_name(Stack(app, "Names"), "Code", "code")
    code = LambdaCode(
        code=lambda_.Code.from_bucket(bucket, "a.zip"),
        architecture=lambda_.Architecture.ARM_64,
        runtime=lambda_.Runtime("python3.14", lambda_.RuntimeFamily.PYTHON),
        config=None,
    )
    deployment = read_deployment(str(file) if file else None, context)
    synthesizer = DefaultStackSynthesizer(generate_bootstrap_version_rule=False)
    DynamirrorStack(app, deployment, code=code, synthesizer=synthesizer)
    template: Template = app.synth().get_stack_by_name("orders").template
    return template


def plain_id(name: str) -> str:
    """Return a logical ID without digests and ids, and with the names of the placeholders."""
    name = name.replace("my.table_1-a", "TheTable").replace("mytable1a", "TheTable")
    name = re.sub(r"([a-z])orders(?=[A-Z])", r"\1TheMirror", name)
    # Rules of security groups have ids of groups, and ports, between digests.
    return re.sub(r"Applicationsg.*|[0-9A-F]{8,}", "", name)


def deployed(template: Template) -> Any:
    """Return resources and outputs without digests, in one form."""
    resources: dict[str, Any] = {}
    ids: dict[str, str] = {}
    for name in template["Resources"]:
        plain = plain_id(name)
        while plain in ids.values():
            plain += "+"
        ids[name] = plain
    for name, resource in template["Resources"].items():
        after = [it["Ref"] for it in resource.get("Metadata", {}).get("After", [])]
        depends = {*resource.get("DependsOn", []), *after}
        copy = {key: it for key, it in resource.items() if key != "Metadata"}
        resources[ids[name]] = copy | {"DependsOn": sorted(ids[it] for it in depends)}
    outputs = {name: output["Value"] for name, output in template["Outputs"].items()}
    text = json.dumps(flattened([resources, outputs]), sort_keys=True)
    for name in sorted(ids, key=len, reverse=True):
        text = re.sub(rf"\b{name}\b", ids[name], text)
    return json.loads(re.sub(r"-[0-9a-f]{8}\b", "", text))


def flattened(value: Any) -> Any:
    """Return a value whose concatenations are short, and whose numbers are text."""
    if isinstance(value, list):
        return [flattened(item) for item in value]
    if isinstance(value, dict):
        if (join := value.get("Fn::Join")) and join[0] == "":
            return concatenate(map(flattened, join[1]))
        return {key: flattened(item) for key, item in value.items()}
    return value if isinstance(value, bool) else str(value)


@pytest.mark.parametrize(
    ("values", "file", "context"),
    [
        (
            {"TableKeyArn": KEY_ARN, "ApplicationSecurityGroupId": "sg-0a"},
            None,
            {"tableKeyArn": KEY_ARN, "securityGroupIds": "sg-0a"},
        ),
        (VPC | {"Inspector": "true"}, None, {"vpcId": "vpc-0a", "subnetIds": ",".join(SUBNETS)}),
        ({"PublicCache": "true"}, None, {"public": "true"}),
        (VPC | EXISTING, existing("serverless", 6379), None),
        (
            VPC | EXISTING | {"CacheKind": "node-based", "CachePort": "6390"},
            existing("node-based", 6390),
            None,
        ),
    ],
    ids=["new", "vpc", "public", "existing", "nodes"],
)
def test_the_values_of_a_user_deploy_what_cdk_deploys_with_them(
    packaged: Template,
    tmp_path: Path,
    values: dict[str, str],
    file: str | None,
    context: dict[str, str] | None,
) -> None:
    path = None
    if file is not None:
        path = tmp_path / "mirror.toml"
        path.write_text(file, encoding="utf-8")
    options = {} if context is None else CONTEXT | context
    if "Inspector" in values:
        options["inspector"] = "true"
    resolver = Resolver(packaged, REQUIRED | values)
    assert resolver.violations() == []
    assert deployed(resolver.template()) == deployed(synthesized(path, options))
