import hashlib
import itertools
import os
import shutil

import numpy as np
import pytest
import yaml

from tests.conftest import ROOT
from unlearnable.config.graph import hashed
from unlearnable.config.loader import RecipeConfigLoader
from unlearnable.config.recipe import FORMAT, PARTS
from unlearnable.config.settings import settings
from unlearnable.errors import InputError
from unlearnable.settings import CONFIG_LOADER_ARGS
from unlearnable.sources.fingerprint import fingerprint

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


GRAPH = CONFIG_LOADER_ARGS["graph"]
PARAMETERS = dict(loader()["parameters"])
ARTIFACTS = set(loader()["catalog"]) & set(GRAPH.makers)
IMAGES = {"clean_train", "clean_test"}
PROTECTED = {"protection", "protected_images"}  # of a folder of their own
OF_CLEAN_IMAGES = IMAGES | {"clean_checkpoints", "clean_separability"}
AUDIT = {"audit_scores", "audit_page"}
REPEATED = {"audit_repeats"} | AUDIT
SECOND = {"second_train", "second_checkpoints"} | REPEATED
TUNED = {"tuned_checkpoints"} | REPEATED
PROBED = {"dfr_table", "dfr_scores", "dfr_figure"}
SEPARABLE = {"separability_scores", "separability_figure"}
CERTIFIED = {"learnability", "learnability_scores"}
TRAINED = {"clean_checkpoints", "poisoned_checkpoints", "recovered_checkpoints", "second_checkpoints"}
SCORED = {"history", "scores", "accuracy_figure"}
DIRECTIONS = {"linear_weights", "removed_directions", "directions_figure"}
RECOVERED = {"recovered_train", "recovered_checkpoints", "examples_figure", "audit_figure"} | SCORED | REPEATED
AFTER = {
    "ingest": ARTIFACTS - PROTECTED,
    "craft": ARTIFACTS - OF_CLEAN_IMAGES,
    "recover": DIRECTIONS | RECOVERED,
    "train": TRAINED | SCORED | REPEATED | CERTIFIED,
    "probe": PROBED | REPEATED,
    "probe.train": PROBED | REPEATED | {"probed_checkpoints"},
    "separability": {"perturbation_separability", "clean_separability"} | SEPARABLE | AUDIT,
    "learnability": CERTIFIED,
    "audit": SECOND,
    "audit.train": TUNED,
    "audit.seeds": REPEATED,
    "protect": {"protected_images"},
}
CELLS = (
    SCORED | {"dfr_scores", "dfr_figure", "examples_figure", "directions_figure", "audit_figure", "learnability_scores"} | SEPARABLE | AUDIT
)  # what names its cell
EXPECTED = {
    "poison": AFTER["craft"],
    "recovery": RECOVERED | CELLS,
    "model": AFTER["train"] | AFTER["probe.train"] | TUNED | CELLS,
    # What the poison's seed decides moves with it where the loader completes it: test_runs_of_two_seeds_share_their_images.
    "seed": ARTIFACTS - IMAGES - PROTECTED - {"clean_separability", "poisoned_train", "perturbation_separability"},
    "data_root": set(),
    "device": set(),
    "threads": set(),
    "dataset": CELLS - {"history"},
}


def of(artifact, parameters, raw=RAW):
    """The hash of an artifact's recipe."""
    return hashed(GRAPH.recipe(artifact, parameters, lambda name: {name: raw}), FORMAT)


def hashes(*more, **parameters):
    """The hashes of all artifacts, as the loader has them."""
    found = loader(*more, **parameters)
    return {name: found.recipe_hash(name) for name in sorted(ARTIFACTS)}


def moved(first, second):
    return {name for name in ARTIFACTS if first[name] != second[name]}


