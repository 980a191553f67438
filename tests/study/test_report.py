"""The page of a study, as a browser and a reader have it."""

import json
import re
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import matplotlib as mpl
import pandas as pd
import pytest

from tests.study.findings_example import cell, example, few, nothing
from tests.test_viz import CHROMIUM, FLAGS
from unlearnable.reporting.charts import FIGURES, Drawing
from unlearnable.reporting.made_on import differences, short
from unlearnable.reporting.study import page, render, write

HOSTILE = '<script>alert("x")</script>$\\frac{$&amp;'
SIZE = 1_500_000


class Page(HTMLParser):
    """What a page refers to, its rows, its headings and its text."""

    def __init__(self, text):
        super().__init__()
        self.links, self.sources, self.tags, self.rows, self.texts, self.identities = [], [], [], [], [], []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append(tag)
        self.identities += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if tag == "a" else []
        self.sources += [value for name, value in found.items() if name in ("src", "srcset", "data", "action", "poster")]
        self.sources += [found["href"]] if tag != "a" and "href" in found else []
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.inside = True

    def handle_data(self, data):
        self.texts.append(data)
        if self.inside:
            self.rows[-1][-1] += data

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ("td", "th")

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def row(self, *first):
        return next(row for row in self.rows if tuple(row[: len(first)]) == first)


UNDRAWN = dict.fromkeys(FIGURES, Drawing(files={"svg": b""}, alt="a figure"))


