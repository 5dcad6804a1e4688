"""Small parts of the page."""

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement as Text

_SECOND_MS = 1000
__all__ = ["Text", "card", "icon", "ms", "text"]


def card(title: str, classes: str) -> ui.element:
    """Add a card with a heading, and return it."""
    section = ui.element("section").classes(f"card {classes}").props(f'aria-label="{title}"')
    with section:
        text("h3", title)
    return section


def text(tag: str, content: str) -> Text:
    """Add an HTML element with a text, and return it."""
    return Text(tag=tag, text=content)


def icon(name: str) -> ui.icon:
    """Add an icon that repeats the text beside it, and return it."""
    return ui.icon(name).props("aria-hidden=true")


def ms(value: float | None) -> str:
    """Return milliseconds as text, in seconds from 1 s on, or `-` for None."""
    if value is None:
        return "-"
    return f"{value:g} ms" if value < _SECOND_MS else f"{value / _SECOND_MS:.1f} s"
