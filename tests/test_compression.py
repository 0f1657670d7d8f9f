"""Posterior to small network: rules by hand, surgery against the whole network, files bit for bit, refusals that help."""

import zlib

import numpy as np
import pytest
import torch
from torch import nn

import bnn_zoo as bz
from bnn_zoo.compression import coding
from bnn_zoo.compression.chain import Select
from bnn_zoo.compression.draws import moments
from bnn_zoo.compression.files import to_bytes
from bnn_zoo.compression.quantise import Grid, Table
from bnn_zoo.compression.surgery import architecture, cut
from bnn_zoo.laws import NormalMixture

RULES = bz.compression


def posterior(net, *, draws=40, chains=1, likelihood=None, sd=0.1, rows=None, scale=None, seed=0, **others):
    """Draws around the net's own weights: no sampler is needed to see what becomes of them."""
    generator = torch.Generator().manual_seed(seed)
    sites = {}
    for name, p in net.named_parameters():
        spread = sd if scale is None else scale[name]
        noise = torch.randn((chains, draws, *p.shape), generator=generator)
        sites[name] = p.detach() + spread * noise * (draws > 1)
    model = bz.BNN(net, bz.priors.Normal(1.0), likelihood or bz.likelihoods.Categorical())
    x = torch.rand(12, 1, 28, 28) if rows is None else rows
    return bz.Posterior(model, (x, torch.zeros(len(x), dtype=torch.long)), bz.Draws(sites | others))


def mlp():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3))


ROWS = torch.linspace(-1.0, 1.0, 60).reshape(12, 5)


class TestMoments:
    def test_of_draws(self, monkeypatch):
        """Against numpy, read in blocks of three draws."""
        monkeypatch.setattr("bnn_zoo.compression.draws.NUMBERS", 3 * 40)
        given = posterior(mlp(), rows=ROWS)
        found = moments(given)
        for name, values in given.draws.sites.items():
            np.testing.assert_allclose(found.mean[name], values[0].double().numpy().mean(0), rtol=1e-5, atol=1e-7)
            np.testing.assert_allclose(found.sd[name], values[0].double().numpy().std(0, ddof=1), rtol=1e-5)
        assert found.draws == 40

    def test_of_what_a_handler_makes(self):
        """Weights of a non-centred model are products of its sites."""
        net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
        model = bz.BNN(net, bz.priors.Normal(bz.priors.HalfCauchy(1.0)), bz.likelihoods.Gaussian(0.1))
        shapes = {"0.weight_scale": (), "0.weight_decentered": (3, 2), "2.weight_scale": (), "2.weight_decentered": (1, 3)}
        sites = {
            n: torch.rand(1, 30, *s)
            for n, s in (shapes | {"0.bias": (3,), "2.bias": (1,), "0.bias_scale": (), "2.bias_scale": ()}).items()
        }
        data = (torch.randn(9, 2), torch.randn(9))
        made = bz.Posterior(bz.handlers.NonCentred(model, "*.weight"), data, bz.Draws(sites))
        product = sites["0.weight_decentered"][0] * sites["0.weight_scale"][0].reshape(-1, 1, 1)
        torch.testing.assert_close(moments(made).mean["0.weight"], product.mean(0))


