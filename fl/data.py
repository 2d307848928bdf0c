"""Two real data sets, split unevenly over clients: breast cancer patients and handwritten digits.

Both come with scikit-learn, so nothing is downloaded. The test set is the same for every seed and
number of clients; the seed decides which client holds which example.

Features are scaled in two steps to rows of norm at most 1, which makes gradient steps
non-expansive (`secagg.fl.compare`):

1. subtract from each column its mean and divide by its standard deviation, both taken over the
   pooled training set (without the test set). This is a shortcut of the simulation: hospitals
   would get these 2 * features numbers from published constants, or from one secure sum of
   (x, x**2, 1) before training.
2. divide each row z by max(sqrt(features), ||z||), which depends on this row alone.
   sqrt(features) is the root mean square norm of a standardised row.

Where a training shall tell no more than its sums, nothing that is computed from the examples of
several clients may be used: `load(..., by_row=True)` scales each row by itself, to the norm 2. That
suits features of one unit, such as the pixels of the digits.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from secagg import Code, ParameterError, RangeError
from secagg.extras import extra
from secagg.numeric import as_int, brief

SPLITS: Final = ("uneven", "even", "shards")
MIN_EXAMPLES: Final = 4
TEST_FRACTION: Final = 0.2
LABEL_SKEW: Final = 1.0  # of the Dirichlet draw of each class: smaller is more skewed
SIZE_SKEW: Final = 3.0  # of the Dirichlet draw of sizes: smaller is more uneven
_ROW_NORM: Final = 2.0  # of rows that are scaled by themselves
_TEST_SEED: Final = 1797  # never changes: the test set is fixed
_SPLIT_STREAM: Final = 1

Reals = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Some examples.

    Attributes:
        x: features, shape (examples, features); the norm of a row is at most 1, or 2 if rows were
            scaled by themselves.
        y: labels, shape (examples,), in 0..classes-1.

    Raises:
        ParameterError: they are no such arrays.
        RangeError: a label is below 0.
    """

    x: Reals
    y: Labels

    def __post_init__(self) -> None:
        kinds = [each.dtype.kind for each in (self.x, self.y) if isinstance(each, np.ndarray)]
        if len(kinds) < 2 or kinds[0] not in "fiub" or kinds[1] not in "iub":
            raise ParameterError(
                f"x and y must be arrays of numbers and of labels from 0, not {brief(self.x)} and "
                f"{brief(self.y)}",
                Code.DTYPE,
            )
        if self.x.ndim != 2 or self.y.shape != self.x.shape[:1]:
            raise ParameterError(
                f"x of shape {self.x.shape} does not go with y of shape {self.y.shape}: they must "
                "be (examples, features) and (examples,)",
                Code.SHAPE,
            )
        if self.y.size and (least := self.y.min()) < 0:
            raise RangeError(
                f"labels must be from 0, and the least is {least}: give the classes numbers from 0",
                Code.OUT_OF_RANGE,
            )

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """One learning task, split over clients.

    Attributes:
        name: key in `DATASETS`.
        features: columns of x.
        classes: number of classes; labels are 0..classes-1.
        clients: the examples of each client; no example is held twice.
        test: the held-out examples, the same for every seed and number of clients.
    """

    name: str
    features: int
    classes: int
    clients: tuple[Split, ...]
    test: Split

    @property
    def pooled(self) -> Split:
        """The examples of all clients together."""
        x = np.concatenate([split.x for split in self.clients])
        return Split(x, np.concatenate([split.y for split in self.clients]))


def _sklearn(function: str) -> tuple[Reals, Labels]:
    with extra("fl"):
        datasets = importlib.import_module("sklearn.datasets")
    x, y = getattr(datasets, function)(return_X_y=True)
    return np.asarray(x, np.float64), np.asarray(y, np.int64)


DATASETS: Final[dict[str, Callable[[], tuple[Reals, Labels]]]] = {
    "breast_cancer": lambda: _sklearn("load_breast_cancer"),  # 569 x 30, 2 classes
    "digits": lambda: _sklearn("load_digits"),  # 1,797 x 64, 10 classes
}


