"""The Twilio twin on a socket of this machine.

``/2010-04-01/Accounts/{Sid}/Messages`` is answered as Twilio does, with ``.json`` in JSON, without
in XML (https://www.twilio.com/docs/usage/twilios-response); so are what :mod:`lookups
<ci360_twilio.twin.lookups>` shows, in JSON. :mod:`controls <ci360_twilio.twin.controls>` are for
people and tests.
"""

from __future__ import annotations

from ci360_twilio.twin.answer import Answer, ApiError
from ci360_twilio.twin.faults import FaultPlan, Outcome
from ci360_twilio.twin.listener import Listener
from ci360_twilio.twin.postman import Postman
from ci360_twilio.twin.routes import Routes, wants_xml
from ci360_twilio.twin.twilio import TwilioTwin
from ci360_twilio.twin.wire import MAX_LINE, Request, Trace, write_response

__all__ = ["MAX_LINE", "TwinServer"]


class TwinServer(Listener):
    """Serves a Twilio twin; see :class:`Listener`.

    Where an account of the twin has a life, or an address for inbound messages, its messages live
    while the server runs, and webhooks are posted to addresses of this machine.

    Args:
        twin: whose messages they are.
        faults: what goes wrong; nothing by default.
        host: a loopback address, or ``localhost``.
        port: 0 for any free one.
        latency: seconds that every answer of the API takes.
    """

    def __init__(
        self,
        twin: TwilioTwin,
        faults: FaultPlan | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        latency: float = 0.0,
    ) -> None:
        super().__init__(host=host, port=port)
        self._postman = Postman(twin)
        self._routes = Routes(twin, faults or FaultPlan(), latency, self.deliveries)

    def deliveries(self) -> dict[str, int]:
        """Give how many callbacks were delivered, failed, or could not be delivered."""
        return self._postman.counts()

    def start(self) -> None:
        """Listen, and serve in threads of its own.

        Raises:
            OSError: the port is taken.
        """
        super().start()
        self._postman.start()

    def stop(self) -> None:
        """Stop listening, let requests under way end, and close every connection."""
        if self._acceptor is not None:
            super().stop()
            self._postman.stop()

    def play(self, request: Request) -> Outcome:
        """Let one request happen."""
        return self._routes.play(request)

    def render(self, request: Request, outcome: Outcome, trace: Trace, *, stays: bool) -> bytes:
        """Write the answer as Twilio does."""
        answer = outcome.answer or Answer(204, None)
        as_xml = wants_xml(request.path)
        return write_response(answer, trace.headers(), stays=stays, as_xml=as_xml)

    def refuse(self, status: int) -> bytes:
        """Write Twilio's error."""
        answer = ApiError(20001, status=status).answer
        return write_response(answer, Trace().headers(), stays=False)
