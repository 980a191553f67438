import pytest
import torch

from unlearnable.models import MODELS, build

PARAMETERS = {"resnet18": 11_173_962, "small_cnn": 292_586}  # ten classes; ResNet-18 as published for CIFAR-10


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("channels", "num_classes"), [(3, 10), (1, 7)])
def test_it_has_features_and_a_head(name, channels, num_classes, global_generators_untouched):
    model = build(name, channels=channels, num_classes=num_classes, seed=0).eval()
    images = torch.rand(2, channels, 32, 32, generator=torch.Generator().manual_seed(0))
    features = model.features(images)
    assert features.shape == (2, model.head.in_features)
    assert torch.equal(model.head(features), model(images))
    assert model(images).shape == (2, num_classes)


@pytest.mark.parametrize("name", MODELS)
def test_first_weights_depend_on_the_seed_alone(name):
    first, again, other = (build(name, channels=3, num_classes=10, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", MODELS)
def test_its_parameters_are_counted(name):
    assert sum(p.numel() for p in build(name, channels=3, num_classes=10, seed=0).parameters()) == PARAMETERS[name]
