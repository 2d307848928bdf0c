"""Rows of a table: a measurement compared with a reference of the same run."""

import json
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from secagg.progress import Progress

Work = Callable[[], object]
Say = Callable[[str], None]
Clock = Callable[[], float]
ENOUGH: Final = 0.02  # least seconds of one measurement: short work is repeated


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        name: what was measured.
        value: the measured value, in `unit`; of seconds the median.
        unit: unit of value and reference: "s", "bytes", or "" for a pure number.
        reference: the value of the reference, measured in turns with the other.
        against: what the reference is.
        ratio: value / reference; if `target` is a minimum (">="), reference / value.
        target: the bound of the ratio, as text ("<= 1.3", ">= 4"), or "" for none.
        ok: whether the ratio meets the target.
    """

    name: str
    value: float
    unit: str
    reference: float
    against: str
    ratio: float
    target: str
    ok: bool


def in_turns(works: Sequence[Work], rounds: int, clock: Clock = time.perf_counter) -> list[float]:
    """Measures pieces of work in turns, so that noise affects all alike; returns median seconds.

    With one round each piece of work runs once, to check that it works; the seconds then mean
    nothing.
    """
    repeats = [1] * len(works)
    for number, work in enumerate(works if rounds > 1 else ()):
        work()  # not timed: caches and tables may be made on first use
        start = clock()
        work()
        repeats[number] = max(1, int(ENOUGH / max(clock() - start, 1e-9)))
    times: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for number, (work, repeat) in enumerate(zip(works, repeats, strict=True)):
            start = clock()
            for _ in range(repeat):
                work()
            times[number].append(max(clock() - start, 1e-9) / repeat)
    return [statistics.median(each) for each in times]


def cpu_seconds(work: Work) -> float:
    """Returns the CPU seconds of this process for doing the work once."""
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(
    name: str,
    work: Work,
    against: str,
    reference: Work,
    target: str,
    rounds: int,
    clock: Clock = time.perf_counter,
) -> Row:
    """Measures work and its reference, and compares their ratio with the target.

    Args:
        name, against: descriptions of the work and of the reference.
        work, reference: functions without arguments.
        target: "<= x" bounds work / reference, ">= x" bounds the speed-up reference / work.
        rounds: rounds of measuring in turns.
        clock: the default is wall-clock time; `time.process_time` is the CPU time of this process
            on all cores, without other work on the machine.
    """
    value, other = in_turns([work, reference], rounds, clock)
    return make_row(name, value, "s", against, other, target)


def make_row(
    name: str, value: float, unit: str, against: str, reference: float, target: str
) -> Row:
    """Compares two figures that are already measured; see `compare`."""
    least = target.startswith(">=")
    ratio = reference / value if least else value / reference
    bound = float(target[2:]) if target else 0.0
    ok = not target or (ratio >= bound if least else ratio <= bound)
    return Row(name, value, unit, reference, against, ratio, target, ok)


def without_target(row: Row) -> Row:
    """Returns the same row without a target."""
    return make_row(row.name, row.value, row.unit, row.against, row.reference, "")


def collect(parts: Sequence[Iterable[Row | str]]) -> tuple[list[Row], list[str]]:
    """Runs all parts and returns their rows, and their texts: what was skipped, and why.

    A terminal shows each of them with a progress bar of the parts.
    """
    progress = Progress(len(parts))
    found: list[Row] = []
    left_out: dict[str, None] = {}  # an ordered set
    text = ""
    for part in parts:
        for each in part:
            if isinstance(each, str):
                left_out[each] = None
                text = f"left out: {each}"
            else:
                found.append(each)
                text = f"{each.name}: {each.ratio:.2f} of {each.against}"
            progress.say(text)
        progress(text)
    progress.close()
    return found, list(left_out)


def table(rows: Sequence[Row]) -> str:
    """Returns the rows as Markdown."""
    lines = ["| what | | against | | ratio | target | ok |", "|---|---|---|---|---|---|---|"]
    lines += [
        f"| {row.name} | {shown(row.value, row.unit)} | {row.against} "
        f"| {shown(row.reference, row.unit)} | {_short(row.ratio)} "
        f"| {row.target} | {('yes' if row.ok else 'NO') if row.target else ''} |"
        for row in rows
    ]
    return "\n".join(lines)


def _short(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.3g}"


def shown(value: float, unit: str) -> str:
    """Formats a figure: seconds from 10 s on, milliseconds below, bytes as whole numbers."""
    if unit == "s":
        return f"{value:.1f} s" if value >= 10 else f"{value * 1e3:,.3f} ms"
    return f"{value:,.0f} {unit}" if unit else f"{value:g}"


def write_json(path: Path, machine: str, rows: Sequence[Row]) -> None:
    """Writes the rows as JSON; the field `machine` of each describes where it was measured."""
    named = [{**asdict(row), "machine": machine} for row in rows]
    path.write_text(json.dumps({"rows": named}, indent=1))
