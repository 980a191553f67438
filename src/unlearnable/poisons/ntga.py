"""Neural tangent generalisation attack: Yuan and Wu, "Neural Tangent Generalization Attacks" (ICML 2021).

What an infinitely wide network predicts for held-out images after training on a block of images until time t has a closed
form in its neural tangent kernel (Lee et al., "Wide Neural Networks of Any Depth Evolve as Linear Models Under Gradient
Descent", NeurIPS 2019, equations 10 and 11). The attack raises the loss of that prediction by signed steps on the block.

The surrogate is the published fully connected one: five dense layers, each followed by the error function. Each of the ten
steps of the published code starts from the clean block and takes the whole budget, so that it is one step; here each step starts where
the last one ended, and one step of the whole budget gives the published result. It poisons four fifths of the training
set and holds out the rest; here every image is poisoned, and each block's held-out images are drawn from the others.
"""

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearnable.adversarial import descend
from unlearnable.images import LabelledImages
from unlearnable.poisons.base import POISONS, Crafting, Perturbation
from unlearnable.ranges import AT_LEAST_ONE, NON_NEGATIVE, POSITIVE, POSITIVE_FRACTION
from unlearnable.seeds import torch_generator
from unlearnable.training.pixels import as_float, no_noise, resident

WEIGHT_VARIANCE, BIAS_VARIANCE = 1.76, 0.18


@POISONS.add("ntga")
def ntga(
    clean: LabelledImages,
    crafting: Crafting,
    *,
    linf: Annotated[float, POSITIVE_FRACTION] = 8 / 255,
    step: Annotated[float, POSITIVE_FRACTION] = 1.1 * 8 / 255 / 10,
    steps: Annotated[int, AT_LEAST_ONE] = 10,
    time: Annotated[float, POSITIVE] = 64.0,
    layers: Annotated[int, AT_LEAST_ONE] = 5,
    block_size: Annotated[int, AT_LEAST_ONE] = 512,
    held_out: Annotated[int, AT_LEAST_ONE] = 10_000,
    regularisation: Annotated[float, NON_NEGATIVE] = 1e-4,
) -> Perturbation:
    """Return perturbations that spoil what a wide network trained on a block predicts for other images.

    Args:
        clean: images (N, C, H, W), N at least 2.
        crafting: its seed decides the draws; and the device.
        linf: bound of the perturbation, in units of [0, 1].
        step: length of a step, in units of [0, 1] (published: 1.1 linf / 10).
        steps: on every block.
        time: of training by gradient descent with rate 1 on the mean squared error over images and outputs.
        layers: of the network.
        block_size: images that are trained on together.
        held_out: the most images that the prediction is for.
        regularisation: added to the kernel's diagonal, in units of its mean.
    """
    generator = torch_generator(crafting.seed, "poison/ntga")
    pixels, labels = resident(clean, crafting.device), torch.from_numpy(clean.labels).to(crafting.device)
    order = torch.randperm(len(clean), generator=generator).to(crafting.device)
    perturbation = no_noise(clean.images.shape, crafting.device)
    blocks = order.split(block_size)
    for number, block in enumerate(blocks, start=1):
        others = order[~torch.isin(order, block)] if len(blocks) > 1 else order
        others = others[torch.randperm(len(others), generator=generator)[:held_out].to(order.device)]
        target = F.one_hot(labels[block], clean.num_classes).double()
        seen, answers = as_float(pixels[others]).flatten(1).double(), labels[others]

        def objective(images: Tensor, target: Tensor = target, seen: Tensor = seen, answers: Tensor = answers) -> Tensor:
            predicted = prediction(images.flatten(1).double(), target, seen, layers=layers, time=time, regularisation=regularisation)
            return -F.cross_entropy(predicted, answers, reduction="sum")

        images = as_float(pixels[block])
        perturbation[block] = descend(objective, images, torch.zeros_like(images), linf=linf, step=step, steps=steps)
        crafting.progress(number, len(blocks))
    return perturbation.cpu().numpy()


def prediction(train: Tensor, target: Tensor, test: Tensor, *, layers: int, time: float, regularisation: float) -> Tensor:
    """Return outputs (M, K) for ``test`` (M, D) after training on ``train`` (N, D) with one-hot ``target`` (N, K) until ``time``.

    With s = time / (N K) it is kernel(test, train) s phi(-s kernel(train, train)) target, where phi(z) = (exp(z) - 1) / z. The
    product phi(A) B is read off the exponential of the block matrix [[A, B], [0, 0]], so no kernel is inverted.
    """
    kernel = tangent_kernel(train, train, layers)
    kernel = kernel + regularisation * kernel.diagonal().mean() * torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device)
    s = time / target.numel()
    upper = torch.cat([-s * kernel, target], dim=1)
    exponential = torch.matrix_exp(F.pad(upper, (0, 0, 0, target.shape[1])))
    return s * tangent_kernel(test, train, layers) @ exponential[: len(train), len(train) :]


def tangent_kernel(first: Tensor, second: Tensor, layers: int) -> Tensor:
    """Return the neural tangent kernel (M, N) of dense layers, each followed by the error function, between flat images.

    The expectation of a product of error functions is an arc sine (Williams, "Computing with Infinite Networks", 1996).
    """
    covariance = first @ second.T / first.shape[1]
    left, right = (x.square().mean(1) for x in (first, second))
    kernel = torch.zeros_like(covariance)
    for _ in range(layers):
        covariance, left, right = (WEIGHT_VARIANCE * value + BIAS_VARIANCE for value in (covariance, left, right))
        kernel = covariance + WEIGHT_VARIANCE * kernel
        scale = torch.outer(1 + 2 * left, 1 + 2 * right)
        kernel = kernel * 4 / math.pi / (scale - 4 * covariance.square()).sqrt()
        covariance = 2 / math.pi * torch.asin(2 * covariance / scale.sqrt())
        left, right = (2 / math.pi * torch.asin(2 * value / (1 + 2 * value)) for value in (left, right))
    return kernel
