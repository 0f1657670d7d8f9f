"""Simulation-based calibration: slow, minutes for each sampler. Its arithmetic is tested fast."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import bnn_zoo as bz

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
import sbc


def test_p_values_see_a_narrow_posterior():
    rng = np.random.default_rng(0)
    fair = rng.integers(0, sbc.DRAWS + 1, (512, 4))
    narrow = np.clip((rng.beta(0.6, 0.6, (512, 4)) * (sbc.DRAWS + 1)).astype(int), 0, sbc.DRAWS)
    assert min(sbc.p_values(fair).values()) > 0.01
    assert max(sbc.p_values(narrow).values()) < 1e-4


def test_each_replicate_sees_its_own_data():
    x = torch.randn(sbc.ROWS, 2, generator=torch.Generator().manual_seed(1)).double()
    y = torch.randn(3, sbc.ROWS, generator=torch.Generator().manual_seed(2)).double()
    many = sbc.Replicates(bz.LogJoint(sbc.model(), (x, y[0]), rows_per_chain=True), (x.expand(3, -1, -1), y))
    position = torch.randn(3, many.dim, generator=torch.Generator().manual_seed(3)).double()
    one_by_one = [bz.LogJoint(sbc.model(), (x, y[i]))(position[i : i + 1])[0] for i in range(3)]
    torch.testing.assert_close(many(position)[0], torch.cat(one_by_one))


@pytest.mark.slow
@pytest.mark.parametrize("name", sbc.SAMPLERS)
def test_ranks_are_uniform(name):
    """p values of four quantities; the smallest of four fair ones is below 0.0025 once in a hundred runs."""
    p = sbc.p_values(sbc.ranks(sbc.SAMPLERS[name], 256))
    assert min(p.values()) > 0.0025, p


@pytest.mark.slow
def test_a_wrong_sampler_fails():
    """MCLMC far beyond its step size is biased, and the ranks say so."""
    p = sbc.p_values(sbc.ranks(replace(sbc.SAMPLERS["MCLMC"], energy_variance=1.0), 256))
    assert min(p.values()) < 1e-4, p