def expected_artifacts(path):
    """The artifacts whose bytes a parameter decides."""
    if path[0] in EXPECTED:
        return EXPECTED[path[0]]
    if path[0] in ("craft", "recover") and path[1] not in ("seed", *PARTS) and path[1] not in CHOSEN.values():
        beside = path[0] == "recover" and path[1] == PARAMETERS["audit"]["recovery"]
        return AFTER["audit"] if beside else set()  # settings of what was not chosen
    return AFTER.get(".".join(path[:2]), AFTER[path[0]])


BEFORE = {name: of(name, PARAMETERS) for name in ARTIFACTS}


@pytest.mark.parametrize("path", sorted(leaves(PARAMETERS)), ids=".".join)
def test_every_parameter_lies_on_its_side(path):
    """Walks every parameter: a new one must be placed in AFTER or EXPECTED."""
    after = {name: of(name, changed(PARAMETERS, path)) for name in ARTIFACTS}
    assert moved(BEFORE, after) == expected_artifacts(path)


def test_no_node_is_given_all_parameters():
    """Else the graph would not say what decides what."""
    assert "parameters" not in {name for node in GRAPH.makers.values() for name in node.inputs}


@pytest.mark.parametrize(
    ("name", "value", "moves"), [("sha256", "1", True), ("name", "x", True), ("data_root", "x", False), ("metadata", {"a": 1}, False)]
)
def test_the_dataset_is_part_of_every_recipe_but_where_it_lies_is_not(name, value, moves, tmp_path):
    shutil.copytree(ROOT / "conf" / "base", tmp_path / "conf" / "base")
    file = tmp_path / "conf" / "base" / "catalog.yml"
    found = yaml.safe_load(file.read_text())
    found["raw_images"][name] = value
    file.write_text(yaml.safe_dump(found))
    other = RecipeConfigLoader(str(tmp_path / "conf"), env="base", runtime_params={}, **CONFIG_LOADER_ARGS)
    if name == "data_root":
        found["raw_images"].pop(name)
        file.write_text(yaml.safe_dump(found))
        other = RecipeConfigLoader(str(tmp_path / "conf"), env="base", runtime_params={"data_root": "x"}, **CONFIG_LOADER_ARGS)
    one = loader()
    assert {one.recipe_hash(artifact) != other.recipe_hash(artifact) for artifact in ARTIFACTS - PROTECTED} == {moves}


def test_a_recipe_says_in_full_what_its_hash_stands_for():
    found = loader().recipe("poisoned_train")
    assert set(found) == {"raw_images", "ingest", "craft.lsp", "craft.seed", "code"}
    assert found["craft.lsp"] == PARAMETERS["craft"]["lsp"]


def test_both_ways_to_orthogonal_projection_have_one_recipe():
    """The stage that runs any recovery, and the three nodes of Algorithm 1."""
    found = loader().recipe("recovered_train")
    assert {name: value for name, value in loader().recipe("removed_directions").items() if name != "code"} == {
        name: value for name, value in found.items() if name != "code"
    }


def test_command_line_parameters_are_in_the_hash():
    assert moved(hashes(), hashes(train={"epochs": 3})) == AFTER["train"] | AFTER["probe.train"] | TUNED


def test_catalog_paths_name_parameters_and_recipes():
    found = loader(poison="ops")
    digest = found.recipe_hash("poisoned_train")
    entry = found["catalog"]["poisoned_train"]
    assert entry["filepath"] == f"data/05_model_input/digits/ops/{digest}/poisoned_train.safetensors"
    assert entry["recipe"] == digest
    assert found.filepath("poisoned_train") == entry["filepath"]


def test_what_people_read_of_a_cell_lies_in_one_folder():
    found = loader()
    files = ["scores", "history", "accuracy_figure", "directions_figure", "examples_figure"]
    folders = {os.path.dirname(found.filepath(name)) for name in files}  # noqa: PTH120
    names = "digits/lsp/orthogonal_projection/tiny_cnn/seed-0"
    assert folders == {f"data/08_reporting/{names}/{found.recipe_hash('scores')}"}


