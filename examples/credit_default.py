"""Ten banks: who will pay late, and which payments are frauds, a rare class.

Question: is the bill of a credit card paid late in September, from what was known in April? And:
which payments shall a person look at, if that can be one in a hundred?
Data: credit_cards of causaldata (MIT licence; Yeh & Lien 2009, UCI), 30,000 holders, a fifth for
testing, the others dealt unevenly over ten banks. Frauds are drawn at random in this file by a
seeded generator: 1 in 250 payments, in two kinds, of which each bank knows hardly more than one.
Run it: ``python examples/credit_default.py [--full] [--plot FILE]``, with the extra `examples`. All
banks are in this process: it is a simulation.
Protected: updates, scores and records of each bank from the server and from the others.
"""

import argparse
from pathlib import Path
from textwrap import fill
from typing import cast

import numpy as np
from secagg.fl import Descent, FedAvg, LocalClient, Model, Softmax, Split, picture_file

import secagg
from secagg.extras import extra

with extra("examples"):
    from causaldata import credit_cards
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

BANKS, ROUNDS, ALARMS = 10, 10, 0.01
NAMES = [f"bank {at} alone" for at in range(BANKS)]
LOCAL = Descent(rate=0.02, epochs=1, batch=32, adam=True)
EDGES = np.linspace(-15, 15, 3001)  # of the scores


def deal(x: np.ndarray, y: np.ndarray) -> list[Split]:
    """Returns the records of banks of very different sizes."""
    ends = np.cumsum(np.linspace(1, 9, BANKS) / (5 * BANKS) * len(x)).astype(int)[:-1]
    return [Split(*each) for each in zip(np.split(x, ends), np.split(y, ends), strict=True)]


def holders(most: int) -> tuple[list[Split], Split]:
    """Returns the card holders of each bank, and those to test with."""
    data = credit_cards.load_pandas().data
    data = data.iloc[np.random.default_rng(0).permutation(len(data))[:most]]
    bill = np.log1p(data["BillApril"].clip(lower=0)) / 5
    x = np.column_stack([data["LateApril"], bill, (data["AGE"] - 35) / 10]).astype(float)
    y, test = data["LateSept"].to_numpy(np.int64), len(x) // 5
    return deal(x[test:], y[test:]), Split(x[:test], y[:test])


def payments(seed: int, count: int, kind: float) -> Split:
    """Draws payments; `kind` is the share of frauds that are abroad, and not at night."""
    generator = np.random.default_rng(seed)
    x = generator.normal(0, 1, (count, 6))  # scaled: amount, distance, night, ...
    y = (generator.random(count) < 1 / 250).astype(np.int64)
    abroad = generator.random(count) < kind
    x[(y == 1) & abroad] += [1.5, 3, 0, 0, 0.5, 0]
    x[(y == 1) & ~abroad] += [1, 0, 3, 1, 0, 0]
    return Split(x, y)


def score(model: Model, data: Split) -> np.ndarray:
    """Returns how much more likely late, or a fraud, is than not: the logarithm of the odds."""
    logits: np.ndarray = data.x @ model[0] + model[1]
    return cast("np.ndarray", logits[:, 1] - logits[:, 0])


def federated(banks: list[Split]) -> tuple[Model, int]:
    """Returns the model of all banks, and the bytes that one sent in a round."""
    kind = Softmax(banks[0].x.shape[1], 2)
    clients = [LocalClient(kind, each, LOCAL, at) for at, each in enumerate(banks)]
    training = FedAvg(kind.init(0), clients, rounds=ROUNDS)
    *_, last = training
    return training.model, round(last.bytes_up)


def alone(data: Split) -> Model:
    """Returns the best model of these records, by scikit-learn, as the two arrays of ours."""
    best = LogisticRegression(C=1e4).fit(data.x, data.y)
    zeros = np.zeros_like(best.coef_)
    return [np.concatenate([zeros, best.coef_]).T, np.append(0, best.intercept_)]


def pooled(banks: list[Split]) -> Split:
    """Returns the records of all banks together, which a federation never has."""
    return Split(*(np.concatenate([getattr(each, axis) for each in banks]) for axis in "xy"))


