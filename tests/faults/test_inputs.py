"""Inputs that are malformed or made to do harm: one line each, and nothing is left behind."""

import pytest

from tests.faults.cases import CASES, Case
from tests.faults.sandbox import Sandbox, Watch
from tests.faults.table import PAGE, ROW, without_places


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Sandbox:
    return Sandbox.made(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def watch(made) -> Watch:
    return Watch(made.folder)


@pytest.fixture
def sandbox(made, monkeypatch):
    def no_network(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    yield made
    made.restore()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_malformed_input_is_one_line_and_leaves_nothing(case: Case, sandbox: Sandbox, watch: Watch, record_property):
    arguments = case.arrange(sandbox)
    before = sandbox.state()
    with watch:
        exit_code, line = sandbox.line(arguments) if case.command else (None, sandbox.error(arguments))
    record_property(ROW, [case.number, case.what, exit_code, without_places(line, sandbox.folder)])
    assert exit_code != 0
    assert case.message in line
    assert case.names in line
    assert sandbox.state() == before
    assert watch.touched == set()
    assert sandbox.runs_left_running() == 0


def test_what_a_case_must_not_do_is_noticed(sandbox, tmp_path):
    """The twin of the test above."""
    before = sandbox.state()
    watch = Watch(sandbox.folder)
    with watch:
        (tmp_path / "outside").write_text("")
        sandbox.artifact().with_name("new").write_text("")
    assert watch.touched == {str(tmp_path / "outside")}
    assert sandbox.state() != before


def test_every_case_of_the_list_is_tried():
    assert {case.number for case in CASES} == set(range(1, 50))


def test_every_case_asks_for_a_name_and_for_what_was_expected():
    said = ("expected ", "unknown ", "did you mean ", "invalid ", "missing ")
    assert [str(case) for case in CASES if not case.names or not case.message.startswith(said)] == []


def test_the_page_has_every_case(request):
    if request.config.getoption("write_table"):
        pytest.skip("it is being written")
    page = PAGE.read_text()
    assert [case for case in CASES if f"| {case.number} | {case.what} |" not in page] == []
