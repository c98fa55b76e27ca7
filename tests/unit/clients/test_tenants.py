"""Tenants' documents: where they come from, and how long they are believed."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ci360_twilio.clients.tenants import (
    MAX_CACHED,
    OUTAGE_SECONDS,
    REREAD_SECONDS,
    UNKNOWN_SECONDS,
    CachedTenants,
    Folder,
    Secrets,
)
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.errors import (
    BadTenantId,
    BeforeSending,
    TenantBroken,
    TenantUnavailable,
    TenantUnknown,
)

ACCOUNT = "AC" + "c3" * 16
ID = TenantId("tenant-1")
FIRST = "first"
HOSTILE = [
    "../tenant-1",
    "a/b",
    "..",
    ".",
    "",
    "tenant-1\n",
    "tenant-1.json",
    "tenant-1\0",
    "C:\\x",
    "t\u0435nant",
    "a" * 65,
    "%2e%2e%2f",
]


def document(token: str = FIRST, **changes: Any) -> str:
    """Write a document; the token tells two of them apart."""
    members = {
        "twilio_api_url": "https://api.twilio.com",
        "twilio_account_sid": ACCOUNT,
        "twilio_auth_token": token,
    }
    return json.dumps(members | changes)


class Seconds:
    """A clock of seconds that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Give the moment it is set to."""
        return self.now


class Shelf:
    """Documents in a dictionary; records every read, and can be away."""

    def __init__(self, **documents: str) -> None:
        self.documents = documents
        self.reads: list[str] = []
        self.away = False

    def read(self, tenant_id: TenantId) -> str:
        """Give a document, as the port says."""
        self.reads.append(tenant_id)
        if self.away:
            raise TenantUnavailable("The shelf is away.")
        if tenant_id not in self.documents:
            raise TenantUnknown("There is no such tenant.")
        return self.documents[tenant_id]


@pytest.fixture
def seconds() -> Seconds:
    """The time that the cache is told."""
    return Seconds()


@pytest.fixture
def shelf() -> Shelf:
    """A shelf with one tenant's document."""
    return Shelf(**{ID: document()})


@pytest.fixture
def tenants(shelf: Shelf, seconds: Seconds) -> CachedTenants:
    """A cache of five minutes before the shelf."""
    return CachedTenants(shelf, seconds=300, clock=seconds)


# The cache


def test_a_document_is_read_once_and_used_for_its_time(
    tenants: CachedTenants, shelf: Shelf, seconds: Seconds
) -> None:
    """After that it is read again, and changes take effect."""
    assert tenants.get(ID).password == "first"
    shelf.documents[ID] = document("second")
    seconds.now += 300
    assert tenants.get(ID).password == "first"
    seconds.now += 1
    assert tenants.get(ID).password == "second"
    assert len(shelf.reads) == 2


def test_an_unknown_tenant_is_remembered_for_a_while(
    tenants: CachedTenants, shelf: Shelf, seconds: Seconds
) -> None:
    """Whoever tries ids costs no reads; a document that comes is found soon."""
    stranger = TenantId("stranger")
    for _ in range(5):
        with pytest.raises(TenantUnknown):
            tenants.get(stranger)
    assert shelf.reads == [stranger]
    shelf.documents[stranger] = document()
    seconds.now += UNKNOWN_SECONDS + 1
    assert tenants.get(stranger).id == stranger


def test_a_broken_document_is_remembered_for_a_while(
    tenants: CachedTenants, shelf: Shelf, seconds: Seconds
) -> None:
    """Each caller hears the same words; a corrected one is found soon."""
    shelf.documents[ID] = '{"twilio_auth_token": 7}'
    issues = []
    for _ in range(3):
        with pytest.raises(TenantBroken) as caught:
            tenants.get(ID)
        issues.append([(issue.field, str(issue)) for issue in caught.value.issues])
    assert issues[0]
    assert issues == [issues[0]] * 3
    assert len(shelf.reads) == 1
    shelf.documents[ID] = document()
    seconds.now += UNKNOWN_SECONDS + 1
    assert tenants.get(ID).account == ACCOUNT


