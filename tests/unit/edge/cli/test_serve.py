"""Where a server and its workers count."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci360_twilio.edge.cli.serve import METRICS_FOLDER, metrics_folder


def test_processes_count_in_the_folder_that_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that workers of their own are counted by the server; it stays when the server ends."""
    monkeypatch.setenv(METRICS_FOLDER, str(tmp_path / "metrics"))
    with metrics_folder() as folder:
        assert folder == str(tmp_path / "metrics")
        assert Path(folder).is_dir()
    assert Path(folder).is_dir()


def test_a_server_that_is_told_none_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is gone when the server ends."""
    monkeypatch.delenv(METRICS_FOLDER, raising=False)
    with metrics_folder() as folder:
        assert Path(folder).is_dir()
    assert not Path(folder).exists()
