"""Lying clients against a real server: the liar is dropped, and everybody else's sum is exact.

The attacks are in `attacks`; `test_planted_bugs.py` proves for each that it can succeed. Below
them: repeats, lateness, clean failure in every phase, and the jobs of unmasking.
"""

import itertools
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import children
import numpy as np
import pytest
from harness import (
    CONTEXT,
    SESSION,
    STEPS,
    Network,
    SteppedRound,
    expected_sum,
    integers,
    state_of,
    tight,
)
from pairwise.attacks import (
    SERVER_ATTACKS,
    started_network,
    tampered_round,
    verdict,
    with_wrong_shares,
)
from refusals import refused

import secagg
from secagg import Client, Code, Params, Phase, Policy, Server
from secagg.machine import expansion
from secagg.machine.expansion import ExpandJob, SignedKeys
from secagg.machine.wire import MessageType
from secagg.pairwise import unmasking
from secagg.pairwise.messages import AdvertiseKeys, PublicKeys
from secagg.pairwise.transitions import ServerState
from secagg.pairwise.unmasking import AgreeJob
from secagg.sharing import recovery
from secagg.sharing.rebuild_job import RebuildJob, Recovered

EARLIER = {
    Phase.ADVERTISE_KEYS: MessageType.ADVERTISE_KEYS,
    Phase.SHARE_KEYS: MessageType.SHARE_KEYS,
    Phase.MASKED_INPUT: MessageType.MASKED_INPUT,
    Phase.UNMASK: MessageType.UNMASK,
}


@pytest.mark.parametrize("name", SERVER_ATTACKS)
def test_attack_gains_nothing(name: str) -> None:
    """The sum is exact over the honest, or (with no share to spare) there is none."""
    assert SERVER_ATTACKS[name]() == ""


# -- who is dropped, and what it costs -------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        lambda params: params.round(bytes(32), SESSION),
        lambda params: integers(4, 5, threshold=3).round(CONTEXT, SESSION),
        lambda params: integers(4, threshold=4).round(CONTEXT, SESSION),
        lambda params: integers(4, threshold=3, min_survivors=4).round(CONTEXT, SESSION),
        lambda params: integers(4, threshold=3, colluders=0).round(CONTEXT, SESSION),
        lambda params: Params(
            4, 4, secagg.Integers(-1000, 1001), threshold=3
        ).round(CONTEXT, SESSION),
        lambda params: Params(
            4, 4, params.format, threshold=3, suite=secagg.Suite.CHACHA20
        ).round(CONTEXT, SESSION),
    ],
    ids=["context", "length", "threshold", "quorum", "colluders", "format", "suite"],
)  # fmt: skip
def test_a_client_of_another_round_never_enters(other: Callable[[Params], secagg.Round]) -> None:
    """Every field of the round is in h0: the stray is dropped before anything is forwarded."""
    params = integers(4, threshold=3)
    network = started_network(params)
    stray = Client(other(params), 3, Policy())
    network.queue[3:] = []
    network.send_up(3, stray.start())
    network.run()
    assert network.dropped[3] is Code.CONTEXT
    assert verdict(network, (0, 1, 2)) == ""
    assert all(event.to != 3 for event in network.events if isinstance(event, secagg.Send))


def test_a_client_of_another_session_is_refused_by_the_header() -> None:
    """And by h0, if it rewrites the header."""
    params = integers(4, threshold=3)
    message = Client(params.round(CONTEXT, bytes(16)), 3, Policy()).start()
    stepped = SteppedRound(params)
    before = state_of(stepped.server)
    with refused(secagg.DecodeError, Code.SESSION):
        stepped.server.receive(3, message)
    assert state_of(stepped.server) == before
    stepped.to_server({3: message[:4] + SESSION + message[20:]})
    assert stepped.dropped[3] is Code.CONTEXT


