"""What tests of the console share: a console over a ledger in memory, with two tenants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.console import MINE, OTHERS, Console, opened

from ci360_twilio.wiring import Parts


@pytest.fixture
def parts(connector: Callable[..., Parts], tenants_folder: Callable[..., Path]) -> Parts:
    """Wire a connector with two tenants, whose messages go to a twin."""
    for tenant_id in (MINE, OTHERS):
        tenants_folder(tenant_id)
    return connector(ledger="memory:")


@pytest.fixture
def console(parts: Parts, tmp_path: Path) -> Iterator[Console]:
    """Open a console."""
    with opened(parts, tmp_path) as console:
        yield console
