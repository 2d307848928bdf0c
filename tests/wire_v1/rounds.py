"""The rounds of the vectors: parameters, dropouts, and messages that arrive changed."""

from collections.abc import Iterable, Sequence
from typing import Any

from reference.arithmetic import SHARE_BITS
from reference.protocol import (
    CIPHERTEXT,
    SHARE,
    FixedPoint,
    Integers,
    Parameters,
)

from .play import A, C, Case, Change, M, Played, S, U

WEIGHTED = FixedPoint(3.7, 20, 300)
WIDE = Integers(-(2**40), 2**58)
SMALL = Integers(-5, 5)
AES, CHACHA = 1, 2
MALICIOUS = 1


def cases() -> list[Case]:
    """All rounds, in the order of their files."""
    return [*_semi_honest(), *_malicious()]


def _semi_honest() -> Iterable[Case]:
    def case(name: str, note: str, n: int, t: int, more: Sequence[Any], **rest: Any) -> Case:
        least, c, suite, length, form = more
        parameters = Parameters(suite, 0, n, t, least, c, length, form)
        return Case(f"semi-honest-{n:02}-{name}", note, parameters, **rest)

    yield case(
        "integers",
        "The least cohort: two parties, integers in -5..5. No dropout is possible.",
        *(2, 2, (2, 0, AES, 7, SMALL)),
    )
    yield case(
        "fixed-point",
        "Two parties, unweighted fixed point, ChaCha20 masks.",
        *(2, 2, (1, 0, CHACHA, 5, FixedPoint(1.0, 8, 1))),
    )
    for suite, name, salt in ((AES, "aes", 67), (CHACHA, "chacha", 36)):
        yield case(
            f"rejected-words-{name}",
            "A field of 16 bits (p = 65521) and masks that reject words of the stream at nonce 0: "
            "`rejected` lists mask and element. The randomness is chosen so that this happens.",
            *(3, 2, (2, 0, suite, 160, Integers(-10000, 11839))),
            salt=salt,
        )
    yield case(
        "weighted",
        "Weighted fixed point; party 1 drops out before its masked input, so that two remain.",
        *(3, 2, (2, 0, CHACHA, 6, WEIGHTED)),
        drops={1: M},
    )
    yield case(
        "one-unmask-short",
        "Party 0 is in the sum, and does not answer: t = 2 parties unmask.",
        *(3, 2, (2, 0, AES, 3, FixedPoint(0.75, 12, 1))),
        drops={0: U},
    )
    yield case(
        "plain",
        "Everybody stays. Unweighted fixed point; elements of 19 bits, so that the packed vector "
        "has padding. Most refusals refer to this round.",
        *(5, 3, (3, 1, AES, 7, FixedPoint(2.0, 16, 1))),
    )
    yield case(
        "early-dropouts",
        "Party 4 never appears and party 3 does not share: U1 = 0..3 and U2 = U3 = 0..2.",
        *(5, 3, (3, 1, CHACHA, 4, SMALL)),
        drops={4: A, 3: S},
    )
    yield case(
        "late-dropouts",
        "Party 2 drops out before its masked input, party 0 before it unmasks.",
        *(5, 3, (3, 1, CHACHA, 4, WEIGHTED)),
        drops={2: M, 0: U},
    )
    yield case(
        "min-survivors",
        "min_survivors is above the threshold: the quorum is 4. 64-bit lanes (61-bit elements), "
        "totals above 2^53.",
        *(5, 3, (4, 2, CHACHA, 4, WIDE)),
        drops={4: M},
    )
    yield case(
        "greatest-threshold",
        "t = n: no dropout is possible, and c = 3 colluders are allowed.",
        *(5, 5, (1, 3, AES, 4, SMALL)),
    )
    yield case(
        "absent-shares",
        "Party 1 is delivered a ciphertext of party 3 with one bit flipped, and party 4 seals for "
        "party 2 a share that is not canonical: neither ciphertext opens. Its dealer stays in U2 "
        "and U3, the holder unmasks without that share.",
        *(5, 3, (3, 1, AES, 4, SMALL)),
        changed={("delivery", 1): flip_ciphertext(3), (S, 4): share_too_large(2)},
    )
    yield case(
        "wrong-share",
        "Party 4 gives a wrong share of party 1's self seed. There are r = 5 shares with t = 3, so "
        "the server corrects it.",
        *(5, 3, (3, 1, AES, 4, SMALL)),
        changed={(U, 4): wrong_share(1)},
    )
    yield case(
        "wrong-share-of-three",
        "Party 2 gives a wrong share of party 1's self seed, and there are only r = t = 3 shares: "
        "the seed stays wrong and the round ends without a result.",
        *(5, 3, (3, 1, AES, 2, SMALL)),
        drops={3: U, 4: U},
        changed={(U, 2): wrong_share(1)},
    )
    for name, drops, missing in (
        ("u1", {0: A, 1: A, 2: A}, "advertise keys"),
        ("u2", {0: A, 1: S, 2: S}, "share keys"),
        ("u3", {0: A, 1: S, 2: M}, "masked input"),
        ("unmask", {0: U, 1: U, 2: M}, "unmask"),
    ):
        yield case(
            f"too-few-{name}",
            f"Two parties send '{missing}', three are needed: the round ends without a result.",
            *(5, 3, (3, 1, AES, 2, SMALL)),
            drops=drops,
        )
    yield case(
        "every-phase",
        "One party drops out before each phase. Bitmaps have two bytes, and the vector lanes of "
        "64 bits.",
        *(10, 6, (6, 3, AES, 3, FixedPoint(100.0, 32, 2**20))),
        drops={9: A, 0: S, 4: M, 7: U},
    )


