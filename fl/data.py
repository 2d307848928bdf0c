"""Two real data sets, dealt unevenly to clients: breast cancer patients and handwritten digits.

Both come with scikit-learn, so nothing is downloaded. The test set is the same whatever the seed
and the number of clients; the seed decides who holds what.

Features are scaled in two steps to rows of norm at most 1, which is what makes gradient steps
non-expansive (`secagg.fl.compare`):

1. each column minus its mean, divided by its standard deviation, over the pooled training set.
   This is the simulation's shortcut: hospitals would get these 2 * features numbers from
   published constants, or from one secure sum of (x, x**2, 1) before training. The test set has
   no part in them.
2. each row z divided by max(sqrt(features), ||z||), which is a matter between a row and itself.
   sqrt(features) is the root mean square norm of a standardised row.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from secagg import Code, ParameterError

from .extras import extra

MIN_EXAMPLES: Final = 4
TEST_FRACTION: Final = 0.2
LABEL_SKEW: Final = 1.0  # of the Dirichlet draw of each class: smaller is more skewed
SIZE_SKEW: Final = 3.0  # of the Dirichlet draw of sizes: smaller is more uneven
_TEST_SEED: Final = 1797  # never changes: the test set is fixed
_SPLIT_STREAM: Final = 1

Reals = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Examples: `x` of shape (examples, features), rows of norm at most 1; `y` in 0..classes-1."""

    x: Reals
    y: Labels

    def __post_init__(self) -> None:
        if self.x.ndim != 2 or self.y.shape != self.x.shape[:1]:
            raise ParameterError(
                f"x of shape {self.x.shape} does not go with y {self.y.shape}", Code.SHAPE
            )

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """One learning task, dealt to clients.

    Attributes:
        name: key in `DATASETS`.
        features: columns of x.
        classes: labels are 0..classes-1.
        clients: what each client holds; no example is held twice.
        test: held out, the same for every seed and number of clients.
    """

    name: str
    features: int
    classes: int
    clients: tuple[Split, ...]
    test: Split

    @property
    def pooled(self) -> Split:
        """Everything that the clients hold, as if it were in one place."""
        x = np.concatenate([split.x for split in self.clients])
        return Split(x, np.concatenate([split.y for split in self.clients]))


def _sklearn(function: str) -> tuple[Reals, Labels]:
    with extra():
        datasets = importlib.import_module("sklearn.datasets")
    x, y = getattr(datasets, function)(return_X_y=True)
    return np.asarray(x, np.float64), np.asarray(y, np.int64)


DATASETS: Final[dict[str, Callable[[], tuple[Reals, Labels]]]] = {
    "breast_cancer": lambda: _sklearn("load_breast_cancer"),  # 569 x 30, 2 classes
    "digits": lambda: _sklearn("load_digits"),  # 1,797 x 64, 10 classes
}


def load(name: str, clients: int = 10, seed: int = 0) -> Dataset:
    """A data set, scaled, with its test set held out and the rest dealt to clients.

    Args:
        name: a key of `DATASETS`.
        clients: how many share the training set, at least 1.
        seed: of the deal, not negative.

    Raises:
        ParameterError: no such data set, or too few examples for so many clients.
        MissingExtraError: scikit-learn is not installed.
    """
    if name not in DATASETS:
        raise ParameterError(
            f"no data set {name!r}: there are {', '.join(DATASETS)}", Code.ARGUMENT
        )
    x, y = DATASETS[name]()
    test = _held_out(y)
    x = scale(x, x[~test])
    rng = np.random.default_rng((seed, _SPLIT_STREAM))
    train_x, train_y = x[~test], y[~test]
    return Dataset(
        name=name,
        features=x.shape[1],
        classes=int(y.max()) + 1,
        clients=tuple(Split(train_x[i], train_y[i]) for i in deal(rng, train_y, clients)),
        test=Split(x[test], y[test]),
    )


def scale(x: Reals, reference: Reals) -> Reals:
    """Rows of norm at most 1, by the two steps above.

    Args:
        x: shape (examples, features).
        reference: shape (any, features), whose columns give means and deviations. A column that
            is constant there only has its mean taken off.
    """
    mean, deviation = reference.mean(axis=0), reference.std(axis=0)
    z = (x - mean) / np.where(deviation > 0, deviation, 1.0)
    norms = np.linalg.norm(z, axis=1, keepdims=True)
    scaled: Reals = z / np.maximum(norms, np.sqrt(x.shape[1]))
    return scaled


def deal(rng: np.random.Generator, labels: Labels, clients: int) -> list[NDArray[np.intp]]:
    """Who holds which example: uneven in size, and skewed in labels.

    Sizes follow one Dirichlet draw; each class is then dealt by a Dirichlet draw of its own around
    those sizes. Clients left with fewer than `MIN_EXAMPLES` are topped up by the largest.

    Returns:
        for each client the indices of its examples; together a permutation of all.

    Raises:
        ParameterError: no client, or too few examples for so many.
    """
    most = len(labels) // MIN_EXAMPLES
    if not 1 <= clients <= most:
        raise ParameterError(
            f"{len(labels)} training examples cannot be dealt to {clients} clients: "
            f"1..{most} are possible, with {MIN_EXAMPLES} examples each",
            Code.ARGUMENT,
        )
    sizes = rng.dirichlet(np.full(clients, SIZE_SKEW))
    held: list[list[int]] = [[] for _ in range(clients)]
    for label in range(int(labels.max()) + 1):
        shares = rng.dirichlet(LABEL_SKEW * (clients * sizes + 0.01))
        rows = rng.permutation(np.flatnonzero(labels == label))
        ends = np.cumsum(rng.multinomial(len(rows), shares))
        for client, part in enumerate(np.split(rows, ends[:-1])):
            held[client].extend(part.tolist())
    while len(poorest := min(held, key=len)) < MIN_EXAMPLES:
        richest = max(held, key=len)
        poorest.append(richest.pop(int(rng.integers(len(richest)))))
    return [rng.permutation(np.array(rows, np.intp)) for rows in held]


def _held_out(labels: Labels) -> NDArray[np.bool_]:
    """A mask of the test examples: the same fraction of every class."""
    rng = np.random.default_rng(_TEST_SEED)
    mask = np.zeros(len(labels), np.bool_)
    for label in range(int(labels.max()) + 1):
        rows = rng.permutation(np.flatnonzero(labels == label))
        mask[rows[: round(TEST_FRACTION * len(rows))]] = True
    return mask
