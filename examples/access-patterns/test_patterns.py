"""Each access pattern, from the first write to the answer, before and after a change."""

from typing import Any

import pytest
from patterns import Patterns

import dynamirror


@pytest.fixture
def orders(dynamodb: Any, mirror: Any) -> Any:
    """Return the table with four orders of two customers."""
    table = dynamodb.Table("orders")
    for number, customer in enumerate(["ann", "bob", "ann", "ann"], 1):
        table.put_item(
            Item={
                "id": f"o{number}",
                "customer": customer,
                "created": 1000 + number,
                "waiting": "oslo",
                "total": 10 * number,
            }
        )
    mirror.wait()
    return table


@pytest.fixture
def products(dynamodb: Any, mirror: Any) -> Any:
    """Return the table with three mugs."""
    table = dynamodb.Table("products")
    for number, sold in enumerate([7, 40, 12], 1):
        table.put_item(
            Item={
                "sku": f"m{number}",
                "name": f"Mug {number}",
                "barcode": f"400{number}",
                "category": "mugs",
                "sold": sold,
            }
        )
    mirror.wait()
    return table


@pytest.mark.usefixtures("orders")
def test_the_newest_orders_of_a_customer(patterns: Patterns) -> None:
    assert patterns.newest_orders("ann", 2) == ["o4", "o3"]
    assert patterns.newest_orders("bob", 2) == ["o2"]


def test_an_order_that_is_sent_is_not_open_any_more(
    patterns: Patterns, orders: Any, mirror: Any
) -> None:
    assert patterns.open_orders("oslo", 1004) == ["o1", "o2", "o3"]
    orders.update_item(Key={"id": "o2"}, UpdateExpression="REMOVE waiting")
    mirror.wait()
    assert patterns.open_orders("oslo", 1004) == ["o1", "o3"]


@pytest.mark.usefixtures("orders")
def test_all_orders_of_a_time_window(patterns: Patterns) -> None:
    assert patterns.orders_between(1002, 1003) == ["o2", "o3"]


def test_a_product_by_its_barcode(patterns: Patterns, products: Any, mirror: Any) -> None:
    assert patterns.product_of("4002") == "Mug 2"
    products.update_item(
        Key={"sku": "m2"},
        UpdateExpression="SET barcode = :new",
        ExpressionAttributeValues={":new": "4999"},
    )
    mirror.wait()
    assert (patterns.product_of("4002"), patterns.product_of("4999")) == (None, "Mug 2")


def test_bestsellers_and_the_rank_of_a_product(
    patterns: Patterns, products: Any, mirror: Any
) -> None:
    assert patterns.bestsellers("mugs", 2) == [("m2", 40.0), ("m3", 12.0)]
    products.update_item(
        Key={"sku": "m1"},
        UpdateExpression="ADD sold :n",
        ExpressionAttributeValues={":n": 100},
    )
    mirror.wait()
    assert patterns.rank_of("mugs", "m1") == 0
    assert patterns.bestsellers("mugs", 1) == [("m1", 107.0)]


def test_a_table_that_is_attached_answers_by_an_index_that_it_does_not_have(
    orders: Any, valkey: Any
) -> None:
    del valkey  # its fixture names the cache to `attach`
    dynamirror.attach(orders)
    answer = orders.query(
        IndexName="by-customer",
        KeyConditionExpression="customer = :c",
        ExpressionAttributeValues={":c": "ann"},
        ScanIndexForward=False,
    )
    assert [order["id"] for order in answer["Items"]] == ["o4", "o3", "o1"]
    dynamirror.detach(orders)
