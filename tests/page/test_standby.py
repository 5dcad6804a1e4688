"""Of two real processes that share a mirror, everything that a person looks at names the leader."""

import json
import signal
from pathlib import Path
from urllib.request import urlopen
from uuid import uuid4

from chaos.replicas import Place, Replica
from playwright.sync_api import Browser, expect
from tests.support.browser import needs_browser
from tests.support.deadlines import wait_until
from tests.support.processes import environment, invoke, linux_only

from dynamirror.cache.client import Cache
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.valkey import EmbeddedValkey


def says_that_it_leads(replica: Replica, table: str) -> bool:
    """Return the metric of a process by which it leads."""
    url = replica.url("metrics at ")
    assert url is not None
    with urlopen(url, timeout=10) as answer:  # noqa: S310 - our own http URL
        lines = answer.read().decode().splitlines()
    (line,) = (line for line in lines if line.startswith(f'dynamirror_leader{{table="{table}"}}'))
    return float(line.split()[-1]) == 1


@linux_only
@needs_browser
def test_metrics_page_and_status_name_who_leads(
    dynamodb: EmbeddedDynamoDB,
    valkey: EmbeddedValkey,
    cache: Cache,
    tmp_path: Path,
    browser: Browser,
) -> None:
    name = f"t-{uuid4().hex[:12]}"
    variables = valkey.settings().to_env() | {"AWS_ENDPOINT_URL": dynamodb.endpoint_url}
    env = environment(tmp_path, DYNAMODB_TABLE=name, **variables)

    def leader_of_status() -> str:
        status = json.loads(invoke("status", "--json", env=env).stdout)
        return str((status["leader"] or {}).get("who"))

    with Place(dynamodb, valkey, cache, name) as place, browser.new_page() as tab:
        for _ in range(2):
            place.start("--metrics", "0", "--page")
        wait_until(lambda: all(each.url("page: ") for each in place.replicas))
        leader = place.new_leader()
        (other,) = (each for each in place.replicas if each is not leader)
        wait_until(lambda: "standby" in other.health("/livez")[1])
        assert says_that_it_leads(leader, name)
        assert not says_that_it_leads(other, name)
        who = leader_of_status()
        assert who.endswith(f":{leader.process.pid}")
        tab.goto(str(other.url("page: ")))
        condition = tab.get_by_test_id("condition")
        expect(condition).to_have_text("Standby")
        expect(tab.locator(".headline")).to_contain_text(f"This process stands by: {who} leads.")

        place.end(leader, signal.SIGTERM)
        assert place.new_leader() is other
        wait_until(lambda: says_that_it_leads(other, name))
        assert leader_of_status().endswith(f":{other.process.pid}")
        expect(condition).to_have_text("In sync")
