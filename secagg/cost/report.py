"""Text for people: costs by phase and side, findings; at most 80 letters wide."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from ..params.mode import Mode
from .bench import Measured
from .model import Estimate

_WIDTH: Final = 79
_LABEL: Final = 16
_COLUMN: Final = 15  # of at most four columns
_SIX: Final = (12, 12, 7, 12, 12, 7)  # widths of six columns


def wrapped(text: str) -> list[str]:
    """Returns a paragraph as lines."""
    return textwrap.wrap(text, _WIDTH)


def pairs(facts: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yields lines of labels and values."""
    for label, value in facts:
        yield from textwrap.wrap(
            f"{label:<{_LABEL}}{value}", _WIDTH, subsequent_indent=" " * _LABEL
        )


def costs(mode: Mode, estimates: Sequence[tuple[int, Estimate]]) -> Iterator[str]:
    """Yields estimated CPU time by phase: of one client, and of the server by dropouts."""
    yield "estimated CPU time on one core of this machine"
    yield _row("", "one client", *("server" for _ in estimates))
    yield _row("", "", *(f"{lost:,} lost" for lost, _ in estimates))
    client = estimates[0][1].client
    for index, phase in enumerate(mode.phases):
        each = (cost.server.phases[index] for _, cost in estimates)
        yield _row(str(phase), *map(seconds, (client.phases[index], *each)))
    yield _row("all", *map(seconds, (client.seconds, *(c.server.seconds for _, c in estimates))))


def measured(found: Measured) -> Iterator[str]:
    """Yields measured beside estimated CPU time by phase and side, with their ratios."""
    params, model = found.params, found.model
    rounds = f"median of {found.rounds} rounds" if found.rounds > 1 else "one round"
    yield from wrapped(
        f"measured here: {rounds} of {params.cohort:,} clients x {params.length:,} values with "
        f"{found.dropouts:,} lost, {seconds(found.seconds)} for all parties one by one"
    )
    yield _row("", *("one client", "estimated", "ratio", "server", "estimated", "ratio"))
    sides = (found.client, model.client), (found.server, model.server)
    for index, phase in enumerate(params.mode.phases):
        yield _compared(
            str(phase), [(real.phases[index], told.phases[index]) for real, told in sides]
        )
    yield _compared("all", [(real.seconds, told.seconds) for real, told in sides])


def finding(severity: str, code: str, text: str, remedy: str) -> Iterator[str]:
    """Yields a finding: its severity and code, and wrapped below them what it says."""
    yield f"{severity}: {code}"
    for part in (text, remedy):
        yield from textwrap.wrap(
            part, _WIDTH, initial_indent="  ", subsequent_indent="  ", break_long_words=False
        )


def seconds(value: float) -> str:
    """Returns a time with a unit that suits it."""
    if value < 1e-3:
        return f"{value * 1e6:.0f} us"
    if value < 1:
        return f"{value * 1e3:.{0 if value >= 0.1 else 1}f} ms"
    return f"{value:,.{0 if value >= 100 else 1}f} s"


def size(value: float) -> str:
    """Returns a number of bytes with a unit that suits it."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= factor:
            return f"{value / factor:,.1f} {unit}"
    return f"{value:.0f} bytes"


def _compared(label: str, sides: Iterable[tuple[float, float]]) -> str:
    cells: list[str] = []
    for real, told in sides:
        cells += [seconds(real), seconds(told), f"{told / real:.2f}" if real else "-"]
    return _row(label, *cells)


def _row(label: str, *cells: str) -> str:
    widths = _SIX if len(cells) == len(_SIX) else (_COLUMN,) * len(cells)
    parts = (f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
    return f"{label:<{_LABEL}}{''.join(parts)}".rstrip()
