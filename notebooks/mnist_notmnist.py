# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Digits and letters: does Langevin noise make a network say "I don't know"?
#
# LeNet-5 is trained on the 60,000 digits of MNIST by six methods (of seven that are set up). Then it is shown digits that it has not seen, and 10,000 letters of
# notMNIST, to which no answer is right. A talk that this project grew from claimed that SGD is sure of itself on letters (mean confidence
# near 1) while Langevin dynamics, "SGD with noise", has a mean confidence of 0.015. Two things about that number:
#
# - The largest of ten probabilities cannot be below 0.1. A mean confidence of 0.015 is an artefact: *logarithms* of probabilities were averaged over
#   draws of the weights, and the loader shuffled the images, so that each term belonged to another image.
# - The dynamics used the mean loss, no prior, and noise of variance equal to the learning rate: a temperature of N/2 = 30,000. Here prior and
#   likelihood are those of the model, the likelihood of a batch counts N/n, and the temperature is 1.
#
# The runs take about an hour on two cores. They are made by `python tests/benchmarks/mnist.py --out notebooks/mnist_runs`, which may be stopped
# and taken up; this notebook reads their files.

# %%
import os
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import bnn_zoo as bz

ROOT = Path.cwd() if (Path.cwd() / "tests").exists() else Path.cwd().parent
sys.path.insert(0, str(ROOT / "tests" / "benchmarks"))
import mnist

RUNS = Path(os.environ.get("BNN_ZOO_MNIST_RUNS", ROOT / "notebooks" / "mnist_runs"))
EPOCHS = 30
# %matplotlib inline

# %% [markdown]
# ## The model and the methods
#
# The prior is N(0, 1/fan-in) for every weight and bias. Every method starts from torch's default initialisation and sees batches of 128, without
# augmentation. ε/2 · N is the learning rate of the mean loss. "SGD" is SGHMC at temperature 0, so it has the prior as its weight decay:
# the same code with the noise turned off.

# %%
print(mnist.model(1.0).net)
for name, backend in mnist.methods(EPOCHS).items():
    changed = {k: v for k, v in vars(backend).items() if v != type(backend).__dataclass_fields__[k].default}
    print(f"\n{name}: {type(backend).__name__}, prior sd {mnist.GAIN[name]:g} / sqrt(fan-in)")
    for key, value in changed.items():
        print(f"    {key} = {value}")

# %% [markdown]
# ## Results
#
# On digits: error, negative log likelihood and expected calibration error of the averaged probabilities. On letters: mean confidence, and the AUROC of
# telling letters from digits by confidence or by entropy. The column before the last repeats the mistake: exp of the mean over draws of log p, each draw
# with its images in another order. One chain each, one seed.

# %%
names = [n for n in mnist.methods(EPOCHS) if (RUNS / f"{n.replace(' ', '_')}.npz").exists()]
table = pd.DataFrame({n: mnist.judge(RUNS / f"{n.replace(' ', '_')}.npz") for n in names}).T
table.astype({"draws": int, "CPU s": int}).round(4)

# %%
files = {n: np.load(RUNS / f"{n.replace(' ', '_')}.npz") for n in names}
digits = {n: f["digits"] / f["digits"].sum(-1, keepdims=True) for n, f in files.items()}
letters = {n: f["letters"] / f["letters"].sum(-1, keepdims=True) for n, f in files.items()}
labels = files[names[0]]["labels"]

# %% [markdown]
# ## Confidence, done right
#
# Probabilities are averaged over draws for each image, then the largest is taken. The axis begins at 1/10.

# %%
fig, axes = plt.subplots(len(names), 2, figsize=(10, 3.1 * len(names)), layout="constrained")
for row, name in zip(axes, names, strict=True):
    bz.plots.plot_confidence({f"{name}: digits": digits[name]}, {"letters": letters[name]}, ax=row)
plt.show()

# %% [markdown]
# ## The artefact beside the right number

# %%
right, wrong = table["confidence on letters"], table["artefact: exp of shuffled mean log p"]
fig, ax = plt.subplots(figsize=(8, 3.2), layout="constrained")
at = np.arange(len(names))
ax.bar(at - 0.2, right, 0.4, label="mean over images of the largest averaged probability")
ax.bar(at + 0.2, wrong, 0.4, label="the same of exp(mean log p), draws shuffled apart")
ax.axhline(0.1, color="0.3", lw=1, ls="--", label="1/10, the least that it can be")
ax.set_xticks(at, names, rotation=20)
ax.set_ylabel("mean confidence on letters")
ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.25))
plt.show()

# %% [markdown]
# With one draw there is nothing to average, and the two agree. With more the product of ten-class probabilities of *different* images is small for
# every class, whatever the network thinks.
#
# ## Calibration on digits, and what refusing to answer buys

# %%
fig, (left, right_ax) = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
bz.plots.reliability(digits, labels, ax=left)
bz.plots.plot_risk_coverage(digits, labels, ax=right_ax)
plt.show()

# %% [markdown]
# ## The claim, judged

# %%
sgd = table.loc["SGD"]
better = (table[["NLL", "ECE"]] < sgd[["NLL", "ECE"]]).join(table[["AUROC (confidence)", "AUROC (entropy)"]] > sgd[["AUROC (confidence)", "AUROC (entropy)"]])
better["error <= 1.0 %"] = table["error %"] <= 1.0
better.drop(index="SGD").assign(all_of_NLL_ECE_AUROC=lambda t: t["NLL"] & t["ECE"] & t["AUROC (entropy)"])

# %% [markdown]
# **It does not hold as it was made.** No network says "I don't know" to letters: the mean confidence on them falls from 0.69 (SGD) to 0.63 (SGLD and pSGLD), 0.61
# (cyclical SGHMC), 0.58 (MC dropout) and 0.53 (mean field), not to 0.015. The artefact puts every method with more than one draw between 0.02 and 0.05, below the
# least that a maximum of ten probabilities can be, and says nothing about the network.
#
# **What is left of it is real and small.** Noise separates letters from digits a little better: the AUROC of the entropy is 0.965 for SGD and 0.966 to 0.976 for the
# Langevin samplers and mean field; cyclical SGHMC has the best. MC dropout does not gain (0.964).
#
# **It is not free.** At 20 epochs every one of these methods is worse than SGD on the digits themselves: NLL 0.034 to 0.058 against 0.027, and larger calibration
# errors. No method here beats SGD on NLL, ECE and AUROC together. Two reasons can be seen, not told apart: the samplers' configurational temperature is 0.19 (SGLD), 0.70
# (pSGLD) and 0.11 (cyclical SGHMC) where 1 was asked for, so they have not spread over the posterior in 20 epochs, and one chain was run of each; and at temperature 1 under this prior SGD's single optimum may just predict
# digits better (the "cold posterior" effect, Wenzel et al. 2020).
#
# A deep ensemble of five belongs to this comparison (`mnist.py --methods "deep ensemble"`); its run was not finished when this page was made.