class TestRules:
    def test_signal_to_noise(self):
        given = bz.compression.Moments(
            {"w": torch.tensor([[1.0, -0.1], [0.3, 0.0]]), "b": torch.tensor([0.0, 0.0])},
            {"w": torch.tensor([[1.0, 1.0], [1.0, 1.0]]), "b": torch.tensor([1.0, 1.0])},
            100,
        )
        assert RULES.SignalToNoise(0.22)(given)["w"].tolist() == [[True, False], [True, False]]
        # ‖mean‖/‖sd‖ of the second column is .07, of the second row, without it, .3
        assert RULES.SignalToNoise(0.0, units=0.2)(given)["w"].tolist() == [[True, False], [True, False]]
        assert RULES.SignalToNoise(0.0, units=0.5)(given)["w"].tolist() == [[True, False], [False, False]]

    def test_magnitude(self):
        given = bz.compression.Moments({"a": torch.tensor([[3.0, -4.0]]), "b": torch.tensor([[0.5, 1.0]])}, {}, 1)
        assert {n: m.tolist() for n, m in RULES.Magnitude(0.5)(given).items()} == {
            "a": [[True, True]],
            "b": [[False, False]],
        }
        assert RULES.Magnitude(0.5, each=True)(given)["b"].tolist() == [[False, True]]

    def test_fixed_point(self):
        """The step is the harmonic spread of the weights that stay, three bytes long, and rounding costs what it says."""
        sd = torch.tensor([[0.1, 0.2, 50.0]])
        given = bz.compression.Moments({"w": torch.ones(1, 3)}, {"w": sd}, 100)
        mask = torch.tensor([[True, True, False]])
        code = RULES.FixedPoint(0.5)(given, {"w": mask}, None)["w"]
        expected = 0.5 * ((0.1**-2 + 0.2**-2) / 2) ** -0.5
        assert isinstance(code, Grid) and abs(code.step / expected - 1.0) < 2**-8
        assert code.bits(code.indices(torch.tensor([[3.2 * code.step, -7.9 * code.step]]))) == 5

    def test_clusters(self):
        law = NormalMixture(
            torch.tensor([0.9, 0.05, 0.05]), torch.tensor([0.0, 0.5, -1.0]), torch.tensor([0.05, 0.1, 0.1]), (1, 4)
        )
        table = Table.of(law)
        values = torch.tensor([0.02, 0.45, -0.8, 0.0])
        assert table.values(table.indices(values)).tolist() == [0.0, 0.5, -1.0, 0.0]
        assert torch.equal(table.found(torch.tensor([-1.0, 0.5, 0.0])), torch.tensor([2, 1, 0]))


class TestSurgery:
    @pytest.mark.parametrize(
        "make, shape",
        [
            (bz.nets.LeNet300100, (1, 28, 28)),
            (bz.nets.LeNet5Caffe, (1, 28, 28)),
            (lambda: bz.nets.VGG(11, width=8), (3, 32, 32)),
            (lambda: bz.nets.VGG(11, width=8, norm=lambda c: nn.GroupNorm(2, c)), (3, 32, 32)),
            (mlp, (5,)),
        ],
        ids=["LeNet-300-100", "LeNet-5-Caffe", "VGG-FRN", "VGG-GroupNorm", "MLP"],
    )
    def test_same_outputs(self, make, shape):
        """Weights, rows and columns gone at random; cut once, and cut again."""
        torch.manual_seed(0)
        net, x = make().double(), torch.randn(4, *shape, dtype=torch.float64)
        with torch.no_grad():
            for p in net.parameters():
                p.add_(0.3 * torch.randn_like(p))
                if p.dim() >= 2:
                    p *= torch.rand_like(p) > 0.4
                    p[torch.rand(p.shape[0]) < 0.4] = 0.0
                    p[:, torch.rand(p.shape[1]) < 0.4] = 0.0
            small = cut(net, {n: p.detach()[None] for n, p in net.named_parameters()})[0]
            again = cut(small, {n: p.detach()[None] for n, p in small.named_parameters()})[0]
            torch.testing.assert_close(small(x), net(x), rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(again(x), net(x), rtol=1e-12, atol=1e-12)
        before, after = (sum(p.numel() for p in n.parameters()) for n in (net, small))
        assert after < before or "VGG-GroupNorm" in make.__qualname__ or any(isinstance(m, nn.GroupNorm) for m in net)

    def test_units_that_do_nothing_are_found_exactly(self):
        """By hand: units without inputs, without outputs, and those that only such units need."""
        net = bz.nets.LeNet5Caffe()
        w = {n: torch.rand_like(p) + 0.1 for n, p in net.named_parameters()}
        w["0.weight"][[3, 7]] = 0.0  # two channels that are constants
        w["2.weight"][:, 5] = 0.0  # one that nothing looks at
        w["2.weight"][10:50] = 0.0  # constants
        w["5.weight"][:, : 16 * 2] = 0.0  # the first two channels of the second layer: all sixteen places
        w["5.weight"][:, 16 * 2 : 16 * 2 + 4] = 0.0  # four places of the third
        w["7.weight"][:, 100:] = 0.0
        small = cut(net, {n: t[None] for n, t in w.items()})[0]
        assert architecture(net) == "20-50-800-500" and architecture(small) == f"17-8-{8 * 16 - 4}-100"
        assert next(m for m in small if isinstance(m, Select)).size == 8 * 16

    def test_a_constant_beyond_a_border_stays(self):
        """relu(b) > 0 is no constant for a layer that pads with zeros; relu(b) = 0 is."""
        net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 3, padding=1), nn.Flatten(), nn.Linear(2 * 16, 2))
        w = {n: torch.rand_like(p)[None] for n, p in net.named_parameters()}
        w["0.weight"][0, :2] = 0.0
        w["0.bias"][0] = torch.tensor([0.5, -0.5, 0.1])
        small = cut(net, w)[0]
        assert small[0].out_channels == 2 and small[2].in_channels == 2
        with torch.no_grad():
            for n, p in net.named_parameters():
                p.copy_(w[n][0])
        x = torch.randn(3, 1, 6, 6)
        torch.testing.assert_close(small(x), net(x))

    def test_nothing_is_left(self):
        """All weights zero: the biases are the network, one unit a layer."""
        net = mlp()
        w = {n: (p.detach() if p.dim() == 1 else torch.zeros_like(p))[None] for n, p in net.named_parameters()}
        small = cut(net, w)[0]
        assert architecture(small) == "1-1-1"
        torch.testing.assert_close(small(ROWS), net[-1].bias.expand(12, 3))

    def test_several_networks_have_one_shape(self):
        torch.manual_seed(0)
        net = mlp()
        w = {n: torch.randn(3, *p.shape) for n, p in net.named_parameters()}
        w["0.weight"][:, 2] = 0.0
        small = cut(net, w)
        assert len(small) == 3 and {architecture(n) for n in small} == {"5-7-6"}
        for i, one in enumerate(small):
            whole = torch.func.functional_call(net, {n: t[i] for n, t in w.items()}, (ROWS,))
            torch.testing.assert_close(one(ROWS), whole)