def undrawn(findings) -> str:
    """Return the page without its figures, for whoever reads its words and tables."""
    return page(findings, UNDRAWN)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The files of the example, a file each name."""
    return write(example(), tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def text(files):
    return files["report.html"].read_text()


@pytest.fixture(scope="module")
def found(text):
    return Page(text)


def test_the_page_asks_for_nothing_outside_itself(text, found):
    assert found.sources
    assert all(source.startswith("data:image/") for source in found.sources)
    assert not {"link", "iframe", "object", "embed", "base"} & set(found.tags)
    assert not re.search(r"url\(|@import", text)


def test_links_lead_to_runs_to_sources_and_within_the_page(found):
    outside = {link for link in found.links if not link.startswith("#")}
    runs = set(example().cells["run_url"])
    assert runs <= outside
    assert outside - runs == {"https://apbench.github.io/", "https://github.com/liuzrcc/ImageShortcutSqueezing"}
    assert {link[1:] for link in found.links if link.startswith("#")} <= set(found.identities)


def test_the_page_says_at_its_top_what_was_asked_and_what_is_finished(text):
    top = Page(text[: text.index("<main>")]).text
    findings = example()
    for said in (findings.name, findings.description, "121 of 126", "1 running", "3 failed", "0, 1, 2", "7d0e473a0c5e", findings.made):
        assert said in top


def test_numbers_of_the_table_are_those_of_the_cells():
    page = Page(undrawn(few(*[cell(poison="lsp", seed=seed, accuracy=accuracy) for seed, accuracy in enumerate((0.1, 0.2, 0.6))])))
    assert page.row("lsp", "none")[2:5] == ["3", "30.0%", "26.5"]


def test_gains_are_in_points():
    page = Page(undrawn(few(cell(accuracy=0.5), cell(recovery="jpeg", accuracy=0.25))))
    assert page.row("none", "jpeg")[6] == "\N{MINUS SIGN}25.0"


def test_one_seed_has_no_deviation():
    page = Page(undrawn(few(cell(), cell(recovery="jpeg"))))
    assert page.row("none", "jpeg")[2:5] == ["1", "80.0%", "\N{EN DASH}"]
    assert not re.search(r"\bnan\b", page.text, re.IGNORECASE)


def test_nothing_is_printed_for_what_was_not_measured(found):
    assert not re.search(r"\b(nan|None|NaT)\b", found.text)


def test_where_nothing_is_finished_there_is_a_page_all_the_same():
    page = Page(undrawn(few(cells=nothing("cells"), unfinished=example().unfinished)))
    assert "No cell of this study is finished yet." in page.text
    assert "0 of 5" in page.text
    assert "img" not in page.tags


def test_a_study_of_nothing_has_a_page():
    page = Page(undrawn(few(cells=pd.DataFrame(), unfinished=pd.DataFrame(), dfr=pd.DataFrame(), separability=pd.DataFrame())))
    assert "0 of 0" in page.text


def test_failed_cells_are_listed_with_their_error(found):
    errors = [row[4] for row in found.rows if row[3:4] == ["failed"]]
    assert len(errors) == 3
    assert errors[0].startswith("MemoryError: 512 MiB asked")  # the last line, and the whole below it
    assert "step 812" in errors[0]
    assert errors[2] == "InputError: unknown recovery 'adversarial'; known: none, jpeg"


def test_parts_that_a_study_does_not_have_are_left_out():
    page = Page(undrawn(few(cell())))
    assert not {"dfr", "separability", "pictures", "unfinished"} & set(page.identities)
    assert {"accuracy", "time", "cells"} <= set(page.identities)


def test_each_cell_has_its_run_its_recipe_and_its_versions():
    changed = cell(
        recovery="jpeg", run_url="https://tracking.example/#/runs/1", recipe='{"ingest": {"train_size": 7}}', versions='{"torch": "9"}'
    )
    page = Page(undrawn(few(cell(), cell(seed=1), changed)))
    row = next(row for row in page.rows if row[:2] == ["none", "jpeg"] and "MLflow" in row)
    assert "1 differ" + "ingest.train_size: 7" in row
    assert row[-1] == "2"
    assert "torch 9" in page.text
    assert "https://tracking.example/#/runs/1" in page.links


def test_what_is_no_link_to_the_web_is_text():
    addresses = ["javascript:alert(1)", "data:text/html,x", "/etc/passwd", "", None, "http:/[", "httpx://x", "http://x/run"]
    page = Page(undrawn(few(*[cell(seed=seed, run_url=address) for seed, address in enumerate(addresses)])))
    assert set(addresses) & set(page.links) == {"http://x/run"}


def test_settings_of_peers_that_differ_are_told_in_a_line_and_their_figures_are_not_there(found):
    assert "because of a different number of images, a different network, a different training recipe." in found.text
    assert "47.72%" not in found.text
    assert not [name for name in found.identities if name.startswith("table-published")]


def test_peers_stand_beside_ours_with_their_sources():
    page = Page(undrawn(few(cell(poison="lsp"))))
    assert page.row("lsp", "none", "80.0%") == ["lsp", "none", "80.0%", "1", "13.1%", "19.1%"]
    assert "leaderboard.md of apbench.github.io" in page.text


def test_threads_that_differ_are_said():
    assert "hardly be compared" not in undrawn(few(cell(), cell(seed=1)))
    assert "different numbers of threads (1, 2)" in undrawn(few(cell(), cell(seed=1, threads="2")))


def made(device, name, **more) -> str:
    facts = {"device": device, "name": name, "precision": "float32", "torch": "2.15.0", **more}
    return json.dumps({"clean": facts, "recovered": facts})


def test_what_cells_were_made_on_is_said_where_it_differs():
    on_cards = [made("cuda", "H100", flags="deterministic"), made("cuda", "H200", flags="deterministic"), made("cpu", "EPYC")]
    cells = [cell(seed=seed, made_on=made_on) for seed, made_on in enumerate([*on_cards, on_cards[0], ""])]
    said = (
        "Cells were not all made on the same: kind of device (3 cuda, 1 cpu); device (2 H100, 1 H200, 1 EPYC); "
        "flags of the GPU (3 deterministic, 1 none); not recorded (1)."
    )
    assert differences(few(*cells)) == said
    page = undrawn(few(*cells))
    assert f'<p class="warn">{said}</p>' in page
    assert "cuda, float32" in page
    for alike in ([cells[0], cells[3]], [cell(seed=0), cell(seed=1)]):
        assert differences(few(*alike)) == ""


def test_a_cell_of_two_devices_names_both_and_probed_networks_count_once():
    both = json.dumps({"clean": {"device": "cpu"}, "poisoned": {}, "recovered": {"device": "cuda"}})
    assert short(both) == "cpu and cuda"
    heads = example().dfr.assign(made_on=made("cuda", "H100"))
    heads = heads[heads["poison"].eq("ops") & heads["seed"].lt(2)]
    told = differences(few(cell(made_on=made("cpu", "EPYC")), dfr=heads))
    assert told == "Cells were not all made on the same: kind of device (2 cuda, 1 cpu); device (2 H100, 1 EPYC)."


def test_hostile_names_stay_text():
    names = {"poison": HOSTILE, "recovery": f"{HOSTILE} r", "override": HOSTILE, "recipe": f'{{"{HOSTILE.replace(chr(34), "")}": 1}}'}
    hostile = cell(**names, run_url=f'http://x/"{HOSTILE}', commit=HOSTILE, versions=HOSTILE, recipe_hash=HOSTILE)
    lost = nothing("unfinished").reindex([0]).assign(**cell(poison=HOSTILE), state=HOSTILE, error=f"{HOSTILE}\n{HOSTILE}")
    dfr = example().dfr.head(3).assign(poison=HOSTILE, estimator=HOSTILE, model=HOSTILE)
    separability = example().separability.head(3).assign(poison=HOSTILE, fit=HOSTILE)
    text = render(
        few(hostile, cell(), unfinished=lost, dfr=dfr, separability=separability, name=HOSTILE, description=HOSTILE, made=HOSTILE)
    )
    page = Page(text)
    assert page.tags.count("script") == 1
    assert "alert(" not in re.sub(r"&lt;script&gt;alert\(|http://x/[^>]*", "", text)
    assert HOSTILE in page.texts


def test_names_are_no_formulas():
    assert "$\\frac{$" in Page(undrawn(few(cell(poison="$\\frac{$")))).text


def test_controls_come_first_among_the_cells(text):
    cells = Page(text[text.index('id="table-cells"') :]).rows[1:]
    assert [row[:2] for row in cells[:3]] == [["none", "none"]] * 3
    assert cells[3][0] == "none"


def test_the_policy_lets_only_the_pages_own_script_run(text):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'sha256-[\w+/]{43}='$", policy)


def test_a_page_of_126_cells_is_small(text):
    assert len(text.encode()) < SIZE


def test_equal_findings_give_equal_files_whatever_else_is_set(files, tmp_path):
    with mpl.rc_context({"svg.hashsalt": None, "axes.labelcolor": "red"}):
        second = write(example(), tmp_path)
    assert {name: path.read_bytes() for name, path in files.items()} == {name: path.read_bytes() for name, path in second.items()}


def test_other_findings_give_another_page():
    assert undrawn(example(made="2027-01-01T00:00:00+00:00")) != undrawn(example())


def test_the_files_are_where_they_are_said_to_be(files):
    folder = files["report.html"].parent
    figures = {f"figures/{name}.{kind}" for name in ("accuracy", "time", "dfr", "separability") for kind in ("svg", "pdf")}
    assert set(files) == {"report.html", "cells.parquet"} | figures
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == set(files)


def test_cells_come_back_from_parquet(files):
    findings = example()
    found = pd.read_parquet(files["cells.parquet"])
    pd.testing.assert_frame_equal(found, findings.cells.reset_index(drop=True), check_dtype=False)


def test_figures_embed_their_fonts_and_name_no_day(files):
    for name, path in files.items():
        content = path.read_bytes()
        if name.endswith(".pdf"):
            assert b"/CIDFontType2" in content  # TrueType, as type 42
            assert b"/Type3" not in content
            assert b"/CreationDate" not in content
        if name.endswith(".svg"):
            assert b"<dc:date>" not in content


def test_a_second_report_replaces_the_first(tmp_path):
    write(few(cell(), dfr=example().dfr), tmp_path)
    files = write(few(cell()), tmp_path)
    assert "1 of 1" in files["report.html"].read_text()
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == set(files)


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    monkeypatch.setattr("unlearnable.reporting.study.draw", lambda *_: UNDRAWN)
    old = write(few(cell()), tmp_path)["report.html"].read_bytes()
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="disk is full"):
        write(few(cell(seed=1)), tmp_path)
    assert (tmp_path / "report.html").read_bytes() == old
    assert not list(tmp_path.rglob("*.tmp"))


def full(_):
    raise OSError("disk is full")


@pytest.mark.system
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (tests/install_browser.sh installs it on Debian as root)")
def test_a_heading_sorts_by_its_column(text, tmp_path):
    click = "document.querySelectorAll('#table-accuracy thead button')[9].click();"
    more = text.replace("</body>", f"<script>{click}{click}</script></body>")
    (tmp_path / "page.html").write_text(re.sub(r"script-src [^\"]*", "script-src 'unsafe-inline'", more))
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", (tmp_path / "page.html").as_uri()]
    dumped = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    table = dumped[dumped.index('id="table-accuracy"') :]
    seconds = [row[9] for row in Page(table[: table.index("</table>")]).rows[1:]]
    numbers = [float(text) for text in seconds[:-1]]
    assert seconds[-1] == "\N{EN DASH}"  # what is not there stands last, whichever way
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[0] > 600.0  # and 78.6 is less
    assert table.count('aria-sort="descending"') >= 1


def test_seeds_are_whole_numbers_where_nothing_is_unfinished():
    page = Page(undrawn(replace(example(), unfinished=pd.DataFrame())))
    assert "seeds 0, 1, 2 threads" in " ".join(page.text.split())


def test_a_panel_without_a_poison_is_not_drawn():
    """Five panels are in two lines of three."""
    dfr = pd.concat([example().dfr.query("poison == 'none'").assign(poison=name) for name in "abcde"])
    figure, _ = FIGURES["dfr"](example(dfr=dfr))
    assert [axes.get_visible() for axes in figure.axes] == [True] * 5 + [False]


def test_bounds_of_learnability_are_a_table_with_a_dash_where_draws_were_too_few():
    key = {"dataset": "cifar10", "poison": "lsp", "override": "", "model": "resnet18", "deviation": 0.02, "quantile": 0.9}
    found = [(0, 0.01, 0.30), (1, 0.01, 0.32), (0, 0.1, None), (1, 0.1, None)]
    rows = [{**key, "seed": seed, "radius": radius, "bound": bound, "plain_accuracy": 0.5} for seed, radius, bound in found]
    text = undrawn(few(cell(poison="lsp"), learnability=pd.DataFrame(rows)))
    table = text[text.index('<h2 id="learnability">') :]
    shown = [re.sub(r"<[^>]*>", " ", row).split() for row in re.findall(r"<tr>.*?</tr>", table, re.DOTALL)[1:3]]
    assert " ".join(shown[0]).endswith("0.01 31.0% \N{PLUS-MINUS SIGN} 1.4 50.0% 2")
    assert " ".join(shown[1]).endswith("0.1 \N{EN DASH} 50.0% 0")
