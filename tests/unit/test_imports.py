"""Imports point one way, and the core touches nothing of the world: read from the source.

The guard is a handful of functions that take a source folder, so that it is itself tested, on
small made-up trees, for seeing what it should see.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

PROJECT = Path(__file__).parents[2]
SRC = PROJECT / "src"
PACKAGE = "ci360_twilio"

FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"errors"}),
    frozenset({"core"}),
    frozenset({"aws", "ports", "settings", "logs"}),
    frozenset({"flow", "stores", "clients"}),
    frozenset({"wiring"}),
    frozenset({"twin"}),
    frozenset({"edge"}),
    frozenset({"__main__"}),
)
"""The rooms, lowest floor first. A room imports from lower floors only, never from its equals."""

FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor}

# fmt: off
OF_THE_WORLD = frozenset((
    "_thread", "asyncio", "builtins", "concurrent", "ctypes", "fcntl", "getpass", "glob",
    "http", "importlib", "io", "locale", "logging", "mmap", "multiprocessing", "os", "pathlib",
    "pkgutil", "platform", "queue", "random", "resource", "runpy", "secrets", "select",
    "selectors", "shutil", "signal", "smtplib", "socket", "socketserver", "sqlite3", "ssl",
    "subprocess", "sys", "syslog", "tempfile", "threading", "time", "urllib.error",
    "urllib.request", "urllib3", "uuid", "zoneinfo",
))
# fmt: on
"""What a pure module does not import: I/O, clock, chance, environment, threads, and their doors."""

READS_THE_CLOCK = frozenset({"now", "today", "utcnow"})
TOUCHES_FILES = frozenset({"__import__", "input", "open", "print"})

OPTIONAL = {
    "argon2-cffi": "argon2",
    "authlib": "authlib",
    "botocore": "botocore",
    "httptools": "httptools",
    "httpx": "httpx",
    "jinja2": "jinja2",
    "joserfc": "joserfc",
    "prometheus-client": "prometheus_client",
    "pyjwt": "jwt",
    "python-multipart": "python_multipart",
    "starlette": "starlette",
    "tqdm": "tqdm",
    "uvicorn": "uvicorn",
    "uvloop": "uvloop",
}
"""Distributions that only an extra installs, and the module that each brings."""

OPTIONAL_ROOMS = frozenset({"aws", "clients", "edge"})
OTHER_EXTRAS = frozenset(
    {("ci360_twilio.core.access", "jwt"), ("ci360_twilio.stores.dynamodb_table", "botocore")}
)
"""One that only computes may be used by the core, where a value asks for it; a store by its own adapter."""


class Import(NamedTuple):
    """One import, wherever in the module it stands."""

    line: int
    target: str


def modules(src: Path) -> dict[str, Path]:
    """Give every module of the package by its dotted name."""
    found: dict[str, Path] = {}
    for path in sorted((src / PACKAGE).rglob("*.py")):
        parts = path.relative_to(src).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def room_of(module: str) -> str:
    """Give the room of a module of the package; the package itself is the room ``""``."""
    return module.partition(".")[2].partition(".")[0]


def imports(path: Path, known: dict[str, Path]) -> Iterator[Import]:
    """Give every import of a module: at its top, in functions, and for type checking alone.

    ``from a import b`` is an import of ``a.b`` where that is a module, else of ``a``. An
    ``import_module("a.b")`` counts as what it is. A relative import keeps its leading dots.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield Import(node.lineno, inner if inner in known or not node.module else base)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (
                Import(node.lineno, argument.value)
                for argument in node.args[:1]
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
            )


def all_imports(src: Path) -> Iterator[tuple[str, Import]]:
    """Give every import of the package with the module that makes it."""
    known = modules(src)
    for module, path in known.items():
        for found in imports(path, known):
            yield module, found


def is_ours(target: str) -> bool:
    """Tell whether an import stays within the package."""
    return target == PACKAGE or target.startswith(f"{PACKAGE}.")


def within(target: str, names: frozenset[str]) -> bool:
    """Tell whether an import is of one of the named modules, or of something inside one."""
    parts = target.split(".")
    return any(".".join(parts[: end + 1]) in names for end in range(len(parts)))


def strangers(src: Path) -> list[str]:
    """List modules that stand in no room."""
    return [
        f"{module}: no such room" for module in modules(src) if room_of(module) not in {"", *FLOOR}
    ]


