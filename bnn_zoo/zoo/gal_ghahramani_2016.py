"""Networks of dropout as a Bayesian approximation: tables of UCI, and LeNet on digits."""

from __future__ import annotations

from torch import nn

from ..bnn import BNN
from ..catalogue import Card, Figure
from ..likelihoods import Categorical, Gaussian
from ..nets import MLP, LeNet5Caffe
from ..priors import Normal

CITATION = (
    "Y. Gal, Z. Ghahramani. Dropout as a Bayesian approximation: representing model uncertainty in deep learning. ICML 2016."
)


def gal_uci(inputs: int = 13, noise: float = 0.272, length_scale: float = 0.01) -> BNN:
    """inputs-50-1 ReLU network, weights N(0, 1/length_scale²), known noise. Gal & Ghahramani 2016, section 5.2.

    x ``[n, inputs]`` and y standardised. ``noise`` is 1/√τ in units of y: τ was chosen on validation rows for each table;
    the default is that of boston, τ = .1597 in the data's units, whose y has standard deviation 9.19. Dropout belongs to
    the backend: ``MCDropout(rate=0.05, sites=("*.weight",))`` drops inputs as well, as theirs does.
    """
    return BNN(MLP(inputs, 1, hidden=(50,), activation=nn.ReLU), Normal(1.0 / length_scale), Gaussian(noise))


def gal_lenet(rows: int = 60_000, weight_decay: float = 5e-4) -> BNN:
    """LeNet-5 of Caffe, weights N(0, 1/(rows · weight_decay)), for MNIST. Gal & Ghahramani 2016.

    The prior whose L2 term is that of the solver's weight decay, for a loss that is a mean over ``rows`` training rows.
    x ``[n, 1, 28, 28]``, pixels (0 … 255) over 256. ``MCDropout(rate=0.5)`` drops inputs of every layer but the first: after
    pooling, and of a convolution whole channels, where the paper drops each output before pooling.
    """
    return BNN(LeNet5Caffe(), Normal((rows * weight_decay) ** -0.5), Categorical())


CARDS = {
    "gal_uci": Card(
        formula="""
w ~ N(0, 1/ℓ²)                          each weight and bias; ℓ = 0.01
y ~ N(net(x; w), 1/τ)                   net: d-50-1, ReLU; τ by validation rows
q: inputs of each layer are off with probability .05 (or .005), the ELBO's KL is the L2 term
""",
        fit='bz.MCDropout(steps=20, draws=20, rate=0.05, sites=("*.weight",))',
        paper="Adam on minibatches, T = 10,000 masks a prediction in the authors' program: `bz.MCDropout(rate=0.05, "
        'sites=("*.weight",), batch_size=128, draws=10_000)`. Rate and τ are chosen for each table on validation rows.',
        facts=(
            (
                "length-scale .01, dropout before every layer, the first too, L2 ℓ²(1 − p)/(2Nτ), batches of 128, T = "
                "10,000",
                "yaringal/DropoutUncertaintyExps, net/net.py",
            ),
            ("τ = .1597 for boston", "yaringal/DropoutUncertaintyExps, UCI_Datasets/bostonHousing/data/tau_values.txt"),
            ("751 weights for the 13 inputs of boston", "counted"),
        ),
        figures=tuple(
            Figure(f"{name}, test log likelihood in nats, grid of 2018", value)
            for name, value in zip(
                ("boston", "concrete", "energy", "kin8nm", "power plant", "yacht"),
                ("−2.40", "−2.94", "−1.21", "1.136", "−2.808", "−1.25"),
                strict=True,
            )
        ),
        why="What `MCLMC` makes of a network of 50 tanh units with N(0, 1) weights on these tables is in "
        "`docs/samplers.md`.",
        traps=(
            "The figures exist in three versions. Those of the paper's first table used test rows in the choice of τ; the "
            "grid of 2018 above does not.",
            "The logs of that grid give means and medians over splits, and some of the figures that are quoted as means are "
            "the medians: concrete −2.935 and −2.940, kin8nm 1.138 and 1.137, yacht −1.260 and −1.252.",
            "Each split's number there is the mean of ten networks trained apart.",
            "The program's loss is the squared error without ½, and its L2 term is that of the formula for a loss with ½: "
            "it is half of what the prior N(0, 1/ℓ²) asks for.",
            "Its biases have no L2 term: a flat prior. N(0, 100²) here is nearly that.",
            "τ is in the data's units where test rows are scored, while training sees standardised y.",
        ),
        unchecked="The paper's 400 epochs: the program's files that hold them were not read. Its first version has batches "
        "of 32, as the paper.",
        citation=CITATION,
    ),
    "gal_lenet": Card(
        formula="""
w ~ N(0, 1/(N · 5e-4))                  each weight and bias; N = 60,000
y ~ Categorical(softmax(net(x; w)))     net: conv 20-5, pool, conv 50-5, pool, 500 ReLU, 10
q: half of the inputs of every layer but the first are off
""",
        fit="bz.MCDropout(steps=3, draws=4, batch_size=10)",
        paper="SGD of batches of 64, learning rate .01 · (1 + 1e-4 t)^(−¾), momentum .9, weight decay 5e-4, T = 50 masks "
        "a prediction: `bz.MCDropout(rate=0.5, batch_size=64, draws=50, optimiser=partial(torch.optim.SGD, momentum=0.9), "
        "learning_rate=bz.schedules.polynomial(10 / N, b=1e4, gamma=0.75))`, where masks are on the next layer's inputs.",
        facts=(
            (
                "layers, dropout .5 after both convolutions and the hidden layer, the solver's settings, pixels over 256, "
                "no augmentation",
                "yaringal/DropoutUncertaintyCaffeModels, mnist_uncertainty/lenet_all_dropout_train_test.prototxt and "
                "_solver",
            ),
            ("431,080 weights", "counted"),
        ),
        figures=(
            Figure(
                "MNIST test error, dropout after every layer, T = 50",
                "0.45 % (quoted by another paper)",
                "0.90, 0.86, 0.72 % (three seeds); switched off 3.07, 1.93, 1.71 %",
            ),
            Figure(
                "MNIST test error, dropout at the end alone, switched off to test",
                "0.68 % (quoted by another paper)",
                "0.87 % (one seed); averaged 0.89 %",
            ),
        ),
        command="python tests/benchmarks/mc_dropout.py",
        why="6,000 steps, 6.4 epochs; their solver is set to 10,000,000. The paper's network, dropout on each output "
        "before pooling, is trained by a plain loop there, because such a mask is none on the inputs of the next layer.",
        traps=(
            "Weight decay 5e-4 of a mean loss is a prior of variance 1/(N · 5e-4) = 1/30 at N = 60,000. With a quarter of "
            "the digits it is another prior: give `rows`.",
            "Caffe decays biases as well, so they have the same prior.",
            "Dropout before pooling makes the switched-off network a bad one, since a maximum of dropped outputs is not "
            "that of their means: compare with dropout at the end alone, switched off.",
            "A mask here is the same for all images of one draw, so that a draw is a function; the paper draws another "
            "for each image.",
        ),
        citation=CITATION,
    ),
}