def test_the_first_to_advertise_a_key_keeps_it() -> None:
    """A liar that sees and copies an honest party's keys before they arrive takes its place.

    Without signatures the server cannot tell who is honest; the copy costs that one party the
    round, and the copier learns nothing: it has no secret key, and falls silent.
    """
    params = tight(5, threshold=3)
    network = started_network(params)
    copied = network.queue[3].payload
    network.queue = [*network.queue[:3], network.queue[4], network.queue[3]]
    network.queue[3] = type(network.queue[3])(4, -1, copied)
    network.run()
    assert set(network.dropped) == {3, 4}
    assert network.dropped[3] is Code.DUPLICATE_KEY
    assert verdict(network, (0, 1, 2)) == ""


@pytest.mark.parametrize("liars", [(2,), (3, 4), (0, 4)], ids=str)
def test_offenders_of_each_step_cost_only_themselves(liars: tuple[int, ...]) -> None:
    """Liars in any step but the last: the others' sum is exact, and only the liars are dropped."""
    params = tight(6, threshold=4)

    def broken(place: int) -> Callable[[dict[int, bytes]], dict[int, bytes]]:
        def change(messages: dict[int, bytes]) -> dict[int, bytes]:
            changed = dict(messages)
            for liar in liars:
                data = bytearray(changed[liar])
                data[place] ^= 1
                changed[liar] = bytes(data)
            return changed

        return change

    honest = set(range(6)) - set(liars)
    for kind, place in ((MessageType.ADVERTISE_KEYS, 20), (MessageType.MASKED_INPUT, 25)):
        network = tampered_round(params, kind, broken(place))
        assert set(network.dropped) == set(liars)
        assert verdict(network, honest) == ""


def test_errors_name_the_party() -> None:
    """Every refusal says whose message it was."""
    stepped = SteppedRound(integers(4, threshold=3))
    for party in range(4):
        with pytest.raises(secagg.DecodeError) as caught:
            stepped.server.receive(party, b"nonsense")
        assert caught.value.party == party
        assert f"party {party}" in str(caught.value)


@pytest.mark.parametrize("party", [-1, 4, 2**40, "1", None, 1.5, (0,), [0]])
def test_a_message_from_nobody_is_the_drivers_fault(party: object) -> None:
    """Unknown indices: `LocalProtocolError`, nothing changed."""
    stepped = SteppedRound(integers(4, threshold=3))
    message = stepped.advertise([1])[1]
    before = state_of(stepped.server)
    with pytest.raises(secagg.LocalProtocolError):
        stepped.server.receive(party, message)  # type: ignore[arg-type]
    for data in ("text", None, 7):
        with pytest.raises(secagg.LocalProtocolError):
            stepped.server.receive(1, data)  # type: ignore[arg-type]
    assert state_of(stepped.server) == before


def test_anybodys_message_under_another_index() -> None:
    """Every message of party 2, sent by party 3 in place of its own: never a wrong sum."""
    params = tight(4, threshold=3)
    for kind in EARLIER.values():
        network = tampered_round(params, kind, lambda messages: {**messages, 3: messages[2]})
        gain = verdict(network)
        assert gain == "" or gain.startswith("the round failed"), kind
        if kind in (MessageType.ADVERTISE_KEYS, MessageType.MASKED_INPUT):
            assert 3 in network.dropped
            assert verdict(network, (0, 1, 2)) == ""


# -- repeats and lateness --------------------------------------------------------------------------


def test_repeats_are_ignored_and_different_ones_refused_ever_after() -> None:
    """In its own phase and all later ones, and when the round is over."""
    stepped = SteppedRound(integers(4, threshold=3))
    sent: list[tuple[int, bytes]] = []
    messages = stepped.advertise()
    for _ in STEPS:
        for party, message in messages.items():
            stepped.to_server({party: message})
            sent.append((party, message))
            before = state_of(stepped.server)
            for old_party, old in sent:
                assert stepped.server.receive(old_party, old) == []
                different = old[:-1] + bytes([old[-1] ^ 1])
                with refused(secagg.RemoteProtocolError, Code.EQUIVOCATION):
                    stepped.server.receive(old_party, different)
            assert state_of(stepped.server) == before
        messages = stepped.answers()
    assert stepped.result is not None
    assert stepped.result.total.tolist() == expected_sum(range(4))