class TestCoding:
    @pytest.mark.parametrize("spread", [0.0, 0.4, 3.0, 500.0])
    def test_there_and_back(self, spread):
        rng = np.random.default_rng(0)
        values = np.round(spread * rng.standard_cauchy((30, 70))).clip(-(2**31), 2**31).astype(np.int64)
        coder = coding.Encoder()
        coding.integers(coder, "w", values)
        assert coding.number(coder, "n", 12345) == 12345
        back = coding.Decoder(coder.bytes())
        assert (coding.integers(back, "w", np.zeros_like(values)) == values).all() and coding.number(back, "n") == 12345

    def test_near_the_entropy(self):
        """Of independent numbers, nine in ten of them zero."""
        rng = np.random.default_rng(1)
        values = np.round(rng.laplace(0, 3, (100, 200))).astype(np.int64) * (rng.random((100, 200)) < 0.1)
        coder = coding.Encoder()
        coding.integers(coder, "w", values)
        share = np.unique(values, return_counts=True)[1] / values.size
        assert len(coder.bytes()) * 8 < 1.03 * -(share * np.log2(share)).sum() * values.size

    def test_carries_run_back(self):
        """Improbable decisions at the top of the range: bytes of 255 that a carry turns over."""
        bits = [1] * 3000 + [0, 1] * 500 + [1] * 3000
        coder = coding.Encoder()
        for bit in bits:
            coder.bit("b", bit)
        back = coding.Decoder(coder.bytes())
        assert [back.bit("b") for _ in bits] == bits


