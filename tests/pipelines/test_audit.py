"""The audit of a protected folder: its numbers, its words and its page."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.conftest import copy_project, make_images
from tests.pipelines.test_project import all_scores, run
from tests.sources.formats import write_folder
from unlearnable.errors import InputError
from unlearnable.images import LabelledImages
from unlearnable.pipeline_registry import register_pipelines
from unlearnable.pipelines.audit.repeats import chosen
from unlearnable.pipelines.audit.verdict import audit_scores, verdict
from unlearnable.pipelines.perceptibility import perceptibility

SIDE = 16  # pixels
SMALL = {
    "threads": 1,
    "train": {"epochs": 3, "batch_size": 50},  # of which two checkpoints are kept
    "probe": {"clean_samples": [20, 60], "held_out": 20},
    "separability": {"iterations": 5},
}


# ---- perceptibility


def changed(clean: LabelledImages, levels: np.ndarray) -> LabelledImages:
    images = np.clip(clean.images.astype(int) + levels, 0, 255).astype(np.uint8)
    return LabelledImages(images=images, labels=clean.labels, num_classes=clean.num_classes)


def test_norms_and_psnr_are_those_of_their_formulas():
    clean = make_images(150, classes=3)
    levels = np.random.default_rng(0).integers(-8, 9, size=clean.images.shape)
    levels[:50] = 0
    found = perceptibility(clean, changed(clean, levels))
    assert (found["images"], found["changed"]) == (150, 2 / 3)
    change = levels[50:].reshape(100, -1) / 255
    assert found["worst"]["linf"] == pytest.approx(8 / 255)
    assert found["median"]["l2"] == pytest.approx(np.median(np.linalg.norm(change, axis=1)), rel=1e-5)
    assert found["worst"]["psnr"] == pytest.approx(-10 * np.log10(np.square(change).mean(1).max()), rel=1e-5)
    assert 0 < found["worst"]["ssim"] <= found["median"]["ssim"] < 1


def test_ssim_falls_with_noise_and_small_images_have_none():
    clean = make_images(20, classes=2)
    noise = np.random.default_rng(0).integers(-1, 2, size=clean.images.shape)
    weak, strong = (perceptibility(clean, changed(clean, factor * noise))["median"]["ssim"] for factor in (4, 20))
    assert strong < weak < 1
    small = make_images(20, classes=2, side=8)
    assert "ssim" not in perceptibility(small, changed(small, np.ones(small.images.shape, int)))["median"]


def test_images_that_are_not_changed_have_no_measures():
    clean = make_images(10, classes=2)
    assert perceptibility(clean, clean) == {"images": 10, "changed": 0.0, "median": {}, "worst": {}}


# ---- verdict


NAMES = {"recovery": "op", "second": "jpeg", "tuned": "fine-tuning a pretrained network"}


def scores(*, size=2000, changed=1.0, **accuracy) -> dict:
    """Scores of an audit in which the ways to learn have these accuracies."""
    given = {"clean": 0.8, "poisoned": 0.1, "recovered": 0.1, "second": 0.1, "dfr": 0.1} | accuracy
    test = make_images(size, classes=10)
    seen = {"images": 1, "changed": changed, "median": {}, "worst": {}}
    cell = dict.fromkeys(("dataset", "poison", "model", "seed"), "x") | {"recovery": "op"}
    lists = {name: value if isinstance(value, list) else [value] for name, value in given.items()}
    count = max(map(len, lists.values()))
    by_seed = [{name: values[seed % len(values)] for name, values in lists.items()} for seed in range(count)]
    seeds = [{"seed": seed, "accuracy": each, "dfr": {"100": each["dfr"]}} for seed, each in enumerate(by_seed)]
    return audit_scores(seeds, {"perceptibility": seen}, {"clean": {"models": {}}}, test, cell, NAMES)["audit"]


@pytest.mark.parametrize(
    ("accuracy", "words"),
    [
        ({}, "The protection held against everything that was tried here. Plain training on the protected images learns 0% "),
        ({"second": 0.79}, "The protection does not hold. .*; the best way tried, jpeg, 99% "),
        ({"tuned": 0.79}, "The protection does not hold. .*; the best way tried, fine-tuning a pretrained network, 99% "),
        (
            {"poisoned": 0.45},
            r"The protection holds in part. .* learns 50% \(between 4\d% and 5\d%\) .*; and no other way tried learns more",
        ),
        (
            {"dfr": 0.66, "size": 100},
            "How well the protection holds is not certain .* in part or not at all. .*, a new head on 100 clean images, 80%",
        ),
        ({"recovered": 0.24, "size": 100}, "How well the protection holds is not certain .* in part or fully. .*, op, 20% "),
        ({"recovered": 0.4, "size": 10}, "How well the protection holds is not certain .*: fully, in part or not at all. "),
        ({"clean": 0.15}, "The originals teach this network too little to tell"),
        (
            {"changed": 0.0, "poisoned": 0.5},
            "Without the originals there is nothing to compare with: the most that was learned is 50% .*, by plain training",
        ),
    ],
)
def test_the_verdict_says_what_the_numbers_say(accuracy, words):
    assert re.match(words, scores(**accuracy)["verdict"])


def test_intervals_hold_as_often_as_they_say_and_narrow_with_more_images():
    few, many = (scores(size=size, poisoned=0.45)["ways"]["plain training"] for size in (100, 10_000))
    for name in ("interval", "learned_interval"):
        widths = [way[name][1] - way[name][0] for way in (few, many)]
        assert widths[1] < widths[0] / 5
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(300):
        low, high = scores(size=200, poisoned=rng.binomial(200, 0.3) / 200)["ways"]["plain training"]["interval"]
        inside += low <= 0.3 <= high
    assert 0.91 <= inside / 300 <= 0.99


def test_the_verdict_is_the_same_every_time():
    assert scores(poisoned=0.45) == scores(poisoned=0.45)


def test_a_verdict_needs_the_originals():
    ways = {"plain training": {"accuracy": 0.5, "interval": [0.4, 0.6]}}
    assert "nothing to compare with" in verdict(ways, None, 0.1)


def test_a_training_with_held_out_images_counts_by_the_epoch_that_they_choose():
    history = [{"held_out_accuracy": held, "test_accuracy": test} for held, test in ((0.2, 0.3), (0.7, 0.6), (0.7, 0.9))]
    assert chosen(history) == 0.6
    assert chosen([{"test_accuracy": value} for value in (0.5, 0.1)]) == 0.1


def test_of_several_seeds_the_mean_counts_and_their_spread_widens_the_interval():
    """With 20,000 test images Student's t over the seeds alone decides: 0.3 +- 4.303 * 0.1 / sqrt(3)."""
    way = scores(size=20_000, poisoned=[0.2, 0.3, 0.4])["ways"]["plain training"]
    half = 4.302653 * 0.1 / 3**0.5
    assert way["accuracy"] == pytest.approx(0.3)
    assert way["by_seed"] == [0.2, 0.3, 0.4]
    assert way["interval"] == pytest.approx([0.3 - half, 0.3 + half], abs=0.01)
    alike = scores(size=20_000, poisoned=[0.3, 0.3, 0.3])["ways"]["plain training"]
    assert alike["interval"] == pytest.approx([0.2936, 0.3064], abs=0.001)  # the images' own: 1.96 sqrt(0.3 * 0.7 / 20,000)


