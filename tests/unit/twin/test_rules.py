"""What Twilio refuses, and with which code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci360_twilio.twin.twilio import ERRORS, ApiError, TwilioTwin, TwinAccount

NOON = datetime(2026, 3, 14, 12, 0, 0, 700_000, tzinfo=UTC)
TO = "+19085551212"
SERVICE = "MG" + "5" * 32
ACCOUNT = TwinAccount(sid="AC" + "a" * 32, auth_token="token")
STRICT = TwinAccount(
    sid="AC" + "c" * 32, auth_token="strict", numbers=("+19085550000",), services=(SERVICE,)
)
TEST = TwinAccount(sid="AC" + "d" * 32, auth_token="test", test=True)
MESSAGE = {"To": [TO], "From": ["+19085550000"], "Body": ["Hello"]}


@pytest.fixture
def twin() -> TwilioTwin:
    """A twin with accounts of each kind, at noon."""
    return TwilioTwin(accounts=(ACCOUNT, STRICT, TEST), clock=lambda: NOON)


def form(**changes: str | Sequence[str] | None) -> Mapping[str, Sequence[str]]:
    """Make the form of a good message, with changes; ``None`` leaves a parameter out."""
    changed = {
        name: [value] if isinstance(value, str) else value for name, value in changes.items()
    }
    return {name: value for name, value in (MESSAGE | changed).items() if value is not None}


def refused(twin: TwilioTwin, account: TwinAccount, **changes: str | None) -> int:
    """Give the code with which a message is refused."""
    with pytest.raises(ApiError) as refusal:
        twin.create(account, form(**changes))
    assert twin.messages == ()
    return refusal.value.code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"To": None}, 21604),
        ({"To": ""}, 21604),
        ({"From": None}, 21603),
        ({"From": ""}, 21603),
        ({"Body": None}, 21602),
        ({"Body": ""}, 21602),
        ({"Body": "x" * 1601}, 21617),
        ({"MediaUrl": ["https://www.example.com/a.jpg"] * 11}, 21623),
        ({"MediaUrl": ["https://www.example.com/a.jpg", "ftp://www.example.com/b"]}, 21620),
        ({"MediaUrl": "logo.jpg"}, 21620),
        ({"MediaUrl": "https://[::1"}, 21620),
        ({"To": "9085551212"}, 21211),
        ({"To": "+1908555"}, 21211),
        ({"To": "+999123456789"}, 21211),
        ({"To": "somebody"}, 21211),
        ({"To": "whatsapp:somebody"}, 21211),
        ({"From": "+0123"}, 21212),
        ({"From": "TooLongSender"}, 21212),
        ({"From": "99999999999"}, 21212),
        ({"To": "whatsapp:+19085551212"}, 21910),
        ({"From": "whatsapp:+19085550000"}, 21910),
        ({"MessagingServiceSid": "MG123"}, 21705),
        ({"ValidityPeriod": "0"}, 21624),
        ({"ValidityPeriod": "36001"}, 21624),
        ({"ValidityPeriod": "-5"}, 21624),
        ({"ValidityPeriod": "soon"}, 21624),
        ({"StatusCallback": "/twilio/status"}, 21609),
        ({"StatusCallback": "https://my_host.example.com/"}, 21609),
        ({"StatusCallback": "https://example.com/" + "x" * 4000}, 21609),
        ({"StatusCallback": "https://example.com:99999/"}, 21609),
    ],
)
def test_what_twilio_refuses_is_refused_with_its_code(
    twin: TwilioTwin, changes: dict[str, str | None], code: int
) -> None:
    """Each wrong parameter has its code, and nothing is made."""
    assert refused(twin, ACCOUNT, **changes) == code


@pytest.mark.parametrize(
    "changes",
    [
        {"Body": "x" * 1600},
        {"Body": "😀" * 1600},
        {"MediaUrl": ["https://www.example.com/a.jpg"] * 10},
        {"From": "12345"},
        {"From": "My Company"},
        {"To": "whatsapp:+19085551212", "From": "whatsapp:+19085550000"},
        {"To": "messenger:4711", "From": "messenger:4712"},
        {"To": "rcs:+19085551212", "From": None, "MessagingServiceSid": SERVICE},
        {"ValidityPeriod": "1"},
        {"SmartEncoded": "true", "MessageIntent": "marketing"},
    ],
)
def test_what_twilio_takes_is_taken(
    twin: TwilioTwin, changes: dict[str, str | Sequence[str] | None]
) -> None:
    """Limits are part of what is allowed; channels and further parameters are taken."""
    twin.create(ACCOUNT, form(**changes))
    assert len(twin.messages) == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"From": "+19085550001"}, 21659),
        ({"From": "Company"}, 21606),
        ({"From": None, "MessagingServiceSid": "MG" + "6" * 32}, 21701),
    ],
)
def test_an_account_with_a_list_of_senders_has_no_others(
    twin: TwilioTwin, changes: dict[str, str | None], code: int
) -> None:
    """Senders and services that an account does not own are refused where it lists its own."""
    assert refused(twin, STRICT, **changes) == code


@pytest.mark.parametrize("account", [ACCOUNT, TEST], ids=["ordinary", "test"])
@pytest.mark.parametrize(
    ("to", "code"),
    [
        ("+15005550001", 21211),
        ("+15005550002", 21612),
        ("+15005550003", 21408),
        ("+15005550004", 21610),
        ("+15005550009", 21614),
    ],
)
def test_magic_recipients_are_refused_on_every_account(
    twin: TwilioTwin, account: TwinAccount, to: str, code: int
) -> None:
    """The recipients of Twilio's test credentials can be rehearsed on ordinary accounts too."""
    assert refused(twin, account, To=to, From="+15005550006") == code


@pytest.mark.parametrize(
    ("sender", "code"),
    [
        ("+15005550001", 21212),
        ("+15005550007", 21606),
        ("+15005550008", 21611),
        ("+19085550000", 21606),
    ],
)
def test_magic_senders_are_refused_on_test_accounts(
    twin: TwilioTwin, sender: str, code: int
) -> None:
    """Test credentials know four senders, and no other number will do."""
    assert refused(twin, TEST, From=sender) == code


PARAMETERS = st.dictionaries(
    st.sampled_from(["To", "From", "Body", "MediaUrl", "MessagingServiceSid", "ValidityPeriod"])
    | st.text(max_size=5),
    st.lists(st.sampled_from([TO, "12345", SERVICE, "Hello"]) | st.text(), max_size=3),
)


@settings(deadline=None)
@given(parameters=PARAMETERS)
def test_any_form_is_made_or_refused(parameters: dict[str, list[str]]) -> None:
    """Whatever a client sends, there is a message or an error that Twilio knows."""
    twin = TwilioTwin(accounts=[ACCOUNT], clock=lambda: NOON)
    outcome: str | int
    try:
        outcome = twin.create(ACCOUNT, parameters)["sid"]
    except ApiError as refusal:
        outcome = refusal.code
    assert outcome in ERRORS or [outcome] == [message.sid for message in twin.messages]
    assert len(twin.messages) == (outcome not in ERRORS)
