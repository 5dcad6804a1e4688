"""The CloudFormation template that deploys a mirror without CDK."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec
from aws_cdk import App, DefaultStackSynthesizer, Stack
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3

from dynamirror.cdk import template_parameters as parameters
from dynamirror.cdk.asset import Architecture
from dynamirror.cdk.function import LambdaCode
from dynamirror.cdk.stack import DynamirrorStack
from dynamirror.cdk.template_parameters import CODE_PARAMETERS, PARAMETERS, put_code, put_parameters
from dynamirror.cdk.template_variants import Template, merge_templates
from dynamirror.cdk.template_views import put_views
from dynamirror.deployment.file import Deployment, read_deployment
from dynamirror.deployment.sections import SERVERLESS_PORT, CacheSection, ExistingCache
from dynamirror.errors import ConfigError
from dynamirror.views.schema import Schema

_DESCRIPTION: Final = "A Valkey cache that mirrors DynamoDB tables, kept by dynamirror"

_TABLE: Final = Schema("TheTable", (parameters.KEYS,))
# Of the flags in cdk.json, the only one that changes the stack.
_AS_CDK_JSON: Final = {"@aws-cdk/aws-iam:minimizePolicies": True}
# As in `stack_network`.
_ZONES_OF_ANY_REGION: Final = 2

Place = Literal["NewVpc", "GivenVpc", "Public", "ExistingCache", "ExistingNodes"]
Variant = tuple[Place, bool]  # where the cache is, and whether there is an inspector
_PLACES: Final[tuple[Place, ...]] = (
    "NewVpc",
    "GivenVpc",
    "Public",
    "ExistingCache",
    "ExistingNodes",
)
VARIANTS: Final[tuple[Variant, ...]] = tuple(
    (place, inspector) for place in _PLACES for inspector in (False, True)
)


def variant_templates(python: str = "3.14") -> dict[Variant, Template]:
    """Return the template that CDK synthesizes for each variant, with placeholders.

    Args:
        python: Python version of the functions.
    """
    return {
        variant: _synthesize(_deployment(variant, python), python=python) for variant in VARIANTS
    }


def render_template(
    variants: Mapping[Variant, Template], zips: Mapping[Architecture, str]
) -> Template:
    """Return the template of a mirror of one table.

    Args:
        variants: what `variant_templates` returns.
        zips: names of the zips of the functions by architecture.
    """
    conditions = _Conditions()
    merged = merge_templates(
        {
            variant: put_parameters(put_views(template, _TABLE))
            for variant, template in variants.items()
        },
        conditions.name,
    )
    for entries in (merged["Resources"], merged["Outputs"]):
        for entry in entries.values():
            if "Condition" in entry:
                entry["Condition"] = conditions.both(entry["Condition"].split())
    merged["Conditions"] = {**_BASIC, **conditions.declared}
    merged["Rules"] = _RULES
    return _whole(merged, PARAMETERS, zips)


def render_deployment(deployment: Deployment, zips: Mapping[Architecture, str]) -> Template:
    """Return the template of one deployment, whose only parameters are about its code.

    Args:
        deployment: what to deploy.
        zips: names of the zips of the functions by architecture.

    Raises:
        ConfigError: a view does not fit a table, a stream cannot feed it, or subnets are missing.
    """
    network = deployment.network
    if (network.vpc_id and not network.subnet_ids) or network.max_azs > _ZONES_OF_ANY_REGION:
        field = "subnet_ids" if network.vpc_id else "max_azs"
        remedy = "set it" if network.vpc_id else f"set it to {_ZONES_OF_ANY_REGION}"
        raise ConfigError(
            f"{deployment.path}: network.{field}: a template cannot look up subnets and zones; "
            f"{remedy}"
        )
    template = _synthesize(deployment, python=deployment.functions.python)
    template["Conditions"] = {name: _BASIC[name] for name in ("HasS3Key", "OnArm64")}
    return _whole(template, {}, zips, architecture=deployment.functions.architecture)


def _whole(
    template: Template,
    others: Mapping[str, parameters.Parameter],
    zips: Mapping[Architecture, str],
    *,
    architecture: Architecture = "arm64",
) -> Template:
    used = {**others, **CODE_PARAMETERS}
    used["Architecture"] = msgspec.structs.replace(used["Architecture"], default=architecture)
    # W1030, W1033: the defaults of ids are empty. W3005: CDK repeats what references imply.
    lint = {"cfn-lint": {"config": {"ignore_checks": ["W1030", "W1033", "W3005"]}}}
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": _DESCRIPTION,
        "Parameters": {name: parameter.to_json() for name, parameter in used.items()},
        # For tools that upload the zips, as the Terraform module does.
        "Metadata": {**lint, "Zips": dict(zips)},
        **put_code(template, zips),
    }


def _synthesize(deployment: Deployment, *, python: str) -> Template:
    app = App(
        analytics_reporting=False,
        # It would complain about the stack without resources, and tests lint what is written.
        builtin_cloud_formation_validation=False,
        context=_AS_CDK_JSON,
    )
    names = Stack(app, "Names")
    bucket = s3.Bucket.from_bucket_name(names, "Code", "bucket")
    stack = DynamirrorStack(
        app,
        deployment,
        code=LambdaCode(
            code=lambda_.Code.from_bucket(bucket, "zip"),
            architecture=lambda_.Architecture.ARM_64,
            runtime=lambda_.Runtime(f"python{python}", lambda_.RuntimeFamily.PYTHON),
            config=deployment.path,
        ),
        # The stack then has neither parameter nor rule of CDK's own.
        synthesizer=DefaultStackSynthesizer(generate_bootstrap_version_rule=False),
    )
    template: Template = app.synth().get_stack_by_name(stack.stack_name).template
    return template


def _deployment(variant: Variant, python: str) -> Deployment:
    """Return the deployment of a variant, with placeholders for what parameters give."""
    place, inspector = variant
    context = {
        "name": parameters.MIRROR,
        "stackName": parameters.STACK,
        "tableArn": parameters.TABLE_ARN,
        "streamArn": parameters.STREAM_ARN,
        "keys": parameters.KEYS,
        "tableKeyArn": parameters.TABLE_KEY_ARN,
        "inspector": str(inspector).lower(),
        "canary": "false",
        "alarmTopicArn": parameters.TOPIC_ARN,
        "python": python,
    }
    if place == "Public":
        return read_deployment(None, context | {"public": "true"})
    context["securityGroupIds"] = parameters.APPLICATIONS
    if place == "NewVpc":
        return read_deployment(None, context)
    context |= {"vpcId": parameters.VPC, "subnetIds": parameters.SUBNET}
    deployment = read_deployment(None, context)
    if place == "GivenVpc":
        return deployment
    serverless = place == "ExistingCache"
    existing = ExistingCache(
        name=parameters.CACHE,
        host=parameters.CACHE_HOST,
        port=SERVERLESS_PORT if serverless else parameters.CACHE_PORT,
        kind="serverless" if serverless else "node-based",
        security_group_id=parameters.CACHE_GROUP,
        user=parameters.CACHE_USER,
        reader_user=parameters.CACHE_READER,
    )
    return msgspec.structs.replace(deployment, cache=CacheSection(existing=existing))


def _given(name: str) -> dict[str, Any]:
    return {"Fn::Not": [{"Fn::Equals": [{"Ref": name}, ""]}]}


def _is(name: str, value: str) -> dict[str, Any]:
    return {"Fn::Equals": [{"Ref": name}, value]}


def _condition(name: str) -> dict[str, Any]:
    return {"Condition": name}


def _not(condition: dict[str, Any]) -> dict[str, Any]:
    return {"Fn::Not": [condition]}


def _all(*conditions: dict[str, Any]) -> dict[str, Any]:
    return {"Fn::And": list(conditions)} if len(conditions) > 1 else conditions[0]


def _any(*conditions: dict[str, Any]) -> dict[str, Any]:
    return {"Fn::Or": list(conditions)} if len(conditions) > 1 else conditions[0]


_NO_CACHE: Final = _is("CacheName", "")
_IN_VPC: Final = _is("PublicCache", "false")
_BASIC: Final[Mapping[str, dict[str, Any]]] = {
    "HasS3Key": _given("S3Key"),
    "OnArm64": _is("Architecture", "arm64"),
    "HasTableKey": _given("TableKeyArn"),
    "HasApplicationSecurityGroup": _given("ApplicationSecurityGroupId"),
    "HasAlarmTopic": _given("AlarmTopicArn"),
    "HasInspector": _is("Inspector", "true"),
    "HasMirrorToml": _given("MirrorToml"),
    "HasMirrorTomlKey": _given("MirrorTomlKey"),
    "HasViews": _any(_condition("HasMirrorToml"), _condition("HasMirrorTomlKey")),
    # Exactly one of these is true.
    "InNewVpc": _all(_NO_CACHE, _IN_VPC, _is("VpcId", "")),
    "InGivenVpc": _all(_NO_CACHE, _IN_VPC, _given("VpcId")),
    "InPublic": _all(_NO_CACHE, _is("PublicCache", "true")),
    "InExistingCache": _all(_given("CacheName"), _is("CacheKind", "serverless")),
    "InExistingNodes": _all(_given("CacheName"), _is("CacheKind", "node-based")),
}


def _assert(description: str, *conditions: dict[str, Any]) -> dict[str, Any]:
    return {"Assert": _all(*conditions), "AssertDescription": description}


_OF_EXISTING: Final = ("CacheHost", "CacheUser", "CacheReaderUser", "CacheSecurityGroupId")
_USUAL_PORT: Final = _is("CachePort", str(SERVERLESS_PORT))
_RULES: Final = {
    "ExistingCache": {
        "RuleCondition": _given("CacheName"),
        "Assertions": [
            _assert(
                f"An existing cache needs {', '.join(_OF_EXISTING[:-1])} and {_OF_EXISTING[-1]}",
                *map(_given, _OF_EXISTING),
            ),
            _assert("An existing cache needs VpcId, the VPC of the cache", _given("VpcId")),
            _assert(
                "CacheReaderUser must be another user than CacheUser, which writes",
                _not({"Fn::Equals": [{"Ref": "CacheUser"}, {"Ref": "CacheReaderUser"}]}),
            ),
        ],
    },
    "NewCache": {
        "RuleCondition": _NO_CACHE,
        "Assertions": [
            _assert(
                f"{', '.join(_OF_EXISTING)}, CacheKind and CachePort describe an existing cache, "
                "and need CacheName",
                *(_is(name, "") for name in _OF_EXISTING),
                _is("CacheKind", "serverless"),
                _USUAL_PORT,
            )
        ],
    },
    "ServerlessCache": {
        "RuleCondition": _is("CacheKind", "serverless"),
        "Assertions": [
            _assert(
                f"A serverless cache has port {SERVERLESS_PORT}; another CachePort "
                "needs CacheKind node-based",
                _USUAL_PORT,
            )
        ],
    },
    "Views": {
        "RuleCondition": _given("MirrorTomlKey"),
        "Assertions": [_assert("MirrorTomlKey excludes MirrorToml", _is("MirrorToml", ""))],
    },
    "PublicCache": {
        "RuleCondition": _is("PublicCache", "true"),
        "Assertions": [
            _assert(
                "PublicCache excludes VpcId, CacheName and ApplicationSecurityGroupId",
                _is("VpcId", ""),
                _NO_CACHE,
                _is("ApplicationSecurityGroupId", ""),
            )
        ],
    },
    "GivenVpc": {
        "RuleCondition": _given("VpcId"),
        "Assertions": [_assert("VpcId needs SubnetIds", _given("SubnetIds"))],
    },
    "NewVpc": {
        "RuleCondition": _is("VpcId", ""),
        "Assertions": [
            _assert("SubnetIds need VpcId, the VPC that they belong to", _is("SubnetIds", ""))
        ],
    },
}


class _Conditions:
    """Names and declares the conditions under which some of the variants are deployed."""

    def __init__(self) -> None:
        self.declared: dict[str, dict[str, Any]] = {}

    def name(self, variants: frozenset[Variant]) -> str:
        """Return the name of the condition under which one of these variants is deployed."""
        with_inspector, without = (
            frozenset(place for place, inspector in variants if inspector is wanted)
            for wanted in (True, False)
        )
        if with_inspector == without:
            return self._place(with_inspector)
        alternatives = list(self._with_inspector(with_inspector, without))
        name = "Or".join(name for name, _ in alternatives)
        self.declared.setdefault(name, _any(*(condition for _, condition in alternatives)))
        return name

    def both(self, names: list[str]) -> str:
        """Return the name of the condition that holds if all of these do."""
        name = "And".join(names)
        if len(names) > 1:
            self.declared.setdefault(name, _all(*map(_condition, names)))
        return name

    def _with_inspector(
        self, with_inspector: frozenset[Place], without: frozenset[Place]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        inspected = _condition("HasInspector")
        for places, suffix, condition in (
            (with_inspector, "Inspected", inspected),
            (without, "NotInspected", _not(inspected)),
        ):
            if len(places) == len(_PLACES):
                yield suffix, condition
            elif places:
                name = self._place(places)
                yield f"{name}{suffix}", _all(_condition(name), condition)

    def _place(self, places: frozenset[Place]) -> str:
        chosen = [place for place in _PLACES if place in places]
        others = [place for place in _PLACES if place not in places]
        if len(chosen) == 1:
            return f"In{chosen[0]}"
        if len(others) < len(chosen):
            name = f"NotIn{'Or'.join(others)}"
            condition = _not(_any(*(_condition(f"In{place}") for place in others)))
        else:
            name = f"In{'Or'.join(chosen)}"
            condition = _any(*(_condition(f"In{place}") for place in chosen))
        self.declared.setdefault(name, condition)
        return name
