"""What pages of HTML share: how their templates are read, and their style."""

import base64
import hashlib

import jinja2


def environment(folder: str) -> jinja2.Environment:
    """Return what renders the templates of a folder of this package; everything from data is escaped, and a missing value is an error."""
    found = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader("unlearnable", place) for place in (folder, "pages")]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["sha256"] = _sha256
    return found


def base64_text(content: bytes) -> str:
    """Return bytes in the form that the address of a picture takes."""
    return base64.b64encode(content).decode()


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
