"""Attacks of lying clients on a server: wrong shares in the answers to the survivor set."""

from collections.abc import Iterable, Mapping

import numpy as np
import pytest
from harness import SESSION, SteppedRound, state_of
from meter import metered
from pairwise.attacks.lying_clients import tampered_round, verdict, with_wrong_shares
from pairwise.attacks.lying_server import body
from pairwise.attacks.registry import MODE, least_threshold, on_server, tight

import secagg
from secagg import Mode, Phase
from secagg.machine.wire import HEADER_BYTES, MessageType
from secagg.pairwise import recovery
from secagg.pairwise.messages import Unmask
from secagg.sharing import rebuilding


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


def _costs(wrong: Mapping[int, Iterable[int]], at_once: int) -> str:
    """Returns "" if wrong shares (holder -> dealers) cost few decodings, and none in `receive`."""
    params = tight(12, threshold=9)
    inside = 0

    def change(messages: dict[int, bytes]) -> dict[int, bytes]:
        lies = {
            liar: with_wrong_shares(messages[liar], params, dealers, 5 + liar)
            for liar, dealers in wrong.items()
        }
        return {**messages, **lies}

    true = secagg.Server.receive
    with metered() as counts, pytest.MonkeyPatch.context() as patch:

        def receive(self: secagg.Server, party: int, data: bytes) -> object:
            nonlocal inside
            before = counts["multiplications"]
            try:
                return true(self, party, data)
            finally:
                inside += counts["multiplications"] - before

        patch.setattr(secagg.Server, "receive", receive)
        network = tampered_round(params, MessageType.UNMASK, change)
    if inside:
        return "seeds were rebuilt in receive()"
    if counts["decode"] > at_once:
        return f"{counts['decode']} decodings"
    return "" if network.result is None else verdict(network, range(12))


@on_server
def junk_shares_of_one() -> str:
    """One liar gives junk for everybody: that costs one decoding, and the sum is exact."""
    return _costs({2: range(12)}, at_once=1)


@on_server
def wrong_shares_of_bad_dealers() -> str:
    """Each dealer gives wrong shares to other holders: decodings of their own, within a budget."""
    wrong = {(dealer + 3) % 12: [dealer] for dealer in range(12)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rebuilding, "BUDGET", 0)
        patch.setattr(recovery, "_HASH_COST", 0)
        return _costs(wrong, at_once=8)


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
