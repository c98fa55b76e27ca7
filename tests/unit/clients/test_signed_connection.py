"""The connections that files move on: to the address that was checked, under the name that was meant."""

from __future__ import annotations

import io
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ci360_twilio.clients.signed import SignedAddresses
from ci360_twilio.errors import AddressRefused, Ci360Failed, Trouble

if TYPE_CHECKING:
    from tests.unit.clients.conftest import Web

NAME = "files.example.com"
ON_S3 = "bucket.s3.eu-central-1.amazonaws.com"
SECRET = "c0ffee5ec2e7c0ffee5ec2e7"
TARGET = f"/events.csv?X-Amz-Signature={SECRET}"

pytestmark = pytest.mark.usefixtures("no_proxies")


def certificate(folder: Path, name: str) -> Path:
    """Make a certificate for a name that signed itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    day, now = timedelta(days=1), datetime.now(UTC)
    alternative = x509.SubjectAlternativeName([x509.DNSName(name)])
    authority = x509.BasicConstraints(ca=True, path_length=0)
    draft = x509.CertificateBuilder(subject, subject, key.public_key())
    draft = draft.serial_number(1).not_valid_before(now - day).not_valid_after(now + day)
    draft = draft.add_extension(alternative, critical=False).add_extension(authority, critical=True)
    file = folder / f"{name}.pem"
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
        + draft.sign(key, hashes.SHA256()).public_bytes(pem)
    )
    return file


class Secured:
    """A server on loopback that speaks TLS, after a ``CONNECT`` where it plays the proxy, too.

    ``asked`` holds the heads of all requests, as far as it could read them.
    """

    def __init__(self, certificate: Path, *, tunnels: bool = False) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._tunnels = tunnels
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.asked: list[str] = []
        self.port = int(self._listener.getsockname()[1])

    def __enter__(self) -> Secured:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with suppress(OSError), connection:
                    self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        if self._tunnels:
            self._read(connection)
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with self._context.wrap_socket(connection, server_side=True) as secured:
            self._read(secured)
            secured.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd")

    def _read(self, connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            part = connection.recv(65_536)
            if not part:
                raise ConnectionError
            head += part
        self.asked.append(head.decode())


Serve = Callable[..., Secured]


@pytest.fixture
def secured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Give a function that starts a server with a certificate for a name, which is trusted or not."""
    running: list[Secured] = []

    def make(name: str, *, trusted: bool = True, tunnels: bool = False) -> Secured:
        file = certificate(tmp_path, name)
        if trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(file))
        running.append(Secured(file, tunnels=tunnels).__enter__())
        return running[-1]

    yield make
    for one in running:
        one.__exit__()


def fetch(url: str, *hosts: str) -> bytes:
    """Fetch a file; every name leads to this machine."""
    into = io.BytesIO()
    addresses = SignedAddresses(hosts, resolve=lambda *_: ["127.0.0.1"])
    addresses.fetch(url, into, timeout=10)
    return into.getvalue()


def reason_of(url: str, *hosts: str) -> str:
    """Give the reason why a file cannot be fetched just now."""
    with pytest.raises(Ci360Failed) as caught:
        fetch(url, *hosts)
    assert caught.value.trouble is Trouble.AWAY
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.said}"
    return caught.value.reason


# The very address


def test_the_name_is_looked_up_once_and_its_address_called(web: Callable[..., Web]) -> None:
    """A name that leads elsewhere a moment later gains nothing; the server still hears the name."""
    served = web().say(200, b"abcd")
    authority = served.authority.replace("127.0.0.1", NAME)
    answers = [["127.0.0.1"], ["127.0.0.9"]]
    addresses = SignedAddresses((authority,), resolve=lambda *_: answers.pop(0))
    addresses.put(f"http://{authority}{TARGET}", b"abcd", "text/csv", timeout=10)
    assert answers == [["127.0.0.9"]]
    (request,) = served.requests
    assert request.headers["host"] == authority


