"""State machines: what they have in common, and the one that rebuilds or verifies a mirror."""

from collections.abc import Mapping
from typing import Any

from aws_cdk import Acknowledgment, Duration, Stack, Validations
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from dynamirror.cdk.inside import LONGEST, Inside

# How often a rebuild begins anew in one execution; the watchdog starts another.
_MOST_ANEW = 3
_DISCARD = sfn.JsonPath.DISCARD

_OWN = "Executions have no names before they begin; these are the machine's own."
# What no repetition can mend.
_LOST, _WRONG = "LostError", "ConfigError"


class Machine(Construct):
    """A state machine that logs every step, but no data: positions hold primary keys.

    Args:
        scope: the stack or construct this is part of.
        id: its name there.
        inside: what the functions have in common.
        worker: does its steps.
        start: the first state.
        kind: standard or express.
        comment: what it does.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        inside: Inside,
        worker: lambda_.Function,
        start: sfn.IChainable,
        kind: sfn.StateMachineType = sfn.StateMachineType.STANDARD,
        comment: str,
    ) -> None:
        super().__init__(scope, id)
        self.machine = sfn.StateMachine(
            self,
            "Machine",
            definition_body=sfn.DefinitionBody.from_chainable(start),
            state_machine_type=kind,
            comment=comment,
            tracing_enabled=inside.tracing,
            logs=sfn.LogOptions(
                destination=inside.log_group(self),
                level=sfn.LogLevel.ALL,
                include_execution_data=False,
            ),
        )
        self._acknowledge(worker, tracing=inside.tracing)

    def _acknowledge(self, worker: lambda_.Function, *, tracing: bool) -> None:
        named = [_logical_id(one.node.default_child) for one in (worker, self.machine)]
        executions = (
            "arn:<AWS::Partition>:states:<AWS::Region>:<AWS::AccountId>:execution:"
            f'{{"Fn::Select":[6,{{"Fn::Split":[":",{{"Ref":"{named[1]}"}}]}}]}}'
        )
        acknowledged = {
            "IAM5[Resource::*]": (
                "Step Functions sets its log delivery up with this role; CloudWatch Logs and "
                "X-Ray know no narrower resource for that."
            ),
            f"IAM5[Resource::<{named[0]}.Arn>:*]": "CDK names all versions of the one function.",
            f"IAM5[Resource::{executions}:*]": _OWN,
            f"IAM5[Resource::{executions}/*:*]": _OWN,
        }
        if not tracing:
            acknowledged["SF2"] = "X-Ray is a choice: -c tracing=true."
        for rule, reason in acknowledged.items():
            Validations.of(self).acknowledge(
                Acknowledgment(id=f"AwsSolutions-{rule}", reason=reason)
            )


def _logical_id(element: Any) -> str:
    return Stack.of(element).get_logical_id(element)


def step(
    scope: Construct,
    id: str,
    worker: lambda_.IFunction,
    payload: Mapping[str, Any],
    *,
    result_path: str = _DISCARD,
    attempts: int = 40,
) -> tasks.LambdaInvoke:
    """A task that the worker does; tried again, with growing pauses, unless that cannot help.

    Args:
        scope: the construct it is part of.
        id: its name.
        worker: the function.
        payload: what it is given.
        result_path: where its answer goes; default nowhere.
        attempts: how often it is tried again: 40 take about 40 minutes.
    """
    task = tasks.LambdaInvoke(
        scope,
        id,
        state_name=id,
        lambda_function=worker,
        payload=sfn.TaskInput.from_object(dict(payload)),
        payload_response_only=True,
        result_path=result_path,
        task_timeout=sfn.Timeout.duration(LONGEST.plus(Duration.minutes(1))),
        retry_on_service_exceptions=False,  # they are among all errors
    )
    task.add_retry(errors=[_LOST, _WRONG], max_attempts=0)
    task.add_retry(
        errors=[sfn.Errors.ALL],
        interval=Duration.seconds(2),
        backoff_rate=2,
        max_delay=Duration.minutes(1),
        jitter_strategy=sfn.JitterType.FULL,
        max_attempts=attempts,
    )
    return task


class RebuildMachine(Construct):
    """Fills a mirror, verifies or repairs it, in as many functions at a time as is asked.

    An execution's input may have, each with a default:
        action: backfill (default), verify or repair.
        segments: parts of the table; an unfinished rebuild that is resumed has its own number.
        maxConcurrency: functions at a time.
        rate: read units a second, of all together; 0 for no limit.
        consistent: whether a backfill's reads are strongly consistent, at twice the price.
        anew: do not resume an unfinished rebuild.
        settle: seconds that what differs is given to arrive, of verify and repair.

    Args:
        scope: the stack or construct this is part of.
        id: its name there.
        inside: what the functions have in common.
        worker: does the steps.
        segments: see above.
        concurrency: the default of `maxConcurrency`.
        rate: see above.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        inside: Inside,
        worker: lambda_.Function,
        segments: int = 64,
        concurrency: int = 8,
        rate: int | None = None,
    ) -> None:
        super().__init__(scope, id)
        self._worker = worker
        defaults = {
            "action": "backfill",
            "segments": segments,
            "maxConcurrency": concurrency,
            "rate": rate or 0,
            "consistent": True,
            "anew": False,
            "settle": 15,
        }
        start = self._pass("Given", {"given": "$", "defaults": defaults})
        merged = sfn.JsonPath.json_merge(
            sfn.JsonPath.object_at("$.defaults"), sfn.JsonPath.object_at("$.given")
        )
        merge = sfn.Pass(self, "Options", state_name="Options", parameters={"options": merged})
        anew = sfn.JsonPath.object_at("$.options.anew")
        first = sfn.Pass(
            self,
            "First",
            state_name="First",
            parameters={"anew": anew, "lost": 0},
            result_path="$.try",
        )
        self.machine = Machine(
            self,
            "Rebuild",
            inside=inside,
            start=start.next(merge).next(first).next(self._action()),
            worker=worker,
            comment="Fills, verifies or repairs a mirror",
        ).machine

    def _action(self) -> sfn.Choice:
        action = sfn.Choice(self, "Action", state_name="Action")
        condition, backfill = sfn.Condition.string_equals, self._backfill()
        action.when(condition("$.options.action", "backfill"), backfill)
        verification = self._verification()
        for name in ("verify", "repair"):
            action.when(condition("$.options.action", name), verification)
        cause = "action must be backfill, verify or repair"
        return action.otherwise(self._fail("UnknownAction", error=_WRONG, cause=cause))

    def _backfill(self) -> sfn.IChainable:
        begin = self._step(
            "Begin",
            {
                "step": "begin",
                "anew": "$.try.anew",
                **{name: f"$.options.{name}" for name in ("segments", "consistent", "rate")},
                "concurrency": "$.options.maxConcurrency",
            },
            result_path="$.begun",
        )
        wait = self._wait("WaitForRows", "$.begun.wait")
        load = self._map(
            "LoadSegments",
            "$.begun.segments",
            {"run": "$.begun.run", "rate": "$.begun.rate"},
            self._load(),
        )
        run = {"run": "$.begun.run"}
        sweep = self._step("Sweep", {"step": "sweep", **run}, result_path="$.swept")
        finish = self._step("Finish", {"step": "finish", **run}, result_path="$.finished")
        anew = self._anew(begin)
        for task in (sweep, finish):
            task.add_catch(anew, errors=[_LOST], result_path="$.error")
        done = self._pass(
            "Done",
            {"run": "$.finished.run", "progress": "$.finished.progress", "swept": "$.swept"},
        )
        load.next(sweep).next(finish).next(done)
        begun = sfn.Choice(self, "Begun", state_name="Begun")
        waits = sfn.Condition.number_greater_than("$.begun.wait", 0)
        begin.next(begun.when(waits, wait.next(begin)).otherwise(load))
        return begin

    def _load(self) -> sfn.IChainable:
        """What is done with one segment: load, until it is in."""
        given = {name: f"$.{name}" for name in ("index", "run", "rate")}
        load = self._step("Load", {"step": "load", **given}, result_path="$.progress")
        # All results together must fit into the state.
        loaded = sfn.Pass(self, "Loaded", state_name="Loaded", result=sfn.Result.from_object({}))
        # The others go on; the sweep finds that this one is not in.
        load.add_catch(loaded, errors=[_LOST], result_path="$.error")
        done = sfn.Choice(self, "LoadedAll", state_name="LoadedAll")
        is_done = sfn.Condition.boolean_equals("$.progress.done", value=True)
        waits = sfn.Condition.number_greater_than("$.progress.wait", 0)
        pause = self._wait("KeepToRate", "$.progress.wait")
        load.next(done.when(is_done, loaded).when(waits, pause.next(load)).otherwise(load))
        return load

    def _anew(self, begin: sfn.IChainable) -> sfn.IChainable:
        """Begin again, a few times: with another's run if that suffices, else with a new one."""
        times = sfn.JsonPath.math_add(sfn.JsonPath.number_at("$.try.lost"), 1)
        again = sfn.Pass(
            self,
            "BeginAnew",
            state_name="BeginAnew",
            parameters={"anew": False, "lost": times},
            result_path="$.try",
        )
        choice = sfn.Choice(self, "LostTooOften", state_name="LostTooOften")
        too_often = sfn.Condition.number_greater_than("$.try.lost", _MOST_ANEW)
        cause = "the rebuild was lost again and again; see the status of the mirror"
        lost = self._fail("Lost", error=_LOST, cause=cause)
        return again.next(choice.when(too_often, lost).otherwise(begin))

    def _verification(self) -> sfn.IChainable:
        number = {"parts": "$.options.segments"}
        divide = self._step(
            "Divide",
            {
                "step": "divide",
                "action": "$.options.action",
                "rate": "$.options.rate",
                "concurrency": "$.options.maxConcurrency",
                **number,
            },
            result_path="$.divided",
        )
        shared = {
            "repair": "$.divided.repair",
            "rate": "$.divided.rate",
            "settle": "$.options.settle",
            **number,
        }
        chosen = sfn.JsonPath.array(sfn.JsonPath.string_at("$.index"))
        part = {"of": sfn.JsonPath.number_at("$.parts"), "chosen": chosen}
        verify = self._step(
            "Verify",
            {
                "step": "verify",
                "part": part,
                **{name: f"$.{name}" for name in ("repair", "rate", "settle", "id")},
            },
        )
        verified = sfn.Pass(
            self, "Verified", state_name="Verified", result=sfn.Result.from_object({})
        )
        compare = self._map(
            "VerifyParts",
            "$.divided.parts",
            {**shared, "id": "$$.Execution.Name"},
            verify.next(verified),
        )
        total = self._step(
            "Sum", {"step": "sum", "id": "$$.Execution.Name", **number}, result_path="$"
        )
        return divide.next(compare).next(total)

    def _step(
        self, id: str, payload: Mapping[str, Any], *, result_path: str = _DISCARD
    ) -> tasks.LambdaInvoke:
        return step(self, id, self._worker, _paths(payload), result_path=result_path)

    def _pass(self, id: str, parameters: Mapping[str, Any]) -> sfn.Pass:
        return sfn.Pass(self, id, state_name=id, parameters=_paths(parameters))

    def _wait(self, id: str, seconds: str) -> sfn.Wait:
        return sfn.Wait(self, id, state_name=id, time=sfn.WaitTime.seconds_path(seconds))

    def _fail(self, id: str, *, error: str, cause: str) -> sfn.Fail:
        return sfn.Fail(self, id, state_name=id, error=error, cause=cause)

    def _map(
        self, id: str, items: str, selected: Mapping[str, Any], each: sfn.IChainable
    ) -> sfn.DistributedMap:
        """Do something with each of many, several at a time; what comes of it is dropped."""
        index = {"index": "$$.Map.Item.Value"}
        mapped = sfn.DistributedMap(
            self,
            id,
            state_name=id,
            items_path=items,
            item_selector=_paths({**selected, **index}),
            max_concurrency_path="$.options.maxConcurrency",
            # An express one would have to end within five minutes.
            map_execution_type=sfn.StateMachineType.STANDARD,
            result_path=_DISCARD,
        )
        mapped.item_processor(each)
        return mapped


def _paths(given: Mapping[str, Any]) -> dict[str, Any]:
    """A template in which texts that begin with $ are paths."""
    return {
        name: sfn.JsonPath.object_at(value)
        if isinstance(value, str) and value.startswith("$")
        else value
        for name, value in given.items()
    }
