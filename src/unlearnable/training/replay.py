"""A step that is recorded as CUDA graphs and replayed: a GPU finishes some hundred kernels faster than the host can launch them."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unlearnable.seeds import Draws
from unlearnable.training.device import is_out_of_memory

logger = logging.getLogger(__name__)
Step = Callable[[Tensor, Tensor, Draws, Draws], Tensor]  # of images, labels and draws: computes gradients and returns the loss
Recorder = Callable[
    [Callable[[], Tensor]], tuple[Callable[[], None], Tensor]
]  # of a function: how it is replayed, and where its result lies
_allowed = True
recordings = 0  # that this process has made


@contextmanager
def eager() -> Iterator[None]:
    """Compute every step without recordings inside the block, as on a CPU."""
    global _allowed  # noqa: PLW0603
    before, _allowed = _allowed, False
    try:
        yield
    finally:
        _allowed = before


def graphs() -> Recorder:
    """Return a recorder whose graphs share their memory."""
    pool = torch.cuda.graph_pool_handle()

    def record(function: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):  # other threads may use the GPU meanwhile
            result = function()
        return graph.replay, result

    return record


@dataclass(frozen=True, kw_only=True, eq=False)
class _Recorded:
    """A recorded step: its inputs, how it is replayed, and where the loss and the gradients are afterwards."""

    read: Sequence[Tensor]
    replay: Callable[[], None]
    loss: Tensor
    gradients: Sequence[Tensor | None]


class Replays:
    """Calls ``step``; on a GPU as a recording, one for every size of batch.

    The first batch of a size is computed without a recording, since libraries initialise themselves in it. A step that cannot be
    recorded is computed each time, and a line in the log says so.

    Args:
        step: what is called. It reads what it is given and ``parameters``, sets their gradients, and asks the device for nothing.
        parameters: of the network.
        device: where.
        recorder: makes recordings; None makes CUDA graphs on a GPU, and none elsewhere.
    """

    def __init__(self, step: Step, parameters: Sequence[nn.Parameter], device: torch.device, recorder: Recorder | None = None) -> None:
        self._step, self._parameters = step, parameters
        self._recorder = recorder or (graphs() if device.type == "cuda" and _allowed else None)
        self._recorded: dict[tuple[object, ...], _Recorded | None] = {}  # None where a size was seen once

    def __call__(self, images: Tensor, labels: Tensor, shared: Draws, own: Draws) -> Tensor:
        """Return the loss of the step, and leave its gradients at the parameters."""
        given = [images, labels, *shared.values(), *own.values()]
        size = tuple((value.shape, value.dtype) for value in given)
        if self._recorder is None or size not in self._recorded:
            self._recorded[size] = None
            return self._step(images, labels, shared, own)
        recorded = self._recorded[size] or self._record(self._recorder, images, labels, shared, own)
        if recorded is None:
            return self._step(images, labels, shared, own)
        self._recorded[size] = recorded
        for static, value in zip(recorded.read, given, strict=True):
            static.copy_(value, non_blocking=True)
        recorded.replay()
        for parameter, gradient in zip(self._parameters, recorded.gradients, strict=True):
            parameter.grad = gradient
        return recorded.loss.clone()

    def _record(self, recorder: Recorder, images: Tensor, labels: Tensor, shared: Draws, own: Draws) -> _Recorded | None:
        batch = images.clone(), labels.clone(), _cloned(shared), _cloned(own)
        try:
            replay, loss = recorder(lambda: self._step(*batch))
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            logger.warning("a training step cannot be recorded, and is computed anew each time: %s", str(error).partition("\n")[0])
            self._recorder = None
            return None
        global recordings  # noqa: PLW0603
        recordings += 1
        read = [batch[0], batch[1], *batch[2].values(), *batch[3].values()]
        return _Recorded(read=read, replay=replay, loss=loss, gradients=[parameter.grad for parameter in self._parameters])


def _cloned(draws: Draws) -> Draws:
    return {name: value.clone() for name, value in draws.items()}
