"""The part of the page with the buttons."""

from collections.abc import Callable, Sequence

from nicegui import ui

from dynamirror.page.parts import card, icon, text
from dynamirror.page.state import Button, Condition, PageState


class Buttons:
    """The actions that a viewer may start; nothing if there are none."""

    def __init__(self, buttons: Sequence[Button], press: Callable[[str], object]) -> None:
        self._press = press
        self._shown: dict[str, _PushButton] = {}
        if not buttons:
            return
        with card("Break it, and watch it heal", "break"):
            self._list = ui.element("div").classes("buttons")
        self._add_new(buttons)

    def show(self, state: PageState) -> None:
        """Show which actions are possible, and which one is running."""
        busy = any(button.busy for button in state.buttons)
        self._add_new(state.buttons)
        for button in state.buttons:
            needed = state.condition is Condition.INCOMPLETE and not busy
            offered = button.name != "rebuild" or button.busy or needed
            self._shown[button.name].show(button, waits=busy, offered=offered)

    def _add_new(self, buttons: Sequence[Button]) -> None:
        for button in buttons:
            if button.name not in self._shown:
                with self._list:
                    self._shown[button.name] = _PushButton(button, self._press)


class _PushButton:
    def __init__(self, button: Button, press: Callable[[str], object]) -> None:
        self._element = ui.element("button").props("type=button")
        self._element.props(f"data-testid=press-{button.name}")
        self._element.on("click", lambda: press(button.name))
        with self._element:
            self._icon = icon(button.icon)
            with ui.element("span"):
                self._label = text("span", button.label).classes("label")
                self._hint = text("span", button.hint).classes("hint muted")

    def show(self, button: Button, *, waits: bool, offered: bool) -> None:
        self._icon.set_name("autorenew" if button.busy else button.icon)
        self._label.set_text(button.label)
        self._hint.set_text(button.hint)
        tones = ["push", "heals" if button.heals else "harms"]
        tones += ["busy"] * button.busy + ["gone"] * (not offered)
        self._element.classes(replace=" ".join(tones))
        # A disabled button would lose the keyboard focus.
        self._element.props(f"aria-disabled={str(waits).lower()}")
        self._element.props(f"aria-busy={str(button.busy).lower()}")
