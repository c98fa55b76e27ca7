"""``check``: what it finds in tenants' documents, and what Twilio and CI360 say to them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest

from ci360_twilio.twin.faults import Outcome
from ci360_twilio.twin.server import TwinServer
from ci360_twilio.twin.twilio import TwilioTwin, TwinAccount
from ci360_twilio.twin.wire import Request, Trace

if TYPE_CHECKING:
    from tests.conftest import Twilio
    from tests.unit.edge.cli.conftest import Gateway, Home, Parrot, Run

TENANT = "af5af6b8f500013eb0c90001"
SENDER, OTHER = "+12015550199", "+12015550198"
SERVICE = f"MG{'5' * 32}"
PUBLIC = "https://sms.example.invalid"
OURS = f"{PUBLIC}/twilio/inbound/{TENANT}"


def findings(run: Run, *options: object) -> list[str]:
    """Give what is found, an advice with what it is for; no secret and no recipient is in it."""
    done = run("check", *options)
    for secret in ("0f1e2d3c4b5a", "the-secret", "a-token", "eyJ"):
        assert secret not in done.out + done.err
    return re.sub(r"\n     ", " -> ", done.out).splitlines()


def fixes(run: Run, *options: object) -> list[str]:
    """Give what is to be done."""
    return [line[5:] for line in findings(run, *options) if line.startswith("FIX  ")]


class Dated(TwinServer):
    """A twin whose answers bear another date than ours."""

    date: bytes = b""

    def render(self, request: Request, outcome: Outcome, trace: Trace, *, stays: bool) -> bytes:
        """Write the answer, with that date or none."""
        raw = super().render(request, outcome, trace, stays=stays)
        return re.sub(rb"Date: [^\r]+\r\n", self.date and b"Date: " + self.date + b"\r\n", raw)


Set = Callable[..., Dated]


@pytest.fixture
def account(home: Home, twilio: Twilio, monkeypatch: pytest.MonkeyPatch) -> Iterator[Set]:
    """Give a function that runs a Twilio with an account as it is told, and sets the tenant up."""
    with ExitStack() as running:

        def start(document: dict[str, Any] | None = None, **members: Any) -> Dated:
            own = TwinAccount(sid=twilio.account, auth_token=twilio.token, **members)
            twin = TwilioTwin(accounts=[own], clock=lambda: datetime.now(UTC))
            server = running.enter_context(Dated(twin))
            monkeypatch.setenv("CI360_TWILIO_TWILIO_HOSTS", f"{twilio.host},{server.authority}")
            home.write(
                **{"twilio_api_url": server.url, "default_sender": SENDER} | (document or {})
            )
            return server

        yield start


# Documents


def test_what_a_document_leaves_out_is_told(run: Run, home: Home) -> None:
    """Nothing of it is wrong by itself."""
    lines = findings(run, "--offline")
    subject = f"ok   tenant {TENANT}: "
    assert (
        f"{subject}document is sound; CI360 need present nothing, so it is served on loopback only"
        in lines
    )
    assert (
        f"{subject}names no ci360_api_url: nothing is told to CI360, and no opt-out reaches it"
        in lines
    )
    home.write(api_keys=["k"])
    assert f"{subject}document is sound, and callers must present a credential" in findings(
        run, "--offline"
    )


def test_tenants_that_share_a_number_of_one_account_are_told(run: Run, home: Home) -> None:
    """Whose customer wrote to it nobody could tell; however each of them names it."""
    home.write("one", default_sender=SENDER)
    home.write("two", default_sender=OTHER, sender_rates={SENDER: 1})
    home.write("three", default_sender="Acme", consent_groups={"shop": [SENDER]})
    home.write(default_sender="+12015550197")
    [fix] = fixes(run, "--offline")
    assert fix == (
        f"tenants: one, three, two send from {SENDER} of one account: replies reach only one"
        " -> Give each a number of its own, or a subaccount."
    )


def test_a_number_of_two_accounts_or_a_name_of_a_group_is_nobodys(run: Run, home: Home) -> None:
    """Groups are each tenant's own, whatever they are called; subaccounts are apart."""
    groups = {"shop": [OTHER]}
    home.write("one", default_sender=SENDER, consent_groups=groups)
    home.write("two", default_sender="+12015550196", consent_groups={"shop": ["+12015550195"]})
    account = f"AC{'e5' * 16}"
    home.write(
        default_sender=SENDER,
        consent_groups=groups,
        twilio_account_sid=account,
        twilio_api_url="https://api.twilio.com",
    )
    assert fixes(run, "--offline") == []


