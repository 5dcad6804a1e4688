"""The guard of a mirror's identity answers CloudFormation's requests over HTTP."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dynamirror.deployment.identity import Identity
from dynamirror.functions.identity_guard import handler

STACK = "arn:aws:cloudformation:us-east-1:123456789012:stack/Dynamirror-shop/1"
ORDERS = Identity(tables={"orders": ("id",)}, cache="serverless")
BOTH = Identity(tables={"orders": ("id",), "users": ("id",)}, cache="serverless")
NEW = Identity(tables={"new": ("id",)}, cache="serverless")
OTHER_KEYS = Identity(tables={"orders": ("id", "at")}, cache="serverless")
NODES = Identity(tables={"orders": ("id",)}, cache="node-based")
THEIRS = Identity(tables={"orders": ("id",)}, cache="serverless", existing_cache="shared")


class Unreadable(Identity, frozen=True, kw_only=True):
    """An identity of a later version, which this one cannot read."""

    def to_json(self) -> str:
        return "?"


class CloudFormation:
    """The ends of CloudFormation that the guard meets: its API, and the URL for the answer."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: list[dict[str, Any]] = []
        self.content_types: list[str | None] = []
        self.status = "UPDATE_IN_PROGRESS"
        self.failures = 0

    def ask(
        self, kind: str, old: Identity, new: Identity, removed: Any = (), config: str = ""
    ) -> Any:
        """Send a request as CloudFormation does, and return the answer to it."""
        event = {
            "RequestType": kind,
            "RequestId": "r-1",
            "StackId": STACK,
            "ResponseURL": f"{self.url}/answer",
            "ResourceType": "Custom::DynamirrorIdentity",
            "LogicalResourceId": "Identity2D60E2CC",
            "ResourceProperties": properties(new, removed) | ({"Config": config} if config else {}),
        }
        if kind != "Create":
            event["PhysicalResourceId"] = "dynamirror-identity"
        if kind == "Update":
            event["OldResourceProperties"] = properties(old, ())
        handler(event, None)
        answer = self.answers[-1]
        expected = {"StackId": STACK, "RequestId": "r-1", "LogicalResourceId": "Identity2D60E2CC"}
        assert {**answer, **expected} == answer
        assert answer["PhysicalResourceId"] == "dynamirror-identity"
        return answer


def properties(identity: Identity, removed: Any) -> dict[str, Any]:
    """Return the properties of the resource, all of them text as CloudFormation sends them."""
    return {
        "ServiceToken": "arn:aws:lambda:us-east-1:123456789012:function:guard",
        "ServiceTimeout": "120",
        "Mirror": "shop",
        "Identity": identity.to_json(),
        "RemovedTables": list(removed),
    }


