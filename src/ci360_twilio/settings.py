"""One frozen :class:`Settings`, read from the environment and validated whole."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from ci360_twilio.core.message import AttributeNames
from ci360_twilio.errors import Issue, SettingsError

PREFIX = "CI360_TWILIO_"


def data_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Give the user's data folder (XDG base directory specification)."""
    base = environ.get("XDG_DATA_HOME") or Path(environ.get("HOME") or "~").expanduser() / (
        ".local/share"
    )
    return Path(base) / "ci360-twilio"


class _Wrong(ValueError):
    """A value that cannot be used; the text says what would be, never what was given."""


def _text(value: str) -> str:
    return value


def _one_of(*allowed: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value.lower() not in allowed:
            raise _Wrong(f"must be one of {', '.join(allowed)}")
        return value.lower()

    return parse


def _number(low: float, high: float) -> Callable[[str], float]:
    def parse(value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not low <= number <= high:
            raise _Wrong(f"must be a number from {low:,g} to {high:,g}")
        return number

    return parse


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not value.isdecimal() or not low <= int(value) <= high:
            raise _Wrong(f"must be a whole number from {low:,} to {high:,}")
        return int(value)

    return parse


def _flag(value: str) -> bool:
    if value.lower() in ("1", "true", "yes", "on"):
        return True
    if value.lower() in ("0", "false", "no", "off"):
        return False
    raise _Wrong("must be true or false")


_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.\-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
)


def _hosts(value: str) -> tuple[str, ...]:
    hosts = tuple(part.strip().lower() for part in value.split(",") if part.strip())
    if not all(_HOST.fullmatch(host) for host in hosts):
        raise _Wrong("must be hosts with port, separated by commas, such as 127.0.0.1:8365")
    return hosts


def _addresses(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _folder(value: str) -> Path:
    path = Path(value).expanduser()
    if not path.is_dir():
        raise _Wrong("is not a folder")
    return path


def _file(value: str) -> Path:
    path = Path(value).expanduser()
    if not path.is_file():
        raise _Wrong("is not a file")
    return path


def _ledger(value: str) -> str:
    scheme, _, rest = value.partition(":")
    if value == "memory:" or (scheme == "dynamodb" and rest):
        return value
    if scheme == "sqlite" and rest.startswith("////"):
        return value
    raise _Wrong("must be sqlite:////absolute/path.db, memory: or dynamodb:TABLE")


def _files(value: str) -> str:
    if not value.startswith("s3://"):
        return str(Path(value).expanduser().absolute())
    if not _BUCKET.fullmatch(value):
        raise _Wrong("must be a folder, or s3://bucket/prefix")
    return value


_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9](?:/[A-Za-z0-9_./\-]{0,200})?")


def _public_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise _Wrong("is no address") from None
    if parts.scheme not in ("http", "https") or not whole or parts.query or parts.fragment:
        raise _Wrong("must be an http(s) address without query, such as https://sms.example.com")
    return value.rstrip("/")


def _origin(value: str) -> str:
    if not re.fullmatch(r"https?://[A-Za-z0-9.\-]+(:[0-9]{1,5})?", value):
        raise _Wrong("must be an origin, such as https://www.example.com")
    return value


class Setting(NamedTuple):
    """How one setting is read and what it means."""

    parse: Callable[[str], Any]
    help: str
    bare: bool = False
    """Whether it is also read from its bare name, as SAS's sample names it."""


SETTINGS: Mapping[str, Setting] = {
    "event_ttl": Setting(
        _number(1, 31_536_000), "Seconds after which an event is too old to be sent.", bare=True
    ),
    "default_sender": Setting(
        _text, "Sender where neither the creative nor the tenant names one.", bare=True
    ),
    "sm_secret_id_prefix": Setting(
        _text, "Prefix of the tenants' secrets in AWS Secrets Manager.", bare=True
    ),
    "tenants": Setting(_folder, "Folder of <tenant id>.json; wins over Secrets Manager."),
    "secrets_region": Setting(_text, "AWS region of the secrets; default: the function's own."),
    "tenant_cache": Setting(_number(0, 86_400), "Seconds for which a tenant's document is kept."),
    "ledger": Setting(_ledger, "sqlite:////absolute/path.db, memory: or dynamodb:TABLE."),
    "queue_url": Setting(_text, "SQS queue that says to the stack's functions what is to be sent."),
    "dead_letters_url": Setting(_text, "SQS queue for what the functions cannot understand."),
    "jobs_url": Setting(
        _text, "SQS queue that says to the stack's functions which bulk jobs have something to do."
    ),
    "stack": Setting(_text, "Name that the metrics of the stack's functions carry."),
    "cors_origin": Setting(
        _origin, "Origin of a web page that may post events to the stack's API."
    ),
    "hash_key": Setting(
        _text, "Secret for the hashes that outlive entries; default: a file beside the ledger."
    ),
    "twilio_hosts": Setting(
        _hosts, "Hosts (with port) that may be called besides *.twilio.com; plain http only these."
    ),
    "ci360_hosts": Setting(_hosts, "Hosts (with port) that may be called besides *.ci360.sas.com."),
    "bulk_hosts": Setting(
        _hosts, "Hosts (with port) of signed files besides Amazon S3; private ones only these."
    ),
    "files": Setting(
        _files, "Folder, or s3://bucket/prefix, for bulk jobs' files; default: beside the ledger."
    ),
    "public_url": Setting(_public_url, "Base address at which Twilio and CI360 reach us."),
    "authenticated_upstream": Setting(
        _flag, "true: a gateway in front has authenticated every request."
    ),
    "trusted_proxies": Setting(
        _addresses, "Addresses of proxies whose forwarding headers are believed."
    ),
    "tls_cert": Setting(_file, "Certificate chain (PEM); with tls_key the server speaks TLS."),
    "tls_key": Setting(_file, "Private key (PEM) of the certificate."),
    "metrics_token": Setting(_text, "Bearer token for /metrics from elsewhere than loopback."),
    "console_people": Setting(
        _text, "File of who may sign in to the console; default: beside the ledger."
    ),
    "oidc_issuer": Setting(_text, "OpenID Connect provider by which people may sign in, too."),
    "oidc_client_id": Setting(_text, "The console's client id there."),
    "oidc_client_secret": Setting(_text, "The console's client secret there."),
    "oidc_groups": Setting(
        _file, 'JSON file of what groups may do: {"group": {"role": "viewer", "tenants": ["T"]}}.'
    ),
    "oidc_groups_claim": Setting(_text, "Claim that lists a person's groups."),
    "oidc_name_claim": Setting(_text, "Claim that people are called by."),
    "prices": Setting(_file, "Price table (CSV) by which the console tells what a message costs."),
    "connections": Setting(_whole(1, 1000), "Requests to Twilio that may be open at one time."),
    "lease": Setting(
        _number(40, 3600), "Seconds for which a worker owns an entry; over all time-outs together."
    ),
    "unknown_deadline": Setting(
        _number(60, 2_592_000),
        "Seconds after which a message whose answer was lost, and that was not found, is held.",
    ),
    "attribute_to": Setting(_text, "Task attribute that may name the recipient."),
    "attribute_from": Setting(_text, "Task attribute that may name the sender."),
    "attribute_media_urls": Setting(_text, "Task attribute that may list media."),
    "log_level": Setting(
        _one_of("debug", "info", "warning", "error"), "debug, info, warning or error."
    ),
}
"""Every setting by its name; read from ``CI360_TWILIO_<NAME>``."""


_OIDC = ("oidc_issuer", "oidc_client_id", "oidc_client_secret", "oidc_groups")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one process; :data:`SETTINGS` says what each means."""

    event_ttl: float = 86_400.0
    default_sender: str | None = None
    sm_secret_id_prefix: str | None = None
    tenants: Path | None = None
    secrets_region: str | None = None
    tenant_cache: float = 300.0
    ledger: str = ""
    queue_url: str | None = None
    dead_letters_url: str | None = None
    jobs_url: str | None = None
    stack: str | None = None
    cors_origin: str | None = None
    hash_key: str | None = None
    twilio_hosts: tuple[str, ...] = ()
    ci360_hosts: tuple[str, ...] = ()
    bulk_hosts: tuple[str, ...] = ()
    files: str | None = None
    public_url: str | None = None
    authenticated_upstream: bool = False
    trusted_proxies: tuple[str, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    metrics_token: str | None = None
    console_people: str | None = None
    oidc_issuer: str | None = None
    oidc_client_id: str | None = None
    oidc_client_secret: str | None = None
    oidc_groups: Path | None = None
    oidc_groups_claim: str = "groups"
    oidc_name_claim: str = "email"
    prices: Path | None = None
    connections: int = 100
    lease: float = 60.0
    unknown_deadline: float = 86_400.0
    attribute_to: str = "to"
    attribute_from: str = "from"
    attribute_media_urls: str = "media_urls"
    log_level: str = "info"

    @property
    def attribute_names(self) -> AttributeNames:
        """The task attributes that may stand in for directives."""
        return AttributeNames(self.attribute_to, self.attribute_from, self.attribute_media_urls)


def read_settings(
    environ: Mapping[str, str] = os.environ, *, ledger: str | None = None
) -> Settings:
    """Read the settings of an environment; an empty value is as if unset.

    Args:
        environ: the variables.
        ledger: the ledger where none is set; a file in the user's data folder unless told.

    Raises:
        SettingsError: something is wrong; the message lists every problem, never a value.
    """
    issues: list[Issue] = []
    values: dict[str, Any] = {}
    lowered = {name.lower(): value for name, value in environ.items() if value.strip()}
    for name, setting in SETTINGS.items():
        variable = f"{PREFIX}{name.upper()}"
        value = environ.get(variable, "").strip()
        if not value and setting.bare:
            variable, value = name, lowered.get(name, "").strip()
        if not value:
            continue
        try:
            values[name] = setting.parse(value)
        except _Wrong as exc:
            issues.append(Issue(variable, str(exc)))
        except (ValueError, OSError, RuntimeError):
            issues.append(Issue(variable, "cannot be used"))
    if bool(values.get("tls_cert")) != bool(values.get("tls_key")):
        issues.append(Issue(f"{PREFIX}TLS_KEY", "tls_cert and tls_key belong together"))
    given = [name for name in _OIDC if values.get(name)]
    if given and len(given) < len(_OIDC):
        words = f"{', '.join(_OIDC)} belong together"
        issues.append(Issue(f"{PREFIX}OIDC_ISSUER", words))
    if issues:
        listed = "\n".join(f"  {issue.field} {issue}" for issue in issues)
        raise SettingsError(f"The settings cannot be used:\n{listed}", *issues)
    values.setdefault("ledger", ledger or f"sqlite:///{data_folder(environ) / 'ledger.db'}")
    return Settings(**values)


def unknown_names(environ: Mapping[str, str] = os.environ) -> list[str]:
    """List variables that look like settings and are none: most are misspelt."""
    known = {f"{PREFIX}{name.upper()}" for name in SETTINGS}
    return sorted(name for name in environ if name.upper().startswith(PREFIX) and name not in known)