def load(
    name: str, clients: int = 10, seed: int = 0, *, split: str = "uneven", by_row: bool = False
) -> Dataset:
    """Loads and scales a data set, holds out its test set and splits the rest over clients.

    Args:
        name: a key of `DATASETS`.
        clients: number of clients that share the training set, at least 1.
        seed: seed of the split, not negative.
        split: how the training examples are dealt, one of `SPLITS`: with uneven sizes and skewed
            labels ("uneven"), alike ("even"), or two pieces for each client of the examples sorted
            by label ("shards"), so that it knows few labels.
        by_row: scale each row by itself, without means and deviations of all examples.

    Raises:
        ParameterError: there is no such data set, or it has too few examples for the clients; the
            seed is negative, or an argument of another kind.
        MissingExtraError: scikit-learn is not installed.
    """
    if not isinstance(name, str) or name not in DATASETS:
        raise ParameterError(
            f"there is no data set {brief(name)}; choose one of {', '.join(DATASETS)}",
            Code.ARGUMENT,
        )
    seed = check_seed(seed)
    x, y = DATASETS[name]()
    test = _held_out(y)
    x = scale_rows(x) if by_row else scale(x, x[~test])
    rng = np.random.default_rng((seed, _SPLIT_STREAM))
    train_x, train_y = x[~test], y[~test]
    shares = deal(rng, train_y, clients, split)
    return Dataset(
        name=name,
        features=x.shape[1],
        classes=int(y.max()) + 1,
        clients=tuple(Split(train_x[i], train_y[i]) for i in shares),
        test=Split(x[test], y[test]),
    )


def check_seed(seed: object) -> int:
    """Returns a seed as an int; raises ParameterError unless it is one from 0."""
    found = as_int(seed)
    if found is None or found < 0:
        raise ParameterError(f"seed must be an int from 0, not {brief(seed)}", Code.ARGUMENT)
    return found


def scale(x: Reals, reference: Reals) -> Reals:
    """Scales rows to norm at most 1, by the two steps above.

    Args:
        x: shape (examples, features).
        reference: shape (any, features); means and deviations are those of its columns. From a
            column that is constant there, only the mean is subtracted.
    """
    mean, deviation = reference.mean(axis=0), reference.std(axis=0)
    z = (x - mean) / np.where(deviation > 0, deviation, 1.0)
    norms = np.linalg.norm(z, axis=1, keepdims=True)
    scaled: Reals = z / np.maximum(norms, np.sqrt(x.shape[1]))
    return scaled


def scale_rows(x: Reals) -> Reals:
    """Scales each row to norm 2; one of zeros stays as it is. Shape (examples, features)."""
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    scaled: Reals = _ROW_NORM * x / np.where(norms > 0, norms, 1.0)
    return scaled


def deal(
    rng: np.random.Generator, labels: Labels, clients: int, split: str = "uneven"
) -> list[NDArray[np.intp]]:
    """Splits examples over clients, in one of `SPLITS`.

    Shards are those of McMahan et al. 2017 (arXiv 1602.05629, section 3). Uneven sizes follow one
    Dirichlet draw; each class is then split by a Dirichlet draw of its own around those sizes.
    Clients with fewer than `MIN_EXAMPLES` get the missing ones from the largest.

    Returns:
        the indices of each client's examples; together they are a permutation of all.

    Raises:
        ParameterError: there is no client, or there are too few examples for the clients.
    """
    most, count = len(labels) // MIN_EXAMPLES, as_int(clients)
    if count is None or not 1 <= count <= most:
        raise ParameterError(
            f"{len(labels)} training examples cannot be split over {brief(clients)} clients: with "
            f"at least {MIN_EXAMPLES} examples per client, 1..{most} clients are possible",
            Code.ARGUMENT,
        )
    clients = count
    if not isinstance(split, str) or split not in SPLITS:
        raise ParameterError(
            f"split must be one of {', '.join(SPLITS)}, not {brief(split)}", Code.ARGUMENT
        )
    if split == "even":
        return np.array_split(rng.permutation(len(labels)), clients)
    if split == "shards":
        shuffled = rng.permutation(len(labels))
        by_label = shuffled[np.argsort(labels[shuffled], kind="stable")]
        shards = np.array_split(by_label, 2 * clients)
        order = rng.permutation(2 * clients).reshape(clients, 2)
        return [np.concatenate([shards[each] for each in pair]) for pair in order.tolist()]
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
    """Draws which examples are for testing (True): the same fraction of every class."""
    rng = np.random.default_rng(_TEST_SEED)
    mask = np.zeros(len(labels), np.bool_)
    for label in range(int(labels.max()) + 1):
        rows = rng.permutation(np.flatnonzero(labels == label))
        mask[rows[: round(TEST_FRACTION * len(rows))]] = True
    return mask
