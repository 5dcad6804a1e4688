"""The stream of the soak: each lane is a log in files, which any process may read from anywhere.

A line is the time at which a change was made, in milliseconds since 1970, and its record.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import Final

# A file ends when it is so long, and the next one begins.
_SEGMENT: Final = 16 << 20
_READ: Final = 1 << 18
_BITS: Final = 40
_NUMBER: Final = Struct("<q")
_DIGITS: Final = 13


def _path(folder: Path, lane: int, segment: int) -> Path:
    return folder / f"lane-{lane}.{segment:06d}"


def line_of(made: float, record: str) -> str:
    """Return the line of a change.

    Args:
        made: when it was made, in seconds since 1970.
        record: its record, in JSON.
    """
    return f"{int(made * 1_000):0{_DIGITS}d}{record}"


def made_of(line: bytes) -> float:
    """Return when a change was made, in seconds since 1970."""
    return int(line[:_DIGITS]) / 1_000


def record_of(line: bytes) -> bytes:
    """Return the record of a change, in JSON."""
    return line[_DIGITS:]


class Log:
    """Appends to one lane.

    Args:
        folder: holds all lanes.
        lane: its number.
    """

    def __init__(self, folder: Path, lane: int) -> None:
        self._folder, self._lane = folder, lane
        self._segment = self._length = 0
        self._file = self._open()

    def _open(self) -> int:
        path = _path(self._folder, self._lane, self._segment)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def append(self, lines: Sequence[str]) -> None:
        """Append records, each one line."""
        data = ("\n".join(lines) + "\n").encode()
        # Larger than what a pipe takes, but a file on a disk takes all of it.
        assert os.write(self._file, data) == len(data)
        self._length += len(data)
        if self._length > _SEGMENT:
            before = self._file
            self._segment, self._length = self._segment + 1, 0
            self._file = self._open()
            os.close(before)


class LaneReader:
    """Reads one lane from a position on.

    A position is a number: that of the file, and the bytes read of it.

    Args:
        folder: holds all lanes.
        lane: its number.
        position: where to begin.
    """

    def __init__(self, folder: Path, lane: int, position: int = 0) -> None:
        self._folder, self._lane = folder, lane
        self._file: int | None = None
        self._ahead: list[bytes] = []
        self._rest = b""
        self.position = position

    def read(self, most: int) -> list[bytes]:
        """Return the next records, as many as there are and at most so many."""
        if len(self._ahead) < most:
            self._fill(most)
        lines, self._ahead = self._ahead[:most], self._ahead[most:]
        self.position += sum(map(len, lines)) + len(lines)
        if not self._ahead and not self._rest and not lines:
            self._next_segment()
        return lines

    def seek(self, position: int) -> None:
        """Go on from another position."""
        self.close()
        self.position = position

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
        self._file, self._ahead, self._rest = None, [], b""

    def _fill(self, most: int) -> None:
        if self._file is None:
            with suppress(FileNotFoundError):
                path = _path(self._folder, self._lane, self.position >> _BITS)
                self._file = os.open(path, os.O_RDONLY)
                os.lseek(self._file, self.position & ((1 << _BITS) - 1), os.SEEK_SET)
        while self._file is not None and len(self._ahead) < most:
            data = os.read(self._file, _READ)
            if not data:
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            self._ahead += lines

    def _next_segment(self) -> None:
        """Go on with the next file, if there is one and this one has been read to its end."""
        segment = (self.position >> _BITS) + 1
        if self._file is None or not _path(self._folder, self._lane, segment).exists():
            return
        # The writer begins a file only after the last line of the one before.
        self._fill(1)
        if not self._ahead and not self._rest:
            self.seek(segment << _BITS)


class Checkpoint:
    """A position on disk, which survives the process that wrote it.

    Args:
        folder: holds all lanes.
        name: whose it is.
        lane: the lane's number.
    """

    def __init__(self, folder: Path, name: str, lane: int) -> None:
        self._file = os.open(folder / f"{name}-{lane}", os.O_RDWR | os.O_CREAT, 0o600)

    def read(self) -> int:
        """Return the position; 0 if none was written."""
        data = os.pread(self._file, _NUMBER.size, 0)
        return int(_NUMBER.unpack(data)[0]) if data else 0

    def write(self, position: int) -> None:
        """Write the position."""
        os.pwrite(self._file, _NUMBER.pack(position), 0)


def remove_read(folder: Path, lane: int, positions: Sequence[int]) -> None:
    """Remove the files of a lane that lie well before all of some positions."""
    first = min(positions) >> _BITS
    for segment in range(first - 3, -1, -1):
        try:
            _path(folder, lane, segment).unlink()
        except FileNotFoundError:
            return
