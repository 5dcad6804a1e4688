"""The entries of all tables of a deployment, which share one cache."""

from collections.abc import Iterator

from dynamirror.deployment.file import Deployment
from dynamirror.errors import ConfigError
from dynamirror.preflight.report import Check, Place
from dynamirror.views.view import Schema, Views


def check_entries(deployment: Deployment) -> Iterator[Check]:
    """Check that no entry could be of two tables."""
    if len(deployment.tables) == 1:
        return
    place = Place("mirror")
    schemas = [Schema(table.name or "new", table.keys) for table in deployment.tables]
    by_table = {schema.table: schema for schema in schemas}
    views = Views(deployment.views, lambda table, _keys: by_table[table])
    try:
        for schema in schemas:
            views.bind(schema)
    except ConfigError as error:
        finding, _, remedy = str(error).partition("; ")
        yield place.wrong("entries", finding, remedy or "correct the view")
    else:
        yield place.ok("entries", "none could be of two tables")
