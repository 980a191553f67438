"""The paper's cells, all of it small: lines, kills, estimates, failures, the table, the parts and wrong input."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.paper import __main__ as command
from benchmarks.paper import agreement, data, work
from benchmarks.paper.agreement import CHECK, principal_angles
from benchmarks.paper.cells import CELLS, CHECKS, Cell, Rates, needs
from benchmarks.paper.lines import Log, read
from benchmarks.paper.poisons import Ahead
from benchmarks.paper.table import EXPECTED, PAGE, RESULTS, section, with_section
from torchvision import datasets

from tests.sources.cifar import write_cifar10
from unlearnable.errors import InputError
from unlearnable.training import replay

ROOT = Path(__file__).parents[2]
FEW = "cifar10/resnet18/ops/*/0,cifar10/resnet18/none/clean/0,cifar10/resnet18/pil/separability/0"
KEYS = {
    f"dry/cifar10/resnet18/{name}/0" for name in ("ops/dfr", "ops/poisoned", "ops/orthogonal_projection", "none/clean", "pil/separability")
}
TIMES = {"seconds", "wall", "images_per_second", "peak_gib", "crafting_seconds"}
EPOCHS = 2 + 2 + 2 + 3 + 1  # clean, Orthogonal Projection, DFR's training and its three networks; pil's own


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder as torchvision reads CIFAR-10 from, and all of its images."""
    root = tmp_path_factory.mktemp("published")
    images, md5 = write_cifar10(root, per_batch=100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.CIFAR10, "train_list", [[f"data_batch_{i}", md5[f"data_batch_{i}"]] for i in range(1, 6)])
        patch.setattr(datasets.CIFAR10, "test_list", [["test_batch", md5["test_batch"]]])
        patch.setattr(datasets.CIFAR10, "meta", {**datasets.CIFAR10.meta, "md5": md5["batches.meta"]})
        yield root, images


@pytest.fixture(scope="module")
def parts(published, tmp_path_factory):
    """The same, packed."""
    folder = tmp_path_factory.mktemp("parts")
    assert command.main(["--pack", str(folder), "--data-root", str(published[0])]) == 0
    return folder


@pytest.fixture(scope="module")
def unbroken(parts, tmp_path_factory):
    """The results of a run that nothing stopped."""
    out = tmp_path_factory.mktemp("unbroken")
    assert command.main(dry(parts, out)) == 0
    return out


def dry(parts, out, only=FEW, *more):
    return ["--dry-run", "--device", "cpu", "--data", str(parts), "--out", str(out), "--only", only, "--commit", "abc", *more]


def lines(out, file="cells.jsonl"):
    return [json.loads(row) for row in (out / file).read_text().splitlines()]


def untimed(value):
    if isinstance(value, dict):
        return {name: untimed(each) for name, each in value.items() if name not in TIMES}
    return [untimed(each) for each in value] if isinstance(value, list) else value


def by_key(out):
    return {line["key"]: untimed(line) for line in lines(out)}


# ---- lines


def test_a_run_leaves_a_line_a_cell_and_a_line_an_epoch(unbroken):
    found = by_key(unbroken)
    assert len(lines(unbroken)) == len(found)
    assert set(found) == KEYS
    assert len(lines(unbroken, "epochs.jsonl")) == EPOCHS
    recovered = found["dry/cifar10/resnet18/ops/orthogonal_projection/0"]
    assert recovered["format"] == 1
    assert recovered["versions"]["torch"] == torch.__version__
    assert recovered["versions"]["commit"] == "abc"
    assert recovered["flags"]["threads"] == 1
    assert recovered["flags"]["recorded"] is False
    assert [epoch["test_accuracy"] for epoch in recovered["history"]][-1] == recovered["accuracy"]
    assert (recovered["linf"], recovered["pixels"]) == (255, 1)  # one-pixel shortcuts


