"""Every error of the connector, by the phase in which it happens.

::

    ConnectorError
    ├── SettingsError                  before start: the settings do not add up
    ├── NotKnown                       the ledger has nothing of what was asked for
    ├── BeforeSending                  no byte has left for Twilio
    │   ├── NotJson                    400  the body is not one JSON object
    │   ├── NotReadable                400  the body of a webhook is neither a form nor JSON
    │   ├── BadTenantId                400
    │   ├── NoCredential               401
    │   ├── Forbidden                  403  wrong credential, or unknown tenant
    │   ├── TooLarge                   413
    │   ├── Unprocessable              422  and no key to record it under
    │   ├── TenantUnknown                   no document of that name
    │   ├── TenantUnavailable          503  the document cannot be read just now
    │   ├── TenantBroken               503  the document is there and wrong
    │   └── LedgerUnavailable          503  nothing can be written just now
    │       └── LedgerUnusable              and waiting will not help
    ├── SendFailed                     one attempt to send did not make a message
    │   ├── NotReached                      nothing was made: a retry is safe
    │   ├── TwilioRefused                   Twilio answered with an error
    │   └── AnswerLost                      a message may or may not exist
    ├── PageRefused                    the console does not do what a person asked for
    │   ├── Denied                     403  they may not
    │   ├── TooOften                   429  they did so too often, or others are at it
    │   ├── NoTwin                     404  no twin of Twilio answers
    │   └── PeopleUnreadable           503  nobody knows who may do what
    ├── AwsFailed                      AWS did not do what it was asked for
    ├── Ci360Failed                    CI360 did not do what it was asked for
    ├── AudienceBroken                 a bulk task's files or template cannot be used
    └── AddressRefused                 an address that was handed out may not be called

Messages never hold a phone number, a text or a credential: they are logged and answered as they are.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class Failure(StrEnum):
    """What an error of Twilio's means for the message it concerns."""

    RETRY_SAFE = "retry_safe"
    """Nothing was made; try again soon."""
    RETRY_LATER = "retry_later"
    """Nothing was made; try again in minutes or hours."""
    TRANSIENT = "transient"
    """The message failed for a passing reason."""
    CONFIG = "config"
    """Somebody has to change a setting, at Twilio or here; nothing was made."""
    OPTED_OUT = "opted_out"
    """The recipient does not want messages."""
    PERMANENT_RECIPIENT = "permanent_recipient"
    """This recipient cannot be reached."""
    PERMANENT_CONTENT = "permanent_content"
    """This content cannot be sent."""
    PERMANENT_REQUEST = "permanent_request"
    """The request as a whole is wrong."""
    EXPIRED = "expired"
    """The message was no longer wanted when its turn came."""
    AMBIGUOUS = "ambiguous"
    """A message may or may not have been made."""
    WEBHOOK = "webhook"
    """Twilio could not reach our webhook; the message is not concerned."""


class Trouble(StrEnum):
    """Why CI360 did not do something, as far as what follows from it."""

    AWAY = "away"
    """It could not be reached, or was not well; whether it heard of it is not known."""
    THROTTLED = "throttled"
    """It wants to hear less for a while; it says so with a 403, too."""
    DENIED = "denied"
    """It does not take the token."""
    REFUSED = "refused"
    """It does not take what was sent."""


class Issue(str):
    """One thing that is wrong with one field, as the error body lists it."""

    __slots__ = ("field",)
    field: str

    def __new__(cls, field: str, issue: str) -> Issue:
        """Make the issue; both texts are shown to the caller."""
        made = super().__new__(cls, issue)
        made.field = field
        return made


class ConnectorError(Exception):
    """The root: something the connector knows how to name."""

    code: ClassVar[str] = "internal"
    http_status: ClassVar[int] = 500
    retry_safe: ClassVar[bool] = False

    def __init__(self, message: str, *issues: Issue) -> None:
        super().__init__(message)
        self.message = message
        self.issues = issues


class SettingsError(ConnectorError):
    """The settings are wrong; every problem is listed."""

    code = "settings"


class NotKnown(ConnectorError):
    """The ledger has nothing, or too much, under the name that was asked for."""

    code, http_status = "not_known", 404