def test_a_share_in_words_is_at_most_all():
    found = scores(poisoned=0.9)
    assert found["ways"]["plain training"]["learned"] > 1.1
    assert "learns 100% (between 100% and 100%) of what" in found["verdict"]


def test_an_audit_asks_for_two_different_recoveries(project):
    with pytest.raises(InputError, match=r"audit\.recovery: expected another recovery than 'recovery', got 'jpeg' for both"):
        run(project, pipeline="audit", env="folder", recovery="jpeg", **SMALL)


# ---- the whole audit


@pytest.fixture(scope="module")
def audited(tmp_path_factory) -> Path:
    """A project in which a folder of five classes was audited, protected by a colour for each class."""
    project = small_project(tmp_path_factory.mktemp("audit") / "project")
    root = project / "data" / "01_raw"
    write_folder(root / "folder", classes=5, each=40, side=SIDE)
    protect(root)
    run(project, pipeline="audit", env="folder", audit={"seeds": 2}, **SMALL)
    return project


def small_project(folder: Path) -> Path:
    """Return a project whose folders are seen at few pixels."""
    project = copy_project(folder)
    file = project / "conf" / "folder" / "catalog.yml"
    catalog = yaml.safe_load(file.read_text())
    for entry in catalog.values():
        if "side" in entry:
            entry["side"] = SIDE
    file.write_text(yaml.safe_dump(catalog))
    return project