def test_the_default_sender_of_all_counts_where_a_tenant_has_none(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then they share it."""
    monkeypatch.setenv("default_sender", SENDER)
    home.write(default_sender=None)
    home.write("one", default_sender=None)
    [fix] = fixes(run, "--offline")
    assert f"{TENANT}, one send from {SENDER}" in fix


# Twilio


def test_every_sender_of_a_document_is_looked_up(run: Run, account: Set) -> None:
    """The default, those with a rate, and those of a group; a group's name is no sender."""
    groups = {"shop": [OTHER, "+12015550193"], "Acme": ["+12015550194"]}
    account(
        {"sender_rates": {"+12015550195": 1}, "consent_groups": groups},
        numbers=(SENDER, OTHER),
    )
    assert [re.search(r"\+1201555\d{4}", fix)[0] for fix in fixes(run)] == [  # type: ignore[index]
        *("+12015550195", "+12015550193", "+12015550194"),
    ]
    assert all("is none of the account's numbers -> Correct it" in fix for fix in fixes(run))


@pytest.mark.parametrize("sender", [SENDER, SERVICE])
@pytest.mark.parametrize(
    ("inbound", "fallback", "good", "words"),
    [
        ("", "", False, "are not posted here, and are listed every few minutes only"),
        ("https://elsewhere.example.com/x", "", False, "are not posted here"),
        (f"{PUBLIC}/twilio/inbound/another", "", False, "are not posted here"),
        (OURS, "", False, "has no #rc=5&rp=all: Twilio tries them once"),
        (f"{OURS}#rc=1", "", False, "has no #rc=5&rp=all"),
        (f"{OURS}#rc=5&rp=all", "", True, f"it would be {OURS}?fallback=1#rc=5&rp=all"),
        (f"{OURS}#rc=5&rp=all", f"{OURS}?fallback=1", True, "are posted here"),
    ],
    ids=["nowhere", "elsewhere", "another tenant's", "bare", "fewer", "no fallback", "right"],
)
def test_where_twilio_posts_texts_is_compared_with_where_they_should_come(
    run: Run,
    account: Set,
    monkeypatch: pytest.MonkeyPatch,
    sender: str,
    inbound: str,
    fallback: str,
    good: bool,
    words: str,
) -> None:
    """For a number and a Messaging Service, with the address to enter."""
    monkeypatch.setenv("CI360_TWILIO_PUBLIC_URL", PUBLIC)
    account({"default_sender": sender}, inbound_url=inbound, fallback_url=fallback)
    [line] = [line for line in findings(run) if f"texts to {sender}" in line]
    assert line.startswith("ok " if good else "FIX ")
    assert words in line
    if not good:
        assert line.endswith(f" -> Enter in Twilio, for {sender}: {OURS}#rc=5&rp=all")


@pytest.mark.parametrize("public", [None, PUBLIC])
def test_without_an_address_of_ours_or_a_number_nothing_is_compared(
    run: Run, account: Set, monkeypatch: pytest.MonkeyPatch, public: str | None
) -> None:
    """Names have no webhook, and without a public address none is wanted."""
    if public:
        monkeypatch.setenv("CI360_TWILIO_PUBLIC_URL", public)
    account({"default_sender": "Acme" if public else SENDER})
    assert not [line for line in findings(run) if "texts to" in line]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (3_600, r"clock: is 3,\d{3} seconds behind Twilio's"),
        (-90_000, r"clock: is 90,\d{3} seconds ahead of Twilio's"),
        (5, None),
        (-5, None),
    ],
)
def test_a_clock_that_is_wrong_is_told(
    run: Run, account: Set, seconds: int, words: str | None
) -> None:
    """By the date of Twilio's answer; some seconds are nothing."""
    date = datetime.now(UTC) + timedelta(seconds=seconds)
    account().date = format_datetime(date, usegmt=True).encode()
    found = [fix for fix in fixes(run) if fix.startswith("clock")]
    assert len(found) == (1 if words else 0)
    assert not words or re.match(f"{words} -> Have it set by NTP", found[0])