def test_no_two_artifacts_of_a_catalog_share_a_path():
    tuned = loader(audit={"train": {"learning_rate": 0.02}})  # else that training is the plain one
    catalog = {name: entry["filepath"] for name, entry in tuned["catalog"].items() if "filepath" in entry}
    assert len(set(catalog.values())) == len(catalog)


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


def test_a_configuration_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(InputError, match=f"^configuration: expected the folder {tmp_path}/conf, got none: run in .* say --conf-source$"):
        RecipeConfigLoader(str(tmp_path / "conf"), env="folder", runtime_params={}, **CONFIG_LOADER_ARGS)


def test_runs_of_two_seeds_share_their_images():
    assert ARTIFACTS - moved(hashes(seed=0), hashes(seed=1)) == IMAGES | {"clean_separability"}


def test_cells_of_several_seeds_may_share_one_poison():
    first, second = hashes(seed=0, craft={"seed": 5}), hashes(seed=1, craft={"seed": 5})
    shared = IMAGES | PROTECTED | {"poisoned_train", "clean_separability", "perturbation_separability"}
    assert ARTIFACTS - moved(first, second) == shared
    assert first["poisoned_train"] == hashes(seed=5)["poisoned_train"]


RELEASED = {"type": "some.Released", "format": "em_tensor", "path": "PATH", "filepath": "x", "memory_gib": 1, "metadata": {}}


@pytest.fixture
def released(tmp_path):
    """Hashes with a released poison, given changes of its entry and of parameters."""
    (tmp_path / "conf").mkdir()
    shutil.copytree(ROOT / "conf" / "base", tmp_path / "conf" / "base")
    (tmp_path / "perturbation.pt").write_bytes(b"some bytes")

    def found(poison="released", env="base", **entry):
        catalog = yaml.safe_load((ROOT / "conf" / "base" / "catalog.yml").read_text())
        catalog["released_poison"] = RELEASED | {"path": "${param:data_root}/perturbation.pt"} | entry
        (tmp_path / "conf" / "base" / "catalog.yml").write_text(yaml.safe_dump(catalog))
        parameters = {"poison": poison, "data_root": str(tmp_path)}
        return {seed: of_seed(tmp_path / "conf", env, {**parameters, "seed": seed}) for seed in (0, 1)}

    def of_seed(conf, env, parameters):
        configuration = RecipeConfigLoader(str(conf), env=env, runtime_params=parameters, **CONFIG_LOADER_ARGS)
        return {name: configuration.recipe_hash(name) for name in sorted(ARTIFACTS)}

    return found


def test_the_bytes_of_a_release_are_its_recipe_and_the_seed_is_not(released, tmp_path):
    first = released()
    assert first[0]["poisoned_train"] == first[1]["poisoned_train"]
    assert first[0]["poisoned_checkpoints"] != first[1]["poisoned_checkpoints"]
    (tmp_path / "perturbation.pt").write_bytes(b"other bytes")
    second = released()
    assert moved(first[0], second[0]) == AFTER["craft"]
    (tmp_path / "perturbation.pt").rename(tmp_path / "renamed.pt")
    assert released(path=str(tmp_path / "renamed.pt")) == second
    assert released(path="renamed.pt") == second
    (tmp_path / "renamed.pt").unlink()
    assert released()[0]["poisoned_train"] != second[0]["poisoned_train"]


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
    assert (released()[0]["poisoned_train"] != released(**{name: value})[0]["poisoned_train"]) == moves


def test_other_poisons_know_nothing_of_a_release(released):
    assert released("lsp") == released("lsp", format="ops_array", path=None)
    assert released("lsp")[0] == hashes(poison="lsp")


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


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (lambda path: {"probe": {"sample_indices": path}}, AFTER["probe"]),
        (lambda path: {"poison": "ar", "craft": {"ar": {"processes": path}}}, AFTER["craft"]),
        (lambda path: {"train": {"weights": path}}, AFTER["train"] | AFTER["probe.train"] | TUNED),
        (lambda path: {"probe": {"train": {"weights": path}}}, AFTER["probe.train"]),
        (lambda path: {"audit": {"train": {"weights": path}}}, TUNED),
        (lambda path: {"poison": "bait", "craft": {"bait": {"surrogate": {"weights": path}}}}, AFTER["craft"]),
    ],
)
def test_a_file_that_a_parameter_names_is_part_of_the_recipe_by_its_bytes(parameters, expected, tmp_path):
    def found(name: str, content: bytes) -> dict:
        (tmp_path / name).write_bytes(content)
        return hashes(**parameters(str(tmp_path / name)))

    one, same, other = found("one", b"1"), found("same", b"1"), found("other", b"2")
    assert one == same
    assert moved(one, other) == expected


