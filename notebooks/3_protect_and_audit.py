# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Protect a folder of images, and audit it
#
# You publish images and do not want anybody to train on them. This lesson protects a folder, looks at the copies, and
# asks what a network learns from them anyway. Put your own images in place of the built-in ones: a folder for each
# class, PNG, JPEG, WEBP or BMP. Run it in the folder `notebooks` of the project.

# %%
import os
import re
import shlex
import sys
import tempfile
from html import unescape
from pathlib import Path

import matplotlib.pyplot as plt
from PIL import Image

from unlearnable.sources.digits import DigitsOnPhotographs

PYTHON = shlex.quote(sys.executable)  # whose path may have a blank
QUICK = os.environ.get("UNLEARNABLE_LESSONS") == "quick"  # the tests run the lesson with few images and one epoch
SIZE = 120 if QUICK else 6000
SMALL = "model=tiny_cnn,train.epochs=1,probe.clean_samples=20,probe.held_out=10,separability.iterations=2"
RECIPE = "model=tiny_cnn,train.epochs=7,train.learning_rate=0.15,train.augmentation.flip=false"  # of the built-in images

# %% [markdown]
# ## A folder of images
#
# Built-in images, written to a temporary folder. With your own, set `originals` to their folder, and `protected` to
# one that does not exist yet.

# %%
place = Path(tempfile.mkdtemp())
originals, protected = place / "originals", place / "protected"
made = DigitsOnPhotographs(name="digits", train_size=SIZE, test_size=10, seed=0).load().train
for number, (pixels, label) in enumerate(zip(made.images, made.labels, strict=True)):
    file = originals / f"digit-{label}" / f"{number:04d}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.transpose(1, 2, 0)).save(file)
print(len(list(originals.glob("*/*.png"))), "images in", len(list(originals.iterdir())), "classes")

# %% [markdown]
# ## Protect it
#
# `unlearnable protect ORIGINALS COPIES --poison=NAME` writes a copy of each image, of the same size and without loss.
# `lsp` adds a coarse pattern of colours to all images of a class, and is crafted in a second. `kedro poisons list`
# prints the others; those that train a network take longer.

# %%
os.chdir("..")  # the commands run in the project's folder
# !{PYTHON} -m unlearnable protect "{originals}" "{protected}" --poison=lsp > "{place}/protect.log" 2>&1
print(len(list(protected.glob("*/*.png"))), "copies, with", *sorted(file.name for file in protected.iterdir() if file.is_file()))

# %%
_, grid = plt.subplots(2, 8, figsize=(9, 2.4))
for column, file in enumerate(sorted(originals.glob("*/*.png"))[:: SIZE // 8][:8]):
    for axes, folder in zip(grid[:, column], (originals, protected), strict=True):
        axes.imshow(Image.open(folder / file.relative_to(originals)))
        axes.set(xticks=[], yticks=[])
for axes, title in zip(grid[:, 0], ("original", "protected"), strict=True):
    axes.set_ylabel(title)
plt.show()

# %% [markdown]
# ## Audit it
#
# The audit keeps a fifth of the originals for testing, and trains the same network on the rest of the originals and
# on their copies. Then it tries to undo the protection in three ways: Orthogonal Projection, JPEG, and a new last
# layer fitted to a few clean images.

# %%
settings = SMALL if QUICK else RECIPE
# !{PYTHON} -m unlearnable audit "{originals}" "{protected}" "--params={settings}" 2>&1 | grep -A 16 "Audit ("

# %% [markdown]
# ## Read the page
#
# The audit writes one page, a file without any link to elsewhere. Open it in a browser. Its first sentence is the
# verdict:

# %%
page = max(Path("data").glob("**/audit.html"), key=lambda path: path.stat().st_mtime if path.is_file() else 0)
text = unescape(re.sub(r"<style.*?</style>|<[^>]+>", " ", page.read_text(), flags=re.DOTALL))
lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
print("\n".join(lines[1:3]))

# %% [markdown]
# ## What a good verdict does not say
#
# The audit tries four ways to learn. Others exist, and new ones will be found. If the protection fails here, it has
# failed. If it holds here, it may still fail elsewhere. Run the audit with several seeds (`--params=seed=1`), since
# one training is one draw.
