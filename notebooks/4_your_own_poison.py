# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A poison of your own, up to the leaderboard
#
# A poison is a function from clean images to a perturbation. This lesson writes one, measures it under two recoveries
# with two seeds, beside the control, and shows how its result gets onto the leaderboard. The function below can stay in
# your notebook, become a package of yours, or become part of the project. The twelve trainings take some minutes.

# %%
import os
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import unlearnable
from unlearnable.poisons import POISONS
from unlearnable.poisons.base import Crafting, Perturbation, of_each_class
from unlearnable.ranges import POSITIVE_FRACTION
from unlearnable.sources.digits import DigitsOnPhotographs

QUICK = os.environ.get("UNLEARNABLE_LESSONS") == "quick"  # the tests run the lesson with few images and one epoch
SIZE, EPOCHS, SEEDS = (100, 1, (0, 1)) if QUICK else (6000, 5, (0, 1))

# %% [markdown]
# ## Write it
#
# Each class gets stripes of its own direction and width. A setting has a type and a range (`linf` must be above 0 and
# at most 1), which are checked before anything runs. The perturbation is float32 in units of [0, 1]; the project adds
# it, clips, and rounds to 256 levels.


# %%
@POISONS.add("stripes")
def stripes(clean: unlearnable.LabelledImages, crafting: Crafting, *, linf: Annotated[float, POSITIVE_FRACTION] = 16 / 255) -> Perturbation:
    """Return for each image the stripes of its class, each value -linf or linf, in units of [0, 1]."""
    _, height, width = clean.shape
    rows, columns = np.indices((height, width))
    patterns = []
    for label in range(clean.num_classes):
        angle, period = np.pi * label / clean.num_classes, 3 + label % 3
        across = rows * np.sin(angle) + columns * np.cos(angle)
        patterns.append(np.broadcast_to(np.where(across // period % 2, linf, -linf), clean.shape))
    return of_each_class(np.array(patterns, dtype=np.float32), clean)


# %% [markdown]
# It is known by its name now, as every other poison is.

# %%
made = DigitsOnPhotographs(name="digits", train_size=SIZE, test_size=SIZE // 4, seed=0).load()
clean, test = made.train, made.test
poisoned = unlearnable.craft("stripes", clean)
change = poisoned.images.astype(int) - clean.images
print("largest change:", np.abs(change).max(), "of 255 levels")

_, grid = plt.subplots(2, 8, figsize=(9, 2.4))
for label, column in enumerate(grid.T):
    place = np.flatnonzero(clean.labels == label)[0]
    column[0].imshow(poisoned.images[place].transpose(1, 2, 0))
    column[1].imshow(change[place].transpose(1, 2, 0)[:, :, 0], cmap="gray")
    for axes in column:
        axes.set(xticks=[], yticks=[])
grid[0, 0].set_ylabel("poisoned")
grid[1, 0].set_ylabel("change")
plt.show()

# %% [markdown]
# ## Compare it
#
# A fair comparison has the control (`none`), the same recipe for all, several seeds, and recoveries that know nothing
# of the poison. That is a small grid: the poison and the control, two recoveries and none, two seeds.

# %%
recipe = {"epochs": EPOCHS, "batch_size": 64, "learning_rate": 0.15, "nesterov": True, "warmup": 0.1}
recipe |= {"augmentation": {"crop": 4, "brightness": 0.2, "contrast": 0.2, "saturation": 0.2}, "clean": clean}
rows = []
for poison in ("none", "stripes"):
    images = unlearnable.craft(poison, clean)
    for recovery in ("none", "orthogonal_projection", "jpeg"):
        for seed in SEEDS:
            trained = unlearnable.train("tiny_cnn", images, test, recovery=recovery, seed=seed, **recipe)
            rows.append({"poison": poison, "recovery": recovery, "seed": seed, "accuracy": trained.accuracy})
cells = pd.DataFrame(rows)

# %% [markdown]
# Mean and the sample's standard deviation over seeds, as in the leaderboard. Judge a poison by its row's largest
# figure: somebody who wants to learn from your images takes the recovery that works best.

# %%
cells.pivot_table(
    "accuracy", "poison", "recovery", aggfunc=lambda found: f"{found.mean():.3f} ± {found.std():.3f} ({len(found)})", sort=False
)

# %% [markdown]
# ## Make it a package
#
# A package of its own makes the poison known to every command, without a change of this project. Copy
# `examples/plugin`, put the function above into it, and name it in its `pyproject.toml`:
#
# ```toml
# [project.entry-points."unlearnable.poisons"]
# stripes = "your_package"
# ```
#
# After `pip install -e .` the poison has a name in every configuration, study and audit.
#
# ## Put it onto the leaderboard
#
# Write a study in `conf/cifar10_fast/study/stripes.yml`, with the poisons, recoveries and seeds above, and run it.
# Then collect its cells:
#
# ```sh
# kedro study run stripes --env=cifar10_fast
# python -m benchmarks.results --collect stripes --env cifar10_fast --into docs/results/submissions/stripes --commit HASH
# python -m benchmarks.results --check docs/results/submissions/stripes
# ```
#
# Beside the cells goes `about.yml`, which says who measured what on which machine; CONTRIBUTING.md has its keys. Open
# a pull request with the folder. The leaderboard shows your rows when it is next built.
