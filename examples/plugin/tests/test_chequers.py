"""The poison stays in its budget and tells the classes apart. Crafting it by its name needs the package to be installed."""

import numpy as np

import unlearnable

LEVELS = 8


def crafted(**settings: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the change of grey images of three classes, int (N, C, H, W), and their labels."""
    images, labels = np.full((9, 3, 12, 12), 128, np.uint8), np.arange(9) % 3
    return unlearnable.craft("chequers", images, labels, **settings).images.astype(int) - 128, labels


def test_each_value_is_changed_by_the_bound():
    change, _ = crafted()
    assert (np.abs(change) == LEVELS).all()
    assert (np.abs(crafted(linf=3 / 255)[0]) == 3).all()


def test_the_squares_of_a_class_have_their_own_size():
    change, labels = crafted()
    for label in range(3):
        rows = change[labels == label][:, :, 0, :]
        ends = np.flatnonzero(np.diff(rows[0, 0])) + 1
        assert (rows == rows[0, 0]).all()
        assert ends.tolist() == list(range(label + 1, 12, label + 1))
