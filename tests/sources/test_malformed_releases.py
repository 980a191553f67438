"""Releases that are wrong, broken or made to do harm: one line each, and nothing written."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.sources import releases
from tests.sources.releases import CLASSES, SIDE, last, noise, poisoned_images, published
from unlearnable.errors import InputError
from unlearnable.sources.released import ReleasedPoison

LEVELS = (noise(40) * 255).round().astype(np.int8)
IMAGES = poisoned_images(published())
CASES = {}


def case(message, kind, **more):
    """Register a function that writes a wrong release under the path it is given and returns the path to read."""

    def keep(write):
        name = write.__name__.lstrip("_")
        assert name not in CASES
        CASES[name] = (write, message, kind, more)
        return write

    return keep


def pngs(place, images=IMAGES, names=None):
    return releases.write_pngs(place / "pngs", images, names)


# ---- folders of PNG files


@case("missing 17.png; found 39 files", "png_folder")
def _a_missing_index(place):
    (pngs(place) / "17.png").unlink()
    return place / "pngs"


@case("missing 0.png and 39 more; found 0 files", "png_folder")
def _an_empty_folder(place):
    (place / "pngs").mkdir()
    return place / "pngs"


@case("expected one file per index, got 07.png and 7.png", "png_folder")
def _an_index_twice(place):
    shutil.copy(pngs(place) / "7.png", place / "pngs" / "07.png")
    return place / "pngs"


@case("expected files named by training index, such as 0.png, got 'cat.png'", "png_folder")
def _a_name_that_is_no_index(place):
    shutil.copy(pngs(place) / "7.png", place / "pngs" / "cat.png")
    return place / "pngs"


@case("such as 0.png, got '-1.png'", "png_folder")
def _a_negative_index(place):
    shutil.copy(pngs(place) / "7.png", place / "pngs" / "-1.png")
    return place / "pngs"


@case("such as 0.png, got '\u0663.png'", "png_folder")
def _an_index_in_other_digits(place):
    shutil.copy(pngs(place) / "7.png", place / "pngs" / "\u0663.png")
    return place / "pngs"


@case("3.png: expected a file, got a folder", "png_folder")
def _a_folder_among_the_files(place):
    (pngs(place) / "3.png").unlink()
    (place / "pngs" / "3.png").mkdir()
    return place / "pngs"


@case("3.png: expected a file, got something else", "png_folder")
def _a_pipe_among_the_files(place):
    (pngs(place) / "3.png").unlink()
    os.mkfifo(place / "pngs" / "3.png")
    return place / "pngs"


@case("expected files inside the folder, got the link '3.png' out of it", "png_folder")
def _a_link_out_of_the_folder(place):
    (pngs(place) / "3.png").rename(place / "3.png")
    (place / "pngs" / "3.png").symlink_to(place / "3.png")
    return place / "pngs"


@case("3.png: expected one RGB image of 8x8, got RGB 9x8", "png_folder")
def _an_image_of_another_size(place):
    Image.new("RGB", (9, 8)).save(pngs(place) / "3.png")
    return place / "pngs"


@case("3.png: expected one RGB image of 8x8, got L 8x8", "png_folder")
def _a_grey_image(place):
    Image.new("L", (8, 8)).save(pngs(place) / "3.png")
    return place / "pngs"


@case("3.png: expected one RGB image of 8x8, got RGBA 8x8", "png_folder")
def _an_image_with_transparency(place):
    Image.new("RGBA", (8, 8)).save(pngs(place) / "3.png")
    return place / "pngs"


@case("3.png: expected one RGB image of 8x8, got RGB 8x8", "png_folder")
def _a_film(place):
    frames = [Image.new("RGB", (8, 8), (i, 0, 0)) for i in range(3)]
    frames[0].save(pngs(place) / "3.png", save_all=True, append_images=frames[1:])
    return place / "pngs"


@case("3.png: expected a whole PNG, got a broken one", "png_folder")
def _a_jpeg_with_the_name_of_a_png(place):
    Image.new("RGB", (8, 8)).save(pngs(place) / "3.png", format="JPEG")
    return place / "pngs"


@case("3.png: expected a whole PNG, got a broken one", "png_folder")
def _half_a_png(place):
    file = pngs(place) / "3.png"
    file.write_bytes(file.read_bytes()[:100])
    return place / "pngs"


@case("3.png: expected at most 67,072 bytes", "png_folder")
def _a_png_with_much_behind_it(place):
    with (pngs(place) / "3.png").open("ab") as file:
        file.write(bytes(1 << 17))
    return place / "pngs"


@case("3.png: expected ", "png_folder")
def _a_decompression_bomb(place):
    releases.huge_png(pngs(place) / "3.png")
    return place / "pngs"


@case("3.png: expected one RGB image of 8x8, got RGB 5000x5000", "png_folder")
def _a_small_decompression_bomb(place):
    releases.huge_png(pngs(place) / "3.png", side=5000)
    return place / "pngs"


@case("expected a folder of PNG files, got a file", "png_folder")
def _a_file_where_a_folder_belongs(place):
    return pngs(place) / "3.png"


@case("expected mean absolute difference of at most 0.15 from the clean image, got 0.", "png_folder")
def _images_in_another_order(place):
    return pngs(place, IMAGES[::-1])


@case(": is it in the order of this dataset?", "png_folder", budget={"linf": 8 / 255})
def _two_images_that_changed_places(place):
    images = IMAGES.copy()
    images[[4, 5]] = images[[5, 4]]
    return pngs(place, images)


@case("expected Linf of at most 0.0157 from the clean image, got 0.03137 at index 0", "png_folder", budget={"linf": 0.0157})
def _images_over_the_linf_budget(place):
    return pngs(place)


@case("expected L2 of at most 0.1 from the clean image", "png_folder", budget={"l2": 0.1})
def _images_over_the_l2_budget(place):
    return pngs(place)


@case("expected L0 of at most 1 from the clean image", "png_folder", budget={"l0": 1})
def _images_over_the_l0_budget(place):
    return pngs(place)


# ---- tensors


def tensor(place, values, **options):
    return releases.write_torch(place / "perturbation.pt", values, **options)


@case("expected Linf of at most 0.0157 from the clean image, got 0.0", "em_tensor", budget={"linf": 0.0157})
def _noise_over_the_budget(place):
    return tensor(place, noise(40))


@case("expected 40 rows, one an image of the training set as published (or 4 of noise, one a class), got 39", "em_tensor")
def _a_row_too_few(place):
    return tensor(place, noise(39))


@case("expected 40 rows, one an image of the training set as published (or 4 of noise, one a class), got 41", "em_tensor")
def _a_row_too_many(place):
    return tensor(place, noise(41))


@case("expected 40 rows, one an image of the training set as published", "rem_pickle")
def _levels_of_a_larger_dataset(place):
    return releases.write_pickle(place / "noise.pkl", (noise(58) * 255).round().astype(np.int8))


@case("expected 40 rows, one an image of the training set as published", "lsp_array")
def _perturbations_of_a_larger_dataset(place):
    return releases.write_npy(place / "p.npy", last(noise(58)))


@case("expected 40 rows, one an image of the training set as published", "ops_array")
def _images_of_a_larger_dataset(place):
    return releases.write_npy(place / "p.npy", last(np.concatenate([IMAGES, IMAGES[:1]])))


@case("expected 40 files, 0.png to 39.png, got 41, the last of which is 40.png", "png_folder")
def _files_of_a_larger_dataset(place):
    return pngs(place, np.concatenate([IMAGES, IMAGES[:1]]))


@case("expected 40 rows, one an image of the training set as published (or 4 of noise, one a class), got 10", "em_tensor")
def _classes_of_another_dataset(place):
    return tensor(place, noise(10))


@case("expected (N, 3, 8, 8) or (N, 8, 8, 3), got (40, 3, 9, 9)", "em_tensor")
def _noise_of_another_size(place):
    return tensor(place, np.zeros((40, 3, 9, 9), np.float32))


@case("expected (N, 3, 8, 8) or (N, 8, 8, 3), got (40, 192)", "em_tensor")
def _flattened_noise(place):
    return tensor(place, noise(40).reshape(40, -1))


@case("expected values from -1 to 1, got -8 to 8", "em_tensor")
def _noise_in_levels_as_floats(place):
    return tensor(place, np.tile(np.array([-8, 8], np.float32), (40, 3, 8, 4)))


@case("expected floats in units of [0, 1], got int8", "em_tensor")
def _noise_in_levels(place):
    return tensor(place, LEVELS)


@case("expected values from -1 to 1, got nan to nan", "em_tensor")
def _noise_that_is_not_a_number(place):
    values = noise(40)
    values[7, 0, 0, 0] = np.nan
    return tensor(place, values)


@case("expected values from -1 to 1, got -0.0313", "em_tensor")
def _noise_that_is_infinite(place):
    values = noise(40)
    values[7, 0, 0, 0] = np.inf
    return tensor(place, values)


@case("expected one tensor in the torch file, got 'dict'", "em_tensor")
def _a_state_dict(place):
    return tensor(place, {"noise": torch.from_numpy(noise(40))})


@case("expected one tensor in the torch file, got 'list'", "em_tensor")
def _a_list_in_the_old_format(place):
    return tensor(place, [1, 2], _use_new_zipfile_serialization=False)


@case("imports 'torch.nn.modules.linear.Linear'", "em_tensor")
def _a_whole_model(place):
    return tensor(place, torch.nn.Linear(2, 2))


@case("imports 'torch.BFloat16Storage'", "em_tensor")
def _numbers_that_numpy_does_not_know(place):
    return tensor(place, torch.from_numpy(noise(40)).bfloat16())


@case("expected a torch file with data.pkl in it, got another zip", "em_tensor")
def _another_zip(place):
    return releases.zip_of(place / "perturbation.pt", {"readme.txt": b"hello"})


@case("which compresses nothing, got a compressed 'archive/data.pkl'", "em_tensor")
def _a_zip_bomb(place):
    members = releases.torch_members(noise(40)) | {"data/0": bytes(1 << 28)}
    return releases.zip_of(place / "perturbation.pt", members, compressed=True)


@case("expected a storage of 30,720 bytes, got 7,680", "em_tensor")
def _a_storage_that_is_too_short(place):
    members = releases.torch_members(noise(40))
    return releases.zip_of(place / "perturbation.pt", members | {"data/0": members["data/0"][:7680]})


@case("expected the storage data/0 in the torch file, got none", "em_tensor")
def _a_storage_that_is_missing(place):
    members = releases.torch_members(noise(40))
    return releases.zip_of(place / "perturbation.pt", {name: body for name, body in members.items() if name != "data/0"})


@case("expected little-endian numbers", "em_tensor")
def _big_endian_numbers(place):
    return releases.zip_of(place / "perturbation.pt", releases.torch_members(noise(40)) | {"byteorder": b"big"})


@case("expected a whole torch file, got a broken zip", "em_tensor")
def _half_a_tensor(place):
    path = tensor(place, noise(40))
    path.write_bytes(path.read_bytes()[:20_000])
    return path


@case("expected a whole torch file, got a broken zip (Bad CRC-32", "em_tensor")
def _a_tensor_with_a_flipped_bit(place):
    path = tensor(place, noise(40))
    content = bytearray(path.read_bytes())
    content[10_000] ^= 1
    path.write_bytes(content)
    return path


@case("expected a storage of 30,720 bytes", "em_tensor")
def _half_a_tensor_in_the_old_format(place):
    path = tensor(place, noise(40), _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:20_000])
    return path


@case("expected at most 1,318,912 bytes for this dataset, got 805,306,368", "em_tensor")
def _one_number_that_is_stretched_over_a_terabyte(place):
    return tensor(place, torch.zeros(1).expand(1 << 20, 3, 8, 8))


@case("inside a storage of", "em_tensor")
def _a_tensor_outside_of_its_storage(place):
    members = releases.torch_members(noise(40))
    index = members["data.pkl"].replace(b"K\x00(K(", b"J\x00\x00\x10\x00(K(")
    assert index != members["data.pkl"]
    return releases.zip_of(place / "perturbation.pt", members | {"data.pkl": index})


# ---- pickles


def pickled(place, values, **more):
    return releases.write_pickle(place / "noise.pkl", values, **more)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (releases.Calls(os.system, "touch HARM"), "posix.system"),
        (releases.Calls(eval, "open('HARM', 'w')"), "builtins.eval"),
        (releases.Calls(getattr, 1, "real"), "builtins.getattr"),
        (releases.Calls(np.load, "HARM"), "numpy.load"),
        (releases.Calls(subprocess.Popen, ["touch", "HARM"]), "subprocess.Popen"),
        ([LEVELS, releases.Calls(shutil.rmtree, "HARM")], "shutil.rmtree"),
        (releases.Calls(pickle.loads, b"x"), "_pickle.loads"),
        (releases.Calls(Path, "HARM"), "pathlib.Path"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.usefixtures("here")
def test_a_pickle_that_calls_anything_is_refused_by_its_name(call, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = refused(tmp_path, pickled(tmp_path, call), "rem_pickle")
    assert f"expected a pickle of numbers only, got one that imports '{name}'" in line
    assert not (tmp_path / "HARM").exists()


@case("expected a pickle of numbers only, got one that imports 'posix.system'", "em_tensor")
def _a_file_of_torch_that_calls(place):
    members = releases.torch_members(noise(40)) | {"data.pkl": pickle.dumps(releases.Calls(os.system, "touch HARM"), 2)}
    return releases.zip_of(place / "perturbation.pt", members)


@case("expected noise as int8, in levels, got float32", "rem_pickle")
def _noise_as_floats(place):
    return pickled(place, noise(40))


@case("expected one array in the pickle, got 'dict'", "rem_pickle")
def _a_dictionary(place):
    return pickled(place, {"noise": LEVELS})


@case("expected one array in the pickle, got 'int'", "rem_pickle")
def _a_number(place):
    return pickled(place, 3)


@case("expected an array of numbers, got dtype 'O8'", "rem_pickle")
def _an_array_of_objects(place):
    return pickled(place, np.array([{}, []], dtype=object))


@case("expected a whole pickle, got a broken one", "rem_pickle")
def _half_a_pickle(place):
    path = pickled(place, LEVELS)
    path.write_bytes(path.read_bytes()[:-3000])
    return path


@case("expected a whole pickle, got a broken one", "rem_pickle")
def _an_array_that_claims_another_shape(place):
    path = pickled(place, np.zeros((2, 3), np.int8), protocol=3)
    path.write_bytes(path.read_bytes().replace(b"K\x02K\x03", b"K\xffK\xff"))
    return path


@case("expected one array in the pickle, got an array without numbers", "rem_pickle")
def _an_array_of_no_numbers(place):
    (place / "noise.pkl").write_bytes(b"\x80\x02cnumpy\nndarray\n(X\x01\x00\x00\x00xtR.")
    return place / "noise.pkl"


@case("expected a storage of numbers, got dict", "em_tensor")
def _a_storage_of_no_numbers(place):
    members = releases.torch_members(noise(40))
    index = members["data.pkl"].replace(b"ctorch\nFloatStorage\n", b"ccollections\nOrderedDict\n")
    return releases.zip_of(place / "perturbation.pt", members | {"data.pkl": index})


@case("expected one array in the pickle, got an array without numbers", "rem_pickle")
def _an_array_of_a_terabyte_without_numbers(place):
    function, (kind, _, code), *_ = LEVELS.__reduce__()
    return pickled(place, releases.Calls(function, kind, (1 << 40,), code))


@case("expected at most 1,318,912 bytes for this dataset, got", "rem_pickle")
def _a_file_that_is_too_large(place):
    return pickled(place, np.zeros((40, 3, 128, 128), np.int8))


@case("expected a .npy file, a pickle or a torch file, got one that starts with b'hello '", "rem_pickle")
def _a_text(place):
    (place / "noise.pkl").write_text("hello there")
    return place / "noise.pkl"


@case("got one that starts with b''", "rem_pickle")
def _an_empty_file(place):
    (place / "noise.pkl").touch()
    return place / "noise.pkl"


@case("expected a file, got a folder", "rem_pickle")
def _a_folder_where_a_file_belongs(place):
    return pngs(place)


# ---- arrays


@case("expected floats in units of [0, 1], got int64", "ops_array")
def _perturbations_as_integers(place):
    return releases.write_npy(place / "p.npy", np.zeros((40, 8, 8, 3), np.int64))


@case("expected an array of numbers, got dtype 'object'", "ops_array")
def _a_npy_file_with_a_pickle_in_it(place):
    return releases.write_npy(place / "p.npy", np.array([releases.Calls(os.system, "touch HARM")]), allow_pickle=True)


@case("bytes for shape (1099511627776, 3, 8, 8), got 0", "ops_array")
def _a_npy_file_that_claims_terabytes(place):
    return releases.npy_that_claims(place / "p.npy", (1 << 40, 3, 8, 8))


@case("expected the header of a .npy file, got a broken one", "ops_array")
def _a_npy_file_with_a_broken_header(place):
    path = releases.write_npy(place / "p.npy", last(noise(40)))
    path.write_bytes(path.read_bytes().replace(b"'shape'", b"'shpae'"))
    return path


@case("expected 30,720 bytes for shape (40, 8, 8, 3), got 30,719", "lsp_array")
def _half_an_array(place):
    path = releases.write_npy(place / "p.npy", last(noise(40)))
    path.write_bytes(path.read_bytes()[:-1])
    return path


@case("expected 40 rows", "ops_array")
def _images_that_are_too_few(place):
    return releases.write_npy(place / "p.npy", last(IMAGES[:39]))


@case("from the clean image, got 0.", "ops_array")
def _perturbations_that_are_images(place):
    return releases.write_npy(place / "p.npy", last(published().images) / 255)


@case("expected one file simple_data*.npy in the folder, got none", "lsp_array")
def _lsp_without_data(place):
    releases.write_lsp(place / "lsp")
    (place / "lsp" / "simple_data.npy").unlink()
    return place / "lsp"


@case("expected 48 labels from 0 to 3, or one-hot, got int64 (47,)", "lsp_array")
def _lsp_with_a_label_too_few(place):
    _, labels = releases.write_lsp(place / "lsp")
    releases.write_npy(place / "lsp" / "simple_label.npy", labels[:-1])
    return place / "lsp"


@case("values of class 2, got 0", "lsp_array")
def _lsp_without_a_class(place):
    _, labels = releases.write_lsp(place / "lsp")
    releases.write_npy(place / "lsp" / "simple_label.npy", np.where(labels == 2, 1, labels))
    return place / "lsp"


# ---- shuffled images with labels


def ntga(place, **options):
    releases.write_ntga(place / "ntga", **options)
    return place / "ntga"


X, Y = "x_train_cifar10_ntga_cnn_best.npy", "y_train_cifar10.npy"


@case("expected a folder with x_train*.npy and y_train*.npy, got a file", "ntga_arrays")
def _images_without_their_folder(place):
    return ntga(place) / X


@case("expected one file y_train*.npy in the folder, got none", "ntga_arrays")
def _images_without_labels(place):
    (ntga(place) / Y).unlink()
    return place / "ntga"


@case(f"expected one file x_train*.npy in the folder, got x_train_cifar10.npy, {X}", "ntga_arrays")
def _clean_images_beside_the_poisoned(place):
    shutil.copy(ntga(place) / X, place / "ntga" / "x_train_cifar10.npy")
    return place / "ntga"


@case("expected 30 labels from 0 to 3, or one-hot, got int64 (29,)", "ntga_arrays")
def _a_label_too_few(place):
    releases.write_npy(ntga(place) / Y, np.zeros(29, np.int64))
    return place / "ntga"


@case("expected 30 labels from 0 to 3, or one-hot, got int64 (30,)", "ntga_arrays")
def _a_label_of_another_dataset(place):
    releases.write_npy(ntga(place) / Y, np.arange(30))
    return place / "ntga"


@case("expected one-hot labels, got rows that do not name one class", "ntga_arrays")
def _labels_of_two_classes(place):
    releases.write_npy(ntga(place) / Y, np.ones((30, CLASSES)))
    return place / "ntga"


@case("that are (of 40 clean ones); the first that is not: ", "ntga_arrays")
def _labels_in_another_order(place):
    labels = np.load(ntga(place) / Y).argmax(1)
    releases.write_npy(place / "ntga" / Y, np.roll(labels, 1))
    return place / "ntga"


@case("got 29 of 30 that are (of 40 clean ones); the first that is not: 11", "ntga_arrays")
def _an_image_that_belongs_to_no_clean_one(place):
    floats = np.load(ntga(place) / X)
    floats[11] = 1 - floats[11]
    releases.write_npy(place / "ntga" / X, floats)
    return place / "ntga"


@case("expected each clean image once, got", "ntga_arrays")
def _an_image_twice(place):
    order, floats = releases.write_ntga(place / "ntga")
    labels = published().labels[order]
    floats[11], labels[11] = floats[3], labels[3]
    releases.write_npy(place / "ntga" / X, floats)
    releases.write_npy(place / "ntga" / Y, labels)
    return place / "ntga"


@case("expected one clean image within 256 levels of image", "ntga_arrays", budget={"linf": 1.0})
def _a_budget_that_leaves_doubt(place):
    return ntga(place)


@case("got 0 of 30 that are", "ntga_arrays", budget={"linf": 2 / 255})
def _images_beyond_the_budget(place):
    return ntga(place)


@case("expected images in [0, 1], got ", "ntga_arrays")
def _images_in_levels_as_floats(place):
    releases.write_npy(ntga(place) / X, np.load(place / "ntga" / X) * 255)
    return place / "ntga"


@case(f"{X}: expected an array of numbers, got dtype 'object'", "ntga_arrays")
def _images_with_a_pickle_in_them(place):
    releases.write_npy(ntga(place) / X, np.array([releases.Calls(os.system, "touch HARM")]), allow_pickle=True)
    return place / "ntga"


# ---- the entry


WRONG_ENTRIES = [
    ({"path": None}, "released_poison.path: expected the file or folder of a release, got none"),
    ({"path": "nowhere"}, "released_poison.path: expected a file or folder, got nowhere, which is missing"),
    ({"format": None}, "released_poison.format: expected one of png_folder, em_tensor"),
    ({"format": "png_foldr"}, "got 'png_foldr' (did you mean 'png_folder'?)"),
    ({"rounding": "up"}, "released_poison.rounding: expected truncate or nearest, got 'up'"),
    (
        {"format": "rem_pickle", "rounding": "nearest"},
        "released_poison.rounding: expected nothing, since its values are whole levels, got 'nearest'",
    ),
    ({"budget": {"l1": 1}}, "released_poison.budget: expected norms among linf, l2, l0, got {'l1': 1}"),
    ({"budget": 8}, "released_poison.budget: expected norms among linf, l2, l0, got 8"),
    ({"budget": {"linf": -1}}, "released_poison.budget.linf: expected a number above 0 and at most 1000000, got -1"),
    ({"budget": {"linf": "8/255"}}, "released_poison.budget.linf: expected a number above 0 and at most 1000000, got '8/255'"),
    ({"budget": {"l2": float("nan")}}, "released_poison.budget.l2: expected a number above 0 and at most 1000000, got nan"),
    ({"memory_gib": 0}, "released_poison.memory_gib: expected a number above 0 and at most 1000000, got 0"),
    ({"memory_gib": 1e300}, "released_poison.memory_gib: expected a number above 0 and at most 1000000, got 1e+300"),
    ({"path": 3}, "released_poison.path: expected the file or folder of a release, got 3"),
    ({"format": ["em_tensor"]}, "lsp_array, ntga_arrays, got ['em_tensor']"),
    ({"timeout_s": True}, "released_poison.timeout_s: expected a number above 0 and at most 1000000, got True"),
]


def refused(tmp_path, path, kind, clean=None, **more):
    """Return the one line that a release is refused with; nothing is written."""
    entry = ReleasedPoison(path=path and str(path), format=kind, filepath=str(tmp_path / "copies"), **more)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(InputError) as error:
        entry.load().poisoned(clean or published())
    assert set(tmp_path.rglob("*")) == before
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("released_poison.")
    return str(error.value)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", CASES)
def test_a_wrong_release_is_one_line_and_nothing_is_written(name, tmp_path, monkeypatch):
    write, message, kind, more = CASES[name]
    monkeypatch.chdir(tmp_path)
    line = refused(tmp_path, write(tmp_path), kind, **more)
    assert message in line
    assert not (tmp_path / "HARM").exists()


def test_there_are_many_wrong_releases():
    assert len(CASES) >= 60


@pytest.mark.parametrize(("change", "message"), WRONG_ENTRIES, ids=lambda value: str(value)[:40])
def test_a_wrong_entry_is_one_line_before_anything_is_opened(change, message, tmp_path):
    path = tensor(tmp_path, noise(40))
    arguments = {"path": str(path), "format": "em_tensor", "filepath": str(tmp_path / "copies")} | change
    with pytest.raises(InputError) as error:
        ReleasedPoison(**arguments).load().check()
    assert message in str(error.value)


@pytest.mark.usefixtures("here")
def test_a_part_of_the_training_set_refuses_what_needs_all_of_it(tmp_path):
    clean = releases.part()
    releases.write_lsp(tmp_path / "lsp")
    assert "expected the whole training set" in refused(tmp_path, tmp_path / "lsp", "lsp_array", clean)
    releases.write_ntga(tmp_path / "ntga", kept=12)
    assert "of 12 that are (of 24 clean ones)" in refused(tmp_path, tmp_path / "ntga", "ntga_arrays", clean)


# ---- the child itself


def test_the_child_refuses_in_the_same_words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = pickled(tmp_path, releases.Calls(os.system, "touch HARM"))
    line = refused(tmp_path, path, "rem_pickle")
    assert line == f"released_poison.path ({path}): expected a pickle of numbers only, got one that imports 'posix.system'"
    assert not (tmp_path / "HARM").exists()


def test_a_file_that_needs_too_much_memory_is_one_line(tmp_path):
    path = tmp_path / "noise.pkl"
    path.write_bytes(b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b"x")  # a byte array of a terabyte
    line = refused(tmp_path, path, "rem_pickle", memory_gib=1)
    assert line == f"released_poison.path ({path}): expected to need at most 1 GiB of memory, got more"


def test_a_reader_that_does_not_end_is_stopped(tmp_path, monkeypatch):
    path = pickled(tmp_path, LEVELS)
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda command, **options: run(sleeper, **options))
    line = refused(tmp_path, path, "rem_pickle", timeout_s=0.3)
    assert line == f"released_poison.path ({path}): expected to be read in 0.3 s, got no end"


def test_a_reader_that_is_killed_is_one_line(tmp_path, monkeypatch):
    path = pickled(tmp_path, LEVELS)
    run = subprocess.run
    killed = [sys.executable, "-c", f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})"]
    monkeypatch.setattr(subprocess, "run", lambda command, **options: run(killed, **options))
    line = refused(tmp_path, path, "rem_pickle")
    assert line == f"released_poison.path ({path}): expected a release, got a file that ends its reader (-9, silent)"


def test_a_system_without_limits_reads_nothing(tmp_path):
    code = """
