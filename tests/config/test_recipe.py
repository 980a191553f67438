import itertools
import os
import shutil

import pytest
import yaml

from tests.conftest import ROOT
from unlearnable.config.loader import RecipeConfigLoader
from unlearnable.config.recipe import DERIVED, STAGES, recipe, recipe_hash
from unlearnable.datasets.fingerprint import fingerprint
from unlearnable.errors import InputError
from unlearnable.settings import CONFIG_LOADER_ARGS

RAW = {"type": "some.Dataset", "name": "digits", "path": "${param:data_root}", "metadata": {"kedro-viz": {}}}
CHOSEN = {"poison": "lsp", "recovery": "orthogonal_projection", "model": "tiny_cnn"}


def loader(env="base", **runtime_params):
    return RecipeConfigLoader(str(ROOT / "conf"), env=env, runtime_params=runtime_params, **CONFIG_LOADER_ARGS)


def leaves(settings, prefix=()):
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*prefix, name))
        else:
            yield (*prefix, name)


def changed(settings, path, value="changed"):
    name, *rest = path
    return {**settings, name: changed(settings[name], rest, value) if rest else value}


PARAMETERS = {name: value for name, value in loader()["parameters"].items() if name not in DERIVED}
AFTER = {
    "ingest": set(STAGES),
    "craft": set(STAGES) - {"ingest", "train_clean", "separability_clean"},
    "recover": {"orthogonal_projection", "train_recovered", "evaluate", "evaluate_audit"},
    "train": {"train_clean", "train_poisoned", "train_recovered", "evaluate", "evaluate_audit"},
    "probe": {"probe_checkpoints", "evaluate_dfr", "evaluate_audit"},
    "probe.train": {"train_probed", "probe_checkpoints", "evaluate_dfr", "evaluate_audit"},
    "separability": {"separability_clean", "separability_analysis", "evaluate_separability", "evaluate_audit"},
    "audit": {"evaluate_audit"},
}
CELLS = {"evaluate", "evaluate_dfr", "evaluate_separability", "evaluate_audit"}
EXPECTED = {
    "poison": AFTER["craft"],
    "recovery": AFTER["recover"] | CELLS,
    "model": AFTER["train"] | AFTER["probe.train"] | CELLS,
    "seed": set(STAGES) - {"ingest", "separability_clean"},
    "data_root": set(),
    "device": set(),
    "threads": set(),
}


def expected_stages(path):
    """The stages whose bytes a parameter decides."""
    if path[0] in EXPECTED:
        return EXPECTED[path[0]]
    if path[0] in ("craft", "recover") and path[1] != "seed" and path[1] not in CHOSEN.values():
        beside = path[0] == "recover" and path[1] == PARAMETERS["audit"]["recovery"]
        return AFTER["audit"] if beside else set()  # settings of what was not chosen
    return AFTER.get(".".join(path[:2]), AFTER[path[0]])


BEFORE = {stage: recipe_hash(stage, PARAMETERS, RAW) for stage in STAGES}


@pytest.mark.parametrize("path", sorted(leaves(PARAMETERS)), ids=".".join)
def test_every_parameter_lies_on_its_side(path):
    """Walks every parameter: a new one must be placed in AFTER or EXPECTED."""
    after = {stage: recipe_hash(stage, changed(PARAMETERS, path), RAW) for stage in STAGES}
    assert {stage for stage in STAGES if BEFORE[stage] != after[stage]} == expected_stages(path)


@pytest.mark.parametrize(("path", "moves"), [("type", True), ("name", True), ("path", False), ("metadata", False)])
def test_the_dataset_is_part_of_every_recipe_but_where_it_lies_is_not(path, moves):
    for stage in STAGES:
        assert (recipe_hash(stage, PARAMETERS, RAW) != recipe_hash(stage, PARAMETERS, changed(RAW, (path,)))) == moves