@pytest.mark.parametrize("phase", STEPS)
def test_a_late_message_never_enters(phase: Phase) -> None:
    """Each kind of message after its deadline: refused for good, and the sum is that of others."""
    stepped = SteppedRound(tight(4, threshold=3))
    messages = stepped.until(phase)
    late = messages.pop(3)
    stepped.to_server(messages)
    stepped.deadline(phase)
    before = state_of(stepped.server)
    with pytest.raises(secagg.RemoteProtocolError):
        stepped.server.receive(3, late)
    assert state_of(stepped.server) == before
    network = stepped.finish(stepped.answers([0, 1, 2]) if phase is not Phase.UNMASK else {})
    stepped.events += network.events
    assert stepped.result is not None
    survivors = (0, 1, 2) if phase is not Phase.UNMASK else (0, 1, 2, 3)
    assert stepped.result.survivors == survivors
    assert stepped.result.total.tolist() == expected_sum(survivors, 1)
    with pytest.raises(secagg.RemoteProtocolError):
        stepped.server.receive(3, late)


def test_deadlines_of_other_phases_do_nothing() -> None:
    """In every state, before the start and after the end too."""
    fresh = Server(integers(4, threshold=3).round(CONTEXT, SESSION))
    for phase in (*STEPS, None):
        assert fresh.deadline(phase) == []  # type: ignore[arg-type]
    assert fresh.state is ServerState.CREATED
    network = started_network(integers(4, threshold=3)).run()
    before = state_of(network.server)
    for phase in STEPS:
        assert network.server.deadline(phase) == []
    assert state_of(network.server) == before


def test_start_twice_is_the_drivers_fault() -> None:
    """`LocalProtocolError`, nothing changed."""
    stepped = SteppedRound(integers(4, threshold=3))
    before = state_of(stepped.server)
    with pytest.raises(secagg.LocalProtocolError):
        stepped.server.start()
    assert state_of(stepped.server) == before


# -- failing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", STEPS)
@pytest.mark.parametrize("there", range(3))
def test_too_few_fail_the_round_cleanly(phase: Phase, there: int) -> None:
    """Below the quorum (shares: the threshold) in each phase: `Failed`, and nothing is kept."""
    stepped = SteppedRound(integers(4, threshold=3))
    messages = stepped.until(phase)
    stepped.to_server({party: messages[party] for party in range(there)})
    stepped.deadline(phase)
    assert stepped.failure is not None
    assert stepped.failure.code is Code.QUORUM
    assert f"{there} parties sent {phase}" in stepped.failure.reason  # which phase, for people
    assert stepped.result is None
    server = stepped.server
    assert server.state is ServerState.FAILED
    assert server._memory.total.size == 0
    assert not server._memory.answers
    assert server._unmasking is None
    before = state_of(server)
    for party in range(there, 4):
        with pytest.raises(secagg.RemoteProtocolError):
            server.receive(party, messages[party])
    assert server.complete(ExpandJob(SignedKeys((), ()), 16, 1, 0, 1), None) == []
    assert server.deadline(phase) == []
    assert state_of(server) == before


def test_quorum_above_the_threshold() -> None:
    """min_survivors binds inputs; t answers are enough to unmask them."""
    params = integers(5, threshold=3, min_survivors=4)
    assert verdict(started_network(params, drops={0: Phase.MASKED_INPUT}).run(), (1, 2, 3, 4)) == ""
    dropped = {0: Phase.UNMASK, 1: Phase.UNMASK}
    assert verdict(started_network(params, drops=dropped).run(), range(5)) == ""
    dropped = {0: Phase.MASKED_INPUT, 1: Phase.MASKED_INPUT}
    assert "4 are needed" in verdict(started_network(params, drops=dropped).run())


