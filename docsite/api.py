"""The pages of the API: one for each module or package of ours, written by mkdocstrings from the docstrings."""

import ast
from pathlib import Path

from docsite import ROOT, first_sentence, table

PACKAGE = ROOT / "src" / "unlearnable"
INDEX = """# API

Every public function and class, from its docstring. Start with [`unlearnable.api`](api.md), which has what `import unlearnable` offers.
It and the modules below it (poisons, recoveries, probes, training, models, images) need neither Kedro nor MLflow.
"""


def api_pages() -> dict[str, str]:
    """Return a page for each module or package of ours, and one that lists them."""
    found = [path for path in sorted(PACKAGE.iterdir()) if _is_module(path)]
    pages = {f"api/{path.stem}.md": f"# {path.stem}\n\n::: unlearnable.{path.stem}\n" for path in found}
    rows = [[f"[`unlearnable.{path.stem}`]({path.stem}.md)", first_sentence(_docstring(path))] for path in found]
    return pages | {"api/index.md": INDEX + "\n" + table(["module", "what is in it"], rows)}


def _is_module(path: Path) -> bool:
    return not path.stem.startswith("_") and (path.suffix == ".py" or (path / "__init__.py").exists())


def _docstring(path: Path) -> str | None:
    file = path if path.suffix else path / "__init__.py"
    return ast.get_docstring(ast.parse(file.read_text()))