def test_bad_news_is_never_kept_longer_than_good(shelf: Shelf, seconds: Seconds) -> None:
    """A cache that is set short, is short for both."""
    tenants = CachedTenants(shelf, seconds=1, clock=seconds)
    with pytest.raises(TenantUnknown):
        tenants.get(TenantId("stranger"))
    seconds.now += 2
    with pytest.raises(TenantUnknown):
        tenants.get(TenantId("stranger"))
    assert len(shelf.reads) == 2


def test_while_the_store_is_down_a_good_document_stays_in_use(
    tenants: CachedTenants, shelf: Shelf, seconds: Seconds
) -> None:
    """And once it is back, the new one is found within the cache's time."""
    tenants.get(ID)
    shelf.documents[ID] = document("second")
    shelf.away = True
    seconds.now += 301
    assert tenants.get(ID).password == "first"
    shelf.away = False
    seconds.now += 301
    assert tenants.get(ID).password == "second"


def test_while_the_store_is_down_an_old_unknown_is_no_answer(
    tenants: CachedTenants, shelf: Shelf, seconds: Seconds
) -> None:
    """A new tenant must not be turned away for good because the store is away."""
    with pytest.raises(TenantUnknown):
        tenants.get(TenantId("stranger"))
    shelf.away = True
    seconds.now += UNKNOWN_SECONDS + 1
    with pytest.raises(TenantUnavailable):
        tenants.get(TenantId("stranger"))


def test_a_store_that_is_down_is_asked_again_after_seconds(
    tenants: CachedTenants, shelf: Shelf, seconds: Seconds
) -> None:
    """Not by each caller, since an answer may take long and others wait behind it."""
    shelf.away = True
    for _ in range(5):
        with pytest.raises(TenantUnavailable):
            tenants.get(ID)
    assert len(shelf.reads) == 1
    shelf.away = False
    seconds.now += OUTAGE_SECONDS + 0.1
    assert tenants.get(ID).account == ACCOUNT


def test_a_document_that_was_taken_away_is_gone_after_its_time(
    tenants: CachedTenants, shelf: Shelf, seconds: Seconds
) -> None:
    """That is how a tenant is shut out."""
    tenants.get(ID)
    del shelf.documents[ID]
    seconds.now += 301
    with pytest.raises(TenantUnknown):
        tenants.get(ID)


def test_a_rereading_sees_the_document_as_it_is_now(tenants: CachedTenants, shelf: Shelf) -> None:
    """Twilio refused the token; the rotated one is there at once, for all."""
    tenants.get(ID)
    shelf.documents[ID] = document("second")
    assert tenants.reread(ID).password == "second"
    assert tenants.get(ID).password == "second"


def test_rereading_is_limited_in_rate(
    tenants: CachedTenants, shelf: Shelf, seconds: Seconds
) -> None:
    """A hundred messages that fail at once cost one read."""
    tenants.get(ID)
    for _ in range(100):
        tenants.reread(ID)
    assert len(shelf.reads) == 2
    seconds.now += REREAD_SECONDS
    shelf.documents[ID] = document("second")
    assert tenants.reread(ID).password == "second"
    assert len(shelf.reads) == 3


def test_the_rate_is_limited_for_each_tenant_apart(tenants: CachedTenants, shelf: Shelf) -> None:
    """One tenant's trouble does not keep another from its rotated token."""
    other = TenantId("other")
    shelf.documents[other] = document("first")
    tenants.reread(ID)
    tenants.get(other)
    shelf.documents[other] = document("second")
    assert tenants.reread(other).password == "second"


def test_rereading_while_the_store_is_down_gives_what_is_cached(
    tenants: CachedTenants, shelf: Shelf
) -> None:
    """It is no worse than before."""
    tenants.get(ID)
    shelf.away = True
    assert tenants.reread(ID).password == "first"


