"""Malicious mode: lying servers and lying clients gain nothing, honest rounds are exact.

The attacks are in `malicious`; `test_planted_bugs.py` proves that each of them would succeed
with its defence taken out.
"""

import itertools
from collections.abc import Callable
from copy import copy
from functools import cache

import numpy as np
import pytest
from harness import (
    CONTEXT,
    SESSION,
    Network,
    SteppedRound,
    client_of,
    clone,
    directory_of,
    expected_sum,
    identity_of,
    integers,
    play,
    seeded,
    state_of,
)
from hypothesis import event, given, settings
from hypothesis import strategies as st
from levels import amount
from pairwise.attacks import Liar, refuses, shares_of_dealer, started_network, verdict
from pairwise.malicious import (
    FOUR_PARTIES,
    HONEST,
    MALICIOUS_ATTACKS,
    STRANGER,
    SplitView,
    malicious_integers,
    malicious_tight,
    signed,
    waiting,
    wrong_signatures,
)
from pairwise.test_planted_bugs import disarm
from refusals import refused

import secagg
from secagg import Client, Code, Directory, MemoryLedger, Mode, Params, Phase, Policy, Server
from secagg.machine.wire import MessageType
from secagg.pairwise.client_steps import ClientSteps
from secagg.pairwise.messages import Consistency
from secagg.pairwise.transitions import ClientState

Patch = pytest.MonkeyPatch


@pytest.mark.parametrize("name", MALICIOUS_ATTACKS)
def test_the_attacker_gains_nothing(name: str) -> None:
    """Judged by what the attacker then holds."""
    assert MALICIOUS_ATTACKS[name]() == ""


# -- lying servers --------------------------------------------------------------------------------


def views_of(party: int) -> list[tuple[int, ...]]:
    """Every survivor set of four that a party (t = 3) accepts."""
    sets = [set(range(4))] + [set(range(4)) - {gone} for gone in range(4) if gone != party]
    return [tuple(sorted(one)) for one in sets]


def test_never_two_sets_are_unmasked() -> None:
    """Each of three honest parties is told any survivor set; the fourth colludes (c = 1).

    In all 64 cases everybody is handed the best signatures that there are, and at most one set is
    unmasked. With one set for all, it is.
    """
    base = Liar(malicious_integers(4, threshold=3)).share()
    base.deliver(base.everybody)
    start = dict(base.clients)
    unmasked_by_all = 0
    for views in itertools.product(views_of(0), views_of(1), views_of(2)):
        base.clients = {party: clone(client) for party, client in start.items()}
        given = {}
        for party, view in enumerate(views):
            signature = base.sign(party, view)
            assert signature is not None
            given[party] = signature
        unmasked = []
        for party, view in enumerate(views):
            h3 = base.clients[party]._memory.h3
            fitting = {one: given[one] for one in range(3) if views[one] == view and one in view}
            if 3 in view:
                fitting[3] = signed(identity_of(3), h3)
            if base.unmask(party, fitting) is not None:
                unmasked.append(view)
        assert len(set(unmasked)) <= 1
        unmasked_by_all += len(unmasked) == 3
    assert unmasked_by_all == 2  # everybody, and without the colluder


@cache
def after_sharing(n: int, t: int, c: int) -> tuple[Liar, dict[int, dict[int, np.ndarray]]]:
    """A cohort that has dealt its shares, and all shares that the last c parties hold."""
    liar = Liar(malicious_integers(n, threshold=t, colluders=c)).share()
    held = {}
    for party in range(n - c, n):
        colluder = clone(liar.clients[party])
        colluder.receive(liar.delivery(party, range(n)))
        held[party] = dict(colluder._memory.held)
    return liar, held