@pytest.mark.parametrize("later", ["127.0.0.1", "::1", "169.254.169.254", "10.0.0.1"])
def test_every_transfer_checks_anew_where_its_name_leads(later: str) -> None:
    """What was public a moment ago may not be so now."""
    answers = [["52.216.0.1"], [later]]
    addresses = SignedAddresses(resolve=lambda *_: answers.pop(0))
    url = f"https://{ON_S3}{TARGET}"
    assert addresses.check(url).address == "52.216.0.1"
    with pytest.raises(AddressRefused):
        addresses.put(url, b"x", "text/csv", timeout=10)
    assert answers == []


# TLS


def test_a_file_goes_over_tls_under_the_name_that_was_meant(secured: Serve) -> None:
    """The connection goes to an address, the certificate is checked for the name."""
    served = secured(NAME)
    authority = f"{NAME}:{served.port}"
    assert fetch(f"https://{authority}{TARGET}", authority) == b"abcd"
    (asked,) = served.asked
    assert asked.startswith(f"GET {TARGET} HTTP/1.1\r\n")
    assert f"\r\nHost: {authority}\r\n" in asked


@pytest.mark.parametrize(
    ("name", "trusted"), [("evil.example", True), (NAME, False), (f"a.{NAME}", True)]
)
def test_a_certificate_that_does_not_hold_gets_no_request(
    secured: Serve, name: str, trusted: bool
) -> None:
    """The address is a credential: no stranger is to see it."""
    served = secured(name, trusted=trusted)
    authority = f"{NAME}:{served.port}"
    assert reason_of(f"https://{authority}{TARGET}", authority) == "tls"
    assert served.asked == []


def test_plain_http_where_tls_was_expected_is_a_failure(web: Callable[..., Web]) -> None:
    """The handshake ends it."""
    served = web().say(200)
    assert reason_of(f"https://{served.authority}{TARGET}", served.authority) == "tls"
    assert served.requests == []


# Through a proxy


def test_a_file_goes_through_the_proxy(secured: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """It learns the host and who we are to it, and nothing of the address."""
    served = secured(ON_S3, tunnels=True)
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:s%40cret@127.0.0.1:{served.port}")
    assert fetch(f"https://{ON_S3}{TARGET}") == b"abcd"
    asked, inside = served.asked
    assert asked.startswith(f"CONNECT {ON_S3}:443 HTTP/1.")
    assert "\r\nProxy-Authorization: Basic bWU6c0BjcmV0\r\n" in asked
    assert SECRET not in asked
    assert inside.startswith(f"GET {TARGET} HTTP/1.1\r\n")
    assert f"\r\nHost: {ON_S3}\r\n" in inside
    assert "Proxy-Authorization" not in inside


def test_who_answers_behind_the_proxy_is_checked(
    secured: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that leads into the private network has no certificate of Amazon's."""
    served = secured("metadata.internal", tunnels=True)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{served.port}")
    assert reason_of(f"https://{ON_S3}{TARGET}") == "tls"
    assert len(served.asked) == 1


@pytest.mark.parametrize("status", [301, 403, 407, 502])
def test_a_proxy_that_opens_no_tunnel_moves_nothing(
    web: Callable[..., Web], monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """The reason names it."""
    served = web().say(status, b"no")
    monkeypatch.setenv("HTTPS_PROXY", served.url)
    assert reason_of(f"https://{ON_S3}{TARGET}") == "proxy"
    (request,) = served.requests
    assert request.method == "CONNECT"


@pytest.mark.parametrize(
    "proxy", ["socks5://127.0.0.1:9", "http://127.0.0.1:99999", "http://[::1", "no proxy"]
)
def test_a_proxy_that_cannot_be_used_moves_nothing(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    """A mistake in the environment does not lead past it, and is named."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    assert reason_of(f"https://{ON_S3}{TARGET}") == "proxy"
