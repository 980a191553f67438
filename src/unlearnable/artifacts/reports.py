"""Artifacts that people read: scores as JSON, tables as Parquet, figures as PNG. kedro-viz previews all three."""

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from kedro_datasets._typing import ImagePreview, JSONPreview, TablePreview
from matplotlib.figure import Figure
from PIL import Image

from unlearnable.artifacts.artifact import Artifact
from unlearnable.artifacts.atomic import read_checked

DPI = 120
PREVIEWED_ROWS = 20
PICTURE = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=]+)")


class JsonDataset(Artifact[dict[str, Any], dict[str, Any]]):
    """A JSON object; its key ``recipe_hash`` is written and compared.

    Example:
        ```yaml
        scores:
          type: unlearnable.artifacts.reports.JsonDataset
          filepath: data/08_reporting/${place:}/scores.json
          recipe: ${recipe:}
          versioned: true
        ```
    """

    def encode(self, data: dict[str, Any]) -> bytes:
        """Return the object as indented JSON; NaN is refused, since JSON has none."""
        return json.dumps(data | {"recipe_hash": self.recipe}, indent=2, allow_nan=False).encode() + b"\n"

    def decode(self, content: bytes) -> tuple[dict[str, Any], str | None]:
        """Return the object and its recipe."""
        found = json.loads(content)
        return found, found.get("recipe_hash")

    def preview(self) -> JSONPreview:
        """Return what kedro-viz shows."""
        return JSONPreview(json.dumps(self.load()))


class TableDataset(Artifact[pd.DataFrame, pd.DataFrame]):
    """A table as Parquet.

    Example:
        ```yaml
        history:
          type: unlearnable.artifacts.reports.TableDataset
          filepath: data/08_reporting/${place:}/history.parquet
          recipe: ${recipe:}
          versioned: true
        ```
    """

    def encode(self, data: pd.DataFrame) -> bytes:
        """Return the table as Parquet, with the recipe in its schema."""
        table = pa.Table.from_pandas(data)
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), "recipe": self.recipe})
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        return buffer.getvalue()

    def decode(self, content: bytes) -> tuple[pd.DataFrame, str | None]:
        """Return the table and its recipe."""
        table = pq.read_table(io.BytesIO(content))
        return table.to_pandas(), (table.schema.metadata or {}).get(b"recipe", b"").decode() or None

    def preview(self, nrows: int = PREVIEWED_ROWS) -> TablePreview:
        """Return what kedro-viz shows."""
        return TablePreview(self.load().head(nrows).to_dict(orient="split"))


class PageDataset(Artifact[str, Path]):
    """A page of HTML that needs no other file; loading it gives the path.

    Example:
        ```yaml
        audit_page:
          type: unlearnable.artifacts.reports.PageDataset
          filepath: data/08_reporting/${place:}/audit.html
          recipe: ${recipe:}
          versioned: true
        ```
    """

    def encode(self, data: str) -> bytes:
        """Return the page with the recipe in a comment at its end."""
        return f"{data}\n<!-- recipe {self.recipe} -->\n".encode()

    def decode(self, content: bytes) -> tuple[Path, str | None]:
        """Return the path of the page, and its recipe."""
        found = re.search(rb"<!-- recipe (\w+) -->\n\Z", content)
        return Path(self._get_load_path()), found[1].decode() if found else None

    def preview(self) -> ImagePreview:
        """Return what kedro-viz shows: the first picture of the page."""
        return ImagePreview(PICTURE.findall(self.load().read_text())[0])


class FigureDataset(Artifact[Figure, Path]):
    """A matplotlib figure as PNG; loading it gives the path.

    Example:
        ```yaml
        accuracy_figure:
          type: unlearnable.artifacts.reports.FigureDataset
          filepath: data/08_reporting/${place:}/accuracy.png
          recipe: ${recipe:}
          versioned: true
        ```
    """

    def encode(self, data: Figure) -> bytes:
        """Return the figure as PNG, with the recipe in its text."""
        buffer = io.BytesIO()
        data.savefig(buffer, format="png", dpi=DPI, metadata={"recipe": self.recipe})
        return buffer.getvalue()

    def decode(self, content: bytes) -> tuple[Path, str | None]:
        """Return the path of the figure, and its recipe."""
        return Path(self._get_load_path()), Image.open(io.BytesIO(content)).info.get("recipe")

    def preview(self) -> ImagePreview:
        """Return what kedro-viz shows."""
        return ImagePreview(base64.b64encode(read_checked(self.load())).decode())
