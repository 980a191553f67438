"""The graph that kedro-viz draws, opened in a real browser."""

import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.conftest import copy_project

pytestmark = pytest.mark.system

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture
def site(tmp_path):
    """The static site of the graph, served on loopback."""
    project = copy_project(tmp_path / "project")
    subprocess.run(
        [sys.executable, "-m", "kedro", "viz", "build", "--include-previews"],
        cwd=project,
        check=True,
        capture_output=True,
        env={**os.environ, "DO_NOT_TRACK": "true"},
    )
    handler = functools.partial(Quiet, directory=str(project / "build"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


def opened(url: str, folder: Path, *arguments: str) -> str:
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [str(CHROMIUM), *FLAGS, profile, "--window-size=1600,1200", "--virtual-time-budget=20000", *arguments, url]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (tests/install_browser.sh installs it on Debian as root)")
def test_the_graph_opens_with_every_stage_in_it(site, tmp_path):
    page = opened(site, tmp_path, "--dump-dom")
    drawn = set(re.findall(r'class="pipeline-node__text"[^>]*>([^<]+)<', page))
    assert {
        "raw_images",
        "craft_poison",
        "orthogonal_projection",
        "clean",
        "poisoned",
        "recovered",
        "probe_checkpoints",
        "dfr_figure",
        "scores",
        "accuracy_figure",
    } <= drawn
    layers = re.findall(r'data-id="layer-label--(\w+)"', page)
    assert layers == ["raw", "primary", "model_input", "models", "model_output", "reporting"]
