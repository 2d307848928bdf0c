"""Trainings that are differentially private: who adds noise, how much, and what it is worth.

All that is proved is proved of integers (`docs/PRIVACY.md`), for each client's updates of all
rounds: neighbours are the training with its updates and the one with zeros in their place.

- Distributed: each client adds a part of the noise to its own integers before they are masked. No
  party ever sees a sum without noise, and only h = quorum - colluders clients need be honest.
- Central: the server gets the exact sum, and adds noise to it once. It is trusted with every sum;
  those who get the models are not.
- Local: each client adds noise that is enough by itself, whoever else is in the sum.
- None: updates are clipped and counted as with noise, but none is added; to compare with.

Updates are not weighted: the sum of the weights would be released beside theirs, without noise. So
each client with examples counts once. Noise from Laplace's distribution is not offered: it is for
updates that are bounded in L1, and that bound is up to sqrt(length) times the L2 norm.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from secagg import (
    Code,
    Field,
    Fractions,
    Layout,
    Mode,
    ParameterError,
    Params,
    Result,
    Rotated,
    Suite,
    noise,
)
from secagg.noise.samplers import sampler
from secagg.numeric import as_float, brief

from .adaptive import AdaptiveClip, QuantileClip
from .agreed import NUMBERS, check_cohort, cohort_of
from .models import Model
from .optimizers import Optimizer
from .steps import summed_by
from .updates import FedClient, whole

_STEPS: Final = 2**16  # to a variance of 1
_MOST_STEPS: Final = 2**56  # that the sampler has
_FINEST: Final = 16  # bits of a central sum, if that leaves room for the noise
_COARSEST: Final = 8
_KEY_BYTES: Final = 32
_WIDE: Final = 62  # bits of the field in which central noise is drawn


class Placement(StrEnum):
    """The parties that may add the noise."""

    DISTRIBUTED = "distributed"
    CENTRAL = "central"
    LOCAL = "local"
    NONE = "none"


@dataclass(frozen=True, slots=True, eq=False)
class CentralNoise:
    """Makes the mean that a trusted server adds to the model: that of a sum, with noise.

    The sum is one of integers, which come back from its floats exactly: they are multiples of half
    a level. Noise is added to these integers, and all that follows is computed from the result.

    Attributes:
        form: of the inputs, neither rotated nor weighted.
        variance_steps: of the noise, in steps of 2**-16 of a level squared, 1..2**56.
        random: source of its keys: a function that returns so many secret random bytes.
    """

    form: Rotated
    variance_steps: int
    random: Callable[[int], bytes]

    def __call__(self, result: Result) -> NDArray[np.float64]:
        """Returns the mean of a round with noise, float64, shape (length,)."""
        halves = np.rint(2 * result.total * self.form.scale).astype(np.int64)
        field = Field(_WIDE)
        drawn = field.zeros(halves.size)
        kind = sampler(noise.Noise.DISCRETE_GAUSSIAN, self.variance_steps)
        kind.add(field, drawn, Suite.AES256CTR.generator, self.random(_KEY_BYTES))
        centred = drawn.astype(np.int64)
        centred[drawn > field.modulus // 2] -= field.modulus
        noisy: NDArray[np.float64] = (halves + 2 * centred) / (2 * self.form.scale)
        return noisy / result.weight


@dataclass(frozen=True, slots=True)
class Privacy:
    """The noise of a training, and what it is worth; `private_params` makes it.

    Attributes:
        placement: who adds noise.
        params: of every round; of the first one, if the clip changes.
        target: the epsilon that was asked for, over all rounds.
        delta: over all rounds.
        rounds: that the noise is for.
        multiplier: z, the noise that is relied on in units of the sensitivity; 0 without noise.
        honest: how many clients' noise is relied on: h if it is distributed, 1 if it is local, and
            0 if clients add none.
        factor: the noise of updates in a round of the whole cohort, in units of what a trusted
            server would add to real numbers; 0 without noise.
        release: the sum of one round, from which epsilon is computed; None without noise.
        central_steps: variance of the server's noise, in steps of 2**-16; 0 if it adds none.
        adaptive: how the clip follows the norms of updates; None if it is fixed.
    """

    placement: Placement
    params: Params
    target: float
    delta: float
    rounds: int
    multiplier: float
    honest: int
    factor: float
    release: noise.Release | None
    central_steps: int = 0
    adaptive: AdaptiveClip | None = None

    @property
    def noise_of_clients(self) -> bool:
        """True if no sum leaves the clients without noise."""
        return self.placement in (Placement.DISTRIBUTED, Placement.LOCAL)

    def epsilon(self, rounds: int) -> float:
        """Returns the epsilon of so many rounds, at this delta; infinity without noise."""
        if self.release is None:
            return math.inf if rounds else 0.0
        return noise.epsilon([(self.release, rounds)], self.delta)

    def check_rounds(self, rounds: int) -> None:
        """Raises ParameterError if this is more rounds than the noise is for."""
        rounds = whole("rounds", rounds, 0, NUMBERS)
        if rounds > self.rounds:
            raise ParameterError(
                f"the noise is for {self.rounds} rounds, and {rounds} would tell more than epsilon "
                f"{self.target:g} at delta {self.delta:g}: make it for more rounds",
                Code.ARGUMENT,
            )

    def noise_of_server(self, random: Callable[[int], bytes]) -> CentralNoise | None:
        """Returns what adds noise at the server, with this source of keys; None if nothing does."""
        form = self.params.format
        if not self.central_steps or not isinstance(form, Rotated):
            return None
        return CentralNoise(form, self.central_steps, random)


def params_of(privacy: Privacy | None, params: Params | None) -> Params | None:
    """Returns the parameters that a training was given, if any: its own, or those of its privacy.

    Raises:
        ParameterError: both were given, or the privacy is none.
    """
    if privacy is None:
        return params
    if not isinstance(privacy, Privacy):
        raise ParameterError(
            "privacy must be a Privacy, as secagg.fl.private_params makes it, not "
            f"{type(privacy).__name__}",
            Code.ARGUMENT,
        )
    if params is not None:
        raise ParameterError("privacy gives the parameters: leave params out", Code.ARGUMENT)
    return privacy.params


def corrupt_of_cohort(corrupt: float, everybody: int, cohort: int) -> float:
    """Returns the fraction of a sampled cohort that all who collude are.

    Raises:
        ParameterError: they could be a whole cohort, or this is no fraction.
    """
    share = as_float(corrupt)
    if share is not None and 0 <= share < 1:
        colluders, _ = Fractions(share, 0.0).of(everybody)
        if colluders < cohort:
            return colluders / cohort
    raise ParameterError(
        f"corrupt must be a fraction below {cohort} / {everybody}, not {brief(corrupt)}: all "
        "who collude may be in one cohort; draw more clients, or assume fewer colluders",
        Code.UNSAFE_FRACTIONS,
    )


def _check_adaptive(
    where: Placement, clip: float | None, adaptive: QuantileClip | None, bit_noise: float | None
) -> float | None:
    """Checks what `private_params` is told about clips; returns `bit_noise` as a float."""
    if (clip is None) == (adaptive is None):
        raise ParameterError("give either clip, or a first one in adaptive", Code.ARGUMENT)
    if adaptive is not None and not isinstance(adaptive, QuantileClip):
        raise ParameterError(
            f"adaptive must be a QuantileClip, not {brief(adaptive)}", Code.ARGUMENT
        )
    if adaptive is not None and where is not Placement.DISTRIBUTED:
        raise ParameterError(
            f"an adaptive clip is for distributed noise, and placement is {where}: give a fixed "
            "clip, or leave placement out",
            Code.ARGUMENT,
        )
    spread = None if bit_noise is None else as_float(bit_noise)
    if bit_noise is not None and (adaptive is None or not 0 < (spread or 0.0) < math.inf):
        raise ParameterError(
            f"bit_noise is for adaptive, finite and above 0, not {brief(bit_noise)}", Code.ARGUMENT
        )
    return spread


def private_params(
    clients: Iterable[FedClient],
    model: Model,
    *,
    epsilon: float,
    delta: float = 1e-5,
    rounds: int,
    clip: float | None = None,
    placement: str = Placement.DISTRIBUTED,
    corrupt: float | None = None,
    dropout: float | None = None,
    mode: Mode = Mode.SEMI_HONEST,
    scale: float | None = None,
    sample: float | None = None,
    optimizer: Optimizer | None = None,
    adaptive: QuantileClip | None = None,
    bit_noise: float | None = None,
) -> Privacy:
    """Makes parameters for a training that is (epsilon, delta)-differentially private.

    Args:
        clients: all of them, at least three. Each that holds an example counts once.
        model: arrays of floats.
        epsilon: over all rounds; 0.001..32.
        delta: over all rounds; above 0 and below 1, and far below 1 / clients.
        rounds: in which one client gives an update, failed ones included; 1..2**32. For `FedAvg`
            they are those of the training.
        clip: largest L2 norm of an update, finite and positive; longer ones are shortened. Leave
            it out with `adaptive`.
        placement: who adds the noise: "distributed", "central", "local" or "none" (`Placement`).
        corrupt, dropout: the largest fractions of clients that collude with the server, and that
            drop out of a round, as in `secagg.noise.calibrate`. `corrupt` is of all clients, and
            with `sample` all who collude may be in one cohort. Without both a third of each cohort
            is assumed, which a sample of clients of whom fewer collude can exceed.
        mode: the kind of server that the rounds protect against.
        scale: levels per unit of distributed or local noise; chosen by default, and not for others.
        sample: clients of each round, as of `FedAvg`, or the `buffer` of `FedBuff`. It makes
            epsilon no smaller, since the server knows who was drawn; and one client may be drawn
            for every round.
        optimizer: of the training, if it sums more than the model; the clip is then that of all
            that is summed.
        adaptive: the first clip, and how it follows a quantile of the norms, for distributed noise.
            Each client gives a bit, and the mean of bits has noise too, within the same epsilon.
        bit_noise: with `adaptive`, the standard deviation of the noise that is relied on in the sum
            of bits: the smaller, the more noise for the updates. By default a twentieth of the
            clients of a round, and in small cohorts as much as updates have in units of the clip,
            which costs 15 % more noise.

    Raises:
        ParameterError: a value is outside its range, there are fewer than three clients, or the
            noise does not fit.
        MissingExtraError: dp-accounting is not installed.
    """
    if not isinstance(placement, str) or placement not in list(Placement):
        raise ParameterError(
            f"placement must be one of {', '.join(Placement)}, not {brief(placement)}",
            Code.ARGUMENT,
        )
    where = Placement(placement)
    if scale is not None and where in (Placement.CENTRAL, Placement.NONE):
        raise ParameterError(
            f"scale is for noise that clients add, and placement is {where}: leave it out",
            Code.ARGUMENT,
        )
    spread = _check_adaptive(where, clip, adaptive, bit_noise)
    everybody = len(check_cohort(clients)[0])
    cohort = cohort_of(everybody, sample)
    if corrupt is not None and cohort < everybody:
        corrupt = corrupt_of_cohort(corrupt, everybody, cohort)
    length = Layout.of(model).length
    length = summed_by(optimizer, length) + (adaptive is not None)
    plan = noise.calibrate(
        epsilon=epsilon,
        delta=delta,
        rounds=rounds,
        clip=cast("float", clip if adaptive is None else adaptive.clip),
        length=length,
        cohort=cohort,
        corrupt=corrupt,
        dropout=dropout,
        mode=mode,
        scale=scale,
    )
    wanted = plan.target, plan.delta, plan.rounds
    if where is Placement.DISTRIBUTED:
        params, z, rule = plan.params, plan.multiplier, None
        factor = plan.factor * plan.price
        if adaptive is not None:
            rule = AdaptiveClip.of(adaptive, params, z, spread or max(cohort / 20, z), plan.rounds)
            params, factor = rule.params, factor * rule.stretch
        release = noise.Release.of(params)
        return Privacy(where, params, *wanted, z, plan.honest, factor, release, adaptive=rule)
    if where is Placement.LOCAL:
        params, factor = plan.local, math.sqrt(cohort) * plan.price
        release = noise.Release.of(params, honest=1)
        return Privacy(where, params, *wanted, plan.multiplier, 1, factor, release)
    for bits in range(_FINEST, _COARSEST - 1, -1):
        form = Rotated.of(
            clip=plan.form.clip, bits=bits, length=length, cohort=cohort, rotation=False
        )
        params = replace(plan.params, format=form)
        if where is Placement.NONE:
            return Privacy(where, params, *wanted, 0.0, 0, 0.0, None)
        if private := _central(plan, params, form):
            return private
    raise ParameterError(
        f"epsilon {plan.target:g} takes more noise than a server can add: ask for less privacy, or "
        "for fewer rounds",
        Code.HEADROOM,
    )


def _central(plan: noise.NoisePlan, params: Params, form: Rotated) -> Privacy | None:
    """Returns the least noise of a server that meets the target; None if it is too much.

    A client's integers lie less than 1 from its clipped vector times the scale, and those of a
    vector of zeros at most 1/2 from zero. So the two are at most clip * scale + 1.5 sqrt(length)
    apart, apart from what floating point adds.
    """
    reach = form.clip * form.scale
    bound = math.ceil((reach + 1.5 * math.sqrt(params.length)) ** 2 * (1 + 2.0**-20))
    ideal = plan.multiplier * math.sqrt(plan.form.bound) / (plan.form.clip * plan.form.scale)
    ideal /= plan.price  # z of real numbers
    # The accountant promises a little more for this noise than for Skellam's.
    steps = math.ceil(0.95 * ideal**2 * bound * _STEPS)
    while steps <= _MOST_STEPS:
        variance = Fraction(steps, _STEPS)
        kind = noise.Noise.DISCRETE_GAUSSIAN
        release = noise.Release(kind, variance, bound, params.length, honest=1)
        if noise.epsilon([(release, plan.rounds)], plan.delta) <= plan.target:
            z, factor = math.sqrt(variance / bound), math.sqrt(variance) / (ideal * reach)
            where = Placement.CENTRAL
            return Privacy(
                where, params, plan.target, plan.delta, plan.rounds, z, 0, factor, release, steps
            )
        steps += max(1, steps >> 10)
    return None
