"""Ten post offices learn to read digits: softmax regression, whose clients train with Adam.

Question: which digit is it, from 8 x 8 grey values?
Data: digits of scikit-learn (Alpaydin & Kaynak 1998, UCI, CC BY 4.0), 1,797 scans; a fifth for
testing, the others split unevenly over ten offices, each with its own mix of digits.
Run it: ``python examples/softmax_adam.py [--full] [--plot FILE]``. All offices are in this process:
it is a simulation.
Protected: the update of each office, and its number of scans, from the server and from the others.
Each row is scaled by itself, so nothing is computed from all scans but the sums.
"""

import argparse
from pathlib import Path
from textwrap import fill

from secagg.fl import Descent, FedAvg, LocalClient, Model, Softmax, accuracy, load, picture_file

OFFICES = 10
ADAM, PLAIN = Descent(rate=0.02, epochs=2, adam=True), Descent(rate=1.0, epochs=2)


def draw(path: Path, found: dict[str, tuple[list[float], float, list[float]]]) -> None:
    """Draws the share of scans that are read rightly: by rounds, pooled, and by offices alone."""
    from matplotlib.figure import Figure  # noqa: PLC0415  (only for pictures)

    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    left, other = figure.subplots(1, 2, width_ratios=(3, 2))
    for at, (name, (right, pooled, alone)) in enumerate(found.items()):
        colour = ("#0072B2", "#E69F00")[at]
        numbers, percents = range(1, len(right) + 1), [100 * each for each in right]
        left.plot(numbers, percents, ".-", color=colour, label=f"{name}: {right[-1]:.1%}")
        left.axhline(100 * pooled, color=colour, ls="--", label=f"pooled: {pooled:.1%}")
        other.plot([at] * len(alone), [100 * each for each in alone], "o", color=colour)
    left.set_title("By sums (lines), and pooled (dashed)", fontsize=10)
    left.set(xlabel="round", ylabel="right for test scans, %")
    left.legend(fontsize=8, loc="lower right")
    others = [each for _, _, alone in found.values() for each in alone]
    other.set_title(f"An office alone: {min(others):.0%} to {max(others):.0%}", fontsize=10)
    other.set(ylim=(0, 100), xlim=(-0.5, len(found) - 0.5))
    other.set_xticks(range(len(found)), list(found))
    figure.savefig(path, dpi=100)


def main() -> None:
    """Trains with Adam and with plain steps, over offices and on the pooled scans."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="40 rounds; else 10")
    parser.add_argument("--plot", type=picture_file, metavar="FILE", help="draw a picture of it")
    asked = parser.parse_args()
    rounds = 40 if asked.full else 10
    data = load("digits", OFFICES, by_row=True)
    kind = Softmax(data.features, data.classes)

    def score(model: Model) -> float:
        return float(accuracy(kind, model, data.test))

    print(f"{rounds} rounds of 2 epochs, {len(data.test)} scans to test with:")
    found = {}
    for name, descent in (("Adam", ADAM), ("plain steps", PLAIN)):
        clients = [LocalClient(kind, each, descent, at) for at, each in enumerate(data.clients)]
        training = FedAvg(kind.init(0), clients, rounds=rounds)
        right = []
        for report in training:
            right.append(score(training.model))
            if report.round in (1, 2, 5):
                print(f"{name:12} after round {report.round:2} {right[-1]:.1%}")
        alone = [score(_repeated(client, rounds)) for client in clients]
        pooled = score(_repeated(LocalClient(kind, data.pooled, descent), rounds))
        print(
            f"{name:12} after round {rounds:2} {right[-1]:.1%}, pooled {pooled:.1%}, "
            f"an office alone {min(alone):.1%}..{max(alone):.1%}"
        )
        found[name] = right, pooled, alone
    print()
    print(
        fill(
            f"What the server saw: in each round the weighted sum of {len(report.survivors)} "
            f"updates of {64 * 10 + 10} numbers, the number of all scans, and "
            f"{report.bytes_up:.0f} bytes of keys, shares and masked numbers from each "
            "office, but no update of one office. Momentum and squares of Adam begin anew "
            "in each round and stay where they are. In this simulation all offices are in "
            "one process, whose owner could read all."
        )
    )
    if asked.plot:
        draw(asked.plot, found)


def _repeated(client: LocalClient, rounds: int) -> Model:
    """Returns the model that this client makes by itself in so many rounds."""
    model = client.architecture.init(0)
    for _ in range(rounds):
        model = client.train(model)
    return model


if __name__ == "__main__":
    main()
