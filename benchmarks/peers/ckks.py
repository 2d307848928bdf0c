"""Homomorphic encryption: CKKS with TenSEAL, with the parameters that NVFlare proposes.

One secret key decrypts every update: anybody who has it and sees the traffic sees all inputs. A
client that drops out costs nothing, since there are no masks. The weights are sent in clear.
"""

from typing import Any, Final

import numpy as np

from .case import Case, MissingError, Outcome, Side, Stopwatch

DEGREE: Final = 8192
MODULI: Final = (60, 40, 40)  # bits of the primes
SCALE: Final = 2.0**40
SLOTS: Final = DEGREE // 2


def _load() -> Any:
    try:
        import tenseal  # noqa: PLC0415
    except ImportError:
        raise MissingError("CKKS: TenSEAL is not installed; pip install 'secagg[peers]'") from None
    return tenseal


def play(case: Case) -> Outcome:
    """Plays one round: clients encrypt weighted updates, the server adds, a key holder decrypts.

    Raises:
        MissingError: TenSEAL is not installed.
    """
    tenseal = _load()
    secret = tenseal.context(tenseal.SCHEME_TYPE.CKKS, DEGREE, coeff_mod_bit_sizes=list(MODULI))
    secret.global_scale = SCALE
    public = secret.copy()
    public.make_context_public()
    watch = Stopwatch()
    sums: list[Any] = []
    sent: list[bytes] = []
    for party in case.stayed:
        with watch("encrypt", Side.CLIENTS):
            weighted = case.weights[party] * case.updates[party].astype(np.float64)
            sent = [
                tenseal.ckks_vector(public, weighted[at : at + SLOTS]).serialize()
                for at in range(0, case.length, SLOTS)
            ]
        with watch("add", Side.SERVER):
            pieces = [tenseal.ckks_vector_from(public, data) for data in sent]
            sums = [a + b for a, b in zip(sums, pieces, strict=True)] if sums else pieces
    with watch("add", Side.SERVER):
        answer = [piece.serialize() for piece in sums]
    with watch("decrypt", Side.CLIENTS):
        plain = [tenseal.ckks_vector_from(secret, data).decrypt() for data in answer]
        summed = np.concatenate([np.asarray(piece) for piece in plain])
    return Outcome(
        watch.phases,
        watch.cpu,
        sum(len(data) for data in sent),
        summed / sum(case.weights[party] for party in case.stayed),
    )
