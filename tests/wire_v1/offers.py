"""Offers: at the limits of what is allowed, and beyond."""

from collections.abc import Iterable
from typing import Any

from reference.arithmetic import prime
from reference.protocol import (
    FixedPoint,
    Integers,
    Parameters,
    Session,
)

from .forge import OFFER
from .rounds import AES
from .written import describe_parameters

P32, P62 = (prime(32) - 1) // 3, (prime(62) - 1) // 2
FIXED, WHOLE = FixedPoint(2.0, 16, 1), Integers(-5, 5)


def _parameters(
    n: int = 5,
    t: int = 3,
    least: int = 3,
    c: int = 1,
    length: int = 4,
    form: FixedPoint | Integers = FIXED,
    mode: int = 0,
    suite: int = AES,
) -> Parameters:
    return Parameters(suite, mode, n, t, least, c, length, form)


def accepted(s: Session) -> list[dict[str, Any]]:
    """Offers that must be taken, at the limits of what is allowed."""
    found = []
    for name, p in (
        ("n = 2, t = 2, c = 0", _parameters(n=2, t=2, least=1, c=0)),
        ("n = 2^16", _parameters(n=2**16, t=2**15 + 1)),
        ("least t, even n", _parameters(n=6, t=4)),
        ("t = n, c = t - 2", _parameters(t=5, least=1, c=3)),
        ("c = t - 1, quorum - c = 2", _parameters(least=4, c=2)),
        ("min_survivors = n", _parameters(least=5)),
        ("malicious, least t", _parameters(n=6, t=5, mode=1)),
        ("malicious, 2t = n + c + 1", _parameters(n=7, t=5, c=2, mode=1)),
        ("m = 1", _parameters(length=1)),
        ("m = 2^32", _parameters(length=2**32)),
        ("m = 2^32 with a weight", _parameters(length=2**32, form=FixedPoint(2.0, 16, 2))),
        ("clip = 2^900", _parameters(form=FixedPoint(2.0**900, 16, 1))),
        ("clip = 2^-900", _parameters(form=FixedPoint(2.0**-900, 16, 1))),
        ("bits = 1", _parameters(form=FixedPoint(2.0, 1, 1))),
        ("bits = 32", _parameters(form=FixedPoint(2.0, 32, 1))),
        ("max_weight = 2^32 - 1", _parameters(form=FixedPoint(2.0, 24, 2**32 - 1))),
        ("high = low + 1", _parameters(form=Integers(-1, 0))),
        ("n * (high - low) = p(16) - 1", _parameters(form=Integers(-4, 13100))),
        ("n * (high - low) above p(16)", _parameters(form=Integers(-4, 13101))),
        ("n * (high - low) = p(32) - 2", _parameters(n=3, t=2, c=0, form=Integers(7, P32 + 7))),
        ("n * (high - low) above p(32)", _parameters(n=3, t=2, c=0, form=Integers(7, P32 + 8))),
        ("the widest integers", _parameters(n=2, t=2, least=2, c=0, form=Integers(-P62, 0))),
        (
            "n * low = -2^63",
            _parameters(n=2, t=2, least=2, c=0, form=Integers(-(2**62), 1 - 2**62)),
        ),
        (
            "n * high = 2^63 - 2",
            _parameters(n=2, t=2, least=2, c=0, form=Integers(2**62 - 2, 2**62 - 1)),
        ),
    ):
        message = s.message("offer", s.context, p.encode())
        found.append({"name": name, "params": describe_parameters(p), "bytes": message.hex()})
    return found


