"""A pretended GPU: tensors that say their device is ``gpu``, and hold memory of the CPU.

It refuses what CUDA refuses (tensors of two devices in one operation, a CPU generator), and counts what a GPU would be slow at: kernels,
and waits of the host for the device. What it cannot see is what its kernels compute otherwise, and whether memory is pinned.
Its device is registered for the whole process, so it is used in a process of its own.
"""

import sys
from collections import Counter
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend


class _Backend(_DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]

    def is_autocast_enabled(self) -> bool:
        return False

    def _lazy_init(self) -> None:
        pass


_setup_privateuseone_for_python_backend("gpu", backend_module=_Backend())
torch._C._set_only_lift_cpu_tensors(True)
_fallthrough = torch.library.Library("_", "IMPL", "AutocastPrivateUse1")
_fallthrough.fallback(torch.library.fallthrough_kernel)
torch.inference_mode = torch.no_grad  # it would leave the mode
GPU = torch.device("gpu", 0)

aten = torch.ops.aten
COPIES = {aten._to_copy.default, aten.copy_.default, aten.copy.default}
INDEXED = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default, aten._unsafe_index.Tensor}
ASKS = {
    *(aten.nonzero.default, aten.masked_select.default, aten._unique2.default, aten.unique_dim.default),
    *(aten._local_scalar_dense.default, aten.item.default, aten.equal.default),
}
FREE = {
    "detach",
    "empty",
    "empty_like",
    "empty_strided",
    "new_empty",
    "lift_fresh",
    "alias",
    "is_same_size",
    "_unsafe_view",
    "_reshape_alias",
}


class Held(Tensor):
    """A tensor of the pretended GPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    real_: Tensor

    @staticmethod
    def __new__(cls, real: Tensor) -> "Held":
        like = {"strides": real.stride(), "storage_offset": real.storage_offset(), "dtype": real.dtype}
        held: Held = Tensor._make_wrapper_subclass(cls, real.size(), **like, device=GPU, requires_grad=False)
        held.real_ = real
        return held

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} outside of the pretended GPU")

    def __repr__(self) -> str:
        return f"Held{tuple(self.shape)}"


class PretendedGpu(TorchDispatchMode):
    """While it is on, ``device=GPU`` works.

    Attributes:
        faults: what CUDA would have refused, with the place in the project.
        waits: where the host would have waited for the device.
        kernels: how many the device would have been given.
    """

    def __init__(self) -> None:
        super().__init__()
        self.faults: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self.kernels: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        device = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
        held = any(isinstance(leaf, Held) for leaf in tree_leaves((args, kwargs)))
        there = device.type == "gpu" if device else held
        if held or there:
            self._look(func, args, kwargs, there)
        real_args, real_kwargs = tree_map(_real, args), tree_map(_real, kwargs)
        if device:
            real_kwargs["device"] = torch.device("cpu")
        return _returned(func(*real_args, **real_kwargs), func, args, kwargs, there)

    def _look(self, func: Any, args: Any, kwargs: dict[str, Any], there: bool) -> None:
        here = _place()
        generator = kwargs.get("generator")
        if isinstance(generator, torch.Generator) and generator.device.type == "cpu":
            self.faults[f"{here} {func}: a CPU generator"] += 1
        if func in COPIES:
            self._copy(func, args, kwargs, there, here)
            return
        if func in INDEXED:
            self._index(func, args, here)
        elif any(value.dim() for value in _on_cpu(args, kwargs)):
            self.faults[f"{here} {func}: tensors of two devices"] += 1
        if func in ASKS:
            self.waits[f"{here} {func}"] += 1
        if not func.is_view and func._schema.name.removeprefix("aten::") not in FREE | {"_local_scalar_dense"}:
            self.kernels[f"{here} {func}"] += 1

    def _copy(self, func: Any, args: Any, kwargs: dict[str, Any], there: bool, here: str) -> None:
        """Count a copy on the device as a kernel, and one between devices as a wait unless it need not be waited for."""
        source = args[0] if func is aten._to_copy.default else args[1]
        target_there = there if func is aten._to_copy.default else isinstance(args[0], Held)
        unwaited = kwargs.get("non_blocking") or (func is aten.copy_.default and len(args) > 2 and args[2])
        if target_there and isinstance(source, Held):
            self.kernels[f"{here} {func}"] += 1
        elif not (target_there and (unwaited or source.dim() == 0)):  # a number of the host goes along as an argument
            self.waits[f"{here} {func} between devices"] += 1

    def _index(self, func: Any, args: Any, here: str) -> None:
        indices = [leaf for leaf in tree_leaves(args[1]) if isinstance(leaf, Tensor)]
        if not isinstance(args[0], Held):
            self.faults[f"{here} {func}: an index of the GPU into a tensor of the CPU"] += 1
        if any(not isinstance(index, Held) or index.dtype in (torch.bool, torch.uint8) for index in indices):
            self.waits[f"{here} {func} by a mask, or an index of the CPU"] += 1
        if func is not aten.index.Tensor and isinstance(args[2], Tensor) and not isinstance(args[2], Held) and args[2].dim():
            self.faults[f"{here} {func}: values of the CPU"] += 1


def _real(value: Any) -> Any:
    return value.real_ if isinstance(value, Held) else value


def _on_cpu(args: Any, kwargs: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and not isinstance(leaf, Held)]


def _returned(result: Any, func: Any, args: Any, kwargs: Any, there: bool) -> Any:
    """Return a result with the tensors that went in as they were, and new ones where the operation made them."""
    if func is aten.copy_.default:
        return args[0]
    known = {id(leaf.real_): leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Held)}
    given = {id(leaf) for leaf in _on_cpu(args, kwargs)}

    def wrapped(value: Any) -> Any:
        if not isinstance(value, Tensor) or id(value) in given:
            return value
        if id(value) in known:
            return known[id(value)]
        return Held(value) if there else value

    return tree_map(wrapped, result)


def _place() -> str:
    """Return where in the project an operation was asked for."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and "/src/unlearnable/" not in frame.f_code.co_filename:
        frame = frame.f_back
    return f"{frame.f_code.co_filename.rpartition('/unlearnable/')[2]}:{frame.f_lineno}" if frame else "elsewhere"