def test_two_stages_never_share_a_hash():
    hashes = [recipe_hash(stage, PARAMETERS, RAW) for stage in STAGES]
    assert len(set(hashes)) == len(hashes)


def test_a_recipe_says_in_full_what_its_hash_stands_for():
    assert set(recipe("craft_poison", PARAMETERS, RAW)) == {"raw_images", "ingest", "craft_seed", "poison", "craft"}
    assert recipe("craft_poison", PARAMETERS, RAW)["craft"] == PARAMETERS["craft"]["lsp"]


def test_command_line_parameters_are_in_the_hash():
    assert loader()["parameters"]["recipe"] != loader(seed=1)["parameters"]["recipe"]


def test_catalog_paths_name_parameters_and_recipes():
    configuration = loader(poison="ops")
    catalog, hashes = configuration["catalog"], configuration["parameters"]["recipe"]
    assert catalog["poisoned_train"]["filepath"] == f"data/05_model_input/digits/ops/{hashes['craft_poison']}/poisoned_train.safetensors"
    assert catalog["poisoned_train"]["recipe"] == hashes["craft_poison"]


def test_no_two_artifacts_of_a_catalog_share_a_path():
    """But for what was cut off, which lies where the whole would."""
    catalog = {name: entry["filepath"] for name, entry in loader()["catalog"].items() if "filepath" in entry}
    unfinished = {name: catalog.pop(name) for name in list(catalog) if name.endswith("_unfinished")}
    assert len(set(catalog.values())) == len(catalog)
    assert {name: catalog[name.replace("unfinished", "checkpoints")] for name in unfinished} == unfinished
    assert len(unfinished) == 5


def test_loaders_do_not_mix_each_other_up():
    first, second = loader(poison="ops"), loader(poison="lsp")
    second["catalog"]
    assert "/ops/" in first["catalog"]["poisoned_train"]["filepath"]


def test_the_environment_swaps_the_dataset_by_one_entry():
    base, cifar10 = loader()["catalog"], loader("cifar10")["catalog"]
    assert cifar10["raw_images"]["name"] == "CIFAR10"
    assert base["raw_images"]["name"] == "digits"
    assert set(base) == set(cifar10)
    assert cifar10["clean_train"]["filepath"].startswith("data/03_primary/cifar10/")


def test_a_model_brings_its_recipe_and_the_command_line_wins():
    assert loader("cifar10")["parameters"]["train"]["epochs"] == 10
    published = loader("cifar10", model="resnet18")["parameters"]["train"]
    assert (published["epochs"], published["batch_size"], published["milestones"]) == (50, 128, [25, 37])
    assert published["augmentation"]["cutmix"] == 0.5
    assert published["augmentation"]["crop"] == 4
    assert "by_model" not in published
    assert loader("cifar10", model="resnet18", train={"epochs": 3})["parameters"]["train"]["epochs"] == 3
    other = loader("cifar10", model="resnet18", train={"by_model": {"resnet18": {"epochs": 4}}})["parameters"]["train"]
    assert other["epochs"] == 4


def test_the_training_that_is_probed_is_like_the_others_but_for_what_is_said_of_it():
    shared = loader("cifar10")["parameters"]
    assert shared["probe"]["train"] == {name: value for name, value in shared["train"].items() if name != "keep_checkpoints"}
    published = loader("cifar10", model="resnet18")["parameters"]["probe"]["train"]
    assert (published["epochs"], published["batch_size"], published["weight_decay"], published["schedule"]) == (60, 128, 5e-4, "cosine")
    assert {name: value for name, value in published["augmentation"].items() if value} == {
        "crop": 4,
        "flip": True,
        "clip_jitter": True,
        "shuffle_jitter": True,
    }
    assert loader("cifar10", train={"epochs": 3})["parameters"]["probe"]["train"]["epochs"] == 3
    both = loader("cifar10", train={"epochs": 3}, probe={"train": {"epochs": 4}})["parameters"]
    assert (both["train"]["epochs"], both["probe"]["train"]["epochs"]) == (3, 4)


