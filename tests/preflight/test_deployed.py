"""What is deployed already decides what may be deployed under the same name."""

from uuid import uuid4

import pytest
from tests.support.emulated_account import EmulatedAccount

from dynamirror.deployment.file import Deployment, read_deployment
from dynamirror.deployment.identity import Identity
from dynamirror.preflight.report import Check


def deployment(account: EmulatedAccount, **context: str) -> Deployment:
    """Describe the mirror of a table in a stack of its own."""
    return account.deployment(
        account.table({"id": "S"}), "id", stackName=f"Stack-{uuid4().hex[:8]}", **context
    )


def identity(account: EmulatedAccount, wanted: Deployment) -> list[Check]:
    """Return the checks of a deployment's identity that are wrong."""
    return [check for check in account.report(wanted).wrong if check.what == "identity"]


def test_the_same_mirror_may_be_deployed_again(account: EmulatedAccount) -> None:
    wanted = deployment(account)
    account.stack(wanted.stack_name, {"MirrorIdentity": wanted.identity.to_json()})
    assert account.report(wanted).exit_status == 0


def test_another_table_is_refused_unless_the_first_is_given_up(account: EmulatedAccount) -> None:
    wanted = deployment(account)
    orders = Identity(tables={"orders": ("id",)}, cache="serverless")
    account.stack(wanted.stack_name, {"MirrorIdentity": orders.to_json()})
    (check,) = identity(account, wanted)
    assert "mirrors table orders, which this deployment leaves out" in check.sentence
    assert check.remedy.startswith("deploy other tables under another name")
    arn, stream = wanted.tables[0].arn, wanted.tables[0].stream_arn
    assert arn
    assert stream
    given_up = read_deployment(
        None,
        {
            "tableArn": arn,
            "streamArn": stream,
            "keys": "id",
            "removedTables": "orders",
            "stackName": wanted.stack_name,
        },
    )
    assert account.report(given_up).exit_status == 0


@pytest.mark.parametrize("same", [True, False])
def test_a_stack_of_0_2_0_is_known_by_its_table(account: EmulatedAccount, *, same: bool) -> None:
    wanted = deployment(account)
    table = wanted.tables[0].name if same else "orders"
    account.stack(wanted.stack_name, {"TableName": str(table), "OperatorName": "x"})
    sentences = [check.sentence for check in identity(account, wanted)]
    assert sentences == (
        []
        if same
        else [
            (
                "a stack of an older version, which mirrors table orders, which this deployment "
                "leaves out"
            )
        ]
    )


def test_a_stack_of_something_else_is_left_alone(account: EmulatedAccount) -> None:
    wanted = deployment(account)
    account.stack(wanted.stack_name, {"Url": "https://example.com"})
    (check,) = identity(account, wanted)
    assert (check.sentence, check.remedy) == (
        "is the stack of something else",
        "give the mirror another name",
    )
