"""The skeleton that articles print (aggregate, send, train, update) with real bodies.

Question: slope and intercept of a line through readings that stay at five sites.
Data: drawn at random, in this file, by a seeded generator.
Run it: ``python examples/skeleton.py``. Sites are threads of this process, to which only bytes go,
through pipes; over a network only `send` changes (docs/INTEGRATE.md).
Protected: the update of each site from the other sites and from the server, even if it lies
(malicious mode) and has one of the five sites on its side.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from multiprocessing.connection import Connection, Pipe
from textwrap import fill
from typing import cast

import numpy as np

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
    sent: dict[str, bytes],
    phase: secagg.Phase,
    payloads: Mapping[str, bytes],
) -> Iterator[tuple[str, bytes]]:
    """At the server: sends a payload to each of these sites, and yields their answers."""
    for name, payload in payloads.items():
        links[name].send_bytes(payload)
    for name in payloads:
        answer = links[name].recv_bytes()
        if phase is secagg.Phase.MASKED_INPUT:
            sent[name] = answer  # only for the last lines that this program prints
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


def main() -> None:
    """Starts the sites, and runs the rounds."""
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
    sent: dict[str, bytes] = {}
    model = START
    for _ in range(ROUNDS):
        model = update(model, aggregate(rounds, partial(send, links, sent), model))
    for link in links.values():
        link.send_bytes(b"")
    for thread in threads:
        thread.join()

    x, y = (np.concatenate(each) for each in zip(*map(readings_of, SITES), strict=True))
    slope, intercept = np.polyfit(x, y, 1)
    print(f"{ROUNDS} rounds: y = {model['slope'][0]:.4f} x {model['intercept'][0]:+.4f}")
    print(f"pooled readings: y = {slope:.4f} x {intercept:+.4f}\n")
    masked = sent["ada"][-SIGNATURE - 8 : -SIGNATURE]
    print(
        fill(
            "What the server saw: of ada, in the last round, a message of "
            f"{len(sent['ada'])} bytes. Its numbers end with {masked.hex(' ', 4)}, which "
            "tell nothing to whoever lacks the masks. Of all sites together it saw the weighted "
            "sum of the updates, and the sum of the weights: the number of all readings, "
            f"{len(x)}. In this simulation all sites are threads of one process, whose owner "
            "could read everything."
        )
    )


if __name__ == "__main__":
    main()
