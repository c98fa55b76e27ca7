"""HTTP as the twin reads and writes it, with Twilio's headers, and its answers in JSON or XML.

It is done here rather than by ``http.server``: faults need the bare socket, and a rehearsal of a
campaign needs a thousand messages a second.
"""

from __future__ import annotations

import re
import secrets
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import BinaryIO
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element, SubElement, tostring

import msgspec

from ci360_twilio.twin.answer import Answer, Resource

MAX_LINE = 16_384
MAX_HEADERS = 100
MAX_BODY = 1_048_576

_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class BadRequest(Exception):
    """A request that cannot be read to its end."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request; header names are in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool


def read_request(
    connection: socket.socket, stream: BinaryIO, max_body: int = MAX_BODY
) -> Request | None:
    """Read one request; ``None`` where the client has nothing more to say."""
    line = _read_line(stream)
    if line == "":
        return None
    method, _, rest = line.strip().partition(" ")
    target, _, version = rest.partition(" ")
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadRequest(400)
    headers: dict[str, str] = {}
    while (line := _read_line(stream)) not in ("\r\n", "\n"):
        name, colon, value = line.partition(":")
        if not colon or len(headers) >= MAX_HEADERS:
            raise BadRequest(431 if colon else 400)
        headers[name.lower()] = value.strip()
    try:
        url = urlsplit(target)
    except ValueError:
        raise BadRequest(400) from None
    return Request(
        method=method,
        path=url.path,
        query=url.query,
        headers=headers,
        body=_read_body(connection, stream, headers, max_body),
        keep_alive=version == "HTTP/1.1" and "close" not in headers.get("connection", "").lower(),
    )


def _read_line(stream: BinaryIO) -> str:
    line = stream.readline(MAX_LINE)
    if len(line) == MAX_LINE:
        raise BadRequest(431)
    return line.decode("latin-1")


def _read_body(
    connection: socket.socket, stream: BinaryIO, headers: dict[str, str], most: int
) -> bytes:
    if "transfer-encoding" in headers:
        raise BadRequest(411)
    length = headers.get("content-length", "0")
    if not re.fullmatch(r"[0-9]{1,18}", length):
        raise BadRequest(400)
    if int(length) > most:
        raise BadRequest(413)
    if headers.get("expect", "").lower() == "100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = stream.read(int(length))
    if len(body) < int(length):
        raise ConnectionError("the client went away within its request")
    return body


class Trace:
    """What Twilio's own headers tell of a request, from its arrival on."""

    def __init__(self, *, busy: int = 1) -> None:
        self._busy, self._begun = busy, time.monotonic()

    def headers(self) -> tuple[str, ...]:
        """Write the headers."""
        return (
            f"Twilio-Request-Id: RQ{secrets.token_hex(16)}",
            f"Twilio-Concurrent-Requests: {self._busy}",
            f"Twilio-Request-Duration: {time.monotonic() - self._begun:.3f}",
        )


def write_response(
    answer: Answer, headers: Iterable[str] = (), *, stays: bool, as_xml: bool = False
) -> bytes:
    """Write a response; ``stays`` tells whether the connection is kept."""
    lines = [
        f"HTTP/1.1 {answer.status} {_PHRASES.get(answer.status, '')}",
        f"Date: {formatdate(usegmt=True)}",
        f"Connection: {'keep-alive' if stays else 'close'}",
        *headers,
    ]
    if answer.status == HTTPStatus.UNAUTHORIZED:
        lines.append('WWW-Authenticate: Basic realm="Twilio twin"')
    content = answer.content or b""
    if answer.content is not None:
        lines.append("Content-Type: application/octet-stream")
        lines.append(f"Content-Length: {len(content)}")
    elif answer.body is not None:
        content = _xml(answer.body) if as_xml else msgspec.json.encode(answer.body)
        lines.append(f"Content-Type: application/{'xml' if as_xml else 'json'}")
        lines.append(f"Content-Length: {len(content)}")
    return "\r\n".join((*lines, "", "")).encode("latin-1") + content


def only_head(response: bytes) -> bytes:
    """Leave the body of a response out."""
    return response.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def _xml(body: Resource) -> bytes:
    root = Element("TwilioResponse")
    if "more_info" in body:
        _fill(SubElement(root, "RestException"), body)
    elif "messages" in body:
        place = {
            name.replace("_", ""): "" if value is None else str(value)
            for name, value in body.items()
            if name != "messages"
        }
        messages = SubElement(root, "Messages", place)
        for message in body["messages"]:
            _fill(SubElement(messages, "Message"), message)
    else:
        _fill(SubElement(root, "Message"), body)
    written: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _fill(element: Element, fields: Resource) -> None:
    for name, value in fields.items():
        child = SubElement(element, "".join(part.capitalize() for part in name.split("_")))
        if isinstance(value, dict):
            _fill(child, value)
        elif value is not None:
            child.text = str(value)