def test_a_dealer_whose_shares_nobody_can_open_is_in_dispute() -> None:
    """Junk for everybody, and then silence: its mask seed is lost, the round fails and says whose.

    This is the price of one malicious client that the design does not promise to avoid.
    """
    params = tight(4, threshold=3)

    def change(messages: dict[int, bytes]) -> dict[int, bytes]:
        return {**messages, 3: messages[3][:84] + bytes(len(messages[3]) - 84)}

    network = tampered_round(params, MessageType.SHARE_KEYS, change, {3: Phase.MASKED_INPUT})
    assert network.result is None
    assert network.failure is not None
    assert network.failure.disputes == ((3, 0), (3, 1), (3, 2))


def test_a_sum_that_honest_inputs_cannot_reach_is_no_result() -> None:
    """The last line of defence: what decodes to nonsense fails the round."""
    params = Params(3, 1, secagg.Integers(0, 1), threshold=2)
    stepped = SteppedRound(params)
    stepped.server._memory.total = secagg.Field(params.field_bits).zeros(1) + np.uint32(4)
    stepped.server._memory.survivors = (0, 1, 2)
    stepped.server._memory.state = ServerState.UNMASKING
    (event,) = stepped.server._finish(())
    assert isinstance(event, secagg.Failed)
    assert stepped.server.state is ServerState.FAILED


# -- jobs ------------------------------------------------------------------------------------------


def jobs_of(
    params: Params, drops: dict[int, Phase], rebuilt: bool = True
) -> tuple[Server, list[Any], Network]:
    """A server that has just handed out its first jobs, or those after the seeds are rebuilt."""
    server, handed, network = _handed_out(started_network(params, drops=drops))
    for job in handed[:] if rebuilt else ():
        handed.remove(job)
        network.take_events(server.complete(job, job.run()))
    return server, handed, network


def _handed_out(network: Network) -> tuple[Server, list[Any], Network]:
    """Runs a round up to its jobs; those that come later are added to the list."""
    handed: list[Any] = []
    true = network.take_events

    def said(events: list[object]) -> None:
        handed.extend(event.job for event in events if isinstance(event, secagg.Work))
        true([event for event in events if not isinstance(event, secagg.Work)])

    network.take_events = said  # type: ignore[method-assign, assignment]
    network.run()
    return network.server, handed, network