@contextmanager
def served() -> Iterator[CloudFormation]:
    """Serve CloudFormation on this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if services.failures:
                services.failures -= 1
                self._answer(503, b"")
                return
            services.answers.append(json.loads(body))
            services.content_types.append(self.headers["Content-Type"])
            self._answer(200, b"")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            described = (
                "<DescribeStacksResponse><DescribeStacksResult><Stacks><member>"
                "<StackName>Dynamirror-shop</StackName><CreationTime>2026-01-01T00:00:00Z"
                f"</CreationTime><StackStatus>{services.status}</StackStatus></member></Stacks>"
                "</DescribeStacksResult></DescribeStacksResponse>"
            )
            self._answer(200 if services.status else 403, described.encode())

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Write nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    services = CloudFormation(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield services
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudFormation]:
    """CloudFormation, which the environment names."""
    with served() as cloud:
        for name, value in {
            "AWS_ENDPOINT_URL": cloud.url,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
        }.items():
            monkeypatch.setenv(name, value)
        yield cloud


@pytest.mark.parametrize("kind", ["Create", "Delete"])
def test_a_new_stack_and_a_deleted_one_are_not_refused(cloud: CloudFormation, kind: str) -> None:
    assert cloud.ask(kind, ORDERS, ORDERS)["Status"] == "SUCCESS"
    assert cloud.content_types == [""]


@pytest.mark.parametrize(("old", "new"), [(ORDERS, ORDERS), (ORDERS, BOTH)])
def test_the_same_tables_and_more_are_not_refused(
    cloud: CloudFormation, old: Identity, new: Identity
) -> None:
    assert cloud.ask("Update", old, new)["Status"] == "SUCCESS"


@pytest.mark.parametrize(
    ("new", "sentence"),
    [
        (
            NEW,
            (
                "mirror shop: mirrors table orders, which this deployment leaves out (it has table "
                "new); deploy other tables under another name, as in [mirror] name or -c name=, or "
                'give up the table on purpose with removed_tables = ["orders"]'
            ),
        ),
        (
            OTHER_KEYS,
            (
                "mirror shop: the keys of table orders are id as deployed, not id, at; correct the "
                "keys, or deploy the other table under another name"
            ),
        ),
        (
            NODES,
            (
                "mirror shop: has a serverless cache of its own, which this deployment would "
                "replace by a node-based cache of its own; deploy it under another name, as in "
                "[mirror] name or -c name=, and destroy the old stack once applications read from "
                "the new one"
            ),
        ),
        (THEIRS, "by the existing serverless cache shared; deploy it under another name"),
    ],
)
def test_another_mirror_is_refused_with_what_to_do(
    cloud: CloudFormation, new: Identity, sentence: str
) -> None:
    answer = cloud.ask("Update", ORDERS, new)
    assert answer["Status"] == "FAILED"
    assert sentence in answer["Reason"]


VIEW = '[[view]]\nkey = "order:{id}"\n'


@pytest.mark.parametrize("kind", ["Create", "Update"])
@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (VIEW.replace("key", "kei"), "mirror.toml: view[0].kei: there is no such field"),
        ("[[view", "mirror.toml: not valid TOML"),
        (VIEW.replace("{id}", "{}"), "view"),
        (f"{VIEW}[network]\npublic = true\n", "[network] has no effect in this template"),
        (f'{VIEW}[[table]]\nname = "users"\nkeys = {{ id = "S" }}\n', "[[table]] users with"),
        (f'{VIEW}[[table]]\nname = "orders"\nkeys = {{ at = "S" }}\n', "[[table]] orders with"),
        ("/no/such/mirror.toml", "/no/such/mirror.toml: cannot be read"),
    ],
)
def test_views_that_do_not_fit_are_refused(
    cloud: CloudFormation, kind: str, config: str, reason: str
) -> None:
    answer = cloud.ask(kind, ORDERS, ORDERS, config=config)
    assert answer["Status"] == "FAILED"
    assert reason in answer["Reason"]


@pytest.mark.parametrize("kind", ["Create", "Update", "Delete"])
def test_views_that_fit_are_not_refused(cloud: CloudFormation, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "mirror.toml"
    path.write_text(f'{VIEW}[[table]]\nname = "orders"\nkeys = {{ id = "S" }}\n')
    for config in (VIEW, str(path)):
        assert cloud.ask(kind, ORDERS, ORDERS, config=config)["Status"] == "SUCCESS"


def test_a_table_is_given_up_by_name_only(cloud: CloudFormation) -> None:
    assert cloud.ask("Update", BOTH, ORDERS, ["users"])["Status"] == "SUCCESS"
    assert cloud.ask("Update", BOTH, ORDERS, ["orders"])["Status"] == "FAILED"


def created(*tables: str, retain: bool = False) -> Identity:
    keys = dict.fromkeys(["orders", "users"], ("id",))
    return Identity(tables=keys, cache="serverless", created=tables, retain=retain)


@pytest.mark.parametrize("new", [created("users"), ORDERS])
def test_a_created_table_is_not_deleted_by_describing_it_as_an_existing_one(
    cloud: CloudFormation, new: Identity
) -> None:
    old = created("orders", "users")
    answer = cloud.ask("Update", old, new, ["users"])
    assert answer["Status"] == "FAILED"
    assert answer["Reason"].startswith(
        "mirror shop: its stack created table orders, and this deployment would delete the table "
        "with its items; first deploy with retain = true and without this change"
    )
    # With its deletion policy, the table leaves the stack and stays.
    kept = created("orders", "users", retain=True)
    assert cloud.ask("Update", old, kept)["Status"] == "SUCCESS"
    assert cloud.ask("Update", kept, new, ["users"])["Status"] == "SUCCESS"


def test_a_rollback_leads_back(cloud: CloudFormation) -> None:
    """CloudFormation sends an update with the old and the new properties exchanged."""
    cloud.status = "UPDATE_ROLLBACK_IN_PROGRESS"
    assert cloud.ask("Update", BOTH, ORDERS)["Status"] == "SUCCESS"


def test_what_cannot_be_compared_is_refused(cloud: CloudFormation) -> None:
    cloud.status = ""
    answer = cloud.ask("Update", BOTH, ORDERS)
    assert answer["Status"] == "FAILED"
    assert answer["Reason"].startswith("cannot compare this deployment with the deployed mirror: ")


def test_a_rollback_leads_back_from_what_cannot_be_compared(cloud: CloudFormation) -> None:
    """Otherwise the stack would be stuck in UPDATE_ROLLBACK_FAILED."""
    cloud.status = "UPDATE_ROLLBACK_IN_PROGRESS"
    assert cloud.ask("Update", Unreadable(tables={}, cache=""), ORDERS)["Status"] == "SUCCESS"
    cloud.status = "UPDATE_IN_PROGRESS"
    assert cloud.ask("Update", Unreadable(tables={}, cache=""), ORDERS)["Status"] == "FAILED"


def test_an_answer_is_sent_again(cloud: CloudFormation) -> None:
    cloud.failures = 2
    assert cloud.ask("Create", ORDERS, ORDERS)["Status"] == "SUCCESS"


def test_a_long_reason_is_cut(cloud: CloudFormation) -> None:
    """CloudFormation refuses answers of more than 4,096 bytes."""
    many = Identity(
        tables={f"a-long-name-of-a-table-{n:04}": ("id",) for n in range(200)}, cache="serverless"
    )
    answer = cloud.ask("Update", many, ORDERS)
    assert answer["Status"] == "FAILED"
    assert len(json.dumps(answer)) < 4096
