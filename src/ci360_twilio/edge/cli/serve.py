"""``serve`` and ``worker``."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ci360_twilio.edge.http import Routes, is_loopback
from ci360_twilio.edge.supervised import Supervised, when_left_alone
from ci360_twilio.edge.worker import Worker
from ci360_twilio.errors import SettingsError
from ci360_twilio.flow.patience import ATTEMPT_SECONDS
from ci360_twilio.logs import Log, capture_foreign
from ci360_twilio.settings import Settings, read_settings, unknown_names
from ci360_twilio.wiring import Parts, has_files, wire

if TYPE_CHECKING:
    from ci360_twilio.edge.console.opening import Opened

Run = Callable[[argparse.Namespace], int]

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before a worker that ended is started again; doubled each time."""


def add_serve(command: argparse.ArgumentParser) -> Run:
    """Declare ``serve``."""
    command.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    command.add_argument("--port", type=int, default=8360, help="port to listen on (%(default)s)")
    command.add_argument(
        "--no-worker", action="store_true", help="only accept; run `ci360-twilio worker` elsewhere"
    )
    return _serve


def add_worker(command: argparse.ArgumentParser) -> Run:
    """Declare ``worker``."""
    command.add_argument(
        "--supervised", action="store_true", help="stop when standard input ends; `serve` uses it"
    )
    return _worker


def make_log(settings: Settings, process: str) -> Log:
    """Make the log of a process and send foreign libraries' warnings through it."""
    log = Log(level=settings.log_level, process=process)
    capture_foreign(log)
    if unknown := unknown_names():
        log.warning("settings.unknown", names=unknown)
    return log


def metrics_folder() -> AbstractContextManager[str]:
    """Give the folder in which processes count: the one that is set, or one of our own."""
    given = os.environ.get(METRICS_FOLDER)
    if not given:
        return tempfile.TemporaryDirectory(prefix="ci360-twilio-metrics-")
    Path(given).mkdir(mode=0o700, parents=True, exist_ok=True)
    return nullcontext(given)


def join_metrics(log: Log) -> None:
    """Count what a log tells, if the process that serves metrics has named a folder for it."""
    if METRICS_FOLDER in os.environ:
        from ci360_twilio.edge import metrics

        log.observers.append(metrics.observe)


def _serve(options: argparse.Namespace) -> int:
    try:
        import uvicorn

        from ci360_twilio.edge.asgi import App
    except ImportError as exc:
        words = f"serve needs the extra: pip install 'ci360-twilio-connector[server]' ({exc.name})"
        raise SettingsError(words) from exc
    settings = read_settings()
    with metrics_folder() as folder:
        os.environ[METRICS_FOLDER] = folder
        log = make_log(settings, "server")
        parts = wire(settings, log)
        routes = _routes(parts, options.host)
        console = _console(parts, options.host)
        config = uvicorn.Config(
            App(routes, console.app if console else None),
            host=options.host,
            port=options.port,
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=list(settings.trusted_proxies),
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
            timeout_graceful_shutdown=20,
            ws="none",
        )
        supervisor: Supervisor | WorkerThread | None = None
        if not options.no_worker:
            in_memory = settings.ledger == "memory:"
            supervisor = WorkerThread(parts) if in_memory else Supervisor(log)
        server = uvicorn.Server(config)
        # What was loaded stays; of what events make, next to nothing lies in cycles.
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        for number in (signal.SIGTERM, signal.SIGINT):
            # For a signal before uvicorn listens to them, and for the same one raised again by it
            # when it has ended: what follows here must still run.
            signal.signal(number, lambda *_: setattr(server, "should_exit", True))
        try:
            if supervisor:
                supervisor.start()
            log.info("server.starting", address=_address(options, settings))
            server.run()
        finally:
            if console:
                console.close()
            if supervisor:
                supervisor.stop()
            parts.close()
        return 0 if server.started else 1


def _routes(parts: Parts, host: str) -> Routes:
    from ci360_twilio.edge import metrics

    parts.log.observers.append(metrics.observe)
    settings = parts.settings
    return Routes(
        parts.acceptance,
        parts.store,
        parts.log,
        on_loopback=is_loopback(host) and settings.public_url is None,
        authenticated_upstream=settings.authenticated_upstream,
        intake=parts.intake if has_files(settings) else None,
        settlement=parts.settlement,
        listening=parts.listening,
        dating=parts.dating,
        metrics=metrics.exporter(parts.store),
        metrics_token=settings.metrics_token,
    )


def _console(parts: Parts, host: str) -> Opened | None:
    """Open the console, where what it needs is installed."""
    try:
        from ci360_twilio.edge.console.opening import open_console
    except ImportError as exc:
        parts.log.info("console.absent", needs="ci360-twilio-connector[console]", missing=exc.name)
        return None
    public = urlsplit(parts.settings.public_url or "http://localhost").hostname or ""
    is_ours = is_loopback(host) and is_loopback(public) and not parts.settings.trusted_proxies
    return open_console(parts, on_loopback=is_ours)


def _address(options: argparse.Namespace, settings: Settings) -> str:
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"{'https' if settings.tls_cert else 'http'}://{host}:{options.port}"


class Supervisor:
    """Keeps one worker process running, and ends it with this one."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._process: Supervised | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self) -> None:
        """Start the worker and watch over it."""
        self._start_worker()
        self._thread.start()

    def stop(self) -> None:
        """Ask the worker to drain, and wait for it as long as a request to Twilio may take."""
        self._stopping.set()
        process = self._process
        if process is None:
            return
        if not process.end(ATTEMPT_SECONDS + 15):
            self._log.error("worker.killed", pid=process.pid)

    def _start_worker(self) -> None:
        self._process = Supervised("worker")
        self._log.info("worker.started", pid=self._process.pid)

    def _watch(self) -> None:
        pause = FIRST_PAUSE
        while self._process is not None:
            code = self._process.wait()
            if self._stopping.is_set():
                return
            self._log.error("worker.ended", code=code, restart_in=pause)
            if self._stopping.wait(pause):
                return
            pause = min(pause * 2, LONGEST_PAUSE)
            self._start_worker()


class WorkerThread:
    """The worker of a ledger in memory, which no other process can see."""

    def __init__(self, parts: Parts) -> None:
        self._worker = Worker(parts)
        self._thread = threading.Thread(target=self._worker.run, name="worker")

    def start(self) -> None:
        """Start working."""
        self._thread.start()

    def stop(self) -> None:
        """Drain."""
        self._worker.stop()
        self._thread.join()


def _worker(options: argparse.Namespace) -> int:
    settings = read_settings()
    if settings.ledger == "memory:":
        raise SettingsError(
            "A ledger in memory belongs to one process: use `serve`, or sqlite:////path."
        )
    log = make_log(settings, "worker")
    join_metrics(log)
    parts = wire(settings, log)
    worker = Worker(parts)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    if options.supervised:
        when_left_alone(worker.stop)
    # A hundred threads share the interpreter with the one that writes: it gets its turn sooner.
    sys.setswitchinterval(0.001)
    os.nice(5)  # where processors are short, callers are answered before messages are sent
    log.info("worker.running", connections=settings.connections)
    try:
        worker.run()
    finally:
        parts.close()
    return 0
