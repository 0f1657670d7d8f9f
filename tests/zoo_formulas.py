"""Log joints of published models by the formulas of their papers, in numpy and SciPy: they share no code with the library.

Each takes ``sites`` (name → array of one draw), ``x [n, …]`` and ``y [n]`` and returns prior plus likelihood, without the
Jacobians of the maps to the real line.
"""

import math

import numpy as np
import scipy.stats as st
from scipy.special import logsumexp


def precision_prior(s, mean, alpha):
    """log density of a scale s whose precision is Gamma(alpha/2) of this mean."""
    return st.gamma(alpha / 2, scale=2 * mean / alpha).logpdf(s**-2.0) + np.log(2.0 * s**-3.0)


def layers(sites):
    """Names of the layers that have weights, in their order."""
    return sorted({n.removesuffix(".weight") for n in sites if n.endswith(".weight")}, key=int)


def forward(sites, x, activation, before=1.0):
    """The output of a fully connected network by hand; the input of each layer but the first is multiplied by ``before``."""
    names = layers(sites)
    h = x
    for i, layer in enumerate(names):
        h = (before if i else 1.0) * h @ sites[f"{layer}.weight"].T + sites[f"{layer}.bias"]
        h = activation(h) if i + 1 < len(names) else h
    return h


def normals(sites, scale):
    return sum(st.norm(0, scale).logpdf(v).sum() for v in sites.values())


def relu(h):
    return np.maximum(h, 0)


def sigmoid(h):
    return 1 / (1 + np.exp(-h))


def silu(h):
    return h * sigmoid(h)


def softmax(f, y):
    """Log probability of the labels."""
    return (f[np.arange(len(y)), y] - logsumexp(f, 1)).sum()


def gaussian(f, y, scale):
    return st.norm(f[:, 0], scale).logpdf(y).sum()


# ------------------------------------------------------------------------------------------------ convolutions


def conv(x, w, b, stride=1):
    """``[n, in, h, w] → [n, out, h', w']`` where ``x`` is padded already."""
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3))[:, :, ::stride, ::stride]
    return np.einsum("nchwij,ocij->nohw", windows, w) + b[:, None, None]


def padded(x, by=1):
    return np.pad(x, ((0, 0), (0, 0), (by, by), (by, by)))


def pool(x):
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).max((3, 5))


def lenet5_caffe(s, x):
    h = pool(conv(x, s["0.weight"], s["0.bias"]))
    h = pool(conv(h, s["2.weight"], s["2.bias"])).reshape(len(x), -1)
    return relu(h @ s["5.weight"].T + s["5.bias"]) @ s["7.weight"].T + s["7.bias"]


def palacci(s, x):
    h = pool(relu(conv(padded(x, 2), s["0.weight"], s["0.bias"])))
    h = pool(relu(conv(padded(h, 2), s["3.weight"], s["3.bias"]))).reshape(len(x), -1)
    return relu(h @ s["7.weight"].T + s["7.bias"]) @ s["9.weight"].T + s["9.bias"]


def frn(s, name, x):
    """max(γ x/√(mean x² + 1e-6) + β, τ) for each channel of each image."""
    scaled = x / np.sqrt((x**2).mean((2, 3), keepdims=True) + 1e-6)
    gamma, beta, tau = (s[f"{name}.{k}"][:, None, None] for k in ("weight", "bias", "threshold"))
    return np.maximum(gamma * scaled + beta, tau)


