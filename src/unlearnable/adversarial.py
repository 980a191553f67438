"""Projected gradient steps: Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks" (ICLR 2018).

The threat model is a ball in the maximum norm around each image, cut by the range [0, 1] of pixels. Every function lowers an
objective; an attack passes the negative loss.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from unlearnable.seeds import sent_one, uniform

Objective = Callable[[Tensor], Tensor]  # images (N, C, H, W) in [0, 1] -> losses (N,)


def within(delta: Tensor, images: Tensor, linf: float) -> Tensor:
    """Return ``delta`` (N, C, H, W) cut to [-linf, linf] and so that ``images + delta`` stays in [0, 1]."""
    return (images + delta.clamp(-linf, linf)).clamp_(0, 1).sub_(images)


def random_start(images: Tensor, linf: float, generator: torch.Generator) -> Tensor:
    """Return a perturbation (N, C, H, W), uniform in the ball; ``generator`` is a CPU generator."""
    return within(sent_one(uniform(images.shape, generator), images.device) * linf, images, linf)


def gradient(objective: Objective, images: Tensor, delta: Tensor) -> Tensor:
    """Return the gradient (N, C, H, W) of the summed objective at ``images + delta``."""
    delta = delta.detach().requires_grad_()
    [found] = torch.autograd.grad(objective(images + delta).sum(), delta)
    return found


def signed_gradient(objective: Objective, images: Tensor, delta: Tensor) -> Tensor:
    """Return the sign of the gradient of the summed objective at ``images + delta``."""
    return gradient(objective, images, delta).sign()


def descend(objective: Objective, images: Tensor, delta: Tensor, *, linf: float, step: float, steps: int) -> Tensor:
    """Return ``delta`` after signed gradient steps that lower ``objective``, each followed by ``within``.

    Args:
        objective: losses (N,) of images (N, C, H, W).
        images: float32, in units of [0, 1].
        delta: where the steps start.
        linf: radius of the ball, in units of [0, 1].
        step: length of a step, in units of [0, 1].
        steps: how many.
    """
    for _ in range(steps):
        delta = within(delta - step * signed_gradient(objective, images, delta), images, linf)
    return delta
