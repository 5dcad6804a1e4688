"""Derive a mirror's condition from an observation."""

from dynamirror.counted import counted
from dynamirror.page.state import Condition, Observation

# Lag of a mirror that still counts as in sync, in seconds: records arrive in batches.
IN_SYNC_SECONDS = 3.0


def mirror_condition(
    *,
    running: bool,
    behind: float | None,
    observation: Observation,
    standby: str | None = None,
) -> tuple[Condition, str]:
    """Return the most serious condition that holds, as a word and a sentence.

    Args:
        running: whether the replicator runs.
        behind: upper bound of the lag in seconds; None while unknown.
        observation: the latest read of table and cache.
        standby: what this process does while another replicates; None if it replicates itself.
    """
    if standby is not None:
        return Condition.STANDBY, f"This process stands by: {standby}."
    if not running:
        return Condition.STOPPED, "The replicator is stopped. Changes wait in the stream."
    return _running_condition(behind, observation)


def _running_condition(behind: float | None, observation: Observation) -> tuple[Condition, str]:
    wrong = sum(row.verdict.is_wrong for row in observation.rows)
    if observation.trouble:
        trouble = _sentence(observation.trouble)
        return Condition.CATCHING_UP, f"{trouble} Nothing is lost: changes wait in the stream."
    if observation.reason is not None:
        reason = _sentence(observation.reason)
        return Condition.INCOMPLETE, f"{reason} A rebuild makes the mirror complete."
    if wrong:
        verb = "differs" if wrong == 1 else "differ"
        return (
            Condition.DIFFERS,
            f"{counted(wrong, 'entries')} {verb} from the table, and no change is on its way.",
        )
    if observation.doubt:
        return Condition.DOUBTFUL, _sentence(observation.doubt)
    if behind is None or behind > IN_SYNC_SECONDS:
        lag = "" if behind is None else f" The lag is {behind:.0f} s."
        return Condition.CATCHING_UP, f"Changes are on their way.{lag}"
    lag = f"the lag is at most {IN_SYNC_SECONDS:g} s"
    return Condition.IN_SYNC, f"No entry below is wrong, and {lag}."


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
