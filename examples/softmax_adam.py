"""Ten post offices learn to read digits: softmax regression, whose clients train with Adam.

Question: which digit is it, from 8 x 8 grey values?
Data: digits of scikit-learn (Alpaydin & Kaynak 1998, UCI, CC BY 4.0), 1,797 scans; a fifth for
testing, the others split unevenly over ten offices, each with its own mix of digits.
Run it: ``python examples/softmax_adam.py [--full]``. All offices are in this process: a simulation.
Protected: the update of each office, and its number of scans, from the server and from the others.
Each row is scaled by itself, so nothing is computed from all scans but the sums.
"""

import argparse
from textwrap import fill

from secagg.fl import Descent, FedAvg, LocalClient, Model, Softmax, accuracy, load

OFFICES = 10
ADAM, PLAIN = Descent(rate=0.02, epochs=2, adam=True), Descent(rate=1.0, epochs=2)


def main() -> None:
    """Trains with Adam and with plain steps, over offices and on the pooled scans."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="40 rounds; else 10")
    rounds = 40 if parser.parse_args().full else 10
    data = load("digits", OFFICES, by_row=True)
    kind = Softmax(data.features, data.classes)

    def score(model: Model) -> float:
        return float(accuracy(kind, model, data.test))

    print(f"{rounds} rounds of 2 epochs, {len(data.test)} scans to test with:")
    for name, descent in (("Adam", ADAM), ("plain steps", PLAIN)):
        clients = [LocalClient(kind, each, descent, at) for at, each in enumerate(data.clients)]
        training = FedAvg(kind.init(0), clients, rounds=rounds)
        for report in training:
            if report.round in (1, 2, 5):
                print(f"{name:12} after round {report.round:2} {score(training.model):.1%}")
        alone = [score(_repeated(client, rounds)) for client in clients]
        pooled = score(_repeated(LocalClient(kind, data.pooled, descent), rounds))
        print(
            f"{name:12} after round {rounds:2} {score(training.model):.1%}, pooled {pooled:.1%}, "
            f"an office alone {min(alone):.1%}..{max(alone):.1%}"
        )
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


def _repeated(client: LocalClient, rounds: int) -> Model:
    """Returns the model that this client makes by itself in so many rounds."""
    model = client.architecture.init(0)
    for _ in range(rounds):
        model = client.train(model)
    return model


if __name__ == "__main__":
    main()
