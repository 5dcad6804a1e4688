"""The table of the actions that a viewer may start."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dynamirror.page import faults, repairs
from dynamirror.page.action_context import ActionContext
from dynamirror.page.state import Button


@dataclass(frozen=True, slots=True)
class Action:
    """An action, and its button's label, icon and hint."""

    label: str
    icon: str
    hint: str
    run: Callable[[ActionContext], None]
    heals: bool = False

    def button(self, name: str, *, busy: bool) -> Button:
        """Return the action's button."""
        return Button(name, self.label, self.icon, self.hint, heals=self.heals, busy=busy)


def offered_actions(context: ActionContext, *, may_write: bool) -> dict[str, Action]:
    """Return the actions that are possible now, by name."""
    is_replicating = context.demo.is_replicating
    actions = {"replicator": _STOP_REPLICATOR if is_replicating else _START_REPLICATOR}
    if may_write:
        actions["writes"] = _STOP_WRITING if context.writer.is_started else _START_WRITING
    return actions | _ALWAYS_OFFERED


_STOP_REPLICATOR: Final = Action(
    "Stop the replicator",
    "stop_circle",
    "Changes wait in the stream until it starts again.",
    faults.stop_replicator,
)
_START_REPLICATOR: Final = Action(
    "Start the replicator",
    "play_circle",
    "It resumes after the last change that it delivered.",
    repairs.start_replicator,
    heals=True,
)
_STOP_WRITING: Final = Action(
    "Stop writing",
    "edit_off",
    "Ends the random changes.",
    lambda context: context.writer.stop(),
)
_START_WRITING: Final = Action(
    "Start writing",
    "edit",
    "Writes random changes to the table.",
    lambda context: context.writer.start(),
)
_ALWAYS_OFFERED: Final[dict[str, Action]] = {
    "twice": Action(
        "Deliver again",
        "repeat",
        "Delivers the newest changes a second time.",
        faults.deliver_twice,
    ),
    "backwards": Action(
        "Deliver backwards",
        "fast_rewind",
        "Delivers them again, the newest first.",
        faults.deliver_backwards,
    ),
    "hang": Action(
        "Hang the cache",
        "hourglass_top",
        f"The cache answers no command for {faults.HANG_SECONDS} seconds.",
        faults.hang_cache,
    ),
    "damage": Action(
        "Damage an entry",
        "broken_image",
        "Overwrites it behind the mirror's back.",
        faults.damage_entry,
    ),
    "flush": Action(
        "Flush the cache",
        "delete_sweep",
        "Deletes everything in the cache.",
        faults.flush_cache,
    ),
    "repair": Action(
        "Verify and repair",
        "build",
        "Compares everything and repairs what differs.",
        repairs.repair,
        heals=True,
    ),
    "rebuild": Action(
        "Rebuild",
        "restart_alt",
        "Reads the whole table again.",
        repairs.rebuild,
        heals=True,
    ),
}
