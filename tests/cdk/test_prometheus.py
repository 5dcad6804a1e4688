"""Prometheus has a rule for each alarm of CloudWatch, or the docs state why not."""

from tests.support.templates import Synth, resources
from tests.support.watching import rules, without_rule

# Options that create every alarm.
ALL = {"alarmEmail": "ops@example.com", "cacheMaxEcpu": "5000", "inspector": "true"}


def test_each_alarm_has_a_rule_or_a_reason_and_each_rule_an_alarm(synth: Synth) -> None:
    alarms = {
        str(alarm["AlarmDescription"]).rpartition("docs/runbook.md#")[2]
        for alarm in resources(synth(**ALL), "AWS::CloudWatch::Alarm")
    }
    links = {name: rule["annotations"]["runbook_url"] for name, rule in rules().items()}
    sections = {name: link.removeprefix("docs/runbook.md#") for name, link in links.items()}
    assert sorted([*sections.values(), *without_rule()]) == sorted(alarms)
    for name, section in sections.items():
        assert name == "".join(word.capitalize() for word in section.split("-"))
    assert all(without_rule().values())