class TestFiles:
    def test_predictions_bit_for_bit(self, tmp_path):
        small = bz.compress(posterior(bz.nets.LeNet5(), sd=0.03), prune=RULES.SignalToNoise(1.0))
        size = small.save(tmp_path / "net.bnz")
        back = RULES.load(tmp_path / "net.bnz", likelihood=bz.likelihoods.Categorical())
        x = torch.rand(50, 1, 28, 28)
        with torch.no_grad():
            assert torch.equal(small.net(x), back.net(x))
        assert torch.equal(small.predict(x).mean, back.predict(x).mean)
        assert size == (tmp_path / "net.bnz").stat().st_size == small.report.bytes
        assert small.report.rate_max == pytest.approx(4 * 61_706 / size)
        assert [type(m) for m in small.net] == [type(m) for m in back.net]

    def test_damaged(self, tmp_path):
        small = bz.compress(posterior(mlp(), rows=ROWS))
        path = tmp_path / "net.bnz"
        small.save(path)
        whole = path.read_bytes()
        for at in range(4, len(whole)):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
            with pytest.raises(bz.DataError, match="damaged or cut off"):
                RULES.load(path)
            path.write_bytes(whole[:at])
            with pytest.raises(bz.DataError, match="damaged or cut off"):
                RULES.load(path)
        path.write_bytes(b"PK" + whole)
        with pytest.raises(bz.DataError, match="no compressed network"):
            RULES.load(path)
        path.write_bytes(whole[:3] + b"\x09" + whole[4:])
        with pytest.raises(bz.DataError, match="format 9"):
            RULES.load(path)

    def test_nonsense_under_a_right_checksum(self, tmp_path):
        rng = np.random.default_rng(0)
        for _ in range(60):
            body = b"BNZ\x01" + rng.bytes(int(rng.integers(1, 60)))
            (tmp_path / "net.bnz").write_bytes(body + zlib.crc32(body).to_bytes(4, "little"))
            try:
                RULES.load(tmp_path / "net.bnz")
            except bz.DataError:
                continue

    def test_every_layer(self, tmp_path):
        net = nn.Sequential(
            nn.Sequential(nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=1, dilation=(1, 2)), nn.GroupNorm(2, 4), nn.GELU()),
            nn.AvgPool2d(2, count_include_pad=False),
            nn.Dropout(0.5),
            nn.Conv2d(4, 3, 1, bias=False),
            bz.nets.FilterResponseNorm(3),
            nn.MaxPool2d((2, 1), ceil_mode=True),
            nn.Flatten(),
            nn.Linear(24, 4),
            nn.Softplus(),
        )
        x = torch.rand(5, 2, 12, 8)
        net = net.eval()
        small = bz.compress(posterior(net, sd=1e-4, rows=x), prune=RULES.everything)
        small.save(tmp_path / "net.bnz")
        with torch.no_grad():
            assert torch.equal(RULES.load(tmp_path / "net.bnz").net(x), small.net(x))
            torch.testing.assert_close(small.net(x), net(x), atol=2e-3, rtol=0)


class TestErrorBars:
    def test_members(self):
        net = nn.Sequential(*mlp()[:-1], nn.Linear(6, 1))
        noise = torch.full((1, 40), 0.3)
        given = posterior(net, rows=ROWS, likelihood=bz.likelihoods.Gaussian(), sd=0.2, noise=noise)
        small = bz.compress(given, prune=RULES.everything, code=RULES.FixedPoint(0.01), members=40)
        whole, made = given.predict(ROWS), small.predict(ROWS)
        torch.testing.assert_close(made.epistemic, whole.epistemic, rtol=0.02, atol=1e-3)
        torch.testing.assert_close(made.aleatoric, torch.full((12,), 0.3))

    def test_spread(self):
        net = nn.Sequential(nn.Linear(5, 1))
        nn.init.ones_(net[0].weight)
        given = posterior(net, rows=ROWS, likelihood=bz.likelihoods.Gaussian(0.1), draws=400)
        small = bz.compress(given, prune=RULES.everything, spread=True)
        assert bz.compress(given, prune=RULES.everything).predict(ROWS).epistemic.max() == 0.0
        expected = 0.1 * (ROWS.square().sum(1) + 1.0).sqrt()  # of a linear function of independent weights
        torch.testing.assert_close(small.predict(ROWS, draws=4000).epistemic, expected, rtol=0.15, atol=0)


