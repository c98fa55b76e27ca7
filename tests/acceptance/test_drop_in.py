"""SAS's sample environment, unchanged, runs the drop-in handler of the zip.

What runs is what is shipped: the zip for this machine's Python, unpacked, in Lambda's own runtime.
Variables, secrets and handler are those of SAS's page, the time-out is that of ``docs/migrate.md``;
only where AWS and Twilio are is told besides. What gateways hand over has the shape that AWS
documents.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.acceptance.conftest import Exposed
from tests.cloud.emulator import Emulated, unpacked
from tests.cloud.invocation import rest_event
from tests.cloud.server import REGION, Moto
from tests.cloud.stack import ACCOUNT, TOKEN, Twins

from ci360_twilio.stores.dynamodb_table import definition
from ci360_twilio.twin.events import outbound_event
from ci360_twilio.twin.faults import Fault

HANDLER, SECONDS = "lambda_function.lambda_handler", 30.0
SAMPLE_REGION = "us-east-1"
PREFIX, SENDER = "demo/TwilioConnector/APIs/", "+12015550199"
SAMPLE = {"event_ttl": "86400", "default_sender": SENDER, "sm_secret_id_prefix": PREFIX}
"""All that an installation of the sample has set."""
TENANT, GUARDED = "af5af6b8f500013eb0c90001", "af5af6b8f500013eb0c90002"
API_KEY, OTHER_KEY = "key-of-the-guarded-4d5e6f7a8b", "key-of-another-9c0d1e2f3a"
HASH_KEY = "hash-key-of-5f6a7b8c"
TABLE = SAMPLE | {"CI360_TWILIO_LEDGER": "dynamodb:ledger", "CI360_TWILIO_HASH_KEY": HASH_KEY}
ROUNDS = 8
"""How often two instances are handed an event at one time."""
PAGE = Path(__file__).parents[2] / "docs" / "creative.md"
LOGO, PICTURE = "https://www.example.com/images/logo.jpg", "https://cdn.example.com/w_3,h_2/a.png"


class Site:
    """The unpacked zip, and around it AWS and Twilio, as far as an installation knows them."""

    def __init__(self, folder: Path, moto: Moto, twins: Twins) -> None:
        self.folder, self.moto, self.twins = folder, moto, twins
        self.exposed = Exposed()
        self.exposed.add(TOKEN, ACCOUNT, SENDER, API_KEY, OTHER_KEY, HASH_KEY)
        self._code = unpacked(folder)
        self._numbers = (f"+1201555{number:04}" for number in itertools.count(200))

    def secret(self, tenant: str, region: str = SAMPLE_REGION, **more: Any) -> None:
        """Write a tenant's secret as SAS's page has it, perhaps with more in it."""
        account = f"{self.twins.twilio.url}/2010-04-01/Accounts/{ACCOUNT}"
        document = {
            "twilio_api_url": f"{account}/Messages.json",
            "twilio_account_sid": ACCOUNT,
            "twilio_auth_token": TOKEN,
            **more,
        }
        vault = self.moto.client("secretsmanager", region)
        vault.create_secret(Name=f"{PREFIX}{tenant}", SecretString=json.dumps(document))

    def instance(
        self,
        name: str,
        settings: Mapping[str, str] = SAMPLE,
        *,
        region: str = SAMPLE_REGION,
        seconds: float = SECONDS,
    ) -> Emulated:
        """Start an instance of the function; its calls of AWS are recorded under its name."""
        around = {
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "CI360_TWILIO_TWILIO_HOSTS": self.twins.twilio.authority,
        }
        return Emulated(
            HANDLER,
            {**self.moto.environment(name), **around, **settings},
            self.folder / f"{name}.log",
            seconds=seconds,
            code=self._code,
        )

    def number(self) -> str:
        """Give a fictional number that no other test uses."""
        number = next(self._numbers)
        self.exposed.add(number)
        return number

    def event(self, creative: str, tenant: str = TENANT, **members: Any) -> str:
        """Make an event's body, a second old, with a new guid."""
        self.exposed.add(*creative.split(";"))
        then = datetime.now(UTC) - timedelta(seconds=1)
        usual: dict[str, Any] = {
            "guid": str(uuid.uuid4()),
            "tenant_id": tenant,
            "generated_at": then,
        }
        return json.dumps(outbound_event(**(usual | members), creative=creative))

    def made_for(self, recipient: str) -> list[Any]:
        """List the messages that the twin made for a recipient."""
        return [one for one in self.twins.messages.messages if one.to == recipient]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Give the site, with two tenants: one whose secret is just SAS's, and one with a key in it."""
    with Moto() as moto, Twins() as twins:
        made = Site(tmp_path_factory.mktemp("drop-in"), moto, twins)
        made.secret(TENANT)
        made.secret(GUARDED, api_keys=[API_KEY])
        yield made


