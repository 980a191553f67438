"""The malformed inputs, by the number of their kind: how each is written, and what its line must say."""

import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from tests.faults.sandbox import COUNT, SHAPE, Sandbox, flipped, noise, sidecar
from tests.sources import releases
from tests.sources.formats import spoil_folder, write_folder
from unlearnable.sources.digits import DigitsOnPhotographs

Arrange = Callable[[Sandbox], list[str]]


@dataclass(frozen=True)
class Case:
    """One input: ``arrange`` writes it and returns the arguments of the command, whose line has ``names`` and ``message``.

    One case of each kind of error goes through the command; the others, through what the command asks to read the input.
    """

    number: int
    what: str
    names: str
    message: str
    arrange: Arrange
    command: bool = False

    def __str__(self) -> str:
        return f"{self.number}-{self.what}"


CASES: list[Case] = []
RELEASE, PICKLE, TENSOR = "released_poison.path (", "noise.pkl", "perturbation.pt"


def case(number: int, what: str, names: str, message: str, *, command: bool = False) -> Callable[[Arrange], Arrange]:
    """Register a function as the ``arrange`` of a case."""

    def keep(arrange: Arrange) -> Arrange:
        CASES.append(Case(number, what, names, message, arrange, command))
        return arrange

    return keep


def tensor(sandbox: Sandbox, values: object, **entry: object) -> list[str]:
    return sandbox.released(releases.write_torch(sandbox.given / TENSOR, values), "em_tensor", **entry)


def pngs(sandbox: Sandbox, images: np.ndarray | None = None) -> Path:
    return releases.write_pngs(sandbox.given / "pngs", clean_images() if images is None else images)


def clean_images() -> np.ndarray:
    return DigitsOnPhotographs(name="digits", train_size=COUNT, test_size=100, seed=0).load().train.images


# ---- what a poison holds


@case(1, "wrong shape", TENSOR, "expected (N, 3, 32, 32) or (N, 32, 32, 3), got (300, 3, 9, 9)", command=True)
def _(sandbox):
    return tensor(sandbox, noise(COUNT, 3, 9, 9))


@case(2, "channels last under the shape of channels first", "images.npy", "expected mean absolute difference of at most 0.15 from the")
def _(sandbox):
    images = releases.last(clean_images()).reshape(COUNT, *SHAPE)
    return sandbox.released(releases.write_npy(sandbox.given / "images.npy", images), "ops_array")


@case(3, "NaN", TENSOR, "expected values from -1 to 1, got nan to nan")
def _(sandbox):
    values = noise()
    values[7, 0, 0, 0] = np.nan
    return tensor(sandbox, values)


@case(4, "infinity", TENSOR, "expected values from -1 to 1, got -0.0313")
def _(sandbox):
    values = noise()
    values[7, 0, 0, 0] = np.inf
    return tensor(sandbox, values)


@case(5, "wrong dtype", TENSOR, "expected floats in units of [0, 1], got int64")
def _(sandbox):
    return tensor(sandbox, np.zeros((COUNT, *SHAPE), np.int64))


@case(6, "values 0 to 255 where 0 to 1 is meant", "images.npy", "expected values from -1 to 1, got 0 to 255")
def _(sandbox):
    return sandbox.released(releases.write_npy(sandbox.given / "images.npy", clean_images().astype(np.float32)), "ops_array")


@case(7, "norm above the stated budget", TENSOR, "expected Linf of at most 0.0157 from the clean image, got 0.03137")
def _(sandbox):
    return tensor(sandbox, noise(), budget={"linf": 0.0157})


@case(8, "label below 0", "cifar-10-batches-py", "expected 0 to 9, got -1 to 9", command=True)
def _(sandbox):
    return sandbox.cifar(labels=[-1, *range(1, 10), *range(10)])


@case(9, "label at the class count", "cifar-10-batches-py", "expected 0 to 9, got 0 to 10")
def _(sandbox):
    return sandbox.cifar(labels=[10, *range(1, 10), *range(10)])


