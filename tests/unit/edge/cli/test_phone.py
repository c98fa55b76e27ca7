"""``phone``: a customer's phone on a running twin, and what is no twin."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from ci360_twilio.edge.cli.phone import Phone
from ci360_twilio.edge.cli.twin import ACCOUNT, TOKEN
from ci360_twilio.errors import SettingsError
from ci360_twilio.twin.answer import ApiError
from ci360_twilio.twin.life import Life
from ci360_twilio.twin.server import TwinServer
from ci360_twilio.twin.twilio import TwilioTwin, TwinAccount

if TYPE_CHECKING:
    from tests.unit.edge.cli.conftest import Done, Parrot, Run, Type

TO, OTHER, SENDER = "+12015550142", "+12015550143", "+12015550199"
PATIENCE = 20.0


class Rehearsal:
    """A twin whose messages arrive at once."""

    def __init__(self) -> None:
        self.other = f"AC{'b' * 32}"
        life = Life(until_sent=0.01, until_final=0.01)
        accounts = [
            TwinAccount(sid=sid, auth_token=TOKEN, life=life) for sid in (ACCOUNT, self.other)
        ]
        self.twin = TwilioTwin(accounts=accounts, clock=lambda: datetime.now(UTC))
        self.server = TwinServer(self.twin)

    def send(
        self, body: str, *, to: str = TO, account: str = ACCOUNT, media: tuple[str, ...] = ()
    ) -> None:
        """Have a message arrive."""
        known = self.twin.authorize(account, TOKEN)
        form = {"To": [to], "From": [SENDER], "Body": [body], "MediaUrl": [*media]}
        self.twin.create(known, {name: values for name, values in form.items() if values})
        until = time.monotonic() + PATIENCE
        while self.twin.messages[-1].status != "delivered":
            assert time.monotonic() < until, "it did not arrive"
            time.sleep(0.005)

    @property
    def written(self) -> list[tuple[str, str]]:
        """What customers wrote: to whom, and what."""
        return [(letter.to, letter.body) for letter in self.twin.letters]

    def phone(self, number: str = TO) -> Phone:
        """Give somebody's phone."""
        return Phone(self.server.url, ACCOUNT, number)


@pytest.fixture
def rehearsal() -> Iterator[Rehearsal]:
    """Run a twin."""
    made = Rehearsal()
    with made.server:
        yield made


@pytest.fixture
def hold(run: Run, pipe: Type, rehearsal: Rehearsal) -> Callable[..., Done]:
    """Give a function that holds a phone, types, and puts it away."""

    def held(typed: str | bytes, *options: object) -> Done:
        pipe(typed)
        return run("phone", TO, "--twin", rehearsal.server.url, *options)

    return held


def test_what_arrived_is_shown(rehearsal: Rehearsal, hold: Callable[..., Done]) -> None:
    """Whose phone it is first; media by their addresses; once each."""
    rehearsal.send("See you at nine")
    rehearsal.send("Look", media=("https://example.com/a.jpg",))
    done = hold("")
    assert done.code == 0
    first, *lines = done.out.splitlines()
    assert first.startswith(f"This is the phone of {TO}. ")
    assert [line[8:] for line in lines] == [
        f"  {SENDER}: See you at nine",
        f"  {SENDER}: Look [https://example.com/a.jpg]",
    ]
    assert lines[0][:8].count(":") == 2


def test_it_is_one_number_of_one_account(rehearsal: Rehearsal, hold: Callable[..., Done]) -> None:
    """Nobody else's messages are shown."""
    rehearsal.send("For somebody else", to=OTHER)
    rehearsal.send("From somebody else", account=rehearsal.other)
    assert len(hold("").out.splitlines()) == 1
    assert "From somebody else" in hold("", "--account", rehearsal.other).out


def test_what_is_typed_is_written_to_the_last_sender(
    rehearsal: Rehearsal, hold: Callable[..., Done]
) -> None:
    """Line by line; an empty one is none."""
    rehearsal.send("See you at nine")
    done = hold("STOP\n\n   \nyes, please\n")
    assert f"  you -> {SENDER}: STOP\n  you -> {SENDER}: yes, please\n" in done.out
    assert rehearsal.written == [(SENDER, "STOP"), (SENDER, "yes, please")]


def test_it_may_write_to_any_number(rehearsal: Rehearsal, hold: Callable[..., Done]) -> None:
    """Where nobody has written to it, it must."""
    done = hold("Hello\n")
    assert done.code == 0
    assert "  not sent: nobody has written to that phone" in done.out
    assert "  you -> +12015550188: Hello" in hold("Hello\n", "--to", "+12015550188").out
    assert rehearsal.written == [("+12015550188", "Hello")]


