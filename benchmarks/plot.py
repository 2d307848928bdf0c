"""Draws measurements as PNG pictures that are legible in grey."""

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Final

from .rows import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DARK, _LIGHT, _LINE = "#1f4e79", "#c9d7e6", "#333333"
_STYLES: Final = (("o", "-"), ("s", "--"), ("^", ":"), ("D", "-."))


def require() -> None:
    """Ends the program with a message, before any measurement, if matplotlib is missing."""
    try:
        import matplotlib.figure  # noqa: F401, PLC0415  (heavy, and only needed here)
    except ImportError:
        sys.exit("python -m benchmarks: matplotlib is not installed; pip install 'secagg[fl]'")


def write(folder: Path, name: str, content: bytes) -> None:
    """Writes a picture into a folder, which is created if it does not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.png").write_bytes(content)


def bars(
    found: Sequence[Row], title: str, sides: tuple[str, str] = ("secagg", "reference")
) -> bytes:
    """Draws the seconds of each row beside its reference, on a logarithmic scale.

    Args:
        sides: labels of the values and of the references.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415

    timed = [row for row in found if row.unit == "s"]
    figure = Figure(figsize=(9, 1.4 + 0.5 * len(timed)), layout="constrained")
    axes = figure.subplots()
    places = range(len(timed))
    ours, theirs = [row.value for row in timed], [row.reference for row in timed]
    low = min([*ours, *theirs], default=1.0) / 3
    axes.barh([at - 0.2 for at in places], ours, 0.38, color=_DARK, label=sides[0])
    axes.barh(
        [at + 0.2 for at in places],
        theirs,
        0.38,
        color=_LIGHT,
        edgecolor=_LINE,
        hatch="///",
        label=sides[1],
    )
    for at, row in enumerate(timed):
        factor = row.reference / row.value
        text = f"{factor:,.0f}x" if factor >= 10 else f"{factor:.2g}x"
        axes.text(max(row.value, row.reference) * 1.1, at, text, va="center", fontsize="small")
    axes.set_yticks(list(places), [fill(f"{row.name}, against {row.against}", 52) for row in timed])
    axes.tick_params(axis="y", labelsize="small")
    axes.margins(y=0.02)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(low, max([*ours, *theirs], default=1.0) * 4)
    axes.set_xlabel(f"seconds (logarithmic); the number is {sides[1]} / {sides[0]}")
    axes.set_title(title)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=2)
    return _png(figure)


@dataclass(frozen=True, slots=True)
class Series:
    """A line of a panel: its label and its points."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


def panels(found: Sequence[tuple[str, Sequence[Series]]], x: str, y: str) -> bytes:
    """Draws panels side by side, with logarithmic axes; the first line of each is ours."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(4.5 * len(found), 4.5), layout="constrained")
    row = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
    for axes, (title, lines) in zip(row, found, strict=True):
        for number, line in enumerate(lines):
            marker, dash = _STYLES[number % len(_STYLES)]
            color, width = (_DARK, 2.5) if number == 0 else (_LINE, 1.2)
            axes.plot(
                line.x,
                line.y,
                color=color,
                linewidth=width,
                marker=marker,
                linestyle=dash,
                label=line.label,
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        ticks = sorted({value for line in lines for value in line.x})
        axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks], rotation=60, fontsize="small")
        axes.minorticks_off()
        axes.set_xlabel(x)
        axes.set_title(title)
        axes.grid(alpha=0.3)
    row[0].set_ylabel(y)
    handles, labels = row[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return _png(figure)


def _png(figure: "Figure") -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    return content.getvalue()
