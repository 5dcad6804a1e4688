"""The mirrors that a command works on, one table after the other."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import msgspec
import typer

from dynamirror.cli.interrupts import interruptible
from dynamirror.cli.output import print_json
from dynamirror.cli.printable import printable
from dynamirror.cli.progress import progress_shown
from dynamirror.errors import DynamirrorError, OptionError
from dynamirror.operations.messages import Request
from dynamirror.operations.remote import Operator
from dynamirror.operations.service import OnProgress, Operations
from dynamirror.settings import load_tables

A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class TableMirror:
    """The mirror of one table, reached by its operator Lambda or by operations from here.

    Args:
        table: the table's name; None where only the operator knows it.
        operator: the operator Lambda; None for operations from here.
        operations: the operations from here; None with an operator.
    """

    table: str | None
    operator: Operator | None = None
    operations: Operations | None = None

    def perform(
        self,
        request: Request,
        answer_type: type[A],
        on_progress: OnProgress = lambda _activity, _done, _total: None,
        *,
        before: Callable[[Operations], object] = lambda _operations: None,
    ) -> A:
        """Perform a request, and return its answer.

        Args:
            request: the request.
            answer_type: the type of the answer.
            on_progress: called with the progress; not by an operator.
            before: called with the operations before they perform the request; not by an operator.

        Raises:
            DynamirrorError: the request cannot be performed.
        """
        if self.operator is not None:
            named: Request = msgspec.structs.replace(request, table=self.table)
            return self.operator.perform(named, answer_type)
        assert self.operations is not None
        before(self.operations)
        answer = self.operations.perform(request, on_progress)
        assert isinstance(answer, answer_type)
        return answer


@contextmanager
def closing_caches(mirrors: Sequence[TableMirror]) -> Iterator[None]:
    """Close the connections of mirrors at the end."""
    with ExitStack() as stack:
        for mirror in mirrors:
            if mirror.operations is not None:
                stack.callback(mirror.operations.cache.close)
        yield


def work_on(
    mirrors: Sequence[TableMirror],
    perform: Callable[[TableMirror, OnProgress], A],
    show: Callable[[A, TableMirror], int],
    *,
    as_json: bool,
) -> NoReturn:
    """Work on each table, show a block of each, and exit with the worst status.

    Of several tables, one that fails does not keep the command from the others.

    Args:
        mirrors: the mirrors.
        perform: performs the work on one mirror; gets what to call with the progress.
        show: prints the answer, and returns the exit status.
        as_json: whether the output is for programs.

    Raises:
        DynamirrorError: the work on the only table failed.
    """
    statuses: list[int] = []
    with interruptible(), closing_caches(mirrors):
        for mirror in mirrors:
            if statuses and not as_json:
                typer.echo()
            try:
                with progress_shown(prefix(mirror, mirrors)) as on_progress:
                    answer = perform(mirror, on_progress)
            except DynamirrorError as error:
                if len(mirrors) == 1 or isinstance(error, OptionError):
                    raise
                _print_error(mirror.table, error, as_json=as_json)
                statuses.append(1)
            else:
                statuses.append(show(answer, mirror))
    raise typer.Exit(max(statuses))


def prefix(mirror: TableMirror, mirrors: Sequence[TableMirror]) -> str:
    """Return the words that name one of several tables; empty where there is only one."""
    return f"table {mirror.table}: " if len(mirrors) > 1 else ""


def _print_error(table: str | None, error: DynamirrorError, *, as_json: bool) -> None:
    sentence = named(table, error)
    typer.echo(printable(f"dynamirror: {sentence}"), err=True)
    if as_json:
        print_json({"table": table, "error": sentence})


def named(table: str | None, sentence: object) -> str:
    """Return a sentence that names its table, as many do already."""
    text = str(sentence)
    if table is None or re.search(rf"\btable {re.escape(table)}(?![\w.-]*\w)", text):
        return text
    return f"table {table}: {text}"


def print_json_of(table: str | None, value: Any) -> None:
    """Print one line of JSON that names its table, if that is known."""
    fields = msgspec.to_builtins(value)
    print_json(({} if table is None else {"table": table}) | fields)


def named_tables(names: Sequence[str] | None, config: str | None) -> tuple[str, ...]:
    """Return the tables that a command works on; none if nothing names one.

    They are those of `--table`, or else of DYNAMODB_TABLES or DYNAMODB_TABLE, or else of the
    `mirror.toml`.

    Args:
        names: values of `--table`.
        config: path of the `mirror.toml`; None for that of DYNAMIRROR_CONFIG.

    Raises:
        OptionError: a name is repeated.
        ConfigError: the file is wrong.
    """
    if names:
        return different(names)
    text = os.environ.get("DYNAMODB_TABLES") or os.environ.get("DYNAMODB_TABLE") or ""
    if tables := dict.fromkeys(name.strip() for name in text.split(",") if name.strip()):
        return tuple(tables)
    path = os.environ.get("DYNAMIRROR_CONFIG") if config is None else config
    return tuple(table.name for table in load_tables(path or None))


def different(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names after checking that none is repeated.

    Raises:
        OptionError: a name is repeated.
    """
    for name, count in Counter(names).items():
        if count > 1:
            raise OptionError(f"--table: {name} is given {count} times; give it once")
    return tuple(names)