def test_an_unknown_environment_names_the_known():
    with pytest.raises(
        InputError,
        match=r"unknown environment 'cifar11'; known: base, cifar10, cifar100, .*, svhn, test \(did you mean 'cifar10'\?\)",
    ):
        loader("cifar11")


def test_runs_of_two_seeds_share_their_images():
    hashes = [loader(seed=seed)["parameters"]["recipe"] for seed in (0, 1)]
    shared = [stage for stage, *_ in zip(STAGES) if hashes[0][stage] == hashes[1][stage]]
    assert shared == ["ingest", "separability_clean"]


def test_cells_of_several_seeds_may_share_one_poison():
    hashes = [loader(seed=seed, craft={"seed": 5})["parameters"]["recipe"] for seed in (0, 1)]
    shared = [stage for stage, *_ in zip(STAGES) if hashes[0][stage] == hashes[1][stage]]
    assert shared == ["ingest", "craft_poison", "separability_clean", "separability_analysis"]
    assert hashes[0]["craft_poison"] == loader(seed=5)["parameters"]["recipe"]["craft_poison"]


RELEASED = {"type": "some.Released", "format": "em_tensor", "path": "PATH", "filepath": "x", "memory_gib": 1, "metadata": {}}


@pytest.fixture
def released(tmp_path):
    """Hashes with a released poison, given changes of its entry and of parameters."""
    (tmp_path / "conf").mkdir()
    shutil.copytree(ROOT / "conf" / "base", tmp_path / "conf" / "base")
    (tmp_path / "perturbation.pt").write_bytes(b"some bytes")

    def hashes(poison="released", env="base", **entry):
        catalog = yaml.safe_load((ROOT / "conf" / "base" / "catalog.yml").read_text())
        catalog["released_poison"] = RELEASED | {"path": "${param:data_root}/perturbation.pt"} | entry
        (tmp_path / "conf" / "base" / "catalog.yml").write_text(yaml.safe_dump(catalog))
        parameters = {"poison": poison, "data_root": str(tmp_path)}
        return {seed: of(tmp_path / "conf", env, {**parameters, "seed": seed}) for seed in (0, 1)}

    def of(conf, env, parameters):
        return RecipeConfigLoader(str(conf), env=env, runtime_params=parameters, **CONFIG_LOADER_ARGS)["parameters"]["recipe"]

    return hashes


def test_the_bytes_of_a_release_are_its_recipe_and_the_seed_is_not(released, tmp_path):
    first = released()
    assert first[0]["craft_poison"] == first[1]["craft_poison"]
    assert first[0]["train_poisoned"] != first[1]["train_poisoned"]
    (tmp_path / "perturbation.pt").write_bytes(b"other bytes")
    second = released()
    moved = {stage for stage in STAGES if first[0][stage] != second[0][stage]}
    assert moved == AFTER["craft"]
    (tmp_path / "perturbation.pt").rename(tmp_path / "renamed.pt")
    assert released(path=str(tmp_path / "renamed.pt")) == second
    assert released(path="renamed.pt") == second
    (tmp_path / "renamed.pt").unlink()
    assert released()[0]["craft_poison"] != second[0]["craft_poison"]


@pytest.mark.parametrize(
    ("name", "value", "moves"),
    [
        ("format", "ops_array", True),
        ("rounding", "nearest", True),
        ("budget", {"linf": 0.1}, True),
        ("type", "other.Released", True),
        ("filepath", "y", False),
        ("memory_gib", 9, False),
        ("timeout_s", 9, False),
        ("metadata", {"a": 1}, False),
    ],
)
def test_the_entry_of_a_release_is_its_recipe_but_not_its_places(released, name, value, moves):
    assert (released()[0]["craft_poison"] != released(**{name: value})[0]["craft_poison"]) == moves


