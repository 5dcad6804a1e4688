"""What preflight found, check by check."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

Result = Literal["ok", "wrong", "unknown"]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One check of a deployment.

    Args:
        result: ok, wrong, or unknown where AWS did not answer.
        where: what was checked, such as `table orders`.
        what: the fact that was checked, such as `keys`.
        sentence: what was found.
        remedy: what to do; empty where all is well.
    """

    result: Result
    where: str
    what: str
    sentence: str
    remedy: str = ""

    def __str__(self) -> str:
        """Return the check as one sentence without its result."""
        sentence = f"{self.where}: {self.what}: {self.sentence}"
        return f"{sentence}; {self.remedy}" if self.remedy else sentence


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All checks of a deployment.

    Args:
        mirror: name of the mirror.
        stack: name of its stack.
        checks: the checks.
    """

    mirror: str
    stack: str
    checks: Sequence[Check]

    @property
    def wrong(self) -> list[Check]:
        """Return the checks that found something wrong."""
        return [check for check in self.checks if check.result == "wrong"]

    @property
    def unknown(self) -> list[Check]:
        """Return the checks that AWS did not let us make."""
        return [check for check in self.checks if check.result == "unknown"]

    @property
    def exit_status(self) -> int:
        """Return 1 if something is wrong, 2 if something is unknown, and 0 if all is well."""
        if self.wrong:
            return 1
        return 2 if self.unknown else 0

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {
            "mirror": self.mirror,
            "stack": self.stack,
            "ok": self.exit_status == 0,
            "checks": list(self.checks),
        }

    def lines(self) -> Iterator[str]:
        """Yield the report as lines of text."""
        for check in self.checks:
            yield f"{check.result:<8}{check}"
        counts = {
            "wrong": len(self.wrong),
            "unknown": len(self.unknown),
            "ok": len(self.checks) - len(self.wrong) - len(self.unknown),
        }
        summary = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        yield f"mirror {self.mirror}, stack {self.stack}: {summary}"


class Place:
    """Makes the checks of one place, such as a table.

    Args:
        name: the place, as in `Check.where`.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def ok(self, what: str, sentence: str) -> Check:
        """Return a check that found nothing wrong."""
        return self._check("ok", what, sentence)

    def wrong(self, what: str, sentence: str, remedy: str) -> Check:
        """Return a check that found something wrong, and what to do."""
        return self._check("wrong", what, sentence, remedy)

    def unknown(self, what: str, sentence: str, remedy: str = "") -> Check:
        """Return a check that could not be made."""
        return self._check("unknown", what, sentence, remedy)

    def _check(self, result: Result, what: str, sentence: str, remedy: str = "") -> Check:
        return Check(result=result, where=self.name, what=what, sentence=sentence, remedy=remedy)
