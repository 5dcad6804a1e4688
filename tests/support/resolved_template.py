"""Resolve a template's parameters and conditions, as CloudFormation does before it deploys."""

from collections.abc import Mapping
from typing import Any

from dynamirror.cdk.template_variants import Template, concatenate

_NO_VALUE = object()


class Resolver:
    """Evaluate the functions of a template that depend on nothing but its parameters.

    Args:
        template: the template.
        parameters: values of parameters; others have their defaults.
    """

    def __init__(self, template: Template, parameters: Mapping[str, Any]) -> None:
        declared = template["Parameters"]
        assert set(parameters) <= set(declared)
        self._template = template
        self._values = {
            name: self._typed(declared[name], parameters.get(name, declared[name].get("Default")))
            for name in declared
        }

    @staticmethod
    def _typed(parameter: Mapping[str, Any], value: Any) -> Any:
        assert value is not None, "a parameter without a default is missing"
        text = str(value)
        return text.split(",") if parameter["Type"] == "CommaDelimitedList" else text

    def template(self) -> Template:
        """Return the resources and outputs that are deployed, by part and logical ID."""
        return {
            part: {
                name: self.value({key: it for key, it in entry.items() if key != "Condition"})
                for name, entry in self._template[part].items()
                if "Condition" not in entry or self.holds(entry["Condition"])
            }
            for part in ("Resources", "Outputs")
        }

    def violations(self) -> list[str]:
        """Return the descriptions of the rules that the parameters violate."""
        return [
            assertion["AssertDescription"]
            for rule in self._template["Rules"].values()
            if self.value(rule["RuleCondition"])
            for assertion in rule["Assertions"]
            if not self.value(assertion["Assert"])
        ]

    def holds(self, condition: str) -> bool:
        """Return whether a condition holds."""
        return bool(self.value(self._template["Conditions"][condition]))

    def value(self, value: Any) -> Any:
        """Return a value without parameters and conditions."""
        if isinstance(value, list):
            elements = [self.value(item) for item in value]
            return [element for element in elements if element is not _NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name in _FUNCTIONS:
                return _FUNCTIONS[name](self, argument)
            if name == "Ref":
                return (
                    _NO_VALUE if argument == "AWS::NoValue" else self._values.get(argument, value)
                )
            if name == "Condition" and isinstance(argument, str):
                return self.holds(argument)
        items = {key: self.value(item) for key, item in value.items()}
        return {key: item for key, item in items.items() if item is not _NO_VALUE}

    def _join(self, argument: Any) -> Any:
        separator, pieces = argument[0], self.value(argument[1])
        if separator == "":
            return concatenate(pieces)
        return separator.join(pieces)

    def _split(self, argument: Any) -> Any:
        separator, text = argument[0], self.value(argument[1])
        if not isinstance(text, str):  # what only the deployment knows
            return {"Fn::Split": argument}
        return text.split(separator)

    def _select(self, argument: Any) -> Any:
        elements = self.value(argument[1])
        if not isinstance(elements, list):
            return {"Fn::Select": argument}
        return elements[int(argument[0])]


_FUNCTIONS: Any = {
    "Fn::If": lambda it, argument: it.value(argument[1 if it.holds(argument[0]) else 2]),
    "Fn::Join": Resolver._join,
    "Fn::Select": Resolver._select,
    "Fn::Split": Resolver._split,
    "Fn::Equals": lambda it, argument: it.value(argument[0]) == it.value(argument[1]),
    "Fn::Not": lambda it, argument: not it.value(argument[0]),
    "Fn::And": lambda it, argument: all(map(it.value, argument)),
    "Fn::Or": lambda it, argument: any(map(it.value, argument)),
}