def _malicious() -> Iterable[Case]:
    def case(name: str, note: str, n: int, t: int, more: Sequence[Any], **rest: Any) -> Case:
        least, c, suite, length, form = more
        parameters = Parameters(suite, MALICIOUS, n, t, least, c, length, form)
        return Case(f"malicious-{n:02}-{name}", note, parameters, **rest)

    yield case(
        "integers",
        "The least cohort: two parties.",
        *(2, 2, (2, 0, CHACHA, 5, SMALL)),
    )
    yield case(
        "weighted",
        "Three parties, weighted fixed point.",
        *(3, 3, (3, 1, AES, 5, WEIGHTED)),
    )
    yield case(
        "rejected-words",
        "A field of 16 bits whose masks reject words, as `rejected` lists.",
        *(3, 3, (3, 1, CHACHA, 160, Integers(0, 21840))),
        salt=58,
    )
    yield case(
        "plain",
        "Everybody stays; the signatures message names the first t = 4 of five signers. Many "
        "refusals refer to this round.",
        *(5, 4, (4, 1, CHACHA, 4, FixedPoint(2.0, 16, 1))),
    )
    yield case(
        "late-dropout",
        "Party 4 drops out before its masked input: it is in U2 and not in U3.",
        *(5, 4, (4, 1, AES, 4, WEIGHTED)),
        drops={4: M},
    )
    yield case(
        "absent-signature",
        "Party 1 is in U3 and does not sign: it is sent no signatures and does not unmask.",
        *(5, 4, (4, 1, CHACHA, 4, WIDE)),
        drops={1: C},
    )
    yield case(
        "greatest-threshold",
        "t = n, and c = 3 colluders are allowed.",
        *(5, 5, (1, 3, AES, 4, SMALL)),
    )
    for name, drops, missing in (
        ("u1", {0: A, 1: A}, "advertise keys"),
        ("u2", {0: A, 1: S}, "share keys"),
        ("u3", {0: S, 1: M}, "masked input"),
        ("signatures", {0: M, 1: C}, "consistency"),
        ("unmask", {0: C, 1: U}, "unmask"),
    ):
        yield case(
            f"too-few-{name}",
            f"Three parties send '{missing}', four are needed: the round ends without a result.",
            *(5, 4, (4, 1, AES, 2, SMALL)),
            drops=drops,
        )
    yield case(
        "early-dropouts",
        "Parties 1 and 4 drop out before the first two messages, party 9 does not unmask.",
        *(10, 7, (7, 2, CHACHA, 3, WIDE)),
        drops={1: A, 4: S, 9: U},
    )
    yield case(
        "late-dropouts",
        "Party 3 drops out before its masked input, 0 does not sign, 5 does not unmask.",
        *(10, 7, (7, 2, AES, 3, FixedPoint(100.0, 32, 2**20))),
        drops={3: M, 0: C, 5: U},
    )


# -- messages that arrive otherwise than they were sent --------------------------------------------


def flip_ciphertext(dealer: int) -> Change:
    """One bit of the ciphertext from `dealer` in a delivery."""

    def change(run: Played, receiver: int, data: bytes) -> bytes:
        dealers = [u for u in run.session.holders(receiver, run.sets[1]) if u != receiver]
        place = dealers.index(dealer)
        head = len(data) - len(dealers) * CIPHERTEXT
        at = head + place * CIPHERTEXT + 7
        return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]

    return change


def share_too_large(receiver: int) -> Change:
    """A dealer that seals for `receiver` a first element of 2^61 - 1, which is not below p(61)."""

    def change(run: Played, dealer: int, data: bytes) -> bytes:
        others = [u for u in run.session.holders(dealer, run.sets[0]) if u != dealer]
        at = 20 + 64 + others.index(receiver) * CIPHERTEXT
        cipher, data_of = run.parties[dealer].channel(dealer, receiver)
        plain = cipher.decrypt(bytes(12), data[at : at + CIPHERTEXT], data_of)
        first = int.from_bytes(plain[:SHARE], "little") | (2**SHARE_BITS - 1)
        lie = first.to_bytes(SHARE, "little") + plain[SHARE:]
        return data[:at] + cipher.encrypt(bytes(12), lie, data_of) + data[at + CIPHERTEXT :]

    return change


def wrong_share(dealer: int) -> Change:
    """A holder that gives a share of `dealer` whose first element is another."""

    def change(run: Played, holder: int, data: bytes) -> bytes:
        dealers = [u for u in run.parties[holder].u2 if u in run.parties[holder].shares]
        at = 20 + (run.case.parameters.cohort + 7) // 8 + dealers.index(dealer) * SHARE
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    return change
