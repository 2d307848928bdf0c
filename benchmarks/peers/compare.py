"""Compares this library with others on the same vectors, weights, precision and dropouts.

In whole rounds all parties work in this process, one after the other. Ours is played before and
after each round of another system, since some of these take minutes; the median counts.
"""

import importlib.metadata
import os
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from secagg import Field, FixedPoint, Params, Suite
from secagg.encoding.choice import codec_for

from .. import bare
from ..kernels import MASKS, naive_masks
from ..rows import Row, compare, make_row
from . import ckks, flower, lightsecagg, ours
from .case import BITS, CLIP, MAX_WEIGHT, Case, MissingError, Outcome, System

OURS: Final = "secagg"
FLOWER: Final = "Flower"
SYSTEMS: Final[dict[str, System]] = {
    FLOWER: flower.play,
    "FedML LightSecAgg": lightsecagg.play,
    "CKKS (TenSEAL)": ckks.play,
}
PACKAGES: Final = ("flwr", "fedml", "tenseal", "cryptography")


@dataclass(frozen=True, slots=True, eq=False)
class Played:
    """One round of one system."""

    case: Case
    system: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of the measurements.

    Attributes:
        length: coordinates per vector.
        few: clients of the rounds with every system.
        many: clients of the round with Flower alone.
        rounds: rounds of measuring in turns, for single pieces of work.
    """

    length: int
    few: int
    many: int
    rounds: int


FULL: Final = Sizes(1_000_000, 10, 100, 7)
QUICK: Final = Sizes(2_000, 6, 7, 3)
DROPOUT: Final = 0.1


def title() -> str:
    """Describes the installed peers, with their versions, and the common parameters."""
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return (
        f"{', '.join(found) or 'no peer is installed'}; values clipped to {CLIP:g} at 2^{BITS} "
        f"levels, weights 1 to {MAX_WEIGHT}, {DROPOUT:.0%} lost after the key shares"
    )


def parts(sizes: Sizes, played: list[Played]) -> Sequence[Iterator[Row | str]]:
    """Returns the parts of the measurement: each yields rows, or a text about what was skipped.

    Whole rounds are also appended to `played`.
    """
    few = Case.random(sizes.few, sizes.length, DROPOUT)
    return (
        _pieces(sizes),
        *(_round(few, name, "", "", played) for name in SYSTEMS),
        _many(sizes, played),
    )


def _many(sizes: Sizes, played: list[Played]) -> Iterator[Row | str]:
    many = Case.random(sizes.many, sizes.length, DROPOUT)
    yield from _round(many, FLOWER, ">= 50", "<= 0.5", played)


def _pieces(sizes: Sizes) -> Iterator[Row | str]:
    length, rounds = sizes.length, sizes.rounds
    values = np.random.default_rng(0).uniform(-CLIP, CLIP, length).astype(np.float32)
    codec = codec_for(Params(10, length, FixedPoint(clip=CLIP, bits=BITS)), bytes(16))
    field = Field(32)
    acc = field.zeros(length)
    keys, signs = [os.urandom(32) for _ in range(MASKS)], [1] * MASKS

    def masks() -> object:
        return field.accumulate(acc, keys, signs, Suite.AES256CTR.generator)

    name = f"{MASKS} masks of {length:,} expanded and added"
    try:
        yield compare(
            f"quantize {length:,} float32 to {BITS} bits",
            lambda: codec.encode(values, 1, os.urandom),
            "Flower's quantize",
            flower.quantizer(values),
            ">= 20",
            rounds,
        )
        generator = flower.masks(MASKS, length)
        yield compare(name, masks, "Flower's generator", generator, ">= 30", rounds)
        most = bare.keystream(Suite.AES256CTR.generator, MASKS * length * field.dtype.itemsize)
        what = "bare keystream of as many bytes"
        yield compare(what, most, "Flower's generator", generator, "", rounds)
    except MissingError as missing:
        yield str(missing)
    naive = naive_masks(keys, signs, length)
    if naive is None:
        yield "cryptography + NumPy: not installed"
    else:
        yield compare(name, masks, "cryptography + NumPy", naive, ">= 4", rounds)


def _round(
    case: Case, name: str, faster: str, smaller: str, played: list[Played]
) -> Iterator[Row | str]:
    """Yields rows of whole rounds: seconds, CPU seconds, and bytes that one client sends."""
    before = ours.play(case)
    try:
        theirs = SYSTEMS[name](case)
    except MissingError as missing:
        yield str(missing)
        return
    own = [before, ours.play(case), ours.play(case)]
    if not any(one.case is case and one.system == OURS for one in played):
        played.append(Played(case, OURS, own[-1]))
    played.append(Played(case, name, theirs))
    seconds = statistics.median(one.seconds for one in own)
    yield make_row(f"whole round, {case}", seconds, "s", name, theirs.seconds, faster)
    busy = statistics.median(one.cpu for one in own)
    yield make_row(f"its CPU time, {case}", busy, "s", name, theirs.cpu, "")
    sent = f"bytes up, one client, {case}"
    yield make_row(sent, own[-1].bytes_up, "bytes", name, theirs.bytes_up, smaller)


def table(played: list[Played]) -> str:
    """Returns the whole rounds by phase, as Markdown."""
    lines = [
        "| round | system | phase | one client, ms | server, s |",
        "|---|---|---|---|---|",
    ]
    for one in played:
        for phase, (clients, server) in one.outcome.phases.items():
            lines.append(
                f"| {one.case} | {one.system} | {phase.replace('_', ' ')} "
                f"| {clients / one.case.clients * 1e3:,.2f} | {server:.3f} |"
            )
    lines += [
        "",
        "| round | system | all, s | CPU, s | bytes up, one client | largest error of the mean |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.case} | {one.system} | {one.outcome.seconds:.2f} | {one.outcome.cpu:.2f} "
        f"| {one.outcome.bytes_up:,} | {one.outcome.error(one.case):.1e} |"
        for one in played
    ]
    return "\n".join(lines)
