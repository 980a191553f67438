"""The lessons: scripts in ``notebooks``, run from start to end; the notebooks with their output; and their pages on the site.

``python -m docsite.lessons`` runs every lesson, and writes its notebook beside its script.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docsite import ROOT, table

FOLDER = ROOT / "notebooks"
QUICK = "UNLEARNABLE_LESSONS"  # "quick": few images and few epochs, as the tests run the lessons
TIMEOUT_S = 1800  # of a cell
ANSI = re.compile(r"\x1b(?:\[[0-9;?]*[a-zA-Z]|\][^\x1b]*\x1b\\)")  # colours and links of a terminal
INTRODUCTION = """# Lessons

Each lesson is a notebook that runs on a CPU in minutes. Read it here with its output, or download it and put it into the folder
`notebooks` of the project; `make demo` sets up what it needs, and `pip install notebook` an editor for it. The tests run every lesson.
"""


def lessons() -> list[Path]:
    """Return the scripts of the lessons, in order."""
    return sorted(FOLDER.glob("[0-9]*.py"))


def executed(script: Path, folder: Path) -> Any:
    """Return the notebook of a lesson with its output, after running it in ``folder`` (of a project).

    Raises:
        CellExecutionError: a cell of the lesson fails.
    """
    import jupytext  # here: the pages are made without these three, from JSON
    from nbclient import NotebookClient

    notebook = jupytext.read(script)
    NotebookClient(notebook, timeout=TIMEOUT_S, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    for number, cell in enumerate(notebook.cells, start=1):
        cell.id, cell.metadata = f"cell-{number}", type(cell)()  # the same in every run
        for output in cell.get("outputs", []):
            _clean(output, folder.parent)
    notebook.metadata = type(notebook)({"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}})
    return notebook


def _clean(output: dict[str, Any], project: Path) -> None:
    """Remove colours, and the place of the project, from what a cell printed."""
    for holder, name in ((output, "text"), (output.get("data", {}), "text/plain")):
        if name in holder:
            holder[name] = ANSI.sub("", holder[name]).replace(f"{project}/", "").replace(str(project), ".")
    output.get("data", {}).pop("text/html", None)  # coloured text again


def lesson_pages() -> dict[str, str]:
    """Return the list of lessons, and for each its page and its notebook."""
    found = {script.stem: (script.with_suffix(".ipynb")).read_text(encoding="utf-8") for script in lessons()}
    pages = {f"lessons/{name}.ipynb": text for name, text in found.items()}
    read = {name: json.loads(text)["cells"] for name, text in found.items()}
    pages |= {f"lessons/{name}.md": _page(name, cells) for name, cells in read.items()}
    rows = [[f"[{_title(cells)}]({name}.md)", f"[{name}.ipynb]({name}.ipynb)"] for name, cells in read.items()]
    return pages | {"lessons/index.md": INTRODUCTION + "\n" + table(["lesson", "download"], rows)}


def _title(cells: list[dict[str, Any]]) -> str:
    return _text(cells[0]["source"]).partition("\n")[0].removeprefix("# ")


def _page(name: str, cells: list[dict[str, Any]]) -> str:
    title, _, rest = _text(cells[0]["source"]).partition("\n")
    return "\n\n".join([title, f"[Download this notebook]({name}.ipynb)", rest.strip(), *_parts(cells[1:])]) + "\n"


def _parts(cells: list[dict[str, Any]]) -> Iterator[str]:
    """Yield cells in Markdown, and after code what it printed or drew."""
    for cell in cells:
        if cell["cell_type"] == "markdown":
            yield _text(cell["source"])
            continue
        yield f"```python\n{_text(cell['source'])}\n```"
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                yield f"![drawn by the code above](data:image/png;base64,{_text(data['image/png']).strip()})"
            elif text := _text(output.get("text") or data.get("text/plain", "")).strip():
                yield f"```text\n{text}\n```"


def _text(lines: str | list[str]) -> str:
    """Return a text of a notebook, which has it whole or as lines."""
    return "".join(lines)


def write() -> None:
    """Run every lesson in the project, and write its notebook."""
    import nbformat

    os.environ.pop(QUICK, None)
    for script in lessons():
        nbformat.write(executed(script, FOLDER), script.with_suffix(".ipynb"))


if __name__ == "__main__":
    write()
