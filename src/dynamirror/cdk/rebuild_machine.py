"""The state machine that rebuilds, verifies or repairs a mirror."""

from collections.abc import Mapping, Sequence
from typing import Any

from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from dynamirror.cdk.function_context import FunctionContext
from dynamirror.cdk.state_machine import LoggedStateMachine
from dynamirror.cdk.worker_task import CONFIG_ERROR, LOST_ERROR, worker_task

# Restarts of a rebuild in one execution; after that, the watchdog starts another execution.
_MAX_RESTARTS = 3
_DISCARD = sfn.JsonPath.DISCARD


class RebuildMachine(Construct):
    """Rebuild, verify or repair a mirror, with several functions at a time.

    The input of an execution may set, each with a default:
        action: backfill (default), verify or repair.
        table: name of the table; default the first one of the mirror.
        segments: number of parts of the table, up to a million; 0, the default, for as many as suit
            its size. A resumed rebuild keeps its own number.
        maxConcurrency: number of functions at a time.
        rate: limit of all functions together in read units a second; 0 for no limit.
        consistent: whether a backfill reads with strong consistency, at twice the price.
        restart: whether to restart an unfinished rebuild instead of resuming it.
        settle: seconds for which verify and repair wait for changes in flight.

    Args:
        context: what the mirror's functions share.
        worker: function that runs the steps.
        segments: default of `segments`; None for as many as suit the table's size.
        concurrency: default of `maxConcurrency`.
        rate: default of `rate`; None for no limit.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        context: FunctionContext,
        worker: lambda_.Function,
        segments: int | None = None,
        concurrency: int = 8,
        rate: int | None = None,
    ) -> None:
        super().__init__(scope, id)
        self._worker = worker
        defaults = {
            "action": "backfill",
            "table": context.tables[0].table.table_name,
            "segments": segments or 0,
            "maxConcurrency": concurrency,
            "rate": rate or 0,
            "consistent": True,
            "restart": False,
            "settle": 15,
        }
        with_defaults = self._pass("Given", {"given": "$", "defaults": defaults})
        options = sfn.JsonPath.json_merge(
            sfn.JsonPath.object_at("$.defaults"), sfn.JsonPath.object_at("$.given")
        )
        merge = sfn.Pass(self, "Options", state_name="Options", parameters={"options": options})
        first_try = sfn.Pass(
            self,
            "First",
            state_name="First",
            parameters={"restart": sfn.JsonPath.object_at("$.options.restart"), "lost": 0},
            result_path="$.try",
        )
        self.machine = LoggedStateMachine(
            self,
            "Rebuild",
            context=context,
            start=with_defaults.next(merge).next(first_try).next(self._action()),
            worker=worker,
            comment="Rebuilds, verifies or repairs a mirror",
        ).machine

    def _action(self) -> sfn.Choice:
        action = sfn.Choice(self, "Action", state_name="Action")
        action.when(_is_action("backfill"), self._backfill())
        verification = self._verification()
        for name in ("verify", "repair"):
            action.when(_is_action(name), verification)
        cause = "action must be backfill, verify or repair"
        return action.otherwise(self._fail("UnknownAction", error=CONFIG_ERROR, cause=cause))

    def _backfill(self) -> sfn.IChainable:
        table = {"table": "$.options.table"}
        begin = self._step(
            "Begin",
            {
                "step": "begin",
                **table,
                "restart": "$.try.restart",
                **{name: f"$.options.{name}" for name in ("segments", "consistent", "rate")},
                "concurrency": "$.options.maxConcurrency",
            },
            result_path="$.begun",
        )
        wait = self._wait("WaitForRows", "$.begun.wait")
        run = {"table": "$.options.table", "run": "$.begun.run"}
        load = self._map(
            "LoadSegments",
            "$.begun.lanes",
            {
                **run,
                **{name: f"$.begun.{name}" for name in ("rate", "workers")},
                "lanes": sfn.JsonPath.array_length(sfn.JsonPath.object_at("$.begun.lanes")),
                "at": _paths({"index": "$$.Map.Item.Value"}),
            },
            self._load(),
        )
        ranges = self._step(
            "DivideSweep",
            {
                "step": "ranges",
                **run,
                "rate": "$.options.rate",
                "concurrency": "$.options.maxConcurrency",
            },
            result_path="$.divided",
        )
        sweep = self._map(
            "SweepRanges",
            "$.divided.ranges",
            {
                **run,
                "rate": "$.divided.rate",
                "slots": "$$.Map.Item.Value",
            },
            self._sweep(),
        )
        finish = self._step("Finish", {"step": "finish", **run}, result_path="$.finished")
        restart = self._restart(begin)
        for task in (ranges, finish):
            task.add_catch(restart, errors=[LOST_ERROR], result_path="$.error")
        done = self._pass(
            "Done", {name: f"$.finished.{name}" for name in ("run", "progress", "swept")}
        )
        load.next(ranges).next(sweep).next(finish).next(done)
        begun = sfn.Choice(self, "Begun", state_name="Begun")
        must_wait = sfn.Condition.number_greater_than("$.begun.wait", 0)
        begin.next(begun.when(must_wait, wait.next(begin)).otherwise(load))
        return begin

    def _load(self) -> sfn.IChainable:
        """Load the segments of a lane, step by step."""
        inputs = {name: f"$.{name}" for name in ("table", "run", "lanes", "rate", "workers")}
        load = self._step("Load", {"step": "load", **inputs, "index": "$.at.index"})
        return self._until_done(load, "Loaded", "KeepToRate", catch=True)

    def _sweep(self) -> sfn.IChainable:
        """Sweep one range, step by step."""
        inputs = {name: f"$.{name}" for name in ("table", "run", "slots", "rate")}
        sweep = self._step("Sweep", {"step": "sweep", **inputs})
        return self._until_done(sweep, "Swept", "KeepToSweepRate", catch=True)

    def _until_done(
        self, task: tasks.LambdaInvoke, end: str, pause: str, *, catch: bool
    ) -> sfn.IChainable:
        """Repeat a task, whose answer is in `at`, until it is done.

        Args:
            task: the task.
            end: name of the last state.
            pause: name of the state that waits for the rate.
            catch: whether a lost rebuild ends it, too. The other lanes go on, and the next step
                reports what is missing.
        """
        # The results of all lanes must fit into the map's state.
        last = sfn.Pass(self, end, state_name=end, result=sfn.Result.from_object({}))
        if catch:
            task.add_catch(last, errors=[LOST_ERROR], result_path="$.error")
        progress = sfn.Choice(self, f"{end}All", state_name=f"{end}All")
        is_done = sfn.Condition.boolean_equals("$.at.done", value=True)
        must_wait = sfn.Condition.number_greater_than("$.at.wait", 0)
        wait = self._wait(pause, "$.at.wait").next(task)
        task.next(progress.when(is_done, last).when(must_wait, wait).otherwise(task))
        return task

    def _restart(self, begin: sfn.IChainable) -> sfn.IChainable:
        """Begin again, a few times: join another execution's run if there is one."""
        restarts = sfn.JsonPath.math_add(sfn.JsonPath.number_at("$.try.lost"), 1)
        restart = sfn.Pass(
            self,
            "BeginAnew",
            state_name="BeginAnew",
            parameters={"restart": False, "lost": restarts},
            result_path="$.try",
        )
        choice = sfn.Choice(self, "LostTooOften", state_name="LostTooOften")
        too_often = sfn.Condition.number_greater_than("$.try.lost", _MAX_RESTARTS)
        cause = "the rebuild was lost again and again; see the status of the mirror"
        lost = self._fail("Lost", error=LOST_ERROR, cause=cause)
        return restart.next(choice.when(too_often, lost).otherwise(begin))

    def _verification(self) -> sfn.IChainable:
        divide = self._step(
            "Divide",
            {
                "step": "divide",
                **{
                    name: f"$.options.{name}"
                    for name in ("table", "action", "segments", "settle", "rate")
                },
                "concurrency": "$.options.maxConcurrency",
            },
            result_path="$.divided",
        )
        divided = {name: f"$.divided.{name}" for name in ("segments", "ranges", "repair", "rate")}
        compare = self._map(
            "VerifyParts",
            "$.divided.lanes",
            {
                "table": "$.options.table",
                "settle": "$.options.settle",
                "id": "$$.Execution.Name",
                **divided,
                "lanes": sfn.JsonPath.array_length(sfn.JsonPath.object_at("$.divided.lanes")),
                "at": _paths({"index": "$$.Map.Item.Value"}),
            },
            self._verify([*divided, "table", "settle", "id", "lanes"]),
        )
        total = self._step(
            "Sum",
            {
                "step": "sum",
                "table": "$.options.table",
                "id": "$$.Execution.Name",
                "began": "$$.Execution.StartTime",
                "parts": "$.divided.parts",
            },
            result_path="$",
        )
        return divide.next(compare).next(total)

    def _verify(self, inputs: Sequence[str]) -> sfn.IChainable:
        """Compare the parts of a lane, step by step."""
        paths = {name: f"$.{name}" for name in inputs}
        verify = self._step("Verify", {"step": "verify", **paths, "index": "$.at.index"})
        return self._until_done(verify, "Verified", "KeepToVerifyRate", catch=False)

    def _step(
        self, id: str, payload: Mapping[str, Any], *, result_path: str = "$.at"
    ) -> tasks.LambdaInvoke:
        return worker_task(self, id, self._worker, _paths(payload), result_path=result_path)

    def _pass(self, id: str, parameters: Mapping[str, Any]) -> sfn.Pass:
        return sfn.Pass(self, id, state_name=id, parameters=_paths(parameters))

    def _wait(self, id: str, seconds: str) -> sfn.Wait:
        return sfn.Wait(self, id, state_name=id, time=sfn.WaitTime.seconds_path(seconds))

    def _fail(self, id: str, *, error: str, cause: str) -> sfn.Fail:
        return sfn.Fail(self, id, state_name=id, error=error, cause=cause)

    def _map(
        self, id: str, items: str, selected: Mapping[str, Any], chain: sfn.IChainable
    ) -> sfn.DistributedMap:
        """Run a chain for each item, several at a time, and discard the results."""
        mapped = sfn.DistributedMap(
            self,
            id,
            state_name=id,
            items_path=items,
            item_selector=_paths(selected),
            max_concurrency_path="$.options.maxConcurrency",
            # Express executions must end within five minutes.
            map_execution_type=sfn.StateMachineType.STANDARD,
            result_path=_DISCARD,
        )
        mapped.item_processor(chain)
        return mapped


def _is_action(name: str) -> sfn.Condition:
    return sfn.Condition.string_equals("$.options.action", name)


def _paths(template: Mapping[str, Any]) -> dict[str, Any]:
    """Return a template whose texts that look like JSON paths are such paths."""
    return {
        name: sfn.JsonPath.object_at(value)
        if isinstance(value, str) and (value == "$" or value.startswith(("$.", "$$.")))
        else value
        for name, value in template.items()
    }
