"""Attacks of lying clients on a server: signatures on entries, inputs and survivor sets."""

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np
from harness import CONTEXT, SESSION, Network, directory_of, identity_of, seeded
from pairwise.attacks import body, started_network, tampered_round, verdict
from pairwise.malicious.registry import FOUR_PARTIES, STRANGER, attack, signed

from secagg import Client, Directory, MemoryLedger, Policy
from secagg.arithmetic.field import Field
from secagg.identity.identity import sign_digest
from secagg.machine.wire import MessageType
from secagg.pairwise import transcript
from secagg.pairwise.messages import AdvertiseKeys, Consistency, MaskedInput, PublicKeys


def _outvoted(network: Network, name: str, least: Iterable[int], liar: int = 3) -> str:
    """Returns the gain, unless the liar was dropped and the sum is exact."""
    gain = verdict(network, least)
    if not gain and liar not in network.dropped:
        gain = "the liar stays"
    return f"{gain} ({name})" if gain else ""


@attack
def entry_badly_signed() -> str:
    """Party 3 advertises keys that it did not sign for this round."""

    def lies(message: AdvertiseKeys) -> dict[str, bytes]:
        digest = transcript.entry_digest(message.h0, 3, message.keys)
        other = transcript.entry_digest(bytes(32), 3, message.keys)
        return {
            "zeros": bytes(64),
            "by another": sign_digest(identity_of(2), digest),
            "by a stranger": sign_digest(STRANGER, digest),
            "for another round": sign_digest(identity_of(3), other),
            "for another index": sign_digest(
                identity_of(3), transcript.entry_digest(message.h0, 2, message.keys)
            ),
        }

    names = list(lies(AdvertiseKeys(bytes(32), PublicKeys(bytes(32), bytes(32)))))
    for name in names:

        def change(messages: dict[int, bytes], name: str = name) -> dict[int, bytes]:
            true = AdvertiseKeys.read(body(messages[3]), FOUR_PARTIES)
            lie = dataclasses.replace(true.keys, signature=lies(true)[name])
            return {**messages, 3: AdvertiseKeys(true.h0, lie).encode(SESSION)}

        network = tampered_round(FOUR_PARTIES, MessageType.ADVERTISE_KEYS, change)
        if gain := _outvoted(network, name, (0, 1, 2)):
            return gain
    return ""


@attack
def input_badly_signed() -> str:
    """A masked input of party 3 that it did not sign, or not as its own, or not this one."""
    junk = Field(FOUR_PARTIES.field_bits).pack(np.array([12345], np.uint32))
    signers: dict[str, Callable[[MaskedInput], bytes]] = {
        "zeros": lambda true: bytes(64),
        "by another": lambda true: sign_digest(
            identity_of(2), transcript.input_digest(true.h2, 3, junk)
        ),
        "for another index": lambda true: sign_digest(
            identity_of(3), transcript.input_digest(true.h2, 2, junk)
        ),
        "of another input": lambda true: true.proof,
        "of another round": lambda true: sign_digest(
            identity_of(3), transcript.input_digest(bytes(32), 3, junk)
        ),
        "a checksum": lambda true: transcript.checksum(true.h2, 3, junk) + bytes(48),
    }
    for name, sign in signers.items():

        def change(
            messages: dict[int, bytes], sign: Callable[[MaskedInput], bytes] = sign
        ) -> dict[int, bytes]:
            true = MaskedInput.read(body(messages[3]), FOUR_PARTIES)
            return {**messages, 3: MaskedInput(true.h2, junk, sign(true)).encode(SESSION)}

        network = tampered_round(FOUR_PARTIES, MessageType.MASKED_INPUT, change)
        if gain := _outvoted(network, name, (0, 1, 2)):
            return gain
    return ""


@attack
def input_of_another_signer() -> str:
    """Party 3 sends the signed input of party 2 as its own."""

    def change(messages: dict[int, bytes]) -> dict[int, bytes]:
        return {**messages, 3: messages[2]}

    return _outvoted(
        tampered_round(FOUR_PARTIES, MessageType.MASKED_INPUT, change), "copied", (0, 1, 2)
    )


@attack
def consistency_badly_signed() -> str:
    """Party 0 signs nothing that counts. Its input is in the sum all the same."""
    own = started_network(FOUR_PARTIES).clients[0]._memory.keys.signature
    for name, lie in {
        "zeros": bytes(64),
        "another set": signed(identity_of(0), bytes(32)),
        "an entry": own,
        "another's": b"",
    }.items():

        def change(messages: dict[int, bytes], lie: bytes = lie) -> dict[int, bytes]:
            payload = Consistency(lie).encode(SESSION) if lie else messages[2]
            return {**messages, 0: payload}

        network = tampered_round(FOUR_PARTIES, MessageType.CONSISTENCY, change)
        if gain := _outvoted(network, name, (0, 1, 2, 3), liar=0):
            return gain
    return ""


@attack
def other_directory() -> str:
    """Party 3 pins another key for party 1. It must not cost the others the round."""
    network = started_network(FOUR_PARTIES)
    agreed = network.server.round
    pins = [(entry.name, entry.verify_key) for entry in directory_of(4).entries]
    pins[1] = ("party-1", STRANGER.verify_key)
    stray = Client(
        agreed,
        3,
        Policy(context=CONTEXT),
        seeded("stray"),
        identity=identity_of(3),
        directory=Directory.of(pins),
        ledger=MemoryLedger(),
    )
    network.clients = {**network.clients, 3: stray}
    network.queue = [one for one in network.queue if one.sender != 3]
    network.send_up(3, stray.start())
    return _outvoted(network.run(), "other directory", (0, 1, 2))
