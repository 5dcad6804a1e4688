"""Merged templates are those that were merged, each under its condition."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.resolved_template import Resolver

from dynamirror.cdk.template_variants import Template, concatenate, merge_templates

TEXTS = st.sampled_from(["", "a", "b,", "a,b", ",c"])
CONCATENATIONS = st.lists(TEXTS | st.just({"Ref": "It"}), min_size=1, max_size=5).map(concatenate)
VALUES = st.recursive(
    st.integers(0, 2) | TEXTS | CONCATENATIONS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3)
    ),
    max_leaves=12,
)
RESOURCES = st.fixed_dictionaries(
    {"Type": st.just("T"), "Properties": st.dictionaries(st.sampled_from("pq"), VALUES)},
    optional={"DependsOn": st.lists(st.sampled_from("ABC"), unique=True).map(sorted)},
)
TEMPLATES = st.fixed_dictionaries(
    {"Resources": st.dictionaries(st.sampled_from("RST"), RESOURCES, max_size=3)}
)


def resolved(merged: Template, variant: int, names: dict[str, frozenset[Any]]) -> Template:
    """Return the resources that a merged template deploys as one of the variants."""
    conditions = {
        name: {"Fn::Equals": [variant in variants, True]} for name, variants in names.items()
    }
    whole = {**merged, "Conditions": conditions, "Parameters": {}}
    resources: Template = Resolver(whole, {}).template()["Resources"]
    return resources


def normalized(resources: Template) -> Template:
    """Return resources with all dependencies in one place."""
    result = {}
    for name, resource in resources.items():
        after = [it["Ref"] for it in resource.get("Metadata", {}).get("After", [])]
        depends = sorted([*resource.get("DependsOn", []), *after])
        result[name] = {"Properties": resource["Properties"], "DependsOn": depends}
    return result


@given(st.lists(TEMPLATES, min_size=1, max_size=4))
def test_each_variant_of_a_merged_template_is_the_one_that_was_merged(
    templates: list[Template],
) -> None:
    names: dict[str, frozenset[Any]] = {}

    def condition(variants: frozenset[Any]) -> str:
        name = "In" + "".join(map(str, sorted(variants)))
        names[name] = variants
        return name

    merged = merge_templates(dict(enumerate(templates)), condition)
    for variant, template in enumerate(templates):
        found = resolved(merged, variant, names)
        assert normalized(found) == normalized(template["Resources"])


def test_what_cloudformation_cannot_make_conditional_must_not_differ() -> None:
    templates = {
        kind: {"Resources": {"A": {"Type": "T", "DeletionPolicy": kind}}}
        for kind in ("Retain", "Delete")
    }
    with pytest.raises(ValueError, match="DeletionPolicy differs"):
        merge_templates(templates, lambda _variants: "Any")
