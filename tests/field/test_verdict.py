"""After ``fit``: one warning where chains disagree or something went wrong, with the remedy; none where all is well."""

import warnings
from dataclasses import dataclass

import pyro
import pyro.distributions as dist
import pytest
import torch
from targets import orthogonal_design, regression, regression_posterior
from torch.utils.data import Dataset

import bnn_zoo as bz
from bnn_zoo.diagnostics.agreement import rhat_limit, worst_rhat
from bnn_zoo.posterior import Posterior
from bnn_zoo.types import Draws
from bnn_zoo.verdict import judged

pytestmark = pytest.mark.filterwarnings("default")  # also those that the project's settings let pass in other tests


@dataclass(frozen=True)
class Given:
    """A third party's backend: draws that were made before."""

    sites: dict
    stats: dict
    gradients: int = 0

    def run(self, model, data, *, seed=0, device=None, progress=True):
        attrs = {"backend": "Given", "gradients": self.gradients}
        return Draws({k: v.clone() for k, v in self.sites.items()}, dict(self.stats), {}, attrs)


def said(model, data, sites, gradients=0, **stats):
    """The warnings of a fit that gives these draws."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bz.fit(model, data, Given(sites, stats, gradients), progress=False)
    return [str(w.message) for w in caught]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------ regression: f and sites agree or disagree together

X, Y = (t.float() for t in orthogonal_design(32))
MEAN, COVARIANCE = (t.float() for t in regression_posterior(X.double(), Y.double()))


def exact(draws, chains=4, seed=0):
    """Independent draws of ``regression``'s own posterior."""
    return {"w": MEAN + normal(chains, draws, 4, seed=seed) * COVARIANCE.diagonal().sqrt()}


@pytest.mark.parametrize("draws", [1, 3, 4, 10, 40, 300])
def test_silence_on_independent_draws_however_few(draws):
    for seed in range(10):
        assert said(regression, (X, Y), exact(draws, seed=seed), lp=normal(4, draws, seed=seed)) == []


def test_silence_on_draws_that_are_correlated_but_mix():
    """Autoregressive draws, a quarter of them effective, in runs long and short."""
    for seed, draws in enumerate((500, 500, 100, 100, 60, 60, 30, 30)):
        noise = normal(4, 100 + draws, 4, seed=seed)
        chain = torch.zeros_like(noise)
        for i in range(1, noise.shape[1]):
            chain[:, i] = 0.6 * chain[:, i - 1] + 0.8 * noise[:, i]
        assert said(regression, (X, Y), {"w": MEAN + chain[:, 100:] * COVARIANCE.diagonal().sqrt()}) == []


def test_a_chain_elsewhere_is_one_warning_with_numbers_and_remedy():
    sites = exact(100)
    sites["w"][2] += 5 * COVARIANCE.diagonal().sqrt()
    (text,) = said(regression, (X, Y), sites)
    assert "Given: the chains disagree: R-hat of f" in text and "effective of 400 draws" in text
    assert "init" in text and "longer" in text and "of w" in text


def test_findings_are_kept_and_exported():
    sites = exact(100)
    sites["w"][2] += 5 * COVARIANCE.diagonal().sqrt()
    with pytest.warns(UserWarning, match="disagree"):
        posterior = bz.fit(regression, (X, Y), Given(sites, {}), progress=False)
    assert posterior.draws.attrs["max_rhat_f"] > 1.5 and "the chains disagree" in posterior.draws.attrs["doubts"]
    exported = posterior.to_inference_data()
    assert "the chains disagree" in exported.posterior.attrs["doubts"]
    assert bz.fit(regression, (X, Y), Given(exact(100), {}), progress=False).draws.attrs["max_rhat_f"] < 1.05


def test_one_chain_cannot_disagree():
    assert said(regression, (X, Y), exact(50, chains=1)) == []


def test_draws_that_are_not_finite_are_counted():
    sites = exact(50)
    sites["w"][1, 40:, 2] = torch.nan
    (text,) = said(regression, (X, Y), sites)
    assert "10 of 200 draws are not finite, at sites ['w']" in text


def test_chains_that_never_moved_are_counted():
    sites = exact(50)
    sites["w"][1] = sites["w"][1, :1]
    (text,) = said(regression, (X, Y), sites)
    assert "1 of 4 chains never moved" in text


def test_what_a_backend_doubts_is_said_in_the_same_warning():
    class Doubtful(Given):
        def run(self, *args, **kwargs):
            draws = super().run(*args, **kwargs)
            draws.attrs["doubts"] = "the moon was full"
            return draws

    sites = exact(100)
    sites["w"][2] += 1
    with pytest.warns(UserWarning, match=r"the chains disagree.*the moon was full") as caught:
        bz.fit(regression, (X, Y), Doubtful(sites, {}), progress=False)
    assert len(caught) == 1


# ------------------------------------------------------------------ models whose f is blind


def either_sign(y):
    m = pyro.sample("m", dist.Normal(0.0, 10.0))
    with pyro.plate("rows", len(y)):
        pyro.sample("y", dist.Normal(m.abs(), 0.5), obs=y)