class TestRefusals:
    def test_one_draw(self):
        given = posterior(mlp(), rows=ROWS, draws=1)
        with pytest.raises(bz.ModelError, match=r"prune=Magnitude\(0.1\), code=Levels\(6\)"):
            bz.compress(given)
        assert bz.compress(given, prune=RULES.Magnitude(0.1), code=RULES.Levels(6)).report.nonzero < 0.3

    def test_several_chains(self):
        given = posterior(mlp(), rows=ROWS, chains=2)
        with pytest.raises(bz.ModelError, match=r"posterior.select\(chains=\[0\]\)"):
            bz.compress(given)
        bz.compress(given.select(chains=[0]))

    @pytest.mark.parametrize(
        "net, words",
        [
            (nn.Sequential(bz.nets.FilterResponseNorm(2)), "no layer that could be cut"),
            (nn.Sequential(nn.Linear(5, 5), nn.LayerNorm(5)), "what a unit of layer '1' is, a LayerNorm"),
            (nn.Sequential(nn.Conv1d(4, 4, 1, groups=2)), "groups=2"),
            (bz.nets.ResidualMLP(5, 1), "layer '1' is, a Residual"),
            (bz.nets.GRU(5, 2), "write it as nn.Sequential"),
        ],
        ids=["no layer", "layer norm", "groups", "residual", "recurrent"],
    )
    def test_networks(self, net, words):
        with pytest.raises(bz.ModelError, match=words):
            bz.compress(posterior(net, rows=torch.rand(2, 2, 4)))

    def test_tied_weights(self):
        layer = nn.Linear(5, 5)
        with pytest.raises(bz.ModelError, match="give each layer its own"):
            bz.compress(posterior(nn.Sequential(layer, nn.ReLU(), layer), rows=ROWS))

    def test_others(self):
        given = posterior(mlp(), rows=ROWS)
        with pytest.raises(bz.DataError, match="of 40 draws"):
            bz.compress(given, members=41)
        with pytest.raises(bz.ModelError, match="no mixture but Normal"):
            bz.compress(given, code=RULES.Clusters())
        with pytest.raises(bz.ModelError, match=r"needs the posterior of a bz.BNN"):
            bz.compress(bz.Posterior(lambda x, y: None, (ROWS, ROWS), given.draws))
        with pytest.raises(bz.ModelError, match="load"):
            bz.compression.Compressed(bz.compress(given).parts).predict(ROWS)
        assert len(to_bytes(bz.compress(given).parts)) < 400


@pytest.mark.slow
@pytest.mark.parametrize(
    "backend",
    [
        bz.MeanField(steps=800, draws=200),
        bz.DiagonalLaplace(steps=500, draws=200),
        bz.SWAG(chains=1, steps=1_000, warmup=500, draws=200),
        bz.SGHMC(chains=1, steps=1_500, warmup=500, thinning=5, step_size=1e-3),
        bz.MCLMC(chains=1, warmup=500, draws=200),
        bz.NUTS(chains=1, warmup=100, draws=100),
    ],
    ids=lambda b: type(b).__name__,
)
def test_from_every_kind_of_posterior(backend, tmp_path):
    """Of ten inputs one matters: the others are found, and the small network predicts what the posterior does."""
    torch.manual_seed(0)
    x = torch.randn(150, 10)
    y = (x[:, 0] > 0).long()
    net = nn.Sequential(nn.Linear(10, 4), nn.Tanh(), nn.Linear(4, 2))
    model = bz.BNN(net, bz.priors.Normal(1.0), bz.likelihoods.Categorical())
    given = bz.fit(model, (x, y), backend, progress=False)
    small = bz.compress(given.select(chains=[0]), prune=RULES.SignalToNoise(0.5), test=(x, y))
    size = small.save(tmp_path / "net.bnz")
    back = RULES.load(tmp_path / "net.bnz", likelihood=bz.likelihoods.Categorical())
    assert torch.equal(back.predict(x).mean, small.predict(x).mean) and size == small.report.bytes < 250
    assert small.report.after.error < small.report.before.error + 6.0
    assert small.report.nonzero < 0.9 or isinstance(backend, bz.SWAG)  # whose law is narrow