def test_other_poisons_know_nothing_of_a_release(released):
    assert released("lsp") == released("lsp", format="ops_array", path=None)
    assert released("lsp")[0] == loader(poison="lsp")["parameters"]["recipe"]


def test_a_fingerprint_reads_names_and_bytes_and_follows_nothing(tmp_path):
    def folder(name, **files):
        (tmp_path / name).mkdir()
        for file, content in files.items():
            (tmp_path / name / file).write_bytes(content)
        return fingerprint(tmp_path / name, "a.path")

    assert folder("a", x=b"1", y=b"2") == folder("b", y=b"2", x=b"1")
    assert len({folder("c", x=b"1", y=b"2"), folder("d", x=b"2", y=b"1"), folder("e", x=b"12"), folder("f", x1=b"2")}) == 4
    (tmp_path / "b" / ".hidden").write_bytes(b"3")
    assert fingerprint(tmp_path / "b", "a.path") == fingerprint(tmp_path / "a", "a.path")
    (tmp_path / "b" / "endless").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "b" / "pipe")
    assert fingerprint(tmp_path / "b", "a.path") != fingerprint(tmp_path / "a", "a.path")
    assert fingerprint(tmp_path / "nothing", "a.path") is None


OF_CLEAN_IMAGES = {"ingest", "train_clean", "separability_clean"}


@pytest.mark.parametrize(
    ("parameters", "moved"),
    [
        (lambda path: {"probe": {"sample_indices": path}}, {"probe_checkpoints", "evaluate_dfr", "evaluate_audit"}),
        (
            lambda path: {"poison": "ar", "craft": {"ar": {"processes": path}}},
            set(STAGES) - {"ingest", "train_clean", "separability_clean"},
        ),
    ],
)
def test_a_file_that_a_parameter_names_is_part_of_the_recipe_by_its_bytes(parameters, moved, tmp_path):
    def recipe(name: str, content: bytes) -> dict:
        (tmp_path / name).write_bytes(content)
        return loader(**parameters(str(tmp_path / name)))["parameters"]["recipe"]

    one, same, other = recipe("one", b"1"), recipe("same", b"1"), recipe("other", b"2")
    assert one == same
    assert {stage for stage in one if one[stage] != other[stage]} == moved


def test_hashes_are_stable():
    """The names of artifacts on users' disks: raise FORMAT where this must change, and say so in the change log."""
    assert recipe_hash("ingest", {"ingest": {"train_size": 10}}, {"name": "x"}) == "a8513c122e29"


def test_trainings_that_are_one_are_made_once():
    """A control leaves what it is given as it is, so what is trained on it is the training of what it was given."""
    hashes = {stage: recipe_hash(stage, PARAMETERS | {"recovery": "none"}, RAW) for stage in STAGES}
    assert hashes["train_recovered"] == hashes["train_poisoned"] != hashes["train_clean"]
    hashes = {stage: recipe_hash(stage, PARAMETERS | {"poison": "none"}, RAW) for stage in STAGES}
    assert hashes["train_poisoned"] == hashes["train_clean"] != hashes["train_recovered"]
    catalog = loader(poison="none", recovery="none")["catalog"]
    folders = {catalog[f"{label}_checkpoints"]["filepath"] for label in ("clean", "poisoned", "recovered")}
    assert len(folders) == 1


def test_the_folder_of_a_training_names_what_it_has_seen():
    catalog = loader(poison="ops", recovery="jpeg")["catalog"]
    folders = {label: catalog[f"{label}_checkpoints"]["filepath"] for label in ("clean", "poisoned", "recovered", "probed")}
    names = {label: folder.removeprefix("data/06_models/digits/").rsplit("/", 2)[0] for label, folder in folders.items()}
    expected = {"clean": "clean/tiny_cnn", "poisoned": "ops/tiny_cnn", "recovered": "ops/jpeg/tiny_cnn", "probed": "ops/tiny_cnn"}
    assert names == expected
    assert loader(poison="lsp")["catalog"]["clean_checkpoints"]["filepath"] == folders["clean"]


