"""Attacks before a round: offers and directories with which a client must not join."""

from harness import CONTEXT, SESSION, directory_of, identity_of, integers, seeded
from pairwise.malicious.registry import STRANGER, attack, malicious_integers

import secagg
from secagg import Client, MemoryLedger, Mode, Policy


def joins(gain: str, agreed: secagg.Round, party: int, **given: object) -> str:
    """Returns the gain if the client takes part."""
    if agreed.params.mode is Mode.MALICIOUS:
        given["ledger"] = MemoryLedger()
    try:
        Client(agreed, party, Policy(allow_pair=True), seeded(party), **given)  # type: ignore[arg-type]
    except secagg.ParameterError:
        return ""
    return gain


@attack
def downgrade() -> str:
    """A semi-honest offer to a client with an identity, a directory, or both."""
    agreed = integers(4, threshold=3).round(CONTEXT, SESSION)
    identity, directory = identity_of(0), directory_of(4)
    for given in (
        {"identity": identity, "directory": directory},
        {"identity": identity},
        {"directory": directory},
    ):
        if gain := joins("joined a semi-honest round", agreed, 0, **given):
            return gain
    return ""


@attack
def seat_of_another() -> str:
    """A client is told the index of somebody else: signatures would not be its own."""
    agreed = malicious_integers(4, threshold=3).round(CONTEXT, SESSION)
    for party in (1, 2, 3):
        for identity in (identity_of(0), STRANGER):
            if gain := joins(
                "joined in another's place",
                agreed,
                party,
                identity=identity,
                directory=directory_of(4),
            ):
                return gain
    return ""


@attack
def directory_of_another_cohort() -> str:
    """More or fewer parties are pinned than the cohort has."""
    agreed = malicious_integers(4, threshold=3).round(CONTEXT, SESSION)
    for size in (3, 5):
        if gain := joins(
            f"joined with {size} pinned of 4",
            agreed,
            0,
            identity=identity_of(0),
            directory=directory_of(size),
        ):
            return gain
        try:
            secagg.Server(agreed, directory_of(size))
        except secagg.ParameterError:
            continue
        return "a server with another directory"
    return ""


@attack
def too_many_colluders_offered() -> str:
    """An offer with 2t = n + c: two survivor sets could both find t signers."""
    offer = bytearray(
        malicious_integers(7, threshold=5, colluders=2).round(CONTEXT, SESSION).encode()
    )
    place = 20 + 32 + 2 + 3 * 4
    assert offer[place] == 2
    offer[place] = 3
    try:
        agreed = secagg.Round.decode(bytes(offer))
    except secagg.DecodeError:
        return ""
    return f"an offer with 2 * 5 <= 7 + {agreed.params.colluders}"
