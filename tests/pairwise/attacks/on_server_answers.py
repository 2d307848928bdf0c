"""Attacks of lying clients on a server: wrong shares in the answers to the survivor set."""

import numpy as np
from harness import SESSION, SteppedRound, state_of
from pairwise.attacks.lying_clients import tampered_round, verdict, with_wrong_shares
from pairwise.attacks.lying_server import body
from pairwise.attacks.registry import MODE, least_threshold, on_server, tight

import secagg
from secagg import Mode, Phase
from secagg.machine.wire import HEADER_BYTES, MessageType
from secagg.pairwise.messages import Unmask


@on_server
def junk_self_seed() -> str:
    """A wrong share where there is none to spare: no sum at all, but never a wrong one."""
    params = tight(4, threshold=4)

    def change(messages: dict[int, bytes]) -> dict[int, bytes]:
        return {**messages, 3: with_wrong_shares(messages[3], params, [0], 2**40)}

    network = tampered_round(params, MessageType.UNMASK, change)
    return verdict(network) if network.result else ""


@on_server
def junk_mask_seed() -> str:
    """The same for the mask seed of a party that vanished."""
    params = tight(4, threshold=3)

    for by in range(1, 2**43, 2**40):  # some of the wrong sums are outside of what inputs can reach

        def change(messages: dict[int, bytes], by: int = by) -> dict[int, bytes]:
            return {**messages, 2: with_wrong_shares(messages[2], params, [3], by)}

        network = tampered_round(params, MessageType.UNMASK, change, {3: Phase.MASKED_INPUT})
        if network.result:
            return verdict(network)
    return ""


@on_server
def junk_share_to_spare() -> str:
    """One liar gives junk for everybody: with t + 1 answers the sum is exact all the same."""
    params = tight(4, threshold=3)

    def change(messages: dict[int, bytes]) -> dict[int, bytes]:
        return {**messages, 2: with_wrong_shares(messages[2], params, range(4))}

    return verdict(tampered_round(params, MessageType.UNMASK, change), range(4))


@on_server
def shares_of_outsiders() -> str:
    """Shares of a dealer that is not in U2: the liar is dropped, nobody else."""
    size = 7 if MODE.get() is Mode.MALICIOUS else 5  # one is away, and enough must stay
    params = tight(size, threshold=least_threshold(size))
    away = size - 1

    def change(messages: dict[int, bytes]) -> dict[int, bytes]:
        answer = Unmask.read(body(messages[3]), params)
        lie = Unmask((*answer.dealers, away), np.vstack([answer.shares, answer.shares[:1]]))
        return {**messages, 3: lie.encode(SESSION, size)}

    network = tampered_round(params, MessageType.UNMASK, change, {away: Phase.SHARE_KEYS})
    gain = verdict(network, range(away))
    return gain or ("" if 3 in network.dropped else "a share of a party that did not share")


@on_server
def shares_outside_the_field() -> str:
    """A share element of 2^61 - 1, a second encoding of zero, and a padding bit: malformed."""
    stepped = SteppedRound(tight(4, threshold=3))
    messages = stepped.until(Phase.UNMASK)
    start = HEADER_BYTES + 1
    true = messages[3]
    ones, padded = bytearray(true), bytearray(true)
    ones[start : start + 7] = bytes([0xFF] * 7)
    ones[start + 7] |= 0x1F
    padded[start + 22] |= 0x80
    before = state_of(stepped.server)
    for name, lie in {"2^61 - 1": ones, "padding": padded}.items():
        try:
            stepped.server.receive(3, bytes(lie))
        except secagg.RemoteProtocolError:
            assert state_of(stepped.server) == before
            continue
        return f"took a share with {name}"
    return verdict(stepped.finish(messages), range(4))