def test_rereading_what_was_never_read_raises_as_reading_does(
    tenants: CachedTenants, shelf: Shelf
) -> None:
    """Unknown, and away."""
    with pytest.raises(TenantUnknown):
        tenants.reread(TenantId("stranger"))
    shelf.away = True
    with pytest.raises(TenantUnavailable):
        tenants.reread(ID)


def test_a_rereading_that_finds_nothing_shuts_the_tenant_out(
    tenants: CachedTenants, shelf: Shelf
) -> None:
    """The document was taken away."""
    tenants.get(ID)
    del shelf.documents[ID]
    with pytest.raises(TenantUnknown):
        tenants.reread(ID)


def test_the_cache_is_bounded(tenants: CachedTenants, shelf: Shelf) -> None:
    """The ids asked for longest ago are forgotten; no caller can fill the memory."""
    tenants.get(ID)
    for number in range(MAX_CACHED):
        with pytest.raises(TenantUnknown):
            tenants.get(TenantId(f"t{number}"))
    reads = len(shelf.reads)
    tenants.get(ID)
    with pytest.raises(TenantUnknown):
        tenants.get(TenantId(f"t{MAX_CACHED - 1}"))
    assert len(shelf.reads) == reads + 1


def test_many_threads_get_the_same_tenant(tenants: CachedTenants) -> None:
    """A cold cache under load answers everybody."""
    barrier = threading.Barrier(50)

    def get(_: int) -> str:
        barrier.wait(10)
        return tenants.get(ID).account

    with ThreadPoolExecutor(50) as pool:
        assert set(pool.map(get, range(50))) == {ACCOUNT}


def test_the_allowed_hosts_are_those_of_the_settings(shelf: Shelf, seconds: Seconds) -> None:
    """A document cannot name any host it likes."""
    shelf.documents[ID] = document(twilio_api_url="http://127.0.0.1:8365")
    with pytest.raises(TenantBroken):
        CachedTenants(shelf, clock=seconds).get(ID)
    allowed = CachedTenants(shelf, hosts=("127.0.0.1:8365",), clock=seconds)
    assert allowed.get(ID).messages_url.startswith("http://127.0.0.1:8365/")


# A folder


def test_a_file_of_the_folder_is_a_document(tmp_path: Path) -> None:
    """``<tenant id>.json``."""
    (tmp_path / f"{ID}.json").write_text(document())
    tenants = CachedTenants(Folder(tmp_path), clock=lambda: 0.0)
    assert tenants.get(ID).account == ACCOUNT


def test_a_missing_file_is_an_unknown_tenant_and_a_missing_folder_an_outage(
    tmp_path: Path,
) -> None:
    """A mount that went away must not shut every tenant out."""
    (tmp_path / "tenants").mkdir()
    folder = Folder(tmp_path / "tenants")
    with pytest.raises(TenantUnknown):
        folder.read(ID)
    (tmp_path / "tenants").rmdir()
    with pytest.raises(TenantUnavailable):
        folder.read(ID)


def test_what_cannot_be_read_is_unavailable(tmp_path: Path) -> None:
    """A folder where the file should be; the words name no path."""
    (tmp_path / f"{ID}.json").mkdir()
    with pytest.raises(TenantUnavailable) as caught:
        Folder(tmp_path).read(ID)
    assert str(tmp_path) not in caught.value.message


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_id_touches_no_file(tmp_path: Path, hostile: str) -> None:
    """The id is checked once more where it becomes a path."""
    (tmp_path / "tenants").mkdir()
    (tmp_path / f"{ID}.json").write_text(document())
    with pytest.raises(BadTenantId):
        Folder(tmp_path / "tenants").read(TenantId(hostile))


def test_the_folders_tenants_are_listed_in_order(tmp_path: Path) -> None:
    """Other files are not tenants."""
    for name in ("b.json", "a.json", "readme.txt", "c.json.bak"):
        (tmp_path / name).write_text("{}")
    assert Folder(tmp_path).ids() == ["a", "b"]