def shipped(job: Any) -> Any:
    """The job as another process sees it."""
    return pickle.loads(pickle.dumps(job))  # noqa: S301


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many jobs: of two seeds, of four agreements, of two masks and 1024 elements."""
    monkeypatch.setattr(recovery, "PIECE_SHARES", 2 * 4)
    monkeypatch.setattr(unmasking, "PIECE_AGREEMENTS", 4)
    monkeypatch.setattr(expansion, "PIECE_MAX_KEYS", 2)
    monkeypatch.setattr(expansion, "PIECE_ELEMENTS", 2048)


MANY = Params(6, 3000, secagg.Integers(-4000, 4000), threshold=4)
GONE = {1: Phase.MASKED_INPUT, 4: Phase.MASKED_INPUT}
STAYED = (0, 2, 3, 5)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("order", ["in order", "backwards"])
def test_jobs_may_be_done_in_any_order_and_handed_back_twice(order: str) -> None:
    """Each counts once; three pieces of seeds, two of agreements, 6 x 3 of masks."""
    server, jobs, _ = jobs_of(MANY, GONE, rebuilt=False)
    assert [type(job) for job in jobs] == [RebuildJob] * 3
    done: list[tuple[Any, object]] = []
    events: list[object] = []
    counts = []
    while jobs:
        counts.append(len(jobs))
        batch = jobs if order == "in order" else jobs[::-1]
        jobs = []
        for job in batch:
            assert isinstance(job, RebuildJob | AgreeJob | ExpandJob)
            done.append((job, job.run()))
            for event in server.complete(*done[-1]):
                jobs += [event.job] if isinstance(event, secagg.Work) else []
                events.append(event)
            before = state_of(server)
            for old in done:
                assert server.complete(*old) == []
            assert state_of(server) == before
    assert counts == [3, 2, 18]
    (result,) = [event.result for event in events if isinstance(event, secagg.Completed)]
    assert result.survivors == STAYED
    assert result.total.tolist() == expected_sum(STAYED, 3000)


@pytest.mark.usefixtures("small_pieces")
def test_jobs_run_in_other_processes() -> None:
    """Pickled to a process pool and back: the identical result."""
    server, jobs, _ = jobs_of(MANY, GONE, rebuilt=False)
    events: list[object] = []
    with children.pool() as pool:
        while jobs:
            futures = [(job, pool.submit(job.run)) for job in jobs]
            jobs = []
            for job, future in futures:
                for event in server.complete(job, future.result()):
                    jobs += [event.job] if isinstance(event, secagg.Work) else []
                    events.append(event)
    (result,) = [event.result for event in events if isinstance(event, secagg.Completed)]
    assert result.total.tolist() == expected_sum(STAYED, 3000)
    assert result.survivors == STAYED


def test_jobs_are_pure_and_picklable() -> None:
    """A pickled job gives the same value, as often as it is run, and its repr hides its keys."""
    server, jobs, _ = jobs_of(integers(4, threshold=3), {3: Phase.MASKED_INPUT}, rebuilt=False)
    (rebuild,) = jobs
    assert isinstance(rebuild, RebuildJob)
    seeds = rebuild.run()
    assert seeds == shipped(rebuild).run() == rebuild.run()
    (work,) = server.complete(rebuild, seeds)
    assert isinstance(work, secagg.Work)
    agree = work.job
    assert isinstance(agree, AgreeJob)
    first, again = agree.run(), shipped(agree).run()
    assert first == again == agree.run()
    (work,) = server.complete(agree, first)
    assert isinstance(work, secagg.Work)
    expand = work.job
    values = [expand.run(), shipped(expand).run(), expand.run()]
    assert all(np.array_equal(values[0], value) for value in values)
    for shown in (rebuild, seeds, agree, expand):
        text = repr(shown)
        for secret in (*seeds.seeds, *agree.secrets.values(), *first.keys):
            assert repr(secret)[2:-1] not in text
        for element in rebuild.shares.ravel().tolist():
            assert str(element) not in text


def test_foreign_jobs_are_refused() -> None:
    """A job of another server, or an equal copy of one's own: `LocalProtocolError`."""
    server, (job,), _ = jobs_of(integers(4, threshold=3), {})
    _, (foreign,), _ = jobs_of(integers(4, threshold=3), {})
    assert isinstance(job, ExpandJob)
    assert isinstance(foreign, ExpandJob)
    before = state_of(server)
    strangers: list[Any] = [foreign, shipped(job), None, "job"]
    for stranger in strangers:
        with pytest.raises(secagg.LocalProtocolError):
            server.complete(stranger, job.run())
    assert state_of(server) == before
    fresh = Server(integers(4, threshold=3).round())
    with pytest.raises(secagg.LocalProtocolError):
        fresh.complete(job, job.run())
    (completed,) = server.complete(job, job.run())
    assert isinstance(completed, secagg.Completed)
    assert server.complete(job, job.run()) == []
    assert server.complete(foreign, None) == []  # too late to matter


class Fails:
    """A value that cannot be looked at."""

    def __iter__(self) -> Iterator[int]:
        raise RuntimeError("looked at")


