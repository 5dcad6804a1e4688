"""DynamoDB's expressions and their legacy forms, read and evaluated as DynamoDB does."""

from dynamirror.errors import NotUnderstoodError
from dynamirror.expressions.condition import Condition, parse_condition
from dynamirror.expressions.key_condition import KeyCondition, SortCondition, parse_key_condition
from dynamirror.expressions.legacy import attributes_to_get, key_conditions, query_filter
from dynamirror.expressions.projection import Projection, parse_projection
from dynamirror.expressions.requests import (
    QueryExpressions,
    check_filter,
    check_placeholders,
    check_scalars,
    read_projection,
    read_query,
)

__all__ = [
    "Condition",
    "KeyCondition",
    "NotUnderstoodError",
    "Projection",
    "QueryExpressions",
    "SortCondition",
    "attributes_to_get",
    "check_filter",
    "check_placeholders",
    "check_scalars",
    "key_conditions",
    "parse_condition",
    "parse_key_condition",
    "parse_projection",
    "query_filter",
    "read_projection",
    "read_query",
]