import sys
sys.modules["resource"] = None
from unlearnable.sources.foreign.convert import limit
limit(1, 1)
"""
    env = {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert "InputError: expected a system that limits the memory of a process, such as Linux, got none" in done.stderr


def test_random_damage_is_one_line_or_an_array(tmp_path, here):
    """Bytes flipped anywhere in a pickle: the reader says so, or reads an array; nothing else happens."""
    content = pickle.dumps(np.zeros((CLASSES, 3, SIDE, SIDE), np.int8), protocol=4)
    rng = np.random.default_rng(0)
    outcomes = [_outcome(tmp_path / f"{number}.pkl", bytearray(content), rng) for number in range(200)]
    assert "a line" in outcomes
    assert set(outcomes) <= {"a line", "an array", "too much memory"}


def _outcome(path, damaged, rng):
    damaged[rng.integers(200)] = rng.integers(256)
    path.write_bytes(damaged)
    entry = ReleasedPoison(path=str(path), format="rem_pickle", filepath=str(path.parent / "copies"))
    try:
        entry.load().poisoned(published())
    except InputError as error:
        return "several lines" if "\n" in str(error) else "a line"
    except MemoryError:
        return "too much memory"
    return "an array"


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("rows", [24, 39, 41])
def test_a_part_of_the_set_needs_a_release_of_the_whole(tmp_path, rows):
    """Which part there is does not matter: a release of another number of images is of another dataset."""
    first = published().subset(np.arange(24))
    line = refused(tmp_path, releases.write_torch(tmp_path / "perturbation.pt", noise(rows)), "em_tensor", clean=first)
    assert f"expected 40 rows, one an image of the training set as published (or 4 of noise, one a class), got {rows}" in line