WRONG_PIECES: dict[str, Callable[[np.ndarray], object]] = {
    "none": lambda piece: None,
    "an exception": lambda piece: ValueError("the worker died"),
    "keys": lambda piece: SignedKeys((), ()),
    "an int": lambda piece: 5,
    "too short": lambda piece: piece[:-1],
    "too long": lambda piece: np.append(piece, piece[:1]),
    "empty": lambda piece: piece[:0],
    "floats": lambda piece: piece.astype(np.float64),
    "two dimensions": lambda piece: piece.reshape(2, -1),
    "outside the field": lambda piece: np.full_like(piece, np.iinfo(piece.dtype).max),
    "negative": lambda piece: piece.astype(np.int64) - 2**40,
    "text": lambda piece: "text",
    "bytes": lambda piece: piece.tobytes(),
    "a list": lambda piece: piece.tolist(),
    "a subclass": lambda piece: piece.view(type("Other", (np.ndarray,), {})),
    "no end": lambda piece: range(10**15),
    "an error of its own": lambda piece: Fails(),
}


@pytest.mark.parametrize("name", WRONG_PIECES)
def test_wrong_pieces_are_refused(name: str) -> None:
    """`RangeError`, nothing changed; the true value still gives the sum."""
    server, (job,), _ = jobs_of(integers(4, threshold=3), {})
    assert isinstance(job, ExpandJob)
    before = state_of(server)
    with pytest.raises(secagg.RangeError):
        server.complete(job, WRONG_PIECES[name](job.run()))
    assert state_of(server) == before
    (completed,) = server.complete(job, job.run())
    assert isinstance(completed, secagg.Completed)
    assert completed.result.total.tolist() == expected_sum(range(4))


def inside(value: SignedKeys, **parts: Any) -> SignedKeys:
    """The same with a part of another type."""
    return replace(value, **parts)


class Tripwires:
    """Attributes that run a worker's code."""

    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:
        if name in {"keys", "signs", "seeds", "wrong"}:
            raise ValueError("an attribute of a worker's was read")
        return super().__getattribute__(name)


class OtherKeys(Tripwires, SignedKeys):
    """With the values of another."""

    __slots__ = ()


class OtherSeeds(Tripwires, Recovered):
    """With the values of another."""

    __slots__ = ()


WRONG_KEYS: dict[str, Callable[[SignedKeys], object]] = {
    "a subclass": lambda keys: OtherKeys(keys.keys, keys.signs),
    "properties": lambda keys: Tripwires(),
    "none": lambda keys: None,
    "an array": lambda keys: np.zeros(4, np.uint32),
    "too few": lambda keys: SignedKeys(keys.keys[:-1], keys.signs[:-1]),
    "too many": lambda keys: SignedKeys(keys.keys * 2, keys.signs * 2),
    "fewer signs": lambda keys: SignedKeys(keys.keys, keys.signs[:-1]),
    "no signs": lambda keys: SignedKeys(keys.keys, ()),
    "sign 0": lambda keys: SignedKeys(keys.keys, (0,) * len(keys.signs)),
    "sign 2": lambda keys: SignedKeys(keys.keys, (2,) * len(keys.signs)),
    "short keys": lambda keys: SignedKeys((b"x",) * len(keys.keys), keys.signs),
    "keys that may change": lambda keys: inside(keys, keys=list(keys.keys)),
    "text": lambda keys: inside(keys, keys=("x" * 32,) * len(keys.keys)),
    "no tuple of keys": lambda keys: inside(keys, keys=None),
    "an array of signs": lambda keys: inside(keys, signs=np.array(keys.signs)),
    "arrays as signs": lambda keys: inside(keys, signs=(np.ones(2),) * len(keys.signs)),
    "a shell": lambda keys: object.__new__(SignedKeys),
}


@pytest.mark.parametrize("name", WRONG_KEYS)
def test_wrong_keys_are_refused(name: str) -> None:
    """`RangeError`, nothing changed; the true value still gives the sum."""
    server, (job,), network = jobs_of(integers(4, threshold=3), {3: Phase.MASKED_INPUT})
    assert isinstance(job, AgreeJob)
    before = state_of(server)
    with pytest.raises(secagg.RangeError):
        server.complete(job, WRONG_KEYS[name](job.run()))
    assert state_of(server) == before
    del network.take_events
    network.take_events(server.complete(job, job.run()))
    assert verdict(network, (0, 1, 2)) == ""


