"""The tree keeps its shape: small files, pure packages, tests that import no tests."""

import ast
import re
import threading
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src/dynamirror").rglob("*.py"))
PURE = ("expressions", "records", "views")
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))


def imported(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_file_has_more_than_400_lines() -> None:
    long = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: lines for name, lines in long.items() if lines > 400} == {}


def test_no_test_module_imports_another() -> None:
    pairs = [(path.name, name) for path in TESTS for name in imported(path)]
    assert [
        pair for pair in pairs if re.match(r"tests\.(\w+\.)*(test_\w+|conftest)", pair[1])
    ] == []


def test_expressions_records_and_views_open_no_file() -> None:
    for path in SOURCES:
        if path.relative_to(ROOT / "src/dynamirror").parts[0] in PURE:
            called = {
                node.func.id
                for node in ast.walk(ast.parse(path.read_text("utf-8")))
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            }
            assert "open" not in called, path


def test_docstrings_use_the_fields_words() -> None:
    words = re.compile(r"\b(tells?|told)\b", re.IGNORECASE)
    found = [
        (path.name, match[0])
        for path in SOURCES
        for match in words.finditer(path.read_text("utf-8"))
    ]
    assert len(found) < 20, found


# What `threading.Thread` itself has under these names, in any Python from 3.11 to 3.14.
THREADS = frozenset(
    {
        *("_after_fork", "_args", "_bootstrap", "_bootstrap_inner", "_context", "_daemonic"),
        *("_delete", "_handle", "_ident", "_initialized", "_invoke_excepthook", "_is_stopped"),
        *("_kwargs", "_name", "_native_id", "_os_thread_handle", "_reset_internal_locks"),
        *("_set_ident", "_set_native_id", "_set_os_name", "_set_tstate_lock", "_started"),
        *("_stderr", "_stop", "_target", "_tstate_lock", "_wait_for_tstate_lock"),
        *vars(threading.Thread()),
    }
)


def test_no_thread_of_ours_has_an_attribute_of_the_name_of_one_of_python_s() -> None:
    threads = [
        (path.name, node)
        for path in (*SOURCES, *(ROOT / "chaos").glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base).endswith("Thread") for base in node.bases)
    ]
    assert len(threads) >= 8
    ours = {
        (name, attribute.attr)
        for name, thread in threads
        for attribute in ast.walk(thread)
        if isinstance(attribute, ast.Attribute)
        and isinstance(attribute.ctx, ast.Store)
        and ast.unparse(attribute.value) == "self"
    }
    defined = {
        (name, function.name)
        for name, thread in threads
        for function in ast.walk(thread)
        if isinstance(function, ast.FunctionDef)
    }
    assert {pair for pair in ours | defined if pair[1] in THREADS} == set()
