"""MkDocs hook: add the files outside docs/ that pages link to.

The same relative link then works in the repository and in the built site.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

_LINK = re.compile(r"\]\((\.\./[^)#\s]+)")
_LANGUAGES = {".py": "python", ".lua": "lua", ".toml": "toml", ".json": "json", ".md": "markdown"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Replace each folder in the navigation by its pages."""
    docs = Path(config.docs_dir)
    for entry in config.nav or ():
        for title, target in entry.items():
            if isinstance(target, str) and target.endswith("/"):
                pages = sorted((docs / target).glob("*.md"))
                entry[title] = [page.relative_to(docs).as_posix() for page in pages]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each file and folder of the repository that a page links to."""
    linked = {
        path
        for page in files.documentation_pages()
        for path in _outside(page.content_string, page.src_uri, config).values()
    }
    for path in sorted(linked):
        page = File.generated(config, _page_of(path), content=_content(_root(config), path))
        page.inclusion = InclusionLevel.NOT_IN_NAV
        files.append(page)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links that leave docs/ to the pages added for them."""
    del files
    if page.is_homepage:
        page.meta["hide"] = ["navigation"]
    up = "../" * page.file.src_uri.count("/")
    for link, path in _outside(markdown, page.file.src_uri, config).items():
        markdown = markdown.replace(f"]({link}", f"]({up}{_page_of(path)}")
    return markdown


def _root(config: MkDocsConfig) -> Path:
    return Path(config.docs_dir).parent


def _page_of(path: str) -> str:
    return f"source/{path}.md"


def _outside(markdown: str, page: str, config: MkDocsConfig) -> dict[str, str]:
    """Return the links to existing files outside docs/, with their paths in the repository."""
    docs = Path(config.docs_dir)
    found = {}
    for link in _LINK.findall(markdown):
        target = (docs / page).parent.joinpath(link).resolve()
        if target.exists() and not target.is_relative_to(docs):
            found[link] = target.relative_to(_root(config)).as_posix()
    return found


def _content(root: Path, path: str) -> str:
    lines = _lines(root / path)
    return "\n".join(["---", "search:", "  exclude: true", "---", f"# {path}", "", *lines])


def _lines(path: Path) -> Iterator[str]:
    if path.is_dir():
        yield from (f"- `{file.name}`" for file in sorted(path.glob("*.*")))
        return
    yield f"````{_LANGUAGES.get(path.suffix, 'text')}"
    yield from path.read_text(encoding="utf-8").splitlines()
    yield "````"