@st.composite
def tellings(draw: st.DrawFn) -> tuple[int, int, int, dict[int, tuple[set[int], set[int]]]]:
    """A cohort, and (U2, U3) for each honest party: often common to several, each acceptable."""
    n, t, c = draw(st.sampled_from([(4, 3, 1), (5, 4, 2), (6, 5, 3), (7, 5, 2), (8, 6, 3)]))

    def one(party: int) -> tuple[set[int], set[int]]:
        gone = draw(st.sets(st.integers(0, n - 1), max_size=n - t)) - {party}
        later = draw(st.integers(0, len(gone)))
        return set(range(n)) - set(sorted(gone)[later:]), set(range(n)) - gone

    common = [one(party) for party in draw(st.lists(st.integers(0, n - c - 1), min_size=1))[:2]]
    told = {}
    for party in range(n - c):
        fitting = [views for views in common if party in views[1]]
        own = draw(st.integers(0, 5)) == 0 or not fitting
        told[party] = one(party) if own else draw(st.sampled_from(fitting))
    return n, t, c, told


@settings(max_examples=amount("lies about sets"))
@given(tellings(), st.data())
def test_whatever_a_server_tells_whom(
    case: tuple[int, int, int, dict[int, tuple[set[int], set[int]]]], data: st.DataObject
) -> None:
    """Any U2 and U3 for everybody, the best signatures and then any: one pair of sets is unmasked.

    No dealer's two seeds can both be rebuilt from the answers and what the colluders hold.
    """
    n, t, c, told = case
    base, held = after_sharing(n, t, c)
    liar = copy(base)
    liar.clients = {party: clone(client) for party, client in base.clients.items()}
    liar.inputs = {}
    given_: dict[int, bytes] = {}
    for party, (sharing, surviving) in told.items():
        liar.deliver(sharing, [party])
        signature = liar.sign(party, surviving)
        assert signature is not None, "acceptable by itself"
        given_[party] = signature
    answers = {}
    for party, views in told.items():
        h3 = liar.clients[party]._memory.h3
        fitting = {one: given_[one] for one in told if told[one] == views and one in views[1]}
        fitting |= {one: signed(identity_of(one), h3) for one in held if one in views[1]}
        others = sorted(views[1] & given_.keys() - fitting.keys())
        extra = data.draw(st.lists(st.sampled_from(others), max_size=1)) if others else []
        answers[party] = liar.unmask(party, {**fitting, **{one: given_[one] for one in extra}})
        assert (answers[party] is not None) == (len(fitting) >= t and not extra)
    unmasked = [told[party] for party, answer in answers.items() if answer is not None]
    assert all(views == unmasked[0] for views in unmasked)
    event(f"{len(unmasked)} of {n - c} unmask")
    for dealer in range(n):
        alive = {party: one for party, one in answers.items() if dealer in told[party][1]}
        gone = {party: one for party, one in answers.items() if dealer not in told[party][1]}
        own, mask = shares_of_dealer(alive, dealer), shares_of_dealer(gone, dealer)
        if dealer < n - c:
            own |= {party: shares[dealer][3:] for party, shares in held.items()}
            mask |= {party: shares[dealer][:3] for party, shares in held.items()}
        assert liar.seed(own) is None or liar.seed(mask) is None


def test_a_split_view_costs_the_server_the_round() -> None:
    """All honest parties refuse and hold nothing afterwards; no seed can be rebuilt."""
    views = {party: set(range(7)) - {(party + 1) % 5} for party in HONEST}
    split = SplitView(views)
    split.ask(split.valid_signatures)
    assert not any(split.answers.values())
    for dealer in range(7):
        assert split.seed(dealer, alive=True) is None
        assert split.seed(dealer, alive=False) is None


@pytest.mark.parametrize("name", wrong_signatures())
def test_one_invalid_signature_ends_the_round(name: str) -> None:
    """The client is wiped, and takes nothing afterwards, not even the true signatures."""
    liar, true = waiting()
    client = liar.clients[0]
    message = liar.signatures(wrong_signatures()[name])
    with refused(secagg.Aborted, Code.SIGNATURE):
        client.receive(message)
    assert client.state is ClientState.ABORTED
    assert refuses(client, liar.signatures(true))


