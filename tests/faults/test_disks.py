"""Disks that are full, files that may not grow, calls that fail, folders that may not be written."""

import shutil
import subprocess

import pytest

WRITES = 20
# A file system of two megabytes that only this process and its children see; root mounts it, others in a namespace of their own.
MOUNTED = ("unshare", "--map-root-user", "--mount", "sh", "-c", 'mount -t tmpfs -o size=2m tmpfs "$0" && exec "$@"')


@pytest.fixture
def small_disk(tmp_path):
    """The command that runs another one with a small disk at ``tmp_path``."""
    command = (*MOUNTED, str(tmp_path))
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    return command


def test_a_full_disk_is_said_and_does_no_harm_at_each_of_the_first_writes(run_module, tmp_path, small_disk):
    results = run_module("full_disk", tmp_path, "disk", WRITES, before=small_disk)
    assert results == [dict.fromkeys(results[0], True)] * WRITES


def test_a_limit_on_the_size_of_files_is_said_and_does_no_harm_at_each_of_the_first_writes(run_module, tmp_path):
    results = run_module("full_disk", tmp_path, "size", WRITES)
    assert results == [dict.fromkeys(results[0], True)] * WRITES
