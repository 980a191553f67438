"""What is known of a device, and what does not fit it; of a GPU by what torch would say of one."""

import warnings

import numpy as np
import pytest
import torch

from tests.conftest import make_images
from unlearnable.errors import InputError
from unlearnable.images import Projection
from unlearnable.training import TrainingRecipe, fit_named
from unlearnable.training import device as devices
from unlearnable.training.checkpoint import carried_on
from unlearnable.training.device import choose_device, enough_memory, has_room, made_on
from unlearnable.training.pixels import OnHost, Projected, Projector, resident, seen

CPU, GPU = torch.device("cpu"), torch.device("cuda")
IMAGES = make_images(40, classes=4)
FLAGS = ("torch.backends.cuda.matmul.allow_tf32", "torch.backends.cudnn.allow_tf32", "torch.backends.cudnn.benchmark")


@pytest.fixture
def a_gpu(monkeypatch):
    """A machine that says it has one; whatever it changes of torch is put back."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "a card")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation: not including_emulation)
    before = (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
    for flag in ("deterministic", "benchmark"):
        monkeypatch.setattr(torch.backends.cudnn, flag, getattr(torch.backends.cudnn, flag))
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.fixture
def full(monkeypatch):
    """Nothing has room on the device, whichever it is."""
    monkeypatch.setattr(devices, "has_room", lambda device, size: False)


# ---- what it is made on


def test_a_gpu_computes_float32_as_float32_and_says_so(a_gpu):
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = True, True
    assert made_on(GPU, "float32")["flags"] == "not deterministic, TF32 on"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose_device("auto") == GPU
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    torch_version = {"torch": torch.__version__, "flags": "deterministic, TF32 off"}
    assert made_on(GPU, "auto") == {"device": "cuda", "name": "a card", "precision": "bfloat16", **torch_version}
    assert made_on(GPU, "float32")["precision"] == "float32"


def test_without_a_gpu_nothing_of_torch_is_changed():
    before = (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic)
    assert choose_device("cpu") == CPU
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic) == before
    found = made_on(CPU, "bfloat16")
    assert found.pop("name")
    assert found == {"device": "cpu", "precision": "bfloat16", "torch": torch.__version__}


def test_every_checkpoint_says_what_it_was_made_on():
    recipe = TrainingRecipe(epochs=2, batch_size=20, learning_rate=0.1, precision="float32")
    more = {"like": IMAGES, "recipe": recipe, "seed": 0, "device": "cpu"}
    first, last = fit_named("tiny_cnn", IMAGES, IMAGES, **more)
    assert first.made_on == last.made_on == made_on(CPU, "float32")


def test_a_training_that_goes_on_on_another_card_names_both_once():
    a, b = {"device": "cuda", "name": "A"}, {"device": "cuda", "name": "B", "torch": "2"}
    assert carried_on({}, a) == carried_on(a, a) == a
    both = {"device": "cuda", "name": "A, then B", "torch": "2"}
    assert carried_on(a, b) == carried_on(carried_on(a, b), b) == both


# ---- memory


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried\nto allocate"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"),
    ],
)
def test_what_does_not_fit_the_card_is_one_line_that_names_the_setting(error, a_gpu):
    with pytest.raises(InputError) as told, enough_memory("train.batch_size"):
        raise error
    said = " ".join(str(error).split())
    assert str(told.value) == f"device: out of memory on a card: lower train.batch_size ({said})"


def test_other_errors_are_what_they_were():
    with pytest.raises(RuntimeError, match="shapes differ"), enough_memory("train.batch_size"):
        raise RuntimeError("shapes differ")


@pytest.mark.parametrize(("size", "fits"), [(60, True), (61, False)])
def test_there_is_room_for_half_of_what_is_free_and_of_what_torch_holds_unused(size, fits, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 50)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 30)
    assert has_room(GPU, size) == fits
    assert has_room(CPU, 10**15)


def test_a_set_without_room_stays_on_the_host_and_is_indexed_as_a_tensor(full):
    pixels, images = resident(IMAGES, CPU), torch.from_numpy(IMAGES.images)
    assert isinstance(pixels, OnHost)
    places = torch.tensor([3, 0, 3])
    assert (len(pixels), pixels.shape, pixels.device) == (40, images.shape, CPU)
    assert torch.equal(pixels[places], images[places])
    assert torch.equal(pixels[5:9], images[5:9])
    assert torch.equal(torch.cat(list(pixels.split(7))), images)
    assert torch.equal(pixels.flatten(1)[places], images.flatten(1)[places])


def test_it_goes_to_the_card_in_pinned_memory_without_a_wait(monkeypatch):
    copies = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: copies.append("pinned") or self)
    real = torch.Tensor.to

    def to(self, device=None, **how):
        return copies.append((device, how)) or self if device == GPU else real(self, device, **how)

    monkeypatch.setattr(torch.Tensor, "to", to)
    chosen = OnHost(torch.arange(6), GPU)[torch.tensor([4, 1])]
    assert chosen.tolist() == [4, 1]
    assert copies == ["pinned", (GPU, {"non_blocking": True})]


def test_what_is_written_to_it_is_kept_on_the_host():
    noise = OnHost(torch.zeros(4, 2), CPU)
    noise[torch.tensor([1, 3])] = torch.ones(2, 2)
    assert noise.cpu()[:, 0].tolist() == [0, 1, 0, 1]


def test_a_training_on_images_that_stay_on_the_host_is_the_same(monkeypatch):
    recipe = TrainingRecipe(epochs=1, batch_size=20, learning_rate=0.1, precision="float32")
    more = {"like": IMAGES, "recipe": recipe, "seed": 0, "device": "cpu"}
    [there] = fit_named("tiny_cnn", IMAGES, IMAGES, **more)
    monkeypatch.setattr(devices, "has_room", lambda device, size: False)
    [host] = fit_named("tiny_cnn", IMAGES, IMAGES, **more)
    assert (host.measured["loss"], host.measured["test_accuracy"]) == (there.measured["loss"], there.measured["test_accuracy"])


# ---- projections


def projected():
    size = IMAGES.images[0].size
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(size, 3)))[0].astype(np.float32)
    projection = Projection(basis=basis, centre=np.full(size, 0.25, dtype=np.float32))
    return type(IMAGES)(images=IMAGES.images, labels=IMAGES.labels, num_classes=4, projection=projection)


def test_a_projected_set_without_room_is_projected_when_it_is_used(monkeypatch):
    expected = seen(projected(), CPU)
    monkeypatch.setattr(devices, "has_room", lambda device, size: size <= IMAGES.images.size)
    batchwise = seen(projected(), CPU)
    assert isinstance(batchwise, Projected)
    assert torch.allclose(batchwise[torch.arange(40)], expected, atol=1e-6)


def test_the_basis_goes_to_the_device_once(monkeypatch):
    monkeypatch.setattr(devices, "has_room", lambda device, size: size <= IMAGES.images.size)
    batchwise = seen(projected(), CPU)
    monkeypatch.setattr(torch, "from_numpy", None)
    assert len(batchwise[0:4]) == len(batchwise[4:8]) == 4


def test_a_projection_is_not_lost_where_images_lie_otherwise_in_memory():
    images, projector = (
        torch.rand(4, 3, 8, 8),
        Projector(Projection(basis=np.eye(192, 5, dtype=np.float32), centre=np.zeros(192, np.float32)), CPU),
    )
    found = projector(images.contiguous(memory_format=torch.channels_last))
    assert torch.equal(found, projector(images.clone()))
    assert found.flatten(1)[:, :5].abs().max() < 1e-6
    assert images.flatten(1)[:, :5].abs().max() > 0.1
