import torch
import torch.nn.functional as F

from unlearnable.models import build
from unlearnable.models.whitening import LEAST_VARIANCE, Whitening


def images() -> torch.Tensor:
    """Return images (20, 3, 16, 16) whose neighbouring pixels and channels are alike."""
    noise = torch.randn(20, 4, 18, 18, generator=torch.Generator().manual_seed(0))
    mixed = torch.einsum("ij,njhw->nihw", torch.tensor([[2.0, 1, 0, 1], [1, 2, 1, 0], [0, 1, 2, 3]]), noise)
    return F.avg_pool2d(mixed, 3, stride=1) + 0.5


def test_what_it_gives_is_uncorrelated_with_a_variance_near_one():
    """With second moments E = V diag(v) V', the filters V' / sqrt(v + e) give answers whose moments are diag(v / (v + e))."""
    seen = images()
    whitening = Whitening(3)
    whitening.fit(seen.split(6))
    half = whitening(seen).detach().double().transpose(0, 1).flatten(1)[:12]
    moments = half @ half.T / half.shape[1]
    patches = F.unfold(seen.double(), 2).transpose(1, 2).flatten(0, 1)
    variances = torch.linalg.svdvals(patches / len(patches) ** 0.5).square()  # another way to the same numbers
    torch.testing.assert_close(moments, torch.diag(variances / (variances + LEAST_VARIANCE)), atol=2e-4, rtol=0)


def test_before_it_is_fitted_it_does_not():
    """The twin of the test above."""
    half = Whitening(3)(images()).detach().transpose(0, 1).flatten(1)[:12]
    moments = half @ half.T / half.shape[1]
    assert (moments - torch.diag(moments.diagonal())).abs().max() > 0.1


def test_each_filter_has_its_negative():
    whitening = Whitening(3)
    whitening.fit([images()])
    assert torch.equal(whitening.weight[:12], -whitening.weight[12:])


def test_no_step_changes_its_filters():
    model = build("fast_cnn", shape=(3, 16, 16), num_classes=4, seed=0).train()
    model(images()).sum().backward()
    [whitening] = [part for part in model.modules() if isinstance(part, Whitening)]
    assert "weight" not in dict(whitening.named_parameters())
    assert whitening.bias.grad is not None


def test_an_image_and_its_mirror_image_are_one_in_evaluation_alone():
    model, seen = build("fast_cnn", shape=(3, 16, 16), num_classes=4, seed=0), images()
    torch.testing.assert_close(model.eval()(seen), model(seen.flip(-1)))
    model.train()
    assert (model(seen) - model(seen.flip(-1))).abs().max() > 1e-3