Y4 = 4 + 0.5 * normal(20)


def test_sites_count_where_what_the_model_computes_is_blind():
    signs = torch.tensor([1.0, 1.0, -1.0, 1.0])[:, None]
    (text,) = said(either_sign, (Y4,), {"m": signs * (4 + 0.1 * normal(4, 60))})
    assert "of m" in text and "predictions may be used" in text


def both_signs(log_joint, chains, generator):
    return torch.tensor([3.0, -3.0, 5.0, -5.0])[:chains, None]


@pytest.mark.parametrize(
    "backend",
    [
        bz.NUTS(warmup=60, draws=60, init=both_signs),
        bz.SGLD(steps=600, step_size=0.01, init=both_signs),
        bz.MeanField(chains=4, steps=300, draws=40, init=both_signs),
        bz.Laplace(chains=4, steps=300, step_size=0.1, draws=40, init=both_signs),
    ],
    ids=lambda backend: type(backend).__name__,
)
def test_chains_in_two_modes_say_so(backend):
    with pytest.warns(UserWarning, match="the chains disagree"):
        posterior = bz.fit(either_sign, (Y4,), backend, seed=1, progress=False)
    assert posterior.draws.sites["m"].mean(1).sign().unique().numel() == 2


def test_members_of_an_ensemble_are_meant_to_differ():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bz.fit(either_sign, (Y4,), bz.DeepEnsemble(chains=4, steps=50), progress=False)


# ------------------------------------------------------------------ networks


def net_draws(chains=4, draws=40, hidden=3):
    """Draws close around one network ``MLP(1, 1)``, in float32."""
    shapes = {"0.weight": (hidden, 1), "0.bias": (hidden,), "2.weight": (1, hidden), "2.bias": (1,)}
    sites = {n: normal(*s, seed=i) + 0.05 * normal(chains, draws, *s, seed=i + 9) for i, (n, s) in enumerate(shapes.items())}
    return sites | {"noise": 0.3 + 0.01 * normal(chains, draws, seed=20).abs()}


def network(activation=torch.nn.Tanh):
    net = torch.nn.Sequential(torch.nn.Linear(1, 3), activation(), torch.nn.Linear(3, 1))
    return bz.BNN(net, bz.priors.Normal(), bz.likelihoods.Gaussian())


LINE = torch.linspace(-1, 1, 30)[:, None], torch.zeros(30)


def noise_name(model):
    return next(s.name for s in bz.density.LogJoint(model, LINE).sites if s.name not in dict(model.net.named_parameters()))


def test_swapped_hidden_units_are_no_disagreement():
    model, sites = network(), net_draws()
    sites[noise_name(model)] = sites.pop("noise")
    turn = [1, 2, 0]
    sites["0.weight"][1], sites["0.bias"][1] = sites["0.weight"][1][:, turn], sites["0.bias"][1][:, turn]
    sites["2.weight"][1] = sites["2.weight"][1][..., turn]
    assert said(model, LINE, sites) == []


def test_a_noise_that_disagrees_is_named():
    model, sites = network(), net_draws()
    name = noise_name(model)
    sites[name] = sites.pop("noise")
    sites[name][3] += 0.2
    (text,) = said(model, LINE, sites)
    assert f"of {name}" in text


def test_chains_that_differ_only_beyond_the_data_disagree():
    """A ReLU that opens at 1.2: rows lie within ±1, and only there the chains compute the same."""
    model, sites = network(torch.nn.ReLU), {n: 0 * v for n, v in net_draws().items() if n != "noise"}
    sites["0.weight"] += 1.0
    sites["0.bias"] -= 1.2
    sites["2.weight"] += torch.tensor([0.0, 0.0, 0.0, 2.0])[:, None, None, None]
    sites = {n: v + 1e-4 * normal(*v.shape, seed=i) for i, (n, v) in enumerate(sites.items())}
    sites[noise_name(model)] = net_draws()["noise"]
    at_the_data = bz.diagnostics.rhat(Posterior(model, LINE, Draws(sites)).predict(LINE[0]).f)
    assert at_the_data.max() < 1.05
    (text,) = said(model, LINE, sites)
    assert "R-hat of f" in text


def test_a_long_run_is_looked_at_in_more_rows():
    """One chain has a hat that is nowhere but on a twentieth of the data, between two of the few rows of a short run."""
    model, sites = network(torch.nn.ReLU), {n: 0 * v for n, v in net_draws().items() if n != "noise"}
    sites["0.weight"] += 1.0
    sites["0.bias"] += torch.tensor([0.05, 0.0, -0.05])
    sites["2.weight"][1] += 200 * torch.tensor([[1.0, -2.0, 1.0]])
    sites["2.bias"] += 0.1 * normal(4, 40, 1)
    sites[noise_name(model)] = net_draws()["noise"]
    line = torch.linspace(-1, 1, 300)[:, None], torch.zeros(300)
    rhat = bz.diagnostics.rhat(Posterior(model, line, Draws(sites)).predict(line[0]).f)
    assert (rhat > 1.1).sum() <= 16 and rhat.max() > 1.4
    assert said(model, line, sites) == []
    (text,) = said(model, line, sites, gradients=100_000)
    assert "R-hat of f" in text