def test_weights_that_timm_publishes_are_part_of_the_recipe_by_their_bytes(tmp_path, monkeypatch):
    file, asked = tmp_path / "model.safetensors", []
    monkeypatch.setattr("unlearnable.models.timm_file", lambda *given: asked.append(given) or file)

    def found(content: bytes) -> dict:
        file.write_bytes(content)
        return hashes(model="timm:test_resnet", train={"weights": "timm"})

    one, other = found(b"1"), found(b"2")
    assert moved(one, other) == AFTER["train"] | AFTER["probe.train"] | TUNED
    assert set(asked) == {("timm:test_resnet", block) for block in ("train", "probe.train", "audit.train")}
    assert other == hashes(model="timm:test_resnet", train={"weights": str(file)})


def test_a_diffusion_model_is_part_of_the_recipe_by_its_bytes_where_it_is_used(tmp_path):
    def found(name: str, content: bytes, recovery: str) -> dict:
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "config.json").write_bytes(content)
        return hashes(recovery=recovery, recover={"avatar": {"weights": str(tmp_path / name)}})

    one, same, other = (found(*given, "avatar") for given in (("one", b"1"), ("same", b"1"), ("other", b"2")))
    assert one == same
    assert moved(one, other) == RECOVERED
    assert found("one", b"1", "jpeg") == found("other", b"2", "jpeg") == hashes(recovery="jpeg")