class Longer(bytes):
    """A subclass, which can run its own code."""


WRONG_SEEDS: dict[str, Callable[[Recovered], object]] = {
    "a subclass of the whole": lambda value: OtherSeeds(value.seeds, value.wrong),
    "properties": lambda value: Tripwires(),
    "none": lambda value: None,
    "seeds alone": lambda value: value.seeds,
    "too few": lambda value: Recovered(value.seeds[:-1], value.wrong),
    "too many": lambda value: Recovered(value.seeds * 2, value.wrong),
    "a list": lambda value: Recovered(list(value.seeds), value.wrong),  # type: ignore[arg-type]
    "other seeds": lambda value: Recovered((bytes(16),) * 4, value.wrong),
    "exchanged": lambda value: Recovered(value.seeds[::-1], value.wrong),
    "another mask seed": lambda value: Recovered((*value.seeds[:3], bytes(16)), value.wrong),
    "short seeds": lambda value: Recovered((b"x",) * 4, value.wrong),
    "numbers": lambda value: Recovered((1, 2, 3, 4), value.wrong),  # type: ignore[arg-type]
    "a subclass": lambda value: Recovered(tuple(map(Longer, value.seeds)), value.wrong),  # type: ignore[arg-type]
    "fewer bits": lambda value: Recovered(value.seeds, value.wrong[:-1]),
    "more bits": lambda value: Recovered(value.seeds, value.wrong + b"\0"),
    "bits that may change": lambda value: Recovered(value.seeds, bytearray(value.wrong)),  # type: ignore[arg-type]
    "no bits": lambda value: Recovered(value.seeds, None),  # type: ignore[arg-type]
    "a shell": lambda value: object.__new__(Recovered),
}


@pytest.mark.parametrize("name", WRONG_SEEDS)
def test_wrong_seeds_are_refused(name: str) -> None:
    """`RangeError`, nothing changed; the true value still gives the sum, without disputes."""
    params = integers(4, threshold=3)
    server, (job,), network = jobs_of(params, {3: Phase.MASKED_INPUT}, rebuilt=False)
    assert isinstance(job, RebuildJob)
    before = state_of(server)
    with pytest.raises(secagg.RangeError):
        server.complete(job, WRONG_SEEDS[name](job.run()))
    assert state_of(server) == before
    del network.take_events
    network.take_events(server.complete(job, job.run()))
    assert verdict(network, (0, 1, 2)) == ""
    assert network.result is not None
    assert network.result.disputes == ()


def test_a_worker_that_calls_shares_wrong_is_believed() -> None:
    """Whatever bits it gives: pairs of a dealer and a holder in the job, and the exact sum."""
    server, (job,), network = jobs_of(integers(4, threshold=3), {}, rebuilt=False)
    del network.take_events
    network.take_events(server.complete(job, Recovered(job.run().seeds, b"\xff\xff")))
    assert verdict(network, range(4)) == ""
    assert network.result is not None
    assert network.result.disputes == tuple(itertools.product(range(4), range(4)))


def test_a_seed_that_cannot_be_rebuilt_fails_the_round() -> None:
    """`Failed` comes out of `complete`; jobs, shares and the sum are gone, late values ignored."""
    params, liars = tight(6, threshold=4), (1, 2)
    network = started_network(params)
    true = network.send_up

    def lie(party: int, payload: bytes) -> None:
        if party in liars and payload[3] == MessageType.UNMASK:
            payload = with_wrong_shares(payload, params, range(6), 5 + party)
        true(party, payload)

    network.send_up = lie  # type: ignore[method-assign]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recovery, "PIECE_SHARES", 2 * 6)
        server, jobs, _ = _handed_out(network)
    assert server.state is ServerState.UNMASKING
    assert not server._memory.answers
    assert len(jobs) == 3
    assert [event.job for event in server.resend()] == jobs  # type: ignore[union-attr]
    (failed,) = server.complete(jobs[1], jobs[1].run())
    assert isinstance(failed, secagg.Failed)
    assert failed.code is Code.COMMITMENT
    assert failed.disputes == tuple((2, holder) for holder in range(6))
    assert server.state is ServerState.FAILED
    assert server._unmasking is None
    assert server._memory.total.size == 0
    assert server.resend() == []
    assert server.complete(jobs[0], jobs[0].run()) == []


