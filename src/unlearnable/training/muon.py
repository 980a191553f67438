"""Muon: the steps of convolutions are made orthogonal, those of all else stay as they are.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024), as airbench94_muon has it
(github.com/KellerJordan/cifar10-airbench). torch has Muon for matrices alone.
"""

from typing import Any

import torch
from torch import Tensor

from unlearnable.models import ImageClassifier

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of x, x^3 and x^5: what raises small singular values fastest, and keeps all near 1
ITERATIONS = 3


def muon(model: ImageClassifier, *, rate: float, **others: Any) -> torch.optim.SGD:
    """Return stochastic gradient descent that orthogonalises each step of a convolution after the first, and keeps its weights' norm.

    The norm is the root of the number of filters. So this is for networks with a normalisation after each of these convolutions.
    They have no weight decay.

    Args:
        model: whose parameters are trained, but for those that are frozen.
        rate: the learning rate of these convolutions.
        others: settings of SGD; momentum, with or without Nesterov's, is that of all parameters.
    """
    kernels = [weight for weight in model.later_convolutions() if weight.requires_grad]
    chosen = {id(kernel) for kernel in kernels}
    rest = [weight for weight in model.parameters() if id(weight) not in chosen]
    orthogonalised: dict[str, Any] = {"params": kernels, "lr": rate, "initial_lr": rate, "weight_decay": 0.0}
    optimiser = torch.optim.SGD([{"params": rest}, orthogonalised], **others)
    before: list[Tensor] = []

    @torch.no_grad()
    def set_aside(*_: Any) -> None:
        before[:] = [kernel.clone() for kernel in kernels]
        for kernel in kernels:
            kernel.zero_()  # from there, the step of SGD is the kernel

    @torch.no_grad()
    def put_back(*_: Any) -> None:
        for kernel, was in zip(kernels, before, strict=True):
            step = orthogonal(kernel.flatten(1)).view_as(kernel) * optimiser.param_groups[1]["lr"]
            kernel.copy_(was * (len(was) ** 0.5 / was.norm()) + step)

    # Hooks, since a step of a subclass would call those of others twice, once with kernels that are steps.
    optimiser.register_step_pre_hook(set_aside)
    optimiser.register_step_post_hook(put_back)
    return optimiser


def orthogonal(matrix: Tensor) -> Tensor:
    """Return about the nearest matrix (A, B) whose rows, or columns if these are fewer, are orthonormal, by Newton-Schulz iterations.

    Singular values from 0.02 of the root of their squares' sum on become 0.68 to 1.21; a matrix of zeros stays.
    """
    found: Tensor = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    found = found / (found.norm() + torch.finfo(found.dtype).tiny)
    for _ in range(ITERATIONS):
        products = found @ found.T
        first, third, fifth = COEFFICIENTS
        found = first * found + (third * products + fifth * products @ products) @ found
    return found if found.shape == matrix.shape else found.T
