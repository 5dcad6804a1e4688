"""Views that the packaged template takes from a parameter, or from a zip in S3."""

from typing import Any, Final

from dynamirror.cache.acl import Role, access_string
from dynamirror.cdk.template_variants import NO_VALUE, Template
from dynamirror.views.mirror_toml import check_views
from dynamirror.views.schema import Schema
from dynamirror.views.view import ViewSpec

LAYER: Final = "MirrorTomlLayer"
# Lambda unpacks layers there: https://docs.aws.amazon.com/lambda/latest/dg/packaging-layers.html
_PATH: Final = "/opt/mirror.toml"
_CONFIG: Final = {
    "Fn::If": [
        "HasMirrorToml",
        {"Ref": "MirrorToml"},
        {"Fn::If": ["HasMirrorTomlKey", _PATH, NO_VALUE]},
    ]
}
_LAYERS: Final = {"Fn::If": ["HasMirrorTomlKey", [{"Ref": LAYER}], NO_VALUE]}


def put_views(template: Template, table: Schema) -> Template:
    """Return the template of a mirror with the default view, which takes others by parameters.

    CloudFormation cannot tell which keys they write. So the users of the cache, which holds nothing
    but this mirror, then have their commands on all keys.

    Args:
        template: template of a mirror of one table with the default view.
        table: the table.
    """
    globs = check_views((ViewSpec(),), table.table, table.keys, "NEW_AND_OLD_IMAGES")
    rights = {
        access_string(role, patterns=globs, tables=[table.table]): access_string(
            role, patterns=["*"], tables=[table.table]
        )
        for role in Role
    }
    resources = {
        name: resource | {"Properties": _properties(resource, rights)}
        for name, resource in template["Resources"].items()
    }
    resources[LAYER] = {
        "Type": "AWS::Lambda::LayerVersion",
        "Condition": "HasMirrorTomlKey",
        "Properties": {
            "Content": {"S3Bucket": {"Ref": "S3Bucket"}, "S3Key": {"Ref": "MirrorTomlKey"}},
            "Description": "The views of the mirror",
        },
    }
    return template | {"Resources": resources}


def _properties(resource: Template, rights: dict[str, str]) -> dict[str, Any]:
    properties: dict[str, Any] = resource.get("Properties", {})
    if resource["Type"] == "AWS::ElastiCache::User":
        narrow = properties["AccessString"]
        return properties | {"AccessString": {"Fn::If": ["HasViews", rights[narrow], narrow]}}
    if resource["Type"] == "Custom::DynamirrorIdentity":
        return properties | {"Config": _CONFIG}  # views that do not fit are refused first
    if resource["Type"] != "AWS::Lambda::Function":
        return properties
    variables = properties.get("Environment", {}).get("Variables", {})
    if "ELASTICACHE_HOST" not in variables:
        return properties | {"Layers": _LAYERS}
    return properties | {
        "Environment": {"Variables": variables | {"DYNAMIRROR_CONFIG": _CONFIG}},
        "Layers": _LAYERS,
    }
