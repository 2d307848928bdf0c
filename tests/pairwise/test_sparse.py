"""Rounds on sparse graphs: exact or failed for a reason, and nobody meddles with strangers.

Who is whose neighbour is taken from the reference model throughout.
"""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
from harness import CONTEXT, SESSION, STEPS, WILLING, secrets_of, seeded, tight
from hypothesis import given, settings
from hypothesis import strategies as st
from levels import amount
from pairwise.attacks import body, started_network, tampered_round, verdict, with_wrong_shares
from pairwise.restarts import RestartingServer, network_of
from pairwise.sparse import Ring, SparseLiar, apart, plain_sum, pooled, ten
from reference.graph import sparse_is_allowed

import secagg
from secagg import (
    Client,
    Code,
    FixedPoint,
    Integers,
    MemoryLedger,
    ParameterError,
    Params,
    Phase,
    Send,
    Server,
    Suite,
)
from secagg.machine.wire import MessageType
from secagg.pairwise import derivation
from secagg.pairwise.messages import ShareKeys
from secagg.pairwise.transitions import ClientState, ServerState
from secagg.simulate import Cohort

A, S, M, U = STEPS


# -- which sum comes out --------------------------------------------------------------------------


def foreseen(params: Params, drops: Mapping[int, Phase]) -> tuple[Code | None, Phase, set[int]]:
    """Returns why honest parties come to no sum, if so, in which phase the round ends, and U3;
    from the rules and the ring alone.
    """
    ring, t = Ring(params), params.threshold

    def answering(members: set[int], phase: Phase) -> set[int]:
        """Returns those of a set who, told that set, send the message of this phase."""
        enough = {one for one in members if len(ring.holders(one, members)) >= t}
        return {
            one
            for one in enough
            if one not in drops or STEPS.index(drops[one]) > STEPS.index(phase)
        }

    u1 = {one for one in range(params.cohort) if drops.get(one) is not A}
    if len(u1) < params.quorum:
        return Code.QUORUM, Phase.ADVERTISE_KEYS, set()
    u2 = answering(u1, S)
    if len(u2) < params.quorum:
        return Code.QUORUM, Phase.SHARE_KEYS, set()
    u3 = answering(u2, M)
    if len(u3) < params.quorum:
        return Code.QUORUM, M, set()
    if len(ring.pieces(u3)) > 1:
        return Code.DISCONNECTED, M, u3
    if any(len(ring.holders(one, u3)) < t for one in u2):
        return Code.NEIGHBOURS, M, u3
    u4 = {one for one in u3 if drops.get(one) is not U}
    if len(u4) < t:
        return Code.QUORUM, U, u3
    if any(len(ring.holders(one, u4)) < t for one in u2):
        return Code.SHARES, U, u3
    return None, U, u3


