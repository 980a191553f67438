"""Rendering of pages from their templates."""

import base64
import hashlib

import jinja2


def rendered(template: str, **values: object) -> str:
    """Return a page of this folder; everything from data is escaped, and a missing value is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("unlearnable", "reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["sha256"] = lambda text: base64_text(hashlib.sha256(text.encode()).digest())
    return environment.get_template(template).render(values)


def base64_text(content: bytes) -> str:
    """Return bytes as base64 text, for the address of an embedded picture."""
    return base64.b64encode(content).decode()
