"""The graph that kedro-viz draws, opened in a real browser."""

import functools
import http.server
import json
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


MOST_BOXES = 14  # that fit a screen and can be read on it


@pytest.fixture
def built(tmp_path):
    """A project with the static site of its graph."""
    project = copy_project(tmp_path / "project")
    subprocess.run(
        [sys.executable, "-m", "kedro", "viz", "build", "--include-previews"],
        cwd=project,
        check=True,
        capture_output=True,
        env={**os.environ, "DO_NOT_TRACK": "true"},
    )
    return project


@pytest.fixture
def site(built):
    """The static site of the graph, served on loopback."""
    handler = functools.partial(Quiet, directory=str(built / "build"))
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
def test_the_graph_opens_with_every_stage_in_it(built, site, tmp_path):
    page = opened(site, tmp_path, "--dump-dom")
    drawn = set(re.findall(r'class="pipeline-node__text"[^>]*>([^<]+)<', page))
    assert {
        "raw_images",
        "craft_poison",
        "orthogonal_projection",
        "trainings",
        "probe_checkpoints",
        "evaluation",
        "dfr_figure",
        "accuracy_figure",
    } <= drawn
    layers = re.findall(r'data-id="layer-label--(\w+)"', page)
    assert layers == ["raw", "primary", "model_input", "models", "model_output", "reporting"]
    graph = json.loads((built / "build" / "api" / "pipelines" / "orthoproj").read_text())
    parameters = {node["id"] for node in graph["nodes"] if node["type"] == "parameters"}
    boxes = [child for child in graph["modular_pipelines"]["__root__"]["children"] if child["id"] not in parameters]
    assert 0 < len(boxes) <= MOST_BOXES
