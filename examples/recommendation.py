"""People who bought this also bought that: recommendations from sums of co-occurrences.

Run it: ``python examples/recommendation.py [--full] [--plot FILE]`` (300 phones; 1,000). It needs
the extra `dp`, which computes epsilon. Each phone knows what its owner bought: 7 of 40 items,
mostly of one of five tastes. It gives a vector of zeros and ones, for each item and each pair of
items: "both bought". The sum of these vectors is the table from which every phone recommends to its
owner, by itself. One item of each basket is left out of it, to see whether it is found among the
best five.

Data: baskets of a seeded generator with known tastes.

Protected: the basket of each owner, from the server and from up to 5 % of the phones that collude
with it. The exact table has small counts, which can reveal a basket: for what is published, pairs
of fewer than 5 phones are left out, but the server itself sees them. With noise that the phones add
before masking nobody sees an exact count, and epsilon says how much the table can tell of one
phone. In earnest take one of the two: whoever has both tables has the exact one.
"""

import argparse
import math
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from secagg.fl import picture_file

import secagg
from secagg import noise

ITEMS, TASTES, BOUGHT, BEST, LEAST = 40, 5, 7, 5, 5
PAIRS: Final = np.triu_indices(ITEMS, 1)
LENGTH: Final = ITEMS + len(PAIRS[0])
GIVEN: Final = BOUGHT - 1  # one item of each basket is left out
NORM: Final = math.sqrt(GIVEN + GIVEN * (GIVEN - 1) // 2)  # of what one phone gives
CORRUPT, DROPOUT = 0.05, 0.1
EPSILON, DELTA = 4.0, 1e-5

Table = NDArray[np.float64]


def baskets(phones: int) -> list[list[int]]:
    """Draws what each owner bought, in random order; the last item is the one to be found."""
    random = np.random.default_rng(7)
    popular = 1 / (1 + np.arange(ITEMS) // TASTES)
    found = []
    for _ in range(phones):
        like = np.where(np.arange(ITEMS) % TASTES == random.integers(TASTES), 12.0, 1.0) * popular
        found.append(random.choice(ITEMS, BOUGHT, replace=False, p=like / like.sum()).tolist())
    return found


def vector_of(basket: list[int]) -> NDArray[np.int64]:
    """Returns what a phone gives: a one for each item and each pair, but not for the last item."""
    has = np.zeros(ITEMS, np.int64)
    has[basket[:-1]] = 1
    return np.concatenate([has, np.outer(has, has)[PAIRS]])


def recall(total: Table, people: list[list[int]]) -> float:
    """Returns for how many owners the item that is left out is among the best five."""
    bought, together = np.maximum(total[:ITEMS], 1.0), np.zeros((ITEMS, ITEMS))
    together[PAIRS] = np.maximum(total[ITEMS:], 0.0)
    alike = (together + together.T) / np.sqrt(np.outer(bought, bought))  # cosine similarity
    hits = 0
    for *known, wanted in people:
        score = alike[known].sum(axis=0)
        score[known] = -1.0
        hits += wanted in np.argsort(-score, kind="stable")[:BEST]
    return hits / len(people)


def securely(people: list[list[int]], params: secagg.Params) -> Any:
    """Returns the sum over the phones, of which every twentieth is lost on the way."""
    lost = dict.fromkeys(range(0, len(people), 20), secagg.Phase.MASKED_INPUT)
    names = "threshold", "min_survivors", "colluders", "degree"
    safe = {name: getattr(params, name) for name in names}
    vectors = map(vector_of, people)
    return secagg.secure_sum(vectors, params.format, drops=lost, transcript=False, **safe)


def draw(path: Path, found: dict[str, float], exact: Table, noisy: Table, scale: float) -> None:
    """Draws what each table finds, and its counts of pairs with noise over the exact ones."""
    from matplotlib.figure import Figure  # noqa: PLC0415  (only for pictures)

    figure = Figure(figsize=(6.8, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.1, 1))
    colours = "black", "#0072B2", "#0072B2", "#E69F00", "#999999"
    bars = left.barh(list(found), [100 * each for each in found.values()], color=colours)
    left.bar_label(bars, fmt="%.1f %%", padding=3, fontsize=9)
    left.invert_yaxis()
    left.set(xlim=(0, 75), xlabel=f"left-out item in the best {BEST}, %")
    left.set_title("Secure sums find what pooled baskets find", fontsize=10, loc="right")
    pairs, most = exact[ITEMS:], exact[ITEMS:].max() * 1.05
    right.scatter(pairs, noisy[ITEMS:], s=5, color="#E69F00", linewidth=0)
    right.plot((0, most), (0, most), color="#0072B2", label="exact counts")
    right.axhline(2 * scale, color="black", ls="--", label="below: left out")
    right.set(xlabel="phones with both items", ylabel="the same, with noise")
    right.set_title(f"Counts with noise of {scale:.1f}", fontsize=10)
    right.legend(fontsize=8)
    figure.savefig(path, dpi=100)


def main() -> None:
    """Compares four tables by what they find."""
    parser = argparse.ArgumentParser(description="Recommends from secure sums of co-occurrences.")
    parser.add_argument("--full", action="store_true", help="1,000 phones in place of 300")
    parser.add_argument("--plot", type=picture_file, metavar="FILE", help="draw a picture of it")
    args = parser.parse_args()
    people = baskets(1000 if args.full else 300)
    form = secagg.Integers(0, 1)
    shape: dict[str, Any] = {"corrupt": CORRUPT, "dropout": DROPOUT, "sparse": True}
    exact = securely(people, secagg.Params.for_cohort(len(people), LENGTH, form, **shape))
    plan = noise.calibrate(
        epsilon=EPSILON,
        delta=DELTA,
        rounds=1,
        clip=math.nextafter(NORM, math.inf),
        length=LENGTH,
        cohort=len(people),
        **shape,
    )
    noisy = securely(people, plan.params)
    pooled = np.sum([vector_of(people[phone]) for phone in exact.survivors], axis=0)
    shown = np.where(exact.total >= LEAST, exact.total, 0)
    scale = math.sqrt(plan.form.variance * noisy.weight) / plan.form.scale
    above = np.where(noisy.total >= 2 * scale, noisy.total, 0.0)
    everybody = np.r_[pooled[:ITEMS], np.zeros(len(PAIRS[0]))]
    everybody[ITEMS:] = np.outer(pooled[:ITEMS], pooled[:ITEMS])[PAIRS]  # pairs by chance
    found = {
        "pooled baskets": recall(pooled, people),
        "secure sum": recall(exact.total, people),
        f"without pairs of fewer than {LEAST}": recall(shown, people),
        "with noise of the phones": recall(above, people),
        "popularity alone": recall(everybody, people),
    }
    hidden = int((exact.total[ITEMS:] < LEAST).sum())
    more = dict(
        zip(found, ("", "", f" ({hidden} pairs)", f" (counts +- {scale:.1f})", ""), strict=True)
    )
    same = "equal" if np.array_equal(pooled, exact.total) else "NOT EQUAL"
    print(f"{len(people)} phones, {LENGTH} counts of items and pairs; pooled and secure: {same}")
    print(f"the item that was left out is among the best {BEST} of {ITEMS - GIVEN}:")
    for name, share in found.items():
        print(f"  {name:29} {share:6.1%}{more[name]}")
    print(
        f"\nWhat the server saw: without noise all {LENGTH} counts, summed over "
        f"{len(exact.survivors)} phones, the small\nones as well; with noise such a sum over "
        f"{len(noisy.survivors)} phones, in which each count is off by\nabout {scale:.1f}: "
        f"epsilon {plan.epsilon():.2f} at delta {DELTA:g} for each phone, were it the only one."
    )
    if args.plot:
        draw(args.plot, found, exact.total, noisy.total, scale)


if __name__ == "__main__":
    main()
