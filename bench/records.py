"""Stream records as Lambda hands them over: fresh objects each time, newer than any before."""

import json
import random
from collections.abc import Iterator
from itertools import count
from typing import Any

Event = dict[str, Any]

STREAM = "arn:aws:dynamodb:us-east-1:000000000000:table/bench/stream/2026-01-01T00:00:00.000"
CREATED = 1_790_000_000
HOT_ITEMS = 100
SEED = 1

_sequence = count(1)


def image(number: int, rng: random.Random) -> dict[str, Any]:
    """An item of about 400 bytes."""
    return {
        "id": {"S": f"{number:06d}"},
        "name": {"S": rng.choice(["Alice", "Bob", "Charlie", "David"])},
        "email": {"S": f"user{number}@example.com"},
        "visits": {"N": str(rng.randint(0, 10**9))},
        "score": {"N": f"{rng.random():.17f}"},
        "active": {"BOOL": rng.random() < 0.5},  # noqa: PLR2004 - even odds
        "tags": {"SS": ["red", "green", "blue"]},
        "address": {"M": {"city": {"S": "Springfield"}, "zip": {"S": f"{number:05d}"}}},
        "about": {"S": "x" * 100},
    }


class Feed:
    """Changes of a table's items, again and again.

    Args:
        records: how many.
        items: how many items they change; None for a different one each.
    """

    def __init__(self, records: int, items: int | None = None) -> None:
        rng = random.Random(SEED)
        numbers = (n if items is None else rng.randrange(items) for n in range(records))
        self._texts = [_compact(_record(image(number, rng))) for number in numbers]

    def __len__(self) -> int:
        return len(self._texts)

    def text(self, first: int, batch: int) -> str:
        """One event as Lambda's runtime gets it."""
        return f'{{"Records":[{",".join(self._texts[first : first + batch])}]}}'

    def events(self, batch: int, records: int | None = None) -> Iterator[Event]:
        """Make batch after batch, each only once it is asked for: a function never holds two."""
        end = len(self) if records is None else min(records, len(self))
        for first in range(0, end, batch):
            event: Event = json.loads(self.text(first, min(batch, end - first)))
            for record in event["Records"]:
                record["dynamodb"]["SequenceNumber"] = f"{next(_sequence):021d}"
            yield event

    def images(self) -> list[dict[str, Any]]:
        """The items alone."""
        return [json.loads(text)["dynamodb"]["NewImage"] for text in self._texts]


def _compact(record: Event) -> str:
    return json.dumps(record, separators=(",", ":"))


def _record(new: dict[str, Any]) -> dict[str, Any]:
    return {
        "eventID": "7d2a3f0e4b6c8d9e0f1a2b3c4d5e6f70",
        "eventName": "MODIFY",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "us-east-1",
        "eventSourceARN": STREAM,
        "dynamodb": {
            "ApproximateCreationDateTime": CREATED,
            "Keys": {"id": new["id"]},
            "NewImage": new,
            "SequenceNumber": f"{1:021d}",
            "SizeBytes": 400,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
    }
