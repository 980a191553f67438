# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The same through Kedro
#
# Lesson 1 called the functions one by one. Here the project does it: every setting is in a file, every result is on
# disk, and a result whose settings have not changed is not made again. This lesson runs one *cell* (one dataset,
# poison, recovery, network and seed), and loads what it left. Run it in the folder `notebooks` of the project.

# %%
import logging
import os

logging.disable(logging.WARNING)  # a run's log is long; leave this line out to see it
QUICK = os.environ.get("UNLEARNABLE_LESSONS") == "quick"  # the tests run the lesson with few images and two epochs
ENV = "test" if QUICK else "base"

# %% [markdown]
# ## Start the project
#
# The extension gives four names: `session` runs pipelines, `pipelines` holds them, `catalog` holds the datasets, and
# `context` the parameters. `env` names a folder of `conf`, which chooses the images and the recipes that fit them.

# %%
# %load_ext kedro.ipython
# %reload_kedro --env=$ENV --params=poison=lsp,seed=0

# %% [markdown]
# ## What is going to run
#
# `orthoproj` is the whole job: make the images, craft the poison, train on clean, poisoned and recovered images, and
# write the scores.

# %%
for node in pipelines["orthoproj"].nodes:
    print(f"{node.name}: {', '.join(node.inputs)} -> {', '.join(node.outputs)}")

# %%
context.params["train"]

# %% [markdown]
# ## Run it
#
# On two cores this takes one to two minutes; then it ends with a table. `only_missing_outputs` skips what is there
# already. Run this cell twice (after `%reload_kedro`, since a session runs once) and the second run ends at once.

# %%
done = session.run(pipeline_names=["orthoproj"], only_missing_outputs=True)

# %% [markdown]
# ## Load what it made
#
# The catalog checks each file when it reads it. `scores` is the result of the cell, `history` has a row for each
# epoch.

# %%
scores = catalog.load("scores")
scores["accuracy"]

# %%
history = catalog.load("history")
history.pivot(index="epoch", columns="training", values="test_accuracy").plot(ylabel="accuracy on clean test images", ylim=(0, 1))
# %% [markdown]
# Images are `LabelledImages`, as in lesson 1, and checkpoints hold the weights of the networks.

# %%
poisoned = catalog.load("poisoned_train")
print(poisoned.images.shape, poisoned.images.dtype)
last = catalog.load("clean_checkpoints")[-1]
print(last.epoch, last.measured)

# %% [markdown]
# ## Where is it, and why there?
#
# A path names dataset, poison, recovery, network and seed as far as they decide the file, and ends with the hash of
# its *recipe*: every setting that decides its bytes. Change one of them and the path changes, so a new setting never
# gets an old answer.

# %%
for name in ("poisoned_train", "recovered_train", "scores"):
    print(context.config_loader.filepath(name))

# %% [markdown]
# ## Another recovery
#
# `recover` runs any recovery. The poison and both trainings have the same recipe as above, so they are not made
# again.

# %%
# %reload_kedro --env=$ENV --params=poison=lsp,seed=0,recovery=jpeg
done = session.run(pipeline_names=["recover"], only_missing_outputs=True)
catalog.load("scores")["accuracy"]

# %% [markdown]
# ## Where to go from here
#
# - The command line does the same: `kedro run --pipeline=recover --params=poison=lsp,recovery=jpeg --only-missing-outputs`.
# - `make mlflow` shows every run with its parameters and curves, `make viz` the graph.
# - A *study* is a grid of such cells: `kedro study run recoveries --env=cifar10_small --dry-run`.
