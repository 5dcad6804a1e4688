"""Generated calls of an attached client beside the same calls of one that is not.

CONFORMANCE_CALLS is the number of calls in each state of the mirror.
"""

import os
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.support.attaching import Attached, source_of
from tests.support.conformance import Fleet, compare_ties, fleet
from tests.support.generated_expressions import Requests
from tests.support.generated_reads import Reads, settled_answer
from tests.support.mirrored import MakeMirrored
from tests.support.scans import keys_in

from dynamirror.emulators.dynamodb import EmbeddedDynamoDB

CALLS = int(os.environ.get("CONFORMANCE_CALLS", "60"))
SEED = int(os.environ.get("CONFORMANCE_SEED", "17"))
METHODS = {"GetItem": "get_item", "BatchGetItem": "batch_get_item", "Query": "query"}


@pytest.fixture
def requests(dynamodb: EmbeddedDynamoDB) -> Iterator[Requests]:
    """Requests to the table itself."""
    requests = Requests(dynamodb.endpoint_url)
    yield requests
    requests.close()


@pytest.fixture
def given(make: MakeMirrored, requests: Requests) -> Fleet:
    """Tables of each kind, mirrored."""
    return fleet(make, requests, SEED)


@pytest.mark.parametrize("state", ["complete", "incomplete", "entries missing", "hanging"])
def test_an_attached_client_gets_what_another_gets(
    given: Fleet, client: Any, attached: Attached, state: str
) -> None:
    worlds, cache = given.worlds, given.worlds[0].cache
    attachments = [attached(client, world, tables=[world.name]) for world in worlds]
    reads = Reads(Random(SEED), given.tables, index=True)
    sources: Counter[str] = Counter()
    for number in range(CALLS):
        match state:
            case "incomplete" if number % 20 == 0:
                for world in worlds:
                    world.is_incomplete()
            case "entries missing" if number % 10 == 0:
                keys = sorted(keys_in(cache, f"{worlds[number % 4].name}:*"))
                entries = [key for key in keys if not key.endswith(b":%%")]
                if entries:
                    cache.call(entries[0].decode(), b"UNLINK", entries[0])
            case "hanging" if number % 20 == 10:
                cache.broadcast(b"CLIENT", b"PAUSE", b"20", b"ALL")
        operation, body = reads.read()
        method, arguments = METHODS[operation], sent(body)
        answer = outcome(getattr(worlds[0].client, method), arguments)
        mine = outcome(getattr(client, method), arguments)
        sources[f"{operation} {mine.pop('from', 'refused')}"] += 1
        answer.pop("from", None)
        if "error" in answer:
            assert mine == answer, (operation, body)
        elif "IndexName" in body:
            compare_ties(body, settled_answer(operation, mine), settled_answer(operation, answer))
        else:
            same = settled_answer(operation, mine) == settled_answer(operation, answer)
            assert same, (operation, body, mine, answer)
    assert not any(attachment.faults for attachment in attachments)
    answered = sources["Query cache"] + sources["GetItem cache"]
    assert (answered > 0) == (state != "incomplete"), sources


def outcome(call: Any, arguments: Any) -> Any:
    """Return an answer with its source, or the error."""
    try:
        answer = call(**arguments)
    except ClientError as error:
        return {"error": error.response["Error"]}
    return {**answer, "ResponseMetadata": None, "from": source_of(answer)}


def sent(body: Any) -> Any:
    """Return a request on the wire as boto3 takes it: binary as bytes."""
    match body:
        case {"B": str(text)} if len(body) == 1:
            return {"B": b64decode(text)}
        case {"BS": list(texts)} if len(body) == 1:
            return {"BS": [b64decode(text) for text in texts]}
        case dict():
            return {name: sent(part) for name, part in body.items()}
        case list():
            return [sent(part) for part in body]
    return body