@pytest.fixture(scope="module")
def sample(site: Site) -> Iterator[Emulated]:
    """Give an instance of the installation as it was, but for the zip."""
    with site.instance("sample") as made:
        yield made


# What a gateway hands over

Shape = Callable[..., dict[str, Any]]
AGENT = {"Content-Type": "text/plain;charset=UTF-8", "User-Agent": "CI360", "Accept": "*/*"}
FORWARDED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Port": "443",
    "X-Forwarded-Proto": "https",
}


def rest_api(
    body: str | None, checked: str | None = "a1b2c3d4e5", **headers: str
) -> dict[str, Any]:
    """Make what a REST API hands over; ``checked`` is the id of the API key that it checked."""
    given = AGENT | FORWARDED | _named(headers)
    return rest_event(body, given, path="/twilio", checked=checked)


def rest_api_without_keys(body: str, **headers: str) -> dict[str, Any]:
    """Make what a REST API hands over whose method asks for no key."""
    return rest_api(body, None, **headers)


def http_api(body: str, **headers: str) -> dict[str, Any]:
    """Make what an HTTP API hands over in its own format, 2.0."""
    given = {name.lower(): value for name, value in (AGENT | FORWARDED | _named(headers)).items()}
    return {
        "version": "2.0",
        "routeKey": "POST /twilio",
        "rawPath": "/twilio",
        "rawQueryString": "",
        "headers": given,
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "a1b2c3",
            "domainName": "a1b2c3.execute-api.us-east-1.amazonaws.com",
            "http": {
                "method": "POST",
                "path": "/twilio",
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.9",
                "userAgent": "CI360",
            },
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": "POST /twilio",
            "stage": "$default",
        },
        "body": body,
        "isBase64Encoded": False,
    }


def http_api_in_format_1(body: str, **headers: str) -> dict[str, Any]:
    """Make what an HTTP API hands over in the format of REST APIs: it knows no API keys."""
    event = rest_api(body, None, **headers)
    del event["requestContext"]["identity"]["apiKey"]
    del event["requestContext"]["identity"]["apiKeyId"]
    return event | {"version": "1.0"}


def function_url(body: str, **headers: str) -> dict[str, Any]:
    """Make what a function URL hands over that lets everybody in, with the body encoded."""
    event = http_api(base64.b64encode(body.encode()).decode(), **headers)
    about = {
        "accountId": "anonymous",
        "domainName": "a1b2c3.lambda-url.us-east-1.on.aws",
        "routeKey": "$default",
    }
    context = event["requestContext"] | about
    return event | {"routeKey": "$default", "requestContext": context, "isBase64Encoded": True}


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


UNCHECKED = (rest_api_without_keys, http_api, http_api_in_format_1, function_url)
"""What vouches for nobody."""


