"""Write the catalogue into docs/metrics.md: `python -m tests.support.metric_catalogue`."""

from pathlib import Path

from dynamirror.metrics.catalogue import CATALOGUE, Origin

DOCS = Path(__file__).parents[2] / "docs/metrics.md"
_BEGIN, _END = "<!-- catalogue -->\n", "<!-- end of catalogue -->"


def renewed(text: str) -> str:
    """Return a text with the current catalogue between its two marks."""
    before, rest = text.split(_BEGIN)
    _old, after = rest.split(_END)
    return f"{before}{_BEGIN}\n{_table()}\n{_END}{after}"


def _table() -> str:
    lines = ["| CloudWatch | unit | OpenMetrics | kind | from | meaning |", "|---" * 6 + "|"]
    for metric in CATALOGUE:
        name = "—" if metric.origin is Origin.RUN else metric.name
        unit = "—" if metric.origin is Origin.RUN else metric.unit
        lines.append(
            f"| {name} | {unit} | `{metric.openmetrics_name}` | {metric.kind} | {metric.origin} | "
            f"{metric.help} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    DOCS.write_text(renewed(DOCS.read_text(encoding="utf-8")), encoding="utf-8")
