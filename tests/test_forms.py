"""The issue forms are ones that a code host accepts, and ask for what the project needs."""

import re

import pytest
import yaml
from benchmarks.results.data import About

from tests.conftest import ROOT

FORMS = {
    path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config"
}
KINDS = {"markdown", "textarea", "input", "dropdown", "checkboxes"}


def asked(name: str) -> dict[str, dict]:
    """Return the questions of a form by their id."""
    return {question["id"]: question for question in FORMS[name]["body"] if question["type"] != "markdown"}


def required(question: dict) -> bool:
    return question.get("validations", {}).get("required", False)


@pytest.mark.parametrize("name", FORMS)
def test_a_form_has_a_name_a_description_and_questions_with_labels(name):
    form = FORMS[name]
    assert form["name"]
    assert form["description"]
    assert {question["type"] for question in form["body"]} <= KINDS
    assert len(asked(name)) == len([question for question in form["body"] if question["type"] != "markdown"])  # no id twice
    assert all(question["attributes"]["label"] for question in asked(name).values())


def test_a_result_is_asked_for_what_its_about_must_have():
    questions = asked("result")
    for name, field in About.model_fields.items():
        assert required(questions[name]) is field.is_required(), name


def test_what_forms_name_is_there():
    assert {"poison", "recovery", "result", "fault"} <= FORMS.keys()
    named = re.findall(r"(?:docs|src)/[\w/.-]*\w", (ROOT / ".github" / "ISSUE_TEMPLATE" / "poison.yml").read_text())
    assert len(named) >= 3
    assert [name for name in named if not (ROOT / name).exists()] == []
