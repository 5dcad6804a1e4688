"""The connection breaks in the middle of a pipeline, or swallows what the server answers."""

import pytest
from tests.support.mirroring import Mirror, Record, Table, entries, number
from tests.support.wire import Wire

from dynamirror.cache.client import Cache
from dynamirror.cache.pipeline import CHUNK
from dynamirror.views.encoding import HASH
from dynamirror.views.view import ViewSpec

IDS = [str(number) for number in range(3 * CHUNK)]
REPLY = len(b"$7\r\napplied\r\n")
REQUEST = 250  # at least, of a put
PLACES = [0, 1, 17, CHUNK - 1, CHUNK, 2 * CHUNK + 50]
LAYOUTS = pytest.mark.parametrize(
    "spec", [ViewSpec(), ViewSpec(encoding=HASH)], ids=["json", "hash"]
)


def changes(table: Table) -> list[Record]:
    """Puts and deletes, each of another item."""
    return [
        *table.puts(IDS[100:250], name="new"),
        *map(table.delete, IDS[:100]),
        *table.puts(IDS[250:], name="new"),
    ]


@LAYOUTS
@pytest.mark.parametrize("through", [at * REPLY + more for at in PLACES for more in (0, 5)])
def test_a_connection_reset_among_the_answers_repeats_what_was_not_answered(
    single: Cache, over_wire: Cache, wire: Wire, spec: ViewSpec, through: int
) -> None:
    mirror, table = Mirror(over_wire, spec), Table()
    assert mirror.deliver(table.puts(IDS, name="old")) is None
    records = changes(table)
    wire.to_client.left = through
    identifier = mirror.deliver(records)
    assert identifier is not None
    at = [number(one) for one in records].index(identifier)
    # What the server sent before it was reset may be lost with it.
    assert at <= through // REPLY
    assert mirror.reports[-1].applied == at
    assert all("no connection: " in reason for reason in mirror.reasons)
    done = {one["dynamodb"]["Keys"]["id"]["S"] for one in records[:at]}
    shown = table.shown()
    for key, image in entries(single).items():
        if image["id"] in done:
            assert image == shown[key]
    mirror.deliver_again(records, identifier)
    assert entries(single) == table.shown()
    assert mirror.deliver(records) is None
    assert mirror.reports[-1].stale == len(records)
    assert entries(single) == table.shown()


@LAYOUTS
@pytest.mark.parametrize("sent", PLACES)
def test_a_connection_reset_among_the_commands_repeats_what_was_not_sent(
    single: Cache, over_wire: Cache, wire: Wire, spec: ViewSpec, sent: int
) -> None:
    mirror, table = Mirror(over_wire, spec), Table()
    assert mirror.deliver(table.puts(IDS, name="old")) is None
    records = changes(table)
    wire.to_server.left = sent * REQUEST
    identifier = mirror.deliver(records)
    assert identifier is not None
    report = mirror.reports[-1]
    assert report.applied == [number(one) for one in records].index(identifier)
    assert report.applied + len(report.failed) == len(records)
    mirror.deliver_again(records, identifier)
    assert entries(single) == table.shown()


@LAYOUTS
def test_what_was_applied_without_an_answer_is_stale_when_it_comes_again(
    single: Cache, over_wire: Cache, wire: Wire, spec: ViewSpec
) -> None:
    mirror, table = Mirror(over_wire, spec), Table()
    assert mirror.deliver(table.puts(IDS, name="old")) is None
    # One request, which is carried out as a whole.
    records = [*table.puts(IDS[50:CHUNK], name="new"), *map(table.delete, IDS[:50])]
    wire.to_client.lost = True
    assert mirror.deliver(records) == number(records[0])
    assert mirror.reasons == {f"127.0.0.1:{wire.port}: no answer in time"}
    wire.to_client.lost = False
    assert entries(single) == table.shown()

    assert Mirror(single, spec).deliver([table.put(IDS[150], name="newest")]) is None
    assert mirror.deliver(records) is None
    assert mirror.reports[-1].applied == 0
    assert mirror.reports[-1].stale == len(records)
    assert entries(single) == table.shown()
