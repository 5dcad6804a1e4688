"""Small parts that the page is made of."""

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement as Text

_SECOND = 1000
__all__ = ["Text", "card", "icon", "ms", "text"]


def card(title: str, name: str) -> ui.element:
    """A card with a title.

    Args:
        title: what it is called.
        name: its classes, for style.css.
    """
    made = ui.element("section").classes(f"card {name}").props(f'aria-label="{title}"')
    with made:
        text("h3", title)
    return made


def text(tag: str, content: str) -> Text:
    """A text in an HTML element of its own."""
    return Text(tag=tag, text=content)


def icon(name: str) -> ui.icon:
    """An icon, which repeats what a text beside it says."""
    return ui.icon(name).props("aria-hidden=true")


def ms(value: float | None) -> str:
    """Milliseconds, or seconds if there are many."""
    if value is None:
        return "-"
    return f"{value:g} ms" if value < _SECOND else f"{value / _SECOND:.1f} s"