def resnet8(s, x, activation):
    """Three blocks of two convolutions, of which the second and third halve the image."""
    h = activation(frn(s, "1", conv(padded(x), s["0.weight"], s["0.bias"])))
    for block, stride in (("3", 1), ("4", 2), ("5", 2)):
        inner = conv(padded(h), s[f"{block}.convs.0.weight"], s[f"{block}.convs.0.bias"], stride)
        inner = activation(frn(s, f"{block}.convs.1", inner))
        inner = conv(padded(inner), s[f"{block}.convs.3.weight"], s[f"{block}.convs.3.bias"])
        inner = frn(s, f"{block}.convs.4", inner)
        if stride > 1:
            h = conv(h, s[f"{block}.shortcut.0.weight"], s[f"{block}.shortcut.0.bias"], stride)
            h = frn(s, f"{block}.shortcut.1", h)
        h = activation(h + inner)
    return h.mean((2, 3)) @ s["8.weight"].T + s["8.bias"]


# ------------------------------------------------------------------------------------------------ models


def neal(sites, x, into):
    """Prior of Neal's regression and binary networks without the noise, and the output."""
    out = precision_prior(sites["0.weight_scale"], 1 / 0.05**2, 0.5) if into else 0.0
    out += precision_prior(sites["0.bias_scale"], 1 / 0.05**2, 0.5)
    hidden = sites["2.weight"].shape[1]
    out += precision_prior(sites["2.weight_scale"], hidden / 0.05**2, 0.5)
    for name in ("0.bias", "2.weight") + (("0.weight",) if into else ()):
        out += st.norm(0, sites[f"{name}_scale"]).logpdf(sites[name]).sum()
    return out, forward(sites, x, np.tanh)


def neal_regression(sites, x, y):
    prior, f = neal(sites, x, True)
    prior += st.norm(0, 100).logpdf(sites["2.bias"]).sum() + precision_prior(sites["noise"], 400, 0.5)
    return prior + gaussian(f, y, sites["noise"])


def neal_binary(sites, x, y):
    prior, f = neal(sites, x, True)
    return prior + st.norm(0, 100).logpdf(sites["2.bias"]).sum() + st.bernoulli(sigmoid(f[:, 0])).logpmf(y).sum()


def neal_classes(sites, x, y):
    prior, f = neal(sites, x, False)
    common, each = sites["0.weight_scale_scale"], sites["0.weight_scale"]
    prior += precision_prior(common, 400.0, 0.5).sum() + precision_prior(each, common**-2.0, 1.0).sum()
    prior += st.norm(0, each).logpdf(sites["0.weight"]).sum()
    prior += (
        precision_prior(sites["2.bias_scale"], 400.0, 0.5) + st.norm(0, sites["2.bias_scale"]).logpdf(sites["2.bias"]).sum()
    )
    return prior + softmax(f, y)


def blundell_mnist(sites, x, y):
    both = [0.5 * st.norm(0, 1).pdf(v) + 0.5 * st.norm(0, math.exp(-6)).pdf(v) for v in sites.values()]
    return sum(np.log(b).sum() for b in both) + softmax(forward(sites, x, relu), y)


def tran(sites, x, y):
    """N(0, 1) on W and b of layers W h / √inputs + b, as a law of the weights W / √inputs."""
    prior, h = 0.0, x
    for i, last in ((i, f"{i + 2}.weight" not in sites) for i in range(0, 100, 2) if f"{i}.weight" in sites):
        inputs = h.shape[1]
        W = sites[f"{i}.weight"] * math.sqrt(inputs)
        prior += (
            st.norm(0, 1).logpdf(W).sum() + W.size * math.log(inputs) / 2 + st.norm(0, 1).logpdf(sites[f"{i}.bias"]).sum()
        )
        h = h @ W.T / math.sqrt(inputs) + sites[f"{i}.bias"]
        h = h if last else np.tanh(h)
    return prior + gaussian(h, y, 0.1**0.5)


def sommer_regression(sites, x, y):
    f = forward(sites, x, relu)
    sd = 1e-6 + np.exp(f[:, 1])
    return normals(sites, 1.0) + st.norm(f[:, 0], sd).logpdf(y).sum()


