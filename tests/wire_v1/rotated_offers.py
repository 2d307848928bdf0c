"""Offers in number format 3: at the limits of what is allowed, and beyond."""

import math
from collections.abc import Iterable
from typing import Any

from reference.arithmetic import prime
from reference.protocol import Parameters, Rotated, Session
from reference.rotated import DISCRETE_GAUSSIAN, MOST_STEPS, SKELLAM, is_allowed

from .forge import OFFER
from .rotated_rounds import UNIT, form, noisy
from .rounds import AES
from .written import describe_parameters

PLAIN = form(4.0, 2.0, 15)
NOISY = {"bound": 64, "tail": 40, "variance": UNIT}
NOISE = noisy(4.0, 2.0, 8, **NOISY)
WIDEST = (prime(62) - 1) // 2 - 5 * 8  # the tail of five parties with peak 8
# By the kind of noise, about the least tail of the noise of 2^16 parties at its greatest variance.
LARGE = {
    kind: round(math.sqrt(2.0 * most * math.log(2.0**43))) for kind, most in MOST_STEPS.items()
}
GAUSSIAN = {"noise": DISCRETE_GAUSSIAN}


def _parameters(given: Rotated, n: int = 5, length: int = 4) -> Parameters:
    t = n // 2 + 1
    return Parameters(AES, 0, n, t, n, 0, length, given)


def _allowed(p: Parameters) -> bool:
    assert isinstance(p.format, Rotated)
    return is_allowed(p.format, p.cohort, p.length) and p.largest_sum < prime(62)