def protect(root: Path, kind: str = "png") -> None:
    """Write copies with a colour for each class."""
    for file in sorted((root / "folder").rglob("*.png")):
        image = np.asarray(Image.open(file)).astype(int)
        image[:, :, int(file.parent.name[-1]) % 3] += 24
        copy = root / "protected" / file.relative_to(root / "folder").with_suffix(f".{kind}")
        copy.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(copy)


def test_the_audit_gathers_every_way_to_learn(audited):
    [found] = [each for each in all_scores(audited) if len(each.get("audit", {}).get("seeds", ())) == 2]
    audit = found["audit"]
    assert set(audit["ways"]) == {
        "plain training",
        "orthogonal_projection",
        "jpeg",
        "a new head on 20 clean images",
        "a new head on 60 clean images",
    }
    for way in audit["ways"].values():
        assert way["interval"][0] <= way["accuracy"] <= way["interval"][1]
    assert audit["test_images"] == 40
    assert audit["perceptibility"]["changed"] == 1.0
    assert audit["perceptibility"]["worst"]["linf"] == pytest.approx(24 / 255)
    assert set(audit["separability"]) == {"perturbations", "clean"}
    assert audit["verdict"]
    assert audit["seeds"] == [0, 1]
    first, second = audit["ways"]["plain training"]["by_seed"]
    assert audit["ways"]["plain training"]["accuracy"] == pytest.approx((first + second) / 2)
    assert {"linear", "two_layer"} <= set(audit["detection"]["alarms"])  # the colour of a class


def test_the_page_says_it_and_asks_nothing_of_other_files(audited):
    [page] = (audited / "data" / "08_reporting").rglob("audit.html/*/audit.html")
    text = page.read_text()
    [found] = [each for each in all_scores(audited) if len(each.get("audit", {}).get("seeds", ())) == 2]
    assert found["audit"]["verdict"] in text
    assert "Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\"" in text
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", text)
    assert "<script" not in text
    for name in found["audit"]["ways"]:
        assert name.replace("_", " ") in text
    assert "Is the folder protected at all?" in text
    assert "The thresholds are meant for ten classes" in text  # there are five
    assert f"at commit <code>{found['versions']['commit']}</code>" in text
    assert found["made"]["on"] in text


def test_the_second_recovery_is_trained_on_its_own_images():
    [training] = [node for node in register_pipelines()["audit"].nodes if node.outputs == ["second_checkpoints"]]
    assert {"second_train", "params:audit.recovery"} <= set(training.inputs)
    assert "recovered_train" not in training.inputs


def test_what_is_there_is_not_made_again_and_is_shared_with_other_chains(audited):
    assert run(audited, pipeline="audit", env="folder", audit={"seeds": 2}, **SMALL) == set()
    again = run(audited, pipeline="audit", env="folder", **SMALL)
    assert not {"clean_checkpoints", "second_checkpoints", "detection"} & again  # another number of seeds trains the first no more
    assert {"audit_repeats", "audit_scores", "audit_page"} <= again
    made = run(audited, pipeline="recover", env="folder", recovery="jpeg", **SMALL)
    assert not {"recovered_train", "recovered_checkpoints"} & made
    assert run(audited, pipeline="audit", env="folder", audit={"recovery": "grayscale"}, **SMALL) >= {"second_train", "audit_page"}