def wrong_directions(src: Path) -> list[str]:
    """List imports from an equal or higher floor, and relative ones, whose direction hides."""
    wrong = []
    for module, (line, target) in all_imports(src):
        here, there = room_of(module), room_of(target)
        if target.startswith("."):
            wrong.append(f"{module}:{line} imports {target}: relative")
        elif is_ours(target) and here != there and FLOOR.get(there, -1) >= FLOOR.get(here, -1):
            wrong.append(f"{module}:{line} imports {target}: not below {here or 'the package'}")
    return wrong


def cycles(src: Path) -> list[str]:
    """Give a cycle of imports within the package, if there is one."""
    graph: dict[str, set[str]] = {}
    for module, found in all_imports(src):
        if is_ours(found.target) and found.target != module:
            graph.setdefault(module, set()).add(found.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as exc:
        return [" < ".join(exc.args[1])]
    return []


def package_imports(src: Path) -> list[str]:
    """List what the package itself imports; whoever imports any module pays for it."""
    return [
        f"{module}:{line} imports {target}"
        for module, (line, target) in all_imports(src)
        if module == PACKAGE and target != "__future__"
    ]


def impurities(src: Path) -> list[str]:
    """List where the core, or the errors it imports, could reach the world."""
    pure = {
        module: path
        for module, path in modules(src).items()
        if room_of(module) in ("errors", "core")
    }
    found = [
        f"{module}:{line} imports {target}"
        for module, (line, target) in all_imports(src)
        if module in pure and within(target, OF_THE_WORLD)
    ]
    for module, path in pure.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = node.func
            if (isinstance(called, ast.Attribute) and called.attr in READS_THE_CLOCK) or (
                isinstance(called, ast.Name) and called.id in TOUCHES_FILES
            ):
                found.append(f"{module}:{node.lineno} calls {ast.unparse(called)}")
    return found


def misplaced_extras(src: Path) -> list[str]:
    """List imports of optional dependencies by rooms that must work without them."""
    optional = frozenset(OPTIONAL.values())
    return [
        f"{module}:{line} imports {target}"
        for module, (line, target) in all_imports(src)
        if within(target, optional)
        and room_of(module) not in OPTIONAL_ROOMS
        and (module, target.partition(".")[0]) not in OTHER_EXTRAS
    ]


def test_every_module_stands_in_a_room_that_the_guard_knows() -> None:
    """A new room is first given its floor here."""
    assert strangers(SRC) == []


def test_imports_point_one_way() -> None:
    """Each room imports from lower floors only, and equals leave each other alone."""
    assert wrong_directions(SRC) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Not within a room either, and not for type checking."""
    assert cycles(SRC) == []


def test_the_package_itself_imports_nothing() -> None:
    """Importing one module costs that module."""
    assert package_imports(SRC) == []


def test_the_core_cannot_reach_the_world() -> None:
    """It has no clock, no chance, no environment and no I/O: it is told."""
    assert impurities(SRC) == []


def test_optional_dependencies_are_imported_where_they_are_needed_alone() -> None:
    """Everything else runs on the base install."""
    assert misplaced_extras(SRC) == []


def test_the_guard_knows_every_optional_dependency() -> None:
    """What pyproject.toml lists under an extra is what is looked for here."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = {
        re.split(r"[^\w.-]", requirement)[0]
        for extra in project["optional-dependencies"].values()
        for requirement in extra
    }
    assert listed - {project["name"]} == set(OPTIONAL)


