"""A measurement held against a reference of the same run, as a row of a table."""

import json
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from .progress import Progress

Work = Callable[[], object]
Say = Callable[[str], None]
Clock = Callable[[], float]
ENOUGH: Final = 0.02  # seconds that one measurement of a piece of work should take at least


@dataclass(frozen=True, slots=True)
class Row:
    """One line.

    Attributes:
        name: what was measured.
        value: median seconds, or what `unit` says.
        unit: of value and reference: "s", "bytes", or "" for a pure number.
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


def in_turns(works: Sequence[Work], rounds: int, clock: Clock = time.perf_counter) -> list[float]:
    """Median seconds of each piece of work, all measured in turns: noise hits them alike.

    One round only shows that the work can be done: then each is done once, and the seconds are of
    no use.
    """
    repeats = [1] * len(works)
    for number, work in enumerate(works if rounds > 1 else ()):
        work()  # whatever is made on first use
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
    """CPU seconds of this process that the work takes once."""
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
    """Measures both and holds the ratio against the target.

    Args:
        name, against: what the two are.
        work, reference: what is done; neither takes arguments.
        target: "<= x" bounds work / reference, ">= x" bounds the speed-up reference / work.
        rounds: of measuring in turns.
        clock: `time.process_time` counts what this process works, on all cores, and not what
            others do meanwhile.
    """
    value, other = in_turns([work, reference], rounds, clock)
    return hold(name, value, "s", against, other, target)


def hold(name: str, value: float, unit: str, against: str, reference: float, target: str) -> Row:
    """Holds two figures that were measured already against each other; see `compare`."""
    least = target.startswith(">=")
    ratio = reference / value if least else value / reference
    bound = float(target[2:]) if target else 0.0
    ok = not target or (ratio >= bound if least else ratio <= bound)
    return Row(name, value, unit, reference, against, ratio, target, ok)


def unjudged(row: Row) -> Row:
    """The same without a target."""
    return hold(row.name, row.value, row.unit, row.against, row.reference, "")


def collect(parts: Sequence[Iterable[Row | str]]) -> tuple[list[Row], list[str]]:
    """All rows of some parts, and the texts among them: what was left out, and why.

    On a terminal each is said as it comes, with a bar of the parts that are done.
    """
    progress = Progress(len(parts))
    found: list[Row] = []
    left_out: dict[str, None] = {}  # each once
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
    """The rows as Markdown."""
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
    """A figure as text: seconds from ten on, milliseconds below, whole bytes."""
    if unit == "s":
        return f"{value:.1f} s" if value >= 10 else f"{value * 1e3:,.3f} ms"
    return f"{value:,.0f} {unit}" if unit else f"{value:g}"


def write_json(path: Path, machine: str, rows: Sequence[Row]) -> None:
    """The rows as JSON, each with the machine that it was measured on, as `machine`."""
    named = [{**asdict(row), "machine": machine} for row in rows]
    path.write_text(json.dumps({"rows": named}, indent=1))