@case(10, "index out of range", "pngs", "missing 17.png; found 300 files", command=True)
def _(sandbox):
    folder = pngs(sandbox)
    (folder / "17.png").rename(folder / "300.png")
    return sandbox.released(folder, "png_folder")


@case(11, "duplicate index", "pngs", "expected one file per index, got 07.png and 7.png")
def _(sandbox):
    folder = pngs(sandbox)
    (folder / "07.png").write_bytes((folder / "7.png").read_bytes())
    return sandbox.released(folder, "png_folder")


@case(12, "labels shorter than the data", "lsp", "expected 300 labels from 0 to 9, or one-hot, got int64 (299,)")
def _(sandbox):
    releases.write_npy(sandbox.given / "lsp" / "simple_data.npy", releases.last(noise()))
    releases.write_npy(sandbox.given / "lsp" / "simple_label.npy", np.arange(COUNT - 1) % 10)
    return sandbox.released(sandbox.given / "lsp", "lsp_array")


@case(13, "as many images, in another order", ": is it in the order of this dataset?", "expected mean absolute difference")
def _(sandbox):
    return sandbox.released(pngs(sandbox, clean_images()[::-1]), "png_folder")


@case(14, "empty class", "raw_images", "expected images of each of the 10 classes, got none of class 3", command=True)
def _(sandbox):
    return sandbox.cifar(labels=[0, 1, 2, 9, *range(4, 10), 0, 1, 2, 9, *range(4, 10)])


@case(
    15,
    "fewer images asked for than classes",
    "ingest.train_size",
    "expected at least 10 images, one of each class, got size 5",
    command=True,
)
def _(sandbox):
    return ["--pipeline=ingest", "--env=test", "--params=ingest.train_size=5"]


@case(15, "more images asked for than there are", "ingest.test_size", "expected at most 100 images, got size 101", command=True)
def _(sandbox):
    return ["--pipeline=ingest", "--env=test", "--params=ingest.test_size=101"]


@case(15, "a class with fewer images than asked for", "ingest.train_size", "expected at least 9 images of class 3, got 5", command=True)
def _(sandbox):
    labels = [*range(10), *(label if label != 3 else 4 for label in range(10))]
    return sandbox.cifar(labels=labels, parameters=",ingest.train_size=90")


# ---- files that are broken


@case(16, "empty file", PICKLE, "expected a .npy file, a pickle or a torch file, got one that starts with b''")
def _(sandbox):
    (sandbox.given / PICKLE).touch()
    return sandbox.released(sandbox.given / PICKLE, "rem_pickle")


@case(17, "truncated file", TENSOR, "expected a whole torch file, got a broken zip", command=True)
def _(sandbox):
    path = releases.write_torch(sandbox.given / TENSOR, noise())
    path.write_bytes(path.read_bytes()[:200_000])
    return sandbox.released(path, "em_tensor")


OURS = ["--pipeline=craft_poison", "--env=test", "--params=poison=ops"]
CLEAN = "data/03_primary/digits/"


@case(18, "one bit flipped in our image set", CLEAN, "expected ", command=True)
def _(sandbox):
    path = sandbox.artifact()
    path.write_bytes(flipped(path.read_bytes(), 100_000))
    return OURS


@case(19, "a checksum that is not the file's", CLEAN, "expected ", command=True)
def _(sandbox):
    path = sandbox.artifact()
    text = sidecar(path).read_text()
    sidecar(path).write_text(text.replace(text.split("  ")[0][-64:], "0" * 64))
    return OURS


@case(20, "no checksum", CLEAN, "expected a version, got none", command=True)
def _(sandbox):
    sidecar(sandbox.artifact()).unlink()
    return OURS


# ---- files that are made to do harm


def harm(sandbox: Sandbox) -> releases.Calls:
    return releases.Calls(os.system, f"touch '{sandbox.given / 'HARM'}'")


@case(21, "malicious .pt", TENSOR, "expected a pickle of numbers only, got one that imports 'posix.system'", command=True)
def _(sandbox):
    return tensor(sandbox, harm(sandbox))


