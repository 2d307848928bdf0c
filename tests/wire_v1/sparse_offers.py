"""Offers in mode 2: at the limits of what is allowed, and beyond."""

from collections.abc import Iterable
from typing import Any

from reference.graph import sparse_is_allowed
from reference.protocol import SPARSE, Integers, Parameters, Session

from .forge import OFFER
from .rounds import AES
from .written import describe_parameters

HUNDRED = {"n": 100, "k": 12, "t": 6, "least": 95, "c": 5}


def _parameters(n: int, k: int, t: int, least: int, c: int, high: int = 5) -> Parameters:
    return Parameters(AES, SPARSE, n, t, least, c, 4, Integers(-5, high), k)


def _allowed(p: Parameters) -> bool:
    return sparse_is_allowed(p.cohort, p.threshold, p.min_survivors, p.colluders, p.degree)


def accepted_sparse(s: Session) -> list[dict[str, Any]]:
    """Offers that must be taken."""
    found = []
    for name, p in (
        ("n = 4, k = 2", _parameters(4, 2, 2, 4, 0)),
        ("k = n - 2", _parameters(10, 8, 2, 3, 0)),
        ("t = k", _parameters(10, 8, 8, 6, 2)),
        ("c = min_survivors - 3", _parameters(10, 8, 5, 7, 4)),
        ("least t, 5 of 100 collude", _parameters(**HUNDRED)),
        ("k = B + 1", _parameters(**{**HUNDRED, "least": 94})),
        ("least k for n = 64, k = B", _parameters(64, 18, 2, 46, 0)),
        ("n = 2^16", _parameters(2**16, 36, 22, 62260, 3276, high=-4)),
    ):
        assert _allowed(p), name
        message = s.message("offer", s.context, p.encode())
        found.append({"name": name, "params": describe_parameters(p), "bytes": message.hex()})
    return found


def refused_sparse(session: Session) -> Iterable[dict[str, Any]]:
    """Offers that nobody may take."""
    unsafe = "more than t - 1 colluders among k neighbours: above 2^-41 / n"
    for name, changed, note in (
        ("n = 3", {"n": 3, "k": 2, "t": 2, "least": 3, "c": 0}, "4 <= n"),
        ("n = 2^16 + 1", {"n": 2**16 + 1, "k": 40, "t": 20, "least": 62260}, "n <= 2^16"),
        ("degree 0", {"k": 0}, "2 <= k: the complete graph is mode 0"),
        ("odd degree", {"k": 13}, "k is even"),
        ("degree n - 1", {"n": 9, "k": 8, "t": 6, "least": 9, "c": 1}, "k <= n - 2"),
        ("degree n", {"k": 100}, "k <= n - 2"),
        ("t = 0", {"t": 0}, "2 <= t"),
        ("t = 1", {"t": 1, "c": 0}, "2 <= t"),
        ("t above k", {"t": 13}, "t <= k"),
        ("t unsafe", {"t": 5}, unsafe),
        ("colluders too many for t", {"c": 8, "least": 98}, unsafe),
        ("min_survivors 0", {"least": 0, "c": 0}, "2 <= min_survivors"),
        ("min_survivors 1", {"n": 10, "k": 8, "t": 2, "least": 1, "c": 0}, "2 <= min_survivors"),
        ("min_survivors above n", {"least": 101}, "min_survivors <= n"),
        (
            "c = min_survivors - 1",
            {"n": 10, "k": 8, "t": 7, "least": 7, "c": 6},
            "a sum of one honest input",
        ),
        ("k = B", {"least": 93}, "the graph may be cut: B = 12, and too likely"),
        ("k too small", {"n": 64, "k": 16, "t": 2, "least": 48, "c": 0}, "the graph may be cut"),
    ):
        p = _parameters(**{**HUNDRED, **changed})
        assert not _allowed(p), name
        yield _refused(session, name, note, p.encode())
    good = _parameters(**HUNDRED).encode()
    bare = good[:18] + good[22:]
    for name, note, data in (
        ("no degree", "the field is missing", bare),
        ("mode 0 with a degree", "there is no such field in mode 0", good[:1] + b"\0" + good[2:]),
        ("mode 1 with a degree", "there is no such field in mode 1", good[:1] + b"\1" + good[2:]),
        ("mode 3", "whoever does not know a value refuses it", good[:1] + b"\3" + good[2:]),
        ("truncated", "the last byte is missing", good[:-1]),
        ("one byte more", "bytes follow the last field", good + b"\0"),
        ("no field", "n * (high - low) >= p(62)", _parameters(**HUNDRED, high=2**56).encode()),
    ):
        yield _refused(session, name, note, data)


def _refused(session: Session, name: str, note: str, data: bytes) -> dict[str, Any]:
    message = session.message("offer", session.context, data)
    return {"name": f"sparse: {name}", "note": note, "bytes": message.hex(), "expected": OFFER}
