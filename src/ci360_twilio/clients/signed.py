"""Signed addresses that CI360 hands out: which may be called, and files put there or fetched.

An address comes from outside, so it may lead anywhere. It must be https on Amazon S3, or on a host that
the settings name; the name is looked up once, no address that it leads to may be a private one, and
the connection goes to that very address, so that a second look-up cannot lead elsewhere. Redirects are
not followed.
"""

from __future__ import annotations

import fcntl
import http.client
import ipaddress
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple
from urllib.parse import urlsplit

from ci360_twilio import __version__
from ci360_twilio.clients.connections import CONNECT_SECONDS, proxy_login, proxy_of, why
from ci360_twilio.errors import AddressRefused, Ci360Failed, Trouble

CHUNK = 65_536
STEP_SECONDS = 30.0
"""How long one step of a transfer may take: connecting apart, one read or write."""
MOST_BYTES = 2 * 1024**3
"""Of a file that is fetched."""

# Virtual-hosted and path style, dual-stack, FIPS and acceleration (docs.aws.amazon.com: S3 endpoints).
# Not: static websites, VPC endpoints, access points, Outposts, Object Lambda.
_REGION = r"[a-z]{2}(?:-[a-z]+){1,3}-[0-9]"
_S3 = re.compile(
    rf"(?:[a-z0-9][a-z0-9.-]{{1,61}}[a-z0-9]\.)?"
    rf"s3(?:-fips)?(?:(?:\.dualstack)?[.-]{_REGION})?\.amazonaws\.com(?:\.cn)?"
    r"|[a-z0-9][a-z0-9-]{1,61}[a-z0-9]\.s3-accelerate(?:\.dualstack)?\.amazonaws\.com"
)
_PRINTABLE = re.compile(r"[!-~]{1,8192}")

Resolve = Callable[[str, int], Iterable[str]]


class Place(NamedTuple):
    """Where a signed address leads."""

    secure: bool
    host: str
    port: int
    target: str
    """Path and query."""
    address: str | None
    """The IP address that is connected to; none where a proxy looks the name up."""

    @property
    def authority(self) -> str:
        """The ``Host`` of a request."""
        usual = 443 if self.secure else 80
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == usual else f"{name}:{self.port}"


