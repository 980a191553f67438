"""Networks beside the numbers of their references."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.oracles.inputs import pixels
from tests.oracles.table import numbers
from tests.oracles.weights import fill
from unlearnable.models import build

# What the reference has not, or has otherwise, is silent in both.
SILENT = {"googlenet": "branch3", "vit_patch4": "in_proj_bias", "vit_patch8": "in_proj_bias"}
GAINS = {"mobilenetv2": 2.4}  # under which no activation is above six, where ours cuts it off
EXPECTED = {**numbers("networks"), **numbers("transformers")}


@pytest.fixture(scope="module", params=EXPECTED)
def asked(request):
    name = request.param
    network = build(name, shape=(3, 32, 32), num_classes=10, seed=0).eval()
    if name == "googlenet":  # of torchvision: its poolings pad nothing, and the second is of 2x2 pixels
        network.extractor.maxpool3 = network.extractor.maxpool4 = torch.nn.MaxPool2d(3, stride=2, padding=1)
    fill(network, silent=SILENT.get(name, "-"), gain=GAINS.get(name, 6.0))
    return name, network


@torch.no_grad()
def test_with_the_same_weights_it_gives_the_same(asked):
    name, network = asked
    images, expected = torch.from_numpy(pixels(2)) / 255, EXPECTED[name]
    found = network(images) if "logits" in expected else network.features(images)[:, ::16]
    wanted = torch.tensor(expected.get("logits") or expected["features"])
    assert torch.allclose(found, wanted, rtol=0, atol=5e-5 * float(wanted.abs().max())), (found - wanted).abs().max()


def test_it_has_as_many_parameters_and_multiplications(asked):
    name, network = asked
    expected, silent = EXPECTED[name], SILENT.get(name, "-")
    shared = sum(tensor.numel() for part, tensor in network.named_parameters() if silent not in part)
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, 32, 32))
    parts = counter.get_flop_counts().items()
    multiplications = (counter.get_total_flops() - sum(sum(found.values()) for part, found in parts if part.endswith(silent))) // 2
    assert (shared, multiplications) == (expected["shared_parameters"], expected["shared_multiplications"])
