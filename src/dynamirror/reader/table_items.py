"""GetItem and BatchGetItem of a `Reader`, with all that a request may ask for."""

from collections.abc import Mapping, Sequence
from typing import Any

from dynamirror.dynamodb.keys import identity
from dynamirror.errors import ConfigError, NotUnderstoodError
from dynamirror.reader import table
from dynamirror.reader.freshness import oldest
from dynamirror.reader.getting import Answer, ReadOptions, get
from dynamirror.reader.metadata import metadata
from dynamirror.reader.refusals import DUPLICATES, refusal
from dynamirror.reader.requests import check_mix
from dynamirror.reader.selection import Selection, selection
from dynamirror.reader.source import EntryLocation, Source
from dynamirror.reader.steps import Steps
from dynamirror.reader.values import attribute_of, values_of

Response = dict[str, Any]

_OF_TABLE = frozenset(
    {
        "AttributesToGet",
        "ConsistentRead",
        "ExpressionAttributeNames",
        "Keys",
        "ProjectionExpression",
    }
)


def item_response(answer: Answer) -> Response:
    """Return the response that shows an answer."""
    response = {"ResponseMetadata": metadata(answer.source, answer.age, answer.own)}
    return response if answer.item is None else {"Item": answer.item, **response}


def read_item(
    source: Source,
    place: EntryLocation | None,
    key: Mapping[str, Any],
    wish: ReadOptions,
    given: Mapping[str, Any],
) -> Steps[Response]:
    """Answer a GetItem.

    Args:
        source: the view.
        place: where the item is; None if the view is for other items.
        key: its primary key with values of Python.
        wish: how fresh the answer must be.
        given: what the request selects of the item.

    Raises:
        ConfigError: the view cannot answer such a request.
        ValueError: a text is not valid Unicode.
    """
    given = {name: value for name, value in given.items() if value is not None}
    selected = selection(source, given)
    if selected is None:  # DynamoDB says what is wrong
        low = {name: attribute_of(value) for name, value in key.items()}
        request = table.read_request(source.view.schema.table, low, given)
        answer = yield request
        _check_whole(source)
        item = values_of(answer["Item"]) if "Item" in answer else None
        response = item_response(Answer(item, "table", 0.0, answer["ResponseMetadata"]))
        return response | {name: answer[name] for name in ("ConsumedCapacity",) if name in answer}
    if place is None:
        answers = [Answer(None, "cache")]
    else:
        answers = yield from get(source, [place], wish._replace(typed=selected.typed))
    return item_response(answers[0]._replace(item=selected.shown(answers[0].item))) | _capacity(
        selected, source, answers
    )


def read_batch(
    source: Source,
    asked: Mapping[str, Mapping[str, Any]],
    wish: ReadOptions,
    capacity: str | None,
) -> Steps[Response]:
    """Answer a BatchGetItem.

    Args:
        source: the view.
        asked: the RequestItems with values of Python.
        wish: how fresh the answer must be.
        capacity: ReturnConsumedCapacity.

    Raises:
        ConfigError: the view cannot answer such a request.
        ClientError: DynamoDB would refuse a key.
        TypeError: DynamoDB has no such values.
        ValueError: a text is not valid Unicode, or the request has an unknown member.
    """
    name = source.view.schema.table
    unknown = {key for one in asked.values() for key in one.keys() - _OF_TABLE}
    if not asked or unknown or not all("Keys" in one for one in asked.values()):
        raise ValueError(f'RequestItems must be {{"{name}": {{"Keys": [...]}}}}')
    options = {} if capacity is None else {"ReturnConsumedCapacity": capacity}
    mine = asked.get(name)
    others = {table_name: _low(one) for table_name, one in asked.items() if table_name != name}
    selected: Selection | None = Selection()
    answers: list[Answer] = []
    if mine is not None:
        given = {key: value for key, value in mine.items() if key not in ("Keys", "ConsistentRead")}
        selected = None if _is_mixed(asked) else selection(source, given | options)
        if selected is None:  # DynamoDB says what is wrong
            _check_keys(source, mine["Keys"])
            others[name] = _low(mine)
        else:
            places = _check_keys(source, mine["Keys"])
            fresh = wish._replace(consistent=bool(mine.get("ConsistentRead")), typed=selected.typed)
            answers = yield from get(source, places, fresh)
    response: Response = {"Responses": {}, "UnprocessedKeys": {}}
    if mine is not None and selected is not None:
        items = [answer.item for answer in answers if answer.item is not None]
        response["Responses"][name] = list(map(selected.shown, items)) if selected.typed else items
        report = _capacity(selected, source, answers)
        if report:
            response["ConsumedCapacity"] = [report["ConsumedCapacity"]]
    sources = {answer.source for answer in answers}
    if others:
        told = yield from table.read_tables(others, options)
        if name in others:
            _check_whole(source)
        for table_name, items in told["Responses"].items():
            response["Responses"][table_name] = list(map(values_of, items))
        if "ConsumedCapacity" in told:
            response.setdefault("ConsumedCapacity", []).extend(told["ConsumedCapacity"])
        sources.add("table")
    where = sources.pop() if len(sources) == 1 else "mixed" if sources else "cache"
    age = oldest([answer.age for answer in answers if answer.item is not None])
    return {**response, "ResponseMetadata": metadata(where, age)}


def _is_mixed(asked: Mapping[str, Any]) -> bool:
    try:
        check_mix(asked.values())
    except NotUnderstoodError:
        return True
    return False


def _check_keys(source: Source, keys: Sequence[Mapping[str, Any]]) -> list[EntryLocation]:
    """Return the locations of items that the view may have.

    Raises:
        ClientError: DynamoDB would refuse a key, or one comes twice.
        TypeError: DynamoDB has no such values.
        ValueError: a text is not valid Unicode.
    """
    found = (source.place(key, "BatchGetItem") for key in keys)
    places = [place for place in found if place is not None]
    if len({identity(place.item) for place in places}) < len(places):
        raise refusal("BatchGetItem", DUPLICATES)
    return places


def _low(asked: Mapping[str, Any]) -> dict[str, Any]:
    keys = [{name: attribute_of(value) for name, value in key.items()} for key in asked["Keys"]]
    return {**asked, "Keys": keys}


def _capacity(selected: Selection, source: Source, answers: list[Answer]) -> Response:
    report = selected.consumed(source.view.schema.table, answers)
    return {} if report is None else {"ConsumedCapacity": report}


def _check_whole(source: Source) -> None:
    """Refuse what the table answered where the view shows items otherwise.

    Raises:
        ConfigError: it does.
    """
    if not source.is_whole:
        raise ConfigError(
            f"view {source.view.name}: a request has a part that is not understood, so that only a "
            "view of whole items could answer it"
        )
