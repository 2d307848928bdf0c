"""The skeleton that articles print (aggregate, send, train, update) with real bodies.

Question: slope and intercept of a line through readings that stay at five sites.
Data: drawn at random, in this file, by a seeded generator.
Run it: ``python examples/skeleton.py [--plot FILE]``. Sites are threads of this process, to which
only bytes go, through pipes; over a network only `send` changes (docs/INTEGRATE.md).
Protected: the update of each site from the other sites and from the server, even if it lies
(malicious mode) and has one of the five sites on its side.
"""

import argparse
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from textwrap import fill
from typing import cast

import numpy as np
from secagg.fl import picture_file

import secagg

SITES = ("ada", "bell", "curie", "dirac", "euler")
TRAINING, ROUNDS, RATE = "skeleton 1", 30, 1.0
Model = dict[str, np.ndarray]
Ask = Callable[[secagg.Phase, Mapping[str, bytes]], Iterator[tuple[str, bytes]]]
SIGNATURE = 64  # bytes at the end of a masked input (docs/WIRE.md)
START: Model = {"slope": np.zeros(1), "intercept": np.zeros(1)}
LAYOUT = secagg.ModelLayout.of(
    START, secagg.FixedPoint(clip=8.0, bits=24, max_weight=1000), cohort=len(SITES), clip=8.0
)


def readings_of(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns x and y of a site; they never leave it."""
    generator = np.random.default_rng(SITES.index(name))
    x = generator.uniform(-1, 1, 50 + 25 * SITES.index(name))
    return x, 3 * x - 2 + generator.normal(0, 0.1, len(x))


def train(name: str, assignment: secagg.Assignment) -> tuple[np.ndarray, int]:
    """At a site: returns what it gives in a round, and its weight."""
    old = cast("Model", LAYOUT.from_bytes(assignment.task))  # in this site's own structure
    assignment.expect(TRAINING, LAYOUT, old)  # what the input is for, in its own words
    x, y = readings_of(name)
    error = old["slope"] * x + old["intercept"] - y
    new = {
        "slope": old["slope"] - RATE * (error * x).mean(),
        "intercept": old["intercept"] - RATE * error.mean(),
    }
    return LAYOUT.pack(new, old), len(x)


def send(
    links: Mapping[str, Connection],
    seen: list[bytes],
    phase: secagg.Phase,
    payloads: Mapping[str, bytes],
) -> Iterator[tuple[str, bytes]]:
    """At the server: sends a payload to each of these sites, and yields their answers."""
    for name, payload in payloads.items():
        links[name].send_bytes(payload)
    for name in payloads:
        answer = links[name].recv_bytes()
        if phase is secagg.Phase.MASKED_INPUT:
            seen += [answer] * (name == SITES[0])  # only for what this program prints and draws
        yield name, answer


def aggregate(rounds: secagg.Rounds, ask: Ask, model: Model) -> secagg.Result:
    """At the server: returns the sum of a round; the model goes with the message that asks."""
    outcome = secagg.run_round(rounds, ask, SITES, LAYOUT, model, task=LAYOUT.to_bytes(model))
    if isinstance(outcome, secagg.Failed):
        raise SystemExit(f"skeleton: {outcome.reason} [{outcome.code}]")
    return outcome.result


def update(model: Model, result: secagg.Result) -> Model:
    """At the server: returns the model plus the mean of the updates."""
    return cast("Model", LAYOUT.unpack(result, model)[0])


def site(home: secagg.Home, name: str, link: Connection) -> None:
    """Answers what the server sends, until it sends nothing."""
    while payload := link.recv_bytes():
        link.send_bytes(secagg.answer(home, payload, partial(train, name)))


def draw(path: Path, models: list[Model], pooled: np.ndarray, masked: list[bytes]) -> None:
    """Draws the line by rounds, and the end of what a site sent in each, as a number."""
    from matplotlib.figure import Figure  # noqa: PLC0415  (only for pictures)

    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, colour, known in zip(START, ("#0072B2", "#D55E00"), pooled, strict=True):
        left.plot([float(model[name][0]) for model in models], color=colour, label=name)
        left.axhline(known, color=colour, ls=":", label=f"{name} of pooled readings")
    left.set_title("Of all sites: the line, by sums", fontsize=10)
    left.set(xlabel="round", ylabel="slope and intercept")
    left.legend(fontsize=8, loc="center right")
    numbers = [int.from_bytes(each, "big") / 2**64 for each in masked]
    right.plot(range(1, len(numbers) + 1), numbers, "o", color="#555555")
    right.set_title("Of one site: what looks random", fontsize=10)
    right.set(xlabel="round", ylim=(0, 1), ylabel="last 8 bytes of ada, over $2^{64}$")
    figure.savefig(path, dpi=100)


def main() -> None:
    """Starts the sites, and runs the rounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", type=picture_file, metavar="FILE", help="draw a picture of it")
    path = parser.parse_args().plot
    keys = {name: secagg.Identity.generate() for name in SITES}
    pins = secagg.Directory.of([(name, key.verify_key) for name, key in keys.items()])
    policy = secagg.Policy(mode=secagg.Mode.MALICIOUS, min_survivors=3)
    links, threads = {}, []
    for name, key in keys.items():
        home = secagg.Home.in_memory(
            identity=key, directory=pins, ledger=secagg.MemoryLedger(), policy=policy
        )
        links[name], theirs = Pipe()
        threads.append(threading.Thread(target=site, args=(home, name, theirs), daemon=True))
        threads[-1].start()

    rounds = secagg.Rounds(TRAINING, LAYOUT.format, directory=pins)
    seen: list[bytes] = []
    models = [START]
    for _ in range(ROUNDS):
        result = aggregate(rounds, partial(send, links, seen), models[-1])
        models.append(update(models[-1], result))
    model = models[-1]
    for link in links.values():
        link.send_bytes(b"")
    for thread in threads:
        thread.join()

    x, y = (np.concatenate(each) for each in zip(*map(readings_of, SITES), strict=True))
    slope, intercept = pooled = np.polyfit(x, y, 1)
    print(f"{ROUNDS} rounds: y = {model['slope'][0]:.4f} x {model['intercept'][0]:+.4f}")
    print(f"pooled readings: y = {slope:.4f} x {intercept:+.4f}\n")
    masked = [each[-SIGNATURE - 8 : -SIGNATURE] for each in seen]
    print(
        fill(
            "What the server saw: of ada, in the last round, a message of "
            f"{len(seen[-1])} bytes. Its numbers end with {masked[-1].hex(' ', 4)}, which "
            "tell nothing to whoever lacks the masks. Of all sites together it saw the weighted "
            "sum of the updates, and the sum of the weights: the number of all readings, "
            f"{len(x)}. In this simulation all sites are threads of one process, whose owner "
            "could read everything."
        )
    )
    if path:
        draw(path, models, pooled, masked)


if __name__ == "__main__":
    main()
