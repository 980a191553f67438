"""What people read is spelled in British English, in the words of the project, and not in phrases that read as a translation."""

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from tests.conftest import ROOT
from unlearnable.cli import cli

DOCS = ROOT / "docs"
PACKAGE = ROOT / "src" / "unlearnable"
PHRASES: dict[str, str] = yaml.safe_load((ROOT / "tests" / "words.yml").read_text())["phrases"]
WRITTEN = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
WRITTEN += sorted(path for path in DOCS.rglob("*.md") if "reference" not in path.parts)
RECORDS = {DOCS / "log.md", DOCS / "results" / "README.md", *(DOCS / "adr").glob("*.md")}  # what was written then
SHOWN = [path for room in ("study", "reporting", "tracking", "pipelines/protect") for path in sorted(PACKAGE.glob(f"{room}/*"))]
SHOWN += [PACKAGE / f"{name}.py" for name in ("cli", "summary", "parts", "plugins", "methods", "artifacts/copies")]
SHOWN += [PACKAGE / f"{name}.py" for name in ("poisons/own_size", "poisons/budget", "probes/detection", "probes/filters")]
NO_PROSE = r"`[^`]*`|\]\([^)]*\)|\"[^\"]*\"|\([^)]*/[^)]*\)"  # code, addresses, what others wrote
NAMES = "cachable"  # of an attribute of fsspec


def misspelt(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", "codespell_lib", f"--ignore-words-list={NAMES}", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout


def found(text: str) -> list[str]:
    """Return the phrases that stand in a text, with what to write."""
    plain = re.sub(NO_PROSE, "", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return [f"{match[0]!r}: {better}" for phrase, better in PHRASES.items() for match in re.finditer(phrase, plain, re.IGNORECASE)]


def test_nothing_is_misspelt():
    assert misspelt(*WRITTEN, "conf", "docsite", "src/unlearnable", "Makefile", "pyproject.toml") == ""


def test_documents_are_in_british_english_and_in_our_words():
    assert misspelt("--dictionary=tests/words.txt", f"--ignore-regex={NO_PROSE}", *WRITTEN) == ""


def test_a_wrong_word_is_seen(tmp_path):
    (tmp_path / "page.md").write_text("A fault is mended anew, by `mend`.\n")
    said = misspelt("--dictionary=tests/words.txt", f"--ignore-regex={NO_PROSE}", tmp_path / "page.md")
    assert [line.partition(": ")[2] for line in said.splitlines()] == ["mended ==> fixed", "anew ==> again"]
    assert found("A run that was cut off goes on from there, and `goes on from` is a name.") == [
        "'goes on from': resume from",
        "'cut off': interrupted; truncated",
    ]


@pytest.mark.parametrize("path", [*(path for path in WRITTEN if path not in RECORDS), *SHOWN], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_phrase_reads_as_a_translation(path):
    assert path.is_dir() or found(path.read_text()) == []


def test_the_help_of_commands_has_no_such_phrase():
    def texts(command: click.Command) -> list[str]:
        inner = command.commands.values() if isinstance(command, click.Group) else ()
        return [command.get_help(click.Context(command)), *(text for each in inner for text in texts(each))]

    assert [phrase for text in texts(cli) for phrase in found(text)] == []


def test_the_five_words_are_the_same_wherever_they_are_explained():
    def table(path: Path) -> list[str]:
        return [line for line in path.read_text().partition("## Five words")[2].splitlines() if line.startswith("| ")]

    assert len(table(ROOT / "README.md")) >= 6
    assert table(ROOT / "README.md")[:6] == table(DOCS / "README.md")[:6]