def test_a_training_for_dfr_is_the_poisoned_cell_too(unbroken):
    found = by_key(unbroken)
    dfr, poisoned = (found[f"dry/cifar10/resnet18/ops/{what}/0"] for what in ("dfr", "poisoned"))
    assert dfr["history"] == poisoned["history"]
    assert [(row["epoch"], row["clean_samples"]) for row in dfr["rows"]] == [(epoch, count) for epoch in (0, 1, 2) for count in (20, 40)]
    assert dfr["rows"][-1]["plain_accuracy"] == poisoned["accuracy"]
    trained = [line for line in lines(unbroken, "epochs.jsonl") if "/ops/" in line["key"] and line["kind"] == "epoch/tiny_cnn"]
    assert len(trained) == 4  # twice two epochs: nothing for the poisoned cell


def test_what_is_there_is_not_measured_again(unbroken, parts, tmp_path, capsys):
    before = (unbroken / "cells.jsonl").read_bytes()
    assert command.main(dry(parts, unbroken)) == 0
    assert (unbroken / "cells.jsonl").read_bytes() == before
    assert command.main(dry(parts, tmp_path, FEW, "--results", str(unbroken / "cells.jsonl"))) == 0
    assert not (tmp_path / "cells.jsonl").exists()
    assert capsys.readouterr().err.count("all of it is measured already") == 2


@pytest.mark.parametrize("tail", [b"", b'{"form', b'{"format": 1, "key": "c"', b"\0\0\0"])
def test_a_half_written_last_line_is_dropped(tail, tmp_path):
    (tmp_path / "cells.jsonl").write_bytes(b'{"format": 1, "key": "a"}\n{"format": 1, "key": "b"}\n' + tail)
    log = Log(tmp_path)
    log.cell({"key": "d"})
    assert [line["key"] for line in lines(tmp_path)] == ["a", "b", "d"]


def test_a_whole_last_line_without_its_end_is_kept(tmp_path):
    (tmp_path / "cells.jsonl").write_bytes(b'{"format": 1, "key": "a"}')
    Log(tmp_path).cell({"key": "b"})
    assert [line["key"] for line in lines(tmp_path)] == ["a", "b"]


# ---- kills


def killed_and_resumed(parts, unbroken, out, epochs):
    """Kill a run after so many epochs, resume it, and compare it with one that nothing stopped."""
    shutil.copytree(unbroken / "poisons", out / "poisons")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": "src:."}
    run = [sys.executable, "-m", "benchmarks.paper", *dry(parts, out)]
    process = subprocess.Popen(run, cwd=ROOT, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if (out / "epochs.jsonl").exists() and (out / "epochs.jsonl").read_bytes().count(b"\n") >= epochs:
            break
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    finished = (out / "cells.jsonl").read_bytes() if (out / "cells.jsonl").exists() else b""
    whole = finished[: finished.rfind(b"\n") + 1]
    assert command.main(dry(parts, out)) == 0
    assert (out / "cells.jsonl").read_bytes().startswith(whole)  # what was finished was not repeated
    assert len(lines(out)) == len(KEYS)
    assert by_key(out) == by_key(unbroken)


def test_a_run_that_is_killed_goes_on_to_the_same_lines(parts, unbroken, tmp_path):
    killed_and_resumed(parts, unbroken, tmp_path, random.randint(1, EPOCHS - 3))  # no secret  # noqa: S311


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [0, 1, 4, 5, 7])
def test_killed_anywhere(epochs, parts, unbroken, tmp_path):
    killed_and_resumed(parts, unbroken, tmp_path, epochs)


# ---- estimates


