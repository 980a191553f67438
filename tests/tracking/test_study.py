"""The one process beside a study: it feeds MLflow from the records of all of its runs."""

import pytest

from tests.tracking.conftest import CELL, Place, until
from tests.tracking.servers import HOST, free_port
from unlearnable.tracking.delivery import delivered
from unlearnable.tracking.feeder import unsent


@pytest.fixture
def delivery(place: Place):
    """The process, which is told to end where a test has not done so."""
    started = delivered(place.server, place.settings)
    yield started
    if not started._said.closed:
        started.finish()


def test_it_sends_each_run_while_the_study_goes_on(place, delivery):
    records = [place.record(), place.record()]
    for number, record in enumerate(records):
        record.append("metrics", step=0, values={"loss": float(number)})
    until(lambda: not any(unsent(record.path) for record in records))
    records[0].end("FINISHED")
    until(lambda: not unsent(records[0].path))
    records.append(place.record())
    for record in records[1:]:
        record.end("FAILED", "a reason")
    delivery.finish()
    assert [place.statuses(record.path) for record in records] == [{CELL: "FINISHED"}, {CELL: "FAILED"}, {CELL: "FAILED"}]
    assert [place.metrics(CELL, record.path) for record in records] == [[("loss", 0, 0.0)], [("loss", 0, 1.0)], []]


def test_what_a_killed_study_leaves_is_closed_and_sent(place, delivery):
    """A run may die a moment after the study that it dies with; the end of its lock is the end of the run."""
    early, late = place.record(), place.record()
    early.close()
    until(lambda: place.statuses(early.path) == {CELL: "KILLED"})
    delivery._told.close()
    until(lambda: not unsent(late.path))
    late.close()
    until(lambda: delivery._ends_within(0.1))
    assert place.statuses(late.path) == {CELL: "KILLED"}
    delivery._said.close()


def test_it_does_not_wait_for_runs_that_are_not_the_studys(place, delivery, caplog):
    other = place.record()
    delivery.finish()
    assert caplog.messages == []
    assert place.statuses(other.path) == {CELL: "RUNNING"}
    other.end("FINISHED")


def test_what_is_left_is_said_once(place, caplog):
    place.values |= {"tracking_uri": f"http://{HOST}:{free_port()}", "wait_s": 0.5}
    record = place.record()
    record.end("FINISHED")
    delivery = delivered(place.server, place.settings)
    until(lambda: delivery.hear() or caplog.messages)
    delivery.finish()
    [warning, left] = caplog.messages
    assert warning.endswith(f"The run continues; what is not sent stays in {place.settings.records}")
    assert left.startswith(f"2 events were not sent to MLflow at {place.server}")
    assert left.endswith("'kedro tracking replay' sends them")
