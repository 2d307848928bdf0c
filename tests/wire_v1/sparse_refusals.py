"""Messages on sparse graphs that a client or the server must refuse."""

from collections.abc import Iterable, Mapping

from reference.protocol import CIPHERTEXT, SHARE, bitmap, public_key

from .forge import (
    ABORTED,
    APART,
    DECODE,
    DROPPED,
    FAILS,
    HEADER,
    SPARSE,
    SPARSE_EARLY,
    SPARSE_LATE,
    Forge,
    Refusal,
    flip,
    low,
)
from .play import A, S, U, expanded

N = 10  # of the rounds that this refers to, but for the one that falls apart
BITMAP = 2
SMALL_U = "of its 4 neighbours 2 are left: 3 holders, and t = 4 are required"


def near(on: Forge, u: int) -> list[int]:
    """The neighbours of a party, in the order of the ring."""
    ring = on.s.ring()
    at = ring.index(u)
    return [ring[(at + step) % len(ring)] for step in (-2, -1, 1, 2)]


def far(on: Forge, u: int) -> list[int]:
    """The others."""
    return [v for v in range(on.n) if v not in on.s.graph()[u] and v != u]


def without(*gone: int) -> list[int]:
    """The cohort but for these."""
    return [u for u in range(N) if u not in gone]


def sparse_by_clients(forges: Mapping[str, Forge]) -> list[Refusal]:
    """To client 0."""
    on, early = forges[SPARSE], forges[SPARSE_EARLY]
    return [
        *_forms(on),
        *_rosters(on),
        *_deliveries(on, early),
        *_survivor_sets(on, early),
        *_apart(forges[APART]),
    ]


def _forms(on: Forge) -> Iterable[Refusal]:
    """Sizes that do not fit the receiver's neighbours."""
    of_zero = near(on, 0)
    for kind in ("roster", "delivery", "survivors"):
        good = on.run.message(kind, 0)
        for name, data, note in (
            ("truncated", good[:-1], "the last byte is missing"),
            ("one byte more", good + b"\0", "bytes follow the last field"),
            (
                "padding in the bitmap",
                flip(good, HEADER + 1, 4),
                "bit 10 is set in a cohort of 10",
            ),
        ):
            yield on.client(kind, name, data, DECODE, note)
    good = on.run.message("roster", 0)
    head, told, listed = good[: HEADER + BITMAP], good[22:54], good[54:]
    every = b"".join(on.entries[u] for u in range(N))
    for name, data, note in (
        ("of the complete graph", head + every, "all entries, and no h1"),
        ("all entries", head + told + every, "those of its holders, and no others"),
        ("without h1", head + listed, "32 bytes too few"),
        ("an entry too few", good[:-64], "the bitmap has five holders"),
        ("an entry too many", good + on.entries[far(on, 0)[0]], "as of a party that is none"),
    ):
        yield on.client("roster", name, data, DECODE, note)
    gone = bitmap(without(of_zero[0]), N)
    data = good[:HEADER] + gone + good[HEADER + BITMAP :]
    yield on.client("roster", "an entry outside U1", data, DECODE, "its bit is not set")
    good = on.run.message("delivery", 0)
    for name, data, note in (
        ("a ciphertext too few", good[:-CIPHERTEXT], "four neighbours are in U2"),
        ("a ciphertext of everybody", good + 5 * good[-CIPHERTEXT:], "those of neighbours only"),
    ):
        yield on.client("delivery", name, data, DECODE, note)


def _rosters(on: Forge) -> Iterable[Refusal]:
    fresh = public_key(expanded("a key of the server", 32))
    a, b = (u for u in sorted(near(on, 0))[:2])
    own, first, second = on.entries[0], on.entries[a], on.entries[b]

    def put(name: str, changed: Mapping[int, bytes | None], note: str) -> Refusal:
        return on.client("roster", name, on.roster(changed), ABORTED, note)

    yield put("without the receiver", {0: None}, "its own index is not in U1")
    yield put("own mask key changed", {0: own[:32] + fresh}, "not the keys it advertised")
    yield put("a neighbour with another's key", {b: first[:32] + second[32:]}, "keys are distinct")
    yield put("a neighbour with its own key", {a: own[:32] + first[32:]}, "keys are distinct")
    yield put("a channel key of low order", {a: low(1) + first[32:]}, "X25519 gives zero")
    yield put("a mask key of low order", {b: second[:32] + low(0)}, "X25519 gives zero")
    yield put("too few neighbours", dict.fromkeys(near(on, 0)[:2]), SMALL_U)
    yield put(
        "below min_survivors",
        dict.fromkeys(far(on, 0)[:4]),
        "|U1| = 6 is below the quorum of 7; all neighbours are there",
    )