def test_estimates_begin_with_the_table_and_follow_the_last_epoch():
    rates, cell = Rates(), Cell(what="dfr", poison="ops")

    def estimate(images=50_000, crafted=True, cell=cell):
        return sum(times * rates.seconds(kind, images) for kind, times in needs(cell, "resnet18", 60, crafted=crafted))

    assert estimate() == pytest.approx(3 + 60 * 1.1 + 61 * 0.45)
    rates.measured("epoch/resnet18", 1.0, 25_000)
    rates.measured("epoch/vgg16", 9.0, 50_000)
    assert estimate() == pytest.approx(3 + 60 * 2 + 61 * 0.45)
    noise = Cell(what="separability", poison="em_samplewise")
    assert estimate(cell=noise) == pytest.approx(3 + 20)
    assert estimate(cell=noise, crafted=False) == pytest.approx(3 + 20 + 140)
    assert estimate(cell=Cell(what="step", part="engine"), images=25_000) == pytest.approx(15)


class Stub:
    """A bench whose cells take what their seed says, and note that they ran; its clock is theirs."""

    def __init__(self, monkeypatch, pending=()):
        self.now, self.ran, self.pending = 0.0, [], set(pending)
        monkeypatch.setattr(command.time, "monotonic", lambda: self.now)
        self.ahead = self

    def key(self, cell):
        return cell.key

    path = key

    def done(self):
        return {cell.key for cell in self.ran}

    def estimate(self, cell):
        return float(cell.seed)

    def ready(self, cell):
        return cell.poison not in self.pending

    def start_crafting(self, cell):
        pass

    def wait(self, path, seconds):
        self.now += 2
        self.pending.clear()

    def run(self, cell):
        self.now += cell.seed
        self.ran.append(cell)


def seeds(*wanted, poison="none"):
    return [Cell(what="clean", seed=seed, poison=poison) for seed in wanted]


def test_a_cell_that_does_not_fit_lets_the_next_go_first(monkeypatch):
    bench = Stub(monkeypatch)
    command.work(bench, seeds(50, 70, 30, 25, 20), deadline=100)
    assert [cell.seed for cell in bench.ran] == [50, 30, 20]  # 50 are left, then 20


def test_where_nothing_fits_it_is_said(monkeypatch):
    with pytest.raises(
        InputError, match=r"^--seconds: expected at least 20 more for cifar10/.*/20, the shortest cell, got 10 that are left$"
    ):
        command.work(Stub(monkeypatch), seeds(50, 20), deadline=10)


def test_a_poison_that_is_not_there_yet_is_waited_for_only_where_nothing_else_can_run(monkeypatch):
    bench = Stub(monkeypatch, pending={"ops"})
    command.work(bench, [*seeds(10, poison="ops"), *seeds(5)], deadline=100)
    assert [(cell.poison, cell.seed) for cell in bench.ran] == [("none", 5), ("ops", 10)]
    assert bench.now == 5 + 2 + 10


def test_the_first_cells_are_those_that_are_wanted_most():
    first = [cell.key.removeprefix("cifar10/resnet18/") for cell in CELLS if cell.part == "paper"][:6]
    poisons = ["ops/orthogonal_projection/0", "none/clean/0", "ops/dfr/0", "lsp/orthogonal_projection/0", "ar/orthogonal_projection/0"]
    assert first == [*poisons, "ops/poisoned/0"]
    keys = [cell.key for cell in CELLS]
    assert len(set(keys)) == len(keys)


# ---- failures


def test_out_of_memory_and_divergence_are_lines_and_the_next_cell_runs(parts, tmp_path, monkeypatch):
    calls = []
    fit = work.fit_named

    def failing(*arguments, recipe, **others):
        calls.append(1)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 9 GiB")
        if len(calls) == 2:
            raise RuntimeError("a fault of ours")
        return fit(*arguments, recipe=replace(recipe, learning_rate=1e30 if len(calls) == 3 else 0.1), **others)

    monkeypatch.setattr(work, "fit_named", failing)
    assert command.main(dry(parts, tmp_path, "cifar10/resnet18/none/clean/?,cifar10/vgg16/none/clean/0")) == 0
    memory, fault, diverged, whole = lines(tmp_path)
    assert memory["failed"] == "CUDA out of memory. Tried to allocate 9 GiB"
    assert fault["failed"] == "RuntimeError: a fault of ours"
    assert diverged["failed"].startswith("loss: expected a finite number")
    assert len(whole["history"]) == 2


