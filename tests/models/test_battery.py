import pytest
import torch

from unlearnable.errors import InputError
from unlearnable.models import MODELS, build

TIMM = "timm:convnext_atto"
NAMES = [*MODELS, TIMM, "timm:vit_tiny_patch16_224"]  # the second is told the size of the images


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("channels", "num_classes"), [(3, 10), (1, 7)])
def test_it_has_features_and_a_head(name, channels, num_classes, global_generators_untouched):
    model = build(name, shape=(channels, 32, 32), num_classes=num_classes, seed=0).eval()
    images = torch.rand(2, channels, 32, 32, generator=torch.Generator().manual_seed(0))
    features = model.features(images)
    assert features.shape == (2, model.head.in_features)
    assert torch.equal(model.head(features), model(images))
    assert model(images).shape == (2, num_classes)


@pytest.mark.parametrize("name", NAMES)
def test_a_training_step_draws_from_no_global_generator(name, global_generators_untouched):
    model = build(name, shape=(3, 32, 32), num_classes=10, seed=0).train()
    model(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_first_weights_depend_on_the_seed_alone(name):
    first, again, other = (build(name, shape=(3, 32, 32), num_classes=10, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("channels", [1, 3])
def test_large_images_have_features_too(name, channels):
    with torch.device("meta"):  # nothing is computed
        model = build(name, shape=(channels, 96, 96), num_classes=2, seed=0).eval()
        assert model(torch.zeros(1, channels, 96, 96)).shape == (1, 2)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("resnet81", (3, 32, 32), r"unknown model 'resnet81'; known: .* \(did you mean 'resnet18'\?\)"),
        ("timm:resnet81", (3, 32, 32), r"unknown model 'timm:resnet81': expected one of timm's \d+ \(did you mean 'timm:resnet18'\?\)"),
        ("vit_patch8", (3, 30, 30), "model 'vit_patch8': expected square images with a side that 8 divides, got 30x30"),
        ("vgg16", (1, 28, 28), r"model 'vgg16': expected images that it can take, got 1x28x28 \(.* Output size is too small\)"),
        ("vit_patch4", (3, 32, 36), "model 'vit_patch4': expected square images with a side that 4 divides, got 32x36"),
    ],
)
def test_a_wrong_name_or_shape_is_one_line(name, shape, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        build(name, shape=shape, num_classes=10, seed=0)
