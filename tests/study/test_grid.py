"""What a study's file may say, the cells and parts that follow from it, and the order in which they are made."""

import shutil
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import yaml

from tests.conftest import ROOT
from unlearnable import __version__
from unlearnable.errors import InputError
from unlearnable.study.cells import Part
from unlearnable.study.definition import nested, read_study, study_file
from unlearnable.study.executors import Team, expected
from unlearnable.study.journal import Journal, noted
from unlearnable.study.plan import plan
from unlearnable.study.runner import work_off
from unlearnable.study.work import Assignment, Outcome, perform

SMALL = {"poisons": ["none", "ops"], "recoveries": ["none", "grayscale"], "models": ["tiny_cnn"], "seeds": [0, 1]}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """A function that writes a study into a copy of the configuration and returns its plan."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")

    def planned(**changed):
        file = tmp_path / "conf" / "test" / "study" / "asked.yml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(yaml.safe_dump({**SMALL, **changed}))
        return plan("asked", project=tmp_path, env="test")

    return planned


def stages(grid) -> Counter:
    return Counter(part.stage for part in grid.parts.values())


def test_a_grid_has_every_cell_and_makes_once_what_cells_share(write):
    grid = write().grid
    assert {(cell.poison, cell.recovery, cell.seed) for cell in grid.cells} == {
        (poison, recovery, seed) for poison in ("none", "ops") for recovery in ("none", "grayscale") for seed in (0, 1)
    }
    # A poison's seed is the cell's, but none has one; where nothing is poisoned, the poisoned training is the clean one.
    assert stages(grid) == {"select_images": 1, "craft_poison": 3, "train_clean": 2, "train_poisoned": 2, "recover": 8}


def test_one_poison_serves_all_seeds_where_it_has_its_own(write):
    assert stages(write(parameters={"craft.seed": 0}).grid)["craft_poison"] == 2


def test_every_part_stands_after_what_it_stands_on(write):
    seen = set()
    for key, part in write().grid.parts.items():
        assert set(part.before) <= seen
        seen.add(key)


def test_parameters_reach_the_recipe_and_overrides_go_over_them(write):
    grid = write(parameters={"train.epochs": 3}, overrides={"as it is": {}, "longer": {"train": {"epochs": 4}}}).grid
    epochs = {cell.override: cell.parameters["train"]["epochs"] for cell in grid.cells}
    assert epochs == {"as it is": 3, "longer": 4}
    assert len({cell.key for cell in grid.cells}) == len(grid.cells)


def test_cells_that_an_override_leaves_as_they_are_are_made_once(write):
    grid = write(poisons=["ops"], seeds=[0], overrides={"mild": {"recover.jpeg.quality": 50}, "strong": {"recover.jpeg.quality": 5}}).grid
    assert len(grid.cells) == 4
    assert stages(grid)["recover"] == 2
    grid = write(
        poisons=["ops"], recoveries=["none", "jpeg"], seeds=[0], overrides={"mild": {"recover.jpeg.quality": 50}, "strong": {}}
    ).grid
    assert stages(grid)["recover"] == 3


def test_probes_are_run_once_for_all_recoveries(write):
    grid = write(chains=["recover", "dfr", "separability", "learnability"]).grid
    counts = stages(grid)
    assert (counts["recover"], counts["dfr"], counts["separability"], counts["learnability"]) == (8, 4, 4, 4)
    assert {cell.recovery for cell in grid.cells if cell.chain != "recover"} == {"none"}


def test_what_is_there_is_not_needed_nor_what_only_it_stands_on(write):
    grid = write().grid
    assert set(grid.needed(set())) == set(grid.parts)
    ops = {cell.key for cell in grid.cells if cell.poison == "ops"}
    left = grid.needed(ops)
    assert stages_of(left) == {"select_images": 1, "craft_poison": 1, "train_clean": 2, "recover": 4}
    made = {key for key, part in grid.parts.items() if part.stage.startswith(("select", "train"))}
    assert stages_of(grid.needed(ops | made)) == {"craft_poison": 1, "recover": 4}
    assert grid.needed(set(grid.parts)) == {}


def stages_of(parts) -> dict[str, int]:
    return dict(Counter(part.stage for part in parts.values()))


WRONG = {
    "unknown poison": ({"poisons": ["opps"]}, "study 'asked': unknown poison 'opps'; known:", "(did you mean 'ops'?)"),
    "unknown recovery": ({"recoveries": ["jpg"]}, "study 'asked': unknown recovery 'jpg'", "(did you mean 'jpeg'?)"),
    "unknown model": ({"models": ["smal_cnn"]}, "study 'asked': unknown model 'smal_cnn'", "(did you mean 'small_cnn'?)"),
    "unknown network of timm": ({"models": ["timm:resnet81"]}, "study 'asked': unknown model 'timm:resnet81'", "'timm:resnet18'?)"),
    "unknown parameter": ({"parameters": {"train.epoch": 3}}, "unknown parameter 'train.epoch'", "(did you mean 'epochs'?)"),
    "wrong override": ({"overrides": {"a": {"train.epochs": 0}}}, "study 'asked': parameter 'train.epochs'", "got 0"),
    "unknown key": ({"poison": ["ops"]}, "asked.yml: unknown key 'poison'", "(did you mean 'poisons'?)"),
    "unknown chain": (
        {"chains": ["recovr"]},
        "asked.yml: 'chains.0': expected 'recover', 'dfr', 'separability' or 'learnability'",
        "got 'recovr'",
    ),
    "empty list": ({"seeds": []}, "asked.yml: 'seeds': expected at least one", "got []"),
    "no overrides": ({"overrides": {}}, "asked.yml: 'overrides': expected at least one", "got {}"),
    "a name, no list": ({"poisons": "ops"}, "asked.yml: 'poisons': expected a valid list", "got 'ops'"),
    "a seed as text": ({"seeds": ["0"]}, "asked.yml: 'seeds.0': expected a valid integer", "got '0'"),
    "twice the same": ({"poisons": ["ops", "none", "ops"]}, "asked.yml: 'poisons': expected each once", "got ops twice"),
    "equal overrides": (
        {"overrides": {"a": {"train.epochs": 3}, "b": {"train": {"epochs": 3}}}},
        "asked.yml: 'overrides': expected each once",
        "twice",
    ),
}


@pytest.mark.parametrize(("changed", "start", "end"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_in_a_study_is_said_in_one_line(write, changed, start, end):
    with pytest.raises(InputError) as error:
        write(**changed)
    assert start in str(error.value)
    assert end in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_study_lists_the_known_ones(tmp_path):
    (tmp_path / "base" / "study").mkdir(parents=True)
    (tmp_path / "base" / "study" / "recoveries.yml").touch()
    with pytest.raises(InputError, match=r"unknown study 'recovery'; known: recoveries \(did you mean 'recoveries'\?\)"):
        study_file("recovery", "test", tmp_path)


def test_a_study_of_another_environment_is_pointed_at(tmp_path):
    (tmp_path / "cifar10" / "study").mkdir(parents=True)
    (tmp_path / "cifar10" / "study" / "recoveries.yml").touch()
    expected = "study 'recoveries': expected one of environment 'base', found it in: cifar10; add --env=cifar10"
    with pytest.raises(InputError, match=f"^{expected}$"):
        study_file("recoveries", None, tmp_path)
    assert study_file("recoveries", "cifar10", tmp_path).parts[-3:] == ("cifar10", "study", "recoveries.yml")


@pytest.mark.parametrize("content", ["[1, 2]", "", "a: [1", "a: 1\n\tb: 2"])
def test_a_file_that_holds_no_study_is_named(tmp_path, content):
    file = tmp_path / "odd.yml"
    file.write_text(content)
    with pytest.raises(InputError, match=r"odd\.yml: expected"):
        read_study(file)


def test_dotted_names_are_nested():
    assert nested({"a.b": 1, "a": {"c": 2}, "a.d.e": 3, "f": 4}) == {"a": {"b": 1, "c": 2, "d": {"e": 3}}, "f": 4}


def part(key: str, *before: str) -> Part:
    node = None if key.startswith("recover") else key  # which cells share
    return Part(key=key, stage="", label=key, pipeline="", node=node, parameters={}, paths={}, before=before)


class Workers:
    """Makes parts as it is told: each key has the outcomes of its tries."""

    def __init__(self, slots: int = 2, said: dict[str, list[dict]] | None = None) -> None:
        self.said = said or {}
        self.begun: list[str] = []
        self.at_once = self.most = 0
        self.lock = threading.Lock()
        self.slots = slots

    def perform(self, assignment: Assignment) -> Outcome:
        with self.lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        key = assignment.part.key
        said = self.said.get(key, [])
        outcome = Outcome(key=key, **(said.pop(0) if said else {}))
        with self.lock:
            self.at_once -= 1
        return outcome

    def work(self, parts: list[Part], tries: int = 3) -> dict[str, Outcome]:
        def assign(each: Part) -> Assignment:
            return Assignment(part=each, env=None, project=None)

        def begin(each: Part) -> None:
            self.begun.append(each.key)

        with ThreadPoolExecutor(8) as pool:
            team = Team(executor=pool, slots=lambda: self.slots)
            outcomes = list(work_off({each.key: each for each in parts}, team, assign, begin, tries=tries, make=self.perform))
        assert len({outcome.key for outcome in outcomes}) == len(outcomes), "a part ended twice"
        return {outcome.key: outcome for outcome in outcomes}


PARTS = [part("ingest/0"), part("craft_poison/1", "ingest/0"), part("recover/2", "craft_poison/1"), part("recover/3", "ingest/0")]
KILLED = {"error": "killed by SIGKILL", "killed": True}


def test_parts_are_made_after_what_they_stand_on_and_shared_ones_first():
    workers = Workers(slots=1)
    assert {key for key, outcome in workers.work(PARTS).items() if outcome.error is None} == {each.key for each in PARTS}
    assert workers.begun == ["ingest/0", "craft_poison/1", "recover/2", "recover/3"]


def test_no_more_parts_are_made_at_once_than_there_are_slots():
    workers = Workers(slots=2)
    workers.work([part("ingest/0"), *(part(f"recover/{number}", "ingest/0") for number in range(20))])
    assert workers.most <= 2


def test_a_killed_part_is_made_again_and_what_stands_on_it_then():
    workers = Workers(said={"craft_poison/1": [KILLED]})
    assert all(outcome.error is None for outcome in workers.work(PARTS).values())
    assert Counter(workers.begun)["craft_poison/1"] == 2


def test_a_part_that_is_killed_again_and_again_fails():
    workers = Workers(said={"recover/3": [KILLED] * 9})
    found = workers.work(PARTS, tries=3)
    assert found["recover/3"].error == "killed by SIGKILL, 3 times"
    assert Counter(workers.begun)["recover/3"] == 3
    assert found["recover/2"].error is None


def test_what_stands_on_a_failed_part_fails_with_it_and_the_others_go_on():
    workers = Workers(said={"craft_poison/1": [{"error": "the disk is full"}]})
    found = workers.work(PARTS)
    assert found["recover/2"].error == "craft_poison/1 was not made: the disk is full"
    assert found["recover/3"].error is None
    assert "recover/2" not in workers.begun
    assert Counter(workers.begun)["craft_poison/1"] == 1


def test_a_part_whose_worker_raises_fails_alone():
    class Fragile(Workers):
        def perform(self, assignment: Assignment) -> Outcome:
            if assignment.part.key == "recover/3":
                raise RuntimeError("the worker\nis gone")
            return super().perform(assignment)

    found = Fragile().work(PARTS)
    assert found["recover/3"].error == "RuntimeError: the worker is gone"
    assert found["recover/2"].error is None


def test_a_worker_that_comes_late_and_is_another_one_is_named(monkeypatch):
    monkeypatch.chdir(ROOT)
    late = Assignment(part=part("recover/0"), env="test", project=None, about={**expected(), "unlearnable": "9.0"})
    outcome = perform(late)
    assert outcome.error.endswith(f": expected unlearnable 9.0, got {__version__}")
    assert not outcome.killed


def test_a_grid_without_cells_of_its_own_needs_nothing(write):
    grid = write().grid
    assert replace(grid, cells=()).needed(set()) == {}


def test_what_is_tried_again_has_not_failed(tmp_path):
    journal, again = Journal(tmp_path / "asked"), part("recover/0")
    journal.begin(again)
    journal.end(Outcome(key=again.key, error="the disk is full"))
    assert noted(tmp_path / "asked").failed == {again.key: "the disk is full"}
    journal.begin(again)
    said = noted(tmp_path / "asked")
    journal.close("FINISHED")
    assert (said.failed, said.running) == ({}, {again.key})
