"""A running connector on a ledger in DynamoDB, which moto's server stands in for."""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from typing import TYPE_CHECKING, Any

import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from ci360_twilio.core.entry import Status
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.aws import Direct
from ci360_twilio.flow.addresses import inbound_address
from ci360_twilio.logs import Log
from ci360_twilio.settings import read_settings
from ci360_twilio.stores.dynamodb import DynamoStore
from ci360_twilio.stores.dynamodb_table import Table, definition, make_client
from ci360_twilio.twin.life import Life
from ci360_twilio.wiring import wire

if TYPE_CHECKING:
    from tests.acceptance.conftest import Running

ACCOUNT, GUARDED = f"AC{'7c' * 16}", "guarded-tenant"
API_KEY = "key-for-acceptance-3f9a7c1e5b2d"


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    """Run moto's server, and have processes that are started find it where AWS is.

    It answers one request at a time: that is how it checks and writes in one step.
    """
    server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", url)
        patch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        patch.setenv("AWS_ACCESS_KEY_ID", "none")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "none")
        yield url
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def on_a_table(
    aws: str, run_connector: Callable[..., AbstractContextManager[Running]]
) -> Iterator[Running]:
    """Run a connector whose loop is closed on a ledger in a table."""
    assert aws
    with closing(make_client()) as client:
        client.create_table(**definition("ledger"))
    life = Life(until_sent=0.1, until_final=0.2)
    with run_connector(life=life, public_url="own", ledger="dynamodb:ledger") as made:
        made.tenant(GUARDED, api_keys=[API_KEY], **made.ci360.members)
        made.twin.set_inbound(ACCOUNT, inbound_url=inbound_address(made.url, TenantId(GUARDED)))
        key = made.environ["CI360_TWILIO_HASH_KEY"].encode()
        made.store = lambda: closing(opened(key))  # type: ignore[method-assign, arg-type]
        yield made


def opened(hash_key: bytes) -> DynamoStore:
    """Open the ledger to look into it."""
    return DynamoStore(Table(make_client(), "ledger"), hash_key=hash_key)


def test_the_loop_runs_on_a_table(on_a_table: Running) -> None:
    """Event in, message out, receipt in, CI360 told; a STOP holds, and a repeated event sends nothing."""
    number = on_a_table.number()
    event = on_a_table.event(f"TO:{number};See you at nine", tenant_id=GUARDED)
    assert on_a_table.post(event, x_api_key=API_KEY)[0] == 202
    on_a_table.reached(event["guid"], lambda one: one.status is Status.DELIVERED, GUARDED)
    status, again = on_a_table.post(event, x_api_key=API_KEY)
    assert (status, again["duplicate"]) == (200, True)
    on_a_table.until(lambda: on_a_table.ci360.told("delivered", twilio_guid=event["guid"]))
    on_a_table.heard(on_a_table.write(number, "STOP"))
    later = on_a_table.event(f"TO:{number};And one more", tenant_id=GUARDED)
    assert on_a_table.post(later, x_api_key=API_KEY)[1]["reason"] == "opted_out"
    on_a_table.until(lambda: on_a_table.ci360.told("suppressed", twilio_guid=later["guid"]))
    assert len(on_a_table.made_for(number)) == 1


def test_commands_look_into_a_table(on_a_table: Running) -> None:
    """As they look into a file."""
    number = on_a_table.number()
    event = on_a_table.event(f"TO:{number};Traced", tenant_id=GUARDED)
    on_a_table.post(event, x_api_key=API_KEY)
    on_a_table.reached(event["guid"], lambda one: one.status is Status.DELIVERED, GUARDED)
    assert on_a_table.trace(event["guid"])["status"] == "delivered"
    paused = on_a_table.command("pause", "tenant", GUARDED)
    assert paused.returncode == 0, paused.stderr
    resumed = on_a_table.command("resume", "tenant", GUARDED, "--yes")
    assert resumed.returncode == 0, resumed.stderr


def test_instances_of_the_direct_function_share_a_table(
    on_a_table: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adding the table's name is all that it takes: an event sends once, whichever instance gets it."""
    for name, value in on_a_table.environ.items():
        if name.startswith("CI360_TWILIO_"):
            monkeypatch.setenv(name, value)
    monkeypatch.delenv("CI360_TWILIO_PUBLIC_URL")
    number = on_a_table.number()
    event = on_a_table.event(f"TO:{number};Once", tenant_id=GUARDED)
    request = {
        "httpMethod": "POST",
        "path": "/",
        "headers": {"x-api-key": API_KEY},
        "body": json.dumps(event),
        "isBase64Encoded": False,
        "requestContext": {"identity": {"apiKeyId": "key"}},
    }
    assert os.environ["CI360_TWILIO_LEDGER"] == "dynamodb:ledger"
    answers = [answer_of_fresh_instance(request) for _ in range(3)]
    bodies = [json.loads(answer["body"]) for answer in answers]
    assert [body.get("duplicate", False) for body in bodies] == [False, True, True]
    assert len(on_a_table.made_for(number)) == 1


def answer_of_fresh_instance(request: object) -> dict[str, Any]:
    """Have an instance answer that is started just now, and that ends."""
    with closing(wire(read_settings(ledger="memory:"), Log(io.StringIO()), trips=False)) as parts:
        return Direct(parts).handle(request, None)
