"""The lessons run, small, from start to end in a copy of the project; their notebooks are the scripts with their output."""

import json
import re

import jupytext
import nbformat
import pytest
from docsite.lessons import FOLDER, QUICK, executed, lesson_pages, lessons

from tests.conftest import ROOT, copy_project

pytestmark = pytest.mark.system
NAMES = [script.stem for script in lessons()]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = copy_project(tmp_path_factory.mktemp("lessons") / "project")
    (folder / "notebooks").mkdir()
    return folder


def printed(notebook) -> str:
    """Return all that a notebook's cells have printed or shown as text."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(str(output.get("text") or output.get("data", {}).get("text/plain", "")) for output in outputs)


def test_there_are_lessons():
    assert len(NAMES) >= 2


@pytest.mark.parametrize("name", NAMES)
def test_a_lesson_runs_from_start_to_end(name, project, monkeypatch):
    monkeypatch.setenv(QUICK, "quick")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}:{ROOT}")
    notebook = executed(FOLDER / f"{name}.py", project / "notebooks")
    run = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.source for cell in run if not cell.execution_count] == []
    assert str(project) not in printed(notebook)
    assert len(printed(notebook)) > 100


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_its_script_with_output(name):
    kept = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    assert [(cell.cell_type, cell.source) for cell in kept.cells] == [
        (cell.cell_type, cell.source) for cell in jupytext.read(FOLDER / f"{name}.py").cells
    ]
    assert [cell.source for cell in kept.cells if cell.cell_type == "code" and not cell.execution_count] == []
    kinds = {output.output_type for cell in kept.cells for output in cell.get("outputs", [])}
    assert "error" not in kinds
    assert "display_data" in kinds  # a picture
    assert re.findall(r"(?<![\w/.])/(?:home|root|tmp|work|Users)/", json.dumps(kept)) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_command_takes_paths_with_blanks(name):
    """The shell splits what is in no quotes, and the project may lie in a folder whose name has a blank."""
    script = (FOLDER / f"{name}.py").read_text()
    for command in re.findall(r"^# !(.*)", script, re.MULTILINE):
        for variable in re.findall(r"{(.*?)}", re.sub(r'"[^"]*"', "", command)):
            assert f"{variable} = shlex.quote(" in script, command


def test_every_lesson_has_a_page_and_one_click_downloads_it():
    pages = lesson_pages()
    for name in NAMES:
        assert f"[{name}.ipynb]({name}.ipynb)" in pages["lessons/index.md"]
        assert f"[Download this notebook]({name}.ipynb)" in pages[f"lessons/{name}.md"]
        assert nbformat.reads(pages[f"lessons/{name}.ipynb"], as_version=4).cells
        assert "data:image/png;base64," in pages[f"lessons/{name}.md"]
