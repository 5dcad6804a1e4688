"""The page of a mirror under `run`: the same state, without buttons."""

from pathlib import Path
from time import time

from playwright.sync_api import Browser, expect
from tests.support.browser import needs_browser
from tests.support.processes import environment, start
from tests.support.streams import Source

from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import record_gap
from dynamirror.dynamodb.client import describe_table
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.inspection.stored import store_tally
from dynamirror.inspection.tally import Tally, ViewTally, Within
from dynamirror.views.view import ViewSpec


@needs_browser
def test_run_shows_the_table_and_the_cache_and_no_buttons(
    dynamodb: EmbeddedDynamoDB,
    valkey: EmbeddedValkey,
    cache: Cache,
    tmp_path: Path,
    browser: Browser,
) -> None:
    source = Source(dynamodb)
    source.put("1", name={"S": "<i>Ada</i>"})
    view = ViewSpec().bind(describe_table(source.client, source.name).schema)
    # After an old gap, the first rebuild need not wait.
    record_gap(cache, [view], stream=source.arn, at=1, reason="a test")
    counts = ViewTally(within={"1": Within(48_000, 48_000)})
    tally = Tally(at=time(), tables={source.name: {view.name: counts}})
    store_tally(cache, source.name, "an inspector", tally)
    variables = valkey.settings().to_env() | {"AWS_ENDPOINT_URL": dynamodb.endpoint_url}
    env = environment(tmp_path, **variables)
    process = start("run", "--table", source.name, "--page", env=env)
    assert process.stdout
    try:
        line = next(line for line in process.stdout if line.startswith("page: "))
        with browser.new_page() as tab:
            tab.goto(line.split()[-1])
            word = tab.get_by_test_id("condition")
            expect(tab.locator(".row.same")).to_contain_text("name <i>Ada</i>")
            assert tab.get_by_role("button").count() == 0
            nines = "at least 4.2 nines (95%), 48,000 checks"
            expect(tab.get_by_test_id("nines")).to_have_text(nines)
            source.put("1", name={"S": "Grace"})
            expect(tab.locator(".row.same")).to_contain_text("name Grace")
            expect(word).to_have_text("In sync")
            process.terminate()
            tab.wait_for_function(
                "getComputedStyle(document.querySelector('.page')).filter === 'grayscale(1)'"
            )
            assert "when the connection was lost" in tab.evaluate(
                "getComputedStyle(document.querySelector('.headline p'), '::after').content"
            )
            assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()
