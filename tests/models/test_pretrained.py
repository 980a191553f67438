"""Networks that start from weights in a file, and parts of them that stay as they are."""

import pickle
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
from torch import nn

from unlearnable.errors import InputError
from unlearnable.models import build, require_takes
from unlearnable.models.any_timm import timm_file

RGB, GREY = (3, 32, 32), (1, 32, 32)
TINY_TIMM = "timm:test_resnet"


def network(name="tiny_cnn", *, shape=RGB, num_classes=10, seed=0, **more):
    return build(name, shape=shape, num_classes=num_classes, seed=seed, **more)


@pytest.fixture
def saved(tmp_path):
    """Writes the weights of a network, and returns the path and the weights."""

    def write(name="tiny_cnn", *, without=(), **more):
        state = {key: value for key, value in network(name, seed=7, **more).state_dict().items() if key not in without}
        safetensors.torch.save_file(state, tmp_path / "weights.safetensors")
        return str(tmp_path / "weights.safetensors"), state

    return write


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def test_all_weights_are_those_of_the_file_where_it_has_as_many_classes(saved):
    path, state = saved("fast_cnn")
    assert same(network("fast_cnn", weights=path).state_dict(), state)
    assert not same(network("fast_cnn").state_dict(), state)


@pytest.mark.parametrize(("classes", "without"), [(100, ()), (10, ("head.weight", "head.bias"))], ids=["of 100 classes", "without a head"])
def test_the_head_is_new_where_the_file_has_none_for_these_classes(classes, without, saved):
    path, state = saved(num_classes=classes, without=without)
    found, drawn = network(weights=path).state_dict(), network().state_dict()
    for name, value in found.items():
        assert torch.equal(value, drawn[name] if name.startswith("head.") else state[name])


@pytest.mark.parametrize(
    ("of", "asked", "difference"),
    [
        ({}, {"name": "small_cnn"}, r"with 'extractor.0.0.weight' of \(24, 3, 3, 3\) instead of \(32, 3, 3, 3\)"),
        ({"shape": GREY}, {}, r"with 'extractor.0.0.weight' of \(24, 1, 3, 3\) instead of \(24, 3, 3, 3\)"),
        ({"without": ["extractor.1.2.bias"]}, {}, "without 'extractor.1.2.bias'"),
        ({"name": "small_cnn"}, {}, "with 'extractor.0.0.weight' of .*"),
        ({"name": "fast_cnn_learned"}, {"name": "fast_cnn"}, "with 'extractor.layers.0.weight' of .*"),
    ],
)
def test_weights_of_another_network_are_one_line_before_anything_is_computed(of, asked, difference, saved):
    path, _ = saved(**of)
    asked = {"name": "tiny_cnn"} | asked
    message = rf"^train\.weights: expected the weights of '{asked['name']}' for these images, got {path} {difference}$"
    for use in (lambda: network(**asked, weights=path), lambda: require_takes(asked["name"], RGB, weights=path)):
        with pytest.raises(InputError, match=message):
            use()


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, pickle.dumps({"a": 1}), None], ids=["empty", "noise", "a pickle", "missing"])
def test_what_is_no_file_of_weights_is_one_line(content, tmp_path):
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    for wrong in (path, tmp_path):
        with pytest.raises(InputError, match=rf"^train\.weights: expected a safetensors file, got {wrong}(, which is none| \(.*\))$"):
            network(weights=str(wrong))


# ---- weights that timm publishes


@pytest.fixture
def published(saved, tmp_path, monkeypatch):
    """Weights of timm's network as timm publishes them, with a head of its own, in place of what the hub sends."""
    timm = pytest.importorskip("timm")
    with torch.random.fork_rng(devices=[]):
        state = timm.create_model("test_resnet").state_dict()
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(state, path)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *asked, **more: str(path))
    return state


@pytest.mark.parametrize("initialisation", ["own", "torch"])
def test_weights_of_timm_are_those_that_it_publishes(initialisation, published):
    found = network(TINY_TIMM, weights="timm", initialisation=initialisation).extractor.state_dict()
    assert same(found, {name: value for name, value in published.items() if not name.startswith("fc.")})