def test_the_command_starts_without_any_optional_dependency() -> None:
    """With all its sub-commands declared: it has to say which extra one of them lacks."""
    done = subprocess.run(
        [sys.executable, "-c", START, str(SRC)], capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    assert set(json.loads(done.stdout)) & set(OPTIONAL.values()) == set()


START = f"""
import json, sys
sys.path.insert(0, sys.argv[1])
from {PACKAGE}.edge.cli import parser
parser()
print(json.dumps(list(sys.modules)))
"""


def tree(src: Path, files: dict[str, str]) -> Path:
    """Write a small package and give its source folder."""
    for name, text in files.items():
        path = src / PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return src


RIGHT = {
    "__init__.py": "from __future__ import annotations\n",
    "__main__.py": "from ci360_twilio.edge.cli import main\n",
    "errors.py": "from enum import StrEnum\n",
    "core/event.py": "from ci360_twilio.errors import NotJson\nfrom urllib.parse import urlsplit\n",
    "core/entry.py": "from ci360_twilio.core.event import Origin\n",
    "ports.py": "from ci360_twilio.core import entry\n",
    "stores/sqlite.py": "import sqlite3\nfrom ci360_twilio import __version__, ports\n",
    "wiring.py": "def make():\n    from ci360_twilio.stores.sqlite import Sqlite\n",
    "edge/cli/__init__.py": "from ci360_twilio import wiring\n",
    "edge/asgi.py": "import uvicorn.config\n",
}


def test_a_tree_in_order_passes_every_check(tmp_path: Path) -> None:
    """The guard is not merely against everything."""
    src = tree(tmp_path, RIGHT)
    for check in (
        strangers,
        wrong_directions,
        cycles,
        package_imports,
        impurities,
        misplaced_extras,
    ):
        assert check(src) == []


@pytest.mark.parametrize(
    "text",
    [
        "from ci360_twilio.stores.sqlite import Sqlite",
        "import ci360_twilio.stores.sqlite",
        "from ci360_twilio.stores import sqlite",
        "from ci360_twilio import stores",
        "def later():\n    import ci360_twilio.stores.sqlite",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import ci360_twilio.stores.sqlite",
        "import importlib\nimportlib.import_module('ci360_twilio.stores.sqlite')",
        "from ci360_twilio import ports",
        "from ..stores import sqlite",
        "from . import event",
    ],
)
def test_an_import_that_points_up_is_seen_wherever_it_stands(tmp_path: Path, text: str) -> None:
    """At the top, in a function, for type checking, under any spelling."""
    files = {"stores/__init__.py": "", "core/retry.py": text}
    assert len(wrong_directions(tree(tmp_path, RIGHT | files))) == 1


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("flow/accept.py", "ci360_twilio.stores.sqlite"),
        ("clients/twilio.py", "ci360_twilio.flow.accept"),
        ("settings.py", "ci360_twilio.logs"),
        ("twin/server.py", "ci360_twilio.edge.cli"),
        ("errors.py", "ci360_twilio.core.event"),
        ("edge/http.py", "ci360_twilio.__main__"),
        ("edge/http.py", "ci360_twilio.attic"),
    ],
)
def test_equals_and_higher_floors_are_out_of_bounds(
    tmp_path: Path, importer: str, imported: str
) -> None:
    """A room that the guard does not know is, too, unless it is the package itself."""
    files = {"flow/accept.py": "", "logs.py": "", "attic.py": "", importer: f"import {imported}"}
    src = tree(tmp_path, RIGHT | files)
    room = Path(importer).with_suffix("").parts[0]
    expected = [] if imported.endswith("attic") else [room]
    assert [room_of(line.partition(":")[0]) for line in wrong_directions(src)] == expected
    assert strangers(src) == [f"{PACKAGE}.attic: no such room"]


def test_a_circle_within_a_room_is_seen(tmp_path: Path) -> None:
    """Two modules of the core that need each other are one module."""
    src = tree(tmp_path, RIGHT | {"core/event.py": "import ci360_twilio.core.entry"})
    [circle] = cycles(src)
    assert "core.event" in circle
    assert "core.entry" in circle


def test_an_import_of_the_package_itself_is_seen(tmp_path: Path) -> None:
    """Even one of the standard library."""
    src = tree(tmp_path, RIGHT | {"__init__.py": "import re"})
    assert package_imports(src) == [f"{PACKAGE}:1 imports re"]


@pytest.mark.parametrize(
    "text",
    [
        "import os",
        "import os.path",
        "from time import monotonic",
        "import urllib.request",
        "from urllib3.util import Retry",
        "from concurrent import futures",
        "def later():\n    import random",
        "from datetime import datetime\nAT = datetime.now()",
        "TEXT = open('event.json').read()",
    ],
)
def test_a_way_from_the_core_to_the_world_is_seen(tmp_path: Path, text: str) -> None:
    """By import, or by a call that needs none."""
    assert len(impurities(tree(tmp_path, RIGHT | {"core/event.py": text}))) == 1


def test_an_optional_dependency_in_the_flow_is_seen(tmp_path: Path) -> None:
    """Also where it is imported only when needed."""
    src = tree(tmp_path, RIGHT | {"flow/send.py": "def go():\n    from uvicorn import config"})
    assert misplaced_extras(src) == [f"{PACKAGE}.flow.send:2 imports uvicorn"]
