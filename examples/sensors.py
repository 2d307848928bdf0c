"""Sensors in homes and on farms: what is normal, what is odd, and how moist the soil is tomorrow.

Run it: ``python examples/sensors.py [--full] [--plot FILE]`` (60 gateways; 150). It needs the extra
`fl`. A gateway has a day's readings of its devices, of three kinds: in rooms, stables and soil. In
one round all give histograms by kind, from which come quantiles, and counts of the anomalies that
they found themselves. Then they train a regression together: the soil's moisture tomorrow, from
moisture, temperature, rain and irrigation today. Gateways go offline in the middle of every round;
the others get their sum.

Data: readings of a seeded generator; of 25 devices one is stuck and one has spikes.

Protected: readings and habits of each home (a room that cools down at noon is empty), from the
server, also if it is in league with fewer than a third of the gateways in a sum. Not protected:
which gateways were online, and what exact counts and means of updates tell; noise would hide that
(docs/PRIVACY.md).
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray
from secagg.fl import (
    FedAvg,
    Momentum,
    Score,
    draw_drops,
    fedavg_params,
    picture_file,
    simulated_randomness,
)

import secagg
from secagg.analytics import Bins, Categories, Count, Moments, MomentsTable, Query, Table

# Kind of device: mean, deviation between places, deviation over a day; in degrees Celsius.
KINDS: Final = {"room": (20.0, 2.0, 1.5), "stable": (14.0, 3.0, 2.5), "soil": (11.0, 2.0, 1.0)}
LOW, HIGH = -10.0, 40.0
BINS: Final = tuple(np.arange(LOW, HIGH + 0.5, 0.5).tolist())
KIND: Final = Categories("kind", list(KINDS), other=False)
ODD: Final = Categories("odd", [False, True], other=False)
QUESTIONS: Final[dict[str, Count | Moments]] = {
    "celsius": Moments("celsius", LOW, HIGH, 0.1, by=KIND),
    "odd": Count([KIND, ODD]),
    **{kind: Count(Bins(kind, BINS, missing="count")) for kind in KINDS},  # others are missing
}
QUERY: Final = Query(QUESTIONS, records=1_000)  # the most of one gateway
ROUNDS, LOST, DAYS, SEED = 30, 0.1, 40, 6

Reals = NDArray[np.float64]


def is_odd(readings: Reals) -> NDArray[np.bool_]:
    """Returns which readings of a device are far from its others; all, if it is stuck."""
    distance = np.abs(readings - np.median(readings))
    usual = float(np.median(distance))
    return distance > 6 * usual if usual else np.ones(len(readings), np.bool_)


def readings_of(gateway: int) -> dict[str, Any]:
    """Returns a day of readings of a gateway, each half hour of each device."""
    random = np.random.default_rng((SEED, gateway))
    kinds, values, odd = [], [], []
    for kind in random.choice(list(KINDS), int(random.integers(3, 9))).tolist():
        mean, between, over_day = KINDS[kind]
        at = random.normal(mean, between) + over_day * np.sin(np.arange(48) / 48 * 2 * np.pi)
        found = (at + random.normal(0, 0.3, 48)).round(1)
        if (trouble := random.random()) < 0.04:
            found[:] = found[0]
        elif trouble < 0.08:
            found[random.choice(48, 3, replace=False)] += 18.0
        found = found.clip(LOW, HIGH)
        kinds += [kind] * 48
        values.append(found)
        odd.append(is_odd(found))
    celsius, names = np.concatenate(values), np.array(kinds)
    own = {kind: np.where(names == kind, celsius, np.nan) for kind in KINDS}
    return {"kind": names, "celsius": celsius, "odd": np.concatenate(odd), **own}


@dataclass
class Field:
    """A client of the regression: days of a place, in units that are public."""

    x: Reals  # moisture, temperature, rain, irrigation, and 1
    y: Reals  # moisture of the next day

    @property
    def examples(self) -> int:
        """Its weight in the mean."""
        return len(self.y)

    def train(self, model: list[Reals]) -> list[Reals]:
        """Returns the coefficients after a step of least squares."""
        now = model[0]
        return [now - 0.3 * self.x.T @ (self.x @ now - self.y) / len(self.y)]


def field_of(gateway: int) -> Field:
    """Returns the days of the place of a gateway, whose soil holds water better or worse."""
    random = np.random.default_rng((SEED, gateway, 1))
    holds, moist, rows = random.normal(0.85, 0.03), random.uniform(15, 35), []
    for _ in range(DAYS):
        warm, rain = random.normal(16, 5), random.exponential(3) * (random.random() < 0.4)
        water = 4.0 * (moist < 20)
        after = holds * moist + 0.9 * rain + 0.8 * water + 2.5 - 0.08 * (warm - 16)
        after = float(np.clip(after + random.normal(0, 0.7), 2, 60))
        rows.append([(moist - 25) / 10, (warm - 16) / 5, rain / 3, water / 4, 1.0, after])
        moist = after
    table = np.array(rows)
    return Field(table[:, :5], (table[:, 5] - 25) / 10)


def draw(
    path: Path,
    tables: Mapping[str, Table],
    quantiles: Mapping[str, tuple[Any, Any]],
    errors: Mapping[str, float],
    by_round: Mapping[int, float],
) -> None:
    """Draws histograms and quantiles of the sum over pooled ones, and the error by round."""
    from matplotlib.figure import Figure  # noqa: PLC0415  (only for pictures)

    figure = Figure(figsize=(6.8, 3.4), layout="constrained")
    places = figure.subplot_mosaic([["upper", "right"], ["lower", "right"]], height_ratios=(2, 1))
    upper, lower, right = (places[name] for name in ("upper", "lower", "right"))
    for kind, colour in zip(KINDS, ("#D55E00", "#0072B2", "#009E73"), strict=True):
        secure, pooled = quantiles[kind]
        upper.stairs(tables[kind].count.data[:-1], BINS, color=colour, lw=1.5, label=kind)
        lower.plot(secure, [kind] * 3, color=colour, lw=4, marker="o")
        lower.plot(pooled, [kind] * 3, "k|", markersize=14)
    upper.legend(fontsize=8)
    upper.set(title="What is normal, by one sum", xlim=(0, 30), ylabel="readings")
    lower.set(xlim=(0, 30), xlabel="degrees Celsius", ylim=(2.6, -0.6))
    lower.set_title("5, 50 and 95 %; black: of pooled readings", fontsize=8)
    right.plot(list(by_round), list(by_round.values()), color="#0072B2", label="secure sums")
    right.axhline(errors["as today"], color="#999999", ls="--", label='"as today"')
    right.axhline(errors["pooled"], color="black", ls=":", label="pooled")
    right.set(title=f"Moisture tomorrow, by {ROUNDS} sums", xlabel="round")
    right.set(ylim=(0, None), ylabel="error, percentage points")
    right.legend(fontsize=8)
    figure.savefig(path, dpi=100)


def main() -> None:
    """Asks for the statistics, then trains."""
    parser = argparse.ArgumentParser(description="Statistics and a regression over sensors.")
    parser.add_argument("--full", action="store_true", help="150 gateways in place of 60")
    parser.add_argument("--plot", type=picture_file, metavar="FILE", help="draw a picture of it")
    args = parser.parse_args()
    count = 150 if args.full else 60
    random, mode = np.random.default_rng(SEED), secagg.Mode.SEMI_HONEST
    readings = [readings_of(gateway) for gateway in range(count)]
    offline = draw_drops(random, count, LOST, mode)
    run = secagg.secure_sum(
        map(QUERY.pack, readings), QUERY.format, drops=offline, transcript=False
    )
    tables, inside = QUERY.unpack(run), run.survivors
    print(f"{len(offline)} of {count} gateways went offline; the sum is over {len(inside)}.\n")
    quantiles = {}
    print("kind     readings   mean   odd    quantiles 5 %, 50 %, 95 % (pooled records)")
    for at, kind in enumerate(KINDS):
        pooled = np.concatenate([readings[each][kind] for each in inside])
        exact = np.nanquantile(pooled, (0.05, 0.5, 0.95), method="inverted_cdf")
        found = [tables[kind].quantile(p).value for p in (0.05, 0.5, 0.95)]
        odd, celsius = tables["odd"].count[at], cast("MomentsTable", tables["celsius"])
        quantiles[kind] = found, exact
        pairs = "  ".join(f"{a:5.2f} ({b:.1f})" for a, b in zip(found, exact, strict=True))
        print(
            f"{kind:8} {celsius.count[at]:8,} {celsius.mean[at]:6.2f} "
            f"{odd[1] / odd.sum():5.1%}    {pairs}"
        )

    fields, others = [field_of(each) for each in range(count)], range(count, count + 30)
    test = [field_of(each) for each in others]
    x, y = np.concatenate([each.x for each in test]), np.concatenate([each.y for each in test])

    def error(guess: Reals) -> float:
        """Returns the root mean square error in percentage points."""
        return float(10 * np.sqrt(np.mean((guess - y) ** 2)))

    model = [np.zeros(5)]
    training = FedAvg(
        model,
        fields,
        rounds=ROUNDS,
        params=fedavg_params(fields, model, sample=20),
        sample=20,
        optimizer=Momentum(1.0, beta=0.7),
        drops=[draw_drops(random, count, LOST, mode) for _ in range(ROUNDS)],
        random=simulated_randomness(SEED),  # so that a run can be repeated; leave it out in earnest
        evaluate=lambda now: Score(error(x @ now[0]), np.nan),
    )
    reports = [report for report in training if not report.failed]
    all_x, all_y = (np.concatenate([getattr(each, name) for each in fields]) for name in "xy")
    pooled_fit = np.linalg.lstsq(all_x, all_y, rcond=None)[0]
    print("\nmoisture tomorrow, root mean square error at 30 other places, in percentage points:")
    errors = {
        "as today": error(x[:, 0]),
        "federated": error(x @ training.model[0]),
        "pooled": error(x @ pooled_fit),
    }
    for name, off in errors.items():
        print(f"  {name:10} {off:.2f}")
    sizes = [len(report.survivors) for report in reports]
    print(
        f"\nWhat the server saw: one sum of {QUERY.length} numbers over {len(inside)} gateways, "
        f"with every count, the small\nones as well; {len(sizes)} sums of 5 coefficients and of "
        f"the numbers of days, each over {min(sizes)} to {max(sizes)}\ngateways; and who was on."
    )
    if args.plot:
        draw(
            args.plot, tables, quantiles, errors, {each.round: each.score.loss for each in reports}
        )


if __name__ == "__main__":
    main()
