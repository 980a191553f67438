import pytest
import torch

from unlearnable.adversarial import descend, random_start, signed_gradient, within
from unlearnable.seeds import torch_generator

IMAGES = torch.linspace(0, 1, 24).view(2, 3, 2, 2)


def distance_to(goal):
    return lambda images: (images - goal).square().flatten(1).sum(1)


def test_within_keeps_the_ball_and_the_range_of_pixels():
    delta = within(torch.full_like(IMAGES, 0.5), IMAGES, 0.1)
    assert delta.max() <= 0.1 + 1e-6
    assert (IMAGES + delta).max() <= 1
    assert within(torch.full_like(IMAGES, -0.5), IMAGES, 0.1)[0, 0, 0, 0] == 0


def test_a_goal_in_the_ball_is_reached_within_one_step():
    goal = (IMAGES + 0.04).clamp(0, 1)
    delta = descend(distance_to(goal), IMAGES, torch.zeros_like(IMAGES), linf=0.1, step=0.01, steps=10)
    assert (IMAGES + delta - goal).abs().max() <= 0.01 + 1e-6


def test_a_goal_out_of_the_ball_is_approached_to_its_edge():
    delta = descend(distance_to(IMAGES + 5), IMAGES, torch.zeros_like(IMAGES), linf=0.1, step=0.03, steps=10)
    assert torch.allclose(delta, (IMAGES + 0.1).clamp(max=1) - IMAGES, atol=1e-6)


def test_no_step_leaves_the_start_alone():
    start = torch.full_like(IMAGES, 0.01)
    assert torch.equal(descend(distance_to(IMAGES), IMAGES, start, linf=0.1, step=0.1, steps=0), start)


def test_each_image_has_its_own_gradient():
    sign = signed_gradient(lambda images: images.flatten(1).sum(1) * torch.tensor([1.0, -1.0]), IMAGES, torch.zeros_like(IMAGES))
    assert (sign[0] == 1).all()
    assert (sign[1] == -1).all()


def test_a_random_start_fills_the_ball_and_follows_its_generator(global_generators_untouched):
    images = torch.full((50, 3, 8, 8), 0.5)
    first, again = (random_start(images, 0.1, torch_generator(0, "test")) for _ in range(2))
    assert torch.equal(first, again)
    assert first.abs().max() <= 0.1
    assert first.std() == pytest.approx(0.1 / 3**0.5, rel=0.03)
