"""The registry of attacks on malicious mode, and what they all use."""

from collections.abc import Callable

from harness import integers, seeded, tight

from secagg import Identity, Mode, Params
from secagg.identity.identity import sign_digest
from secagg.pairwise import transcript

Attack = Callable[[], str]
MALICIOUS_ATTACKS: dict[str, Attack] = {}
STRANGER = Identity.generate(seeded("stranger"))


def attack(function: Attack) -> Attack:
    """Registers an attack."""
    MALICIOUS_ATTACKS[function.__name__] = function
    return function


def malicious_integers(cohort: int, length: int = 4, **more: object) -> Params:
    """Returns `integers` in malicious mode."""
    return integers(cohort, length, mode=Mode.MALICIOUS, **more)


def malicious_tight(cohort: int, length: int = 1, **more: object) -> Params:
    """Returns `tight` in malicious mode."""
    return tight(cohort, length, mode=Mode.MALICIOUS, **more)


FOUR_PARTIES = malicious_tight(4, threshold=3)


def signed(identity: Identity, h3: bytes) -> bytes:
    """Returns a consistency signature."""
    return sign_digest(identity, transcript.consistency_digest(h3))
