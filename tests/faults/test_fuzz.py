"""Every reader of bytes and of parameters, given damaged ones: it returns an object or raises the error that it documents."""

import io
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from kedro.io import DatasetError, Version
from PIL import Image

from tests.artifacts.test_artifacts import EXAMPLES, figure
from tests.config.test_recipe import loader
from tests.faults.fuzz import NotAllowedError, Reader, damaged, fuzzed, with_crcs, with_length
from tests.faults.table import FUZZED
from tests.sources import releases
from unlearnable.artifacts import artifact, atomic
from unlearnable.artifacts.packing import header
from unlearnable.cli import run
from unlearnable.config.validation import check
from unlearnable.errors import InputError
from unlearnable.sources.foreign.convert import converted
from unlearnable.sources.foreign.pngs import read_pngs
from unlearnable.sources.foreign.releases import Request


@dataclass(frozen=True)
class Fuzz:
    """A reader, the strategy for what it reads, and what it may raise; ``reader`` is given the place of the file to read."""

    reader: Callable[[Path], Reader]
    contents: st.SearchStrategy[Any]
    allowed: tuple[type[Exception], ...]
    file: str = "example"
    few: int = 100  # examples of the quick test


READERS: dict[str, Fuzz] = {}
FOREIGN = (InputError, MemoryError, OSError)  # each is one line of the child that reads releases


# ---- our artifacts


def ours(name: str) -> Callable[[Path], Reader]:
    kind, _ = EXAMPLES[name]

    def reader(place: Path) -> Reader:
        dataset = kind(filepath=str(place), recipe="abc", version=Version("2026-01-01", None))

        def read(content: bytes) -> object:
            dataset.opened = lambda _: content  # as if its sidecar fitted
            return artifact.Artifact.read(dataset, place)  # of one file, where a dataset has several

        return read

    return reader


def encoded(name: str) -> bytes:
    kind, data = EXAMPLES[name]
    content = kind(filepath="thing", recipe="abc").encode(figure() if name == "figure" else data)
    return content if isinstance(content, bytes) else b"".join(content)


for known in EXAMPLES:
    whole = damaged([encoded(known)])
    if known in ("images", "recovered", "weights", "checkpoint"):
        whole |= damaged([encoded(known)]).map(with_length)
    READERS[f"our {known}"] = Fuzz(ours(known), whole, (DatasetError, MemoryError))

READERS["our header"] = Fuzz(lambda _: header, damaged([encoded("images"), encoded("checkpoint")]), (ValueError, RecursionError))


def sidecars(place: Path) -> Reader:
    atomic.write_new(place.with_suffix(""), b"content")
    return lambda _: atomic.read_checked(place.with_suffix(""))


def sealed() -> bytes:
    with TemporaryDirectory() as folder:
        atomic.write_new(Path(folder) / "thing", b"content")
        return (Path(folder) / "thing.sha256").read_bytes()


READERS["our sidecar"] = Fuzz(sidecars, damaged([sealed()]), (DatasetError,), "thing.sha256")


# ---- releases


def release(kind: str) -> Callable[[Path], Reader]:
    clean = releases.published()

    def reader(place: Path) -> Reader:
        asked = Request(path=place, format=kind, rounding="truncate" if kind != "rem_pickle" else "none", budget={"linf": 1.0})
        return lambda _: converted(asked, clean)

    return reader


def png(place: Path) -> Reader:
    return lambda _: read_pngs(place.parent, np.zeros(1, np.int64), (3, 8, 8), 1)


def saved(values: object, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(values, stream, **options)
    return stream.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"archive/{name}", content)
    return stream.getvalue()