def look_up(host: str, port: int) -> list[str]:
    """Give the IP addresses of a name."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(where[0]) for *_, where in found]


class SignedAddresses:
    """Puts and fetches files. Safe for many threads; every transfer has a connection of its own."""

    def __init__(self, hosts: tuple[str, ...] = (), *, resolve: Resolve = look_up) -> None:
        """Make it.

        Args:
            hosts: hosts (with port) that may be called besides Amazon S3, also by plain http and
                at private addresses.
            resolve: gives the IP addresses of a name; raises ``OSError`` where there are none.
        """
        self._hosts = frozenset(host.lower() for host in hosts)
        self._resolve = resolve

    def check(self, url: object) -> Place:
        """Check an address before anything is done with it; looks its name up.

        Raises:
            AddressRefused: it may not be called. The error names the rule, never the address.
            Ci360Failed: its name cannot be looked up.
        """
        if not isinstance(url, str) or not _PRINTABLE.fullmatch(url) or "\\" in url:
            raise AddressRefused("The address is none.")
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").lower(), parts.port
        except ValueError:
            raise AddressRefused("The address is none.") from None
        if parts.username is not None or parts.password is not None or parts.fragment:
            raise AddressRefused("The address holds a user or a fragment.")
        secure = parts.scheme == "https"
        allowed = parts.netloc.lower() in self._hosts
        if not allowed and not (secure and port in (None, 443) and _S3.fullmatch(host)):
            raise AddressRefused(
                "The address is neither https on Amazon S3 nor on a host of CI360_TWILIO_BULK_HOSTS."
            )
        if parts.scheme not in ("http", "https"):
            raise AddressRefused("The address is not of the web.")
        port = port or (443 if secure else 80)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if secure and _has_proxy(host):
            return Place(secure, host, port, target, None)
        return Place(secure, host, port, target, self._pinned(host, port, private=allowed))

    def put(self, url: object, body: bytes, content_type: str, *, timeout: float) -> None:
        """Put a file.

        Raises:
            AddressRefused: the address may not be called.
            Ci360Failed: the file was not taken.
        """
        place, until = self.check(url), time.monotonic() + timeout
        with closing(_connect(place, until)) as connection:
            try:
                _limit(connection.sock, until)
                headers = _headers(place) | {"Content-Type": content_type}
                connection.request("PUT", place.target, body, headers)
                with connection.getresponse() as response:
                    status = response.status  # it says enough
            except (OSError, http.client.HTTPException) as exc:
                raise _away("connection_lost") from exc
        check_status(status)

    def fetch(self, url: object, into: BinaryIO, *, timeout: float) -> int:
        """Fetch a file, written as it comes; gives its size in bytes.

        A file that ends before its announced length is none.

        Raises:
            AddressRefused: the address may not be called.
            Ci360Failed: there is no such file, or it did not come whole.
        """
        place, until = self.check(url), time.monotonic() + timeout
        with closing(_connect(place, until)) as connection:
            try:
                sock = connection.sock  # the connection forgets it where this is its last answer
                _limit(sock, until)
                connection.request("GET", place.target, headers=_headers(place))
                with connection.getresponse() as response:
                    check_status(response.status)
                    return _pour(response, sock, into, until, most=MOST_BYTES)
            except (TimeoutError, http.client.HTTPException, ConnectionError, ssl.SSLError) as exc:
                raise _away("connection_lost") from exc

    def resume(
        self,
        url: object,
        into: Path,
        *,
        timeout: float,
        going: Callable[[], None] = lambda: None,
    ) -> int:
        """Fetch a file into a place, or what is not there yet of it; gives its size in bytes.

        What was fetched before is kept only if the file is still the same, by its ``ETag``. Only one
        process fetches into a place at a time.

        Args:
            url: the address.
            into: where the file, or its beginning, is to be.
            timeout: seconds that it may take.
            going: is called with every piece that came; may raise.

        Raises:
            AddressRefused: the address may not be called.
            Ci360Failed: there is no such file, or it did not come whole; what came of it stays.
        """
        place, until = self.check(url), time.monotonic() + timeout
        note = into.with_name(f"{into.name}.etag")
        tag = _read_tag(note) if into.exists() else None
        there = into.stat().st_size if tag else 0
        headers = _headers(place)
        if tag and there:
            headers |= {"Range": f"bytes={there}-", "If-Range": tag}
        with closing(_connect(place, until)) as connection:
            try:
                sock = connection.sock
                _limit(sock, until)
                connection.request("GET", place.target, headers=headers)
                with connection.getresponse() as response:
                    whole = _goes_on(response, there, tag)
                    if whole is False:
                        note.unlink(missing_ok=True)  # what is there fits nothing: begin anew
                        raise _away("file_changed")
                    if whole is None:
                        check_status(response.status)
                        there = 0
                    _keep_tag(note, response.getheader("ETag"))
                    with _alone(into, keep=there > 0) as file:
                        size = there + _pour(
                            response, sock, file, until, most=MOST_BYTES - there, going=going
                        )
                    if whole not in (None, size):
                        raise _away("connection_lost")
            except (TimeoutError, http.client.HTTPException, ConnectionError, ssl.SSLError) as exc:
                raise _away("connection_lost") from exc
        note.unlink(missing_ok=True)
        return size

    def _pinned(self, host: str, port: int, *, private: bool) -> str:
        """Look a name up, once; gives the address to connect to."""
        try:
            addresses = list(self._resolve(host, port))
        except (OSError, UnicodeError) as exc:  # the latter where a name cannot even be written
            raise _away("dns") from exc
        if not addresses:
            raise _away("dns")
        if not private and not all(map(is_public, addresses)):
            raise AddressRefused("The address leads to a private network.")
        return addresses[0]


def is_public(address: str) -> bool:
    """Tell whether an IP address is of the internet at large, also where it holds another address.

    IPv6 addresses may carry an IPv4 one: mapped, by NAT64 (RFC 6052), 6to4 (RFC 3056) or Teredo
    (RFC 4380). All others of the internet are within 2000::/3 (RFC 4291): not so IPv4-compatible,
    site-local and local NAT64 ones (RFC 8215), which ``ipaddress`` takes for global, or did.
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if "%" in address or not found.is_global or found.is_multicast:
        return False
    if isinstance(found, ipaddress.IPv4Address):
        return found not in _PROTOCOLS
    if found.ipv4_mapped is not None:
        return is_public(str(found.ipv4_mapped))
    if found.sixtofour is not None or found.teredo is not None:
        return False
    if found in _NAT64:
        return is_public(str(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)))
    return found in _GLOBAL_UNICAST


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_PROTOCOLS = ipaddress.IPv4Network("192.0.0.0/24")
"""IETF protocol assignments (RFC 6890); some clouds' metadata are there. New Pythons know it."""


