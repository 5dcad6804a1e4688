"""The shop reads what it wrote, from the mirror."""

from typing import Any

from shop import Shop

ENTRY = "open-order:USER#17:ORDER#2026-11-26#1"


def test_a_user_has_the_new_name(shop: Shop, mirror: Any) -> None:
    shop.register("17", "Ada")
    shop.register("17", "Ada Lovelace")
    mirror.wait()
    assert shop.name_of("17") == "Ada Lovelace"


def test_an_order_is_open_until_it_is_delivered(shop: Shop, mirror: Any, valkey: Any) -> None:
    shop.place("17", "2026-11-26#1", {"Enamel mug": 2})
    mirror.wait()
    assert valkey.hget(ENTRY, "status") == b"placed"
    shop.deliver("17", "2026-11-26#1")
    mirror.wait()
    assert not valkey.exists(ENTRY)


def test_lines_come_in_order(shop: Shop, mirror: Any) -> None:
    shop.place("17", "1", {"Wool blanket": 1, "Enamel mug": 2})
    mirror.wait()
    assert shop.products_of("1") == ["Wool blanket", "Enamel mug"]


def test_a_cache_that_lags_shows_the_old_name(shop: Shop, mirror: Any) -> None:
    shop.register("17", "Ada")
    with mirror.paused():
        shop.register("17", "Ada Lovelace")
        assert shop.name_of("17") == "Ada"
    mirror.wait()
    assert shop.name_of("17") == "Ada Lovelace"