def written(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def pngs() -> list[bytes]:
    images = []
    for mode, options in (("RGB", {}), ("RGB", {"optimize": True}), ("P", {}), ("RGBA", {})):
        stream = io.BytesIO()
        Image.fromarray(releases.last(releases.published().images)[0]).convert(mode).save(stream, "PNG", **options)
        images.append(stream.getvalue())
    return images


NOISE = releases.noise(4)
LEVELS = (releases.noise(40) * 255).round().astype(np.int8)
MEMBERS = releases.torch_members(NOISE)
PICKLES = [pickle.dumps(LEVELS, protocol=protocol) for protocol in (2, 3, 4, 5)]
ZIPS = [saved(torch.from_numpy(NOISE)), saved(torch.from_numpy(NOISE).double())]
OLD = [saved(torch.from_numpy(NOISE), _use_new_zipfile_serialization=False)]

READERS |= {
    "a .npy file": Fuzz(
        release("ops_array"), damaged([written(releases.last(NOISE)), written(releases.last(NOISE).astype("f8"))]), FOREIGN
    ),
    "a pickle": Fuzz(release("rem_pickle"), damaged(PICKLES), FOREIGN),
    "a zip of torch": Fuzz(
        release("em_tensor"),
        damaged(ZIPS) | damaged([MEMBERS["data.pkl"]]).map(lambda index: zipped(MEMBERS | {"data.pkl": index})),
        FOREIGN,
    ),
    "an old torch file": Fuzz(release("em_tensor"), damaged(OLD), FOREIGN),
    "a PNG": Fuzz(png, damaged(pngs()) | damaged(pngs()).map(with_crcs), FOREIGN, "pngs/0.png"),
}


# ---- parameters

NAMES = (
    "poison",
    "seed",
    "craft.lsp.l2",
    "craft.tap.attack",
    "train",
    "train.epochs",
    "train.by_model",
    "data_root",
    "ingest",
    "recipe",
    "",
)
VALUES = (
    "1",
    "-1",
    "1e400",
    ".nan",
    "null",
    "''",
    "lsp",
    "released",
    "${seed}",
    "${",
    "${param:seed}",
    "${oc.env:HOME}",
    "[1",
    "{a: 1}",
    "=",
    "???",
)


def parameters(_: Path) -> Reader:
    def read(line: bytes) -> object:
        given = run.make_context("run", ["--params", line.decode()]).params["params"]
        configuration = loader(**given)
        return configuration["catalog"], check(configuration["parameters"])

    return read


name = st.sampled_from(NAMES) | st.text(max_size=8)
value = st.sampled_from(VALUES) | st.text(max_size=12)
pairs = st.lists(st.tuples(name, value).map("=".join), min_size=1, max_size=4).map(",".join)
READERS["parameters"] = Fuzz(
    parameters,
    (pairs | st.text(max_size=30)).map(lambda text: text.encode(errors="replace")),
    (InputError, click.ClickException),
    few=30,  # each of which reads all configuration
)


# ---- the tests


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_returns_an_object_or_raises_what_it_documents(reader, tmp_path, record_property):
    fuzz(reader, tmp_path, READERS[reader].few, record_property)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("reader", READERS)
def test_a_reader_does_so_for_10000_examples(reader, tmp_path, record_property):
    fuzz(reader, tmp_path, 10_000, record_property)


def fuzz(reader: str, folder: Path, examples: int, record_property: Callable[[str, str], None]) -> None:
    chosen = READERS[reader]
    place = folder / chosen.file
    place.parent.mkdir(exist_ok=True)
    outcomes = fuzzed(chosen.reader(place), chosen.contents, chosen.allowed, examples, place)
    kinds = ", ".join(f"{count} {name}" for name, count in outcomes.most_common())
    record_property(FUZZED, f"{reader:<21}  {outcomes.total():>6} examples: {kinds}")
    assert outcomes.total() >= 0.9 * examples
    assert len(outcomes) > 1 or reader == "our header"


# ---- the twins

HOSTILE = pickle.dumps(releases.Calls(eval, "1"))


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda content: content[99], "IndexError"),
        (lambda content: eval("1"), "NotAllowedError: exec"),  # noqa: S307
        (lambda content: __import__("os").system("true"), "NotAllowedError: os.system"),
        (lambda content: Path("HARM").touch(), "NotAllowedError: open"),
        (lambda content: pickle.loads(HOSTILE), "NotAllowedError: exec"),  # noqa: S301
        (lambda content: __import__("os").kill(__import__("os").getpid(), 11), "ended with 11 at b'"),
        (lambda content: bytearray(8 << 30), "MemoryError"),
    ],
)
def test_what_a_reader_may_not_do_is_noticed(read, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert issubclass(NotAllowedError, BaseException)
    with pytest.raises(AssertionError, match=message):
        fuzzed(read, damaged([b"content"]), (InputError,), 20, tmp_path / "example")
    assert not (tmp_path / "HARM").exists()
