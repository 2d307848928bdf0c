"""Rounds in number format 3, in which all floating point is exact: small multiples of powers of 2.

How a sender computes in floating point is its own affair, so no vector may depend on it. Hence
lengths whose transforms are of 1, 4 or 16 coordinates, and clips that leave a power of two.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from reference.protocol import Input, Parameters, Rotated
from reference.rotated import DISCRETE_GAUSSIAN, NONE, SKELLAM

from .play import Case, M
from .rounds import AES, CHACHA, MALICIOUS

BIG = 2.0**600  # its square is no double
UNIT = 2**16  # steps of a variance in 1


def form(clip: float, scale: float, peak: int, rotation: int = 0, **more: int) -> Rotated:
    """Format 3 without noise, if `more` has none."""
    fields = {"bound": 0, "tail": 0, "noise": NONE, "variance": 0, "slots": 1, "max_weight": 1}
    return Rotated(clip, scale, peak=peak, rotation=rotation, **{**fields, **more})


def noisy(clip: float, scale: float, peak: int, rotation: int = 0, **more: int) -> Rotated:
    """Format 3 with Skellam noise, if `more` names no other."""
    return form(clip, scale, peak, rotation, **{"noise": SKELLAM, **more})


DIGITS = form(4.0, 4.0, 9, slots=3, max_weight=2**17)
AGAIN = noisy(1.0, 2.0, 8, bound=4, tail=20, variance=UNIT // 4)
GAUSSIAN = noisy(4.0, 2.0, 8, 1, noise=DISCRETE_GAUSSIAN, bound=64, tail=40, variance=UNIT * 6)
TO_ZERO = noisy(1.625, 2.0, 8, bound=11, tail=20, variance=UNIT // 4)


def rotated_cases() -> Iterable[Case]:
    """All rounds, in the order of their files."""
    yield _case(
        "03-plain",
        "Without rotation, one number in an element. Party 0 has a vector of norm 10, which is "
        "halved, party 1 one whose square is no double. All are beyond the reach for element 2.",
        *(3, 2, AES, form(5.0, 2.0, 15)),
        [2.0, -4.0, 8.0, -4.0, 0.0, -0.0],
        [0.0, 0.0, BIG, 0.0, 0.0, 0.0],
        [0.25, -1.75, 3.875, 5e-324, 1.125, -0.625],
    )
    yield _case(
        "04-slots-and-weights",
        "Three digits in an element, of six bits each: four times 9 is 36, though party 3 drops "
        "out. Seven numbers fill two elements and a third of the last one. Party 0 is shortened to "
        "the clip before it is multiplied by its weight.",
        *(4, 3, CHACHA, DIGITS),
        *(
            [4.0, -4.0, 2.0, 2.0, 4.0, -2.0, 2.0],
            [1.0, 0.5, -0.5, -1.0, 2.5, 0.0, -1.375],
            [-0.5, 0.25, 0.125, -0.75, 1.0, 1.0, -1.0],
            [0.0] * 7,
        ),
        weights=(3 << 15, 1 << 15, 4 << 15, 2 << 15),
        drops={3: M},
    )
    yield _case(
        "03-one-transform",
        "Rotated: sixteen coordinates, signs, one transform. Party 1 has a spike, party 2 is "
        "halved.",
        *(3, 2, AES, form(8.0, 2.0, 31, 1)),
        [(i * 7 % 16 - 8) / 4 for i in range(16)],
        [0.0] * 11 + [-8.0] + [0.0] * 4,
        [4.0 - 8.0 * (i % 3 == 1) for i in range(16)],
    )
    yield _case(
        "02-two-transforms",
        "Rotated: five coordinates, two transforms of four. Two digits in an element, weights.",
        *(2, 2, CHACHA, form(4.0, 4.0, 15, 1, slots=2, max_weight=2)),
        [1.0, -2.0, 0.5, 1.5, -0.25],
        [-0.75, 0.0, 3.0, 0.5, 1.25],
        weights=(2, 1),
        salt=5,
    )
    yield _case(
        "05-signed",
        "Malicious mode. Twenty coordinates, two transforms of sixteen; party 2 drops out before "
        "its masked input.",
        *(5, 4, AES, form(16.0, 4.0, 63, 1, slots=4, max_weight=8)),
        *([((i * 5 + u * 3) % 19 - 9) / 4 for i in range(20)] for u in range(5)),
        weights=(8, 1, 4, 2, 6),
        drops={2: M},
        mode=MALICIOUS,
    )
    yield _case(
        "03-skellam",
        "Skellam noise of variance 2.5 at each party, of whom one drops out. Five coordinates, two "
        "transforms of four.",
        *(3, 2, AES, noisy(4.0, 2.0, 8, 1, bound=66, tail=40, variance=UNIT * 5 // 2)),
        [1.0, -2.0, 0.5, 1.5, -0.25],
        [0.0] * 5,
        [-0.75, 0.0, 3.0, 0.5, 1.25],
        drops={1: M},
    )
    yield _case(
        "03-signed-skellam",
        "Malicious mode. Skellam noise, in elements of 43 bits: the tail may be wider than it must "
        "be.",
        *(3, 3, CHACHA, noisy(4.0, 16.0, 64, bound=4200, tail=2**41, variance=UNIT * 26 + 1)),
        *([(u - 1) * 1.25, -2.0, 0.03125, 2.25] for u in range(3)),
        mode=MALICIOUS,
    )
    yield _case(
        "03-discrete-gaussian",
        "Discrete Gaussian noise of variance 6 at each party.",
        *(3, 2, CHACHA, GAUSSIAN),
        *([(u - 1) * 1.25, -2.0, 0.5, 2.25] for u in range(3)),
        salt=2,
    )
    yield _case(
        "03-rounded-again",
        "A bound that most roundings miss. Party 0 meets it at once, just so; party 1 later; party "
        "2 with the last words, those for k = 15. The randomness is chosen so that this happens.",
        *(3, 2, AES, AGAIN),
        *([0.25 - 0.5 * (i * (u + 3) % 5 > 2) for i in range(16)] for u in range(3)),
        salt=2608,
    )
    yield _case(
        "02-towards-zero",
        "No rounding meets the bound, and the vectors are rounded towards zero; party 0 would meet "
        "it with the words for k = 16. The randomness is chosen so that this happens.",
        *(2, 2, AES, TO_ZERO),
        *(
            [*((1 - 2 * u) * (0.25 - 0.5 * (i % 3 == 1)) for i in range(16)), 0.875, -0.875]
            for u in range(2)
        ),
        salt=1847,
    )


def _case(
    name: str,
    note: str,
    n: int,
    t: int,
    suite: int,
    given: Rotated,
    *values: Sequence[float],
    weights: Sequence[int] = (),
    mode: int = 0,
    **rest: Any,
) -> Case:
    p = Parameters(suite, mode, n, t, t, max(0, t - 3), len(values[0]), given)
    return Case(f"rotated-{name}", note, p, inputs=_given(values, weights), **rest)


def _given(
    values: Sequence[Sequence[float]], weights: Sequence[int]
) -> Callable[[Case], dict[int, Input]]:
    inputs = {u: (list(x), weights[u] if weights else 1) for u, x in enumerate(values)}
    return lambda _: inputs