@case(22, "malicious .pkl", PICKLE, "expected a pickle of numbers only, got one that imports 'posix.system'")
def _(sandbox):
    return sandbox.released(releases.write_pickle(sandbox.given / PICKLE, harm(sandbox)), "rem_pickle")


@case(23, "objects in a .npy", "p.npy", "expected an array of numbers, got dtype 'object'")
def _(sandbox):
    path = releases.write_npy(sandbox.given / "p.npy", np.array([harm(sandbox)]), allow_pickle=True)
    return sandbox.released(path, "ops_array")


@case(24, ".npz that unpacks to much", "p.npz", "expected a torch file with data.pkl in it, got another zip")
def _(sandbox):
    np.savez_compressed(sandbox.given / "p.npz", np.zeros(1 << 27, np.uint8))
    return sandbox.released(sandbox.given / "p.npz", "ops_array")


@case(
    25,
    "deflated .pt that unpacks to much",
    TENSOR,
    "expected a torch file, which compresses nothing, got a compressed 'archive/data.pkl'",
)
def _(sandbox):
    members = releases.torch_members(noise()) | {"data/0": bytes(1 << 27)}
    return sandbox.released(releases.zip_of(sandbox.given / TENSOR, members, compressed=True), "em_tensor")


@case(26, ".npy with a header that lies", "p.npy", "expected 13,510,798,882,111,488 bytes for shape (1099511627776, 3, 32, 32), got 0")
def _(sandbox):
    return sandbox.released(releases.npy_that_claims(sandbox.given / "p.npy", (1 << 40, *SHAPE)), "ops_array")


def one_png(sandbox: Sandbox, write: Callable[[Path], object]) -> list[str]:
    folder = pngs(sandbox)
    write(folder / "3.png")
    return sandbox.released(folder, "png_folder")


@case(27, "small PNG of a large image", "pngs", "expected one RGB image of 32x32, got RGB 5000x5000")
def _(sandbox):
    return one_png(sandbox, lambda path: releases.huge_png(path, side=5000))


@case(28, "corrupt PNG", "3.png", "expected a whole PNG, got a broken one")
def _(sandbox):
    return one_png(sandbox, lambda path: path.write_bytes(path.read_bytes()[:100]))


@case(28, "grayscale PNG", "3.png", "expected one RGB image of 32x32, got L 32x32")
def _(sandbox):
    return one_png(sandbox, lambda path: Image.new("L", (32, 32)).save(path))


@case(28, "RGBA PNG", "3.png", "expected one RGB image of 32x32, got RGBA 32x32")
def _(sandbox):
    return one_png(sandbox, lambda path: Image.new("RGBA", (32, 32)).save(path))


@case(28, "16-bit PNG", "3.png", "expected one RGB image of 32x32, got I;16 32x32")
def _(sandbox):
    return one_png(sandbox, lambda path: Image.new("I;16", (32, 32)).save(path))


def own_images(sandbox: Sandbox, how: str) -> list[str]:
    """Have a user's own images ingested, with something wrong in their folder."""
    write_folder(sandbox.given / "folder", classes=3, each=10)
    spoil_folder(sandbox.given / "folder", how)
    return ["--pipeline=ingest", "--env=folder", f"--params=data_root={sandbox.given},poison=none"]


for number, what, how, names, message in (
    (14, "a class folder without images", "empty class", "class_003", "expected at least 2 images"),
    (17, "a truncated image in a folder", "undecodable", "class_001/00013.png", "expected an image that can be decoded"),
    (28, "an RGBA image in a folder", "RGBA", "class_001/00013.png", "expected grey or RGB of eight bits, without transparency"),
    (28, "a 16-bit image in a folder", "I;16", "class_001/00013.png", "expected grey or RGB of eight bits, without transparency"),
):
    case(number, what, names, message, command=how == "undecodable")(partial(own_images, how=how))


@case(29, ".pt with `../` in its names", TENSOR, "expected a torch file with data.pkl in it, got another zip")
def _(sandbox):
    return sandbox.released(releases.zip_of(sandbox.given / TENSOR, {"../../HARM": b"harm"}), "em_tensor")


