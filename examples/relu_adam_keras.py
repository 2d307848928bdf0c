"""Ten clinics train a network of Keras: 128 units with ReLU, a sigmoid, and Adam.

Question: is a tumour malignant, from 30 measurements of cell nuclei?
Data: breast_cancer of scikit-learn (Wolberg et al. 1995, UCI, CC BY 4.0), 569 patients; 113 for
testing, the others dealt evenly over ten clinics.
Run it: ``python examples/relu_adam_keras.py``, with the extras `fl` and `keras`. All clinics are in
this process: it is a simulation.
Protected: the update of each clinic from the server and from the others. Means and deviations for
the scaling of the measurements are those of all patients, which clinics would get from one secure
sum before the training (`secagg.analytics.Moments`).
"""

import os
from dataclasses import dataclass
from textwrap import fill

import numpy as np
from secagg.fl import FedAvg, Model, Split, load

os.environ.setdefault("KERAS_BACKEND", "jax")
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


def main() -> None:
    """Trains over clinics, and on the pooled patients."""
    keras.utils.set_random_seed(0)
    data = load("breast_cancer", CLINICS, split="even")
    net = make_net(data.features)
    start = net.get_weights()
    training = FedAvg(start, [Clinic(net, each) for each in data.clients], rounds=ROUNDS)
    for report in training:
        if report.round in (1, 2, 5, ROUNDS):
            right = accuracy(net, training.model, data.test)
            print(f"round {report.round:2}: {right:.1%} of {len(data.test)} test patients")
    begin(net, start)
    fit(net, data.pooled, ROUNDS * EPOCHS)
    print(f"pooled:   {accuracy(net, net.get_weights(), data.test):.1%}\n")
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


if __name__ == "__main__":
    main()
