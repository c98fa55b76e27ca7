"""What holds for the files of the repository, whatever is in them."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci360_twilio.core.entry import UNFINISHED, Status

ROOT = Path(__file__).parents[2]

MADE = frozenset(
    {
        ".git",
        ".hypothesis",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        "__pycache__",
        "build",
        "dist",
        "node_modules",
    }
)
"""Folders that tools make; environments are known by their ``pyvenv.cfg``."""

MADE_FILES = re.compile(r".*(?:\.pyc|\.db(?:-.*)?)")

MOST_BYTES = 1_000_000


def files(root: Path) -> Iterator[Path]:
    """Give the files of the repository: what a person or a person's command wrote on purpose."""
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        folders[:] = [
            name
            for name in folders
            if name not in MADE
            and not name.endswith(".egg-info")
            and not (here / name / "pyvenv.cfg").exists()
        ]
        yield from (here / name for name in sorted(names) if not MADE_FILES.fullmatch(name))


def too_big(root: Path) -> list[str]:
    """List files over the limit."""
    return [str(path.relative_to(root)) for path in files(root) if path.stat().st_size > MOST_BYTES]


def with_crlf(root: Path) -> list[str]:
    """List text files with a line that ends in CRLF."""
    texts = ((path, path.read_bytes()) for path in files(root))
    return [
        str(path.relative_to(root)) for path, text in texts if b"\r\n" in text and b"\0" not in text
    ]


LINK = re.compile(
    r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(<?([^()\s>]+)>?[^)]*\)|^\[[^\]]+\]:\s*<?([^\s>]+)", re.MULTILINE
)
CODE = re.compile(r"^(```|~~~).*?^\1|`[^`\n]*`", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


def links(text: str) -> list[str]:
    """Give the targets of a Markdown text's links and images, without those in code."""
    return [match[1] or match[2] for match in LINK.finditer(CODE.sub("`code`", text))]


def anchors(text: str) -> set[str]:
    """Give the fragments that a Markdown text's headings can be reached by."""
    headings = re.findall(r"^#{1,6} +(.+?) *#*$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(root: Path) -> list[str]:
    """List relative links that lead nowhere, or out of the repository."""
    broken = []
    for page in files(root):
        if page.suffix != ".md":
            continue
        for link in links(page.read_text(encoding="utf-8")):
            if re.match(r"[a-z]+:", link):
                continue
            path, _, fragment = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            inside = target.is_relative_to(root.resolve()) and not path.startswith("/")
            found = inside and target.exists()
            if found and fragment and target.suffix == ".md":
                found = fragment in anchors(target.read_text(encoding="utf-8"))
            if not found:
                broken.append(f"{page.relative_to(root)}: {link}")
    return broken


PIN = re.compile(
    r"([a-z0-9-]+)(?:\[[a-z0-9,-]+\])?==([^\s;]+)(?:\s*;[^#]*?)?(?:\s+--hash=sha256:[0-9a-f]{64})+\s*"
)


def pins(requirements: str) -> set[tuple[str, str]]:
    """Read pinned requirements.

    Returns:
        The packages with their versions; a package with markers may have several.

    Raises:
        ValueError: a line is not one package at one version with at least one hash.
    """
    found = set()
    for line in requirements.replace("\\\n", " ").splitlines():
        match = PIN.fullmatch(line)
        if match is None:
            raise ValueError(f"not a pinned package with its hashes: {line[:60]}")
        found.add((match[1], match[2]))
    return found


REQUIREMENTS = sorted((ROOT / "requirements").glob("*.txt"))


def test_no_file_is_over_a_megabyte() -> None:
    """Whoever clones the repository waits for all of it."""
    assert too_big(ROOT) == []


def test_no_text_file_has_windows_line_ends() -> None:
    """The same bytes on every machine; a CRLF that a test wants is written as an escape."""
    assert with_crlf(ROOT) == []


def test_every_relative_link_in_the_docs_leads_somewhere() -> None:
    """To a file of the repository, and to a heading of it where the link names one."""
    assert broken_links(ROOT) == []


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_requirement_files_hold_no_address(path: Path) -> None:
    """Where packages come from is the business of the machine that installs them."""
    assert "://" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_every_required_package_is_pinned_with_hashes(path: Path) -> None:
    """So that what is installed is what was tested."""
    assert pins(path.read_text(encoding="utf-8"))


def test_requirement_files_agree_on_every_version() -> None:
    """What a user runs is what the tests ran with."""
    base, everything, dev = (
        pins((ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8"))
        for name in ("base", "all", "dev")
    )
    assert base <= everything
    assert everything <= dev


def test_the_base_requirements_hold_every_dependency_of_the_package() -> None:
    """A dependency that was added without compiling the requirements anew is noticed here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {re.split(r"[^\w-]", dependency)[0] for dependency in project["dependencies"]}
    base = pins((ROOT / "requirements" / "base.txt").read_text(encoding="utf-8"))
    assert wanted <= {name for name, _ in base}


def test_the_glossary_explains_every_status_and_whether_it_is_an_end() -> None:
    """In the order in which the code has them."""
    glossary = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|.*\| (yes|no) \|$", glossary, re.MULTILINE)
    assert rows == [(status, "no" if status in UNFINISHED else "yes") for status in Status]


def test_what_tools_made_is_not_looked_at(tmp_path: Path) -> None:
    """Caches and environments may hold anything."""
    for name in (".git/a", "x/__pycache__/b", "env/pyvenv.cfg", "env/c", "ledger.db-wal", "kept/d"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("", encoding="utf-8")
    assert [path.name for path in files(tmp_path)] == ["d"]


def test_a_big_file_and_a_windows_line_end_are_seen(tmp_path: Path) -> None:
    """A CRLF in a binary file is no line end."""
    (tmp_path / "big.txt").write_bytes(b"x" * (MOST_BYTES + 1))
    (tmp_path / "crlf.txt").write_bytes(b"a\r\nb")
    (tmp_path / "image.png").write_bytes(b"\0\r\n")
    assert too_big(tmp_path) == ["big.txt"]
    assert with_crlf(tmp_path) == ["crlf.txt"]


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("[here](docs/page.md)", False),
        ("[there](docs/page.md#two-words)", False),
        ("[down](#top)\n\n# Top\n", False),
        ("[![badge](docs/page.md)](docs)", False),
        ("[out](https://example.com/nowhere)", False),
        ("`[code](nowhere.md)`\n\n```\n[code](nowhere.md)\n```\n", False),
        ("[gone](docs/gone.md)", True),
        ("[gone](docs/page.md#three)", True),
        ("![image](gone.png 'A title')", True),
        ("[by name][name]\n\n[name]: gone.md\n", True),
        ("[root](/docs/page.md)", True),
        ("[outside](../)", True),
    ],
)
def test_links_are_followed_as_a_reader_would(tmp_path: Path, text: str, broken: bool) -> None:
    """Inline, by reference, within a page; code is left alone."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.md").write_text("## Two `words`\n", encoding="utf-8")
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    assert bool(broken_links(tmp_path)) is broken


@pytest.mark.parametrize(
    "line",
    [
        "msgspec==0.19",
        "msgspec>=0.19 --hash=sha256:" + "0" * 64,
        "msgspec @ file.whl --hash=sha256:" + "0" * 64,
        "--extra-index-url somewhere",
    ],
)
def test_a_requirement_that_is_not_pinned_with_a_hash_is_seen(line: str) -> None:
    """Each of these installs something that nobody has looked at."""
    with pytest.raises(ValueError, match="not a pinned package"):
        pins(line)
