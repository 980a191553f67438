"""Protected copies of a folder of images: all of them, in their own sizes, within their budget, and never over another file."""

import hashlib
import io
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from kedro.io import DatasetError
from PIL import Image, ImageOps

from tests.conftest import ROOT, copy_project
from tests.sources.formats import pictures, write_folder
from tests.test_docs import commands
from unlearnable import cli
from unlearnable.artifacts import copies as writing
from unlearnable.artifacts.copies import JOURNAL, MANIFEST, SHEET, ProtectedCopies
from unlearnable.artifacts.protection import ProtectionDataset
from unlearnable.errors import InputError
from unlearnable.images import LabelledImages
from unlearnable.interrupts import InterruptedRun
from unlearnable.pipelines.protect import nodes
from unlearnable.poisons import POISONS, Crafting, craft
from unlearnable.sources.folder import FolderImages, ProtectedFolder, id_of
from unlearnable.sources.originals import OriginalFolder

LEVEL = 1 / 255
SETTINGS = {
    "regions_4": {"linf": 8 * LEVEL},
    "lsp": {"l2": 1.3},
    "patches_4": {"linf": 12 * LEVEL},
    "pil": {"linf": 8 * LEVEL, "steps": 3, "epochs": 2},
    "ops": {},
}
ORIENTATION = 0x0112


def protect(folder: Path, out: Path, poison: str, *, side: int = 16, kind: str = "png", recipe: str = "r", seed: int = 0) -> dict:
    """Write the copies as the pipeline does; return the manifest."""
    originals = OriginalFolder(path=str(folder), side=side).load()
    target = ProtectedCopies(filepath=str(out), recipe=recipe)
    target.check(originals.path)
    given = {"seed": seed, poison: SETTINGS[poison]}
    try:
        target.save(nodes.protect(originals, nodes.craft(nodes.look(originals), poison, given, "cpu"), kind))
    except DatasetError as error:  # Kedro's, around ours
        raise error.__cause__ or error from None
    return target.load()


def seen(file: Path) -> np.ndarray:
    """Return an image as a viewer shows it, by Pillow alone."""
    return np.asarray(ImageOps.exif_transpose(Image.open(file)).convert("RGB")).astype(int)


def pixels(folder: Path) -> dict[str, np.ndarray]:
    return {f"{file.parent.name}/{file.stem}": seen(file) for file in folder.rglob("*.*") if file.parent != folder}


def photographs(root: Path, count: int) -> None:
    """Write images of many sizes and modes, some turned by their cameras, of three classes."""
    rng = np.random.default_rng(0)
    kinds = [("RGB", "jpg"), ("L", "png"), ("RGB", "webp"), ("P", "png"), ("CMYK", "jpg"), ("1", "bmp"), ("L", "jpg"), ("RGB", "png")]
    images, labels = pictures(count, classes=3, side=80)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        height, width = rng.integers(9, 80, size=2)
        mode, ending = kinds[number % len(kinds)]
        exif = Image.Exif()
        exif[ORIENTATION] = 1 + number // len(kinds) % 8
        file = root / ("a b", "été", "c")[label] / f"photo.{number}.{ending}"
        file.parent.mkdir(parents=True, exist_ok=True)
        more = {"exif": exif} if ending in ("jpg", "webp") else {}
        Image.fromarray(image[:height, :width]).convert(mode).save(file, **more)


@pytest.mark.parametrize(("poison", "count"), [("lsp", 48), ("patches_4", 200), ("pil", 48)])
def test_photographs_of_mixed_sizes_and_modes_keep_names_and_sizes_and_stay_in_the_budget(poison, count, tmp_path):
    photographs(tmp_path / "in", count)
    manifest = protect(tmp_path / "in", tmp_path / "out", poison)
    before, after = pixels(tmp_path / "in"), pixels(tmp_path / "out")
    assert len(before) == count
    assert before.keys() == after.keys()
    assert {file.suffix for file in (tmp_path / "out").rglob("photo*")} == {".png"}
    changed = 0
    for name, image in before.items():
        assert image.shape == after[name].shape
        change = np.abs(after[name] - image)
        changed += change.any()
        if poison == "lsp":  # 1.3 for 16 x 16 pixels, and as much a pixel for others; half a level for rounding
            assert np.linalg.norm(change) <= 255 * 1.3 * np.sqrt(image[..., 0].size) / 16 + 0.5 * np.sqrt(image.size)
        else:
            assert change.max() <= round(255 * SETTINGS[poison]["linf"])
    assert changed == count
    assert len(manifest["images"]) == count
    assert manifest["left_out"] == {}
    assert ("resized" in manifest["made"]) == (poison == "pil")


