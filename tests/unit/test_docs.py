"""The documents name what there is: commands, options, files, links, and nothing of elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from hpsearch.cli import app

ROOT = Path(__file__).parents[2]
DOCUMENTS = (
    "README.md",
    "CHANGELOG.md",
    "docs/architecture.md",
    "docker/README.md",
    "docs/isaaclab.md",
    "docs/examples/own_task/README.md",
    "deploy/README.md",
)
FOLDERS = ("benchmarks", "deploy", "docker", "docs", "hpsearch", "objectives", "samplers", "tests")
HOSTS = ("127.0.0.1", "keepachangelog.com", "semver.org")
"""What an address in a document may point to."""

Command = tuple[str, typer.core.TyperCommand]


def commands() -> Iterator[Command]:
    """Yields each command that does something, as it is typed."""
    root = get_command(app)
    assert isinstance(root, typer.core.TyperGroup)
    stack: list[tuple[str, object]] = [("hpsearch", root)]
    while stack:
        words, each = stack.pop()
        if isinstance(each, typer.core.TyperGroup):
            stack += [(f"{words} {name}", sub) for name, sub in each.commands.items()]
        else:
            assert isinstance(each, typer.core.TyperCommand)
            yield words, each


def options() -> Iterator[tuple[str, typer.core.TyperOption]]:
    for words, command in commands():
        for parameter in command.params:
            if isinstance(parameter, typer.core.TyperOption) and parameter.name != "help":
                yield f"{words} {parameter.opts[0]}", parameter


@pytest.fixture(params=DOCUMENTS)
def document(request: pytest.FixtureRequest) -> Path:
    path: Path = ROOT / request.param
    if not (ROOT / "docs").is_dir():
        pytest.skip("the documents are in the source tree only")
    return path


def test_every_command_is_in_the_readme() -> None:
    if not (ROOT / "docs").is_dir():
        pytest.skip("the documents are in the source tree only")
    text = (ROOT / "README.md").read_text()
    rows = re.findall(r"^\| `(hpsearch[a-z ]*?)(?: [A-Z]+)*` \|", text, re.MULTILINE)
    assert sorted(rows) == sorted(words for words, _ in commands())


@pytest.mark.parametrize(("words", "command"), [pytest.param(*c, id=c[0]) for c in commands()])
def test_every_command_says_what_it_does(words: str, command: typer.core.TyperCommand) -> None:
    first_line = (command.help or "").partition("\n")[0]
    assert first_line.endswith((".", "?")), words


@pytest.mark.parametrize(("words", "option"), [pytest.param(*o, id=o[0]) for o in options()])
def test_every_option_has_help_and_a_variable(words: str, option: typer.core.TyperOption) -> None:
    assert option.help and option.help.strip()
    name = words.rpartition("--")[2].upper().replace("-", "_")
    # What deletes must be typed each time.
    assert option.envvar == (None if name == "YES" else f"HPSEARCH_{name}")


def test_every_file_that_a_document_names_exists(document: Path) -> None:
    folders = "|".join(FOLDERS)
    named = set(re.findall(rf"(?<![\w./-])(?:{folders})/[\w./-]*\w", document.read_text()))
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_every_link_of_a_document_leads_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", document.read_text())
    local = [target.partition("#")[0] for target in targets if "://" not in target]
    assert [each for each in local if each and not (document.parent / each).exists()] == []


def test_no_document_names_a_place_of_one_machine(document: Path) -> None:
    text = document.read_text()
    assert not re.findall(r"(?<![\w.])/(?:tmp|work|root|opt)\b[\w/.-]*", text)
    hosts = {address.partition("/")[0] for address in re.findall(r"https?://([^\s)>\"]+)", text)}
    assert {host.partition(":")[0] for host in hosts} <= set(HOSTS)
    assert not re.findall(r"(?i)index-url|extra-index|find-links|devpi|artifactory", text)
