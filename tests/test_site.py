"""The documentation, built as ``make docs`` builds it and opened in a real browser."""

import functools
import http.server
import json
import re
import shlex
import shutil
import subprocess
import sys
import threading
from html import unescape
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import pytest

from tests.conftest import ROOT
from tests.test_viz import CHROMIUM, FLAGS, Quiet

pytestmark = pytest.mark.system

BIN = Path(sys.executable).parent
PARTS = (
    *("docs", "docsite", "notebooks", "benchmarks", "src", "conf", "Makefile", "mkdocs.yml", "pyproject.toml"),
    *("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"),
)
LOADED = {"src", "srcset", "poster", "data"}  # attributes whose address a browser fetches
WIDTHS = (1400, 400)
CHECKED = (  # one page of each kind: pictures, code, warnings, tables that are wide on a telephone, what mkdocstrings writes
    "index.html",
    "quick-start.html",
    "tutorials/owners.html",
    "how-to/add-a-poison.html",
    "reference/environments.html",
    "reference/api/errors.html",
    "reference/leaderboard.html",
    "reference/lessons/1_the_paper.html",
    "reference/leaderboard/cifar10_fast.html",
)
OPENED = (*CHECKED, "results/index.html", "reference/parameters.html", "reference/catalog.html")  # the largest: axe takes seconds for each
OF_THE_THEME = {"landmark-unique"}  # navigation blocks of one name; moderate, and not ours to change