class _Pinned(http.client.HTTPConnection):
    """A connection to an IP address that was looked up before, for a name that TLS checks."""

    def __init__(self, place: Place, timeout: float) -> None:
        super().__init__(place.host, place.port, timeout=timeout)
        self._place = place

    def connect(self) -> None:
        """Connect to the very address."""
        where = (self._place.address or self._place.host, self._place.port)
        sock = socket.create_connection(where, timeout=self.timeout)
        if self._place.secure:
            context = ssl.create_default_context()
            sock = context.wrap_socket(sock, server_hostname=self._place.host)
        self.sock = sock


def _connect(place: Place, until: float) -> http.client.HTTPConnection:
    timeout = min(CONNECT_SECONDS, max(until - time.monotonic(), 0.001))
    try:
        connection = _tunnel(place, timeout) if place.address is None else _Pinned(place, timeout)
    except ValueError as exc:
        raise _away("proxy") from exc  # HTTPS_PROXY is no address
    try:
        connection.connect()
    except (OSError, http.client.HTTPException, ValueError) as exc:
        raise _away(why(exc)) from exc
    return connection


def _tunnel(place: Place, timeout: float) -> http.client.HTTPConnection:
    """Make a connection through the proxy, which looks the name up; TLS checks who answers."""
    proxy = proxy_of(place.host)
    if proxy is None:
        raise ValueError
    connection = http.client.HTTPSConnection(
        proxy.hostname or "", proxy.port or 8080, timeout=timeout
    )
    connection.set_tunnel(place.host, place.port, proxy_login(proxy.username, proxy.password))
    return connection


def _has_proxy(host: str) -> bool:
    try:
        return proxy_of(host) is not None
    except ValueError:
        return True  # it is none; connecting says so


def _pour(
    response: http.client.HTTPResponse,
    sock: socket.socket,
    into: BinaryIO,
    until: float,
    *,
    most: int,
    going: Callable[[], None] = lambda: None,
) -> int:
    """Write a body as it comes; gives its size."""
    announced, size = response.length, 0
    # read1: what trickles must not outlast its time while a whole chunk of it is waited for
    while size != announced and (chunk := response.read1(CHUNK)):
        size += len(chunk)
        if size > most:
            raise _refused("file_too_large")
        into.write(chunk)
        going()
        _limit(sock, until)
    if announced not in (None, size):
        raise _away("connection_lost")
    return size


def _goes_on(
    response: http.client.HTTPResponse, there: int, tag: str | None
) -> int | Literal[False] | None:
    """Tell whether an answer goes on where a file broke off: the size of the whole file if so.

    ``None`` where it is the file from its beginning, or an error; ``False`` where it is another file,
    or another part of it.
    """
    if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and there:
        return False
    if response.status != HTTPStatus.PARTIAL_CONTENT or not there:
        return None
    part = _PART.fullmatch(response.getheader("Content-Range") or "")
    if response.getheader("ETag") != tag or part is None or int(part["first"]) != there:
        return False
    return int(part["size"])


_PART = re.compile(r"bytes (?P<first>[0-9]{1,15})-[0-9]{1,15}/(?P<size>[0-9]{1,15})")


def _read_tag(note: Path) -> str | None:
    try:
        return note.read_text() or None
    except (OSError, UnicodeDecodeError):
        return None


def _keep_tag(note: Path, tag: str | None) -> None:
    """Note which file this is, if its server tells strongly enough to go on with it."""
    if tag and tag.startswith('"') and tag.isprintable():
        note.write_text(tag)
    else:
        note.unlink(missing_ok=True)


@contextmanager
def _alone(into: Path, *, keep: bool) -> Iterator[BinaryIO]:
    """Open a file to write on, or anew, while nobody else does; only its owner reads it."""
    descriptor = os.open(into, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "ab") as file:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _away("fetched_by_another") from None
        if not keep:
            file.truncate(0)
        yield file


def _limit(sock: socket.socket, until: float) -> None:
    """Give one step of a transfer its time."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    sock.settimeout(min(left, STEP_SECONDS))


def _headers(place: Place) -> dict[str, str]:
    return {"Host": place.authority, "User-Agent": f"ci360-twilio-connector/{__version__}"}


def check_status(status: int) -> None:
    """Raise ``Ci360Failed`` where a status does not say that a file was taken, or is there."""
    if status in (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT):
        return
    if status in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        raise _away("address_expired")  # another one is asked for with the next attempt
    raise _away(f"http_{status}")


def _away(reason: str) -> Ci360Failed:
    return Ci360Failed("The file could not be moved.", trouble=Trouble.AWAY, reason=reason)


def _refused(reason: str) -> Ci360Failed:
    return Ci360Failed("The file cannot be taken.", trouble=Trouble.REFUSED, reason=reason)