def test_images_of_the_size_that_a_poison_is_crafted_on_are_poisoned_as_in_a_pipeline(tmp_path):
    write_folder(tmp_path / "in", classes=3, each=8, side=16)
    protect(tmp_path / "in", tmp_path / "out", "ops")
    folders = {"name": "x", "filepath": str(tmp_path / "decoded"), "test_fraction": 0.2}
    raw = FolderImages(path=str(tmp_path / "in"), **folders).load()
    files = sorted((tmp_path / "in").rglob("*.png"))
    labels = np.array([int(file.parent.name[-1]) for file in files])
    ids = np.array([id_of(file.parent.name, file) for file in files])
    stack = np.stack([seen(file) for file in files]).astype(np.uint8).transpose(0, 3, 1, 2)
    whole = LabelledImages(images=stack, labels=labels, num_classes=3, ids=ids)
    expected = craft("ops", whole, Crafting(seed=0), settings={})
    copies = ProtectedFolder(path=str(tmp_path / "out"), **folders).load().poisoned(raw.train)
    assert np.array_equal(copies.images, expected.matching(copies).images)
    assert (copies.images != raw.train.images).any(1).sum((1, 2)).tolist() == [1] * len(copies)
    protect(tmp_path / "in", tmp_path / "regions", "regions_4")  # which no image decides: an audit trains on the same bytes either way
    copies = ProtectedFolder(path=str(tmp_path / "regions"), **folders).load().poisoned(raw.train)
    assert np.array_equal(copies.images, craft("regions_4", raw.train, Crafting(seed=0), settings=SETTINGS["regions_4"]).images)


def test_the_manifest_says_of_each_copy_what_it_is(tmp_path):
    photographs(tmp_path / "in", 24)
    manifest = protect(tmp_path / "in", tmp_path / "out", "patches_4", kind="webp", seed=3)
    assert (manifest["poison"], manifest["settings"], manifest["seed"]) == ("patches_4", SETTINGS["patches_4"], 3)
    assert manifest["budget"] == {"linf": 12 * LEVEL, "l2": None, "pixels": 0}
    for entry in manifest["images"]:
        original, copy = (tmp_path / folder / entry[name] for folder, name in (("in", "original"), ("out", "copy")))
        assert copy == (tmp_path / "out" / entry["original"]).with_suffix(".webp")
        assert hashlib.sha256(original.read_bytes()).hexdigest() == entry["original_sha256"]
        assert hashlib.sha256(copy.read_bytes()).hexdigest() == entry["sha256"]
        change = np.abs(seen(copy) - seen(original))
        assert (entry["width"], entry["height"]) == Image.open(copy).size
        assert entry["linf"] == pytest.approx(change.max() * LEVEL)
        assert entry["l2"] == pytest.approx(np.linalg.norm(change) * LEVEL)
        assert entry["original_mode"] == Image.open(original).mode
    with Image.open(tmp_path / "out" / SHEET) as sheet:
        assert sheet.size == (12 * 18 - 2, 3 * 18 - 2)  # three classes, six originals and copies of 16 pixels with 2 between them
    assert not (tmp_path / "out" / JOURNAL).exists()


def test_colours_keep_their_profile_and_nothing_else_is_said_of_the_camera(tmp_path):
    write_folder(tmp_path / "in", classes=2, each=2, side=16)
    file = next((tmp_path / "in").rglob("*.png"))
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    Image.open(file).save(file, icc_profile=b"colours", exif=exif)
    protect(tmp_path / "in", tmp_path / "out", "ops")
    copy = Image.open(tmp_path / "out" / file.relative_to(tmp_path / "in"))
    assert copy.info.get("icc_profile") == b"colours"
    assert not copy.getexif()


# ---- what cannot be read


def test_what_cannot_be_read_is_left_out_and_named_and_all_others_are_there(tmp_path, monkeypatch):
    photographs(tmp_path / "in", 30)
    folder = tmp_path / "in" / "c"
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n, and no more")
    Image.new("RGBA", (20, 20)).save(folder / "clear.png")
    Image.new("I;16", (20, 20)).save(folder / "deep.png")
    Image.open(folder / "photo.8.jpg").save(folder / "short.jpg")
    (folder / "short.jpg").write_bytes((folder / "short.jpg").read_bytes()[:700])
    with pytest.raises(InputError) as error:
        protect(tmp_path / "in", tmp_path / "out", "patches_4")
    line = str(error.value)
    assert line.startswith(f"protected: 4 of 34 images were left out, the others are in {tmp_path / 'out'}: c/broken.png (")
    assert "c/clear.png (expected grey or RGB of eight bits, without transparency, got transparency)" in line
    assert "c/deep.png (expected grey or RGB of eight bits, without transparency, got mode I;16)" in line
    assert line.endswith(f", and 1 more in {MANIFEST}")
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert set(manifest["left_out"]) == {f"c/{name}" for name in ("broken.png", "clear.png", "deep.png", "short.jpg")}
    assert len(manifest["images"]) == 30 == len(list((tmp_path / "out").rglob("photo*")))
    assert not ProtectedCopies(filepath=str(tmp_path / "out"), recipe="r").exists()
    with pytest.raises(InputError, match="4 of 34 images were left out"):  # and so again, of what is there already
        protect(tmp_path / "in", tmp_path / "out", "patches_4")


