"""Accounts, numbers and Messaging Services, as they can be looked up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from ci360_twilio.twin.lookups import (
    list_numbers,
    list_service_numbers,
    show_account,
    show_service,
)
from ci360_twilio.twin.twilio import ApiError, Resource, TwinAccount

SERVICE = "MG" + "5" * 32
NUMBERS = tuple(f"+1201555010{number}" for number in range(5))
ACCOUNT = TwinAccount(
    sid="AC" + "a" * 32, auth_token="token", numbers=(*NUMBERS, "12345"), services=(SERVICE,)
)
ANYTHING = TwinAccount(sid="AC" + "b" * 32, auth_token="token")
TEST = TwinAccount(sid="AC" + "d" * 32, auth_token="test", test=True)


def numbers(page: Resource) -> list[str]:
    """Give the numbers on a page."""
    rows = page["phone_numbers" if "phone_numbers" in page else "incoming_phone_numbers"]
    return [row["phone_number"] for row in rows]


def test_an_account_is_active_or_suspended() -> None:
    """Its token is not shown."""
    shown = show_account(ACCOUNT)
    assert (shown["sid"], shown["status"]) == (ACCOUNT.sid, "active")
    assert "token" not in shown.values()
    assert show_account(replace(ACCOUNT, suspended=True))["status"] == "suspended"


def test_the_numbers_of_an_account_are_listed_by_pages() -> None:
    """Short codes are none; every number can send."""
    page = list_numbers(ACCOUNT, {"PageSize": ["3"]})
    assert numbers(page) == [*NUMBERS[:3]]
    assert page["incoming_phone_numbers"][0]["capabilities"]["sms"] is True
    assert page["next_page_uri"].endswith("PageSize=3&Page=1")
    last = list_numbers(ACCOUNT, {"PageSize": ["3"], "Page": ["1"]})
    assert numbers(last) == [*NUMBERS[3:]]
    assert last["next_page_uri"] is None


@pytest.mark.parametrize("wanted", [NUMBERS[1], NUMBERS[1].replace("+", " ")])
def test_one_number_is_asked_for(wanted: str) -> None:
    """A plus that was not escaped is understood."""
    assert numbers(list_numbers(ACCOUNT, {"PhoneNumber": [wanted]})) == [NUMBERS[1]]


def test_a_number_of_somebody_else_is_not_found() -> None:
    """An account that may send from anything has any number, and lists none."""
    wanted = {"PhoneNumber": ["+12015559999"]}
    assert numbers(list_numbers(ACCOUNT, wanted)) == []
    assert numbers(list_numbers(ANYTHING, wanted)) == ["+12015559999"]
    assert numbers(list_numbers(ANYTHING, {})) == []


def test_a_messaging_service_has_the_numbers_of_the_account() -> None:
    """All stand in its pool."""
    assert show_service(ACCOUNT, SERVICE)["sid"] == SERVICE
    page = list_service_numbers(ACCOUNT, SERVICE, {"PageSize": ["4"]})
    assert numbers(page) == [*NUMBERS[:4]]
    assert page["meta"]["next_page_url"].endswith("PageSize=4&Page=1")
    assert page["phone_numbers"][0]["service_sid"] == SERVICE


@pytest.mark.parametrize("sid", ["MG" + "6" * 32, "MG1"])
def test_an_unknown_messaging_service_is_not_there(sid: str) -> None:
    """404, by Twilio's code."""
    with pytest.raises(ApiError) as refusal:
        show_service(ACCOUNT, sid)
    assert refusal.value.code == 20404
    assert show_service(ANYTHING, "MG" + "6" * 32)["account_sid"] == ANYTHING.sid


LOOKUPS: list[Callable[[TwinAccount], Resource]] = [
    show_account,
    lambda account: list_numbers(account, {}),
    lambda account: show_service(account, SERVICE),
    lambda account: list_service_numbers(account, SERVICE, {}),
]


@pytest.mark.parametrize("look", LOOKUPS)
def test_test_credentials_can_look_nothing_up(look: Callable[[TwinAccount], Resource]) -> None:
    """They can make messages alone."""
    with pytest.raises(ApiError) as refusal:
        look(TEST)
    assert (refusal.value.code, refusal.value.status) == (20008, 403)
