"""Averages models that clients train with diffprivlib: `nox -s diffprivlib`, docs/ACCURACY.md.

Each client adds the noise in its own training, once (Chaudhuri, Monteleoni and Sarwate 2011,
Algorithm 2, for each class), and its coefficients go into one secure sum.
"""

import math
import warnings
from collections.abc import Iterator
from itertools import product
from statistics import fmean, stdev
from typing import Final

import numpy as np
from diffprivlib.models import LogisticRegression
from numpy.typing import NDArray
from secagg.fl import Dataset, Split, load, simulated_randomness

from secagg import FixedPoint, secure_sum
from secagg.progress import Progress

from .privacy import CLIENTS, SEEDS

DATA: Final = (("digits", True), ("digits", False), ("breast_cancer", False))  # name, by_row
EPSILONS: Final = (8.0, 64.0, math.inf)  # for one example; the first also for one client
GRID: Final = tuple(product((0.001, 0.01, 0.1, 1.0, 10.0, 100.0), (False, True)))  # C, intercept
ITERATIONS: Final = 1000

Reals = NDArray[np.float64]


def train(data: Split, classes: int, norm: float, epsilon: float, seed: int) -> Reals:
    """Trains a model of one client with each setting of the grid.

    diffprivlib has coefficients only for classes that occur, so that their number would tell how
    many do, and it refuses one class alone. So a public row of zeros is added for each class. It
    does not change the minimum: the gradient of its loss is zero everywhere.

    The intercept is the coefficient of a column of ones. That of `fit_intercept` is not penalised:
    noise may leave the objective without a minimum.

    Args:
        norm: of a row of the data, at most.

    Returns:
        coefficients and intercepts over C, shape (settings, classes, features + 1); 2 classes
        have one row.
    """
    y = np.append(data.y, np.arange(classes))
    models = []
    for penalty, intercept in GRID:
        x = np.pad(data.x, ((0, 0), (0, int(intercept))), constant_values=1.0)
        model = LogisticRegression(
            epsilon=epsilon,
            data_norm=math.hypot(norm, intercept),
            C=penalty,
            fit_intercept=False,
            max_iter=ITERATIONS,
            random_state=seed,
        ).fit(np.pad(x, ((0, classes), (0, 0))), y)
        models.append(np.pad(model.coef_, ((0, 0), (0, int(not intercept)))) / penalty)
    return np.array(models)


def mean(data: Dataset, norm: float, epsilon: float, seed: int) -> Reals:
    """Returns the mean of the clients' models by a secure sum, for each setting of the grid.

    The clip is the largest number that occurs, as nothing is to be lost by it here.
    """
    models = [
        train(split, data.classes, norm, epsilon, seed * CLIENTS + party)
        for party, split in enumerate(data.clients)
    ]
    form, random = FixedPoint(clip=float(np.abs(models).max()), bits=32), simulated_randomness(seed)
    done = secure_sum(models, form, transcript=False, random=lambda party: random(1, party))
    return np.asarray(done.mean, np.float64)


def accuracies(name: str, by_row: bool, epsilon: float) -> Reals:
    """Returns accuracies in percent, shape (seeds, settings of the grid)."""
    found = []
    for seed in SEEDS:
        data = load(name, CLIENTS, seed, split="even", by_row=by_row)
        x = np.pad(data.test.x, ((0, 0), (0, 1)), constant_values=1.0)
        scores = x @ mean(data, 2.0 if by_row else 1.0, epsilon, seed).transpose(0, 2, 1)
        if data.classes == 2:
            scores = np.concatenate([-scores, scores], axis=2)
        found.append(100 * (scores.argmax(axis=2) == data.test.y).mean(axis=1))
    return np.array(found)


def table() -> Iterator[str]:
    """Yields rows of Markdown, each with the setting that is best on the test examples."""
    yield "| data | epsilon, one example | one client | C | intercept | accuracy |"
    yield "|---|---|---|---|---|---|"
    progress = Progress(len(DATA) * (1 + len(EPSILONS)))
    for name, by_row in DATA:
        most = max(map(len, load(name, CLIENTS, split="even").clients))
        for epsilon in (EPSILONS[0] / most, *EPSILONS):
            found = accuracies(name, by_row, epsilon)
            best = int(found.mean(axis=0).argmax())
            penalty, intercept = GRID[best]
            each = found[:, best].tolist()
            error = stdev(each) / math.sqrt(len(each))
            scaled = "rows of norm 2" if by_row else "standardised"
            yield (
                f"| `{name}`, {scaled} | {epsilon:.3g} | {epsilon * most:.3g} | {penalty:g} | "
                f"{'yes' if intercept else 'no'} | {fmean(each):.1f}% +- {error:.1f} |"
            )
            progress(f"{name}, epsilon {epsilon:.3g}")
    progress.close()


if __name__ == "__main__":
    # Without the minimum of its objective a model is not as private as it claims.
    warnings.filterwarnings("error", "lbfgs failed to converge")
    for line in table():
        print(line, flush=True)