def _deliveries(on: Forge, early: Forge) -> Iterable[Refusal]:
    peers = near(on, 0)
    outside = next(u for u in range(N) if u not in early.entries)

    def put(name: str, data: bytes, note: str, of: Forge = on) -> Refusal:
        return of.client("delivery", name, data, ABORTED, note)

    yield put("without the receiver", on.delivery(without(0)), "its own index is not in U2")
    yield put("too few neighbours", on.delivery(without(*peers[1:3])), SMALL_U)
    yield put("below min_survivors", on.delivery(without(*far(on, 0)[:4])), "|U2| = 6, not 7")
    yield put(
        "a member outside U1",
        early.delivery([*early.run.sets[1], outside]),
        f"party {outside}, a neighbour, is not in the roster",
        early,
    )
    few = {u: flip(on.server.ciphertexts[u, 0], -1) for u in peers[:2]}
    note = "the ciphertexts of at least t - 1 = 3 others must open, and two do"
    yield put("too few ciphertexts open", on.delivery(range(N), few), note)


def _survivor_sets(on: Forge, early: Forge) -> Iterable[Refusal]:
    silent = next(u for u in early.run.sets[0] if u not in early.run.sets[1])
    for of, members, name, note in (
        (on, without(0), "without the receiver", "it would give a share of its own mask seed"),
        (on, without(*near(on, 0)[1:3]), "too few neighbours", SMALL_U),
        (on, without(*near(on, 0)[:2]), "too few neighbours on one side", SMALL_U),
        (on, without(*far(on, 0)[:4]), "below min_survivors", "|U3| = 6 is above t, and not 7"),
        (on, [0, *near(on, 0)], "of its neighbours only", "|U3| = 5 is above t, and not 7"),
        (
            early,
            sorted([*early.run.sets[1], silent]),
            "a member outside U2",
            f"party {silent} did not share, and is no neighbour",
        ),
    ):
        yield of.client("survivors", name, of.survivors(members), ABORTED, note)


def _apart(on: Forge) -> Iterable[Refusal]:
    """The survivors of a round that the server ends, told all the same."""
    u3 = on.run.sets[2]
    yield Refusal(
        f"{APART}: survivors, in two pieces",
        "they reach the quorum and party 0 has its holders; no masks join the two pieces, and "
        "their sums would come out apart",
        *(APART, 0, False, len(on.run.messages), on.survivors(u3), ABORTED),
    )


def sparse_by_the_server(forges: Mapping[str, Forge]) -> list[Refusal]:
    """From party 1, or from a neighbour of party 0."""
    return [*_to_the_server(forges[SPARSE]), *_hopeless(forges[SPARSE_LATE])]


def _to_the_server(on: Forge) -> Iterable[Refusal]:
    good = on.run.message(S, 1)
    yield on.sends(S, "a ciphertext too few", good[:-CIPHERTEXT], DECODE, "one for each neighbour")
    data = good + 5 * good[-CIPHERTEXT:]
    yield on.sends(S, "a ciphertext for everybody", data, DECODE, "one for each neighbour, no more")
    yield on.sends(S, "wrong roster", flip(good, HEADER), DROPPED, "shares for another roster")
    data = good[:HEADER] + on.server.h1 + good[HEADER + 32 :]
    yield on.sends(S, "h1 itself", data, DROPPED, "in mode 2 r_u stands here")
    stranger = far(on, N - 1)[0]
    data = on.s.message(A, on.s.h0(), on.entries[N - 1][:32] + on.entries[stranger][32:])
    note = "keys are distinct in all of U1, whoever is whose neighbour"
    yield on.sends(A, f"mask key of party {stranger}, no neighbour", data, DROPPED, note, N - 1)
    good = on.run.message(U, 1)
    shares = {u: good[22 + i * SHARE :][:SHARE] for i, u in enumerate(on.s.holders(1, range(N)))}
    stranger, peer = far(on, 1)[0], near(on, 1)[0]
    more = {**shares, stranger: shares[1]}
    for name, dealers in (
        ("a share of a dealer that is no neighbour", sorted(more)),
        ("of no neighbour, in the place of one", sorted(more.keys() - {peer})),
    ):
        data = on.s.message(U, bitmap(dealers, N), *(more[u] for u in dealers))
        note = f"party {stranger} dealt party 1 no share"
        yield on.sends(U, name, data, DROPPED, note)


def _hopeless(on: Forge) -> Iterable[Refusal]:
    """Party 0 has as many shares as are needed, and one is missing, or wrong."""
    giver = next(u for u in near(on, 0) if u not in on.run.case.drops)
    good = on.run.message(U, giver)
    dealers = on.s.holders(giver, on.run.sets[1])
    at = HEADER + BITMAP + dealers.index(0) * SHARE
    left = [u for u in dealers if u]
    data = good[:HEADER] + bitmap(left, N) + good[HEADER + BITMAP : at] + good[at + SHARE :]
    note = "The message is taken: a share may be absent. Three are left, t = 4 are needed."
    yield on.sends(U, "the share of dealer 0 absent", data, FAILS, note, giver)
    note = "The message is taken. With r = t = 4 shares none can be wrong."
    yield on.sends(U, "a wrong share of dealer 0", flip(good, at), FAILS, note, giver)