def test_fine_tuning_a_pretrained_network_is_a_further_way(audited):
    """The network was trained on the originals, and keeps what it learned where next to nothing more is learned."""
    weights = next((audited / "data" / "06_models").rglob("clean/**/*.last.safetensors"))
    tuned = {"weights": str(weights), "learning_rate": 1e-6, "freeze": "all but the head"}
    made = run(audited, pipeline="audit", env="folder", audit={"seeds": 2, "train": tuned}, **SMALL)
    assert made >= {"tuned_checkpoints", "audit_repeats", "audit_scores", "audit_page"}
    assert not {f"{training}_checkpoints" for training in ("clean", "poisoned", "recovered", "second")} & made
    ways = {name: way for each in all_scores(audited) for name, way in each.get("audit", {}).get("ways", {}).items()}
    [clean] = {each["audit"]["originals"]["by_seed"][0] for each in all_scores(audited) if "audit" in each}
    assert ways["fine-tuning a pretrained network"]["by_seed"] == [clean, clean]


@pytest.fixture
def project(tmp_path) -> Path:
    folder = small_project(tmp_path / "project")
    write_folder(folder / "data" / "01_raw" / "folder", classes=3, each=20, side=SIDE)
    return folder


def ingest_and_craft(project: Path) -> set[str]:
    return run(project, pipeline="ingest", env="folder", **SMALL) | run(project, pipeline="craft_poison", env="folder", **SMALL)


def poisoned(project: Path) -> LabelledImages:
    from unlearnable.artifacts.atomic import open_checked
    from unlearnable.artifacts.tensors import images_of

    [file] = project.rglob("poisoned_train.safetensors/*/poisoned_train.safetensors")
    return images_of(open_checked(file))


def test_copies_of_a_part_in_another_format_are_matched_by_name(project):
    root = project / "data" / "01_raw"
    protect(root, kind="bmp")
    for file in sorted((root / "protected").rglob("*.bmp"))[::2]:
        file.unlink()
    ingest_and_craft(project)
    found = poisoned(project)
    assert 15 < len(found) < 35
    from unlearnable.sources.folder import FolderImages

    originals = FolderImages(name="folder", path=str(root / "folder"), side=SIDE, filepath=str(root)).read().train.matching(found)
    assert np.array_equal(originals.labels, found.labels)
    difference = found.images.astype(int) - originals.images
    assert set(np.unique(difference)) <= set(range(25))  # white stays white
    assert (difference == 24).mean() > 0.2


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", r"released_poison.path: expected the folder of the protected images, got .*protected, which is missing"),
        (
            "other names",
            r"released_poison: expected copies of training images of class 'class_000' by their names in .*, got 20 of other names",
        ),
        ("undecodable", r"released_poison: .*00004.png: expected an image that can be decoded .*"),
        ("other classes", r"released_poison: expected only the classes of the originals, class_000, .*, in .*protected, got 'class'"),
    ],
)
def test_wrong_copies_are_one_line(project, how, message):
    root = project / "data" / "01_raw"
    if how != "missing":
        protect(root)
    if how == "other names":
        for file in sorted((root / "protected").rglob("*.png")):
            file.rename(file.with_stem(f"other_{file.stem}"))
    if how == "undecodable":
        (root / "protected" / "class_001" / "00004.png").write_bytes(b"nothing")
    if how == "other classes":  # one that stands before them moves all numbers by one
        write_folder(root / "more", classes=1, each=4, side=SIDE, seed=9)
        shutil.copytree(root / "more" / "class_000", root / "protected" / "class")
    with pytest.raises(Exception, match=message):
        ingest_and_craft(project)
    assert not list(project.rglob("poisoned_train.safetensors"))


def test_protected_images_alone_can_be_audited(project):
    root = project / "data" / "01_raw"
    protect(root)
    shutil.rmtree(root / "folder")
    shutil.copytree(root / "protected", root / "folder")
    run(
        project,
        pipeline="audit",
        env="folder",
        **SMALL | {"train": {"epochs": 1, "batch_size": 20}, "probe": {"clean_samples": 20, "held_out": 20}},
    )
    [found] = [each for each in all_scores(project) if "audit" in each]
    assert found["audit"]["originals"] is None
    assert "nothing to compare with" in found["audit"]["verdict"]