@pytest.mark.parametrize(
    "content",
    [b"", b"null", b"[]", b'{"a":', b"\xff\xfe{}", b"[" * 100_000, b"{}", b'{"twilio_api_url":7}'],
    ids=["empty", "null", "array", "cut", "utf-16", "deep", "nothing in it", "wrong type"],
)
def test_a_broken_file_is_told_by_its_fields(tmp_path: Path, content: bytes) -> None:
    """Whatever stands in it, it is a broken document and no other error."""
    (tmp_path / f"{ID}.json").write_bytes(content)
    with pytest.raises(TenantBroken) as caught:
        CachedTenants(Folder(tmp_path), clock=lambda: 0.0).get(ID)
    assert caught.value.issues


def test_a_broken_document_is_told_without_its_values(tmp_path: Path) -> None:
    """Its secrets reach neither answer nor log."""
    broken = document(
        "s3cr3t-token", twilio_api_url="https://s3cr3t.example.com", api_keys="s3cr3t"
    )
    (tmp_path / f"{ID}.json").write_text(broken)
    with pytest.raises(TenantBroken) as caught:
        CachedTenants(Folder(tmp_path), clock=lambda: 0.0).get(ID)
    assert "s3cr3t" not in caught.value.message + "".join(map(str, caught.value.issues))


# AWS Secrets Manager


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment of a function in Ireland, with credentials that open nothing."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIAFICTIONAL",
        "AWS_SECRET_ACCESS_KEY": "fictional",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)


Keep = Callable[..., None]


@pytest.fixture
def keep(aws: None) -> Iterator[Keep]:
    """Give a function that puts a secret into a region of moto's Secrets Manager."""
    import boto3
    import moto

    def put(name: str, region: str = "eu-west-1", **content: Any) -> None:
        client = boto3.client("secretsmanager", region_name=region)
        client.create_secret(Name=name, **(content or {"SecretString": document(region)}))

    with moto.mock_aws():
        yield put


def test_a_secret_is_named_by_prefix_and_tenant(keep: Keep) -> None:
    """In the function's own region."""
    keep("twilio/tenant-1")
    tenants = CachedTenants(Secrets("twilio/"), clock=lambda: 0.0)
    assert tenants.get(ID).password == "eu-west-1"


def test_a_secret_missing_in_the_own_region_is_looked_for_where_the_sample_reads(
    keep: Keep,
) -> None:
    """SAS's sample reads us-east-1 wherever it runs."""
    keep("p-tenant-1", "us-east-1")
    assert json.loads(Secrets("p-").read(ID))["twilio_auth_token"] == "us-east-1"


def test_the_own_region_comes_first(keep: Keep) -> None:
    """Where both have it."""
    keep("p-tenant-1", "us-east-1")
    keep("p-tenant-1", "eu-west-1")
    assert json.loads(Secrets("p-").read(ID))["twilio_auth_token"] == "eu-west-1"


def test_a_region_that_is_set_is_the_only_one(keep: Keep) -> None:
    """Whoever names a region means it."""
    keep("p-tenant-1", "us-east-1")
    keep("p-tenant-1", "eu-central-1")
    found = Secrets("p-", "eu-central-1").read(ID)
    assert json.loads(found)["twilio_auth_token"] == "eu-central-1"
    with pytest.raises(TenantUnknown):
        Secrets("p-", "eu-west-1").read(ID)


def test_a_secret_that_is_nowhere_is_an_unknown_tenant(keep: Keep) -> None:
    """After both regions have been asked."""
    with pytest.raises(TenantUnknown):
        Secrets("p-").read(ID)


def test_a_binary_secret_is_a_broken_document(keep: Keep) -> None:
    """The document is text."""
    keep("p-tenant-1", SecretBinary=b"{}")
    with pytest.raises(TenantBroken):
        CachedTenants(Secrets("p-"), clock=lambda: 0.0).get(ID)


