"""Networks against what their papers state, torch's own layers, and arithmetic written out."""

import numpy as np
import pytest
import torch
from pyro import poutine
from torch import nn
from torch.func import functional_call

import bnn_zoo as bz
from bnn_zoo import nets
from bnn_zoo.catalogue import of
from bnn_zoo.nets._layers import unpooled

NETS = of("net")
WEIGHTS = {  # without those of a normalisation that stands for BatchNorm
    "NIN": (lambda: nets.NIN(), 966_986),
    "AllCNNC": (lambda: nets.AllCNNC(), 1_369_738),
    "VGG": (lambda: nets.VGG(norm=nn.Identity), 14_719_818),
    "WideResNet": (lambda: nets.WideResNet(norm=lambda channels: nn.GroupNorm(16, channels)), 36_479_194),
    "ResNet8": (lambda: nets.ResNet8(), 56_714),
    "SegNetBasic": (lambda: nets.SegNetBasic(norm=nn.Identity), 1_415_563),
    "Z2CNN": (lambda: nets.Z2CNN(norm=nn.Identity), 21_510),
    "P4CNN": (lambda: nets.P4CNN(norm=nn.Identity), 24_560),
    "P4AllCNNC": (lambda: nets.P4AllCNNC(norm=nn.Identity), 1_369_738),
    "P4MResNet44": (lambda: nets.P4MResNet44(norm=nn.Identity), 2_617_494),
    "CNNLSTM of Izmailov et al.": (lambda: nets.CNNLSTM(), 2_700_098),
    "CNNLSTM of Wenzel et al.": (lambda: nets.CNNLSTM(width=70), 2_638_966),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_number_of_weights(name):
    make, weights = WEIGHTS[name]
    with torch.device("meta"):
        assert sum(p.numel() for p in make().parameters()) == weights


def filled(net, scale=0.5):
    """Every weight drawn anew, in float64."""
    torch.manual_seed(0)
    net = net.double()
    for p in net.parameters():
        nn.init.normal_(p, std=scale)
    return net


def rows(entry, count=2):
    x = torch.rand(count, *entry.facts["x"], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return (entry.facts["below"] * x).long() if "below" in entry.facts else x


FAST = {"P4ConvP4", "P4MConvP4M", "LSTM"}


@pytest.mark.parametrize("name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in NETS])
def test_traced_log_joint_is_the_plain_model(name):
    """For two chains at once: what NUTS and the others see is Pyro's own value of the model at each place.

    Where x holds integers, Pyro runs in torch's default float32.
    """
    entry = NETS[name]
    net, x = entry.make(), rows(entry)
    shape = net.double()(x).shape
    y = 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def law(f):
        return bz.likelihoods.Gaussian(0.7)(f.flatten(1))

    model = bz.BNN(net, bz.priors.Normal(0.3), law)
    y = y.flatten(1) if shape[1:].numel() > 1 else y.flatten()
    joint = bz.LogJoint(model, (x, y), dtype=torch.float64)
    u = 0.2 * torch.randn(2, joint.dim, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    value, gradient = joint(u)
    assert gradient.isfinite().all()
    for k in range(2):
        sites = {n: s[k] for n, s in joint.constrain(u).items()}
        plain = poutine.trace(poutine.condition(model, sites)).get_trace(x, y).log_prob_sum()
        assert float(value[k]) == pytest.approx(float(plain), rel=1e-9 if x.is_floating_point() else 1e-6)


# ---------------------------------------------------------------------- the group


def product(g, h):
    """r^a m^b r^c m^d = r^(a ± c) m^(b + d): a reflection turns the sense of rotation."""
    (a, b), (c, d) = g, h
    return (a + (-c if b else c)) % 4, (b + d) % 2


def moved(image, g):
    """The image after a reflection (left and right) and then quarter turns."""
    out = np.fliplr(image) if g[1] else image
    return np.rot90(out, g[0])


def moved_image(x, g):
    return torch.from_numpy(np.stack([[moved(c, g) for c in row] for row in x.numpy()]).copy())


def moved_map(f, g, elements):
    """(g f)(g h) = g moved f(h): each image of the stack moves, and to another place in the stack."""
    out = {elements.index(product(g, h)): moved_image(f[:, :, i], g) for i, h in enumerate(elements)}
    return torch.stack([out[i] for i in range(len(elements))], 2)


GROUPS = {"p4": (1, nets.P4ConvZ2, nets.P4ConvP4), "p4m": (2, nets.P4MConvZ2, nets.P4MConvP4M)}


@pytest.mark.parametrize("kernel, padding, size", [(3, None, (6, 5)), (4, 0, (7, 7)), (1, None, (4, 4))], ids=str)
@pytest.mark.parametrize("group", GROUPS)
def test_group_convolutions_move_with_the_image(group, kernel, padding, size):
    reflections, first, later = GROUPS[group]
    first, later = filled(first(2, 3, kernel, padding)), filled(later(3, 2, kernel, padding))
    elements = [(a, b) for b in range(reflections) for a in range(4)]
    x = torch.randn(2, 2, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        f = first(x)
        h = later(f)
        for g in elements:
            torch.testing.assert_close(first(moved_image(x, g)), moved_map(f, g, elements), rtol=0.0, atol=1e-10)
            torch.testing.assert_close(later(moved_map(f, g, elements)), moved_map(h, g, elements), rtol=0.0, atol=1e-10)
        assert kernel == 1 or (f[:, :, 0] - f[:, :, 1]).abs().max() > 0.1  # the orientations are not the same


def test_group_convolution_is_its_sum():
    """One output pixel of the layer on p4 as a sum over channels, orientations and the filter, by hand."""
    layer = filled(nets.P4ConvP4(2, 1))
    f = torch.randn(1, 2, 4, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    w, out = layer.weight.detach().numpy(), layer(f).detach()
    for a in range(4):
        total = layer.bias.item()
        for c in range(2):
            for h in range(4):
                total += (np.rot90(w[0, c, (h - a) % 4], a) * f[0, c, h].numpy()).sum()
        assert float(out[0, 0, a, 1, 1]) == pytest.approx(total, rel=1e-12)


INVARIANT = {
    "P4CNN": (lambda: nets.P4CNN(width=2), (1, 28, 28), 1),
    "P4AllCNNC": (lambda: nets.P4AllCNNC(width=2), (3, 8, 12), 1),
    "P4MResNet44": (lambda: nets.P4MResNet44(blocks=1, widths=(1, 2, 2)), (3, 8, 8), 2),
}


@pytest.mark.parametrize("name", INVARIANT)
def test_classes_do_not_change_when_the_image_is_turned(name):
    make, shape, reflections = INVARIANT[name]
    net = filled(make())
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        out = net(x)
        assert out.std() > 1e-3
        for g in [(a, b) for b in range(reflections) for a in range(4)]:
            torch.testing.assert_close(net(moved_image(x, g)), out, rtol=1e-9, atol=1e-10)


def small():
    """Two layers on p4 and the maximum over places and orientations."""
    return nn.Sequential(
        nets.P4ConvZ2(1, 2), nn.Tanh(), nets.P4ConvP4(2, 3, padding=0), nn.Flatten(2), nn.AdaptiveMaxPool1d(1), nn.Flatten()
    )


@pytest.mark.filterwarnings("ignore::UserWarning")  # a run far too short
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-4), (torch.float64, 1e-10)], ids=str)
@pytest.mark.parametrize(
    "make, size",
    [(small, 7), pytest.param(lambda: nets.P4CNN(classes=3, width=2), 28, marks=pytest.mark.slow)],
    ids=["two layers", "P4CNN"],
)
def test_probabilities_of_every_draw_are_those_of_the_turned_image(make, size, dtype, tolerance):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(6, 1, size, size, generator=generator).to(dtype), torch.arange(6) % 3
    model = bz.BNN(make(), bz.priors.Normal(bz.priors.he), bz.likelihoods.Categorical())
    backend = bz.SGLD(chains=2, steps=10, warmup=5, step_size=0.01)
    posterior = bz.fit(model, (x, y), backend, progress=False)
    probabilities = posterior.function_draws((x, y))[0]["y"]
    assert probabilities.shape == (2, 5, 6, 3) and probabilities.dtype == dtype
    assert probabilities.flatten(0, 1).std(0).max() > 1e-3  # draws differ
    for quarter in (1, 2, 3):
        turned = posterior.function_draws((torch.rot90(x, quarter, (-2, -1)), y))[0]["y"]
        torch.testing.assert_close(turned, probabilities, rtol=0.0, atol=tolerance)


# ---------------------------------------------------------------------- against torch's own layers


@pytest.mark.parametrize("ours, theirs", [(nets.LSTM, nn.LSTM), (nets.GRU, nn.GRU)], ids=["LSTM", "GRU"])
def test_recurrent_layers_are_torchs(ours, theirs):
    net, layer = filled(ours(3, 2, width=4)), theirs(3, 4, batch_first=True).double()
    with torch.no_grad():
        layer.weight_ih_l0.copy_(net.weight_ih)
        layer.weight_hh_l0.copy_(net.weight_hh)
        layer.bias_ih_l0.copy_(net.bias)
        layer.bias_hh_l0.zero_()
        x = torch.randn(5, 6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        torch.testing.assert_close(net(x), net.head(layer(x)[0][:, -1]))


def test_transformer_is_torchs():
    net = filled(nets.Transformer(3, 2, width=6, heads=3, layers=1))
    layer = nn.TransformerEncoderLayer(
        6, 3, 24, dropout=0.0, activation=nn.functional.gelu, batch_first=True, norm_first=True
    ).double()
    first, second = net.blocks[0].branch, net.blocks[1].branch
    pairs = {
        layer.norm1: first[0],
        layer.self_attn.out_proj: first[1].out,
        layer.norm2: second[0],
        layer.linear1: second[1],
        layer.linear2: second[3],
    }
    with torch.no_grad():
        layer.self_attn.in_proj_weight.copy_(first[1].into.weight)
        layer.self_attn.in_proj_bias.copy_(first[1].into.bias)
        for to, source in pairs.items():
            to.weight.copy_(source.weight)
            to.bias.copy_(source.bias)
        x = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        h = layer(net.embedding(x) + net.places[:5])
        torch.testing.assert_close(net(x), net.head(net.blocks[2](h).mean(1)))


@pytest.mark.parametrize("size", [(6, 8), (7, 9)], ids=str)
def test_unpooling_is_torchs(size):
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    pooled, places = nn.functional.max_pool2d(x, 2, return_indices=True)
    assert torch.equal(unpooled(pooled, places, size), nn.functional.max_unpool2d(pooled, places, 2, output_size=size))


def test_mlps_with_shortcuts_are_their_formulas():
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    net = filled(nets.ResidualMLP(2, 1, width=3, blocks=1))
    p = {n: v.detach() for n, v in net.named_parameters()}
    h = x @ p["0.weight"].T + p["0.bias"]
    h = h + torch.tanh(h @ p["1.branch.0.weight"].T + p["1.branch.0.bias"]) @ p["1.branch.2.weight"].T + p["1.branch.2.bias"]
    torch.testing.assert_close(net(x).detach(), torch.tanh(h) @ p["3.weight"].T + p["3.bias"])
    net = filled(nets.InputSkipMLP(2, 1, hidden=(3, 4)))
    p = {n: v.detach() for n, v in net.named_parameters()}
    h = torch.tanh(x @ p["layers.0.weight"].T + p["layers.0.bias"])
    for i in (1, 2):
        w = p[f"layers.{i}.weight"]
        h = h @ w[:, :-2].T + x @ w[:, -2:].T + p[f"layers.{i}.bias"]
        h = torch.tanh(h) if i == 1 else h
    torch.testing.assert_close(net(x).detach(), h)


def test_a_class_for_each_pixel_of_images_of_any_size():
    for net in (nets.SegNetBasic(classes=4, width=2, kernel_size=3), nets.UNet(classes=4, width=2, depth=3)):
        assert net(torch.zeros(1, 3, 23, 17)).shape == (1, 4, 23, 17)


def test_any_normalisation():
    x = torch.randn(2, 1, 28, 28)
    for norm in (nn.Identity, nets.FilterResponseNorm, lambda channels: nn.GroupNorm(1, channels)):
        net = nets.P4CNN(width=2, norm=norm)
        torch.testing.assert_close(net(torch.rot90(x, 1, (-2, -1))), net(x), rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------------- what is refused

BAD = {
    "even filter": (
        lambda: nets.P4ConvP4(2, 3, kernel_size=4),
        r"P4ConvP4: kernel_size must be odd, got 4: .* take 3 or 5, or padding=0",
    ),
    "even filter on images": (lambda: nets.P4MConvZ2(2, 3, kernel_size=2), r"P4MConvZ2: kernel_size must be odd, got 2"),
    "negative padding": (lambda: nets.P4ConvZ2(2, 3, padding=-1), "padding must be a whole number of pixels"),
    "images into the second layer": (
        lambda: nets.P4ConvP4(2, 3)(torch.zeros(1, 2, 5, 5)),
        r"P4ConvP4 expects \[rows, 2, 4, height, width\], got \(1, 2, 5, 5\)",
    ),
    "maps into the first layer": (
        lambda: nets.P4ConvZ2(2, 3)(torch.zeros(1, 2, 4, 5, 5)),
        r"P4ConvZ2 expects \[rows, 2, height, width\], got \(1, 2, 4, 5, 5\)",
    ),
    "depth of VGG": (lambda: nets.VGG(12), "VGG: depth must be one of 11, 13, 16, 19, got 12"),
    "depth of WideResNet": (lambda: nets.WideResNet(27), r"depth must be 6n \+ 4, such as 10, 16, 22 or 28, got 27"),
    "small image": (lambda: nets.SegNetBasic(width=2)(torch.zeros(1, 3, 8, 20)), "at least 16×16"),
    "smaller image": (lambda: nets.UNet(width=2)(torch.zeros(1, 3, 7, 20)), "depth 3 expects images of at least 8×8"),
    "even filter of SegNet": (lambda: nets.SegNetBasic(kernel_size=4), "kernel_size must be odd"),
    "heads": (lambda: nets.Transformer(2, 1, width=5, heads=2), "width must be a multiple of heads, got 5 and 2"),
    "long series": (lambda: nets.Transformer(2, 1, longest=3)(torch.zeros(1, 4, 2)), "expects at most 3 places"),
    "words that are no integers": (lambda: nets.CNNLSTM(vocabulary=9)(torch.zeros(1, 16)), "of integers"),
    "series without time": (lambda: nets.LSTM(2, 1)(torch.zeros(3, 2)), r"LSTM expects \[rows, time, 2\], got \(3, 2\)"),
    "kernels of series": (lambda: nets.ConvNet1d(2, 1, widths=(3, 4)), "one kernel size a width, at least one, got 2 and 3"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_sizes(what):
    make, message = BAD[what]
    with pytest.raises(ValueError, match=message):
        make()


def test_a_norm_must_make_a_layer():
    with pytest.raises(TypeError, match=r"P4CNN: norm must make a module for a number of channels"):
        nets.P4CNN(norm=nets.FilterResponseNorm(3))


def test_functional_call_leaves_the_net():
    net = nets.P4CNN(width=2)
    before = {n: p.clone() for n, p in net.named_parameters()}
    functional_call(net, {n: 2.0 * p for n, p in before.items()}, (torch.zeros(1, 1, 28, 28),))
    assert all(torch.equal(p, before[n]) for n, p in net.named_parameters())
