"""The site builds without a warning, and loads nothing from another host."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.support.written_docs import ROOT

# What a browser fetches by itself; an <a> is followed by people only.
_FETCHED = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src"}


class Fetched(HTMLParser):
    """Collects the addresses that a browser fetches for a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get(_FETCHED.get(tag, ""))
        if address is not None:
            self.addresses.append(address)


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*(sys.executable, "-m", "mkdocs", "build", "--strict"), "--site-dir", str(site)],
        cwd=root,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_loads_nothing_from_another_host(site: Path) -> None:
    pages = [path.read_text(encoding="utf-8") for path in site.rglob("*.html")]
    fetched = {address for page in pages for address in Fetched(page).addresses}
    assert any(address.endswith("bundle.js") or "bundle" in address for address in fetched)
    assert {address for address in fetched if urlsplit(address).netloc} == set()
    sheets = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    assert [url for sheet in sheets for url in re.findall(r"url\(\"?(https?:|//)", sheet)] == []
    # The theme loads these from elsewhere where a page has such a block.
    assert not any('class="mermaid"' in page for page in pages)


def test_files_that_a_page_links_to_are_in_the_site(site: Path) -> None:
    page = (site / "ordering.html").read_text(encoding="utf-8")
    script = "source/src/dynamirror/cache/scripts/fence.lua.html"
    assert f'href="{script}"' in page
    assert "Compare as text" in (site / script).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("page", "anchor", "argument"),
    [
        ("reader.html", "dynamirror.Reader.get_item", "ConsistentRead"),
        ("reader.html", "dynamirror.Reader.query", "KeyConditionExpression"),
        ("cdk-constructs.html", "dynamirror.cdk.mirror.Mirror", "batch_size"),
    ],
)
def test_the_reference_shows_public_docstrings(
    site: Path, page: str, anchor: str, argument: str
) -> None:
    text = (site / page).read_text(encoding="utf-8")
    _before, found, section = text.partition(f'id="{anchor}"')
    assert found
    assert argument in section


def test_a_broken_link_fails_the_build(tmp_path: Path) -> None:
    (docs := tmp_path / "docs").mkdir()
    (docs / "sources.py").symlink_to(ROOT / "docs/sources.py")
    for name, text in {
        "a.md": "# A\n\n[b](b.md#nothing)\n\n[c](../src/none.py)\n",
        "b.md": "# B\n",
    }.items():
        (docs / name).write_text(text, encoding="utf-8")
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[0]
    (tmp_path / "mkdocs.yml").write_text(config, encoding="utf-8")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode == 1
    assert "does not contain an anchor '#nothing'" in done.stderr
    assert "'../src/none.py'" in done.stderr


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"])
def test_links_beside_the_docs_are_not_broken(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not urlsplit(link).scheme]
    assert [link for link in links if not (ROOT / link.partition("#")[0]).exists()] == []
