"""Context that is unknown, or would be ignored, is refused in one sentence."""

import json
from pathlib import Path

import pytest
from aws_cdk import App
from tests.support.templates import EXISTING, make_stack  # prepares jsii

from dynamirror.cdk import deployment_of
from dynamirror.errors import ConfigError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("bathSize", "did you mean batchSize?"),
        ("audit-every", "did you mean auditEvery?"),
        ("tablearn", "did you mean tableArn?"),
        ("stage", "docs/cdk-options.md lists all"),
    ],
)
def test_an_unknown_option_is_refused(name: str, hint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        make_stack(**{name: "5"})
    assert str(refused.value) == f"context: {name}: there is no such option; {hint}"


@pytest.mark.parametrize(
    ("context", "needed"),
    [
        ({"keys": "pk,sk"}, "tableArn"),
        ({"streamArn": "arn"}, "tableArn"),
        ({"viewType": "NEW_IMAGE"}, "tableArn"),
        ({"tableKeyArn": "arn"}, "tableArn"),
        ({"deletionProtection": "true", **EXISTING}, "a new table, and so without tableArn"),
        ({"changesCount": "5", "simulator": "false"}, "simulator=true"),
        ({"changesCount": "5", **EXISTING}, "simulator=true"),
        ({"auditRate": "5", "audit": "false"}, "audit=true"),
        ({"driftItems": "5", "alarms": "false"}, "alarms=true"),
        ({"canaryLateSeconds": "5", "canary": "false"}, "alarms=true and canary=true"),
        ({"canaryMissingMinutes": "5", **EXISTING}, "alarms=true and canary=true"),
        (
            {"runbookUrl": "https://x", "alarms": "false", "dashboard": "false"},
            "alarms=true or dashboard=true",
        ),
    ],
    ids=str,
)
def test_an_option_that_would_be_ignored_is_refused(context: dict[str, str], needed: str) -> None:
    name = next(iter(context))
    with pytest.raises(ConfigError) as refused:
        make_stack(**context)
    assert str(refused.value) == f"context: {name}: applies only with {needed}"


def test_the_assumed_key_of_a_new_table_is_named(tmp_path: Path) -> None:
    (config := tmp_path / "mirror.toml").write_text('[[view]]\nkey = "user:{pk}"\n')
    with pytest.raises(ConfigError) as refused:
        make_stack(config=str(config))
    sentence = str(refused.value)
    assert "leaves out id of the primary key of the new table, so two items" in sentence
    assert sentence.endswith(
        "; the key of a new table is id (S): for a table of your own, add a [[table]], or set "
        "tableArn, streamArn and keys"
    )


def test_context_of_cdk_and_of_other_stacks_passes() -> None:
    context = {
        **json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"],
        "aws:cdk:enable-path-metadata": True,
        "availability-zones:account=123456789012:region=eu-west-1": ["eu-west-1a"],
        "vpc-provider:account=123456789012:filter.vpcId=vpc-1:region=eu-west-1": {},
        "stage": "prod",
        "batchSize": 5,
        "removedTables": ["old", "older"],
        "tracing": True,
        "tableKeyArn": "",
    }
    deployment = deployment_of(App(context=context).node, other_context=("stage",))
    assert deployment.replicator.batch_size == 5
    assert deployment.functions.tracing is True
    assert deployment.mirror.removed_tables == ["old", "older"]