def threshold(model: Model, banks: list[Split]) -> float:
    """Returns the score that ALARMS of all payments reach, by one secure sum of histograms."""
    counts = [np.histogram(np.clip(score(model, each), -15, 15), EDGES)[0] for each in banks]
    total = cast("np.ndarray", secagg.secure_sum(counts, secagg.Integers(0, 10**6)).total)
    above = np.cumsum(total[::-1])[::-1] / total.sum()
    return float(EDGES[:-1][above <= ALARMS][0])


def ask_who_pays_late(most: int) -> list[float]:
    """Answers the first question, and returns AUCs: federated, pooled, and each bank by itself."""
    banks, test = holders(most)
    model, _ = federated(banks)
    models = [model, alone(pooled(banks)), *map(alone, banks)]
    found = [float(roc_auc_score(test.y, score(each, test))) for each in models]
    late, right = test.y.mean(), ((score(model, test) > 0) == test.y).mean()
    print(f"Paid late: {sum(map(len, banks))} holders of {BANKS} banks, {len(test)} to test with:")
    print(f"  AUC federated {found[0]:.3f}, pooled {found[1]:.3f}, ", end="")
    print(f"alone {min(found[2:]):.3f}..{max(found[2:]):.3f} (0.5 is chance)")
    print(f"  right as yes or no {right:.1%}; {1 - late:.1%} for who says that nobody pays late\n")
    return found


def ask_what_is_fraud(size: int) -> tuple[list[float], int]:
    """Returns shares of frauds likewise for the second, and the bytes of a bank in a round."""
    banks = [payments(at, size, 0.98 if at % 2 else 0.02) for at in range(BANKS)]
    test = payments(BANKS, 50_000, 0.5)
    known = pooled(banks)
    model, sent = federated(banks)
    print(f"Frauds: {known.y.sum()} of {len(known)} payments of {BANKS} banks, ", end="")
    print(f"{test.y.sum()} of {len(test)} to test with:")

    limits = [("federated", model, threshold(model, banks))]
    for name, data in (("pooled", known), *zip(NAMES, banks, strict=True)):
        model = alone(data)
        limits.append((name, model, float(np.quantile(score(model, data), 1 - ALARMS))))
    found = []
    for name, model, limit in limits:
        alarm = score(model, test) >= limit
        found.append(float(alarm[test.y == 1].mean()))
        alarms = f"alarms at {alarm.mean():.2%} of payments"
        print(f"  {name:12} finds {found[-1]:.1%} of frauds by {alarms}")
    return found, sent


def draw(path: Path, late: list[float], frauds: list[float]) -> None:
    """Draws the answers to both questions: federated, pooled, and each bank by itself."""
    from matplotlib.figure import Figure  # noqa: PLC0415  (only for pictures)

    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, found in ((left, late), (right, [100 * each for each in frauds])):
        axes.axhline(found[0], color="#0072B2", label="federated, by sums")
        axes.axhline(found[1], color="black", ls="--", label="pooled")
        axes.plot(range(BANKS), found[2:], "o", color="#D55E00", label="a bank alone")
    left.set(xlabel="bank, from few records to many", ylabel="AUC (0.5 is chance)")
    left.set_title("Late payers: most banks need no other", fontsize=10)
    right.set(xlabel="bank (odd: knows frauds abroad)", ylabel="frauds found, %", ylim=(0, 100))
    right.set_title("Frauds: together they find more", fontsize=10)
    right.legend(fontsize=8)
    figure.savefig(path, dpi=100)


def main() -> None:
    """Answers both questions."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="5 and 10 times as many records")
    parser.add_argument("--plot", type=picture_file, metavar="FILE", help="draw a picture of it")
    asked = parser.parse_args()
    late = ask_who_pays_late(30_000 if asked.full else 6000)
    frauds, sent = ask_what_is_fraud(20_000 if asked.full else 2000)
    print()
    print(
        fill(
            f"What the server saw: in each round the weighted sum of {BANKS} updates, the "
            f"number of all records, and {sent} bytes of keys, shares and masked numbers of "
            "each bank; and once, for the threshold, how many scores of all banks lie in "
            "each of 3,000 ranges. Of one bank: no update, no score, no number of frauds. "
            "In this simulation all banks are in one process."
        )
    )
    if asked.plot:
        draw(asked.plot, late, frauds)


if __name__ == "__main__":
    main()