def test_a_poison_that_could_not_be_crafted_is_a_failed_cell(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(Ahead, "start", lambda *arguments: None)
    monkeypatch.setattr(Ahead, "ended", lambda *arguments: True)
    assert command.main(dry(parts, tmp_path, "cifar10/resnet18/ops/poisoned/0")) == 0
    [line] = lines(tmp_path)
    assert line["failed"] == "poison 'ops': expected it to be crafted on the CPU, got a process that failed"


# ---- the engine


def test_checks_of_the_engine_need_the_first_part_alone(parts, tmp_path):
    shutil.copy(parts / "cifar10.json", tmp_path)
    shutil.copy(parts / "cifar10-train_a.zip", tmp_path)
    few = "engine/augmentation,engine/subspace,engine/rerun"
    assert command.main(dry(tmp_path, tmp_path / "out", few, "--part", "engine")) == 0
    augmentation, subspace, rerun = (line["found"] for line in lines(tmp_path / "out"))
    assert augmentation["published"]["largest_difference"] == 0  # the CPU beside itself
    assert len(subspace["angles"]) == 10
    assert max(subspace["angles"]) < 1e-6
    assert rerun["plain"] == {"largest_difference_of_weights": 0, "difference_of_losses": 0}


@pytest.mark.slow
def test_all_checks_of_the_engine_run(parts, tmp_path):
    assert command.main(dry(parts, tmp_path, "*", "--part", "engine")) == 0
    found = {line["what"]: line for line in lines(tmp_path)}
    assert set(found) == set(CHECKS) == set(CHECK)
    assert not [line for line in found.values() if "failed" in line]
    assert found["step"]["found"]["largest_difference"] == 0
    assert len(found["step"]["found"]["losses_cpu"]) == 20
    assert found["resume"]["found"]["largest_difference_of_weights"] == 0
    assert found["graphs"]["found"]["published"]["largest_difference_of_weights"] == 0
    assert found["milliseconds"]["found"]["milliseconds"]["published"]["eager"] > 0


def test_both_engines_are_timed(monkeypatch):
    monkeypatch.setattr(replay, "graphs", lambda: "graphs")
    recorders = {}
    for name, context in agreement._engines().items():
        with context:
            recorders[name] = replay.Replays(None, [], torch.device("cuda"))._recorder
    assert recorders == {"eager": None, "recorded": "graphs"}


def test_principal_angles_are_those_of_the_spans():
    first = np.eye(4)[:, :2]
    turned = np.array([[np.cos(np.pi / 6), 0, np.sin(np.pi / 6), 0], [0, 1, 0, 0]]).T
    assert principal_angles(first, turned[:, ::-1]) == pytest.approx([30, 0])
    assert principal_angles(first, np.eye(4)[:, 2:]) == pytest.approx([90, 90])


# ---- the table


def line(key, *, part="paper", **found):
    what, seed = key.split("/")[-2:] if part == "paper" else (key.removeprefix("engine/"), 0)
    flags, versions = {"precision": "bfloat16"}, {"torch": "2.11.0", "commit": "abc"}
    return {
        "format": 1,
        "key": key,
        "part": part,
        "what": what,
        "seed": int(seed),
        "machine": "H100",
        "flags": flags,
        "versions": versions,
        **found,
    }


def heads(epoch, held_out, test, count=500):
    return {"epoch": epoch, "clean_samples": count, "held_out_accuracy": held_out, "test_accuracy": test}


def test_the_table_has_means_deviations_failures_and_what_is_published():
    rows = [heads(0, 0.9, 0.3), heads(1, 0.5, 0.6), heads(2, 0.7, 0.55)]
    rows += [heads(epoch, 0.1, 0.2, count) for count in (1000, 5000, 15_000) for epoch in (0, 1)]
    text = section(
        [
            line("cifar10/resnet18/ops/orthogonal_projection/0", accuracy=0.88),
            line("cifar10/resnet18/ops/orthogonal_projection/1", accuracy=0.90),
            line("cifar10/resnet18/ops/orthogonal_projection/2", failed="out of memory"),
            line("cifar10/resnet18/none/clean/0", accuracy=0.95),
            line("cifar10/resnet18/lsp/poisoned/0", failed="diverged"),
            line("cifar10/resnet18/ops/dfr/0", rows=rows),
            line("cifar10/resnet18/pil/separability/0", separability={"linear": {"train_accuracy": 1.0}}),
            line("dry/cifar10/resnet18/ar/poisoned/0", accuracy=0.5, machine="a CPU"),
            line("engine/subspace", part="engine", found={"angles": [0.5, 0.25], "flags": {}}),
        ],
        [
            {"name": "one", "cell": "cifar10/resnet18/ops/orthogonal_projection", "expected": "above 0.87", "source": "README"},
            {"name": "two", "cell": "cifar10/resnet18/lsp/poisoned", "expected": 0.13, "source": "a note", "orientation": True},
            {"name": "of another scale", "expected": 0.5},
        ],
    )
    start = "| cifar10, `resnet18` |"
    deviation = "0.890 ± 0.014"  # of 0.88 and 0.90: 0.01 times the root of two
    for row in (
        f"{start} `ops` | Orthogonal Projection | {deviation}; seed 2 failed: out of memory | 0, 1 | above 0.87 (README) |",
        f"{start} `none` | clean, recipe of Orthogonal Projection | 0.950 | 0 |  |",
        f"{start} `lsp` | poisoned, crop and flip | seed 0 failed: diverged |  | 0.13 (a note, for orientation alone) |",
        f"{start} `ops` | new head on 500 clean images | 0.550 at epoch 2; untrained 0.300 | 0 |  |",
        f"{start} `ops` | new head on 15,000 clean images | 0.200 at epoch 1; untrained 0.200 | 0 |  |",
        f"{start} `pil` | softmax regression on the perturbations | 1.000 | 0 |  |",
        f"{start} `ar` | poisoned, crop and flip | not measured yet |  |  |",
        "| subspace | angles 0.25 to 0.5 |",
        "Measured on: H100, bfloat16, torch 2.11.0, commit abc.",
    ):
        assert row in text.splitlines()


def test_the_page_has_the_table_of_the_committed_lines():
    page = PAGE.read_text()
    assert with_section(page, read(RESULTS), EXPECTED.read_text()) == page


def test_a_page_without_the_section_and_a_cell_that_is_there_twice_are_refused():
    with pytest.raises(InputError, match="expected the section between"):
        with_section("# Results\n", [], "[]")
    with pytest.raises(InputError, match="expected each cell once, got a twice"):
        section([line("engine/a", part="engine") | {"key": "a"}] * 2, [])


# ---- the parts


def test_what_is_packed_is_what_torchvision_reads(published, parts):
    images = published[1]
    train, test = (data.unpacked("cifar10", parts, of) for of in (("train_a", "train_b"), ("test",)))
    assert np.array_equal(np.concatenate([train.images, test.images]), images)
    assert np.array_equal(train.labels, np.tile(np.arange(10), 50))
    assert train.num_classes == 10
    assert np.array_equal(data.unpacked("cifar10", parts, ("train_a",)).images, images[:250])


def test_a_part_that_is_too_large_to_be_carried_is_refused(published, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(data, "MOST_MB", 0.1)
    assert command.main(["--pack", str(tmp_path), "--data-root", str(published[0])]) == 2
    assert "cifar10-train_a.zip: expected at most 0.1 MB, got 0.8" in capsys.readouterr().err


# ---- wrong input


def wrong(arguments, capsys):
    """Return the one line that wrong input leads to."""
    assert command.main(arguments) == 2
    told = [row for row in capsys.readouterr().err.splitlines() if "cifar100 is not packed" not in row]
    assert len(told) == 1
    return told[0]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--part", "papers"], "--part: expected engine or paper, got 'papers' (did you mean 'paper'?)"),
        (["--device", "tpu"], "--device: expected auto, cpu or cuda, got 'tpu'"),
        (["--seconds", "-3"], "--seconds: expected a number of seconds above 0, got '-3'"),
        (["--seconds", "ten"], "--seconds: expected a number of seconds above 0, got 'ten'"),
        (["--seconds", "nan"], "--seconds: expected a number of seconds above 0, got 'nan'"),
        (["--secnds", "10"], "unrecognized arguments: --secnds 10"),
        (["--only", "cifar10/resnet18/opps/*"], "--only: expected a pattern of keys of the part paper, got 'cifar10/resnet18/opps/*'"),
        (["--device", "cuda"], "device: expected a CUDA GPU for 'cuda', got a machine without one (use auto or cpu)"),
        (["--results", "none.jsonl"], "--results: expected a file of results, got none at none.jsonl"),
        (["--dataset", "mnist"], "--dataset: expected cifar10 or cifar100, got 'mnist'"),
        (["--seconds", "0.001"], "--seconds: expected at least 0 more for dry/cifar10/resnet18/"),
    ],
)
def test_wrong_options_are_told_in_a_line(more, message, parts, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert wrong(dry(parts, tmp_path, FEW, *more), capsys).startswith(message)


def test_missing_and_damaged_parts_are_told_in_a_line(parts, tmp_path, capsys):
    assert wrong(["--dry-run"], capsys) == "--data: expected the folder of packed images, got none"
    assert wrong(dry(tmp_path, tmp_path), capsys).startswith(
        "--data: expected the parts of cifar10 as --pack writes them, got no cifar10.json"
    )
    shutil.copytree(parts, tmp_path / "parts")
    damaged = tmp_path / "parts" / "cifar10-train_b.zip"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert wrong(dry(damaged.parent, tmp_path), capsys).startswith(f"--data: {damaged} is damaged: expected the SHA-256 ")
    half = damaged.with_name("cifar10-train_a.zip")
    half.write_bytes(half.read_bytes()[:-1])
    told = wrong(dry(half.parent, tmp_path, "*", "--part", "engine"), capsys)
    assert told.startswith(f"--data: {half} is damaged: expected the SHA-256 ")  # and no check is written down as failed
    assert not (tmp_path / "cells.jsonl").exists()
    shutil.copy(parts / half.name, half)
    damaged.unlink()
    assert wrong(dry(damaged.parent, tmp_path), capsys) == f"--data: expected the part {damaged.name}, got no such file in {damaged.parent}"
    assert wrong(["--pack", str(tmp_path), "--data-root", str(tmp_path)], capsys).startswith("--data-root: expected cifar10 as torchvision")


@pytest.mark.parametrize(
    ("row", "got"), [('{"format": 2}', "format 2"), ("{}", "format None"), ("{broken", "no JSON object"), ("[1]", "no JSON object")]
)
def test_results_of_another_format_are_refused_by_line(row, got, parts, tmp_path, capsys):
    results = tmp_path / "results.jsonl"
    results.write_text(f'{{"format": 1, "key": "a", "part": "paper"}}\n{row}\n{{"format": 1, "key": "b"}}\n')
    expected = f'{results}: line 2: expected JSON with "format": 1, got {got}'
    assert wrong(dry(parts, tmp_path / "out", FEW, "--results", str(results)), capsys) == expected
    assert wrong(["--table", "--results", str(results)], capsys) == expected


def test_a_poison_of_other_images_is_refused(parts, unbroken, tmp_path):
    (tmp_path / "poisons").mkdir()
    np.save(tmp_path / "poisons" / "cifar10-ops.npy", np.zeros((3, 3, 32, 32), dtype=np.uint8))
    assert command.main(dry(parts, tmp_path, "cifar10/resnet18/ops/poisoned/0")) == 0
    assert "expected images (200, 3, 32, 32), got (3, 3, 32, 32)" in lines(tmp_path)[0]["failed"]