@pytest.mark.parametrize("date", [b"", b"yesterday", b"Mon, 99 Foo 2026 25:61:61 GMT"])
def test_an_answer_without_a_date_says_nothing_of_the_clock(
    run: Run, account: Set, date: bytes
) -> None:
    """A proxy may have taken it."""
    account().date = date
    assert fixes(run) == []


# CI360


def test_a_ci360_that_lets_us_in_is_told_with_what_to_publish(
    run: Run, home: Home, gateway: Gateway
) -> None:
    """Nothing is made there, and the events are named as the document has them."""
    home.write(**gateway.members, ci360_events={"reply": "SMS answer"})
    [line] = [line for line in findings(run) if "CI360 lets it in" in line]
    assert line.startswith(f"ok   tenant {TENANT}: CI360 lets it in; publish there, if not done: ")
    assert "twilio_sms_delivered" in line
    assert "SMS answer" in line
    assert gateway.twin.events == ()
    assert not [line for line in findings(run, "--offline") if "CI360 lets it in" in line]


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("secret", "CI360 answered 401. (ci360_http_401) CI360 says: MKTCMN74261: the token matches no access point -> Check ci360_api_url, and the access point's"),
        ("token", "CI360 answered 401. (ci360_http_401) CI360 says: MKTCMN74224: the token is no JWT"),
        ("http_429", "CI360 answered 403. (ci360_http_403) -> It may be asked too much"),
        ("http_500", "CI360 answered 500. (ci360_http_500) CI360 says: the twin was told to answer so -> Check ci360_api_url and the way out"),
        ("http_400", "CI360 answered 400. (ci360_http_400) CI360 says: the twin was told to answer so -> CI360 knows us and would not"),
        ("away", "CI360 could not be reached, or its answer was lost. (connect_refused) -> Check"),
    ],
    ids=["secret", "token", "throttled", "ill", "refused", "away"],
)  # fmt: skip
def test_a_ci360_that_does_not_is_told_with_its_words(
    run: Run, home: Home, gateway: Gateway, trouble: str, words: str
) -> None:
    """And what to do about it."""
    if trouble == "secret":
        gateway.twin.change_secret(TENANT, "another")
    elif trouble == "token":
        home.write(**gateway.members, ci360_token="a-token")
    elif trouble == "away":
        gateway.server.stop()
    else:
        gateway.faults.burst(trouble)
    [fix] = fixes(run)
    assert fix.startswith(f"tenant {TENANT}: {words}")


@pytest.mark.parametrize("status", [400, 401, 503])
def test_ci360s_words_cannot_steer_the_terminal(
    run: Run,
    home: Home,
    parrot: Callable[[int, bytes], Parrot],
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    """They are one line; ``run`` looks for the rest."""
    said = {"message": "no \x1b[2J\x9b31m\r\nlicence\u202e\u2028"}
    server = parrot(status, json.dumps(said).encode())
    monkeypatch.setenv("CI360_TWILIO_CI360_HOSTS", server.authority)
    home.write(ci360_api_url=f"{server.url}/marketingGateway/events", ci360_token="a-token")
    [fix] = fixes(run)
    assert "CI360 says: no [2J31m licence" in fix


def test_an_address_that_is_not_ci360s_is_told(
    run: Run, home: Home, parrot: Callable[[int, bytes], Parrot], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers, but not as CI360 does."""
    server = parrot(200, b"<html>Welcome</html>")
    monkeypatch.setenv("CI360_TWILIO_CI360_HOSTS", server.authority)
    home.write(ci360_api_url=f"{server.url}/marketingGateway/events", ci360_token="a-token")
    [fix] = fixes(run)
    assert "CI360's answer cannot be read." in fix
