"""When is traffic worst in each district, if seven operators of cameras keep their counts?

Run it: ``python examples/city_traffic.py [--plot FILE]``. Cameras of one operator stand in some
districts, and what it counts is worth money. The operators sum up one table of vehicles by district
and hour; the city publishes it with small cells suppressed, and reads the peak hours of each
district from it.

Data: one day of vehicles by a seeded generator, with known peaks.

Protected: the counts of each operator, from the city and from up to two other operators. The exact
table is the city's: a count of 3 vehicles in an industrial district at night is in it. In what is
published no cell below 30 is shown, nor one that the totals of lines and columns would give away.
An operator that is alone in a district has its counts published as that district's: agree on
districts in which there are three or more.
"""

import argparse
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from secagg.fl import picture_file

import secagg
from secagg.analytics import Categories, Count, Query

HOURS: Final = list(range(24))
# District: hours of its peaks, vehicles in a busy hour for each operator, share of them at night.
CITY: Final[dict[str, tuple[tuple[int, ...], int, float]]] = {
    "centre": ((8, 17), 900, 0.15),
    "harbour": ((6, 14), 350, 0.02),
    "university": ((9, 16), 300, 0.05),
    "theatres": ((19, 23), 400, 0.1),
    "industry": ((7, 15), 250, 0.005),
    "suburb": ((7, 18), 500, 0.04),
}
OPERATORS: Final = ("argus", "bluebox", "cctv", "delta", "eye", "flow", "grid")
DISTRICT: Final = Categories("district", list(CITY), other=False)
QUERY: Final = Query(
    {"vehicles": Count([DISTRICT, Categories("hour", HOURS, other=False)])}, records=100_000
)
LEAST: Final = 30


def vehicles_of(operator: int) -> dict[str, Any]:
    """Draws a day of an operator, a record for each vehicle, in four of the districts."""
    random = np.random.default_rng((9, operator))
    districts: list[str] = []
    hours: list[int] = []
    for name in random.choice(list(CITY), 4, replace=False).tolist():
        peaks, busy, night = CITY[name]
        for hour in HOURS:
            shape = sum(np.exp(-((hour - peak) ** 2) / 5.0) for peak in peaks)
            count = int(random.poisson(busy * max(shape, 0.3 if 6 < hour < 22 else night)))
            districts += [name] * count
            hours += [hour] * count
    return {"district": districts, "hour": hours}


def peaks(counts: Any) -> list[int]:
    """Returns the busiest hour, and the busiest one at least four hours away, ascending."""
    first = int(np.ma.argmax(counts))
    away = np.ma.array(counts, copy=True)
    away[max(0, first - 3) : first + 4] = np.ma.masked
    return sorted((first, int(np.ma.argmax(away))))


def masked_of(run: secagg.SecureSum, operator: int) -> NDArray[np.int64]:
    """Returns what the city sees of an operator: its masked counts (docs/WIRE.md)."""
    (message,) = (
        each.payload
        for each in run.transcript
        if each.phase is secagg.Phase.MASKED_INPUT and each.sender == operator
    )
    width = run.params.field_bits
    packed = np.frombuffer(message, np.uint8)[52:]  # a header and a hash are before it
    bits = np.unpackbits(packed, bitorder="little")
    return bits[: QUERY.length * width].reshape(-1, width) @ (1 << np.arange(width))


def draw(path: Path, own: Any, masked: Any, published: Any) -> None:
    """Draws what an operator counted, what the city saw of it, and the published sum."""
    from matplotlib.figure import Figure  # noqa: PLC0415  (only for pictures)

    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    titles = {
        f"Vehicles that {OPERATORS[0]} counted, in four districts": own,
        f"What the city saw of {OPERATORS[0]}: random numbers": masked,
        "Vehicles of all, as published; rings: peaks; grey: suppressed": published,
    }
    places = figure.subplots(3, 1, sharex=True)
    for axes, (title, cells) in zip(places, titles.items(), strict=True):
        image = axes.imshow(cells.reshape(published.shape), cmap="cividis", aspect="auto")
        figure.colorbar(image, pad=0.01, format="{x:,.0f}")
        axes.set_yticks(range(len(CITY)), list(CITY), fontsize=8)
        axes.set_title(title, fontsize=10)
    axes.set_facecolor("#BBBBBB")  # where cells are suppressed
    for at, row in enumerate(published):
        axes.plot(peaks(row), [at, at], "o", mfc="none", mec="#D55E00", mew=2)
    axes.set(xlabel="hour of the day", xticks=HOURS[::2])
    figure.savefig(path, dpi=100)


def main() -> None:
    """Sums up the table, and prints what may be published."""
    parser = argparse.ArgumentParser(description="Finds the peak hours of a city's traffic.")
    parser.add_argument("--plot", type=picture_file, metavar="FILE", help="draw a picture of it")
    path = parser.parse_args().plot
    given = [vehicles_of(operator) for operator in range(len(OPERATORS))]
    run = secagg.secure_sum(
        [QUERY.pack(each) for each in given],
        QUERY.format,
        drops={5: secagg.Phase.MASKED_INPUT},  # flow's line is down
    )
    table = QUERY.unpack(run, least=LEAST)["vehicles"]
    exact = QUERY.unpack(run)["vehicles"].count.data
    pooled = np.sum([QUERY.pack(given[at]) for at in run.survivors], axis=0).reshape(exact.shape)
    same = "equal" if np.array_equal(pooled, exact) else "NOT EQUAL"
    print(f"{exact.sum():,} vehicles of {len(run.survivors)} operators; pooled and secure: {same}")
    print(f"\n{'vehicles':12} " + " ".join(f"{hour:5}" for hour in HOURS[::2]) + "   peaks")
    for at, name in enumerate(CITY):
        row = table.count[at]
        cells = ["-" if np.ma.is_masked(each) else f"{each}" for each in row[::2]]
        busiest = " and ".join(f"{hour}:00" for hour in peaks(row))
        print(f"{name:12} " + " ".join(f"{each:>5}" for each in cells) + f"   {busiest}")
    small = int((exact < LEAST).sum())
    print(
        f"\n{table.suppressed} of {exact.size} cells are suppressed (-): {small} below {LEAST}, "
        f"and {table.suppressed - small} without which totals would\ngive those away. Every second "
        f"hour is printed.\n\nWhat the server saw: one sum of {QUERY.length} counts over "
        f"{len(run.survivors)} of {len(OPERATORS)} operators, those below {LEAST}\nas well, and "
        "who was in it; of each operator masked numbers alone."
    )
    if path:
        draw(path, QUERY.pack(given[0]), masked_of(run, 0), table.count)


if __name__ == "__main__":
    main()