class Rows(Dataset):
    """Counts what is read, and uses torch's global random state as random transforms do."""

    def __init__(self):
        self.reads = 0

    def __len__(self):
        return 5_000

    def __getitem__(self, i):
        self.reads += 1
        return torch.full((1,), i / 5_000) + 0.0 * torch.rand(1), torch.tensor(0.0)


def test_a_data_set_is_not_read_through_and_leaves_the_random_state_alone():
    model, sites, rows = network(), net_draws(), Rows()
    sites[noise_name(model)] = sites.pop("noise")
    sites["2.bias"][1] += 1.0
    state = torch.get_rng_state()
    with pytest.warns(UserWarning, match="R-hat of f"):
        judged(Posterior(model, rows, Draws(sites)))
    assert rows.reads <= 20 and (torch.get_rng_state() == state).all()


# ------------------------------------------------------------------ divergences, energies, limits


def funnel():
    v = pyro.sample("v", dist.Normal(0.0, 3.0))
    pyro.sample("z", dist.Normal(torch.zeros(5), (0.5 * v).exp()).to_event(1))


@pytest.mark.slow
def test_divergences_that_thinning_leaves_out_are_counted():
    backend = bz.NUTS(chains=4, warmup=60, draws=6, thinning=10, target_accept=0.6, max_tree_depth=6)
    with pytest.warns(UserWarning, match=r"of 240 transitions diverged"):
        draws = bz.fit(funnel, (), backend, progress=False).draws
    assert draws.attrs["divergences"] >= int(draws.stats["diverging"].sum()) > 0


def test_a_single_divergence_is_said():
    said_of = bz.NUTS().doubts({"lp": torch.zeros(4, 50), "energy": normal(4, 50)}, torch.tensor([0, 1, 0, 0]))
    assert len(said_of) == 1 and said_of[0].startswith("1 of 200 transitions diverged (0.5%)")


def test_energies_that_hardly_change_are_said():
    slow = normal(4, 500).cumsum(1)
    stats = {"lp": torch.zeros(4, 500), "energy": slow}
    none = torch.zeros(4, dtype=torch.long)
    assert "E-BFMI 0.0" in bz.NUTS().doubts(stats, none)[0]
    assert bz.NUTS().doubts(stats | {"energy": normal(4, 500)}, none) == []
    assert bz.RandomWalk().doubts(stats, none) == []


def test_trajectories_that_are_cut_are_said():
    """0.002 wants 1,000 leapfrogs for a length of 2; a cap of 100 leaves a tenth of it, one of 600 more than half."""
    stats = {"lp": torch.zeros(4, 500), "energy": normal(4, 500), "step_size": torch.full((4, 500), 0.002)}
    none = torch.zeros(4, dtype=torch.long)
    (text,) = bz.HMC(max_leapfrogs=100).doubts(stats, none)
    assert "cut to max_leapfrogs = 100 steps where trajectory_length = 2 asks for 1000" in text
    assert bz.HMC(max_leapfrogs=600).doubts(stats, none) == []
    assert bz.HMC(max_leapfrogs=100, trajectory_length=0.3).doubts(stats, none) == []


def test_a_fit_whose_trajectories_are_cut_warns():
    """A normal of 300 dimensions needs more than two steps for a length of 2."""

    def normal_of_300():
        pyro.sample("z", dist.Normal(torch.zeros(300), 1.0).to_event(1))

    with pytest.warns(UserWarning, match="cut to max_leapfrogs = 1 steps"):
        bz.fit(normal_of_300, (), bz.HMC(chains=2, warmup=100, draws=100, max_leapfrogs=1), progress=False)


def test_steps_taken_back_are_said_of_the_worst_chain():
    stats = {"lp": torch.zeros(4, 500)}
    assert bz.MCLMC().doubts(stats, torch.tensor([0, 9, 0, 2])) == []
    (text,) = bz.MCLMC().doubts(stats, torch.tensor([0, 2000, 0, 0]))
    assert "5.00% of the steps (in the worst chain 20.00%)" in text


def test_the_limit_is_passed_once_in_a_thousand_runs():
    """Of 2,000 single scalars two should pass; more than nine would happen once in 20,000 such tests."""
    draws = torch.randn(4, 30, 2000, generator=torch.Generator().manual_seed(0))
    assert int((bz.diagnostics.rhat(draws) > rhat_limit(4, 30, 1)).sum()) <= 9
    assert rhat_limit(4, 30, 1) < rhat_limit(4, 30, 100) < rhat_limit(4, 10, 100)


def test_the_worst_scalar_is_found():
    draws = normal(4, 100, 3, 2)
    draws[0, :, 1, 1] += 3
    worst = worst_rhat(draws)
    assert worst.at == 3 and worst.disagree and worst.rhat == pytest.approx(float(bz.diagnostics.rhat(draws[:, :, 1, 1])))
    assert worst_rhat(draws[:1]) is None and worst_rhat(draws[:, :3]) is None and worst_rhat(torch.ones(4, 10)) is None
