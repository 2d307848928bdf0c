"""Ten clinics train a network of Keras: 128 units with ReLU, a sigmoid, and Adam.

Question: is a tumour malignant, from 30 measurements of cell nuclei?
Data: breast_cancer of scikit-learn (Wolberg et al. 1995, UCI, CC BY 4.0), 569 patients; 113 for
testing, the others dealt evenly over ten clinics.
Run it: ``python examples/relu_adam_keras.py [--plot FILE]``, with the extras `fl` and `keras`; for
the picture each clinic trains alone, too. All clinics are in this process: it is a simulation.
Protected: the update of each clinic from the server and from the others. Means and deviations for
the scaling of the measurements are those of all patients, which clinics would get from one secure
sum before the training (`secagg.analytics.Moments`).
"""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import numpy as np
from secagg.fl import FedAvg, Model, Split, load, picture_file

from secagg.extras import extra

os.environ.setdefault("KERAS_BACKEND", "jax")
with extra("keras"):
    import keras

CLINICS, ROUNDS, EPOCHS, BATCH, UNITS = 10, 10, 3, 15, 128


@dataclass
class Clinic:
    """A clinic with patients; Adam begins anew in each round, so only weights are averaged."""

    net: keras.Model
    data: Split

    @property
    def examples(self) -> int:
        """The number of its patients: what its update weighs."""
        return len(self.data)

    def train(self, model: Model) -> Model:
        """Returns the weights after some epochs."""
        begin(self.net, model)
        fit(self.net, self.data, EPOCHS)
        return list(self.net.get_weights())


def make_net(features: int) -> keras.Model:
    """Returns the network, compiled."""
    net = keras.Sequential(
        [
            keras.Input((features,)),
            keras.layers.Dense(UNITS, activation="relu"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    net.compile(optimizer=keras.optimizers.Adam(0.003), loss="binary_crossentropy")
    return net


def begin(net: keras.Model, model: Model) -> None:
    """Gives the network these weights, and Adam no memory of steps before."""
    net.set_weights(model)
    rate = float(net.optimizer.learning_rate)
    for variable in net.optimizer.variables:
        variable.assign(np.zeros(variable.shape, variable.dtype))
    net.optimizer.learning_rate = rate


def fit(net: keras.Model, data: Split, epochs: int) -> None:
    """Trains the network."""
    net.fit(data.x, data.y, batch_size=BATCH, epochs=epochs, verbose=0)


def accuracy(net: keras.Model, model: Model, data: Split) -> float:
    """Returns the share of these patients for whom the network is right."""
    net.set_weights(model)
    return float(((net.predict(data.x, verbose=0)[:, 0] > 0.5) == data.y).mean())


def trained_alone(net: keras.Model, start: Model, data: Split) -> Model:
    """Returns the weights after as many epochs as all rounds have, on these patients only."""
    begin(net, start)
    fit(net, data, ROUNDS * EPOCHS)
    return list(net.get_weights())


def draw(path: Path, right: list[float], pooled: float, alone: list[float], most: float) -> None:
    """Draws the shares of test patients who are judged rightly: by rounds, pooled, and alone."""
    from matplotlib.figure import Figure  # noqa: PLC0415  (only for pictures)

    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    left, other = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    left.plot(range(len(right)), 100 * np.array(right), "o-", color="#0072B2", label="by sums")
    other.plot(range(1, CLINICS + 1), 100 * np.array(alone), "o", color="#D55E00")
    for axes in (left, other):
        axes.axhline(100 * pooled, color="black", ls="--", label="pooled patients")
        axes.axhline(100 * most, color="#555555", ls=":", label="who says benign of everybody")
    left.set_title(f"By sums {right[-1]:.1%}, pooled {pooled:.1%}", fontsize=10)
    left.set(xlabel="round", ylabel="right for test patients, %")
    left.legend(fontsize=8)
    other.set_title(f"A clinic alone: {min(alone):.0%} to {max(alone):.0%}", fontsize=10)
    other.set(xlabel="clinic")
    figure.savefig(path, dpi=100)


def main() -> None:
    """Trains over clinics, and on the pooled patients."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", type=picture_file, metavar="FILE", help="draw a picture of it")
    path = parser.parse_args().plot
    keras.utils.set_random_seed(0)
    data = load("breast_cancer", CLINICS, split="even")
    net = make_net(data.features)
    start = net.get_weights()
    training = FedAvg(start, [Clinic(net, each) for each in data.clients], rounds=ROUNDS)
    right = [accuracy(net, start, data.test)]
    for report in training:
        right.append(accuracy(net, training.model, data.test))
        if report.round in (1, 2, 5, ROUNDS):
            print(f"round {report.round:2}: {right[-1]:.1%} of {len(data.test)} test patients")
    pooled = accuracy(net, trained_alone(net, start, data.pooled), data.test)
    print(f"pooled:   {pooled:.1%}\n")
    numbers = sum(array.size for array in start)
    print(
        fill(
            f"What the server saw: in each round the weighted sum of {len(report.survivors)} "
            f"updates of {numbers} numbers, and {report.bytes_up:.0f} bytes of keys, shares "
            "and masked numbers from each clinic, but no update of one clinic, and nothing "
            "of the state of its Adam. In this simulation all clinics are in one process, "
            "whose owner could read all."
        )
    )
    if path:
        models = [trained_alone(net, start, each) for each in data.clients]
        alone = [accuracy(net, model, data.test) for model in models]
        draw(path, right, pooled, alone, np.bincount(data.test.y).max() / len(data.test))


if __name__ == "__main__":
    main()
