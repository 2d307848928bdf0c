"""Who shares masks and seeds with whom (docs/WIRE.md, "Graph" and "Parameters")."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import cache
from math import comb, perm

from .arithmetic import words


@cache
def ring_of(suite: int, key: bytes, n: int) -> tuple[int, ...]:
    """WIRE.md "Graph": the parties in the order of the ring, given H("graph", h0)."""
    drawn = words(suite, key, 0, 8, 0, n)
    return tuple(u for _, u in sorted((word, u) for u, word in enumerate(drawn)))


@cache
def ring_neighbours(suite: int, key: bytes, n: int, k: int) -> tuple[frozenset[int], ...]:
    """WIRE.md "Graph": the neighbours of each party."""
    ring = ring_of(suite, key, n)
    steps = [step for near in range(1, k // 2 + 1) for step in (near, -near)]
    found = {u: frozenset(ring[(at + step) % n] for step in steps) for at, u in enumerate(ring)}
    return tuple(found[u] for u in range(n))


def pieces(members: Iterable[int], neighbours: Sequence[Iterable[int]]) -> list[set[int]]:
    """The pieces into which these parties fall, as the pairs of neighbours join them."""
    left, found = set(members), list[set[int]]()
    while left:
        piece, ahead = set[int](), [min(left)]
        while ahead:
            piece.add(u := ahead.pop())
            ahead += [v for v in neighbours[u] if v in left and v not in piece]
        left -= piece
        found.append(piece)
    return found


def sparse_is_allowed(n: int, t: int, least: int, c: int, k: int) -> bool:
    """WIRE.md "Parameters": the conditions of mode 2, in exact fractions."""
    if not (4 <= n <= 2**16 and k % 2 == 0 and 2 <= k <= n - 2 and 2 <= t <= k):
        return False
    if not (2 <= least <= n and 0 <= c <= least - 2):
        return False

    def more_than(a: int) -> Fraction:
        ways = sum(comb(c, marked) * comb(n - c, k - marked) for marked in range(a + 1, k + 1))
        return Fraction(ways, comb(n, k))

    most = next(a for a in range(k + 1) if more_than(a) <= Fraction(1, n * 2**41))
    away = c + n - least
    if t <= most:
        return False
    if k > away:
        return True
    # B! (n - k)! / (n! (B - k)!), with B = `away`: the k next of a party are all away.
    return Fraction(n * (n - k - 1) * perm(away, k), 2 * perm(n, k)) < Fraction(1, 2**41)