class Page(HTMLParser):
    """What a page links to, what it loads, and what links may name in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.names |= {found["id"]} if found.get("id") else set()
        self.loads += [value for name, value in found.items() if name in LOADED]
        if "href" in found:
            (self.links if tag in ("a", "area") else self.loads).append(found["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, as ``make docs`` builds it in a copy of the working tree."""
    folder = tmp_path_factory.mktemp("site")
    for name in PARTS:
        source = ROOT / name
        ignored = shutil.ignore_patterns("__pycache__", "reference", "*.egg-info")
        shutil.copytree(source, folder / name, ignore=ignored) if source.is_dir() else shutil.copy(source, folder / name)
    command = ["make", "-o", ".venv/installed", f"BIN={shlex.quote(str(BIN))}", "docs"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "build" / "site"


@pytest.fixture(scope="module")
def pages(site) -> dict[str, Page]:
    return {str(path.relative_to(site)): Page(path.read_text()) for path in site.rglob("*.html")}


def test_every_page_of_the_documents_is_built(site, pages):
    sources = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md") if "reference" not in path.parts]
    built = {str(path.with_name("index.html" if path.stem == "README" else f"{path.stem}.html")) for path in sources}
    assert built <= pages.keys()
    assert {"reference/parameters.html", "reference/api/poisons.html", "reference/changelog.html"} <= pages.keys()


def test_links_lead_somewhere(site, pages):
    broken = []
    for name, page in pages.items():
        for link in page.links + page.loads:
            path, anchor = urldefrag(unquote(link))
            if ":" in path.partition("/")[0] or path.startswith("//") or name == "404.html":
                continue
            target = (site / name).parent.joinpath(path).resolve() if path else site / name
            known = pages.get(str(target.relative_to(site.resolve()))) if target.suffix == ".html" else None
            if not target.exists() or (anchor and known and anchor not in known.names):
                broken.append(f"{name}: {link}")
    assert broken == []


def test_every_reference_to_the_api_is_resolved(site):
    unresolved = {path.name: found for path in site.rglob("*.html") if (found := re.findall(r"\]\[unlearnable[\w.]*\]", path.read_text()))}
    assert unresolved == {}


def test_nothing_is_loaded_from_elsewhere(site, pages):
    loaded = [load for page in pages.values() for load in page.loads if re.match(r"(https?:)?//", load)]
    assert loaded == []
    styles = [path.name for path in site.rglob("*.css") if re.search(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", path.read_text())]
    assert styles == []


def test_search_finds_a_parameter_and_a_function(site):
    text = (site / "search.json").read_text()
    assert "train.augmentation.clip_jitter" in text
    assert "balanced_subset" in text


# ---- in a browser

PROBE = """<!DOCTYPE html><title>probe</title><pre id="found"></pre><script>
const settled = () => new Promise(done => setTimeout(done, 500)); // scripts of the theme, and its changes of colour
const opened = (page, width) => new Promise(done => {
  const frame = document.createElement("iframe");
  frame.style = `border: 0; height: 900px; width: ${width}px`;
  frame.onload = () => done(frame);
  frame.src = page;
  document.body.append(frame);
});
const violations = async (view, rules) => {
  const run = await view.axe.run(view.document, {resultTypes: ["violations"], ...rules});
  return run.violations.map(each => ({rule: each.id, impact: each.impact, where: each.nodes.map(node => node.html.slice(0, 160))}));
};
(async () => {
  const found = [];
  for (const page of OPENED) for (const width of WIDTHS) {
    const frame = await opened("/" + page, width), view = frame.contentWindow, root = view.document.documentElement;
    const look = {page, width, wide: root.scrollWidth - root.clientWidth, light: [], dark: []};
    found.push(look);
    if (!CHECKED.includes(page)) { frame.remove(); continue; }
    view.eval(await (await fetch("/axe.js")).text());
    view.document.head.insertAdjacentHTML("beforeend", "<style>* { transition: none !important }</style>"); // else colours are on their way
    await settled();
    look.light = await violations(view, {});
    view.document.body.setAttribute("data-md-color-scheme", "slate");
    await settled();
    if (width === WIDTHS[0]) look.dark = await violations(view, {runOnly: ["color-contrast"]});
    frame.remove();
  }
  document.getElementById("found").textContent = JSON.stringify(found);
})();
</script>"""


BOARD = """<!DOCTYPE html><title>board</title><pre id="found"></pre><script>
const frame = document.createElement("iframe");
frame.src = "/reference/leaderboard.html";
frame.onload = () => {
  const root = frame.contentDocument, board = root.querySelector(".board[data-filters]");
  const heading = name => [...board.querySelectorAll("th")].find(each => each.querySelector("button").textContent.trim() === name);
  const rows = () => [...board.querySelectorAll("tbody tr")].filter(row => !row.hidden);
  const shown = column => rows().map(row => row.cells[column].textContent.trim());
  const sorted = () => { heading("accuracy").querySelector("button").click(); return shown(4); };
  const found = {all: shown(0), up: sorted(), down: sorted(), sort: heading("accuracy").getAttribute("aria-sort")};
  const choice = heading("poison").querySelector("select");
  choice.value = "ops";
  choice.dispatchEvent(new Event("change"));
  found.ops = shown(0);
  document.getElementById("found").textContent = JSON.stringify(found);
};
document.body.append(frame);
</script>"""


def opened(site: Path, text: str, profile: Path) -> Any:
    """Return what a page, which is put beside the others, has found in a browser."""
    (site / "probe.html").write_text(text)
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/probe.html"
        mouse = "--blink-settings=primaryHoverType=2,availableHoverTypes=2"  # with one, the theme lets a keyboard reach what scrolls
        options = [*FLAGS, mouse, f"--user-data-dir={profile}", "--window-size=1500,1000", "--virtual-time-budget=600000", "--dump-dom"]
        dumped = subprocess.run([str(CHROMIUM), *options, address], check=True, capture_output=True, text=True, timeout=200).stdout
        server.shutdown()
    return json.loads(unescape(re.search(r'<pre id="found">(.*?)</pre>', dumped, re.DOTALL)[1]))


@pytest.fixture(scope="module")
def looked_at(site, tmp_path_factory) -> list[dict]:
    """What a browser says of each opened page: how far it scrolls sideways, and what axe finds in light and in dark mode."""
    (site / "axe.js").write_text(files("axe_core_python").joinpath("axe.min.js").read_text())
    text = PROBE.replace("<script>", f"<script>const [OPENED, CHECKED, WIDTHS] = {json.dumps([OPENED, CHECKED, WIDTHS])};")
    return opened(site, text, tmp_path_factory.mktemp("browser"))


NOT_THERE = "Chromium is not installed (tests/install_browser.sh installs it on Debian as root)"
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason=NOT_THERE)


@needs_browser
def test_no_page_scrolls_sideways(looked_at):
    assert len(looked_at) == len(OPENED) * len(WIDTHS)
    assert [(look["page"], look["width"]) for look in looked_at if look["wide"] > 0] == []


@needs_browser
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_axe_finds_no_violation(looked_at, mode):
    found = {(violation["rule"], where) for look in looked_at for violation in look[mode] for where in violation["where"]}
    assert {(rule, where) for rule, where in found if rule not in OF_THE_THEME} == set()


@needs_browser
def test_a_board_sorts_and_filters(site, tmp_path):
    found = opened(site, BOARD, tmp_path)
    accuracies = [float(text.split()[0]) for text in found["up"]]
    assert len(found["all"]) >= 6
    assert accuracies == sorted(accuracies)
    assert found["down"] == found["up"][::-1]
    assert found["sort"] == "descending"
    assert found["ops"] == [name for name in found["all"] if name == "ops"] != []
    assert len(found["ops"]) < len(found["all"])


def test_a_board_needs_no_script(site):
    """Its rows are in the page."""
    text = (site / "reference" / "leaderboard.html").read_text()
    assert '<div class="board" data-filters="' in text
    assert "0.231" in text.partition('data-filters="')[2]