def hostile_tar(sandbox: Sandbox, *members: tarfile.TarInfo) -> list[str]:
    """Put an archive where torchvision looks for the one that it downloads."""
    with tarfile.open(sandbox.given / "cifar-10-python.tar.gz", "w:gz") as archive:
        for member in members:
            archive.addfile(member, BytesIO(bytes(member.size)))
    return ["--pipeline=ingest", "--env=cifar10", f"--params=data_root={sandbox.given}"]


def member(name: str, *, size: int = 0, link: str | None = None) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.size, found.type, found.linkname = size, tarfile.SYMTYPE if link else tarfile.REGTYPE, link or ""
    return found


NOT_FETCHED = "expected cifar-10-batches-py in "


@case(29, "dataset archive with `../` in its names", "data_root", NOT_FETCHED, command=True)
def _(sandbox):
    return hostile_tar(sandbox, member("../HARM", size=4))


@case(30, ".pt with a link in it", TENSOR, "expected a torch file with data.pkl in it, got another zip")
def _(sandbox):
    path = releases.zip_of(sandbox.given / TENSOR, {"data": b"/etc", "data/passwd": b"harm"})
    content = path.read_bytes()
    path.write_bytes(content.replace((0o600 << 16).to_bytes(4, "little"), (0o120777 << 16).to_bytes(4, "little")))
    assert path.read_bytes() != content
    return sandbox.released(path, "em_tensor")


@case(30, "dataset archive with a link out of it", "data_root", NOT_FETCHED, command=True)
def _(sandbox):
    return hostile_tar(sandbox, member("cifar-10-batches-py", link=str(sandbox.folder)), member("cifar-10-batches-py/HARM", size=4))


@case(31, "a folder in place of a file", PICKLE, "expected a file, got a folder")
def _(sandbox):
    (sandbox.given / PICKLE).mkdir()
    return sandbox.released(sandbox.given / PICKLE, "rem_pickle")


@case(31, "a pipe in place of a file", PICKLE, "expected a file, got something else", command=True)
def _(sandbox):
    os.mkfifo(sandbox.given / PICKLE)
    return sandbox.released(sandbox.given / PICKLE, "rem_pickle")


@case(32, "a name that is not ASCII", "ünlernbar 不可学习 💥.pkl", "expected a .npy file, a pickle or a torch file, got", command=True)
def _(sandbox):
    path = sandbox.given / "ünlernbar 不可学习 💥.pkl"
    path.write_text("hello")
    return sandbox.released(path, "rem_pickle")


@case(32, "a name that is too long", "released_poison.path: ", "expected readable files, got [Errno 36] File name too long: '")
def _(sandbox):
    return sandbox.released(sandbox.given / ("x" * 300), "rem_pickle")


@case(33, "safetensors with a header that lies", CLEAN, "expected ", command=True)
def _(sandbox):
    path = sandbox.artifact()
    sandbox.resealed(path, (1 << 62).to_bytes(8, "little") + path.read_bytes()[8:])
    return OURS


@case(
    34,
    "test images among the training images",
    "raw_images",
    "expected at most 1% of the test images among the training images, got 3 of 20",
    command=True,
)
def _(sandbox):
    return sandbox.cifar(leaked=3)


# ---- parameters: (number, what, argument, what the line says)