def test_order_of_keys_does_not_matter():
    for order in itertools.permutations({"a": 1, "b": 2}.items()):
        assert recipe_hash("ingest", {"ingest": dict(order)}, RAW) == recipe_hash("ingest", {"ingest": {"a": 1, "b": 2}}, RAW)


def test_an_environment_may_be_like_another():
    like, other = loader("cifar100", model="resnet18")["parameters"], loader("cifar10", model="resnet18")["parameters"]
    assert "like" not in like
    assert like["craft"] == other["craft"]
    assert like["train"] == other["train"]
    assert like["probe"]["train"]["augmentation"] == other["probe"]["train"]["augmentation"] | {"rotation": 20.0}
    assert loader("svhn", model="resnet18")["parameters"]["train"]["augmentation"]["flip"] is False


def test_the_environment_that_it_is_like_must_be_there(tmp_path):
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "conf" / "svhn" / "parameters.yml").write_text("like: cifar11\n")
    with pytest.raises(InputError, match=r"unknown environment 'cifar11'; known: .* \(did you mean 'cifar10'\?\)"):
        RecipeConfigLoader(str(tmp_path / "conf"), env="svhn", **CONFIG_LOADER_ARGS)["parameters"]


def test_a_name_that_is_no_text_is_shown(tmp_path):
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "conf" / "svhn" / "parameters.yml").write_text("train:\n  1: 2\n")
    with pytest.raises(InputError, match=r"svhn/parameters\.yml: expected names with values, got 1"):
        RecipeConfigLoader(str(tmp_path / "conf"), env="svhn", **CONFIG_LOADER_ARGS)["parameters"]


def test_the_bytes_of_ones_own_images_are_part_of_every_recipe(tmp_path):
    (tmp_path / "folder" / "a").mkdir(parents=True)
    image = tmp_path / "folder" / "a" / "1.png"
    image.write_bytes(b"one")
    first = loader("folder", data_root=str(tmp_path), poison="none")["parameters"]["recipe"]
    assert loader("folder", data_root=str(tmp_path), poison="none")["parameters"]["recipe"] == first
    image.write_bytes(b"other")
    second = loader("folder", data_root=str(tmp_path), poison="none")["parameters"]["recipe"]
    assert all(first[stage] != second[stage] for stage in STAGES)


def test_an_audit_has_what_the_cell_of_its_second_recovery_has():
    audited, other = loader(), loader(recovery="jpeg")
    for name, wanted in (
        ("compressed_weights", "linear_weights"),
        ("compressed_train", "recovered_train"),
        ("compressed_checkpoints", "recovered_checkpoints"),
    ):
        assert audited.filepath(name) == other.filepath(wanted)
        assert audited["catalog"][name]["recipe"] == other["catalog"][wanted]["recipe"]


def test_copies_behind_links_are_part_of_the_recipe_and_images_are_hashed_once(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "unlearnable.config.loader.fingerprint", lambda path, *a, **k: asked.append(path.name) or fingerprint(path, *a, **k)
    )
    for name in ("folder", "kept", "protected"):
        (tmp_path / name / "a").mkdir(parents=True)
    (tmp_path / "kept" / "1.png").write_bytes(b"one")
    (tmp_path / "protected" / "a" / "1.png").symlink_to(tmp_path / "kept" / "1.png")
    first = loader("folder", data_root=str(tmp_path))
    hashes = first["parameters"]["recipe"]
    first["catalog"]
    first.cell(seed=3)
    assert sorted(asked) == ["folder", "protected"]
    (tmp_path / "kept" / "1.png").write_bytes(b"other")
    assert loader("folder", data_root=str(tmp_path))["parameters"]["recipe"]["craft_poison"] != hashes["craft_poison"]
