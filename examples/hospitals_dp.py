"""Ten hospitals predict a disease with differential privacy: what a promise costs, and whose noise.

Question: is a tumour malignant, from 30 measurements of cell nuclei?
Data: breast_cancer of scikit-learn (Wolberg et al. 1995, UCI, CC BY 4.0), 569 patients; 113 for
testing, the others dealt evenly over ten hospitals.
Run it: ``python examples/hospitals_dp.py [--full] [--plot FILE]``, with the extras `dp` and `fl`.
All hospitals are in this process: it is a simulation.
Protected: all that one hospital gives over all rounds. With central noise from those who get the
models, but not from the server; with distributed noise from the server and three colluding
hospitals, too. Epsilon does not cover the means and deviations by which measurements are scaled:
here they are those of all patients, and hospitals would take published ones.
"""

import argparse
from pathlib import Path
from statistics import fmean, stdev
from textwrap import fill

import numpy as np
from secagg.fl import (
    Descent,
    FedAvg,
    LocalClient,
    Privacy,
    Softmax,
    accuracy,
    load,
    picture_file,
    private_params,
)

from secagg import noise

HOSPITALS, ROUNDS, CLIP, DELTA = 10, 10, 0.3, 1e-5
WAYS = (
    ("no noise", "none", 8),
    ("central", "central", 8),
    ("central", "central", 1),
    ("distributed", "distributed", 8),
    ("distributed", "distributed", 1),
)


def train(seed: int, placement: str, epsilon: float) -> tuple[float, Privacy | None]:
    """Returns the accuracy on test patients, and the noise of the training."""
    data = load("breast_cancer", HOSPITALS, seed, split="even")
    kind = Softmax(data.features, data.classes)
    descent = Descent(rate=1.0, epochs=2)
    clients = [LocalClient(kind, each, descent, at) for at, each in enumerate(data.clients)]
    start, privacy = kind.init(0), None
    if placement:
        privacy = private_params(
            clients,
            start,
            epsilon=epsilon,
            delta=DELTA,
            rounds=ROUNDS,
            clip=CLIP,
            placement=placement,
        )
    training = FedAvg(start, clients, rounds=ROUNDS, privacy=privacy)
    for _ in training:
        pass
    return accuracy(kind, training.model, data.test), privacy


def spent(privacy: Privacy) -> str:
    """Returns whose noise it is, and the epsilon that the rounds spend."""
    if privacy.release is None:
        return f"updates shortened to {CLIP}, promises nothing"
    epsilon = noise.epsilon([(privacy.release, ROUNDS)], privacy.delta)
    if not privacy.honest:
        return f"epsilon {epsilon:.2f}, by the noise of the server"
    everybody = noise.Release.of(privacy.params, honest=HOSPITALS)
    best = noise.epsilon([(everybody, ROUNDS)], privacy.delta)
    by = f"by the noise of {privacy.honest} hospitals ({best:.2f} by that of all)"
    return f"epsilon {epsilon:.2f}, {by}"


def draw(path: Path, found: dict[str, list[float]], most: float) -> None:
    """Draws the accuracy of each training, and the mean of each way."""
    from matplotlib.figure import Figure  # noqa: PLC0415  (only for pictures)

    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.subplots()
    for at, scores in enumerate(found.values()):
        percents = [100 * score for score in scores]
        (dots,) = axes.plot(percents, [at] * len(scores), "o", color="#E69F00", alpha=0.5)
        (mean,) = axes.plot(fmean(percents), at, "D", color="#0072B2")
        axes.annotate(
            f"{fmean(percents):.1f}", (fmean(percents), at - 0.2), ha="center", fontsize=8
        )
    line = axes.axvline(100 * most, color="black", ls=":")
    labels = "one training", "mean", "who says benign of everybody"
    axes.legend([dots, mean, line], labels, fontsize=8, loc="upper left")
    axes.set_yticks(range(len(found)), list(found))
    axes.set_ylim(len(found) - 0.5, -0.7)
    axes.set_title("The noise of epsilon 8 costs little, that of epsilon 1 much", fontsize=10)
    axes.set_xlabel("right for test patients, %")
    figure.savefig(path, dpi=100)


def main() -> None:
    """Trains in each way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="means of 20 trainings; else of 3")
    parser.add_argument("--plot", type=picture_file, metavar="FILE", help="draw a picture of it")
    asked = parser.parse_args()
    seeds = range(20 if asked.full else 3)
    test = load("breast_cancer", HOSPITALS, split="even").test
    most = np.bincount(test.y).max() / len(test)
    print(
        f"{len(test)} test patients, of whom {most:.1%} are benign; {ROUNDS} rounds, delta {DELTA};"
    )
    print(
        f"means of {len(seeds)} trainings and their standard errors; noise differs from run to run:"
    )
    found = {}
    for name, placement, epsilon in (("plain averaging", "", 0), *WAYS):
        scores = []
        for seed in seeds:
            score, privacy = train(seed, placement, epsilon)
            scores.append(score)
        error = stdev(scores) / len(scores) ** 0.5
        what = "no clip" if privacy is None else spent(privacy)
        print(f"{name:15} {fmean(scores):.1%} +- {100 * error:.1f}  {what}")
        noisy = placement not in ("", "none")
        found[f"{name},\nepsilon {epsilon}" if noisy else name] = scores
    print()
    print(
        fill(
            "What the server saw: in each round a sum of ten updates, of which every "
            "hospital counts once, and no update of one hospital. Central: the exact sum, "
            "to which it then adds noise, so it is trusted with the sums. Distributed: only "
            "sums with noise, of which a hospital added its part before masking; epsilon "
            "holds if seven hospitals are in each sum and at most three of them tell the "
            "server their noise. The promise is for all that one hospital gives, beside "
            "zeros in its place. In this simulation server and hospitals are one process."
        )
    )
    if asked.plot:
        draw(asked.plot, found, float(most))


if __name__ == "__main__":
    main()