def accepted_rotated(s: Session) -> list[dict[str, Any]]:
    """Offers that must be taken."""
    found = []
    for name, p in (
        ("clip = scale = 2^-250", _parameters(form(2.0**-250, 2.0**-250, 15))),
        ("clip = scale = 2^250", _parameters(form(2.0**250, 2.0**250, 15))),
        ("peak = 1", _parameters(form(4.0, 2.0, 1))),
        ("peak = 2^16 - 1", _parameters(form(4.0, 2.0, 2**16 - 1))),
        ("31 slots", _parameters(form(4.0, 2.0, 1, slots=31), n=2)),
        ("31 slots, 32 coordinates", _parameters(form(4.0, 2.0, 1, slots=31), 2, 32)),
        ("m = 2^32, 7 slots", _parameters(form(4.0, 2.0, 15, slots=7), length=2**32)),
        ("digits of one bit more", _parameters(form(4.0, 2.0, 16, slots=3), n=4)),
        ("n * peak above p(16)", _parameters(form(4.0, 2.0, 13105))),
        ("n * max_weight above the digits", _parameters(form(4.0, 2.0, 15, max_weight=13105))),
        ("max_weight = 2^32 - 1", _parameters(form(4.0, 2.0, 15, 1, max_weight=2**32 - 1))),
        ("bound of an inexact clip", _parameters(noisy(0.3, 10.0, 8, **{**NOISY, "bound": 9}))),
        ("bound = 2^64 - 1", _parameters(noisy(2.0, 2.0**30, 8, **{**NOISY, "bound": 2**64 - 1}))),
        ("peak = 2^31 - 1", _parameters(noisy(4.0, 2.0, 2**31 - 1, **NOISY))),
        ("the widest tail", _parameters(noisy(4.0, 2.0, 8, **{**NOISY, "tail": WIDEST}))),
        ("2 * (n * peak + tail) above p(16)", _noisy(tail=32721)),
        ("the same, below", _noisy(tail=32720)),
        ("variance 1, least tail", _noisy(variance=1, tail=3)),
        ("Skellam, least tail", _noisy(tail=22)),
        ("Gaussian, least tail", _noisy(**GAUSSIAN, tail=18)),
        ("Skellam, least tail of 2^32", _noisy(tail=31, length=2**32)),
        ("Skellam, variance 2^34", _large(2**50, tail=LARGE[SKELLAM] * 101 // 100)),
        (
            "Gaussian, variance 2^40",
            _large(2**56, **GAUSSIAN, tail=LARGE[DISCRETE_GAUSSIAN] * 101 // 100),
        ),
    ):
        assert _allowed(p), name
        message = s.message("offer", s.context, p.encode())
        found.append({"name": name, "params": describe_parameters(p), "bytes": message.hex()})
    return found


def _noisy(length: int = 4, n: int = 5, **changed: int) -> Parameters:
    return _parameters(noisy(4.0, 2.0, 8, **{**NOISY, **changed}), n, length)


def _large(variance: int, **changed: int) -> Parameters:
    """Of 2^16 parties: the variance of their sum is, as a number, that of one in steps."""
    return _noisy(n=2**16, variance=variance, **changed)


def refused_rotated(session: Session) -> Iterable[dict[str, Any]]:
    """Offers that nobody may take."""
    slots = "n * peak * (1 + 2^D + ...) >= p(62)"
    limits = "not in 2^-250 .. 2^250"
    for name, note, p in (
        *((f"clip {x}", limits, _parameters(form(x, 2.0, 15))) for x in _outside()),
        *((f"scale {x}", limits, _parameters(form(4.0, x, 15))) for x in _outside()),
        ("peak 0", "1 <= peak", _parameters(form(4.0, 2.0, 0))),
        ("peak 2^16", "peak <= 2^16 - 1 without noise", _parameters(form(4.0, 2.0, 2**16))),
        ("rotation 2", "0 or 1", _parameters(form(4.0, 2.0, 15, 2))),
        ("slots 0", "1 <= slots", _parameters(form(4.0, 2.0, 15, slots=0))),
        ("32 slots", slots, _parameters(form(4.0, 2.0, 1, slots=32), n=2)),
        ("63 slots", "slots <= 62, and no field", _parameters(form(4.0, 2.0, 1, slots=63), n=2)),
        ("max_weight 0", "1 <= max_weight", _parameters(form(4.0, 2.0, 15, max_weight=0))),
        ("bound without noise", "must be 0", _parameters(form(4.0, 2.0, 15, bound=64))),
        ("tail without noise", "must be 0", _parameters(form(4.0, 2.0, 15, tail=1))),
        ("variance without noise", "must be 0", _parameters(form(4.0, 2.0, 15, variance=1))),
        ("noise 3", "whoever does not know a value refuses it", _noisy(noise=3)),
        ("noise, peak 0", "1 <= peak", _parameters(noisy(4.0, 2.0, 0, **NOISY))),
        ("noise, peak 2^31", "peak <= 2^31 - 1", _parameters(noisy(4.0, 2.0, 2**31, **NOISY))),
        ("noise, 2 slots", "slots = 1", _noisy(slots=2)),
        ("noise, weights", "max_weight = 1", _noisy(max_weight=2)),
        ("noise, bound too small", "(clip * scale)^2 = 64", _noisy(bound=63)),
        (
            "noise, bound of an inexact clip",
            "0.1 as a double is more than 0.1: (clip * scale)^2 > 1 in exact arithmetic",
            _parameters(noisy(0.1, 10.0, 8, **{**NOISY, "bound": 1})),
        ),
        ("noise, variance 0", "1 <= variance", _noisy(variance=0)),
        ("noise, tail 0", "1 <= tail", _noisy(tail=0, variance=1)),
        ("noise, tail too wide", "2 * (n * peak + tail) >= p(62)", _noisy(tail=WIDEST + 1)),
        ("noise, tail above 2^61", "tail <= 2^61, and no field", _noisy(tail=2**61 + 1)),
        ("noise, variance 1, tail too small", "above 2^-40", _noisy(variance=1, tail=2)),
        ("Skellam, tail too small", "above 2^-40", _noisy(tail=21)),
        ("Gaussian, tail too small", "above 2^-40", _noisy(**GAUSSIAN, tail=17)),
        ("Skellam, tail too small for m = 2^32", "above 2^-40", _noisy(tail=30, length=2**32)),
        ("Skellam, variance 2^34", "above 2^-40", _large(2**50, tail=LARGE[SKELLAM] * 99 // 100)),
        (
            "Gaussian, variance 2^40",
            "above 2^-40",
            _large(2**56, **GAUSSIAN, tail=LARGE[DISCRETE_GAUSSIAN] * 99 // 100),
        ),
        (
            "Skellam, variance above 2^34",
            "variance <= 2^50 steps",
            _large(2**50 + 1, tail=LARGE[SKELLAM] * 101 // 100),
        ),
        (
            "Gaussian, variance above 2^40",
            "variance <= 2^56 steps",
            _large(2**56 + 1, **GAUSSIAN, tail=LARGE[DISCRETE_GAUSSIAN] * 101 // 100),
        ),
    ):
        assert not _allowed(p), name
        yield _refused(session, name, note, p.encode())
    good = _parameters(PLAIN).encode()
    at = len(good) - len(PLAIN.encode())
    for name, note, data in (
        ("truncated", "the last byte is missing", good[:-1]),
        ("one byte more", "bytes follow the last field", good + b"\0"),
        ("as fixed point", "bytes follow the last field", good[:at] + b"\1" + good[at + 1 :]),
        ("as format 4", "whoever does not know it refuses it", good[:at] + b"\4" + good[at + 1 :]),
    ):
        yield _refused(session, name, note, data)


def _outside() -> Iterable[float]:
    """Numbers that neither clip nor scale may be."""
    yield from (math.nan, math.inf, 0.0, -2.0)
    yield math.nextafter(2.0**-250, 0.0)
    yield math.nextafter(2.0**250, math.inf)


def _refused(session: Session, name: str, note: str, data: bytes) -> dict[str, Any]:
    message = session.message("offer", session.context, data)
    return {"name": f"rotated: {name}", "note": note, "bytes": message.hex(), "expected": OFFER}