def test_where_there_is_no_network_it_says_so_in_one_line(monkeypatch):
    asked = []

    def fail(*names, local_files_only):
        asked.append((*names, local_files_only))
        raise OSError("no route\nto host")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", lambda *_, **__: None)
    expected = r"expected the weights of 'timm:test_resnet' on this machine or on the hub, got none \(no route to host\)"
    with pytest.raises(InputError, match=rf"^train\.weights: {expected}$"):
        network(TINY_TIMM, weights="timm")
    assert asked == [("timm/test_resnet.r160_in1k", "model.safetensors", local) for local in (True, False)]


@pytest.mark.parametrize(
    "config", [None, SimpleNamespace(hf_hub_id="", hf_hub_filename=None), SimpleNamespace(hf_hub_id="a", hf_hub_filename="b.bin")]
)
def test_a_network_without_safe_weights_is_named(config, monkeypatch):
    monkeypatch.setattr("timm.get_pretrained_cfg", lambda name: config)
    with pytest.raises(
        InputError, match=r"^audit\.train\.weights: expected a network that timm publishes weights of as safetensors, got 'timm:x'$"
    ):
        timm_file("timm:x", "audit.train")


@pytest.mark.parametrize("use", [network, lambda **more: require_takes("tiny_cnn", RGB, **more)])
def test_timm_has_no_weights_of_our_own_networks(use):
    with pytest.raises(
        InputError, match=r"^train\.weights: expected a file for 'tiny_cnn', got 'timm', which has weights of timm:NAME alone$"
    ):
        use(weights="timm")


# ---- freezing


def training_parts(model):
    """The names of the parameters that are trained, and of the modules that move statistics."""
    moved = {name for name, part in model.named_modules() if getattr(part, "running_mean", None) is not None and part.training}
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}, moved


@pytest.mark.parametrize("name", ["fast_cnn", "googlenet", "resnet18", "vgg16", "vit_patch4", TINY_TIMM])
def test_all_but_the_head_is_all_but_the_head(name):
    with torch.device("meta"):
        model = network(name)
    assert {"head.weight", "head.bias"} < training_parts(model.train())[0]
    model.freeze("all but the head")
    for mode in (False, True):  # as evaluations between the epochs set it
        assert training_parts(model.train(mode)) == ({"head.weight", "head.bias"}, set())


def test_parts_are_frozen_by_their_names_in_torch():
    with torch.device("meta"):
        model = network("resnet18").train()
    before = training_parts(model)
    model.freeze(["conv1", "bn1", "layer1"])
    frozen = ("extractor.conv1", "extractor.bn1", "extractor.layer1")
    assert training_parts(model.train()) == tuple({name for name in names if not name.startswith(frozen)} for names in before)


def test_a_parameter_may_be_frozen_alone():
    with torch.device("meta"):
        model = network("vit_patch4")
    model.freeze("class_token")
    assert {name for name, each in model.named_parameters() if not each.requires_grad} == {"extractor.class_token"}


@pytest.mark.parametrize(
    ("name", "freeze", "message"),
    [
        ("resnet18", "layer9", r"conv1, bn1, layer1, layer2, layer3, layer4; got 'layer9' \(did you mean 'layer.'\?\)"),
        ("tiny_cnn", ["0", "head"], "0, 1, 2, 3; got 'head'"),
        ("tiny_cnn", "", "0, 1, 2, 3; got ''"),
        ("fast_cnn", "conv1", r"layers\.0, layers\.2, layers\.4, .*; got 'conv1'.*"),
    ],
)
def test_a_part_that_is_not_there_is_one_line_with_those_that_are(name, freeze, message):
    with pytest.raises(InputError, match=rf"^train\.freeze: expected 'all but the head', or names of parts such as {message}$"):
        require_takes(name, RGB, freeze=freeze)


def test_batchnorm_is_what_moves_without_a_gradient():
    """The twin of the tests above: in training mode a frozen BatchNorm would move."""
    norm = nn.BatchNorm2d(3).requires_grad_(requires_grad=False).train()
    norm(torch.ones(2, 3, 4, 4))
    assert norm.running_mean.any()