def test_an_account_that_the_twin_does_not_have_is_told(hold: Callable[..., Done]) -> None:
    """Nothing is sent."""
    assert "  not sent: no such account" in hold("Hello\n", "--account", "AC1").out


@pytest.mark.parametrize("typed", [b"\xff\xfe\x80 STOP\n", "\x1b[31mred\x07\n", "zwei\u202e\n"])
def test_nothing_of_either_side_steers_the_terminal(
    rehearsal: Rehearsal, hold: Callable[..., Done], typed: str | bytes
) -> None:
    """``run`` looks for it; bytes that are no text do not keep the phone from being put away."""
    rehearsal.send("See \x1b[2J\x1b]0;x\x07you\nat\u202e nine")
    done = hold(typed)
    assert done.code == 0
    assert f"  {SENDER}: See [2J]0;xyou at nine" in done.out
    assert len(rehearsal.written) == 1


def test_who_writes_stop_gets_nothing_more(rehearsal: Rehearsal, hold: Callable[..., Done]) -> None:
    """The twin heeds it, as Twilio does, until START."""
    rehearsal.send("See you at nine")
    hold("stop\n")
    with pytest.raises(ApiError) as caught:
        rehearsal.send("Are you there?")
    assert caught.value.code == 21610
    hold("START\n")
    rehearsal.send("Welcome back")


def test_what_arrives_later_is_shown_once(rehearsal: Rehearsal) -> None:
    """At the next look."""
    phone = rehearsal.phone(" 1 (201) 555-0142")
    assert (phone.number, phone.new()) == (TO, [])
    rehearsal.send("One")
    assert [line[10:] for line in phone.new()] == [f"{SENDER}: One"]
    rehearsal.send("Two")
    assert [line[10:] for line in phone.new()] == [f"{SENDER}: Two"]
    assert phone.new() == []


def test_a_twin_that_ends_meanwhile_is_told(rehearsal: Rehearsal) -> None:
    """Whether the phone looks or writes."""
    phone = rehearsal.phone()
    phone.new()
    rehearsal.server.stop()
    for act in (phone.new, lambda: phone.write("Hello")):
        with pytest.raises(SettingsError, match="No twin answers at http://127"):
            act()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b'{"error": "no such resource or method"}'),
        (200, b"<html>Hello</html>"),
        (200, b"\xff\xfe"),
        (200, b"{}"),
        (200, b"[]"),
        (500, b""),
    ],
    ids=["another service", "a page", "no text", "an object", "a list", "an error"],
)
def test_what_is_no_twin_is_told(
    run: Run, pipe: Type, parrot: Callable[[int, bytes], Parrot], status: int, body: bytes
) -> None:
    """Exit code 2, before anything is shown; with what to do."""
    pipe("Hello\n")
    server = parrot(status, body)
    done = run("phone", TO, "--twin", server.url)
    assert (done.code, done.out) == (2, "")
    assert f"No twin answers at {server.url}; start one with: ci360-twilio twin" in done.err


def test_where_nothing_listens_there_is_no_twin(run: Run, pipe: Type) -> None:
    """Exit code 2; it says what to start."""
    pipe("Hello\n")
    done = run("phone", TO, "--twin", "http://127.0.0.1:1")
    assert (done.code, done.out) == (2, "")
    assert "start one with: ci360-twilio twin --deliver" in done.err


@pytest.mark.parametrize(
    "address",
    [
        "https://127.0.0.1:8365",
        "http://example.com:8365",
        "http://192.0.2.1:8365",
        "http://127.0.0.1.example.com:8365",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:port",
        "http://[::1:8365",
        "127.0.0.1:8365",
        "",
    ],
)
def test_a_twin_is_on_this_machine_alone(run: Run, pipe: Type, address: str) -> None:
    """Nothing else is called; exit code 2."""
    pipe("Hello\n")
    done = run("phone", TO, "--twin", address)
    assert (done.code, done.out) == (2, "")
    assert "A twin is on this machine" in done.err


def test_this_machine_may_be_named(run: Run, pipe: Type, rehearsal: Rehearsal) -> None:
    """As people do."""
    pipe("")
    url = rehearsal.server.url.replace("127.0.0.1", "localhost")
    assert run("phone", TO, "--twin", url).code == 0


@pytest.mark.parametrize("number", ["Anna", "911", "", "\x1b[31m"])
def test_a_number_that_is_none_ends_with_2(run: Run, pipe: Type, number: str) -> None:
    """It says how it is written."""
    pipe("")
    done = run("phone", number)
    assert done.code == 2
    assert "as +12015550123" in done.err
