"""What to do with a demo that is left running: settings, and commands that work as printed."""

import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from dynamirror.demo.demo import Demo
from dynamirror.demo.demos import Demos
from dynamirror.emulators.elsewhere import AWS_VARIABLES
from dynamirror.emulators.process import HOST
from dynamirror.functions import simulator
from dynamirror.settings import CACHE_VARIABLES


def settings(demo: Demo | Demos, view: str | None) -> dict[str, str]:
    """Return the environment in which other commands reach the demo's servers.

    Args:
        demo: the running demo.
        view: path of its `mirror.toml`; None for the default view.
    """
    aws = demo.database.aws
    assert aws.region is not None
    assert aws.credentials is not None
    key, secret = aws.credentials
    return {
        "DYNAMODB_TABLE": demo.tables[0] if len(demo.tables) == 1 else "",
        "DYNAMODB_TABLES": ",".join(demo.tables),
        "AWS_ENDPOINT_URL": demo.database.endpoint_url,
        # boto3 reads the second only, and the AWS CLI prefers the first.
        "AWS_REGION": aws.region,
        "AWS_DEFAULT_REGION": aws.region,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "ELASTICACHE_HOST": HOST,
        "ELASTICACHE_PORT": str(demo.valkey.port),
        "ELASTICACHE_TLS": "false",
        # An empty one counts as unset.
        "DYNAMIRROR_CONFIG": str(Path(view).resolve()) if view else "",
    }


def unset(settings: Mapping[str, str]) -> tuple[str, ...]:
    """Return what another shell may have, and what would lead its commands elsewhere."""
    return tuple(name for name in (*AWS_VARIABLES, *CACHE_VARIABLES) if name not in settings)


def lines(
    demo: Demo | Demos, settings: Mapping[str, str], *, env: Path | None, page: str | None
) -> Iterator[str]:
    """Yield what to type in another terminal.

    Args:
        demo: the running demo.
        settings: the environment for the commands.
        env: file of the settings; None for none.
        page: URL of the demo's page; None for none.
    """
    where = f", with its page at {page}" if page else ""
    yield f"left running until Ctrl-C{where}; in another terminal:"
    if env is None:
        variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in settings.items())
        # Another terminal is likely to have the variables that this one has.
        others = [name for name in unset(settings) if name in os.environ]
        unsetting = f"; unset {' '.join(others)}" if others else ""
        yield f"  export {variables}{unsetting}"
    else:
        yield f"  . {shlex.quote(str(env.resolve()))}"
    program = _program()
    if isinstance(demo, Demo) and (demo.schema.keys, demo.schema.types) == simulator.KEY:
        yield f"  {program} simulate --count 1000 --rate 200"
    yield f"  {program} status"
    yield f"  {program} verify"
    if words := demo.sample_command():
        yield from _cache_line(demo.valkey.port, words)
    if shutil.which("aws"):
        yield f"  aws dynamodb scan --table-name {shlex.quote(demo.tables[0])}"


def _program() -> str:
    """Return the words that call this command line, from any folder."""
    script = Path(sys.argv[0])
    if script.name != "dynamirror" or not script.is_file():
        return f"{shlex.quote(sys.executable)} -m dynamirror"
    found = shutil.which(script.name)
    if found is not None and script.samefile(found):
        return script.name
    return shlex.quote(str(script.resolve()))


def _cache_line(port: int, words: tuple[str, ...]) -> Iterator[str]:
    """Yield the line that reads an entry, with the client that is installed."""
    for client in ("valkey-cli", "redis-cli"):
        if shutil.which(client):
            yield f"  {client} -c -p {port} {shlex.join(words)}"
            return
    if find_spec("valkey"):
        call = ", ".join(map(repr, words))
        code = f"import valkey; print(valkey.Valkey(port={port}).execute_command({call}))"
        yield f"  {shlex.quote(sys.executable)} -c {shlex.quote(code)}"
