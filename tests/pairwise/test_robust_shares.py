"""Wrong and absent shares: what can be corrected is, and is reported; the rest fails.

With r answers and threshold t, up to floor((r - t) / 2) wrong shares of every seed are corrected,
and one at r = t + 1. More never gives a wrong sum. The field is `tight`, so that a wrong seed could
not hide behind the range of the sum.
"""

import itertools
import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from harness import SESSION, Network, seeded, tight
from hypothesis import given
from hypothesis import strategies as st
from pairwise.attacks import Liar, body, tampered_round, verdict, with_wrong_shares

from secagg import Code, Params, Phase
from secagg.machine.wire import HEADER_BYTES, MessageType, PartySet
from secagg.pairwise import derivation
from secagg.pairwise.messages import Unmask
from secagg.primitives import agreement, seal
from secagg.sharing import shamir

P61 = 2**61 - 1


def correctable(answers: int, threshold: int) -> int:
    """The most wrong shares of one seed that must be corrected."""
    return 1 if answers == threshold + 1 else (answers - threshold) // 2


def unrelated(holder: int) -> int:
    """Errors that lie on no polynomial together with those of other liars."""
    return int.from_bytes(seeded(("junk", holder))(6), "little")


def lying(
    params: Params,
    wrong: Mapping[int, set[int]],
    drops: Mapping[int, Phase] | None = None,
    by: int = 1,
) -> Network:
    """A round in which each holder gives junk for these dealers."""

    def change(messages: dict[int, bytes]) -> dict[int, bytes]:
        return {
            holder: with_wrong_shares(
                message, params, sorted(wrong.get(holder, ())), by + unrelated(holder)
            )
            for holder, message in messages.items()
        }

    return tampered_round(params, MessageType.UNMASK, change, drops)


