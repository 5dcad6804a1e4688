"""Index views that have the name of an index of their table."""

from collections.abc import Iterator, Mapping
from typing import Any

from dynamirror.deployment.file import Deployment
from dynamirror.dynamodb.client import schema_of
from dynamirror.errors import ConfigError
from dynamirror.preflight.report import Check, Place
from dynamirror.views.secondary_indexes import difference, indexes_of


def check_indexes(
    place: Place, deployment: Deployment, table: str, description: Mapping[str, Any]
) -> Iterator[Check]:
    """Check that each such view answers queries as the table's index does.

    Args:
        place: what the checks are of.
        deployment: the deployment.
        table: name of the table.
        description: of the table, by AWS.
    """
    schema, indexes = schema_of(table, description), indexes_of(description)
    for spec in deployment.views:
        index = indexes.get(spec.name)
        if spec.index is None or index is None or spec.table not in (None, table):
            continue
        try:
            view = spec.bind(schema)
        except ConfigError:
            return  # the check of the views has reported it
        what = f"index {spec.name}"
        if finding := difference(spec, view, index):
            yield place.wrong(
                what,
                f"view {spec.name} has the name of an index of the table, but {finding}",
                "take the view that `dynamirror view check --indexes` proposes without this one, "
                "or give the view another name",
            )
        else:
            yield place.ok(what, "the view of its name has the same key and attributes")
