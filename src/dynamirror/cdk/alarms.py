"""The CloudWatch alarms of a mirror."""

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from constructs import Construct

from dynamirror.cdk.alarm_rules import EVICTIONS, Thresholds, alarm_rules
from dynamirror.cdk.monitored_mirror import MonitoredMirror

RUNBOOK = "docs/runbook.md"


class Alarms(Construct):
    """Create the alarms of one mirror.

    An alarm is left out if the mirror lacks the part that it watches.

    Args:
        mirror: the mirror to watch.
        thresholds: the values beyond which alarms are raised.
        topic: SNS topic notified when an alarm is raised and when it ends; None for none.
        runbook: address of the runbook, for the alarms' descriptions.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        mirror: MonitoredMirror,
        thresholds: Thresholds | None = None,
        topic: sns.ITopic | None = None,
        runbook: str = RUNBOOK,
    ) -> None:
        super().__init__(scope, id)
        self.alarms: dict[str, cloudwatch.Alarm] = {}
        for rule in alarm_rules(mirror, thresholds or Thresholds()):
            alarm = cloudwatch.Alarm(
                self,
                rule.name,
                metric=rule.metric,
                comparison_operator=rule.comparison,
                threshold=rule.threshold,
                datapoints_to_alarm=rule.datapoints_to_alarm,
                evaluation_periods=rule.evaluation_periods,
                treat_missing_data=rule.missing_data,
                alarm_description=(
                    f"{rule.meaning} Without data: {rule.reason} {runbook}#{rule.section}"
                ),
            )
            if topic:
                alarm.add_alarm_action(actions.SnsAction(topic))
                alarm.add_ok_action(actions.SnsAction(topic))
            self.alarms[rule.name] = alarm
        if mirror.cache and mirror.worker and (evictions := self.alarms.get(EVICTIONS)):
            self._report_evictions(evictions, mirror.worker)

    def _report_evictions(self, alarm: cloudwatch.Alarm, worker: lambda_.IFunction) -> None:
        """Have the mirror noted as doubtful: a serverless cache need not report its evictions.

        Both when they begin and when they end, since a rebuild between the two is no help.
        """
        raised = {"value": ["ALARM"]}
        events.Rule(
            self,
            "Evictions",
            description="Has dynamirror's mirror noted as doubtful when its cache evicts keys",
            event_pattern=events.EventPattern(
                source=["aws.cloudwatch"],
                detail_type=["CloudWatch Alarm State Change"],
                resources=[alarm.alarm_arn],
                detail={"$or": [{"state": raised}, {"previousState": raised}]},
            ),
            targets=[
                targets.LambdaFunction(
                    worker, event=events.RuleTargetInput.from_object({"step": "evicted"})
                )
            ],
        )
