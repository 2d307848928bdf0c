"""Two devices fit a line to the points (1, 2) and (3, 4), and why that takes a third one.

Question: slope and intercept of a line through points that stay on their devices.
Data: three points, in this file.
Run it: ``python examples/two_devices.py [--plot FILE]``. All devices are in this process: it is
a simulation.
Protected: each device's updates from the server. From the other devices only if the sum of all
others does not tell them, and with one point on each of three devices it does: that is shown, too.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from textwrap import fill

import numpy as np
from secagg.fl import FedAvg, Model, fedavg_params, picture_file

import secagg

RATE, ROUNDS, BITS = 0.3, 400, 24
FORM = secagg.FixedPoint(clip=4.0, bits=BITS)
Point = tuple[float, float]


@dataclass
class Device:
    """A device with one point, which takes one step of gradient descent in a round."""

    x: float
    y: float
    examples: int = 1

    def train(self, model: Model) -> Model:
        """Returns the model [slope, intercept] after the step."""
        (line,) = model
        error = line @ [self.x, 1.0] - self.y
        return [line - RATE * error * np.array([self.x, 1.0])]


def try_it(what: str, function: Callable[[], object]) -> None:
    """Prints how the library refuses this."""
    try:
        function()
    except secagg.ParameterError as error:
        print(f"{what}: {error}")
    else:
        raise SystemExit(f"two_devices: {what} was not refused")


def read_point(sent: np.ndarray) -> Point:
    """Returns the point from which a first update, at the line 0, was computed."""
    return float(sent[0] / sent[1]), float(sent[1] / RATE)


def read_others(own: Device, models: list[np.ndarray]) -> list[Point]:
    """Returns the points of the two others, as the owner of one point of three computes them.

    Every device gets the models, and so the gradients of three squared errors. Two of them give the
    sums of x, x**2, y and xy; less its own, they have two points as the only solution.
    """
    (xy, y), second = (3 * (new - old) / RATE for old, new in pairwise(models[:3]))
    slope, intercept = models[1]
    x = (y - 3 * intercept - second[1]) / slope
    squares = (xy - intercept * x - second[0]) / slope
    x, squares, y, xy = x - own.x, squares - own.x**2, y - own.y, xy - own.x * own.y
    root = np.sqrt(2 * squares - x**2)
    found = np.array([(x - root) / 2, (x + root) / 2])
    heights = np.linalg.solve(np.array([np.ones(2), found]), np.array([y, xy]))
    return [(float(at), float(height)) for at, height in zip(found, heights, strict=True)]


def shown(*points: Point) -> str:
    """Returns points as text."""
    return " and ".join(f"({x:.2f}, {y:.2f})" for x, y in points)


def draw(path: Path, devices: list[Device], line: np.ndarray, read: list[list[Point]]) -> None:
    """Draws points, the line, and what device 1 reads: of two, of three by one sum and by two."""
    from matplotlib.figure import Figure  # noqa: PLC0415  (only for pictures)

    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, count, found in ((left, 2, read[0]), (right, 3, read[2])):
        x, y = zip(*((each.x, each.y) for each in devices[:count]), strict=True)
        axes.plot(x[:1], y[:1], "s", color="#555555", label="device 1")
        axes.plot(x[1:], y[1:], "o", color="#0072B2", label="other devices")
        style = {"color": "#D55E00", "linestyle": "", "fillstyle": "none"}
        axes.plot(*zip(*found, strict=True), "o", ms=14, label="what device 1 reads", **style)
        axes.set(xlabel="x", xlim=(0, 4), ylim=(0, 8))
    right.plot(*read[1][0], "x", ms=9, color="#D55E00", label="from one sum: nobody's point")
    right.axline((0, line[1]), slope=line[0], color="#555555", lw=1, label="the line of three")
    left.set_ylabel("y")
    left.set_title("Two devices: one sum tells the other point", fontsize=10)
    right.set_title("Three: the models of two rounds tell both", fontsize=10)
    left.legend(*right.get_legend_handles_labels(), fontsize=8, loc="upper left")
    figure.savefig(path, dpi=100)


def main() -> None:
    """Tries two devices, two with a helper, and three."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", type=picture_file, metavar="FILE", help="draw a picture of it")
    path = parser.parse_args().plot
    first, second, third = Device(1.0, 2.0), Device(3.0, 4.0), Device(2.0, 3.3)
    start = [np.zeros(2)]
    updates = [each.train(start)[0] for each in (first, second, third)]

    print("Two devices are refused, by the training and by each client:")
    try_it("  FedAvg", lambda: FedAvg(start, [first, second], rounds=1))
    try_it("  secure_sum", lambda: secagg.secure_sum(updates[:2], FORM))
    pair = secagg.secure_sum(updates[:2], FORM, policy=secagg.Policy(allow_pair=True)).total
    of_two = read_point(pair - updates[0])
    print(
        fill(
            "Allowed against that advice, the sum tells device 1 what device 2 sent, and so "
            f"its point: {shown(of_two)}."
        )
    )
    print()

    helped = secagg.secure_sum([*updates[:2], np.zeros(2)], FORM).total
    print(
        fill(
            "A third party that adds zeros makes three, and the library cannot know that "
            "they are zeros. The sum is the same, and so is what device 1 reads: "
            f"{shown(read_point(helped - updates[0]))}. It changes nothing for the server either, "
            "which sees only the sum as long as it does not get the update of a device from "
            "the other one."
        )
    )
    print()

    total = secagg.secure_sum(updates, FORM).total
    of_one_sum = read_point(total - updates[0])
    print(
        fill(
            "With a third device, (2, 3.3), what is left of a sum is that of two others, "
            f"which is no point of anybody: {shown(of_one_sum)}."
        )
    )
    devices = [first, second, third]
    params = fedavg_params(devices, start, clip=FORM.clip, bits=BITS)
    training = FedAvg(start, devices, rounds=ROUNDS, params=params)
    models = [training.model[0]]
    for report in training:
        models.append(training.model[0])
        sent = report.bytes_up
    points = np.array([(each.x, each.y) for each in devices])
    pooled = np.polyfit(points[:, 0], points[:, 1], 1)
    slope, intercept = models[-1]
    print(f"{ROUNDS} rounds: y = {slope:.4f} x + {intercept:.4f}")
    print(f"pooled points: y = {pooled[0]:.4f} x + {pooled[1]:.4f}")
    others = read_others(first, models)
    print(
        fill(
            f"But the models of two rounds tell device 1 both other points, {shown(*others)}, "
            "though not whose they are: two points are the only ones with their sums of x, x^2, y, "
            "xy. No secure sum prevents that. It takes more points on each device, or more "
            "devices, or noise (docs/PRIVACY.md)."
        )
    )
    print()

    print(
        fill(
            f"What the server saw: in each round the sum of three updates, and {sent:.0f} "
            "bytes of keys, shares and masked numbers from each device, but no single "
            "update. From two rounds it has the sums of x, x^2, y and xy over three "
            "devices: four numbers about six, which leave the points open. Together with "
            "one device it has all points, as above."
        )
    )
    if path:
        draw(path, devices, models[-1], [[of_two], [of_one_sum], others])


if __name__ == "__main__":
    main()