# ---- interruptions


def test_an_interrupted_folder_is_completed_and_what_is_there_is_not_written_again(tmp_path, monkeypatch):
    write_folder(tmp_path / "in", classes=3, each=10, side=16)
    whole = protect(tmp_path / "in", tmp_path / "whole", "lsp")
    monkeypatch.setattr(writing, "TOGETHER", 4)
    looks = []

    def ends_at_the_fourth_look() -> None:
        looks.append(1)
        if len(looks) == 4:
            raise InterruptedRun(15)

    monkeypatch.setattr(writing, "answer", ends_at_the_fourth_look)
    with pytest.raises(InterruptedRun):
        protect(tmp_path / "in", tmp_path / "out", "lsp")
    there = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*.png")}
    assert len(there) == 12
    assert not (tmp_path / "out" / MANIFEST).exists()
    with (tmp_path / "out" / JOURNAL).open("a") as journal:
        journal.write('{"copy": "cut off by a ki')
    lost = sorted(there)[0]
    lost.unlink()  # and one that is gone is made again
    assert protect(tmp_path / "in", tmp_path / "out", "lsp") == whole
    assert all(file.stat().st_mtime_ns == time for file, time in there.items() if file != lost)
    assert lost.exists()


def test_a_copy_that_was_changed_since_is_not_written_over(tmp_path, monkeypatch):
    write_folder(tmp_path / "in", classes=2, each=2, side=16)
    protect(tmp_path / "in", tmp_path / "out", "ops")
    file = next((tmp_path / "out").rglob("0*.png"))
    file.write_bytes(b"mine")
    with pytest.raises(InputError, match=f"protected: expected no other file under the name of a copy, got {file}"):
        protect(tmp_path / "in", tmp_path / "out", "ops")
    assert file.read_bytes() == b"mine"


def test_what_was_crafted_is_kept_whole(tmp_path):
    write_folder(tmp_path / "in", classes=2, each=4, side=16)
    seen = nodes.look(OriginalFolder(path=str(tmp_path / "in"), side=16).load())
    crafted = nodes.craft(seen, "lsp", {"seed": 5, "lsp": SETTINGS["lsp"]}, "cpu")
    kept = ProtectionDataset(filepath=str(tmp_path / "kept"), recipe="r")
    kept.save(crafted)
    found = kept.load()
    assert np.array_equal(found.perturbation, crafted.perturbation)
    assert np.array_equal(found.ids, crafted.ids)
    assert (found.poison, found.settings, found.seed) == ("lsp", SETTINGS["lsp"], 5)


# ---- where the copies may lie


def put_file(out: Path) -> None:
    out.mkdir()
    (out / "holiday.png").touch()


def put_other_copies(out: Path) -> None:
    protect(out.parent / "in", out, "ops", recipe="another")


@pytest.mark.parametrize(
    ("out", "before", "message"),
    [
        ("out", put_file, "expected an empty folder, or copies of the recipe r, got a folder with other files in it: OUT"),
        ("out", put_other_copies, "expected an empty folder, or copies of the recipe r, got copies of the recipe another: OUT"),
        ("out", Path.touch, "expected a folder, got OUT, which is a file"),
        ("in", None, "expected a folder beside the originals in IN, got OUT"),
        ("in/copies", None, "expected a folder beside the originals in IN, got OUT"),
        (".", None, "expected a folder beside the originals in IN, got OUT"),
    ],
)
def test_copies_go_to_a_folder_of_their_own(out, before, message, tmp_path):
    write_folder(tmp_path / "in", classes=2, each=2, side=16)
    if before:
        before(tmp_path / out)
    there = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError) as error:
        protect(tmp_path / "in", tmp_path / out, "ops")
    assert str(error.value) == "protected: " + message.replace("IN", str(tmp_path / "in")).replace("OUT", str(tmp_path / out))
    assert sorted(tmp_path.rglob("*")) == there


