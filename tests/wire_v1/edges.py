"""Rounds on which mistakes of another implementation show that all other rounds let pass."""

import math
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction

from reference.arithmetic import level, words
from reference.protocol import FixedPoint, Input, Integers, Parameters

from .play import Case, M, Played, U, tape_of
from .rounds import AES, CHACHA, MALICIOUS, SMALL, wrong_share

# Other orders of `on_the_grid`, which nearly always give the same level. (One that always does:
# levels / 2 / clip is the same scale.)
OTHER_ORDERS: Mapping[str, Callable[[float, float, float, int], float]] = {
    "(x + clip) * levels / (2 * clip)": lambda x, u, c, n: (x + c) * n / (2.0 * c) + u,
    "(x + clip) / (2 * clip) * levels": lambda x, u, c, n: (x + c) / (2.0 * c) * n + u,
    "(x + clip) / step": lambda x, u, c, n: (x + c) / (2.0 * c / n) + u,
    "(x + clip) * (1 / step)": lambda x, u, c, n: (x + c) * (1.0 / (2.0 * c / n)) + u,
    "x * scale + clip * scale": lambda x, u, c, n: x * (n / (2.0 * c)) + c * (n / (2.0 * c)) + u,
    "(x / clip + 1) * (levels / 2)": lambda x, u, c, n: (x / c + 1.0) * (n / 2.0) + u,
    "(x + clip) * scale + u, rounded once": lambda x, u, c, n: float(
        Fraction(x + c) * Fraction(n / (2.0 * c)) + Fraction(u)
    ),
}
LARGE = FixedPoint(3.7, 32, 2**28)
FINE = FixedPoint(0.3, 32, 1)
BORDERS = FixedPoint(0.31, 31, 1)  # 1 / step is another number than scale here; two need 33 bits


def edge_cases() -> Iterable[Case]:
    """All of them; the salts were searched for."""
    yield Case(
        "semi-honest-03-large-products",
        "Products of weight and level up to 2^60, which no double holds; elements of 62 bits.",
        Parameters(CHACHA, 0, 3, 2, 2, 0, 3, LARGE),
    )
    yield Case(
        "semi-honest-02-above-levels",
        "All values are clip, or above it. For element 1 of party 1 the sum with u is rounded up "
        "to levels + 1 = 2^32, and the minimum with levels counts. The randomness is chosen so "
        "that this happens.",
        Parameters(AES, 0, 2, 2, 2, 0, 4, FINE),
        salt=317553,
        inputs=_at_the_clip,
    )
    yield Case(
        "semi-honest-02-order-of-operations",
        "Inputs next to the border of two levels. With the operations in another order, or two of "
        "them rounded once (fused multiply-add), an element would come out beside its level. "
        "Elements of 33 bits, the narrowest that are made of 64-bit words.",
        Parameters(CHACHA, 0, 2, 2, 2, 0, len(OTHER_ORDERS), BORDERS),
        inputs=_at_borders,
    )
    for suite, name, salt, where in (
        (AES, "aes", 9934, "element 12 of the self mask of party 1"),
        (CHACHA, "chacha", 122475, "element 27 of the pairwise mask"),
    ):
        yield Case(
            f"semi-honest-02-rejected-twice-{name}",
            f"A field of 16 bits. For {where}, word 0 of the stream at its own nonce is rejected "
            "as well (`twice`). The randomness is chosen so that this happens.",
            Parameters(suite, 0, 2, 2, 2, 0, 48, SMALL),
            salt=salt,
        )
    yield Case(
        "semi-honest-02-field-of-32-bits",
        "The widest elements that are made of 32-bit words.",
        Parameters(AES, 0, 2, 2, 2, 0, 5, Integers(-(2**31) + 3, 0)),
    )
    yield Case(
        "semi-honest-05-wrong-share-of-the-first",
        "Party 0 gives a wrong share of party 1's self seed. There are r = 5 shares with t = 3, so "
        "the server corrects it; it cannot take the first three.",
        Parameters(CHACHA, 0, 5, 3, 3, 1, 1, SMALL),
        changed={(U, 0): wrong_share(1)},
    )
    yield Case(
        "semi-honest-05-wrong-shares-of-four",
        "Party 2 drops out before its masked input. Party 0 gives a wrong share of its mask seed, "
        "and party 1 one of party 3's self seed. There are r = t + 1 = 4 shares of each seed, and "
        "the server corrects one.",
        Parameters(AES, 0, 5, 3, 3, 1, 1, SMALL),
        drops={2: M},
        changed={(U, 0): wrong_share(2), (U, 1): wrong_share(3)},
    )
    yield Case(
        "malicious-04-all-signatures",
        "The signatures of all four signers arrive. A server sends those of the first t = 3, and a "
        "client takes any t or more.",
        Parameters(CHACHA, MALICIOUS, 4, 3, 3, 1, 1, SMALL),
        changed={("signatures", 0): _of_all_signers},
    )


def _of_all_signers(run: Played, _receiver: int, _data: bytes) -> bytes:
    """All signatures, and not those of the first t signers only."""
    signed = run.server.signatures
    return run.session.message("signatures", run.session.bitmap(signed), *signed.values())


def _at_the_clip(case: Case) -> dict[int, Input]:
    clip = FINE.clip
    return {u: ([clip, 2.0 * clip, clip, 1e300], 1) for u in range(case.parameters.cohort)}


def _at_borders(case: Case) -> dict[int, Input]:
    """Values for which another order gives another level: the first order for element 0, ..."""
    return {u: (list(_borders(case, u)), 1) for u in range(case.parameters.cohort)}


def _borders(case: Case, party: int) -> Iterable[float]:
    tape, p = tape_of(case, party), case.parameters
    for size in (32, 16, 16, 32):
        tape(size)
    drawn = words(p.suite, tape(32), 0, 4, 0, p.length)
    levels = (1 << BORDERS.bits) - 1
    for word, other in zip(drawn, OTHER_ORDERS.values(), strict=True):
        yield _border(word * 2.0**-32, BORDERS.clip, levels, other)


def _border(
    u: float, clip: float, levels: int, other: Callable[[float, float, float, int], float]
) -> float:
    """The first value found, of those that lie closest below or above a border."""
    for border in range(levels // 3 * 2, levels, 1_000_003):
        x = (border - u) * (2.0 * clip / levels) - clip
        for near in (x, math.nextafter(x, clip), math.nextafter(x, -clip)):
            if math.floor(other(near, u, clip, levels)) != level(near, u, clip, levels):
                return near
    raise ValueError("no value found")
