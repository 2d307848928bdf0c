"""Inputs that a client must refuse, and may then be given another."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from reference.protocol import FixedPoint, Input

from .forge import EARLY, PLAIN, REFUSED, WEIGHTED, Forge
from .written import describe_input


def refused_inputs(forges: Mapping[str, Forge]) -> list[dict[str, Any]]:
    """To client 0, in place of its own."""
    return [
        {
            "name": f"{on.name}: {name}",
            "note": note,
            "round": on.name,
            "to": 0,
            "input": describe_input(on.run.case.parameters.format, given),
            "expected": REFUSED,
        }
        for on in (forges[PLAIN], forges[WEIGHTED], forges[EARLY])
        for name, given, note in _of(on)
    ]


def _of(on: Forge) -> Iterable[tuple[str, Input, str]]:
    form, (values, weight) = on.run.case.parameters.format, on.run.inputs[0]
    for name, other in (
        ("a value too few", values[:-1]),
        ("a value too many", [*values, values[0]]),
        ("no values", values[:0]),
    ):
        yield name, (other, weight), f"{len(values)} values are needed"
    if isinstance(form, FixedPoint):
        for name, value in (("NaN", math.nan), ("infinity", math.inf), ("-infinity", -math.inf)):
            yield name, ([*values[:-1], value], weight), "not finite; it is not clipped"
        for weight in (0, form.max_weight + 1):
            yield f"weight {weight}", (values, weight), f"not in 1..{form.max_weight}"
        return
    for value in (form.low - 1, form.high + 1):
        note = f"not in {form.low}..{form.high}; it is not clipped"
        yield f"the value {value}", ([*values[:-1], value], weight), note
