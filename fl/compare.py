"""Compares secure and plain federated averaging and central training, with a proved bound.

Why the secure model stays near the plain one: both run the same rounds with the same survivors,
each along its own trajectory, W (secure) and V (plain). Let T_i be the local training of client i
as a function of the model, w_i its weight, and T = sum w_i T_i / sum w_i over the survivors of a
round. Plain averaging is V' = T(V). Secure averaging sums updates that were rounded to
neighbouring levels of a grid with distance

    step = 2 * clip / (2**bits - 1),

so W' = W + sum w_i (T_i(W) - W + e_i) / sum w_i = T(W) + e, where every coordinate of every e_i,
hence of their weighted mean e, is below step in size. This holds if no value was clipped.
With d parameters, ||e|| < step * sqrt(d) in the L2 norm.

For softmax regression T_i is a sequence of gradient steps x - rate * grad f(x), each f convex and
L-smooth, with the batches chosen without looking at the model. Such a step is non-expansive in the
L2 norm if rate <= 2 / L (Nesterov, Introductory Lectures on Convex Optimization, 2004, Theorem
2.1.5: ||grad f(x) - grad f(y)||**2 <= L <grad f(x) - grad f(y), x - y>); so are their composition
T_i and the weighted mean T. Hence

    ||W' - V'|| <= ||T(W) - T(V)|| + ||e|| <= ||W - V|| + step * sqrt(d)

and after R successful rounds no parameter differs by more than R * step * sqrt(d). Failed rounds
change neither model. `LocalClient.non_expansive` checks the rate against L. Float64 rounding comes
on top: see `rounding_allowance`.

The loss of the neural network is not convex: its training may drive models apart, and no bound is
claimed for it. Nor is any for the format `Rotated`: its grid ends where the error of a mean is
smallest, so that some rotated coordinates of every update lie beyond it and are clipped.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np

from secagg import Code, FixedPoint, Layout, ParameterError, Params, Rotated
from secagg.numeric import brief

from .agreed import NUMBERS, check_kind, listed
from .history import BufferReport, RoundReport, Score
from .models import Model
from .optimizers import Average, Optimizer
from .training import LocalClient
from .updates import FedClient, count_examples, whole

UNIT_ROUNDOFF: Final = 2.0**-53


@dataclass(frozen=True, slots=True)
class Comparison:
    """Results of the three ways to train.

    Attributes:
        secure: score of the securely averaged model.
        plain: score of plain federated averaging over the same survivors.
        central: score of training on pooled data, with the same number of epochs in total.
        plain_scores: scores of the plain model after each round.
        max_abs_difference: largest difference of a parameter between secure and plain.
        bound: proved bound of this difference, or None if there is none.
        bound_note: why there is no bound, or "".
    """

    secure: Score
    plain: Score
    central: Score
    plain_scores: tuple[Score, ...]
    max_abs_difference: float
    bound: float | None
    bound_note: str


def plain_fedavg(
    model: Model,
    clients: Sequence[FedClient],
    survivors: Sequence[Sequence[int]],
    optimizer: Optimizer | None = None,
) -> Iterator[Model]:
    """Runs federated averaging without any protection, and yields the model after each round.

    Args:
        model: the initial model.
        clients: as given to `FedAvg`.
        survivors: clients in the average, per round; a round without any changes nothing. A client
            without examples is left out.
        optimizer: of the server; by default the mean is added.

    Raises:
        ParameterError: an argument is of another kind, or a survivor no client.
    """
    clients, rounds = listed("clients", clients), listed("survivors", survivors)
    for at, client in enumerate(clients):
        count_examples(f"client {at}", client)
    survivors = [
        [whole("a survivor", each, 0, len(clients) - 1) for each in listed("survivors", of)]
        for of in rounds
    ]
    model = [np.asarray(array) for array in listed("model", model)]
    layout, optimizer = Layout.of(model), Average() if optimizer is None else optimizer
    check_kind("optimizer", optimizer, Optimizer)
    state, changes = optimizer.start(layout.length), 0
    plain = type(optimizer) is Average and optimizer.rate == 1.0
    for survived in survivors:
        present = [index for index in survived if clients[index].examples]
        if present:
            extra = optimizer.sent(state)
            sent = () if extra is None else (extra,)
            weights = [float(clients[index].examples) for index in present]
            trained = [clients[index].train([a.copy() for a in model], *sent) for index in present]
            means = [
                np.average(arrays, axis=0, weights=weights) for arrays in zip(*trained, strict=True)
            ]
            if plain:
                model = means
            else:
                changes += 1
                base = [*model, *map(np.zeros_like, means[len(model) :])]
                mean = np.concatenate(
                    [(a - b).reshape(-1) for a, b in zip(means, base, strict=True)]
                )
                step = optimizer.step(mean, state, changes, len(present) / len(clients))
                steps = cast("Model", layout.unflatten(step))
                model = [old + each for old, each in zip(model, steps, strict=True)]
            for index in present:
                settle = getattr(clients[index], "settle", None)
                if callable(settle):
                    settle(True)
        yield model


def central_training(model: Model, pooled: FedClient, rounds: int) -> Model:
    """Returns the model after `rounds` calls of `train` on all examples in one place."""
    for _ in range(rounds):
        model = pooled.train(model)
    return model


def max_abs_difference(one: Model, other: Model) -> float:
    """Returns the largest absolute difference of a parameter between two models of equal shapes."""
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))


def norm(model: Model) -> float:
    """Returns the L2 norm over all parameters."""
    return float(np.sqrt(sum(float((array**2).sum()) for array in model)))


def _grid(params: Params) -> FixedPoint:
    check_kind("params", params, Params)
    if not isinstance(params.format, FixedPoint):
        raise ParameterError(
            f"a bound is proved for the format FixedPoint only, and params have {params.format}",
            Code.ARGUMENT,
        )
    return params.format


def quantization_bound(params: Params, rounds: int) -> float:
    """Returns rounds * step * sqrt(length), a bound of the L2 error of rounding to the grid.

    Args:
        params: with a `FixedPoint` format.
        rounds: number of successful rounds.

    Raises:
        ParameterError: the format is another one, or the number none from 0 up.
    """
    rounds = whole("rounds", rounds, 0, NUMBERS)
    return rounds * _grid(params).step * float(np.sqrt(params.length))


def rounding_allowance(
    params: Params, rounds: int, clients: Sequence[LocalClient], magnitude: float
) -> float:
    """Returns how far float64 rounding can drive the two trajectories apart, to first order.

    A local step sums products over features + 1 columns, then classes, then the batch. Charging
    u = 2**-53 for every operation, relative to the largest number M about (and at least 1), a
    coordinate is off by at most u * M * (rate * (features + 1 + classes + batch + 8) + 1) per step.
    Quantizing, averaging n clients and adding to the model cost at most u * M * (n + 16), putting
    an update that rounding took beyond the clip on it (`update_of`) at most 8 * u * M. Both
    trajectories have such errors, which add up as in the bound, and sqrt(length) turns a bound per
    coordinate into one of the L2 norm. At 20 bits all this is at most a thousandth of the bound.

    Args:
        params: parameters of the rounds.
        rounds: number of successful rounds.
        clients: the whole cohort.
        magnitude: largest L2 norm of the models.

    Raises:
        ParameterError: the format is not `FixedPoint`.
    """
    largest = max(1.0, magnitude, _grid(params).clip)
    worst = 0.0
    for client in (each for each in clients if each.examples):
        classes = int(client.data.y.max()) + 1
        terms = client.data.x.shape[1] + classes + client.descent.batch + 9
        worst = max(worst, client.steps * (client.descent.rate * terms + 1))
    charge = worst + len(clients) + 24
    return 2 * rounds * UNIT_ROUNDOFF * largest * charge * float(np.sqrt(params.length))


def compare_training(
    model: Model,
    secure: Model,
    reports: Sequence[RoundReport],
    clients: Sequence[FedClient],
    pooled: FedClient,
    params: Params,
    evaluate: Callable[[Model], Score],
    optimizer: Optimizer | None = None,
) -> Comparison:
    """Trains in the plain and the central way, and compares both with the secure model.

    Args:
        model: the initial model of all three.
        secure: the securely averaged model.
        reports: reports of its rounds, in order.
        clients: its cohort.
        pooled: a client that holds all examples.
        params: parameters of its rounds.
        evaluate: scores a model.
        optimizer: of the secure and the plain rounds.

    Raises:
        ParameterError: an argument is of another kind.
    """
    reports = listed("reports", reports)
    for at, each in enumerate(reports):
        check_kind(f"reports[{at}]", each, RoundReport)
    count_examples("pooled", pooled)
    if not callable(evaluate):
        raise ParameterError(f"evaluate must be a function, not {brief(evaluate)}", Code.ARGUMENT)
    if [*map(np.shape, listed("secure", secure))] != [*map(np.shape, listed("model", model))]:
        raise ParameterError("secure has other shapes than the initial model", Code.SHAPE)
    check_kind("params", params, Params)
    survivors = [report.survivors for report in reports]
    trajectory = list(plain_fedavg(model, clients, survivors, optimizer))
    plain = trajectory[-1] if trajectory else model
    done = [report for report in reports if not report.failed]
    bound, note = None, ""
    form = params.format
    if isinstance(form, Rotated) and not form.weighted:
        note = "updates are bounded in L2, and count alike"
    elif any(isinstance(report, BufferReport) for report in reports):
        note = "updates are of earlier models"
    elif not isinstance(form, FixedPoint):
        note = "the grid of rotated updates is chosen so that some of their values are clipped"
    elif optimizer not in (None, Average()):
        note = "no bound is proved for this optimizer and rate of the server"
    elif len(local := [each for each in clients if isinstance(each, LocalClient)]) < len(clients):
        note = "no bound is proved for these clients"
    elif not all(client.non_expansive for client in local if client.examples):
        note = "no bound is proved for this training"
    elif clipped := sum(report.clipped for report in done):
        note = f"{clipped} values were clipped"
    else:
        magnitude = max(norm(each) for each in (secure, *trajectory))
        bound = quantization_bound(params, len(done))
        bound += rounding_allowance(params, len(done), local, magnitude)
        if not np.isfinite(bound):
            bound, note = None, "the models are too large to compute it"
    return Comparison(
        secure=evaluate(secure),
        plain=evaluate(plain),
        central=evaluate(central_training(model, pooled, len(reports))),
        plain_scores=tuple(evaluate(each) for each in trajectory),
        max_abs_difference=max_abs_difference(secure, plain),
        bound=bound,
        bound_note=note,
    )