def test_the_true_signatures_do() -> None:
    """The refusals above are worth something; with three of four, and without one's own."""
    for signers in ((0, 1, 2, 3), (0, 1, 2), (1, 2, 3)):
        liar, true = waiting()
        assert liar.unmask(0, {party: true[party] for party in signers}) is not None
        assert liar.clients[0].state is ClientState.FINISHED


def test_a_signer_cannot_be_counted_twice() -> None:
    """A bitmap has one bit for each party; more signatures than bits are malformed."""
    liar, true = waiting()
    client = liar.clients[0]
    two = liar.signatures({0: true[0], 1: true[1]})
    before = state_of(client)
    for message in (two + true[1], two[:-64], two[:20] + b"\x17" + two[21:] + true[0] * 2):
        with pytest.raises(secagg.DecodeError):
            client.receive(message)
        assert state_of(client) == before
    assert refuses(client, two)


def test_signatures_before_the_survivors() -> None:
    """Out of order: refused, and it costs nothing."""
    liar = Liar(malicious_integers(4, threshold=3))
    true = waiting()[1]
    message = liar.signatures(true)

    def early() -> None:
        before = state_of(liar.clients[0])
        with refused(secagg.RemoteProtocolError, Code.OUT_OF_ORDER):
            liar.clients[0].receive(message)
        assert state_of(liar.clients[0]) == before

    early()
    liar.share()
    early()
    liar.deliver(liar.everybody)
    early()
    assert liar.sign(0, liar.everybody) is not None
    assert liar.unmask(0, true) is not None
    (again,) = liar.clients[0].receive(message)  # a repeat
    assert again == secagg.Send(secagg.SERVER, liar.clients[0]._memory.last_reply)


def test_the_survivors_again_after_signing() -> None:
    """The same set: the same signature. Another one: refused."""
    liar, true = waiting()
    client = liar.clients[0]
    before = state_of(client)
    (again,) = client.receive(liar.survivors(range(4)))
    assert isinstance(again, secagg.Send)
    assert again.payload.endswith(true[0])
    assert state_of(client) == before
    for other in ((0, 1, 2), (0, 2, 3)):
        assert refuses(client, liar.survivors(other))
    assert client.state is ClientState.AWAITING_SIGNATURES
    assert liar.unmask(0, true) is not None


def _stray(agreed: secagg.Round, directory: Directory, party: int = 3) -> Client:
    return Client(
        agreed,
        party,
        Policy(context=agreed.context),
        seeded(("", party)),
        identity=identity_of(party),
        directory=directory,
        ledger=MemoryLedger(),
    )


def replaced(cohort: int, party: int) -> Directory:
    """A directory with a stranger in place of one party."""
    pins = [(one.name, one.verify_key) for one in directory_of(cohort).entries]
    pins[party] = ("stranger", STRANGER.verify_key)
    return Directory.of(pins)


STRAYS: dict[str, Callable[[], Client]] = {
    "context": lambda: _stray(
        malicious_integers(4, threshold=3).round(bytes(32), SESSION), directory_of(4)
    ),
    "session": lambda: _stray(
        malicious_integers(4, threshold=3).round(CONTEXT, bytes(16)), directory_of(4)
    ),
    "threshold": lambda: _stray(
        malicious_integers(4, threshold=4).round(CONTEXT, SESSION), directory_of(4)
    ),
    "length": lambda: _stray(
        malicious_integers(4, 5, threshold=3).round(CONTEXT, SESSION), directory_of(4)
    ),
    "directory": lambda: _stray(
        malicious_integers(4, threshold=3).round(CONTEXT, SESSION), replaced(4, 1)
    ),
}