def ask(instance: Emulated, event: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Invoke the function; gives status and body, having looked at the shape of the answer."""
    answer = instance.invoke(event)
    assert set(answer) == {"statusCode", "headers", "body", "isBase64Encoded"}
    assert answer["isBase64Encoded"] is False
    assert answer["headers"]["Content-Type"] == "application/json"
    return answer["statusCode"], json.loads(answer["body"])


# Creatives


class Wanted(NamedTuple):
    """What Twilio is to be asked for; ``{to}`` stands for the recipient's number."""

    body: str
    to: str = "{to}"
    sender: str = SENDER
    media: tuple[str, ...] = ()


HELLO = "Anna, thank you for registering; see you there!"
FROM = "+12015550188"
CREATIVES = {
    "several lines": (
        f"TO:{{to}};\nFROM:{FROM};\nMEDIA_URLS:{LOGO};\n{HELLO}",
        Wanted(HELLO, sender=FROM, media=(LOGO,)),
    ),
    "lines of windows": (
        f"TO:{{to}};\r\nFROM:{FROM};\r\nMEDIA_URLS:{LOGO};\r\n{HELLO}\r\nBye",
        Wanted(f"{HELLO}\nBye", sender=FROM, media=(LOGO,)),
    ),
    "one line": (
        f"TO:{{to}};FROM:{FROM};MEDIA_URLS:{LOGO};{HELLO}",
        Wanted(HELLO, sender=FROM, media=(LOGO,)),
    ),
    "as the page prints it": (
        f"TO:{{to}};\nFROM:{FROM};\nMEDIAL_URLS:{LOGO};\nAnna, thank you for registering!",
        Wanted("Anna, thank you for registering!", sender=FROM, media=(LOGO,)),
    ),
    "only a recipient": ("TO:{to};\nHello Anna", Wanted("Hello Anna")),
    "several media": (
        f"TO:{{to}};FROM:{FROM};MEDIA_URLS:{LOGO},{PICTURE}\n {LOGO}?2 {PICTURE}?2;\nHello Anna",
        Wanted("Hello Anna", sender=FROM, media=(LOGO, PICTURE, f"{LOGO}?2", f"{PICTURE}?2")),
    ),
    "media and no text": (f"TO:{{to}};MEDIA_URL:{LOGO};", Wanted("", media=(LOGO,))),
    "a text of several lines": (
        "TO:{to};\nHi Anna; reply STOP; bye\n\nFROM: all of us;\n  at the lake; ",
        Wanted("Hi Anna; reply STOP; bye\n\nFROM: all of us;\n  at the lake;"),
    ),
    "entities": (
        "TO:{to};\nTom &amp; Jerry&#39;s &lt;3 costs &euro;5; &amp;amp; AT&T; too",
        Wanted("Tom & Jerry's <3 costs €5; &amp; AT&T; too"),
    ),
    "many scripts": (
        "TO:{to};\nGrüße, Αννα! こんにちは 😀 “so long”",
        Wanted("Grüße, Αννα! こんにちは 😀 “so long”"),
    ),
    "a channel": (
        f"TO:whatsapp:{{to}};\nFROM:whatsapp:{FROM};\nHello Anna",
        Wanted("Hello Anna", to="whatsapp:{to}", sender=f"whatsapp:{FROM}"),
    ),
    "names in other cases": (
        f"to:{{to}};\nFrom : {FROM} ;\nMedial_Urls: {LOGO};\nHello Anna",
        Wanted("Hello Anna", sender=FROM, media=(LOGO,)),
    ),
    "a sender's name": (
        "TO:{to};FROM:Acme Lakes;Hello Anna",
        Wanted("Hello Anna", sender="Acme Lakes"),
    ),
}


@pytest.mark.parametrize(("creative", "wanted"), CREATIVES.values(), ids=CREATIVES)
def test_every_documented_creative_arrives_as_it_is_meant(
    site: Site, sample: Emulated, creative: str, wanted: Wanted
) -> None:
    """Through a REST API that has checked a key, as SAS's page sets it up."""
    number = site.number()
    to = wanted.to.replace("{to}", number)
    body = site.event(creative.replace("{to}", number))
    status, told = ask(sample, rest_api(body, x_api_key=OTHER_KEY))
    [made] = site.made_for(to)
    assert (status, told) == (
        200,
        {"status": "sent", "guid": json.loads(body)["guid"], "sid": made.sid},
    )
    assert (made.sender, made.body, made.media) == (wanted.sender, wanted.body, wanted.media)


def test_the_creative_that_our_page_shows_arrives_so(site: Site, sample: Emulated) -> None:
    """The first of ``docs/creative.md``, with its merge tags filled in as CI360 does."""
    shown = re.search(r"```\n(TO:.*?)\n```", PAGE.read_text(), re.DOTALL)
    assert shown is not None
    number = site.number()
    creative = shown[1].replace("{{phone}}", number).replace("{{firstname}}", "Anna")
    assert ask(sample, rest_api(site.event(creative)))[0] == 200
    [made] = site.made_for(number)
    assert (made.sender, made.body, made.media) == ("+19085551212", HELLO, (LOGO,))


def test_the_tasks_attributes_stand_in_for_directives(site: Site, sample: Emulated) -> None:
    """A custom task may name recipient, sender and media itself; the creative is all text then."""
    number = site.number()
    attributes = {"To": number, "FROM": FROM, "media_urls": f"{LOGO} {PICTURE}"}
    assert ask(sample, rest_api(site.event(HELLO, attributes=attributes)))[0] == 200
    [made] = site.made_for(number)
    assert (made.sender, made.body, made.media) == (FROM, HELLO, (LOGO, PICTURE))


@pytest.mark.parametrize("body", [None, "", "{}"], ids=["none", "empty", "an empty object"])
def test_the_endpoints_test_is_answered(sample: Emulated, body: str | None) -> None:
    """By each way in which it may come."""
    assert ask(sample, rest_api(body)) == (200, {"status": "ignored", "reason": "test"})


def test_aws_is_asked_for_the_tenants_secrets_and_nothing_else(
    site: Site, sample: Emulated
) -> None:
    """The sample's role is enough; each secret is read once while it is fresh."""
    for _ in range(3):
        assert ask(sample, rest_api(site.event(f"TO:{site.number()};Hello Anna")))[0] == 200
    calls = [one for one in site.moto.calls if one.by == "sample"]
    assert {(one.service, one.operation) for one in calls} == {("secretsmanager", "GetSecretValue")}
    assert [one.given for one in calls].count({"SecretId": f"{PREFIX}{TENANT}"}) == 1


# Who is let in


@pytest.mark.parametrize("shape", UNCHECKED)
def test_where_no_gateway_checks_a_key_the_samples_secret_serves_nobody(
    site: Site, sample: Emulated, shape: Shape
) -> None:
    """401 without a key, 403 with whichever; nothing is sent."""
    number = site.number()
    body = site.event(f"TO:{number};Hello Anna")
    assert ask(sample, shape(body))[0] == 401
    assert ask(sample, shape(body, x_api_key=OTHER_KEY))[0] == 403
    assert site.made_for(number) == []


@pytest.mark.parametrize("shape", UNCHECKED)
def test_where_no_gateway_checks_a_key_one_in_the_secret_opens(
    site: Site, sample: Emulated, shape: Shape
) -> None:
    """That tenant's own, in the header; nobody else's."""
    number = site.number()
    body = site.event(f"TO:{number};Hello Anna", GUARDED)
    assert ask(sample, shape(body))[0] == 401
    assert ask(sample, shape(body, x_api_key=OTHER_KEY))[0] == 403
    assert site.made_for(number) == []
    status, told = ask(sample, shape(body, X_API_Key=API_KEY))
    assert (status, told["status"], len(site.made_for(number))) == (200, "sent", 1)


def test_a_setting_says_that_something_in_front_lets_in(site: Site) -> None:
    """Then every event is served as behind a checked key; a tenant's own key is still asked for."""
    settings = SAMPLE | {"CI360_TWILIO_AUTHENTICATED_UPSTREAM": "true"}
    with site.instance("upstream", settings) as instance:
        for shape in UNCHECKED:
            number = site.number()
            assert ask(instance, shape(site.event(f"TO:{number};Hello Anna")))[0] == 200
            assert len(site.made_for(number)) == 1
            body = site.event(f"TO:{number};Hello Anna", GUARDED)
            assert ask(instance, shape(body))[0] == 401
            assert ask(instance, shape(body, x_api_key=OTHER_KEY))[0] == 403
            assert len(site.made_for(number)) == 1


# Where secrets are


def test_a_secret_is_found_where_the_sample_keeps_it(site: Site) -> None:
    """The function runs in another region: its own is asked first, and what is there wins."""
    at_home, both, nowhere = "at-home", "in-both", "nowhere"
    site.secret(both)
    site.secret(both, REGION, default_sender=FROM)
    site.secret(at_home, REGION, default_sender=FROM)
    senders = {TENANT: SENDER, both: FROM, at_home: FROM}
    with site.instance("abroad", region=REGION) as instance:
        for tenant, sender in senders.items():
            number = site.number()
            assert ask(instance, rest_api(site.event(f"TO:{number};Hello Anna", tenant)))[0] == 200
            assert [one.sender for one in site.made_for(number)] == [sender]
        number = site.number()
        body = site.event(f"TO:{number};Hello Anna", nowhere)
        assert [ask(instance, rest_api(body))[0] for _ in range(2)] == [403, 403]
        assert site.made_for(number) == []
    asked = [one.given["SecretId"] for one in site.moto.calls if one.by == "abroad"]
    reads = {TENANT: 2, both: 1, at_home: 1, nowhere: 2}
    assert {one: asked.count(f"{PREFIX}{one}") for one in reads} == reads


# Once


def test_without_a_table_an_instance_knows_what_it_sent_itself(
    site: Site, sample: Emulated
) -> None:
    """As ``docs/migrate.md`` says; the log says so, too, once at the start."""
    number = site.number()
    event = rest_api(site.event(f"TO:{number};Hello Anna"))
    with site.instance("another") as another:
        told = [ask(instance, event)[1] for instance in (sample, sample, another, another)]
    assert [one.get("duplicate", False) for one in told] == [False, True, False, True]
    assert len(site.made_for(number)) == 2
    assert another.log.read_text().count('"direct.no_ledger"') == 1


@pytest.fixture(scope="module")
def pair(site: Site) -> Iterator[tuple[Emulated, Emulated]]:
    """Give two instances of one installation that has a table."""
    site.moto.client("dynamodb", SAMPLE_REGION).create_table(**definition("ledger"))
    with site.instance("one", TABLE) as one, site.instance("two", TABLE) as two:
        yield one, two


def at_once(
    pair: tuple[Emulated, Emulated], event: dict[str, Any]
) -> list[tuple[int, dict[str, Any]]]:
    """Have both instances handed an event at one time; gives what each answers."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(ask, pair, [event, event]))


def test_with_a_table_two_instances_send_an_event_once(
    site: Site, pair: tuple[Emulated, Emulated]
) -> None:
    """Both get it at one time and again; so does one that starts later."""
    for _ in range(ROUNDS):
        number = site.number()
        event = rest_api(site.event(f"TO:{number};Hello Anna"))
        first = at_once(pair, event)
        [made] = site.made_for(number)
        assert sorted(told.get("duplicate", False) for _, told in first) == [False, True]
        assert (200, made.sid) in [(status, told.get("sid")) for status, told in first]
        for status, told in [ask(instance, event) for instance in pair]:
            assert (status, told["status"], told["sid"]) == (200, "sent", made.sid)
    with site.instance("late", TABLE) as late:
        status, told = ask(late, event)
    assert (status, told["sid"], told["duplicate"]) == (200, made.sid, True)
    assert (site.twins.faults.attempts[number], len(site.made_for(number))) == (1, 1)
    for one in (*pair, late):
        assert '"direct.no_ledger"' not in one.log.read_text()


def test_who_comes_second_is_told_that_another_is_at_it(
    site: Site, pair: tuple[Emulated, Emulated]
) -> None:
    """202, or that it is sent by now; that nothing was made would have CI360 believe it failed."""
    for _ in range(ROUNDS):
        answers = at_once(pair, rest_api(site.event(f"TO:{site.number()};Hello Anna")))
        assert sorted(status for status, _ in answers) in ([200, 200], [200, 202])


def test_what_a_table_is_asked_for_are_rows_alone(
    site: Site, pair: tuple[Emulated, Emulated]
) -> None:
    """What the function's role must be allowed besides: to read and write them, and no list."""
    assert ask(pair[0], rest_api(site.event(f"TO:{site.number()};Hello Anna")))[0] == 200
    calls = {(one.service, one.operation) for one in site.moto.calls if one.by in ("one", "two")}
    assert calls == {
        ("secretsmanager", "GetSecretValue"),
        ("dynamodb", "BatchGetItem"),
        ("dynamodb", "PutItem"),
    }


def test_what_takes_too_long_is_unknown_before_the_function_is_ended(
    site: Site, pair: tuple[Emulated, Emulated]
) -> None:
    """That is written down in time: no repeat sends, whichever instance gets it."""
    seconds, number = 4.0, site.number()
    site.twins.faults.for_recipient(number, [Fault.SLOW.numbered(20)])
    event = rest_api(site.event(f"TO:{number};Hello Anna"))
    with site.instance("short", TABLE, seconds=seconds) as short:
        assert ask(short, rest_api("{}"))[0] == 200
        answers = [ask(instance, event) for instance in (short, short, *pair)]
        took = [one.ms / 1000 for one in short.billed()]
    ends = [(status, told["status"], told["reason"]) for status, told in answers]
    assert ends == [(502, "unknown", "read_timeout")] * 4
    assert [told.get("duplicate", False) for _, told in answers] == [False, True, True, True]
    assert took[2] < seconds / 2 < took[1] < seconds
    assert (site.twins.faults.attempts[number], len(site.made_for(number))) == (1, 1)


# What it writes


@pytest.mark.usefixtures("pair")
def test_what_it_logs_is_nothing_personal(site: Site) -> None:
    """At DEBUG, however an event ends; nor has any other instance here written anything."""
    number, text = site.number(), "A text that nobody but its reader sees"
    creative = f"TO:{number};FROM:{FROM};MEDIA_URLS:{LOGO};{text}"
    site.exposed.add(FROM, LOGO, text)
    ends = {"": 200, "http_400:21614": 422, Fault.RESET: 502, Fault.HTTP_401: 502}
    with site.instance("debug", TABLE | {"CI360_TWILIO_LOG_LEVEL": "debug"}) as instance:
        for fault, status in ends.items():
            site.twins.faults.for_recipient(number, [fault] if fault else [])
            assert ask(instance, rest_api(site.event(creative)))[0] == status
        for shape, tenant, body, status in (
            (rest_api, TENANT, f"{creative} {{{{name}}}}", 422),
            (http_api, TENANT, creative, 403),
            (rest_api, "nobody", creative, 403),
            (function_url, GUARDED, creative, 403),
        ):
            asked = shape(site.event(body, tenant), x_api_key=OTHER_KEY)
            assert ask(instance, asked)[0] == status
        assert ask(instance, rest_api(f"{site.event(creative)}}}"))[0] == 400
        told = instance.log.read_text()
    lines = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    assert {"event.accepted", "event.rejected", "message.sent"} <= {one["event"] for one in lines}
    for log in site.folder.glob("*.log"):
        assert site.exposed.found_in(log.read_text()) == [], log.name
