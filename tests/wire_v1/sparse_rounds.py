"""The rounds of the vectors on sparse graphs (mode 2)."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from reference.protocol import SPARSE, FixedPoint, Integers, Parameters

from .play import A, Case, M, S, U, session_of
from .rounds import AES, CHACHA, SMALL, WEIGHTED, WIDE, flip_ciphertext, wrong_share


def sparse_cases() -> Iterable[Case]:
    """All of them. Who drops out is told by places on the ring, from the place of party 0."""
    yield _case(
        "integers",
        "The least cohort: four parties, each with two neighbours.",
        *(4, 2, 2, 4, 0, AES, 7, SMALL),
    )
    plain = 10, 4, 4, 7, 0
    yield _case(
        "plain",
        "Everybody stays; four neighbours each, and a threshold of four shares out of five. Most "
        "refusals on a sparse graph refer to this round.",
        *(*plain, AES, 5, FixedPoint(2.0, 16, 1)),
    )
    yield _dropping(
        _case(
            "early-dropouts",
            "One neighbour of party 0 never appears, and one party that is none does not share.",
            *(*plain, CHACHA, 4, SMALL),
        ),
        {1: A, 6: S},
    )
    yield _dropping(
        _case(
            "late-dropouts",
            "A neighbour of party 0 does not unmask, so that t = 4 shares of party 0's seed are "
            "there; a party that is no neighbour of either drops out before its masked input.",
            *(*plain, CHACHA, 4, WEIGHTED),
        ),
        {1: U, 6: M},
    )
    yield _dropping(
        _case(
            "every-phase",
            "One party drops out before each phase, and the quorum of 8 is reached. 64-bit lanes.",
            *(12, 6, 3, 8, 1, AES, 3, WIDE),
        ),
        {1: A, 4: S, 7: M, 10: U},
    )
    yield replace(
        _case(
            "absent-share",
            "A ciphertext for party 0 from the next on the ring does not open: party 0 unmasks "
            "without that share.",
            *(*plain, AES, 4, SMALL),
        ),
        changed={("delivery", 0): _from_next},
    )
    yield replace(
        _case(
            "wrong-share",
            "Party 4 gives a wrong share of party 1's self seed. There are r = 7 shares with "
            "t = 3, so the server corrects it.",
            *(12, 6, 3, 8, 1, CHACHA, 4, SMALL),
        ),
        changed={(U, 4): wrong_share(1)},
    )
    yield _dropping(
        _case(
            "too-few-u3",
            "Six parties send 'masked input'; the quorum is min_survivors = 7, and not t = 4.",
            *(*plain, AES, 2, SMALL),
        ),
        {1: M, 3: M, 5: M, 7: M},
    )
    yield _dropping(
        _case(
            "too-few-holders",
            "Two neighbours of party 0 drop out before their masked input. Three of its holders "
            "are left, t = 4 are needed: the server ends the round and names no U3.",
            *(*plain, AES, 2, SMALL),
        ),
        {1: M, -1: M},
    )
    yield _dropping(
        _case(
            "too-few-unmask",
            "Eight parties unmask, and only three of them are holders of party 0's seed: the round "
            "ends without a result.",
            *(*plain, CHACHA, 2, Integers(0, 1)),
        ),
        {1: U, 2: U},
    )
    yield _dropping(
        _case(
            "apart",
            "Two times nine parties, each next to each other on the ring, drop out before their "
            "masked input. The 46 others reach the quorum, every party has holders enough, and "
            "they are in two pieces: the server ends the round and names no U3. `derived` lists "
            "party 0 only.",
            *(64, 18, 2, 46, 0, AES, 1, SMALL),
        ),
        dict.fromkeys((*range(10, 19), *range(40, 49)), M),
    )


def _case(
    name: str,
    note: str,
    n: int,
    k: int,
    t: int,
    least: int,
    c: int,
    suite: int,
    *rest: Any,
) -> Case:
    parameters = Parameters(suite, SPARSE, n, t, least, c, *rest, degree=k)
    return Case(f"sparse-{n:02}-{name}", note, parameters)


def _dropping(case: Case, places: dict[int, str]) -> Case:
    return replace(case, drops={_at(case, place): step for place, step in places.items()})


def _at(case: Case, place: int) -> int:
    ring = session_of(case).ring()
    return ring[(ring.index(0) + place) % len(ring)]


def _from_next(run: Any, receiver: int, data: bytes) -> bytes:
    return flip_ciphertext(_at(run.case, 1))(run, receiver, data)