# -- status ----------------------------------------------------------------------------------------


def test_status_tells_phase_awaited_and_bytes() -> None:
    """Step by step, with a dropped, a silent and a gone party."""
    server = Server(integers(5, threshold=3).round(CONTEXT, SESSION))
    assert server.status == secagg.Status(SESSION, None, 0, (), (), (), (), 0, 0)
    stepped = SteppedRound(integers(5, threshold=3))
    status = secagg.Status(SESSION, Phase.ADVERTISE_KEYS, 0, (0, 1, 2, 3, 4), (), (), (), 0, 0)
    assert stepped.server.status == status
    messages = stepped.advertise()
    stepped.to_server({2: messages[2]})
    size = len(messages[2])
    status = replace(status, answered=1, awaited=(0, 1, 3, 4), bytes_received=size)
    assert stepped.server.status == status
    for party in (2, 1):
        stepped.server.drop(party, "gone")
    status = replace(status, awaited=(0, 3, 4), gone=(1, 2))
    assert stepped.server.status == status
    stepped.server.resend(2)
    bad = AdvertiseKeys(bytes(32), PublicKeys(bytes(32), bytes(32))).encode(SESSION)
    stepped.to_server({4: bad})
    assert stepped.server.status.awaited == (0, 3)
    assert stepped.server.status.dropped == ((4, Code.CONTEXT),)
    stepped.to_server({0: messages[0], 1: messages[1]})
    assert stepped.server.status.answered == 3
    stepped.deadline(Phase.ADVERTISE_KEYS)
    status = stepped.server.status
    assert (status.phase, status.answered) == (Phase.SHARE_KEYS, 0)
    assert (status.awaited, status.gone) == ((0, 2), (1,))
    assert status.dropped == ((3, Code.TIMEOUT), (4, Code.CONTEXT))
    assert status.bytes_received == 4 * size
    assert status.bytes_sent == sum(
        len(event.payload) for event in stepped.events if isinstance(event, secagg.Send)
    )
    stepped.server.resend(1)
    stepped.finish(stepped.answers())
    ended = stepped.server.status
    assert (ended.session, ended.phase, ended.answered) == (SESSION, None, 0)
    assert (ended.awaited, ended.gone, ended.survivors) == ((), (), (0, 1, 2))
    assert ended.dropped == status.dropped


def test_dropped_parties_hear_nothing_more() -> None:
    """Nothing is sent to a party after it was dropped, in any phase."""
    for phase, party in itertools.product(STEPS[:3], range(5)):
        network = started_network(integers(5, threshold=3), drops={party: phase}).run()
        gone = False
        for event in network.events:
            gone = gone or (isinstance(event, secagg.Dropped) and event.party == party)
            assert not (gone and isinstance(event, secagg.Send) and event.to == party)
        assert gone


def test_junk_in_the_last_step_costs_nobody() -> None:
    """A liar that unmasks with junk stays in the sum: its input was already added."""
    params = tight(5, threshold=3)

    def change(messages: dict[int, bytes]) -> dict[int, bytes]:
        return {**messages, 4: with_wrong_shares(messages[4], params, range(5))}

    network = tampered_round(params, MessageType.UNMASK, change)
    assert verdict(network, range(5)) == ""
    assert network.result is not None
    assert network.result.disputes == tuple((dealer, 4) for dealer in range(5))