@pytest.mark.parametrize("name", STRAYS)
def test_a_server_that_tells_one_party_something_else(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Party 3 is in a round with another h0. The others refuse its entry, and it refuses theirs.

    Even if it did not look at signatures: no ciphertext opens, so nothing is masked or sent.
    """
    liar = Liar(malicious_integers(4, threshold=3))
    stray = STRAYS[name]()
    first = stray.start()
    entry = dict(liar.entries)
    keys_of_stray = stray._memory.keys
    assert keys_of_stray.channel == entry[3].channel, "seeded alike"
    entry[3] = keys_of_stray
    roster = liar.roster(entry)
    session = stray.round.session
    assert refuses(clone(liar.clients[0]), roster)
    assert refuses(clone(stray), roster[:4] + session + roster[20:])

    server = started_network(malicious_integers(4, threshold=3)).server
    if session == SESSION:
        try:
            (event, *_) = server.receive(3, first)
            assert isinstance(event, secagg.Dropped)
        except secagg.DecodeError:  # its message has another length
            assert name == "length"
    else:
        with pytest.raises(secagg.RemoteProtocolError):
            server.receive(3, first)

    disarm(monkeypatch, ClientSteps._check_entry, Code.SIGNATURE)
    payloads = {}
    for party in range(3):
        (event,) = liar.clients[party].receive(roster)
        payloads[party] = event.payload  # type: ignore[union-attr]
    stray.receive(roster[:4] + session + roster[20:])
    # h1 (32) and a commitment (32) come before the ciphertexts (62) for the others, ascending.
    sealed = {party: payload[20 + 64 + 2 * 62 :] for party, payload in payloads.items()}
    delivery = liar.delivery(3, range(4), {**sealed})
    with refused(secagg.Aborted, Code.SHARES):
        stray.receive(delivery[:4] + session + delivery[20:])


def test_who_may_join() -> None:
    """Identity and directory belong together, to the mode, and to the index."""
    agreed = malicious_integers(4, threshold=3).round(CONTEXT, SESSION)
    plain = integers(4, threshold=3).round(CONTEXT, SESSION)
    identity, directory = identity_of(0), directory_of(4)
    with refused(secagg.ParameterError, Code.NO_IDENTITY):
        Client(agreed, 0, directory=directory)
    with refused(secagg.ParameterError, Code.NO_DIRECTORY):
        Client(agreed, 0, identity=identity)
    with refused(secagg.ParameterError, Code.NO_IDENTITY):
        Client(agreed, 0)
    with refused(secagg.ParameterError, Code.NO_DIRECTORY):
        Server(agreed)
    with refused(secagg.ParameterError, Code.DOWNGRADE):
        Server(plain, directory)
    with refused(secagg.ParameterError, Code.WRONG_IDENTITY):
        Client(agreed, 1, identity=identity, directory=directory)
    for policy in (Policy(), Policy(allow_repeats=True)):
        with refused(secagg.ParameterError, Code.NO_LEDGER):
            Client(agreed, 0, policy, identity=identity, directory=directory)
    with refused(secagg.ParameterError, Code.DOWNGRADE):
        Client(plain, 0, ledger=MemoryLedger())
    Client(agreed, 0, identity=identity, directory=directory, ledger=MemoryLedger())


@pytest.mark.parametrize("cohort_size", [2, 3, 4, 5, 6, 7, 8, 9, 10, 30, 100])
def test_thresholds_that_a_server_may_offer(cohort_size: int) -> None:
    """By brute force over (t, c): t > 2n/3 and 2t > n + c, or there is no such round."""
    n, allowed = cohort_size, 0
    for t in range(1, n + 1):
        for c in range(n):
            fine = 3 * t > 2 * n and 2 * t > n + c and t - c >= 2
            try:
                params = malicious_integers(n, threshold=t, colluders=c)
            except secagg.ParameterError:
                assert not fine, (t, c)
                continue
            assert fine, (t, c)
            allowed += 1
            offer = params.round(CONTEXT, SESSION).encode()
            assert secagg.Round.decode(offer).params == params
    assert allowed > 0
    assert 2 * malicious_integers(n).threshold > n + malicious_integers(n).colluders


# -- cohorts at the limits ------------------------------------------------------------------------

LIMITS = [
    malicious_tight(2, colluders=0),
    malicious_tight(3),
    malicious_tight(3, colluders=1),
    malicious_tight(4, threshold=3, colluders=1),  # 2t = n + c + 1
    malicious_tight(4, threshold=4, colluders=2),
    malicious_tight(7, threshold=5, colluders=2),  # 2t = n + c + 1
    malicious_tight(10, threshold=7, colluders=3),  # 2t = n + c + 1
    malicious_tight(10, threshold=7, colluders=0, min_survivors=9),
]


@pytest.mark.parametrize("params", LIMITS, ids=lambda p: f"n{p.cohort}t{p.threshold}c{p.colluders}")
def test_cohorts_at_the_limits(params: Params) -> None:
    """Nobody drops; as many as may drop in each phase; one more."""
    run = play(params)
    assert run.result is not None
    assert run.result.total.tolist() == expected_sum(range(params.cohort), 1)
    n = params.cohort
    for phase in params.mode.phases:
        late = phase in (Phase.CONSISTENCY, Phase.UNMASK)
        least = params.threshold if late else params.quorum
        counted = range(n - least) if late else ()
        run = play(params, dict.fromkeys(range(n - least), phase))
        assert run.result is not None, phase
        assert run.result.survivors == (*counted, *range(n - least, n))
        assert run.result.total.tolist() == expected_sum(run.result.survivors, 1)
        assert run.refusals == {}
        run = play(params, dict.fromkeys(range(n - least + 1), phase))
        assert run.result is None
        assert run.code is Code.QUORUM
        assert f"{least} are" in run.reason


@pytest.mark.parametrize("suite", list(secagg.Suite))
@pytest.mark.parametrize("fmt", [secagg.FixedPoint(4.0, 16, 10), secagg.Integers(-5, 5)], ids=repr)
def test_weights_and_formats(fmt: secagg.FixedPoint | secagg.Integers, suite: object) -> None:
    """The sum does not depend on the mode."""
    params = Params(4, 2, fmt, threshold=3, mode=Mode.MALICIOUS, suite=suite)  # type: ignore[arg-type]
    agreed = params.round(CONTEXT, SESSION)
    clients = {party: client_of(agreed, party) for party in range(4)}
    kind = np.float64 if fmt.weighted else np.int64
    inputs = {party: (lambda party=party: (np.array([party, -1], kind), 1)) for party in range(4)}
    server = Server(agreed, directory_of(4))
    run = secagg.simulate.Cohort(server, clients, inputs, {3: Phase.MASKED_INPUT}).play()
    assert run.result is not None
    assert run.result.survivors == (0, 1, 2)
    assert np.allclose(run.result.total, [3, -3], atol=0.01)


def test_secure_sum_in_malicious_mode() -> None:
    """The public face, with drops in every phase."""
    updates = [[party, -1] for party in range(7)]
    for phase in Mode.MALICIOUS.phases:
        done = secagg.secure_sum(
            updates, secagg.Integers(-9, 9), drops={6: phase, 5: phase}, mode=Mode.MALICIOUS
        )
        kept = 7 if phase in (Phase.CONSISTENCY, Phase.UNMASK) else 5
        assert done.survivors == tuple(range(kept))
        assert np.asarray(done.total).tolist() == [sum(range(kept)), -kept]
        assert set(done.cost) == set(Mode.MALICIOUS.phases)


# -- lying clients --------------------------------------------------------------------------------


def test_a_party_that_signs_and_vanishes() -> None:
    """Its input is in the sum, which is exact with the others' shares."""
    network = started_network(FOUR_PARTIES, drops={3: Phase.UNMASK}).run()
    assert verdict(network, (0, 1, 2, 3)) == ""
    assert network.refusals == []


def test_a_party_that_does_not_sign() -> None:
    """Its input is in the sum; it is not asked to unmask, and its shares are not taken."""
    network = started_network(FOUR_PARTIES, drops={3: Phase.CONSISTENCY}).run()
    assert verdict(network, (0, 1, 2, 3)) == ""
    assert network.dropped == {3: Code.TIMEOUT}
    assert network.clients[3].state is ClientState.AWAITING_SIGNATURES
    told = [e.to for e in network.events if isinstance(e, secagg.Send) and e.payload[3] == 0x14]
    assert told == [0, 1, 2]


def test_a_silent_party_does_not_come_back() -> None:
    """A signature after the deadline, and shares of a party that never signed: refused."""
    stepped = SteppedRound(FOUR_PARTIES)
    messages = stepped.until(Phase.CONSISTENCY)
    late = messages.pop(3)
    stepped.to_server(messages)
    stepped.deadline(Phase.CONSISTENCY)
    before = state_of(stepped.server)
    with pytest.raises(secagg.RemoteProtocolError):
        stepped.server.receive(3, late)
    unmask = stepped.answers((0, 1, 2))
    with pytest.raises(secagg.RemoteProtocolError):
        stepped.server.receive(3, unmask[2])
    assert state_of(stepped.server) == before
    assert verdict(stepped.finish(unmask), (0, 1, 2, 3)) == ""


@pytest.mark.parametrize("first_is_true", [True, False])
def test_an_equivocating_signer(first_is_true: bool) -> None:
    """The first message counts: a true one is kept, a false one costs its sender the round."""
    stepped = SteppedRound(FOUR_PARTIES)
    messages = stepped.until(Phase.CONSISTENCY)
    true = messages.pop(3)
    lie = Consistency(signed(identity_of(3), bytes(32))).encode(SESSION)
    stepped.to_server({3: true if first_is_true else lie})
    before = state_of(stepped.server)
    with pytest.raises(secagg.RemoteProtocolError):
        stepped.server.receive(3, lie if first_is_true else true)
    assert state_of(stepped.server) == before
    assert (3 in stepped.dropped) is not first_is_true
    assert verdict(stepped.finish(messages), (0, 1, 2, 3)) == ""


def test_bad_signers_below_the_threshold_fail_the_round() -> None:
    """Two of four sign nothing: too few are left, nobody unmasks."""
    stepped = SteppedRound(FOUR_PARTIES)
    messages = stepped.until(Phase.CONSISTENCY)
    lie = Consistency(bytes(64)).encode(SESSION)
    network: Network = stepped.finish({**messages, 2: lie, 3: lie})
    assert network.result is None
    assert stepped.failure is not None
    assert (stepped.failure.code, stepped.last_phase) == (Code.QUORUM, Phase.CONSISTENCY)
    assert all(c.state is ClientState.AWAITING_SIGNATURES for c in stepped.clients.values())


def test_a_semi_honest_message_in_a_malicious_round() -> None:
    """Shorter by its signature: malformed, and the sender may still send the true one."""
    plain = SteppedRound(integers(4, threshold=3))
    stepped = SteppedRound(malicious_integers(4, threshold=3))
    for phase in (Phase.ADVERTISE_KEYS, Phase.MASKED_INPUT):
        theirs, ours = plain.clone().until(phase), stepped.clone()
        messages = ours.until(phase)
        before = state_of(ours.server)
        with pytest.raises(secagg.DecodeError):
            ours.server.receive(3, theirs[3])
        assert state_of(ours.server) == before
        assert verdict(ours.finish(messages), range(4)) == ""


def test_no_consistency_step_in_semi_honest_mode() -> None:
    """Its messages are refused in every phase, by both sides."""
    params = integers(4, threshold=3)
    liar, true = waiting()
    for phase in Mode.SEMI_HONEST.phases:
        stepped = SteppedRound(params)
        stepped.until(phase)
        signature = Consistency(true[3]).encode(SESSION)
        assert signature[3] == MessageType.CONSISTENCY
        with refused(secagg.RemoteProtocolError, Code.MALFORMED):
            stepped.server.receive(3, signature)
        with refused(secagg.RemoteProtocolError, Code.MALFORMED):
            stepped.clients[0].receive(liar.signatures(true))