def test_a_diffusion_model_that_is_not_there_is_said_before_anything_runs(monkeypatch):
    def fail(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", fail)
    with pytest.raises(InputError, match=r"^recover\.avatar\.weights: expected a diffusion model 'google/ddpm-cifar10-32' on this machine"):
        loader(recovery="avatar")["catalog"]


def test_weights_that_cannot_be_had_are_no_error_of_a_path(monkeypatch):
    def none(model, setting):
        raise InputError(f"{setting}.weights: expected the weights of '{model}', got none")

    monkeypatch.setattr("unlearnable.models.timm_file", none)
    with pytest.raises(InputError, match=r"^train\.weights: expected the weights of 'timm:x', got none$"):
        loader(model="timm:x", train={"weights": "timm"})["catalog"]


def test_recipes_from_before_weights_could_be_given_stay():
    """What is null is not in them; what is given is, and so is a file that is missing."""
    for artifact, block in (("clean_checkpoints", "train"), ("probed_checkpoints", "probe.train")):
        assert not {"weights", "freeze", "pretraining", "simclr", "muon"} & set(loader().recipe(artifact)[block])
        given = loader(train={"weights": "nothing.safetensors", "freeze": "all but the head", "muon": 0.1}).recipe(artifact)[block]
        assert (given["weights"], given["freeze"], given["muon"]) == (None, "all but the head", 0.1)


def test_settings_of_a_pretraining_decide_where_there_is_one():
    def found(**train):
        other = loader(train=train)
        return [other.recipe_hash(artifact) for artifact in ("clean_checkpoints", "probed_checkpoints")]

    assert found(simclr={"epochs": 7}) == found()
    first, second = found(pretraining="simclr"), found(pretraining="simclr", simclr={"epochs": 7})
    assert len({*found(), *first, *second}) == 6


def test_hashes_are_stable():
    """The names of artifacts on users' disks: raise FORMAT where this must change, and say so in the change log."""
    text = '[{"ingest": {"train_size": 10}}, 6]'  # sha256sum of it
    assert hashed({"ingest": {"train_size": 10}}, FORMAT) == "ce113dfb90aa" == hashlib.sha256(text.encode()).hexdigest()[:12]


def test_trainings_that_are_one_are_made_once():
    """A control leaves what it is given as it is, so what is trained on it is the training of what it was given."""
    found = hashes(recovery="none")
    assert found["recovered_checkpoints"] == found["poisoned_checkpoints"] != found["clean_checkpoints"]
    found = hashes(poison="none")
    assert found["poisoned_checkpoints"] == found["clean_checkpoints"] != found["recovered_checkpoints"]
    catalog = loader(poison="none", recovery="none")["catalog"]
    folders = {catalog[f"{label}_checkpoints"]["filepath"] for label in ("clean", "poisoned", "recovered")}
    assert len(folders) == 1


def test_the_folder_of_a_training_names_what_it_has_seen():
    catalog = loader(poison="ops", recovery="jpeg")["catalog"]
    folders = {label: catalog[f"{label}_checkpoints"]["filepath"] for label in ("clean", "poisoned", "recovered", "probed")}
    names = {label: folder.removeprefix("data/06_models/digits/").rsplit("/", 2)[0] for label, folder in folders.items()}
    seen = {"clean": "clean", "poisoned": "ops", "recovered": "ops/jpeg", "probed": "ops"}
    assert names == {label: f"{name}/tiny_cnn/seed-0" for label, name in seen.items()}
    assert loader(poison="lsp")["catalog"]["clean_checkpoints"]["filepath"] == folders["clean"]


def test_order_of_keys_does_not_matter():
    for order in itertools.permutations({"a": 1, "b": 2}.items()):
        assert hashed({"ingest": dict(order)}) == hashed({"ingest": {"a": 1, "b": 2}})


def test_a_new_version_of_the_package_of_a_poison_is_another_recipe(monkeypatch):
    """A plug-in whose defaults have changed is not answered with an old result; what it does not decide stays."""
    monkeypatch.setitem(settings()["packages"], "lsp", "numpy")
    first = hashes()
    assert loader().recipe("poisoned_train")["code"]["numpy"] == np.__version__
    monkeypatch.setattr("unlearnable.config.recipe.identity", lambda package: "0")
    assert moved(first, hashes()) == AFTER["craft"]


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
    first = hashes("folder", data_root=str(tmp_path), poison="none")
    assert hashes("folder", data_root=str(tmp_path), poison="none") == first
    image.write_bytes(b"other")
    assert moved(first, hashes("folder", data_root=str(tmp_path), poison="none")) == ARTIFACTS


def test_an_audit_has_what_the_cell_of_its_second_recovery_has():
    audited, other = loader(), loader(recovery="jpeg")
    for name, wanted in (
        ("second_train", "recovered_train"),
        ("second_checkpoints", "recovered_checkpoints"),
    ):
        assert audited.filepath(name) == other.filepath(wanted)
        assert audited["catalog"][name]["recipe"] == other["catalog"][wanted]["recipe"]


def test_an_audit_trains_no_further_network_unless_its_recipe_differs():
    plain = loader()
    assert plain.filepath("tuned_checkpoints") == plain.filepath("poisoned_checkpoints")
    tuned = loader(audit={"train": {"learning_rate": 0.02}})
    assert tuned.filepath("tuned_checkpoints") != tuned.filepath("poisoned_checkpoints") == plain.filepath("poisoned_checkpoints")
    assert tuned.filepath("tuned_checkpoints") == loader(train={"learning_rate": 0.02}).filepath("poisoned_checkpoints")


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
    before = first.recipe_hash("poisoned_train")
    first["catalog"]
    first.cell(seed=3)
    assert sorted(asked) == ["folder", "protected"]
    (tmp_path / "kept" / "1.png").write_bytes(b"other")
    assert loader("folder", data_root=str(tmp_path)).recipe_hash("poisoned_train") != before
