"""Each dataset in its makers' own format, from one catalog entry; three of them to the end of every chain."""

from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.conftest import copy_project
from tests.pipelines.test_project import all_scores, run
from tests.sources import formats
from tests.sources.cifar import write_cifar10
from unlearnable.artifacts.atomic import open_checked
from unlearnable.artifacts.tensors import images_of

SMALL = {  # of the environments' own sizes
    "train": {"epochs": 1, "batch_size": 50},
    "probe": {"clean_samples": 100, "held_out": 100, "train": {"epochs": 1}},
    "separability": {"iterations": 2, "linear_iterations": 2},
    "threads": 1,
    "poison": "classwise_random",
}


def write_hub(root: Path, *, train: int = 300, test: int = 50) -> None:
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    parts = {}
    for place, (name, size) in enumerate((("train", train), ("test", test))):
        images, labels = formats.pictures(size, classes=10, seed=place)
        rows = {"image": [Image.fromarray(image) for image in images], "label": labels.tolist()}
        parts[name] = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict(parts).save_to_disk(str(root))


# What writes each into a data root, its classes, and what of its entry the generated data needs.
WRITERS = {
    "cifar10": (lambda root: write_cifar10(root, per_batch=60)[1], 10),
    "cifar100": (lambda root: formats.write_cifar100(root, train=200), 100),
    "svhn": (lambda root: formats.write_svhn(root, train=300), 10),
    "mnist": (lambda root: formats.write_mnist(root, train=300), 10),
    "imagenet100": (lambda root: formats.write_imagenet(root / "imagenet", classes=101, each=4), 100),
    "folder": (lambda root: formats.write_folder(root / "folder", classes=10, each=30, side=(40, 36)), 10),
    "hf": (lambda root: write_hub(root / "hf"), 10),
}


CHAINS = {"orthoproj": "accuracy", "dfr": "dfr", "separability": "separability"}
RUN = {"svhn": tuple(CHAINS), "cifar100": tuple(CHAINS), "imagenet100": ("orthoproj",)}  # of the others, the images are taken in
ENVIRONMENTS = [pytest.param(env, marks=pytest.mark.slow) if env == "cifar100" else env for env in WRITERS]


@pytest.fixture
def project(tmp_path) -> Path:
    return copy_project(tmp_path / "project")


def entry(project: Path, env: str, **changed) -> None:
    """Change the entry ``raw_images`` of an environment."""
    file = project / "conf" / env / "catalog.yml"
    catalog = yaml.safe_load(file.read_text())
    catalog["raw_images"] |= changed
    file.write_text(yaml.safe_dump(catalog))


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_the_chains_run_on_it_to_the_end(env, project):
    write, classes = WRITERS[env]
    root = project / "data" / "01_raw"
    if md5 := write(root):
        entry(project, env, md5=md5)
    if env == "imagenet100":
        entry(project, env, side=16, resize=18)
    run(project, pipeline=list(RUN.get(env, ["ingest"])), env=env, **SMALL)
    if env not in RUN:
        [path] = project.rglob("clean_train.safetensors/*/clean_train.safetensors")
        assert images_of(open_checked(path)).num_classes == classes
        return
    parts = {name: scores for scores in all_scores(project) for name in CHAINS.values() if name in scores}
    assert set(parts) == {CHAINS[chain] for chain in RUN[env]}
    assert {scores["dataset"] for scores in parts.values()} == {env}
    assert parts["accuracy"]["projection"]["removed_directions"] == classes
    first = parts["accuracy"]["recipe_hash"]
    run(project, pipeline="orthoproj", env=env, **SMALL)
    assert [scores["recipe_hash"] for scores in all_scores(project) if "accuracy" in scores] == [first]


def test_changed_images_of_ones_own_are_another_recipe(project):
    root = project / "data" / "01_raw" / "folder"
    formats.write_folder(root, classes=3, each=10)
    run(project, pipeline="ingest", env="folder", poison="ops")
    assert run(project, pipeline="ingest", env="folder", poison="ops") == set()
    Image.new("RGB", (32, 32)).save(min(root.rglob("*.png")))
    assert {"clean_train", "clean_test"} <= run(project, pipeline="ingest", env="folder", poison="ops")
