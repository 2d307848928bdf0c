"""Compares trainings in clear and in secret on a deployment of Flower."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from secagg.progress import Progress

from ..peers.case import BITS, CLIP, MAX_WEIGHT
from ..rows import Row, make_row
from . import flower

LENGTHS: Final = (10_000, 1_000_000)
BOUND: Final = "<= 1.15"
ALLOWED: Final = MAX_WEIGHT * 2 * CLIP / 2**BITS  # error of a mean: a level, ten times
NAMES: Final = {
    "plain": "Flower, FedAvg in clear",
    "plus": "Flower's SecAgg+",
    "secret": "secagg",
    "malicious": "secagg, malicious mode",
}
STEPS: Final = 5  # exchanges of a round in malicious mode
CONSISTENCY: Final = 3  # the place of the one that a round in semi-honest mode has not
SETTLED: Final = 1  # rounds that are not counted: in them keys and homes are made


@dataclass(frozen=True, slots=True)
class Measured:
    """The rounds of one system.

    Attributes:
        seconds: of whole rounds.
        exchanges: seconds of each exchange, by round.
        up, down: bytes of one node in a round.
        error: the largest error of a coordinate of the mean.
    """

    seconds: list[float]
    exchanges: list[list[float]]
    up: float
    down: float
    error: float

    @property
    def median(self) -> float:
        """Median seconds of a round."""
        return statistics.median(self.seconds)

    @classmethod
    def of(cls, found: Sequence[Mapping[str, Any]]) -> "Measured":
        """Gathers what the app wrote about one system."""
        rounds: list[list[Any]] = [each["exchanges"] for each in found]
        return cls(
            [each["seconds"] for each in found],
            [[exchange["seconds"] for exchange in each] for each in rounds],
            statistics.median(sum(e["up"] / e["nodes"] for e in each) for each in rounds),
            statistics.median(sum(e["down"] / e["nodes"] for e in each) for each in rounds),
            float(np.max([each["error"] for each in found])),  # one that is no number shows
        )


@dataclass(frozen=True, slots=True)
class Played:
    """All rounds of one size, by system; and the plain exchanges beside them.

    Attributes:
        exchanges: seconds of plain exchanges, by round, of the sizes of those of malicious mode.
    """

    nodes: int
    length: int
    systems: dict[str, Measured]
    exchanges: list[list[float]]

    def plain_exchanges(self, system: str) -> float:
        """Returns the median seconds of as many plain exchanges as a round of this system has."""
        left_out = set() if system == "malicious" else {CONSISTENCY}
        return statistics.median(
            sum(seconds for place, seconds in enumerate(each) if place not in left_out)
            for each in self.exchanges
        )

    def __str__(self) -> str:
        return f"n = {self.nodes}, m = {self.length:,}"


def gather(nodes: int, length: int, found: Sequence[Mapping[str, Any]]) -> Played:
    """Sorts what the app wrote."""
    counted = [each for each in found if each["round"] >= SETTLED]
    by_system = {name: [e for e in counted if e["system"] == name] for name in NAMES}
    return Played(
        nodes,
        length,
        {name: Measured.of(each) for name, each in by_system.items()},
        [
            [exchange["seconds"] for exchange in each["exchanges"]]
            for each in counted
            if each["system"] == "exchanges"
        ],
    )


def play(nodes: int, lengths: Sequence[int], rounds: int, limit: float) -> list[Played]:
    """Starts Flower and plays the rounds of all sizes.

    Raises:
        MissingError: Flower is not installed, or too old.
        DeploymentError: it does not do its work, or not within `limit` seconds for each size.
    """
    flower.version()
    progress = Progress(len(lengths) * (rounds + SETTLED) * (len(NAMES) + 1))
    played = []
    try:
        with flower.deployed(nodes) as deployment:
            progress.say("Flower starts")
            for length in lengths:
                config = {
                    "length": length,
                    "rounds": rounds,
                    "clip": CLIP,
                    "bits": BITS,
                    "max-weight": MAX_WEIGHT,
                }
                found = []
                for each in deployment.run(config, limit):
                    found.append(each)
                    progress(f"{length:,} coordinates, round {each['round']}: {each['system']}")
                played.append(gather(nodes, length, found))
    finally:
        progress.close()
    return played


def rows(played: Sequence[Played]) -> Iterator[Row]:
    """Yields the rows of all sizes."""
    for each in played:
        for system, many in (("secret", "four"), ("malicious", "five")):
            yield make_row(
                f"{NAMES[system]}: a round, {each}",
                each.systems[system].median,
                "s",
                f"{many} plain exchanges of the same sizes",
                each.plain_exchanges(system),
                BOUND,
            )
        ours = each.systems["secret"]
        for system in ("plus", "plain"):
            theirs, name = each.systems[system], NAMES[system]
            yield make_row(f"secagg: a round, {each}", ours.median, "s", name, theirs.median, "")
            yield make_row(f"its bytes up, one node, {each}", ours.up, "bytes", name, theirs.up, "")


def wrong(played: Sequence[Played]) -> list[str]:
    """Returns what has a mean that is further off than rounding makes it."""
    return [
        f"{NAMES[name]}, {each}: the mean is off by {one.error:.1e}, allowed {ALLOWED:.1e}"
        for each in played
        for name, one in each.systems.items()
        if not one.error <= ALLOWED
    ]


def table(played: Sequence[Played]) -> str:
    """Returns the rounds by system, and by exchange, as Markdown."""
    lines = [
        "| round | system | exchanges | one round, s | bytes up, one node | bytes down, one node "
        "| largest error of the mean |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in played:
        lines += [
            f"| {each} | {NAMES[name]} | {len(one.exchanges[0])} | {one.median:.2f} "
            f"| {one.up:,.0f} | {one.down:,.0f} | {one.error:.1e} |"
            for name, one in each.systems.items()
        ]
    lines += [
        "",
        "| round | exchange | plain, s | secagg, s | malicious mode, s | Flower's SecAgg+, s |",
        "|---|---|---|---|---|---|",
    ]
    for each in played:
        semi_honest = [place for place in range(STEPS) if place != CONSISTENCY]
        places = {
            "secret": semi_honest,
            "malicious": list(range(STEPS)),
            "plus": semi_honest,
        }
        for place, name in enumerate(("keys", "shares", "training", "consistency", "unmask")):
            cells = [_median(each.exchanges, place)]
            for system, own in places.items():
                found = each.systems[system].exchanges
                cells.append(_median(found, own.index(place)) if place in own else "")
            lines.append(f"| {each} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _median(exchanges: Sequence[Sequence[float]], place: int) -> str:
    return f"{statistics.median(each[place] for each in exchanges):.2f}"


def title(nodes: int, rounds: int) -> str:
    """Describes what is measured."""
    return (
        f"Flower {flower.version()}, a SuperLink and {nodes} SuperNodes on 127.0.0.1; medians of "
        f"{rounds} rounds in turns; clipped to {CLIP:g} at 2^{BITS} levels, "
        f"weights 1 to {MAX_WEIGHT}"
    )
