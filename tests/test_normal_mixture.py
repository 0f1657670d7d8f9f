"""A mixture over many numbers: against torch's, near its components and far from them."""

import math

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, Normal

from bnn_zoo.laws import NormalMixture

BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


@BOTH
def test_value_and_gradients(dtype):
    """Numbers that are a thousand sds from all components but one, and from all of them."""
    generator = torch.Generator().manual_seed(0)
    share = torch.tensor([0.9, 0.08, 0.02], dtype=dtype)
    loc, scale = torch.tensor([0.0, 0.5, -0.6], dtype=dtype), torch.tensor([0.3, 1e-3, 0.02], dtype=dtype)
    value = torch.cat([loc + 0.5 * scale, torch.randn(40, generator=generator, dtype=dtype), torch.tensor([30.0, -80.0])])
    leaves = [t.clone().requires_grad_() for t in (share, loc, scale, value.to(dtype))]
    ours = NormalMixture(*leaves[:3], (45,)).log_prob(leaves[3])
    theirs = MixtureSameFamily(Categorical(probs=leaves[0]), Normal(leaves[1], leaves[2])).log_prob(leaves[3]).sum()
    slack = 1e-11 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(ours, theirs, rtol=slack, atol=0.0)
    mine, other = (torch.autograd.grad(v, leaves) for v in (ours, theirs))
    on_simplex = mine[0] - (mine[0] * share).sum()  # theirs divides shares by their sum
    torch.testing.assert_close([on_simplex, *mine[1:]], list(other), rtol=10 * slack, atol=slack)
    assert all(bool(torch.isfinite(t).all()) for t in mine)


@BOTH
def test_where_the_density_is_nothing(dtype):
    law = NormalMixture(*(torch.tensor(v, dtype=dtype) for v in ([0.5, 0.5], [0.0, 1.0], [0.1, 0.1])), (1,))
    assert float(law.log_prob(torch.tensor([math.inf], dtype=dtype))) < -1e38
    assert math.isnan(float(law.log_prob(torch.tensor([math.nan], dtype=dtype))))
