"""README states the nines that the last soak measured, and no others."""

import re

import pytest
from tests.support.written_docs import ROOT
from tools.measured import README, claim, measured_page, paragraph, written

NUMBER = re.compile(r"nines \(95%\)")


def test_the_readme_states_what_the_last_soak_measured() -> None:
    readme, page = README.read_text("utf-8"), measured_page()
    assert readme == written(readme, page), "run python tools/measured.py"
    prose = re.sub(r"```.*?```", "", readme, flags=re.DOTALL)  # a demo has its own number
    assert len(NUMBER.findall(prose)) == (page is not None)
    assert README == ROOT / "README.md"


@pytest.mark.parametrize(
    ("line", "number"),
    [
        (
            "3,141,592 checks, 0 violations; consistent: 99.9% in 1 s; at least 6.0 nines (95%)",
            "at least 6.0 nines (95%): 0 violations in 3,141,592 checks",
        ),
        (
            "48,000 checks, 17 violations (17 missing); consistent: 9%; at least 3.2 nines (95%)",
            "at least 3.2 nines (95%): 17 violations in 48,000 checks",
        ),
    ],
)
def test_what_a_run_ended_with_stands_in_the_readme(line: str, number: str) -> None:
    page = f"# Consistency\n\n```text\n{line}\n```\n\nAnd theirs: at least 1.0 nines (95%).\n"
    assert claim(page) == number
    assert f"**Measured: {number}**" in paragraph(page)
    assert "docs/consistency.md" not in paragraph(None)
    assert not NUMBER.search(paragraph(None))
    readme = "a\n<!-- measured -->\nold\n<!-- /measured -->\nb\n"
    assert written(written(readme, None), page) == written(readme, page)


def test_a_page_without_such_a_line_is_refused() -> None:
    with pytest.raises(ValueError, match="has no line of a run"):
        claim("at least 3.0 nines (95%)")
