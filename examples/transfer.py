"""Transfer learning: a public network, of which ten clients train the last layer only.

Question: which of the digits 5 to 9 is it, if a network that was trained on public scans of 0 to 4
is given?
Data: digits of scikit-learn (Alpaydin & Kaynak 1998, UCI, CC BY 4.0): 901 scans of 0 to 4 are
public; of 896 scans of 5 to 9, 596 are dealt over ten clients, and 300 are for testing.
What to expect: the last layer alone takes an eighth of the bytes and is some points worse, as a
body that knows 0 to 4 sees little of 5 to 9.
Run it: ``python examples/transfer.py [--full] [--plot FILE]``. All clients are in this process:
it is a simulation.
Protected: the update of each client from the server and from the others.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from textwrap import fill
from typing import cast

import numpy as np
from secagg.fl import DATASETS, MLP, Descent, LocalClient, Softmax, Split, accuracy, picture_file

import secagg

CLIENTS, HIDDEN, CLASSES, TEST = 10, 64, 5, 300
LOCAL = Descent(rate=0.02, epochs=5, adam=True)
FORM = secagg.FixedPoint(clip=4.0, bits=20, max_weight=1000)
NET = MLP(64, CLASSES, HIDDEN)
Model = dict[str, np.ndarray]
NAMES = ("body.weight", "body.bias", "head.weight", "head.bias")


def trained(model: Model, data: Split, seed: int, *, last_only: bool) -> Model:
    """Returns the model after the training of a client."""
    body, bias, *head = (model[name] for name in NAMES)
    if last_only:  # a softmax regression of what the body makes of the scans
        seen = Split(np.tanh(data.x @ body + bias), data.y)
        head = LocalClient(Softmax(HIDDEN, CLASSES), seen, LOCAL, seed).train(head)
        return dict(zip(NAMES, [body, bias, *head], strict=True))
    arrays = LocalClient(NET, data, LOCAL, seed).train([body, bias, *head])
    return dict(zip(NAMES, arrays, strict=True))


def federated(
    start: Model, clients: list[Split], rounds: int, *, last_only: bool
) -> Iterator[tuple[Model, int]]:
    """Yields the model after each round, and the bytes that a client sent in it."""
    layout = secagg.ModelLayout.of(
        start, FORM, cohort=CLIENTS, clip=4.0, arrays={"body.*": "keep"} if last_only else None
    )
    model = start
    for _ in range(rounds):
        given = [trained(model, each, at, last_only=last_only) for at, each in enumerate(clients)]
        vectors = [layout.pack(new, model) for new in given]  # at each client
        total = secagg.secure_sum(vectors, FORM, weights=[len(each) for each in clients])
        model = cast("Model", layout.unpack(total, model)[0])  # at the server
        yield model, total.run.bytes_up[0]


def draw(path: Path, found: dict[str, list[float]], sent: dict[str, int]) -> None:
    """Draws what is read rightly by what a client has sent so far."""
    from matplotlib.figure import Figure  # noqa: PLC0415  (only for pictures)

    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.subplots()
    for (name, right), mark in zip(found.items(), ("o-", "s-", "^-"), strict=True):
        colour = {"o": "#D55E00", "s": "#0072B2", "^": "#009E73"}[mark[0]]
        so_far = [sent[name] * count / 1000 for count in range(1, len(right) + 1)]
        axes.plot(so_far, [100 * each for each in right], mark, color=colour, label=name)
    axes.set_xscale("log")
    axes.set_xticks(ticks := [2, 5, 10, 20, 50, 100, 200], map(str, ticks))
    axes.minorticks_off()
    title = f"One round of all layers reads better than {len(right)} of the last layer"
    axes.set_title(title, fontsize=10)
    axes.set(xlabel="kB that a client has sent, a mark per round", ylabel="right for test scans, %")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=100)


def main() -> None:
    """Trains the last layer, all layers, and all layers without the public ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="10 rounds; else 3")
    parser.add_argument("--plot", type=picture_file, metavar="FILE", help="draw a picture of it")
    asked = parser.parse_args()
    rounds = 10 if asked.full else 3
    x, y = DATASETS["digits"]()
    x = 2 * x / np.linalg.norm(x, axis=1, keepdims=True)  # each row by itself
    public, own = Split(x[y < 5], y[y < 5]), Split(x[y >= 5], y[y >= 5] - 5)
    order = np.random.default_rng(1).permutation(len(own))
    test = Split(own.x[order[:TEST]], own.y[order[:TEST]])
    clients = [Split(own.x[part], own.y[part]) for part in np.array_split(order[TEST:], CLIENTS)]

    given = LocalClient(NET, public, Descent(rate=0.5, epochs=10)).train(NET.init(0))
    empty = [np.zeros((HIDDEN, CLASSES)), np.zeros(CLASSES)]
    from_public = dict(zip(NAMES, [*given[:2], *empty], strict=True))
    from_nothing = dict(zip(NAMES, NET.init(1), strict=True))
    print(f"{len(public)} public scans, {CLIENTS} clients with {len(clients[0])} or fewer,")
    print(f"{rounds} rounds, {TEST} scans to test with:")
    found: dict[str, list[float]] = {}
    sent: dict[str, int] = {}
    for name, start, last_only in (
        ("last layer, public body", from_public, True),
        ("all layers, public body", from_public, False),
        ("all layers, from nothing", from_nothing, False),
    ):
        found[name] = []
        for model, sent[name] in federated(start, clients, rounds, last_only=last_only):
            found[name].append(accuracy(NET, [model[each] for each in NAMES], test))
        for count in (1, rounds):
            print(
                f"{name:24} {count:2} rounds {found[name][count - 1]:6.1%}, "
                f"{sent[name]:6,} bytes of a client in each"
            )

    print()
    print(
        fill(
            "What the server saw: in each round the weighted sum of ten updates (of the "
            "last layer only, where the body was kept: it learns nothing of what clients "
            "would have changed there), and keys, shares and masked numbers of each client, "
            "but no update of one client. The public scans are no secret. In this "
            "simulation all clients are in one process."
        )
    )
    if asked.plot:
        draw(asked.plot, found, sent)


if __name__ == "__main__":
    main()