def chen_mnist(sites, x, y):
    prior = 0.0
    for name in ("0.weight", "0.bias", "2.weight", "2.bias"):
        s = sites[f"{name}_scale"]
        prior += st.gamma(1, scale=1).logpdf(s**-2.0) + np.log(2 * s**-3.0)
        prior += st.norm(0, s).logpdf(sites[name]).sum()
    return prior + softmax(forward(sites, x, sigmoid), y)


def fortuin(sites, f, y):
    prior = 0.0
    for name, v in sites.items():
        prior += st.norm(0, 1.0 if name.endswith("bias") else math.sqrt(2 / v.shape[1])).logpdf(v).sum()
    return prior + softmax(f, y)


def fortuin_conv(sites, x, y):
    h = pool(relu(conv(padded(x), sites["0.weight"], sites["0.bias"])))
    h = pool(relu(conv(padded(h), sites["3.weight"], sites["3.bias"]))).reshape(len(x), -1)
    return fortuin(sites, h @ sites["7.weight"].T + sites["7.bias"], y)


def molchanov(sites, f, y):
    prior = sum(
        st.norm(0, 1).logpdf(v).sum() if name.endswith("bias") else -np.log(np.abs(v)).sum() for name, v in sites.items()
    )
    return prior + softmax(f, y)


def hernandez_lobato(s, x, y):
    """One λ for all weights; what enters a unit is divided by the root of its inputs and one."""
    tau = s["net_scale"]
    prior = st.gamma(6, scale=1 / 6).logpdf(tau**-2.0) + np.log(2 * tau**-3.0)
    prior += st.gamma(6, scale=1 / 6).logpdf(s["noise"] ** -2.0) + np.log(2 * s["noise"] ** -3.0)
    weights = {n: v for n, v in s.items() if "." in n}
    h = relu((x @ s["0.weight"].T + s["0.bias"]) / math.sqrt(x.shape[1] + 1))
    f = (h @ s["3.weight"].T + s["3.bias"]) / math.sqrt(51)
    return prior + normals(weights, tau) + gaussian(f, y, s["noise"])


def ullrich(s, f, y):
    """Every weight from one mixture: share .999 at zero, the rest Dirichlet."""
    prior = st.dirichlet(np.ones(2)).logpdf(s["net_share"]) + st.norm(0, 1).logpdf(s["net_location"]).sum()
    for scale, shape, rate in ((s["net_scale"], 250, 0.1), (s["net_zero_scale"], 5000, 2)):
        prior += (st.gamma(shape, scale=1 / rate).logpdf(scale**-2.0) + np.log(2 * scale**-3.0)).sum()
    w = np.concatenate([v.ravel() for n, v in s.items() if "." in n])[:, None]
    parts = np.log(0.001 * s["net_share"]) + st.norm(s["net_location"], s["net_scale"]).logpdf(w)
    zero = np.log(0.999) + st.norm(0, s["net_zero_scale"]).logpdf(w)
    return prior + logsumexp(np.hstack([zero, parts]), 1).sum() + softmax(f, y)


def louizos_jeffreys(s, x, y):
    prior = sum(st.norm(0, 1).logpdf(v).sum() for n, v in s.items() if n.endswith("bias"))
    for layer in layers(s):
        z = s[f"{layer}.weight_scale"]
        assert z.shape == (1, s[f"{layer}.weight"].shape[1])  # one an input
        prior += -np.log(np.abs(z)).sum() + st.norm(0, np.abs(z)).logpdf(s[f"{layer}.weight"]).sum()
    return prior + softmax(forward(s, x, relu), y)


def louizos_horseshoe(s, x, y):
    prior = sum(st.norm(0, 1).logpdf(v).sum() for n, v in s.items() if n.endswith("bias"))
    for layer in layers(s):
        z, top, w = s[f"{layer}.weight_scale"], s[f"{layer}.weight_scale_scale"], s[f"{layer}.weight"]
        assert z.shape == ((len(w), 1, 1, 1) if w.ndim == 4 else (1, w.shape[1]))  # one a channel, one an input
        prior += st.halfcauchy(0, 1e-5).logpdf(top).sum() + st.halfcauchy(0, top).logpdf(z).sum()
        prior += st.norm(0, z).logpdf(w).sum()
    return prior + softmax(lenet5_caffe(s, x), y)


