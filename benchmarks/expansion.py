"""Counts the bytes that a client sends and receives in a round, with the encoders themselves.

Every message but one is encoded here in full, with as many entries as a real one has. The packed
vector of the masked input is left out and its length added (`Field.packed_bytes`), so that any
number of coordinates can be counted. Nobody drops out, as then most bytes are sent.
"""

import numpy as np

from secagg import Mode, Params
from secagg.arithmetic.field import Field
from secagg.machine.wire import PartySet
from secagg.pairwise.messages import (
    CHECKSUM_BYTES,
    SEALED_BYTES,
    AdvertiseKeys,
    Consistency,
    Delivery,
    MaskedInput,
    PublicKeys,
    Roster,
    ShareKeys,
    Signatures,
    Survivors,
    Unmask,
)
from secagg.primitives.agreement import PUBLIC_KEY_BYTES
from secagg.primitives.labels import DIGEST_BYTES
from secagg.primitives.sign import SIGNATURE_BYTES
from secagg.sharing.shamir import LIMBS


def client_bytes(params: Params) -> int:
    """Returns the bytes of all messages between one client and the server, with the offer."""
    agreed, n = params.round(), params.cohort
    session, signed = agreed.session, params.mode == Mode.MALICIOUS
    signature, digest = bytes(SIGNATURE_BYTES), bytes(DIGEST_BYTES)
    key = bytes(PUBLIC_KEY_BYTES)
    everybody, others = PartySet.of(range(n), n), range(1, n)
    entry = PublicKeys(key, key, signature if signed else b"")
    sealed = dict.fromkeys(others, bytes(SEALED_BYTES))
    proof = signature if signed else bytes(CHECKSUM_BYTES)
    messages = [
        agreed.encode(),
        AdvertiseKeys(digest, entry).encode(session),
        Roster(everybody, dict.fromkeys(everybody, entry)).encode(session, n),
        ShareKeys(digest, digest, sealed).encode(session),
        Delivery(everybody, sealed).encode(session, n),
        MaskedInput(digest, b"", proof).encode(session),
        Survivors(everybody).encode(session, n),
        Unmask(everybody, np.zeros((n, LIMBS), np.uint64)).encode(session, n),
    ]
    if signed:
        signers = dict.fromkeys(range(params.threshold), signature)
        messages += [
            Consistency(signature).encode(session),
            Signatures(signers).encode(session, n),
        ]
    packed = Field(params.field_bits).packed_bytes(params.vector_length)
    return sum(len(message) for message in messages) + packed
