"""What is understood here is answered as the emulator answers it."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from tests.support.generated_expressions import (
    ATTRIBUTES,
    TYPES,
    Expressions,
    Partition,
    Value,
    ordered,
    settled_item,
    value,
)

from dynamirror.expressions import NotUnderstoodError, read_query

_EACH = 3  # requests by example
_randoms = st.integers(0, 2**32).map(Random)


def answers_agree(partition: Partition, body: Value) -> bool:
    """Return whether a query is understood; it is then answered as the emulator answers it."""
    body["TableName"] = "expressions"
    try:
        query = read_query(body, ("pk", "sk"), ("S", "N"))
        found = [item for item in partition.items if not query.filter or query.filter.holds(item)]
        if query.projection:
            found = [query.projection.of(item) for item in found]
    except NotUnderstoodError:
        return False
    status, answer = partition.requests.call("Query", body)
    assert status == 200, (body, answer)
    assert list(map(settled_item, found)) == list(map(settled_item, answer["Items"])), body
    return True


@given(_randoms)
def test_a_filter_selects_the_items_that_the_emulator_selects(
    partition: Partition, random: Random
) -> None:
    for _ in range(_EACH):
        made = Expressions(random, partition.items)
        key = f"pk = {made.constant({'S': 'p'})}"
        text = made.condition()
        body = {"KeyConditionExpression": key, "FilterExpression": text, **made.placeholders()}
        assert answers_agree(partition, body)


@given(_randoms)
def test_a_projection_returns_the_parts_that_the_emulator_returns(
    partition: Partition, random: Random
) -> None:
    for _ in range(_EACH):
        made = Expressions(random, partition.items)
        key = f"pk = {made.constant({'S': 'p'})}"
        text = made.projection()
        body = {"KeyConditionExpression": key, "ProjectionExpression": text, **made.placeholders()}
        answers_agree(partition, body)


@given(_randoms)
def test_what_the_emulator_refuses_is_not_understood(partition: Partition, random: Random) -> None:
    for _ in range(_EACH):
        made = Expressions(random, partition.items)
        key = f"pk = {made.constant({'S': 'p'})}"
        words = made.condition().split(" ")
        place = random.randrange(len(words))
        match random.randint(0, 2):
            case 0:
                del words[place]
            case 1:
                words.insert(place, random.choice(words))
            case _:
                letter = random.choice("()=<>,[]: ")
                words[place] = words[place][:1] + letter + words[place][1:]
        text = " ".join(words)
        body = {"KeyConditionExpression": key, "FilterExpression": text, **made.placeholders()}
        answers_agree(partition, body)


@given(_randoms)
def test_legacy_conditions_select_the_items_that_the_emulator_selects(
    partition: Partition, random: Random
) -> None:
    made = Expressions(random, partition.items)
    key = {"ComparisonOperator": "EQ", "AttributeValueList": [{"S": "p"}]}
    filters = {
        name: _legacy_condition(random, made, name)
        for name in random.sample([*ATTRIBUTES, "missing"], random.randint(0, 3))
    }
    wanted = random.sample([*ATTRIBUTES, "pk", "missing"], random.randint(1, 3))
    body = {"KeyConditions": {"pk": key}, "QueryFilter": filters, "AttributesToGet": wanted}
    assert answers_agree(partition, body)


def _legacy_condition(random: Random, made: Expressions, name: str) -> Value:
    """Return a condition on an attribute; CONTAINS and the like for texts only."""
    operators = ["EQ", "NE", "LT", "LE", "GT", "GE", "NULL", "NOT_NULL", "IN", "BETWEEN"]
    if name == "s":
        operators += ["CONTAINS", "BEGINS_WITH"]
    operator = random.choice(operators)
    tag = random.choice("SNB")
    match operator:
        case "NULL" | "NOT_NULL":
            values = []
        case "EQ" | "NE":
            values = [made.some(name, TYPES)]
        case "CONTAINS" | "BEGINS_WITH":
            values = [{"S": random.choice("abé")}]
        case "IN":
            values = [value(random, [tag]) for _ in range(random.randint(1, 3))]
        case "BETWEEN":
            values = sorted((value(random, [tag]) for _ in range(2)), key=ordered)
        case _:
            values = [value(random, [tag])]
    return {"ComparisonOperator": operator, "AttributeValueList": values}
