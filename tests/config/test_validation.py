"""Wrong parameters: each is one line that names it, what was expected and what came."""

import copy
import inspect
import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from functools import reduce

import pytest
import torch
import yaml

from tests.config.test_recipe import PARAMETERS, changed, leaves, loader
from tests.conftest import ROOT
from unlearnable.config.loader import RecipeConfigLoader
from unlearnable.config.recipe import PARTS
from unlearnable.config.settings import defaults, read, settings
from unlearnable.config.validation import check, check_machine
from unlearnable.errors import InputError
from unlearnable.models import MODELS
from unlearnable.poisons import POISONS
from unlearnable.poisons.surrogate import Surrogate
from unlearnable.recoveries import RECOVERIES
from unlearnable.settings import CONFIG_LOADER_ARGS
from unlearnable.signatures import nested, settings_of

WRONG = [
    ("poison", "opps", f"unknown poison 'opps'; known: {', '.join(POISONS)}, released, mixture (did you mean 'ops'?)"),
    ("recovery", "projection", f"unknown recovery 'projection'; known: {', '.join(RECOVERIES)} (did you mean 'orthogonal_projection'?)"),
    ("model", "resnet81", f"unknown model 'resnet81'; known: {', '.join(MODELS)}, timm:NAME (did you mean 'resnet18'?)"),
    ("poison", None, "parameter 'poison': expected a valid string, got None"),
    ("seed", None, "parameter 'seed': expected a valid integer, got None"),
    ("seed", -1, "parameter 'seed': expected greater than or equal to 0, got -1"),
    ("seed", 2**40, "parameter 'seed': expected less than or equal to 4294967295, got 1099511627776"),
    ("seed", "zero", "parameter 'seed': expected a valid integer, got 'zero'"),
    ("threads", 0, "parameter 'threads': expected greater than or equal to 1, got 0"),
    ("craft.lsp.l2", -1.0, "parameter 'craft.lsp.l2': expected greater than 0, got -1.0"),
    ("craft.lsp.l2", float("nan"), "parameter 'craft.lsp.l2': expected a finite number, got nan"),
    ("craft.classwise_random.linf", 8, "parameter 'craft.classwise_random.linf': expected less than or equal to 1, got 8"),
    ("craft.classwise_random.linf", -0.1, "parameter 'craft.classwise_random.linf': expected greater than 0, got -0.1"),
    ("craft.seed", -1, "parameter 'craft.seed': expected greater than or equal to 0, got -1"),
    ("craft.tap.attack.steps", 0, "parameter 'craft.tap.attack.steps': expected greater than or equal to 1, got 0"),
    ("craft.tap.attack.linf", 8, "parameter 'craft.tap.attack.linf': expected less than or equal to 1, got 8"),
    ("craft.tap.epochs", 0, "parameter 'craft.tap.epochs': expected greater than or equal to 1, got 0"),
    ("craft.rem.defender.step", 0.0, "parameter 'craft.rem.defender.step': expected greater than 0, got 0.0"),
    ("craft.em_samplewise.noise.stop_error", 1.5, "parameter 'craft.em_samplewise.noise.stop_error': expected less than or equal to 1"),
    (
        "craft.em_samplewise.surrogate.batch_size",
        "many",
        "'craft.em_samplewise.surrogate.batch_size': expected a valid integer, got 'many'",
    ),
    ("craft.ar.search.least_response", -1.0, "parameter 'craft.ar.search.least_response': expected greater than or equal to 0, got -1.0"),
    ("craft.ntga.steps", 1.5, "parameter 'craft.ntga.steps': expected a valid integer, got 1.5"),
    ("train", 3, "parameter 'train': expected a valid dictionary"),
    ("craft", 3, "parameter 'craft': expected a valid dictionary"),
    ("train.augmentation", None, "parameter 'train.augmentation': expected a valid dictionary"),
    ("train.epochs", 0, "parameter 'train.epochs': expected greater than or equal to 1, got 0"),
    ("train.epochs", "ten", "parameter 'train.epochs': expected a valid integer, got 'ten'"),
    ("train.epochs", 1.5, "parameter 'train.epochs': expected a valid integer, got 1.5"),
    ("train.batch_size", 0, "parameter 'train.batch_size': expected greater than or equal to 1, got 0"),
    ("train.learning_rate", 0, "parameter 'train.learning_rate': expected greater than 0, got 0"),
    ("train.schedule", "cosin", "parameter 'train.schedule': expected 'cosine', 'linear' or 'multistep', got 'cosin'"),
    ("train.augmentation.cutmix", 1.5, "parameter 'train.augmentation.cutmix': expected less than or equal to 1, got 1.5"),
    ("train.weights", 3, "parameter 'train.weights': expected a valid string, got 3"),
    ("train.weights", "timm", "train.weights: expected a file for 'tiny_cnn', got 'timm', which has weights of timm:NAME alone"),
    ("train.freeze", 3, "parameter 'train.freeze.0': expected a valid string, got 3"),
    ("train.pretraining", "byol", "parameter 'train.pretraining': expected 'simclr', got 'byol'"),
    ("train.simclr.temperature", 0, "parameter 'train.simclr.temperature': expected greater than 0, got 0"),
    ("train.warmup", 1.0, "parameter 'train.warmup': expected less than 1, got 1.0"),
    ("ingest.train_size", 0, "parameter 'ingest.train_size': expected greater than or equal to 1, got 0"),
    ("recover.orthogonal_projection.epochs", 0, "expected greater than or equal to 1, got 0"),
    ("probe.train.epochs", 0, "parameter 'probe.train.epochs': expected greater than or equal to 1, got 0"),
    ("probe.clean_samples", 0, "parameter 'probe.clean_samples.0': expected greater than or equal to 1, got 0"),
    ("probe.clean_samples", [5, 0], "parameter 'probe.clean_samples.1': expected greater than or equal to 1, got 0"),
    ("probe.clean_samples", [], "parameter 'probe.clean_samples': expected at least 1 item, got []"),
    ("probe.clean_samples", "many", "parameter 'probe.clean_samples.0': expected a valid integer, got 'many'"),
    ("probe.epochs", [], "parameter 'probe.epochs': expected at least 1 item, got []"),
    ("probe.estimators", ["forzen"], "unknown estimator 'forzen'; known: frozen, recalibrated, reference (did you mean 'frozen'?)"),
    ("learnability.quantile", 1, "parameter 'learnability.quantile': expected less than 1, got 1"),
    ("learnability.radii", [0.1, -1], "parameter 'learnability.radii.1': expected greater than or equal to 0, got -1"),
    ("separability.held_out", 1.0, "parameter 'separability.held_out': expected less than 1, got 1.0"),
]


