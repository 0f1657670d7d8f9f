"""What HMC and NUTS share: warm-up, sampling and bookkeeping around a kernel on Hamiltonian phase space."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..data import tensors
from ..density import LogJoint, from_prior
from ..kernels import adaptation
from ..kernels.adaptation import DenseMass, DiagonalMass, DualAveraging, MassMatrix, Welford, reasonable_step_size
from ..types import DataError, Draws, Model
from ._loop import Clock, Recorder, at_least, describe_run, drive, interrupted, to_cpu, within

Start = Callable[[LogJoint, int, torch.Generator], Tensor]


@dataclass(frozen=True, kw_only=True)
class Hamiltonian:
    """Settings that HMC and NUTS have in common.

    chains, warmup, draws, thinning
        ``warmup`` transitions tune and are thrown away; then ``draws · thinning`` are made and every ``thinning``-th kept.
    target_accept
        mean acceptance rate that the step size is tuned to; raise it (0.9, 0.99) against divergences.
    step_size
        where the tuning starts; None finds a reasonable one.
    mass_matrix
        ``DiagonalMass()`` or ``DenseMass()``; with ``pooled=False`` each chain tunes its own mass matrix and step size.
    init
        starting points: ``density.from_prior`` or ``density.from_support``, or a function of the same signature.
    compile
        pass the traced log joint to ``torch.compile``: seconds to half a minute first, then cheaper gradients (2.6 times
        on a small tanh network, nothing on LeNet-5).
    """

    chains: int = 4
    warmup: int = 500
    draws: int = 500
    thinning: int = 1
    target_accept: float = 0.8
    step_size: float | None = None
    mass_matrix: MassMatrix = adaptation.DiagonalMass()
    init: Start = from_prior
    compile: bool = False

    def __post_init__(self) -> None:
        at_least(self, chains=1, warmup=0, draws=1, thinning=1)
        if not isinstance(self.mass_matrix, DiagonalMass | DenseMass):
            raise TypeError(
                f"{type(self).__name__}: mass_matrix must be DiagonalMass() or DenseMass(), got {self.mass_matrix!r}"
            )
        within(self, target_accept=(0.0, 1.0), step_size=(0.0, float("inf")))

    @property
    def kernel(self) -> Any:
        raise NotImplementedError

    def run(
        self,
        model: Model,
        data: Any,
        *,
        seed: int = 0,
        device: torch.device | str | None = None,
        progress: bool = True,
    ) -> Draws:
        """Sample ``model(*data)``. Same seed and machine, same draws; global random state is not touched.

        Raises DataError and ModelError before sampling starts. Ctrl-C returns the draws made so far.
        """
        log_joint = LogJoint(model, tensors(data, device), device=device, compile=self.compile)
        self._need_all_rows(log_joint)
        clock = Clock(log_joint.device)
        walk = Walk(self, log_joint, torch.Generator(log_joint.device).manual_seed(seed))
        name = type(self).__name__
        done = drive(walk.warm, self.warmup, label=f"{name} warm-up", progress=progress, describe=walk.describe)
        if done < self.warmup:
            raise KeyboardInterrupt(f"interrupted in warm-up, after {done} of {self.warmup} transitions: no draws yet")
        walk.settle()
        tuning_gradients, tuning_time = log_joint.evaluations, clock.lap()
        total = self.draws * self.thinning
        drive(walk.sample, total, label=f"{name} draws", progress=progress, describe=walk.describe)
        short = interrupted(walk.kept.count, self.draws, "draws")
        positions, stats = walk.kept.result()
        self._warn_of_divergences(stats["diverging"])
        sampling_time = clock.lap()
        attrs = describe_run(
            self,
            seed=seed,
            device=log_joint.device,
            dtype=log_joint.dtype,
            gradients=log_joint.evaluations,
            tuning_gradients=tuning_gradients,
            tuning_steps=self.warmup,
            tuning_time=tuning_time,
            sampling_time=sampling_time,
            interrupted=short,
        )
        return Draws(to_cpu(log_joint.constrain(positions)), to_cpu(stats), to_cpu(walk.history()), attrs)

    def _warn_of_divergences(self, diverging: Tensor) -> None:
        share = float(diverging.float().mean())
        if share > 0.01:
            warnings.warn(
                f"{type(self).__name__}: {share:.0%} of the draws diverged, so parts of the posterior are missed: more "
                "warmup, a higher target_accept (0.95), or another parameterisation of hierarchical priors",
                stacklevel=3,
            )

    def _need_all_rows(self, log_joint: LogJoint) -> None:
        for row in log_joint.rows:
            if row.seen < row.size:
                raise DataError(
                    f"{type(self).__name__} needs every row, but plate {row.plate!r} sees {row.seen} of {row.size}; use "
                    "SGLD or pass the whole set"
                )


class Walk:
    """One run under way: the kernel's state, the tuning, and what is kept."""

    def __init__(self, settings: Hamiltonian, log_joint: LogJoint, generator: torch.Generator) -> None:
        self.settings, self.log_joint, self.generator = settings, log_joint, generator
        self.kernel = settings.kernel
        position = settings.init(log_joint, settings.chains, generator)
        self.state = self.kernel.init(position, log_joint)
        self.metric = settings.mass_matrix.start(position)
        guess = torch.full_like(self.state.log_joint, settings.step_size or 0.1)
        self.stepper = DualAveraging(settings.target_accept, pooled=settings.mass_matrix.pooled)
        self.stepper.restart(guess if settings.step_size else self._reasonable(guess))
        self.step_size = self.stepper.step_size
        self.seen: Welford = settings.mass_matrix.estimator()
        self.ends = adaptation.windows(settings.warmup)
        self.begin = 75 if settings.warmup >= 150 else int(0.15 * settings.warmup)
        self.kept = Recorder(settings.draws)
        self.tuned = Recorder(max(settings.warmup, 1))
        self.divergences = torch.zeros((), device=log_joint.device)

    def _reasonable(self, guess: Tensor) -> Tensor:
        return reasonable_step_size(self.state, self.log_joint, self.metric, guess, self.generator)

    def _transition(self) -> dict[str, Tensor]:
        self.state, info = self.kernel.step(self.state, self.log_joint, self.metric, self.step_size, self.generator)
        self.divergences = self.divergences + info.diverging.sum()
        stats = info._asdict()
        stats["n_steps"] = stats["n_steps"].int()
        if "tree_depth" in stats:
            stats["tree_depth"] = stats["tree_depth"].int()
        return stats | {"lp": self.state.log_joint, "step_size": self.step_size}

    def warm(self, i: int) -> None:
        stats = self._transition()
        self.tuned.add(self.state.log_joint.unsqueeze(-1), {k: stats[k] for k in ("step_size", "n_steps", "lp")})
        self.stepper.update(stats["acceptance_rate"])
        if self.ends and self.begin <= i < self.ends[-1]:
            self.seen.update(self.state.position)
        if i + 1 in self.ends:
            self.metric = self.settings.mass_matrix.estimate(self.seen)
            self.seen = self.settings.mass_matrix.estimator()
            self.stepper.restart(self._reasonable(self.stepper.final))
        self.step_size = self.stepper.step_size

    def settle(self) -> None:
        """End of warm-up: the averaged step size, and divergences counted from here."""
        self.step_size = self.stepper.final
        self.divergences = torch.zeros_like(self.divergences)

    def sample(self, i: int) -> None:
        stats = self._transition()
        if (i + 1) % self.settings.thinning == 0:
            self.kept.add(self.state.position, stats)

    def describe(self) -> str:
        return f"step size {float(self.step_size.mean()):.2e}, {int(self.divergences)} divergences"

    def history(self) -> dict[str, Tensor]:
        if not self.tuned.count:
            return {}
        return {f"warmup_{name}": value for name, value in self.tuned.result()[1].items()}
