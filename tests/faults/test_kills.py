"""Writers that are killed: nothing unreadable, nothing lost that was acknowledged, and the next run completes."""

import pytest

from tests.faults.writers import WRITERS


@pytest.mark.parametrize("trials", [6, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_a_killed_writer_leaves_no_broken_artifact_and_loses_none(trials, run_module, tmp_path):
    found = run_module("writers", trials, tmp_path)
    assert set(found) == set(WRITERS)
    for name, totals in found.items():
        assert totals["trials"] == totals["completes"] == trials, name
        assert {totals[what] for what in ("unreadable", "lost", "left")} == {0}, name
    assert sum(totals["acknowledged"] for totals in found.values()) > trials
    assert sum(totals["orphans"] for totals in found.values()) > 0  # some were killed in the middle of a write
