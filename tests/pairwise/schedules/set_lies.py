"""Lies of a lying server in later steps: deliveries, survivor sets, signatures, and noise."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from harness import seeded
from pairwise.malicious import STRANGER, signed
from pairwise.schedules.roster_lies import other_party, pick
from pairwise.schedules.server_plan import EARLIER_SESSION, Lie

from secagg.pairwise.messages import SEALED_BYTES
from secagg.sharing import shamir

if TYPE_CHECKING:
    from pairwise.schedules.lying_server import LyingServer


DELIVERY: dict[str, Callable[["LyingServer", int, set[int], dict[int, bytes], Lie], None]] = {}
SURVIVORS: dict[str, Callable[["LyingServer", int, set[int], Lie], None]] = {}
SIGNATURES: dict[str, Callable[["LyingServer", int, dict[int, bytes], Lie], None]] = {}
NOISE: dict[str, Callable[["LyingServer", int, bytes, Lie], bytes]] = {}


def _other_u2(server: "LyingServer", victim: int, members: set[int], sealed: dict[int, bytes],
              lie: Lie) -> None:  # fmt: skip
    """Tells any U2: the victim alone, it and the colluders, without it, with others than U1."""
    everybody = set(range(server.params.cohort))
    members.clear()
    if lie.b == 0:
        members |= {victim, *sorted(everybody - {victim})[: lie.a]}
    elif lie.b == 1:
        least = server.params.threshold - 1
        company = [*server.colluders, *(everybody - set(server.colluders))]
        members |= {victim, *[one for one in company if one != victim][:least]}
    elif lie.b == 2:
        members |= everybody - {victim}
    else:
        members |= everybody


def _some_ciphertexts(server: "LyingServer", victim: int, members: set[int],
                      sealed: dict[int, bytes], lie: Lie) -> None:  # fmt: skip
    """Alters one ciphertext (b = 0) or all: junk, reflected, misrouted, or of the past."""
    past = server.past()
    for peer in sorted(members - {victim}) if lie.b else [other_party(server, victim, lie)]:
        honest = server.honest.get(peer)
        taken = next((one for one in server.sealed if one[0] == peer and one[1] != victim), None)
        sealed[peer] = (
            bytes([lie.a]) * SEALED_BYTES,
            server.sealed.get((victim, peer), bytes(SEALED_BYTES)),
            server.sealed[taken] if taken and honest else bytes(SEALED_BYTES),
            past.sealed.get((peer, victim), bytes(SEALED_BYTES)),
            server.sealed.get((victim, peer), bytes(SEALED_BYTES)),
        )[lie.a % 5]


def _dealt_by_a_colluder(server: "LyingServer", victim: int, members: set[int],
                         sealed: dict[int, bytes], lie: Lie) -> None:  # fmt: skip
    """Deals any shares, or none at all, under a key that opens."""
    if not server.colluders:
        return
    liar = pick(lie, server.colluders)
    if liar in members and liar != victim:
        plain = (seeded(("dealt", lie.a))(2 * shamir.SHARE_BYTES), bytes([255]) * 46)[lie.b % 2]
        if lie.b < 2:
            plain = bytes(x & 0x0F for x in plain[:22]) + b"\0" + plain[:22] + b"\0"
        sealed[liar] = server.seal_for(victim, liar, plain) or bytes(SEALED_BYTES)


DELIVERY |= {
    "another U2": _other_u2,
    "other ciphertexts": _some_ciphertexts,
    "dealt by a colluder": _dealt_by_a_colluder,
}


def other_u3(server: "LyingServer", victim: int, members: set[int], lie: Lie) -> None:
    """Tells any U3: few, without the victim, with others than U2, all but one, as many as sign."""
    everybody = set(range(server.params.cohort))
    base = set(members)
    members.clear()
    if lie.b == 0:
        members |= (base or everybody) - {other_party(server, victim, lie)}
    elif lie.b == 1:
        members |= (base or everybody) - {victim}
    elif lie.b == 2:
        members |= everybody
    else:
        few = [*server.colluders, *sorted(everybody - set(server.colluders))]
        members |= set(few[: server.params.threshold - lie.a % 2])


def _without_colluders(server: "LyingServer", victim: int, members: set[int], lie: Lie) -> None:
    """Leaves the colluders out of U3, so that they can sign from outside."""
    if lie.b % 2 == 0:
        members -= set(server.colluders)


SURVIVORS |= {"another U3": other_u3, "signers outside U3": _without_colluders}


def _signers(server: "LyingServer", victim: int, chosen: dict[int, bytes], lie: Lie) -> None:
    """Leaves out signers: one, all but one, all honest ones, all."""
    gone = (
        sorted(chosen)[lie.a % (len(chosen) or 1) :][:1],
        sorted(chosen)[1:],
        sorted(chosen.keys() & server.honest.keys()),
        sorted(chosen),
    )[lie.b]
    for party in gone:
        del chosen[party]


def _filled(server: "LyingServer", victim: int, chosen: dict[int, bytes], lie: Lie) -> None:
    """Fills in for survivors that did not sign: what they signed elsewhere, or forgeries."""
    client = server.honest[victim]
    for party in set(client.survivors) - chosen.keys():
        own = server.honest[party].signed if party in server.honest else []
        elsewhere = own[-1][2] if own else bytes(64)
        chosen[party] = (
            elsewhere,
            signed(STRANGER, client.h3),
            server.past().honest[party].signed[0][2],
            elsewhere[:32] + bytes(32),
        )[lie.b]


def _outsiders(server: "LyingServer", victim: int, chosen: dict[int, bytes], lie: Lie) -> None:
    """Adds colluders that are no survivors, in place of one that is (b > 1)."""
    client = server.honest[victim]
    outside = set(server.colluders) - set(client.survivors)
    chosen |= {party: server.sign(party, client.h3) for party in outside}
    inside = sorted(chosen.keys() - outside)
    if lie.b > 1 and outside and inside:
        del chosen[inside[lie.a % len(inside)]]


def _one_forged(server: "LyingServer", victim: int, chosen: dict[int, bytes], lie: Lie) -> None:
    """Forges one signature: by another, on another set, with a bit flipped, twice."""
    if not chosen:
        return
    party = pick(lie, sorted(chosen))
    true = chosen[party]
    chosen[party] = (
        signed(STRANGER, server.honest[victim].h3),
        true[:40] + bytes([true[40] ^ 1]) + true[41:],
        next(iter(chosen.values())),
        bytes(64),
    )[lie.b]


SIGNATURES |= {
    "signers left out": _signers,
    "signatures filled up": _filled,
    "signers outside U3": _outsiders,
    "one signature forged": _one_forged,
}
NOISE |= {
    "cut": lambda server, victim, true, lie: true[: len(true) - 1 - 9 * lie.a],
    "longer": lambda server, victim, true, lie: true + bytes(1 + lie.a),
    "bit flipped": lambda server, victim, true, lie: _flipped(true, 131 * lie.a + 7),
    "bit of a set flipped": lambda server, victim, true, lie: _flipped(true, 160 + lie.a),
    "of another session": lambda server, victim, true, lie: true[:4] + EARLIER_SESSION + true[20:],
    "of another version": lambda server, victim, true, lie: (
        true[:2] + bytes([true[2] ^ (1 + lie.a)]) + true[3:]
    ),
    "of another type": lambda server, victim, true, lie: (
        true[:3] + bytes([(0x11, 0x12, 0x13, 0x14)[lie.a % 4]]) + true[4:]
    ),
    "of another victim": lambda server, victim, true, lie: server.last.get(
        sorted(server.honest)[lie.a % len(server.honest)], true
    ),
    "early": lambda server, victim, true, lie: (
        true[:3] + bytes([(0x13, 0x12, 0x14)[lie.a % 3]]) + true[4:20] + b"\x0f"
    ),
    "again": lambda server, victim, true, lie: (server.honest[victim].history or (b"",))[
        lie.a % (len(server.honest[victim].history) or 1)
    ],
    "of the past": lambda server, victim, true, lie: _relabelled(
        server.past().last.get(victim, true), true
    ),
}


def _flipped(message: bytes, bit: int) -> bytes:
    data = bytearray(message)
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    return bytes(data)


def _relabelled(old: bytes, true: bytes) -> bytes:
    """Puts an old message under today's header."""
    return true[:3] + old[3:4] + true[4:20] + old[20:]