def test_the_reader_of_copies_says_nothing_of_manifest_and_sheet(tmp_path, caplog):
    write_folder(tmp_path / "in", classes=2, each=4, side=16)
    protect(tmp_path / "in", tmp_path / "out", "ops")
    (tmp_path / "out" / "notes.txt").touch()
    with caplog.at_level(logging.WARNING):
        FolderImages(name="x", path=str(tmp_path / "out"), filepath=str(tmp_path / "decoded")).load()
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"{tmp_path / 'out'}: ignored 1 file: 1 in no class (notes.txt)"
    ]


# ---- the command


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    project = copy_project(tmp_path_factory.mktemp("protect") / "project")
    write_folder(project / "pictures", classes=2, each=5, side=32)
    return project


def command(project: Path, monkeypatch, *arguments: str) -> tuple[int, str]:
    monkeypatch.chdir(project)
    result = CliRunner().invoke(cli.cli, ["protect", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


def test_the_command_protects_and_a_second_time_makes_nothing(project, monkeypatch):
    assert command(project, monkeypatch, "pictures", "copies", "--poison=lsp", "--params=craft.lsp.l2=1.0")[0] == 0
    manifest = json.loads((project / "copies" / MANIFEST).read_text())
    assert manifest["settings"] == {"l2": 1.0, "class_sep": 10.0, "patches": 4}
    assert len(list((project / "copies").rglob("0*.png"))) == 10
    before = {file: file.stat().st_mtime_ns for file in (project / "copies").rglob("*")}
    assert command(project, monkeypatch, "pictures", "copies", "--poison=lsp", "--params=craft.lsp.l2=1.0")[0] == 0
    assert {file: file.stat().st_mtime_ns for file in (project / "copies").rglob("*")} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pictures", "new", "--poison=opps"], "Error: unknown poison 'opps'; known: "),
        (["pictures", "new", "--poison=released"], "Error: poison: expected one that can be crafted on all images, got 'released'"),
        (["nowhere", "new", "--poison=ops"], "Error: originals: expected the folder HERE/nowhere, which is missing"),
        (["empty", "new", "--poison=ops"], "Error: originals: expected a folder for each class in HERE/empty, got none"),
        (["pictures", "new", "--poison=ops", "--env=base"], "Error: originals: expected the folder of the images, got none: "),
        (["flat", "new", "--poison=ops"], "Error: originals: expected a folder for each class in HERE/flat, got none"),
        (["pictures", "pictures/new", "--poison=ops"], "Error: protected: expected a folder beside the originals in HERE/pictures, got"),
        (["pictures", "new", "--poison=ops", "--params=protect.format=gif"], "Error: parameter 'protect.format': expected 'png' or 'webp'"),
    ],
)
def test_a_wrong_input_is_one_line_and_nothing_is_written(arguments, message, project, monkeypatch):
    (project / "empty").mkdir(exist_ok=True)
    (project / "flat").mkdir(exist_ok=True)
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32)).save(buffer, "png")
    (project / "flat" / "lonely.png").write_bytes(buffer.getvalue())
    code, output = command(project, monkeypatch, *arguments)
    assert code == 1
    assert message.replace("HERE", str(project)) in output
    assert not (project / "new").exists()


def test_the_commands_on_folders_that_documents_show_are_known():
    shown = [words for words in commands("unlearnable") if words[0] in ("protect", "audit")]
    assert len(shown) >= 4
    for name, *words in shown:
        given = cli.cli.commands[name].make_context(name, list(words)).params
        folders = [given[which] for which in ("originals", "protected") if given[which]]
        assert len(folders) == 2 or name == "audit"  # which may be asked about copies alone
        assert len({folder.parent for folder in folders}) == 1
        assert given["env"] == "folder"
        assert given.get("poison", "lsp") in POISONS


def test_the_page_of_formats_names_every_key_of_the_manifest(tmp_path):
    write_folder(tmp_path / "in", classes=2, each=2, side=16)
    manifest = protect(tmp_path / "in", tmp_path / "out", "ops")
    page = (ROOT / "docs" / "formats.md").read_text()
    assert [key for key in (*manifest, *manifest["images"][0], *manifest["budget"]) if f"`{key}`" not in page] == []


def test_two_folders_of_any_name_are_audited(monkeypatch):
    reached = {}
    monkeypatch.setattr(cli.run, "callback", lambda **options: reached.update(options))
    done = CliRunner().invoke(cli.cli, ["audit", "mine", "/theirs", "--params=seed=1,audit.recovery=bdr"])
    assert done.exit_code == 0, done.output
    assert (reached["pipeline"], reached["env"], reached["only_missing_outputs"]) == ("audit", "folder", True)
    expected = {"seed": 1, "audit": {"recovery": "bdr"}, "originals": str(Path.cwd() / "mine"), "protected": "/theirs"}
    assert reached["params"] == expected