@pytest.mark.parametrize(("name", "value", "message"), WRONG, ids=[f"{name}={value}" for name, value, _ in WRONG])
def test_a_wrong_parameter_is_one_line(name, value, message):
    with pytest.raises(InputError) as error:
        check(changed(PARAMETERS, name.split("."), value))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_surrogate_is_said_before_anything_runs():
    wrong = changed(changed(PARAMETERS, ["poison"], "tap"), ["craft", "tap", "surrogate", "model"], "resnet81")
    with pytest.raises(InputError, match=r"unknown craft\.tap\.surrogate\.model 'resnet81'; known: .*\(did you mean 'resnet18'\?\)"):
        check(wrong)
    check(changed(wrong, ["poison"], "lsp"))


@pytest.mark.parametrize(
    "block", [(), ("train",), ("train", "augmentation"), ("craft", "lsp"), ("ingest",), ("recover", "orthogonal_projection")]
)
def test_an_unknown_parameter_names_the_known_ones(block):
    parameters = copy.deepcopy(PARAMETERS)
    place = parameters
    for name in block:
        place = place[name]
    nearly = f"{next(iter(place))}s"
    place[nearly] = 1
    dotted = ".".join((*block, nearly))
    with pytest.raises(InputError, match=f"unknown parameter '{dotted}'; known: .*did you mean '{nearly[:-1]}'"):
        check(parameters)