@contextmanager
def secrets_manager(**codes: str | None) -> Iterator[tuple[str, list[str]]]:
    """Run a Secrets Manager that answers each region with an error, or with a document for ``None``.

    Gives its address and the regions that were asked, in order.
    """
    asked: list[str] = []

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            region = self.headers["Authorization"].partition("Credential=")[2].split("/")[2]
            asked.append(region)
            code = codes[region.replace("-", "_")]
            body = {"__type": code} if code else {"SecretString": document(region)}
            content = json.dumps(body).encode()
            self.send_response(400 if code else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()
        thread.join()


def test_a_role_that_may_not_look_elsewhere_need_not(
    aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Access denied in us-east-1 is no more than *not there either*."""
    regions = {"eu_west_1": "ResourceNotFoundException", "us_east_1": "AccessDeniedException"}
    with secrets_manager(**regions) as (url, asked):
        monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", url)
        with pytest.raises(TenantUnknown):
            Secrets("p-").read(ID)
    assert asked == ["eu-west-1", "us-east-1"]


def test_a_secret_that_was_removed_is_none(keep: Keep) -> None:
    """Though it can be had back for a while: the tenant is not served any more."""
    import boto3

    keep("p-demo")
    assert Secrets("p-").read(TenantId("demo"))
    boto3.client("secretsmanager", region_name="eu-west-1").delete_secret(SecretId="p-demo")
    with pytest.raises(TenantUnknown):
        Secrets("p-").read(TenantId("demo"))


def test_access_denied_in_the_own_region_is_an_outage(
    aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The role is wrong, not the tenant; nobody is shut out for it."""
    regions = {"eu_west_1": "AccessDeniedException", "us_east_1": "ResourceNotFoundException"}
    with secrets_manager(**regions) as (url, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", url)
        with pytest.raises(TenantUnavailable) as caught:
            Secrets("p-").read(ID)
    assert "AccessDeniedException" in caught.value.message


def test_in_the_samples_own_region_nothing_is_asked_twice(
    aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The own region is us-east-1."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with secrets_manager(us_east_1="ResourceNotFoundException") as (url, asked):
        monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", url)
        with pytest.raises(TenantUnknown):
            Secrets("p-").read(ID)
    assert asked == ["us-east-1"]


def test_an_error_of_the_store_is_an_outage(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that cannot decrypt, a secret that is being deleted: known, and not readable now."""
    with secrets_manager(eu_west_1="DecryptionFailure") as (url, asked):
        monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", url)
        with pytest.raises(TenantUnavailable):
            Secrets("p-").read(ID)
    assert asked == ["eu-west-1"]


def test_a_store_that_cannot_be_reached_is_an_outage(
    aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens there; the words hold no address."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:9")
    with pytest.raises(TenantUnavailable) as caught:
        Secrets("p-").read(ID)
    assert "127.0.0.1" not in caught.value.message


@pytest.mark.parametrize("missing", ["AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID"])
def test_without_region_or_credentials_the_store_cannot_be_used(
    aws: None, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """It may come right, when a role is attached; until then tenants are unavailable."""
    monkeypatch.delenv(missing)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:9")
    with pytest.raises(TenantUnavailable):
        Secrets("p-").read(ID)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_id_names_no_secret(hostile: str) -> None:
    """It is refused before anything of AWS is touched."""
    with pytest.raises(BadTenantId):
        Secrets("p-").read(TenantId(hostile))


def test_without_the_extra_the_error_says_what_to_install(
    aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Secrets Manager needs botocore, which the base install lacks: an outage to the caller, a 503."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "botocore"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "botocore", None)
    with pytest.raises(BeforeSending) as caught:
        CachedTenants(Secrets("p-"), clock=lambda: 0.0).get(ID)
    assert caught.value.http_status == 503
    assert "ci360-twilio-connector[aws]" in caught.value.message
