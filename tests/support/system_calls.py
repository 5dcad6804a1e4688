"""Run a command with the system calls that a unit for systemd leaves it (Linux on x86-64).

Usage: `python system_calls.py NUMBERS COMMAND...`, where NUMBERS are joined by commas.
"""

import ctypes
import errno
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

_HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
# https://docs.kernel.org/userspace-api/seccomp_filter.html
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER, _FIRST_ARGUMENT = 0, 16
_ALLOW, _REFUSE = 0x7FFF_0000, 0x0005_0000
_SET_SECCOMP, _FILTER, _SET_NO_NEW_PRIVILEGES, _SET_MDWE = 22, 2, 38, 65
_FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)


def limited(service: Mapping[str, list[str]]) -> list[str]:
    """Return what stands before a command that is to run as a service does; nothing elsewhere.

    Args:
        service: the values of each setting of the unit's section Service.
    """
    analyze = shutil.which("systemd-analyze")
    if analyze is None or os.uname().machine != "x86_64" or not _HEADER.exists():
        return []
    assert service["RestrictAddressFamilies"] == ["AF_INET AF_INET6 AF_UNIX"]
    assert service["MemoryDenyWriteExecute"] == ["yes"]
    names = set(_members(analyze, "@default"))
    for value in service["SystemCallFilter"]:
        found = {name for group in value.lstrip("~").split() for name in _members(analyze, group)}
        names = names - found if value.startswith("~") else names | found
    numbers = dict(re.findall(r"#define __NR_(\w+) (\d+)", _HEADER.read_text(encoding="utf-8")))
    allowed = [numbers[name] for name in sorted({*names, "execve"}) if name in numbers]
    return [sys.executable, "-P", __file__, ",".join(allowed)]


def _members(analyze: str, group: str) -> Iterator[str]:
    """Return the system calls of a group, and of the groups in it."""
    listed = subprocess.run(
        [analyze, "syscall-filter", group], capture_output=True, text=True, check=True
    ).stdout
    for word in map(str.strip, listed.splitlines()[1:]):
        if word.startswith("@"):
            yield from _members(analyze, word)
        elif word and not word.startswith("#"):
            yield word


def _limit(allowed: list[int]) -> None:
    """Refuse all other system calls, other families of sockets, and memory that is both."""
    families = [(_EQUAL, len(_FAMILIES) - place, 0, each) for place, each in enumerate(_FAMILIES)]
    program = [
        (_LOAD, 0, 0, _NUMBER),
        (_EQUAL, 0, len(families) + 2, 41),  # socket
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        *families,
        (_RETURN, 0, 0, _REFUSE | errno.EAFNOSUPPORT),
        (_LOAD, 0, 0, _NUMBER),
    ]
    for number in allowed:
        program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    program.append((_RETURN, 0, 0, _REFUSE | errno.EPERM))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in program))
    head = ctypes.create_string_buffer(
        struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    )
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(_SET_MDWE, 1, 0, 0, 0)  # not in older kernels
    assert prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
    assert prctl(_SET_SECCOMP, _FILTER, ctypes.byref(head), 0, 0) == 0, ctypes.get_errno()


if __name__ == "__main__":
    _limit([int(number) for number in sys.argv[1].split(",")])
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - no shell