@pytest.mark.parametrize("recipe", ["train", "probe.train", "audit.train"])
def test_muon_beside_adam_is_refused(recipe):
    path = recipe.split(".")
    given = changed(changed(PARAMETERS, [*path, "muon"], 0.1), [*path, "optimiser"], "adam")
    with pytest.raises(InputError, match=rf"^{recipe}\.muon: expected {recipe}\.optimiser 'sgd' for all else, got 'adam'$"):
        check(given)


def test_a_missing_parameter_is_named():
    with pytest.raises(InputError, match="parameter 'seed': expected a value, got none"):
        check({name: value for name, value in PARAMETERS.items() if name != "seed"})


def test_several_wrong_parameters_are_all_named():
    wrong = changed(changed(PARAMETERS, ["seed"], -1), ["train", "epochs"], 0)
    with pytest.raises(InputError, match=r"'seed'.*; .*'train\.epochs'"):
        check(wrong)


def test_what_the_training_that_is_probed_has_from_the_others_is_named_once():
    with pytest.raises(InputError) as error:
        check(loader(train={"epochs": "ten", "learning_rate": float("nan")})["parameters"])
    assert str(error.value) == (
        "parameter 'train.epochs': expected a valid integer, got 'ten'; parameter 'train.learning_rate': expected a finite number, got nan"
    )
    with pytest.raises(InputError, match=r"'train.epochs': .*, got 0; parameter 'probe.train.epochs': .*, got -1$"):
        check(loader(train={"epochs": 0}, probe={"train": {"epochs": -1}})["parameters"])


def test_epochs_of_a_pretraining_can_be_probed():
    asked = {"train": {"epochs": 2, "pretraining": "simclr", "simclr": {"epochs": 3}}}
    check(loader(**asked, probe={"epochs": [5]})["parameters"])
    with pytest.raises(InputError, match=r"^probe\.epochs: expected at most 5, the epochs of the training, got 6$"):
        check(loader(**asked, probe={"epochs": [6]})["parameters"])