@st.composite
def schedules(draw: st.DrawFn) -> tuple[Params, dict[int, Phase]]:
    """Lawful parameters of eight to thirty parties, and some who vanish; often neighbours do."""
    degree = 2 * draw(st.integers(1, 6), "half a degree")
    n = draw(st.integers(max(8, degree + 2), 30), "cohort")
    c = draw(st.integers(0, min(1, degree - 2)), "colluders")
    least = n - draw(st.sampled_from([degree - 1 - c, degree // 2, 1]), "dropouts")
    threshold = draw(st.integers(2, degree) | st.just(degree), "threshold")
    suite = draw(st.sampled_from(Suite))
    params = Params(n, 2, Integers(-1000, 2**54), threshold, least, c, suite=suite, degree=degree)
    near = st.integers(-degree // 2, degree // 2)
    places = draw(st.sets(near | st.integers(0, n - 1), max_size=n - least + 1))
    steps = draw(st.lists(st.sampled_from(STEPS), min_size=len(places), max_size=len(places)))
    return params, dict(zip(Ring(params).at(*places), steps, strict=True))


@given(schedules())
def test_the_sum_is_exact_or_there_is_none_for_the_reason_foreseen(
    schedule: tuple[Params, dict[int, Phase]],
) -> None:
    """Random parameters, both suites, dropouts before any message; the quorum is kept."""
    params, drops = schedule
    code, phase, u3 = foreseen(params, drops)
    network = started_network(params, drops=drops).run()
    assert network.refusals == []
    assert network.last_phase is phase
    if code:
        assert network.result is None
        assert network.failure is not None
        assert network.failure.code is code
        return
    assert network.result is not None
    assert set(network.result.survivors) == u3
    assert len(u3) >= params.quorum
    assert network.result.total.tolist() == plain_sum(u3, 2)
    assert network.result.disputes == ()


@pytest.mark.parametrize("suite", list(Suite))
def test_a_weighted_mean(suite: Suite) -> None:
    """Fixed point with weights on a ring of forty, one dropout per phase."""
    fmt = FixedPoint(clip=2.0, bits=20, max_weight=9)
    params = Params(40, 30, fmt, 4, 36, colluders=1, suite=suite, degree=8)
    rng = np.random.default_rng(5)
    values, weights = rng.uniform(-2, 2, (40, 30)), rng.integers(1, 10, 40)
    agreed = params.round(CONTEXT, SESSION)
    clients = {one: Client(agreed, one, WILLING, seeded(one)) for one in range(40)}
    inputs = {one: (lambda one=one: (values[one], int(weights[one]))) for one in range(40)}
    drops = {3: A, 11: S, 20: M, 30: U}
    run = Cohort(Server(agreed), clients, inputs, drops).play()
    left = [one for one in range(40) if one not in (3, 11, 20)]
    assert run.result is not None
    assert run.result.survivors == tuple(left)
    assert run.result.weight == weights[left].sum()
    mean = (values[left] * weights[left, None]).sum(axis=0) / weights[left].sum()
    assert np.abs(run.result.mean - mean).max() <= 4.0 / (2**20 - 1)


# -- clients and servers that are stored ----------------------------------------------------------

DROPOUTS = {"nobody": {}, "one a phase": {1: S, 6: M, 8: U}}


@pytest.mark.parametrize("drops", DROPOUTS.values(), ids=DROPOUTS)
def test_stored_at_every_boundary(drops: dict[int, Phase]) -> None:
    """Clients that are suspended and resumed at each message say the same, byte for byte."""
    params = ten(threshold=2)
    whole = network_of(params, drops=drops).start().run()
    network = (
        network_of(params, None, drops, lambda party: {"request_repeated": True}).start().run()
    )
    assert network.log == whole.log
    assert whole.exact()
    assert network.exact()


@pytest.mark.parametrize("drops", DROPOUTS.values(), ids=DROPOUTS)
@pytest.mark.parametrize("sent", [True, False])
def test_a_server_stored_after_every_call(drops: dict[int, Phase], sent: bool) -> None:
    """It sends the same messages to the same parties, and no second survivor set."""
    params = ten(threshold=2)
    whole = network_of(params, drops=drops).start().run()
    server = RestartingServer(params.round(CONTEXT, SESSION), MemoryLedger(), sent=sent)
    network = network_of(params, server, drops).start().run()
    assert network.exact()
    assert server.restarts > 30
    assert len(network.survivor_sets) == 1
    said = {one for one in map(_known, network.log) if one[2][3] != MessageType.OFFER}
    assert said == set(map(_known, whole.log))


def _known(message: object) -> tuple[int, int, bytes]:
    return message.sender, message.receiver, message.payload  # type: ignore[attr-defined]


# -- what ends a round ----------------------------------------------------------------------------


def refusal(client: Client, message: bytes) -> secagg.Aborted:
    """Returns the exception with which a client ends the round, as it must."""
    with pytest.raises(secagg.Aborted) as caught:
        client.receive(message)
    assert client.state is ClientState.ABORTED
    assert secrets_of(client) == []
    return caught.value


@pytest.mark.parametrize("kind", ["roster", "sharing set", "survivor set"])
@pytest.mark.parametrize(("places", "left"), [((1, 2), 2), ((1, -1), 2), ((-2, -1, 1), 1)], ids=str)
def test_a_client_without_neighbours_ends_the_round_for_itself(
    kind: str, places: tuple[int, ...], left: int
) -> None:
    """Whichever of the three sets it learns it from, it says how many are left and needed."""
    liar = SparseLiar(ten())
    members = [one for one in liar.everybody if one not in liar.ring.at(*places)]
    assert len(members) >= liar.params.quorum
    message = liar.roster_for(0, members)
    if kind != "roster":
        liar.share()
        message = liar.delivery(0, members)
    if kind == "survivor set":
        liar.deliver(liar.everybody, [0])
        message = liar.survivors(members)
    aborted = refusal(liar.clients[0], message)
    assert aborted.code is Code.NEIGHBOURS
    assert f"the {kind} has {left} " in aborted.reason


def test_one_neighbour_fewer_is_still_enough() -> None:
    """At exactly t holders a client goes on, at each of the three sets."""
    liar = SparseLiar(ten())
    members = [one for one in liar.everybody if one not in liar.ring.at(2)]
    liar.clients[0].receive(liar.roster_for(0, members))
    assert liar.clients[0].state is ClientState.AWAITING_DELIVERY
    liar = SparseLiar(ten()).share()
    liar.deliver(members, [0])
    answer = liar.answer(0, members)
    assert answer is not None
    assert set(answer.dealers) == liar.ring.holders(0, members)


@pytest.mark.parametrize("kind", ["the quorum", "the holders of one", "one piece"])
def test_the_server_ends_the_round_before_it_names_survivors(kind: str) -> None:
    """It says why; nobody is asked to unmask, and the masked sum is gone."""
    params = apart() if kind == "one piece" else ten()
    ring = Ring(params)
    gone = {"the quorum": ring.at(1, 3, 5, 7), "the holders of one": ring.at(1, -2)}
    drops = dict.fromkeys(gone.get(kind) or ring.two_gaps(), M)
    network = started_network(params, drops=drops).run()
    code, phase, u3 = foreseen(params, drops)
    assert network.failure is not None
    assert (network.failure.code, network.last_phase) == (code, phase)
    assert network.failure.disputes == ()
    sends = [event for event in network.events if isinstance(event, Send)]
    assert not any(event.payload[3] == MessageType.SURVIVORS for event in sends)
    assert not any(isinstance(event, secagg.Work) for event in network.events)
    assert network.server.state is ServerState.FAILED
    assert network.server._memory.total.size == 0
    waiting = {one for one in range(params.cohort) if one not in drops}
    assert {network.clients[one].state for one in waiting} == {ClientState.AWAITING_SURVIVORS}
    if kind == "one piece":
        assert len(u3) == params.quorum
        assert sorted(map(len, ring.pieces(u3))) == [14, 14]


def test_a_client_refuses_survivors_that_fall_apart() -> None:
    """With the code, and it gives no share."""
    liar = SparseLiar(apart()).share()
    liar.deliver(liar.everybody, [0])
    u3 = set(liar.everybody) - set(liar.ring.two_gaps())
    assert refusal(liar.clients[0], liar.survivors(u3)).code is Code.DISCONNECTED


def test_everybody_s_neighbours_may_vanish_in_the_end() -> None:
    """Too few of one party's holders unmask, though most of the cohort does: no sum."""
    params = ten()
    drops = dict.fromkeys(Ring(params).at(1, -1), U)
    network = started_network(params, drops=drops).run()
    assert network.failure is not None
    assert network.failure.code is Code.SHARES
    assert "3 shares of party" in network.failure.reason


# -- nobody meddles with strangers ----------------------------------------------------------------


def test_no_message_tells_of_strangers() -> None:
    """A client is sent the keys and the ciphertexts of its neighbours, and seals for them alone."""
    params = ten(threshold=2)
    network = network_of(params, drops={4: M}).start().run()
    ring = Ring(params)
    clients = network.clients
    entries = {one: clients[one]._memory.keys for one in range(10)}
    to = {one: b"".join(m.payload for m in network.log if m.receiver == one) for one in range(10)}
    for one in range(10):
        for other in range(10):
            near = other in ring.holders(one, range(10))
            assert (entries[other].channel in to[one]) == near
            assert (entries[other].mask in to[one]) == near
    sealed: dict[int, list[bytes]] = {}
    for message in network.log:
        if message.payload[3] == MessageType.SHARE_KEYS:
            dealer, near = message.sender, sorted(ring.near[message.sender])
            for receiver, one in ShareKeys.read(body(message.payload), near).sealed.items():
                sealed.setdefault(receiver, []).append(one)
                assert one in to[receiver]
                assert all(one not in to[other] for other in range(10) if other != receiver), dealer
    assert all(len(some) == 4 for some in sealed.values())


def test_masks_are_agreed_between_neighbours_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """By clients with those in U2, by the server for who vanished with those in U3; each once."""
    agreed: Counter[tuple[int, int]] = Counter()
    true = derivation.pairwise_key_of

    def key(secret: bytes, h1: bytes, party: int, peer: int, *publics: bytes) -> bytes:
        agreed[party, peer] += 1
        return true(secret, h1, party, peer, *publics)

    monkeypatch.setattr(derivation, "pairwise_key_of", key)
    params = ten(threshold=2)
    ring = Ring(params)
    drops = {2: A, 4: S, 9: M}
    network = started_network(params, drops=drops).run()
    assert verdict(network, set(range(10)) - {*drops}) == ""
    u2 = set(range(10)) - {2, 4}
    by_clients = Counter((one, other) for one in u2 for other in ring.near[one] & u2)
    by_server = Counter((9, other) for other in ring.near[9] & u2)
    assert agreed == by_clients + by_server


# -- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [10, 30])
def test_sizes_of_messages(n: int) -> None:
    """Those of docs/WIRE.md."""
    params = Params(n, 5, Integers(-1000, 2**50), 2, n - 3, 0, degree=4)
    ring, bits = Ring(params), (n + 7) // 8
    away, silent = ring.at(1, 5)
    network = network_of(params, drops={away: A, silent: M}).start().run()
    u1 = set(range(n)) - {away}
    for message in network.log:
        kind, size = MessageType(message.payload[3]), len(message.payload) - 20
        party = message.sender if message.sender >= 0 else message.receiver
        near = len(ring.near[party] & u1)
        assert (
            size
            == {
                MessageType.ADVERTISE_KEYS: 32 + 64,
                MessageType.ROSTER: bits + 32 + 64 * (near + 1),
                MessageType.SHARE_KEYS: 64 + 62 * near,
                MessageType.DELIVERY: bits + 62 * near,
                MessageType.MASKED_INPUT: 32 + (5 * params.field_bits + 7) // 8 + 16,
                MessageType.SURVIVORS: bits,
                MessageType.UNMASK: bits + 23 * (near + 1),
            }[kind]
        )


def test_what_a_party_sends_and_keeps_does_not_grow_with_the_cohort() -> None:
    """But for one bit per party in each bitmap; the server's share grows with the edges."""
    told: dict[int, tuple[int, int]] = {}
    for n in (16, 48):
        params = Params(n, 3, Integers(-1000, 2**48), 2, n - 5, 0, degree=6)
        network = network_of(params).start()
        while network.queue:
            network.deliver(network.queue.pop(0))
            for client in network.clients.values():
                memory = client._memory
                assert len(memory.inbound) <= 6
                assert max(len(memory.roster), len(memory.held), len(memory.mask_keys)) <= 7
            shares = network.server._memory.shares
            assert all(len(dealt.sealed) == 6 for dealt in shares.values())
        assert verdict(network, range(n)) == ""
        up = sum(len(one.payload) for one in network.log if one.sender == 0)
        down = sum(len(one.payload) for one in network.log if one.receiver == 0)
        masked = (3 * params.field_bits + 7) // 8
        told[n] = up - n // 8 - masked, down - 3 * (n // 8)
    assert told[16] == told[48]


# -- shares ---------------------------------------------------------------------------------------


def test_fewer_than_t_neighbours_learn_nothing() -> None:
    """t - 1 of them cannot rebuild a seed of their neighbour, however many the parameters allow."""
    assert pooled(ten(threshold=4, colluders=3, min_survivors=10), 3) == ""
    assert pooled(ten(threshold=3), 2) == ""


def test_t_neighbours_would_learn_the_input() -> None:
    """So it is the threshold that keeps it: with colluders on whom nobody counted, it is lost."""
    assert pooled(ten(threshold=3), 3) == "recovered the input"


TWELVE = {"threshold": 3, "min_survivors": 8, "colluders": 0, "degree": 6}


@settings(max_examples=amount("sparse rounds with a liar"))
@given(data=st.data())
def test_wrong_shares_are_corrected(data: st.DataObject) -> None:
    """Of seven holders two may lie about each dealer, of five one; the disputes name them."""
    params = tight(12, **TWELVE)
    ring = Ring(params)
    gone = set(data.draw(st.sets(st.sampled_from(range(12)), max_size=2), "gone"))
    answering = set(range(12)) - gone
    wrong: dict[int, set[int]] = {}
    for dealer in range(12):
        holders = sorted(ring.holders(dealer, answering))
        spare = 1 if len(holders) == 4 else (len(holders) - 3) // 2
        liars = data.draw(st.sets(st.sampled_from(holders), max_size=spare), f"on {dealer}")
        for holder in liars:
            wrong.setdefault(holder, set()).add(dealer)

    def change(messages: dict[int, bytes]) -> dict[int, bytes]:
        return {
            one: with_wrong_shares(data, params, wrong.get(one, ()), 1 + one * one)
            for one, data in messages.items()
        }

    network = tampered_round(params, MessageType.UNMASK, change, dict.fromkeys(gone, M))
    assert verdict(network, answering) == ""
    assert network.result is not None
    disputes = {(dealer, holder) for holder, dealers in wrong.items() for dealer in dealers}
    assert set(network.result.disputes) == disputes


def test_disputes_name_a_dealer_s_own_holders_only() -> None:
    """A dealer whose ciphertexts open nowhere: those who answered without its share, no others."""
    params = ten()
    ring = Ring(params)
    dealer = 3
    assert ring.near[dealer]

    def change(messages: dict[int, bytes]) -> dict[int, bytes]:
        broken = messages[dealer][:84] + bytes(len(messages[dealer]) - 84)
        return {**messages, dealer: broken}

    network = tampered_round(
        params, MessageType.SHARE_KEYS, change, dict.fromkeys(ring.strangers(3)[:1], U)
    )
    assert network.failure is not None
    assert network.failure.code is Code.SHARES
    assert {pair[0] for pair in network.failure.disputes} == {dealer}
    assert {pair[1] for pair in network.failure.disputes} == ring.near[dealer]


def test_wrong_shares_beyond_correction_name_holders_only() -> None:
    """With r = t + 1 two liars are too many: no sum, and the disputes stay in the neighbourhood."""
    params = ten()
    ring = Ring(params)
    liars = sorted(ring.near[0])[:2]

    def change(messages: dict[int, bytes]) -> dict[int, bytes]:
        return messages | {
            one: with_wrong_shares(messages[one], params, [0], 5 + one) for one in liars
        }

    network = tampered_round(params, MessageType.UNMASK, change)
    assert network.result is None
    assert network.failure is not None
    assert {dealer for dealer, _ in network.failure.disputes} == {0}
    assert {holder for _, holder in network.failure.disputes} <= ring.holders(0, range(10))


# -- parameters -----------------------------------------------------------------------------------


@settings(max_examples=amount("sparse rounds"))
@given(
    n=st.integers(3, 300),
    half=st.integers(1, 30),
    threshold=st.integers(1, 40),
    spare=st.integers(-9, 1),
    colluders=st.integers(0, 12),
)
def test_parameters_are_taken_as_exact_fractions_say(
    n: int, half: int, threshold: int, spare: int, colluders: int
) -> None:
    """The conditions of docs/WIRE.md in rational numbers, by the reference model."""
    lost = max(0, 2 * half - colluders + spare)
    least = max(n - lost, 1)
    try:
        Params(n, 1, Integers(0, 1), threshold, least, colluders, degree=2 * half)
    except ParameterError:
        taken = False
    else:
        taken = True
    assert taken == sparse_is_allowed(n, threshold, least, colluders, 2 * half)
