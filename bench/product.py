"""The product as an installation runs it: its folder, its environment, its commands.

``BENCH_PRODUCT`` names another command in its place, to try the harness itself.
"""

import contextlib
import json
import os
import shlex
import sqlite3
import sys
from pathlib import Path

from bench.child import Child, free_port, own_environment
from bench.event import ACCOUNT, API_KEY, AUTH_TOKEN, MESSAGES_PATH, SENDER, TENANT

HASH_KEY = b"bench-hash-key-of-no-worth"
CI360_SECRET = "bench-client-secret-of-no-worth"


def command() -> list[str]:
    """Return the product's command."""
    return shlex.split(os.environ.get("BENCH_PRODUCT", "")) or [
        sys.executable,
        "-m",
        "ci360_twilio",
    ]


def tenant_document(stub_port: int) -> dict[str, object]:
    """Return the document of the one tenant, whose Twilio is the stub."""
    return {
        "twilio_api_url": f"http://127.0.0.1:{stub_port}{MESSAGES_PATH}",
        "twilio_account_sid": ACCOUNT,
        "twilio_auth_token": AUTH_TOKEN,
        "default_sender": SENDER,
    }


class Installation:
    """One tenant and one ledger of its own in a folder of its own."""

    def __init__(
        self,
        folder: Path,
        stub_port: int,
        *,
        public_url: str = "",
        ci360_port: int | None = None,
        **members: object,
    ) -> None:
        """Make it.

        Args:
            folder: made here.
            stub_port: where its Twilio is.
            public_url: where Twilio would reach it.
            ci360_port: where its CI360 is, if it has one.
            members: further members of the tenant's document.
        """
        tenants = folder / "tenants"
        tenants.mkdir(parents=True)
        self.folder = folder
        self.ledger = folder / "ledger.db"
        document = {**tenant_document(stub_port), "api_keys": [API_KEY], **members}
        hosts = {}
        if ci360_port is not None:
            host = f"127.0.0.1:{ci360_port}"
            document["ci360_api_url"] = f"http://{host}/marketingGateway/events"
            document["ci360_client_secret"] = CI360_SECRET
            hosts = {"CI360_TWILIO_CI360_HOSTS": host, "CI360_TWILIO_BULK_HOSTS": host}
        file = tenants / f"{TENANT}.json"
        file.touch(0o600)
        file.write_text(json.dumps(document))
        self._settings = {
            "CI360_TWILIO_TENANTS": str(tenants),
            "CI360_TWILIO_LEDGER": f"sqlite:///{self.ledger}",
            "CI360_TWILIO_TWILIO_HOSTS": f"127.0.0.1:{stub_port}",
            "CI360_TWILIO_CONNECTIONS": "100",
            "CI360_TWILIO_HASH_KEY": HASH_KEY.decode(),
            "CI360_TWILIO_PUBLIC_URL": public_url,
            "TMPDIR": str(folder),
            **hosts,
        }

    def server(self, *, worker: bool = False) -> Child:
        """Return the HTTP server, alone or with the worker that it supervises."""
        port = free_port()
        where = ["--host", "127.0.0.1", "--port", str(port)]
        return self._child("serve", [*([] if worker else ["--no-worker"]), *where], port)

    def worker(self) -> Child:
        """Return the worker alone."""
        return self._child("worker", [], None)

    def environment(self) -> dict[str, str]:
        """Return what its commands find set."""
        return own_environment(self.folder, self._settings)

    def _child(self, verb: str, arguments: list[str], port: int | None) -> Child:
        whole = [*command(), verb, *arguments]
        name = f"product-{verb}"
        return Child(name, whole, self.folder, port=port, env=self.environment(), cwd=self.folder)


def row_bytes(ledger: Path) -> int | None:
    """Return the average size of the contents of a row in the ledger's largest table.

    None if there is no such file or row.
    """
    if not ledger.exists():
        return None
    with contextlib.closing(sqlite3.connect(ledger)) as database:
        names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        sizes = [_table_size(database, name) for (name,) in names]
    count, total = max(sizes, key=lambda size: size[1], default=(0, 0))
    return total // count if count else None


def _table_size(database: sqlite3.Connection, table: str) -> tuple[int, int]:
    """Return how many rows a table has and how many bytes their columns hold."""
    columns = [row[1] for row in database.execute(f'PRAGMA table_info("{table}")')]
    width = " + ".join(f'coalesce(length(CAST("{name}" AS BLOB)), 0)' for name in columns)
    query = f'SELECT count(*), coalesce(sum({width}), 0) FROM "{table}"'  # noqa: S608 - own file
    count, total = database.execute(query).fetchone()
    return count, total
