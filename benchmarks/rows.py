"""A measurement held against a reference of the same run, as a row of a table."""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

Work = Callable[[], object]
ENOUGH: Final = 0.02  # seconds that one measurement of a piece of work should take at least


@dataclass(frozen=True, slots=True)
class Row:
    """One line.

    Attributes:
        name: what was measured.
        value: median seconds, or what `unit` says.
        unit: of value and reference.
        reference: the same of the reference, measured in turns with it.
        against: what the reference is.
        ratio: value / reference, or reference / value where `target` is a least speed-up.
        target: the bound on the ratio, as text ("<= 1.3", ">= 4"), or "" for none.
        ok: whether the ratio keeps it.
    """

    name: str
    value: float
    unit: str
    reference: float
    against: str
    ratio: float
    target: str
    ok: bool


def in_turns(works: Sequence[Work], rounds: int) -> list[float]:
    """Median seconds of each piece of work, all measured in turns: noise hits them alike."""
    repeats = []
    for work in works:
        work()  # whatever is made on first use
        start = time.perf_counter()
        work()
        repeats.append(max(1, int(ENOUGH / max(time.perf_counter() - start, 1e-9))))
    times: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for number, (work, repeat) in enumerate(zip(works, repeats, strict=True)):
            start = time.perf_counter()
            for _ in range(repeat):
                work()
            times[number].append((time.perf_counter() - start) / repeat)
    return [statistics.median(each) for each in times]


def compare(name: str, work: Work, against: str, reference: Work, target: str, rounds: int) -> Row:
    """Measures both and holds the ratio against the target.

    Args:
        name, against: what the two are.
        work, reference: what is done; neither takes arguments.
        target: "<= x" bounds work / reference, ">= x" bounds the speed-up reference / work.
        rounds: of measuring in turns.
    """
    value, other = in_turns([work, reference], rounds)
    least = target.startswith(">=")
    ratio = other / value if least else value / other
    bound = float(target[2:]) if target else 0.0
    ok = not target or (ratio >= bound if least else ratio <= bound)
    return Row(name, value, "s", other, against, ratio, target, ok)


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| what | ms | against | ms | ratio | target | ok |", "|---|---|---|---|---|---|---|"]
    lines += [
        f"| {row.name} | {row.value * 1e3:.3f} | {row.against} | {row.reference * 1e3:.3f} "
        f"| {row.ratio:.2f} | {row.target} | {'yes' if row.ok else 'NO'} |"
        for row in rows
    ]
    return "\n".join(lines)


def write_json(path: Path, machine: str, rows: Sequence[Row]) -> None:
    """The rows as JSON, with the machine that they were measured on."""
    path.write_text(
        json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=1)
    )