def refused(session: Session) -> Iterable[dict[str, Any]]:
    """Offers that nobody may take."""

    def offer(data: bytes, name: str, note: str) -> dict[str, Any]:
        message = session.message("offer", session.context, data)
        return {"name": name, "note": note, "bytes": message.hex(), "expected": OFFER}

    def made(**given: Any) -> bytes:
        return _parameters(**given).encode()

    good, of_integers = made(), made(form=WHOLE)
    at = len(good) - len(FIXED.encode())
    for name, data, note in (
        ("suite 0", made(suite=0), "no such suite"),
        ("suite 3", made(suite=3), "whoever does not know a value refuses it"),
        ("mode 2", good[:1] + b"\2" + good[2:], "whoever does not know a value refuses it"),
        ("format 0", good[:at] + b"\0" + good[at + 1 :], "no such format"),
        ("format 3", good[:at] + b"\3" + good[at + 1 :], "whoever does not know it refuses it"),
        ("n = 0", made(n=0, t=1, least=2, c=0), "2 <= n"),
        ("n = 1", made(n=1, t=1, least=1, c=0), "2 <= n"),
        ("n = 2^16 + 1", made(n=2**16 + 1, t=2**15 + 1, c=1), "n <= 2^16"),
        ("zero threshold", made(t=0, c=0), "floor(n/2) + 1 <= t"),
        ("t too small", made(t=2), "floor(n/2) + 1 = 3 <= t"),
        ("t too small, even n", made(n=4, t=2), "floor(n/2) + 1 = 3 <= t"),
        ("t above n", made(t=6), "t <= n"),
        ("zero min_survivors", made(least=0), "1 <= min_survivors"),
        ("min_survivors above n", made(least=6), "min_survivors <= n"),
        ("c = t", made(least=5, c=3), "c < t"),
        ("quorum - c = 1", made(c=2), "quorum - c >= 2: a sum of one honest input"),
        ("t too small, malicious", made(t=3, mode=1), "floor(2n/3) + 1 = 4 <= t"),
        ("2t = n + c", made(n=7, t=5, least=5, c=3, mode=1), "2t > n + c"),
        ("2t below n + c", made(n=7, t=5, least=7, c=4, mode=1), "2t > n + c"),
        ("length 0", made(length=0), "1 <= m"),
        ("length 2^32 + 1", made(length=2**32 + 1), "m <= 2^32"),
        ("clip NaN", made(form=FixedPoint(float("nan"), 16, 1)), "not in 2^-900 .. 2^900"),
        ("clip infinite", made(form=FixedPoint(float("inf"), 16, 1)), "not in 2^-900 .. 2^900"),
        ("clip 0", made(form=FixedPoint(0.0, 16, 1)), "not in 2^-900 .. 2^900"),
        ("clip negative", made(form=FixedPoint(-2.0, 16, 1)), "not in 2^-900 .. 2^900"),
        ("clip too large", made(form=FixedPoint(2.0**901, 16, 1)), "not in 2^-900 .. 2^900"),
        ("clip too small", made(form=FixedPoint(2.0**-901, 16, 1)), "not in 2^-900 .. 2^900"),
        ("bits 0", made(form=FixedPoint(2.0, 0, 1)), "1 <= bits"),
        ("bits 33", made(form=FixedPoint(2.0, 33, 1)), "bits <= 32"),
        ("max_weight 0", made(form=FixedPoint(2.0, 16, 0)), "max_weight >= 1"),
        ("low = high", made(form=Integers(5, 5)), "low < high"),
        ("low above high", made(form=Integers(6, 5)), "low < high"),
        ("totals below i64", made(form=Integers(-(2**61), 1 - 2**61)), "n * low fits no i64"),
        ("totals above i64", made(form=Integers(2**61 - 1, 2**61)), "n * high fits no i64"),
        ("no field, integers", made(form=Integers(-(2**60), 2**60)), "n * (high - low) >= p(62)"),
        (
            "no field, fixed point",
            made(form=FixedPoint(2.0, 32, 2**30)),
            "n * max_weight * (2^bits - 1) >= p(62)",
        ),
        ("truncated", good[:-1], "the last byte is missing"),
        ("one byte more", good + b"\0", "bytes follow the last field"),
        ("integers truncated", of_integers[:-1], "the last byte is missing"),
        ("integers, one byte more", of_integers + b"\0", "bytes follow the last field"),
        ("integers as fixed point", good[:at] + b"\2" + good[at + 1 :], "too short for a format"),
        ("no parameters", b"", "the message ends behind the context"),
    ):
        yield offer(data, name, note)
    message = session.message("offer", session.context, good)
    for name, data, note in (
        ("wrong magic", b"SB" + message[2:], "not the magic of this protocol"),
        ("version 0", message[:2] + b"\0" + message[3:], "versions refuse each other"),
        ("version 2", message[:2] + b"\2" + message[3:], "versions refuse each other"),
        ("a roster's type", message[:3] + b"\x11" + message[4:], "not an offer"),
        ("empty", b"", "no message at all"),
    ):
        yield {"name": name, "note": note, "bytes": data.hex(), "expected": OFFER}
