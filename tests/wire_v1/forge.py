"""What refusals are made of: a round that was played, taken apart."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reference.protocol import (
    CHECKSUM,
    CIPHERTEXT,
    bitmap,
    sign,
)

from .play import M, Played, U

DECODE, REFUSED, ABORTED, DROPPED, OFFER, FAILS = (
    "decode error",
    "refused",
    "aborted",
    "dropped",
    "offer refused",
    "round fails",
)
HEADER = 20
P25519 = 2**255 - 19
L25519 = 2**252 + 27742317777372353535851937790883648493
LOW_ORDER = {  # u-coordinates of the points of order 1, 2, 4, 8, of the curve and of its twist
    "0": 0,
    "1": 1,
    "p - 1": P25519 - 1,
    "of order 8": 325606250916557431795983626356110631294008115727848805560023387167927233504,
    "of order 8, the other": (
        39382357235489614581723060781553021112529911719440698176882885853963445705823
    ),
}
NON_CANONICAL = {  # second encodings: of 0, of 1, of 9, of 18
    "p": P25519,
    "p + 1": P25519 + 1,
    "p + 9": P25519 + 9,
    "2^255 - 1": 2**255 - 1,
}
ROUNDS = (  # those that refusals refer to
    PLAIN := "semi-honest-05-plain",
    WEIGHTED := "semi-honest-03-weighted",
    EARLY := "semi-honest-05-early-dropouts",
    LATE := "semi-honest-05-late-dropouts",
    LEAST := "semi-honest-05-min-survivors",
    SIGNED := "malicious-05-plain",
    SIGNED_LATE := "malicious-05-late-dropout",
    SPARSE := "sparse-10-plain",
    SPARSE_EARLY := "sparse-10-early-dropouts",
    SPARSE_LATE := "sparse-10-late-dropouts",
    APART := "sparse-64-apart",
)


@dataclass(frozen=True)
class Refusal:
    """A message in place of number `before` of a round (behind the last one if there is none)."""

    name: str
    note: str
    round: str
    party: int  # the client that receives it, or that sends it to the server
    to_server: bool
    before: int
    data: bytes
    expected: str

    def describe(self) -> dict[str, Any]:
        """As it stands in the file."""
        return {
            "name": self.name,
            "note": self.note,
            "round": self.round,
            "from": self.party if self.to_server else "server",
            "to": "server" if self.to_server else self.party,
            "before": self.before,
            "bytes": self.data.hex(),
            "expected": self.expected,
        }


class Forge:
    """Makes refusals against one round."""

    def __init__(self, run: Played) -> None:
        self.run, self.s, self.server = run, run.session, run.server
        self.n, self.name = run.case.parameters.cohort, run.case.name
        self.entries = {u: b"".join(entry) for u, entry in run.server.entries.items()}

    def client(self, kind: str, name: str, data: bytes, expected: str, note: str) -> Refusal:
        """To client 0, in place of its message of this type."""
        at = self.run.index(kind, 0)
        title = f"{self.name}: {kind}, {name}"
        return Refusal(title, note, self.name, 0, False, at, data, expected)

    def sends(
        self, kind: str, name: str, data: bytes, expected: str, note: str, party: int = 1
    ) -> Refusal:
        """From party 1 to the server, in place of its message of this type."""
        at = self.run.index(kind, party)
        title = f"{self.name}: {kind}, {name}"
        return Refusal(title, note, self.name, party, True, at, data, expected)

    def again(self, kind: str, party: int, name: str, data: bytes, note: str) -> Refusal:
        """From a party to the server, before what the server gets next."""
        at = self.run.index(kind, party) + 1
        title = f"{self.name}: {name}"
        return Refusal(title, note, self.name, party, True, at, data, REFUSED)

    def roster(self, changed: Mapping[int, bytes | None]) -> bytes:
        """The roster that client 0 gets with other entries, or without some; h1 is the true one."""
        entries = {u: data for u, data in {**self.entries, **changed}.items() if data is not None}
        told = [self.server.h1] if self.s.parameters.sparse else []
        listed = [entries[u] for u in self.s.holders(0, entries)]
        return self.s.message("roster", bitmap(entries, self.n), *told, *listed)

    def delivery(
        self, members: Sequence[int], sealed: Mapping[int, bytes] | None = None, to: int = 0
    ) -> bytes:
        """A delivery with other ciphertexts; whoever dealt none sends zeros."""
        chosen = [
            (sealed or {}).get(u) or self.server.ciphertexts.get((u, to)) or bytes(CIPHERTEXT)
            for u in self.s.holders(to, members)
            if u != to
        ]
        return self.s.message("delivery", bitmap(members, self.n), *chosen)

    def survivors(self, members: Sequence[int]) -> bytes:
        """A survivors message."""
        return self.s.message("survivors", bitmap(members, self.n))

    def signatures(self, chosen: Mapping[int, bytes]) -> bytes:
        """A signatures message."""
        return self.s.message("signatures", bitmap(chosen, self.n), *chosen.values())

    def signed_entry(self, u: int, keys: bytes) -> bytes:
        """An entry of u with its true signature on these keys."""
        return keys + sign(self.run.identities[u], self.s.keys_digest(u, keys))

    def masked(self, u: int, y: bytes) -> bytes:
        """A masked input of u with the right proof."""
        digest = self.s.input_digest(self.server.h2, u, y)
        malicious = self.run.case.parameters.malicious
        proof = sign(self.run.identities[u], digest) if malicious else digest[:CHECKSUM]
        return self.s.message(M, self.server.h2, y, proof)

    def packed(self, u: int) -> bytes:
        """y of u."""
        p = self.run.case.parameters
        return self.run.message(M, u)[52 : 52 + (p.vector_length * p.field_bits + 7) // 8]


def low(key: int) -> bytes:
    """A u-coordinate."""
    return key.to_bytes(32, "little")


def weak(good: bytes) -> dict[str, bytes]:
    """Public keys that nobody may accept, by name."""
    top = good[:31] + bytes([good[31] | 0x80])
    return {
        **{f"{name} (low order)": low(u) for name, u in LOW_ORDER.items()},
        **{f"{name} (not canonical)": low(u) for name, u in NON_CANONICAL.items()},
        "the right one with the top bit set (not canonical)": top,
    }


def flip(data: bytes, at: int, bit: int = 1) -> bytes:
    """The bytes with one bit flipped."""
    at %= len(data)
    return data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]


def header(on: Forge, kind: str) -> Iterable[Refusal]:
    down = kind == "roster"
    put = on.client if down else on.sends
    good = on.run.message(kind, 0 if down else 1)
    for name, data, expected, note in (
        ("empty", b"", DECODE, "no message at all"),
        ("half a header", good[:10], DECODE, "shorter than a header"),
        ("wrong magic", b"AS" + good[2:], DECODE, "not the magic of this protocol"),
        ("version 0", good[:2] + b"\0" + good[3:], DECODE, "versions refuse each other"),
        ("version 2", good[:2] + b"\2" + good[3:], DECODE, "versions refuse each other"),
        ("other session", flip(good, 4), REFUSED, "the session differs in one bit"),
        ("unknown type", good[:3] + b"\x7f" + good[4:], REFUSED, "there is no type 0x7f"),
        (
            "type of the other side",
            good[:3] + bytes([good[3] ^ 0x10]) + good[4:],
            REFUSED,
            "a type that only the receiver sends",
        ),
    ):
        yield put(kind, name, data, expected, note)


def shape(on: Forge, kinds: Sequence[str]) -> Iterable[Refusal]:
    for kind in kinds:
        down = kind in {"roster", "delivery", "survivors", "signatures"}
        put = on.client if down else on.sends
        good = on.run.message(kind, 0 if down else 1)
        yield put(kind, "truncated", good[:-1], DECODE, "the last byte is missing")
        yield put(kind, "header only", good[:HEADER], DECODE, "there is no body")
        yield put(kind, "one byte more", good + b"\0", DECODE, "bytes follow the last field")
        if down or kind == U:
            data = flip(good, HEADER, 0x20)
            note = "bit 5 of the bitmap is set in a cohort of 5: padding must be zero"
            yield put(kind, "padding in the bitmap", data, DECODE, note)
