"""Arguments of boto3's resource, as boto3's low-level client takes them, and as they are sent."""

from collections.abc import Mapping
from typing import Any

import msgspec
from boto3.dynamodb.conditions import ConditionBase, ConditionExpressionBuilder

from dynamirror.reader.refusals import misfit
from dynamirror.reader.values import attribute_of
from dynamirror.records.attribute_value import AttributeValue

Arguments = dict[str, Any]


def query_arguments(given: Mapping[str, Any]) -> Arguments:
    """Return the arguments of a Query with values as the low-level client takes them.

    Args:
        given: those of the resource; None for those that are not given.

    Raises:
        DynamoDBNeedsKeyConditionError: a key condition is on an `Attr`; boto3 refuses that.
        ParamValidationError: boto3 would refuse an argument.
        TypeError: an expression is neither text nor boto3's object, or DynamoDB has no such values.
        ValueError: a text is not valid Unicode.
    """
    low = {name: value for name, value in given.items() if value is not None}
    names = dict(low.get("ExpressionAttributeNames", {}))
    values = _low("ExpressionAttributeValues", low.get("ExpressionAttributeValues", {}))
    builder = ConditionExpressionBuilder()
    for name in ("KeyConditionExpression", "FilterExpression"):
        expression = low.get(name)
        if isinstance(expression, ConditionBase):
            is_key = name == "KeyConditionExpression"
            built: Any = builder.build_expression(expression, is_key_condition=is_key)
            low[name] = built.condition_expression
            names |= built.attribute_name_placeholders
            values |= _low(name, built.attribute_value_placeholders)
        elif expression is not None and not isinstance(expression, str):
            what = "Key" if name == "KeyConditionExpression" else "Attr"
            raise TypeError(
                f'{name} must be text, or be built with boto3\'s {what}, as in {what}("pk").eq(1)'
            )
    if names or "ExpressionAttributeNames" in low:
        low["ExpressionAttributeNames"] = names
    if values or "ExpressionAttributeValues" in low:
        low["ExpressionAttributeValues"] = values
    if "ExclusiveStartKey" in low:
        low["ExclusiveStartKey"] = _low("ExclusiveStartKey", low["ExclusiveStartKey"])
    for name in ("KeyConditions", "QueryFilter"):
        if name in low:
            low[name] = {key: _legacy(condition) for key, condition in low[name].items()}
    return low


def on_the_wire(low: Mapping[str, Any]) -> Arguments:
    """Return arguments of the low-level client as botocore sends them: binary as base64 text.

    Raises:
        ValueError: a text is not valid Unicode.
    """
    try:
        body: Arguments = msgspec.json.decode(msgspec.json.encode(low))
    except UnicodeEncodeError:
        raise ValueError("a text is not valid Unicode (a lone surrogate)") from None
    return body


def _low(name: str, given: Any) -> dict[str, AttributeValue]:
    if not isinstance(given, Mapping):
        raise misfit(name, given, dict)
    return {key: attribute_of(value) for key, value in given.items()}


def _legacy(condition: Any) -> Any:
    if not isinstance(condition, Mapping) or "AttributeValueList" not in condition:
        return condition
    values = [attribute_of(value) for value in condition["AttributeValueList"]]
    return {**condition, "AttributeValueList": values}
