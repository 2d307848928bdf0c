"""Inputs and sums that are refused in number format 3."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from reference.arithmetic import pack, prime, unpack
from reference.protocol import Rotated

from .forge import FAILS, REFUSED, Forge, Refusal
from .play import M
from .written import describe_input

ROTATED = (
    PLAIN := "rotated-03-plain",
    SLOTS := "rotated-04-slots-and-weights",
    NOISE := "rotated-03-skellam",
)


def rotated_inputs(forges: Mapping[str, Forge]) -> list[dict[str, Any]]:
    """Inputs, to client 0 in place of its own."""
    return [
        {
            "name": f"{name}: {what}",
            "note": note,
            "round": name,
            "to": 0,
            "input": describe_input(forges[name].run.case.parameters.format, given),
            "expected": REFUSED,
        }
        for name in ROTATED
        for what, given, note in _inputs(forges[name])
    ]


def _inputs(on: Forge) -> Iterable[tuple[str, tuple[list[float], int], str]]:
    form, (given, weight) = on.run.case.parameters.format, on.run.inputs[0]
    assert isinstance(form, Rotated)
    values = [*map(float, given)]
    for name, other in (
        ("a value too few", values[:-1]),
        ("a value too many", [*values, 0.0]),
        ("no values", values[:0]),
    ):
        yield name, (other, weight), f"{len(values)} values are needed"
    for name, value in (("NaN", math.nan), ("infinity", math.inf), ("-infinity", -math.inf)):
        yield name, ([value, *values[1:]], weight), "not finite; it is not shortened"
        yield f"{name} at the end", ([*values[:-1], value], weight), "not finite"
    for weight in (0, form.max_weight + 1):
        yield f"weight {weight}", (values, weight), f"not in 1..{form.max_weight}"


def rotated_by_the_server(forges: Mapping[str, Forge]) -> Iterable[Refusal]:
    """Sums that honest inputs do not have, by the masked input of one party."""
    reach = "The message is taken: nobody sees that it is a lie. The sum is refused at the end."
    plain, slots, noise = (forges[name] for name in ROTATED)
    for on, name, place, wanted in (
        (plain, "a sum above |U3| * peak", 0, 3 * 15 + 1),
        (slots, "digit 0 above |U3| * peak", 0, _digits(28, 9, 9)),
        (slots, "digit 1 above |U3| * peak", 0, _digits(9, 28, 9)),
        (slots, "digit 2 above |U3| * peak", 1, _digits(9, 9, 28)),
        (slots, "more than three digits", 1, _digits(9, 9, 9, 1)),
        (slots, "a digit beyond m", 2, _digits(9, 1)),
        (slots, "the last digit beyond m", 2, _digits(9, 0, 1)),
        (slots, "more than the digits beyond m", 2, _digits(9, 0, 0, 1)),
        (slots, "a weight above |U3| * max_weight", 3, (3 << 17) + 1),
        (slots, "a weight below |U3|", 3, 2),
        (noise, "Q = t + 1", 0, 2 * 8 + 40 + 1),
        (noise, "Q = -t - 1", 4, -(2 * 8 + 40) - 1),
    ):
        data = _with_sum(on, place, wanted)
        yield on.sends(M, name, data, FAILS, reach, party=2)


def _digits(*digits: int) -> int:
    return sum(digit << 6 * slot for slot, digit in enumerate(digits))


def _with_sum(on: Forge, place: int, wanted: int) -> bytes:
    """The masked input of party 2, changed so that an element of the sum is the one wanted."""
    p = on.run.case.parameters
    field = prime(p.field_bits)
    y = unpack(on.packed(2), p.vector_length, p.field_bits)
    assert on.run.field_sum is not None
    y[place] = (y[place] + wanted - on.run.field_sum[place]) % field
    return on.masked(2, pack(y, p.field_bits))
