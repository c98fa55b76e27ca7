"""A rehearsal as one self-contained HTML page."""

from __future__ import annotations

from typing import Any


def page(report: dict[str, Any]) -> str:
    """Give the page of a report; see :class:`ci360_twilio.flow.rehearse.Report`."""
    raise NotImplementedError