def he_normals(s):
    """Every parameter N(0, 2/inputs); a vector has one input."""
    return sum(st.norm(0, math.sqrt(2 / math.prod(v.shape[1:]))).logpdf(v).sum() for v in s.values())


def one_group(s, name, x):
    """GroupNorm of one group: an image's mean 0 and variance 1 over all channels and places, then γ and β by channel."""
    axes = (1, 2, 3)
    scaled = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    return s[f"{name}.weight"][:, None, None] * scaled + s[f"{name}.bias"][:, None, None]


def z2cnn(s, x):
    h, at = x, 0
    for i in range(6):
        h = relu(one_group(s, str(at + 1), conv(h, s[f"{at}.weight"], s[f"{at}.bias"])))
        at += 3
        if i == 1:
            h, at = pool(h), at + 1
    return conv(h, s[f"{at}.weight"], s[f"{at}.bias"]).max((2, 3))


def p4_conv(h, w, b):
    """``h``: a map for each orientation. Orientation r sees the filter turned r times, its own stack moved by r."""
    out = []
    for r in range(4):
        if w.ndim == 4:
            out.append(conv(h[0], np.rot90(w, r, (2, 3)), b))
        else:
            out.append(
                sum(conv(h[q], np.rot90(w[:, :, (q - r) % 4], r, (2, 3)), 0 * b) for q in range(4)) + b[:, None, None]
            )
    return out


def p4cnn(s, x):
    h, at = [x], 0
    for i in range(6):
        h = p4_conv(h, s[f"{at}.weight"], s[f"{at}.bias"])
        together = one_group(s, str(at + 1), np.concatenate(h, 2))  # normalised over places and orientations
        h = [relu(part) for part in np.split(together, 4, 2)]
        at += 3
        if i == 1:
            h, at = [pool(part) for part in h], at + 1
    return np.concatenate(p4_conv(h, s[f"{at}.weight"], s[f"{at}.bias"]), 2).max((2, 3))