CASES = [(n, t) for n in range(3, 9) for t in range(n // 2 + 1, n + 1)]


@pytest.mark.parametrize(("n", "t"), CASES, ids=str)
def test_up_to_the_bound_every_dealer_is_corrected(n: int, t: int) -> None:
    """The same liars for every dealer, for every number of answers; then one liar too many."""
    params = tight(n, threshold=t)
    for r in range(t, n + 1):
        silent = dict.fromkeys(range(r, n), Phase.UNMASK)
        most = correctable(r, t)
        liars = range(r - most, r)
        network = lying(params, {liar: set(range(n)) for liar in liars}, silent)
        assert verdict(network, range(n)) == ""
        assert network.result is not None
        assert network.result.disputes == tuple(itertools.product(range(n), liars))
        assert network.dropped == {}

        network = lying(params, {liar: set(range(n)) for liar in range(most + 1)}, silent)
        assert network.result is None
        assert network.failure is not None
        assert network.failure.disputes != ()
        assert network.failure.code is Code.COMMITMENT


@pytest.mark.parametrize(("n", "t"), [(4, 3), (5, 3), (7, 4), (9, 5)], ids=str)
def test_a_vanished_party_s_mask_seed_is_corrected(n: int, t: int) -> None:
    """Junk for the mask seeds of two (one) vanished parties too."""
    gone = (n - 1,) if n < 7 else (0, n - 1)
    drops = dict.fromkeys(gone, Phase.MASKED_INPUT)
    holders = [party for party in range(n) if party not in gone]
    most = correctable(len(holders), t)
    liars = holders[:most]
    network = lying(tight(n, threshold=t), {liar: set(range(n)) for liar in liars}, drops)
    assert verdict(network, holders) == ""
    assert network.result is not None
    assert network.result.disputes == tuple(itertools.product(range(n), liars))


@given(data=st.data())
def test_other_liars_for_every_dealer(data: st.DataObject) -> None:
    """Each dealer's shares are falsified by holders of its own, up to the bound: exact disputes."""
    n = data.draw(st.integers(3, 9), "n")
    t = data.draw(st.integers(n // 2 + 1, n), "t")
    gone = data.draw(st.sets(st.integers(0, n - 1), max_size=n - t), "gone")
    holders = [party for party in range(n) if party not in gone]
    most = correctable(len(holders), t)
    liars = {
        dealer: data.draw(st.sets(st.sampled_from(holders), max_size=most), f"liars on {dealer}")
        for dealer in range(n)
    }
    wrong = {h: {dealer for dealer, some in liars.items() if h in some} for h in holders}
    network = lying(
        tight(n, threshold=t),
        wrong,
        dict.fromkeys(gone, Phase.MASKED_INPUT),
        data.draw(st.integers(1, P61 - 2**48 - 1), "by"),
    )
    assert verdict(network, holders) == ""
    assert network.result is not None
    disputes = {(dealer, holder) for dealer, some in liars.items() for holder in some}
    assert set(network.result.disputes) == disputes


@given(data=st.data())
def test_any_number_of_liars_never_gives_a_wrong_sum(data: st.DataObject) -> None:
    """Beyond the bound too: exact or failed, and beyond it failed with disputes."""
    n = data.draw(st.integers(3, 8), "n")
    t = data.draw(st.integers(n // 2 + 1, n), "t")
    wrong = data.draw(
        st.dictionaries(st.integers(0, n - 1), st.sets(st.integers(0, n - 1))), "wrong"
    )
    network = lying(
        tight(n, threshold=t), wrong, by=data.draw(st.integers(1, P61 - 2**48 - 1), "by")
    )
    worst = max(
        (sum(dealer in dealers for dealers in wrong.values()) for dealer in range(n)), default=0
    )
    if worst <= correctable(n, t):
        assert verdict(network, range(n)) == ""
    else:
        assert network.result is None
        assert network.failure is not None
        assert network.failure.disputes != ()


@pytest.mark.parametrize(("n", "t"), [(4, 3), (5, 4), (7, 5), (9, 6)], ids=str)
def test_few_colluding_holders_can_put_honest_ones_in_dispute(n: int, t: int) -> None:
    """A dispute is no proof, even of the pair.

    Liars add a polynomial of degree below t that is zero at zero and at t - 2 honest holders. These
    and the liars give the true seeds, and the other honest holders are the odd ones out. The sum is
    exact. With r answers it takes two liars at r = t + 1, and else ceil((r - t) / 2) + 2.
    """
    params = tight(n, threshold=t)
    count = 2 if n == t + 1 else (n - t + 1) // 2 + 2
    framed = range(n - max(1, (n - t) // 2), n)
    zeros = range(count, framed[0])
    assert len(zeros) == t - 2

    def change(messages: dict[int, bytes]) -> dict[int, bytes]:
        lies = {
            liar: with_wrong_shares(
                messages[liar],
                params,
                range(n),
                (liar + 1) * math.prod(liar - zero for zero in zeros) % (2**61 - 1),
            )
            for liar in range(count)
        }
        return {**messages, **lies}

    network = tampered_round(params, MessageType.UNMASK, change)
    assert verdict(network, range(n)) == ""
    assert network.result is not None
    assert network.result.disputes == tuple(itertools.product(range(n), framed))


Falsify = Callable[[np.ndarray, int], np.ndarray]
KINDS: dict[str, Falsify] = {
    "one limb": lambda shares, holder: shares + np.array([1, 0, 0], np.uint64),
    "the short limb": lambda shares, holder: shares + np.array([0, 0, 1], np.uint64),
    "zero": lambda shares, holder: np.zeros_like(shares),
    "the largest": lambda shares, holder: np.full_like(shares, P61 - 1),
    "rotated dealers": lambda shares, holder: np.roll(shares, 1, axis=0),
    "the same offset of all liars": lambda shares, holder: shares + np.uint64(12345),
    "a line through the liars": lambda shares, holder: shares + np.uint64(holder + 1),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(("n", "t"), [(4, 3), (5, 3), (7, 4)], ids=str)
def test_coordinated_junk(name: str, n: int, t: int) -> None:
    """However the liars choose their junk, within the bound it is found."""
    params = tight(n, threshold=t)
    liars = range(correctable(n, t))

    def change(messages: dict[int, bytes]) -> dict[int, bytes]:
        changed = dict(messages)
        for liar in liars:
            answer = Unmask.read(body(messages[liar]), params)
            shares = KINDS[name](answer.shares.copy(), liar) % np.uint64(P61)
            changed[liar] = Unmask(answer.dealers, shares).encode(SESSION, n)
        return changed

    network = tampered_round(params, MessageType.UNMASK, change)
    assert verdict(network, range(n)) == ""
    assert network.result is not None
    assert {holder for _, holder in network.result.disputes} == set(liars)


@pytest.mark.parametrize("wide", [False, True], ids=["a seed", "limbs too wide"])
@pytest.mark.parametrize("spare", [0, 1])
@pytest.mark.parametrize(("n", "t"), [(5, 3), (6, 4), (7, 4)], ids=str)
def test_a_consistent_lie_of_many_is_caught_by_the_commitment(
    n: int, t: int, spare: int, wide: bool
) -> None:
    """Liars can make shares that fit together, but for one honest one that looks wrong, and give
    another seed, or limbs of none: the commitment stands against both, and there is no sum.
    """
    params = tight(n, threshold=t)
    liars = range(n - t + 1 - spare)
    other = [P61 - 1] * 3 if wide else shamir.seed_limbs(seeded("another seed")(16))

    def change(messages: dict[int, bytes]) -> dict[int, bytes]:
        # A polynomial through the honest holders' shares of dealer 0 and any other secret.
        answers = {party: Unmask.read(body(data), params) for party, data in messages.items()}
        honest = [party for party in answers if party not in liars][: t - 1]
        points = [(0, other)] + [
            (party + 1, [int(limb) for limb in answers[party].shares[0]]) for party in honest
        ]
        changed = dict(messages)
        for liar in liars:
            shares = answers[liar].shares.copy()
            shares[0] = [_interpolate(points, limb, liar + 1) for limb in range(3)]
            changed[liar] = Unmask(answers[liar].dealers, shares).encode(SESSION, n)
        return changed

    network = tampered_round(params, MessageType.UNMASK, change)
    assert network.result is None
    assert network.failure is not None
    assert {dealer for dealer, _ in network.failure.disputes} == {0}


def _interpolate(points: list[tuple[int, list[int]]], limb: int, at: int) -> int:
    total = 0
    for x, values in points:
        others = [other for other, _ in points if other != x]
        top = math.prod(at - other for other in others)
        bottom = math.prod(x - other for other in others)
        total += values[limb] * top * pow(bottom, -1, P61)
    return total % P61


# -- absent shares ---------------------------------------------------------------------------------


def spoiled(
    params: Params, pairs: set[tuple[int, int]], drops: Mapping[int, Phase] | None = None
) -> Network:
    """A round in which the ciphertexts from dealer to holder are junk."""

    def change(messages: dict[int, bytes]) -> dict[int, bytes]:
        changed = {}
        for dealer, message in messages.items():
            data = bytearray(message)
            receivers = [peer for peer in sorted(messages) if peer != dealer]
            for place, holder in enumerate(receivers):
                if (dealer, holder) in pairs:
                    data[HEADER_BYTES + 64 + 62 * place] ^= 1
            changed[dealer] = bytes(data)
        return changed

    return tampered_round(params, MessageType.SHARE_KEYS, change, drops)


@pytest.mark.parametrize("gone", [False, True], ids=["dealer stays", "dealer vanishes"])
@pytest.mark.parametrize(("n", "t"), [(4, 3), (5, 3), (7, 4)], ids=str)
def test_a_ciphertext_that_does_not_open_costs_one_share(n: int, t: int, gone: bool) -> None:
    """Up to as many as are to spare: nobody is dropped, nobody aborts, and the sum is exact."""
    holders = n - 1 if gone else n
    for count in range(n - 1):
        pairs = {(0, holder) for holder in range(1, count + 1)}
        drops = {0: Phase.MASKED_INPUT} if gone else {}
        network = spoiled(tight(n, threshold=t), pairs, drops)
        assert network.aborts == {}
        if holders - count >= t:
            assert verdict(network, range(1 if gone else 0, n)) == ""
            assert network.result is not None
            assert network.result.disputes == ()
            assert set(network.dropped) == set(drops)
        else:
            assert network.result is None
            assert network.failure is not None
            assert set(network.failure.disputes) == {(0, holder) for holder in range(1, count + 1)}
            assert network.failure.code is Code.SHARES


@pytest.mark.parametrize("which", [0, 1], ids=["mask seed", "self seed"])
def test_a_ciphertext_of_no_shares_costs_one_share(which: int) -> None:
    """A dealer that seals what is no canonical share: it opens, and counts as absent."""
    liar = Liar(tight(4, threshold=3))
    agreed = agreement.agree(
        liar.clients[1]._memory.channel_secret.expose(), liar.entries[0].channel
    )
    liar.share()
    plain = bytearray(2 * shamir.SHARE_BYTES)
    plain[which * shamir.SHARE_BYTES : which * shamir.SHARE_BYTES + 8] = bytes([255] * 8)
    sealed = seal.seal(
        derivation.channel_key(agreed, liar.h1, 1, 0, liar.entries),
        bytes(plain),
        derivation.channel_data(liar.h1, 1, 0),
    )
    client = liar.clients[0]
    assert client.receive(liar.delivery(0, liar.everybody, {1: sealed})) != []
    liar.submit(0)
    answer = liar.answer(0, liar.everybody)
    assert answer is not None
    assert tuple(answer.dealers) == (0, 2, 3)


def test_answers_without_any_share() -> None:
    """A round in which nobody gives a share fails for that reason, and names who gave none."""
    params = tight(4, threshold=3)
    none = Unmask(PartySet.of([], 4), np.empty((0, shamir.LIMBS), np.uint64)).encode(SESSION, 4)
    network = tampered_round(
        params, MessageType.UNMASK, lambda messages: dict.fromkeys(messages, none)
    )
    assert network.failure is not None
    assert network.failure.code is Code.SHARES
    assert network.failure.disputes == tuple((0, holder) for holder in range(4))


def test_absent_and_wrong_shares_together() -> None:
    """n = 9, t = 5: for dealer 0 two are absent (r = 7), so one wrong is corrected; else two."""
    params = tight(9, threshold=5)
    network = spoiled(params, {(0, 7), (0, 8)})
    assert verdict(network, range(9)) == ""
    for liars, fine in (({1}, True), ({1, 2}, False)):
        stage = _spoiled_and_lying(params, {(0, 7), (0, 8)}, liars)
        assert (stage.result is not None) is fine
        assert verdict(stage).startswith("" if fine else "the round failed")
        if stage.result is not None:
            disputes = {(dealer, liar) for dealer in range(9) for liar in liars}
            assert set(stage.result.disputes) == disputes


def _spoiled_and_lying(params: Params, pairs: set[tuple[int, int]], liars: set[int]) -> Network:
    """Both in one round: the unmask messages are changed on their way."""
    true = Network.send_up

    def up(self: Network, party: int, payload: bytes) -> None:
        if party in liars and payload[3] == MessageType.UNMASK:
            dealers = Unmask.read(body(payload), params).dealers
            payload = with_wrong_shares(payload, params, dealers, 5 + party)
        true(self, party, payload)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Network, "send_up", up)
        return spoiled(params, pairs)


@given(data=st.data())
def test_any_ciphertexts_may_be_lost(data: st.DataObject) -> None:
    """Random losses: exact whenever every client opens t - 1 and every seed keeps t shares."""
    n = data.draw(st.integers(3, 7), "n")
    t = data.draw(st.integers(n // 2 + 1, n), "t")
    every = [(a, b) for a in range(n) for b in range(n) if a != b]
    pairs = data.draw(st.sets(st.sampled_from(every), max_size=2 * n), "lost")
    network = spoiled(tight(n, threshold=t), pairs)
    opened = {b: sum((a, b) not in pairs for a in range(n) if a != b) for b in range(n)}
    aborted = {b for b in range(n) if opened[b] < t - 1}
    assert set(network.aborts) == aborted
    there = [party for party in range(n) if party not in aborted]
    kept = {a: sum((a, b) not in pairs for b in there) for a in range(n)}
    if len(there) >= t and all(count >= t for count in kept.values()):
        assert verdict(network, there) == ""
    else:
        assert verdict(network).startswith("the round failed")