class PageRefused(ConnectorError):
    """The console does not do what a person asked for; the message says what would help."""

    code, http_status = "refused", 403


class Denied(PageRefused):
    """The person may not do that."""

    code = "denied"


class TooOften(PageRefused):
    """The person has done that too often lately, or too many are at it."""

    code, http_status = "too_often", 429


class NoTwin(PageRefused):
    """The tenant's messages go to no twin, or it does not answer."""

    code, http_status = "no_twin", 404


class PeopleUnreadable(PageRefused):
    """The file of who may sign in cannot be read: nobody is let in."""

    code, http_status = "people_unreadable", 503


class AwsFailed(ConnectorError):
    """AWS did not do what a person had asked for."""

    code = "aws"


class BeforeSending(ConnectorError):
    """Nothing has left for Twilio and nothing was written."""

    retry_safe = True


class NotJson(BeforeSending):
    """The body is not exactly one JSON object."""

    code, http_status = "not_json", 400


class NotReadable(BeforeSending):
    """The body of a webhook is not what Twilio posts."""

    code, http_status = "malformed", 400


class BadTenantId(BeforeSending):
    """``externalTenantId`` is missing or malformed."""

    code, http_status = "bad_tenant_id", 400


class NoCredential(BeforeSending):
    """The request carries no credential."""

    code, http_status = "no_credential", 401


class Forbidden(BeforeSending):
    """The credential does not fit the tenant, or there is no such tenant."""

    code, http_status = "forbidden", 403


class TooLarge(BeforeSending):
    """The body is over the limit."""

    code, http_status = "too_large", 413


class Unprocessable(BeforeSending):
    """The event cannot be used and has no key under which to say so."""

    code, http_status = "unprocessable", 422


class TenantUnknown(BeforeSending):
    """There is no document for this tenant."""

    code, http_status = "tenant_unknown", 403


class TenantUnavailable(BeforeSending):
    """The tenant's document cannot be read just now."""

    code, http_status = "tenant_unavailable", 503


class TenantBroken(BeforeSending):
    """The tenant's document is not usable; the issues name its fields."""

    code, http_status = "tenant_broken", 503


class LedgerUnavailable(BeforeSending):
    """The ledger cannot write just now (locked, full, read-only, away)."""

    code, http_status = "ledger_unavailable", 503


class LedgerUnusable(LedgerUnavailable):
    """The ledger will not work until a person changes something."""

    code = "ledger_unusable"


class SendFailed(ConnectorError):
    """One attempt did not end with a message that Twilio confirmed."""

    failure: Failure = Failure.AMBIGUOUS

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class NotReached(SendFailed):
    """No request reached Twilio: refused connection, DNS, TLS."""

    code, retry_safe = "not_reached", True
    failure = Failure.RETRY_SAFE


class TwilioRefused(SendFailed):
    """Twilio answered with an error; ``failure`` says of which kind.

    ``retry_after`` is what Twilio asked for, in seconds.
    """

    code = "twilio_refused"

    def __init__(
        self,
        message: str,
        *,
        failure: Failure,
        status: int,
        twilio_code: int | None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, reason=f"twilio_{twilio_code or f'http_{status}'}")
        self.failure = failure
        self.status = status
        self.twilio_code = twilio_code
        self.retry_after = retry_after


class AnswerLost(SendFailed):
    """Bytes left and no usable answer came back: the message may exist."""

    code = "answer_lost"
    failure = Failure.AMBIGUOUS


class Ci360Failed(ConnectorError):
    """CI360 did not acknowledge something; ``trouble`` says what follows from that.

    ``said`` is what CI360 wrote: for the ledger and for people, never for a log line.
    ``retry_after`` is what it asked for, in seconds.
    """

    code = "ci360_failed"

    def __init__(
        self,
        message: str,
        *,
        trouble: Trouble,
        reason: str,
        said: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.trouble = trouble
        self.reason = reason
        self.said = said
        self.retry_after = retry_after


class AudienceBroken(ConnectorError):
    """The files of a bulk task, or what it says of them, cannot be used; waiting will not help.

    The message names columns and lines, never a cell.
    """

    code = "audience_broken"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class AddressRefused(ConnectorError):
    """An address that somebody handed out is none that may be called; it is never shown."""

    code = "address_refused"