def segnet(s, x):
    def windows(h):
        n, c, a, b = h.shape
        return h.reshape(n, c, a // 2, 2, b // 2, 2)

    taken, h = [], x
    for i in range(4):
        h = conv(padded(h), s[f"encoders.{i}.0.weight"], s[f"encoders.{i}.0.bias"])
        seen = windows(relu(frn(s, f"encoders.{i}.1", h)))
        h = seen.max((3, 5))
        flat = seen.transpose(0, 1, 2, 4, 3, 5).reshape(*h.shape, 4)
        first = np.arange(4) == flat.argmax(-1)[..., None]  # where the value came from; the first of equals
        taken.append(first.reshape(*h.shape, 2, 2).transpose(0, 1, 2, 4, 3, 5))
    for i in range(4):
        mask = taken[3 - i]
        n, c, a, _, b, _ = mask.shape
        h = (h[:, :, :, None, :, None] * mask).reshape(n, c, 2 * a, 2 * b)
        h = frn(s, f"decoders.{i}.1", conv(padded(h), s[f"decoders.{i}.0.weight"], s[f"decoders.{i}.0.bias"]))
    return conv(h, s["classes.weight"], s["classes.bias"])


def kendall(s, x, y):
    f = segnet(s, x)
    log = f - logsumexp(f, 1, keepdims=True)
    labels = np.take_along_axis(log, np.minimum(y, 10)[:, None], 1)[:, 0]
    return normals(s, (367 * 256 * 5e-4) ** -0.5) + labels[y < 11].sum()


def cnn_lstm(s, x):
    h = s["embedding.weight"][x]  # [n, words, numbers]
    windows = np.lib.stride_tricks.sliding_window_view(h, 5, 1)  # [n, places, numbers, 5]
    h = relu(np.einsum("npci,oci->npo", windows, s["conv.weight"]) + s["conv.bias"])
    h = h[:, : h.shape[1] // 4 * 4].reshape(len(x), -1, 4, h.shape[2]).max(2)
    width = s["lstm.weight_hh"].shape[1]
    state = cell = np.zeros((len(x), width))
    for t in range(h.shape[1]):
        gates = h[:, t] @ s["lstm.weight_ih"].T + state @ s["lstm.weight_hh"].T + s["lstm.bias"]
        entered, forgotten, new, shown = np.split(gates, 4, 1)
        cell = sigmoid(forgotten) * cell + sigmoid(entered) * np.tanh(new)
        state = sigmoid(shown) * np.tanh(cell)
    return state @ s["lstm.head.weight"].T + s["lstm.head.bias"]


FORMULAS = {
    "neal_regression": neal_regression,
    "neal_binary": neal_binary,
    "neal_classes": neal_classes,
    "blundell_mnist": blundell_mnist,
    "li_mnist": lambda s, x, y: normals(s, 1.0) + softmax(forward(s, x, relu), y),
    "tran_regression": tran,
    "tran_uci": tran,
    "li_surrogate": lambda s, x, y: normals(s, 10**0.5) + gaussian(forward(s, x, np.tanh), y, 0.1),
    "sommer_regression": sommer_regression,
    "wilson_izmailov_regression": lambda s, x, y: (
        normals(s, 0.001**0.5) + gaussian(forward(s, np.hstack([x, x**2]), relu), y, 0.0005**0.5)
    ),
    "sharma_regression": lambda s, x, y: normals(s, 1.0) + gaussian(forward(s, x, silu, 50**-0.5), y, 0.05),
    "gal_uci": lambda s, x, y: normals(s, 100.0) + gaussian(forward(s, x, relu), y, 0.272),
    "chen_mnist": chen_mnist,
    "gal_lenet": lambda s, x, y: normals(s, 30**-0.5) + softmax(lenet5_caffe(s, x), y),
    "molchanov_lenet300100": lambda s, x, y: molchanov(s, forward(s, x, relu), y),
    "molchanov_lenet5": lambda s, x, y: molchanov(s, lenet5_caffe(s, x), y),
    "palacci_mnist": lambda s, x, y: normals(s, 1.0) + softmax(palacci(s, x), y),
    "wenzel_resnet": lambda s, x, y: normals(s, 1.0) + softmax(resnet8(s, x, relu), y),
    "izmailov_resnet": lambda s, x, y: normals(s, 5**-0.5) + softmax(resnet8(s, x, silu), y),
    "immer_mnist": lambda s, x, y: normals(s, 1.0) + softmax(forward(s, x, np.tanh), y),
    "fortuin_mlp": lambda s, x, y: fortuin(s, forward(s, x, relu), y),
    "fortuin_conv": fortuin_conv,
    "hernandez_lobato_uci": hernandez_lobato,
    "ullrich_lenet300100": lambda s, x, y: ullrich(s, forward(s, x, relu), y),
    "ullrich_lenet5": lambda s, x, y: ullrich(s, lenet5_caffe(s, x), y),
    "louizos_lenet300100": louizos_jeffreys,
    "louizos_lenet5": louizos_horseshoe,
    "cohen_welling_p4cnn": lambda s, x, y: he_normals(s) + softmax(p4cnn(s, x), y),
    "cohen_welling_z2cnn": lambda s, x, y: he_normals(s) + softmax(z2cnn(s, x), y),
    "kendall_segnet": kendall,
    "wenzel_imdb": lambda s, x, y: normals(s, 1.0) + softmax(cnn_lstm(s, x), y),
    "izmailov_imdb": lambda s, x, y: normals(s, 40**-0.5) + softmax(cnn_lstm(s, x), y),
}