def test_a_gpu_asked_for_and_missing_is_said_before_anything_runs(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    check_machine(PARAMETERS)
    with pytest.raises(InputError, match="device: expected a CUDA GPU for 'cuda'"):
        check_machine(changed(PARAMETERS, ["device"], "cuda"))
    with pytest.raises(InputError, match="device: expected auto, cpu or cuda, got 'gpu'"):
        check_machine(changed(PARAMETERS, ["device"], "gpu"))


@pytest.mark.parametrize("env", ["base", "cifar10", "cifar10_plain", "cifar10_small", "test"])
@pytest.mark.parametrize("model", ["small_cnn", "resnet18"])
def test_every_environment_passes(env, model):
    check(loader(env, model=model)["parameters"])


@pytest.mark.parametrize(("register", "block"), [(POISONS, "craft"), (RECOVERIES, "recover")])
def test_every_setting_of_a_recipe_stands_in_its_block(register, block):
    """Everything that a recipe asks for is given in the configuration, and nothing else is."""
    for name, function in register.items():
        assert set(PARAMETERS[block].get(name, {})) == set(settings_of(function)["fields"])


UNUSED = ("em_classwise", "noise", "steps")  # class-wise noise takes one a batch, whatever this says


def test_signatures_default_to_the_published_scale():
    """``conf/cifar10`` has the figures of the papers, most of which ``conf/base`` reduces."""
    published = {**loader("cifar10")["parameters"]["craft"]}
    for name in ("seed", *PARTS):
        del published[name]
    assert set(leaves(published)) == set(leaves(defaults()["craft"]))
    for path in set(leaves(published)) - {UNUSED}:
        found, expected = (reduce(dict.__getitem__, path, block) for block in (defaults()["craft"], published))
        assert found == (pytest.approx(expected, rel=1e-4) if isinstance(expected, float) else expected), path


def test_what_the_configuration_leaves_out_is_as_published(tmp_path):
    """Recoveries have no reduced scale: without their files nothing changes."""
    conf = shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (conf / "base" / "parameters_recover.yml").unlink()
    (conf / "base" / "parameters_separability.yml").unlink()
    lean = RecipeConfigLoader(str(conf), env="base", runtime_params={"recover": {"jpeg": {"quality": 50}}}, **CONFIG_LOADER_ARGS)
    check(lean["parameters"])
    expected = changed(PARAMETERS["recover"], ["jpeg", "quality"], 50)
    assert lean["parameters"]["recover"] == changed(expected, ["orthogonal_projection", "milestones"], None)  # these are then 10 and 15
    assert lean["parameters"]["separability"] == PARAMETERS["separability"]


def test_a_block_that_is_given_in_part_keeps_the_rest_of_its_methods_own():
    """The surrogate of error-minimising noise clips gradients, where the class of all surrogates does not."""
    block = nested(POISONS["em_samplewise"], {"surrogate": {"batch_size": 64}})
    assert block == {"surrogate": Surrogate(model="resnet18", batch_size=64, gradient_clip=5.0)}
    assert nested(POISONS["tap"], {"surrogate": {"batch_size": 64}}) == {"surrogate": Surrogate(batch_size=64, gradient_clip=None)}


def test_every_parameter_is_explained_or_evident():
    for file in (ROOT / "conf").glob("*/parameters*.yml"):
        assert isinstance(yaml.safe_load(file.read_text()), dict)
    assert len(list(leaves(PARAMETERS))) > 30


def test_settings_are_read_from_signatures():
    def recipe(images, *, seed: int, strength: float = 0.5, times: int) -> None:
        """Take settings."""

    assert list(inspect.signature(recipe).parameters) == ["images", "seed", "strength", "times"]
    assert settings_of(recipe)["fields"] == {"strength": {"is": "float", "default": 0.5}, "times": {"is": "int"}}


MINE = """
from unlearnable.poisons.base import POISONS


@POISONS.add("mine")
def mine(clean, crafting, *, strength: float = 0.5):
    return 0 * clean.images
"""


def test_what_was_read_is_kept_until_a_source_changes(tmp_path, monkeypatch):
    """In a copy, whose compiled modules lie beside it."""
    package = shutil.copytree(ROOT / "src" / "unlearnable", tmp_path / "unlearnable", ignore=shutil.ignore_patterns("__pycache__"))
    (package / "poisons" / "mine.py").write_text(MINE)
    told = "import sys; from unlearnable.config.settings import settings; print(sorted(settings()['poisons']), 'torch' in sys.modules)"

    def known() -> str:
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)}
        return subprocess.run([sys.executable, "-c", told], env=environment, check=True, capture_output=True, text=True).stdout

    assert "'mine', 'none'" in (first := known())  # which no list names
    assert "True" in first
    assert known() == first.replace("True", "False")
    source = package / "poisons" / "ops.py"
    source.write_text(source.read_text().replace('@POISONS.add("ops")', '@POISONS.add("opps")'))
    assert "'opps'" in known()


def test_what_is_kept_is_what_the_signatures_say():
    assert settings() == json.loads(json.dumps(read()))


@pytest.mark.parametrize("name", ["dataset"])
def test_what_follows_from_other_parameters_cannot_be_given(name):
    with pytest.raises(InputError, match=f"parameter '{name}': expected none"):
        loader(**{name: "mine"})["parameters"]


@pytest.mark.parametrize(
    ("given", "name"), [({"by_model": 1}, "train.by_model"), ({"by_model": {"tiny_cnn": 1}}, "train.by_model.tiny_cnn")]
)
def test_a_number_where_the_recipe_of_a_model_belongs_is_named(given, name):
    with pytest.raises(InputError, match=f"parameter '{name}': expected a valid dictionary, got 1"):
        loader(train=given)["parameters"]


def test_an_interpolation_where_the_recipe_belongs_is_named():
    with pytest.raises(InputError, match=r"parameter 'train': expected a valid dictionary, got '\$\{ingest\}'"):
        loader(train="${ingest}")["parameters"]


@pytest.mark.parametrize("block", ["train", "craft", "recover"])
def test_a_number_where_a_block_belongs_reaches_the_check(block):
    configuration = loader(**{block: 3})
    with suppress(InputError):  # of a path that asks for a parameter in that block
        configuration["catalog"]
    with pytest.raises(InputError, match=f"parameter '{block}': expected a valid dictionary"):
        check(configuration["parameters"])