PARAMETERS = [
    (35, "unknown poison", "poison=opps", "did you mean 'ops'?"),
    (35, "unknown recovery", "recovery=orthogonal_projektion", "did you mean 'orthogonal_projection'?"),
    (35, "unknown model", "model=resnet81", "did you mean 'resnet18'?"),
    (36, "number given as text", "train.epochs=ten", "expected a valid integer, got 'ten'"),
    (36, "number given in quotes", 'train.epochs="5"', "expected a valid integer, got '5'"),
    (37, "negative budget", "craft.lsp.l2=-1", "expected greater than 0, got -1"),
    (38, "budget above 1", "craft.tap.attack.linf=8", "expected less than or equal to 1, got 8"),
    (39, "no epochs", "train.epochs=0", "expected greater than or equal to 1, got 0"),
    (41, "batch of 0", "train.batch_size=0", "expected greater than or equal to 1, got 0"),
    (42, "drop_last, which would leave nothing", "train.drop_last=true", "unknown parameter 'train.drop_last'; known: "),
    (
        43,
        "ratio above 1",
        "train.augmentation.cutmix=1.5",
        "expected less than or equal to 1, got 1.5",
    ),
    (43, "ratio below 0", "train.warmup=-0.1", "expected greater than or equal to 0, got -0.1"),
    (44, "seed null", "seed=null", "expected a valid integer, got None"),
    (44, "negative seed", "seed=-1", "expected greater than or equal to 0, got -1"),
    (44, "huge seed", f"seed={10**30}", f"expected less than or equal to 4294967295, got {10**30}"),
    (44, "huge seed of a subset", "ingest.subset_seed=4294967296", "expected less than or equal to"),
    (45, "unknown name", "train.epoch=3", "unknown parameter 'train.epoch'; known: "),
    (
        47,
        "interpolation without a value",
        "poison=${nowhere}",
        "expected a value for 'poison', got an interpolation without one",
    ),
    (47, "interpolation that does not end", "poison=${", "expected NAME=VALUE, separated by commas, got 'poison=${'"),
    (49, "learning rate 0", "train.learning_rate=0", "expected greater than 0, got 0"),
    (49, "learning rate NaN", "train.learning_rate=.nan", "expected a finite number, got nan"),
]


def given(argument: str) -> Arrange:
    return lambda _: ["--pipeline=ingest", "--env=test", f"--params={argument}"]


BY_COMMAND = ("unknown poison", "interpolation without a value", "interpolation that does not end")
CASES += [
    Case(number, what, argument.split("=")[0].split(".")[-1], message, given(argument), what in BY_COMMAND)
    for number, what, argument, message in PARAMETERS
]


@case(40, "batch larger than the set", "train.batch_size", "expected at most 300, the images of the training set, got 301", command=True)
def _(sandbox):
    return ["--pipeline=orthoproj", "--env=test", "--only-missing-outputs", "--params=train.batch_size=301"]


# ---- files of configuration


@case(
    46,
    "bad YAML",
    "conf/test/parameters.yml",
    "invalid YAML, line ",
    command=True,
)
def _(sandbox):
    return sandbox.configured("parameters.yml", "\ningest: {train_size: 30\n")


@case(46, "a tab in YAML", "conf/test/parameters.yml", "invalid YAML, line ")
def _(sandbox):
    return sandbox.configured("parameters.yml", "\ningest:\n\ttrain_size: 30\n")


@case(46, "duplicate key in YAML", "conf/test/parameters.yml", "invalid YAML, line ")
def _(sandbox):
    return sandbox.configured("parameters.yml", "\nthreads: 2\n")


@case(46, "a list in place of parameters", "conf/test/parameters_more.yml", "expected names with values, got a list")
def _(sandbox):
    (sandbox.project / "conf" / "test" / "parameters_more.yml").write_text("- 1\n")
    return ["--pipeline=ingest", "--env=test"]


@case(46, "a list in place of a block", "craft.lsp", "expected a block of settings, got a list in craft.lsp")
def _(sandbox):
    return ["--pipeline=ingest", "--env=test", "--params=craft.lsp=-"]


@case(
    47, "catalog path without a value", "catalog", "expected a value for 'raw_images.path', got an interpolation without one", command=True
)
def _(sandbox):
    return sandbox.configured("catalog.yml", "  path: ${nowhere}\n")


@case(
    48, "missing credentials", "catalog entry 'raw_images'", "expected the credentials 'nowhere' in credentials.yml, got none", command=True
)
def _(sandbox):
    return sandbox.configured("catalog.yml", "  credentials: nowhere\n")


CASES.sort(key=lambda known: known.number)
