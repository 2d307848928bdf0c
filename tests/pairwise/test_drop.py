"""A driver's word on single parties: `drop` ends the waiting for one, `resend` begins it again.

A drop changes when a phase ends and what is told about the party, and nothing else: never who is in
the sum. `test_planted_bugs.py` has the attack on that, `test_schedules.py` random schedules, and
`test_message_costs.py` what a party can cost that comes back again and again.
"""

from collections.abc import Callable

import numpy as np
import pytest
from harness import (
    CONTEXT,
    MODES,
    SESSION,
    SteppedRound,
    expected_sum,
    integers,
    server_of,
    state_of,
)
from pairwise.restarts import KEY, FailingLedger, four, resumed_server
from refusals import refused
from support import looped

from secagg import (
    Code,
    Dropped,
    Failed,
    LocalProtocolError,
    MemoryLedger,
    Mode,
    Once,
    Phase,
    PhaseStarted,
    RemoteProtocolError,
    Send,
    StateError,
)
from secagg.events import ServerEvent
from secagg.pairwise.transitions import ServerState

SPARSE = integers(6, threshold=3, min_survivors=5, colluders=0, degree=4)
ROUNDS = {**{str(mode): four(mode) for mode in MODES}, "sparse": SPARSE}
EVERY_PHASE = [(name, phase) for name, params in ROUNDS.items() for phase in params.mode.phases]
GONE = Dropped(3, "the line is dead", Code.GONE)


def at(name: str, phase: Phase) -> tuple[SteppedRound, dict[int, bytes]]:
    """Returns a round in this phase, and its messages, which nobody has sent yet."""
    stepped = SteppedRound(ROUNDS[name])
    return stepped, stepped.until(phase)


def drops_of(events: list[object]) -> list[Dropped]:
    """Returns the events about parties that are out."""
    return [event for event in events if isinstance(event, Dropped)]


def drop(stepped: SteppedRound, *parties: int, code: Code = Code.GONE) -> None:
    """Says that these parties are gone."""
    for party in parties:
        stepped._take(stepped.server.drop(party, GONE.reason, code))


def others(stepped: SteppedRound, *gone: int) -> list[int]:
    """Returns the parties that are not these."""
    return [party for party in stepped.clients if party not in gone]


def is_exact(stepped: SteppedRound, survivors: list[int]) -> bool:
    """Returns whether the round ended with the sum of these parties."""
    result = stepped.result
    return (
        result is not None
        and list(result.survivors) == survivors
        and result.total.tolist() == expected_sum(survivors)
    )


# ---- what it does in each phase -------------------------------------------------------------


@pytest.mark.parametrize("last", [True, False], ids=["as the last one", "before the others"])
@looped("name, phase", EVERY_PHASE)
def test_who_is_gone_is_dropped_as_at_a_deadline(last: bool, name: str, phase: Phase) -> None:
    """The phase ends at once with the events of a deadline, but for reason and code."""
    stepped, messages = at(name, phase)
    del messages[3]
    twin = stepped.clone()
    if not last:
        drop(stepped, 3)
        assert drops_of(stepped.events) == []
        assert 3 not in stepped.server.status.awaited
    stepped.to_server(messages)
    if last:
        drop(stepped, 3)
    twin.to_server(messages)
    twin.deadline(phase)
    silent = [] if phase is Phase.UNMASK else [GONE]
    assert drops_of(stepped.events) == silent
    assert [one.code for one in drops_of(twin.events)] == [Code.TIMEOUT] * len(silent)
    rest = [[each for each in one.events if each not in drops_of(one.events)]
            for one in (stepped, twin)]  # fmt: skip
    if phase is not Phase.UNMASK:
        assert rest[0] == rest[1]
        stepped.finish(stepped.answers(others(stepped, 3)))
    in_sum = phase in (Phase.CONSISTENCY, Phase.UNMASK)
    assert is_exact(stepped, [*stepped.clients] if in_sum else others(stepped, 3))
    with refused(RemoteProtocolError, Code.OUT_OF_ORDER if phase is Phase.UNMASK else Code.DROPPED):
        stepped.server.receive(3, b"SA\1" + bytes([0x05]) + SESSION)


@looped("name, phase", EVERY_PHASE)
def test_what_it_has_sent_counts(name: str, phase: Phase) -> None:
    """A party that answers and goes is a member of its phase; the next one does not wait for it."""
    stepped, messages = at(name, phase)
    stepped.to_server({3: messages.pop(3)})
    assert stepped.server.drop(3, GONE.reason) == []
    stepped.to_server(messages)
    assert stepped.dropped == {}
    if phase is Phase.UNMASK:
        assert is_exact(stepped, [*stepped.clients])
        return
    following = stepped.server.phase
    assert 3 in stepped.outbox, "it may come back for its message"
    assert stepped.server.status.awaited == tuple(others(stepped, 3))
    stepped.to_server(stepped.answers(others(stepped, 3)))
    assert stepped.server.phase is not following, "nobody waited for it"
    assert drops_of(stepped.events) == ([] if following is Phase.UNMASK else [GONE])
    if stepped.result is None:
        stepped.finish(stepped.answers(others(stepped, 3)))
    masked = phase in (Phase.MASKED_INPUT, Phase.CONSISTENCY)
    assert is_exact(stepped, [*stepped.clients] if masked else others(stepped, 3))


@looped("name, phase", EVERY_PHASE)
def test_a_message_under_way_is_accepted(name: str, phase: Phase) -> None:
    """Until the phase ends: the party is a member, and the next phase does not wait for it."""
    stepped, messages = at(name, phase)
    drop(stepped, 3)
    stepped.to_server({3: messages.pop(3)})
    stepped.to_server(messages)
    assert drops_of(stepped.events) == []
    assert stepped.server.status.gone == (3,)
    if phase is not Phase.UNMASK:
        assert stepped.server.status.awaited == tuple(others(stepped, 3))
        assert stepped.server.resend(3) == [Send(3, stepped.outbox[3])]
        stepped.finish(stepped.answers())
    assert is_exact(stepped, [*stepped.clients])


@looped("name, phase", EVERY_PHASE)
def test_who_comes_back_is_waited_for_again(name: str, phase: Phase) -> None:
    """It gets its message once more, the same bytes and nothing else; after its answer nothing."""
    stepped, messages = at(name, phase)
    sent = stepped.outbox.get(3, stepped.round.encode())
    before, status = state_of(stepped.server), stepped.server.status
    drop(stepped, 3)
    assert stepped.server.resend(3) == [Send(3, sent)]
    assert stepped.server.status.awaited == status.awaited
    assert stepped.server.resend(3) == [Send(3, sent)], "also to one that was never dropped"
    stepped.server._memory.sent -= 2 * len(sent)
    assert state_of(stepped.server) == before
    mine = messages.pop(3)
    stepped.to_server(messages)
    assert stepped.server.status.awaited == (3,)
    drop_before_answer = stepped.clone()
    stepped.to_server({3: mine})
    assert stepped.dropped == {}
    drop(drop_before_answer, 3)
    assert drop_before_answer.server.resend(3) == [], "too late"


@looped("name, phase", EVERY_PHASE)
def test_an_answer_needs_no_message(name: str, phase: Phase) -> None:
    """One that comes back after its answer is waited for in the next phase, and gets nothing."""
    stepped, messages = at(name, phase)
    stepped.to_server({3: messages.pop(3)})
    before = state_of(stepped.server)
    drop(stepped, 3)
    assert stepped.server.resend(3) == []
    assert state_of(stepped.server) == before
    stepped.to_server(messages)
    assert 3 in stepped.server.status.awaited or phase is Phase.UNMASK


@looped("name, phase", EVERY_PHASE)
def test_all_are_gone(name: str, phase: Phase) -> None:
    """The round fails with the last of them, and names each once; nothing is kept."""
    stepped, _ = at(name, phase)
    parties = [*stepped.clients]
    drop(stepped, *parties)
    assert stepped.failure is not None
    assert stepped.failure.code is Code.QUORUM
    silent = [] if phase is Phase.UNMASK else parties
    assert [one.party for one in drops_of(stepped.events)] == silent
    assert stepped.server._memory.total.size == 0
    before = state_of(stepped.server)
    assert [stepped.server.drop(party, "") for party in parties] == [[]] * len(parties)
    assert state_of(stepped.server) == before
    assert stepped.server.resend(3) == []


@looped("name, phase", [each for each in EVERY_PHASE if each[1] is not Phase.UNMASK])
def test_all_are_gone_once_they_have_answered(name: str, phase: Phase) -> None:
    """The next phase begins and ends in the call that ends this one; drops stand in their phase."""
    stepped, messages = at(name, phase)
    first, *rest = stepped.clients
    stepped.to_server({party: messages[party] for party in rest})
    drop(stepped, *rest)
    stepped.events.clear()
    drop(stepped, first)
    following = stepped.params.mode.phases[stepped.params.mode.phases.index(phase) + 1]
    kinds = [event if isinstance(event, Dropped | PhaseStarted) else type(event)
             for event in stepped.events if not isinstance(event, Send)]  # fmt: skip
    late = [] if following is Phase.UNMASK else [Dropped(p, GONE.reason, Code.GONE) for p in rest]
    assert kinds == [Dropped(first, GONE.reason, Code.GONE), PhaseStarted(following), *late, Failed]


# ---- the same party again, and calls at other times -----------------------------------------


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_the_first_reason_counts(mode: Mode) -> None:
    """A refusal, then the end of its connection; until it comes back, which begins anew."""
    stepped, messages = at(str(mode), Phase.SHARE_KEYS)
    stepped._take(stepped.server.drop(3, "refused", Code.REFUSED))
    drop(stepped, 3)
    twin = stepped.clone()
    twin.server.resend(3)
    drop(twin, 3)
    for one, said in ((stepped, Dropped(3, "refused", Code.REFUSED)), (twin, GONE)):
        one.to_server({party: messages[party] for party in range(3)})
        assert drops_of(one.events) == [said]
        drop(one, 3)
        assert drops_of(one.events) == [said]


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_a_deadline_names_both_kinds(mode: Mode) -> None:
    """A party that is gone keeps its reason, a silent one is late; each is named once, in order."""
    stepped = SteppedRound(integers(7, threshold=5, colluders=0, mode=mode))
    messages = stepped.until(Phase.SHARE_KEYS)
    drop(stepped, 6)
    stepped.to_server({party: messages[party] for party in (0, 1, 2, 4, 5)})
    stepped.deadline(Phase.SHARE_KEYS)
    stepped.deadline(Phase.SHARE_KEYS)
    late = Dropped(3, "no share keys in time", Code.TIMEOUT)
    assert drops_of(stepped.events) == [late, Dropped(6, GONE.reason, Code.GONE)]


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_what_is_said_before_the_start_counts(mode: Mode) -> None:
    """The first phase does not wait for the party; if all are gone, it ends as it begins."""
    agreed = four(mode).round(CONTEXT, SESSION)
    server, nobody = server_of(agreed), server_of(agreed)
    assert server.drop(3, GONE.reason) == server.drop(2, GONE.reason) == server.resend(2) == []
    assert server.status.gone == (3,)
    assert server.start() == [PhaseStarted(Phase.ADVERTISE_KEYS)]
    assert server.status.awaited == (0, 1, 2)
    assert [nobody.drop(party, GONE.reason) for party in range(4)] == [[]] * 4
    first, *drops, last = nobody.start()
    assert first == PhaseStarted(Phase.ADVERTISE_KEYS)
    assert [one.party for one in drops_of(drops)] == [0, 1, 2, 3]
    assert isinstance(last, Failed)
    assert nobody.state is ServerState.FAILED


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_who_goes_after_the_last_phase_changes_nothing(mode: Mode) -> None:
    """While masks are removed, and after the end; the jobs go on."""
    stepped, messages = at(str(mode), Phase.UNMASK)
    events = [each for party in messages for each in stepped.server.receive(party, messages[party])]
    assert stepped.server.phase is None
    assert [stepped.server.drop(party, "") for party in range(4)] == [[]] * 4
    assert stepped.server.resend(3) == []
    assert stepped.server.resend() == events
    assert stepped.server.status.gone == (), "nobody is waited for any more"
    stepped._take(events)
    assert is_exact(stepped, [0, 1, 2, 3])
    before = state_of(stepped.server)
    assert stepped.server.drop(3, "") == stepped.server.resend(3) == []
    assert state_of(stepped.server) == before


def test_a_party_that_is_dropped_for_its_message_is_named_once() -> None:
    """It was gone, and what still came of it was wrong; nothing takes that back."""
    stepped, messages = at("semi-honest", Phase.SHARE_KEYS)
    drop(stepped, 3)
    wrong = bytearray(messages[3])
    wrong[20] ^= 1
    stepped.to_server({3: bytes(wrong), **{party: messages[party] for party in range(3)}})
    assert stepped.dropped == {3: Code.ROSTER}
    assert len(drops_of(stepped.events)) == 1
    assert stepped.server.status.gone == ()
    assert stepped.server.resend(3) == []


# ---- ledgers that fail, and other processes -------------------------------------------------


@pytest.mark.parametrize("again", ["drop", "another", "deadline"])
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_a_ledger_that_fails_as_a_drop_ends_the_phase(mode: Mode, again: str) -> None:
    """The phase is not over; each call that may end it tries again, and names the party once."""
    stepped, messages = at(str(mode), Phase.MASKED_INPUT)
    ledger = FailingLedger(Once.SURVIVOR_SET)
    stepped.server._ledger = ledger
    stepped.to_server({party: messages[party] for party in range(3)})
    calls: dict[str, Callable[[], list[ServerEvent]]] = {
        "drop": lambda: stepped.server.drop(3, "again"),
        "another": lambda: stepped.server.drop(0, GONE.reason),
        "deadline": lambda: stepped.server.deadline(Phase.MASKED_INPUT),
    }
    for call in (lambda: stepped.server.drop(3, GONE.reason), calls[again]):
        with refused(StateError, Code.LEDGER):
            call()
        assert stepped.server.phase is Phase.MASKED_INPUT
    assert stepped.server.resend(3) == [], "it is out, though nobody was told yet"
    ledger.what = Once.RESUMPTION  # the disk has room again
    stepped._take(calls[again]())
    assert drops_of(stepped.events) == [GONE]
    assert len([event for event in stepped.events if isinstance(event, PhaseStarted)]) == 4
    stepped.finish(stepped.answers([1, 2] if again == "another" else [0, 1, 2]))
    if again != "another" or mode is Mode.SEMI_HONEST:
        assert len(drops_of(stepped.events)) == 1


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_a_resumed_server_waits_for_all_again(mode: Mode) -> None:
    """Connections end with a process: who was gone may come back to the next one, or is named."""
    stepped, messages = at(str(mode), Phase.MASKED_INPUT)
    stepped.server._ledger = MemoryLedger()
    stepped.to_server({0: messages[0]})
    drop(stepped, 0, 3)
    stored = stepped.server.snapshot(KEY)
    assert stepped.server.status.gone == (0, 3)
    again = resumed_server(stored, stepped.server)
    assert (again.status.awaited, again.status.gone) == ((1, 2, 3), ())
    stepped.server = again
    stepped.to_server({party: messages[party] for party in (1, 2)})
    assert again.resend(3) == [Send(3, stepped.outbox[3])]
    drop(stepped, 3)
    assert drops_of(stepped.events) == [GONE]
    stored = again.snapshot(KEY)
    assert resumed_server(stored, again).status.dropped == ((3, Code.GONE),)
    stepped.finish(stepped.answers([0, 1, 2]))
    assert is_exact(stepped, [0, 1, 2])


@pytest.mark.parametrize(("name", "phase"), EVERY_PHASE)
def test_whose_message_is_missing(name: str, phase: Phase) -> None:
    """Until it is accepted, also if nobody waits for the party; never outside a phase."""
    stepped, messages = at(name, phase)
    server, parties = stepped.server, range(stepped.params.cohort)
    stepped._take(server.drop(3, "the line is dead"))
    stepped._take(server.drop(1, "the line is dead"))
    assert all(map(server.awaits, parties))
    stepped.to_server({party: messages[party] for party in (0, 1)})
    stepped._take(server.drop(0, "the line is dead"))
    assert [party for party in parties if not server.awaits(party)] == [0, 1]
    server.resend(3)
    assert server.awaits(3)
    stepped.to_server({party: messages[party] for party in parties if party not in (0, 1, 3)})
    assert server.phase is phase
    stepped._take(server.deadline(phase))
    assert not server.awaits(3) or phase is Phase.UNMASK
    for party in (len(parties), -1, "1"):
        with refused(LocalProtocolError, Code.ARGUMENT if party == "1" else Code.UNKNOWN_PARTY):
            server.awaits(party)  # type: ignore[arg-type]
    new = server_of(stepped.params.round(CONTEXT, SESSION))
    assert not any(map(new.awaits, parties))


# ---- what is said ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        ("", ""),
        ("two\nlines\r\n\tand \x1b[31mcolour", "two lines and [31mcolour"),
        ("half a pair \ud800 of surrogates", "half a pair of surrogates"),
        ("x" * 10**6, "x" * 297 + "..."),
    ],
    ids=["nothing", "lines", "surrogates", "a megabyte"],
)
def test_a_reason_is_one_short_line(reason: str, kept: str) -> None:
    """Whatever a peer or a transport put into it: it can be logged, and stored."""
    stepped, messages = at("semi-honest", Phase.SHARE_KEYS)
    stepped.server._ledger = MemoryLedger()
    stepped._take(stepped.server.drop(3, reason))
    stepped.to_server({party: messages[party] for party in range(3)})
    assert drops_of(stepped.events) == [Dropped(3, kept, Code.GONE)]
    again = resumed_server(stepped.server.snapshot(KEY), stepped.server)
    assert again._memory.dropped == {3: Dropped(3, kept, Code.GONE)}


@pytest.mark.parametrize("reason", [None, b"gone", 3, ValueError("gone")])
def test_a_reason_is_text(reason: object) -> None:
    """An exception, whose text may show anything, is the driver's to word."""
    _is_refused(3, reason, Code.GONE)


@pytest.mark.parametrize("code", [None, "gone", "no code", 1, Code])
def test_a_code_is_one_of_the_codes(code: object) -> None:
    """A text of a peer is none: programs compare codes, and snapshots store them."""
    _is_refused(3, "gone", code)


@pytest.mark.parametrize("party", [4, -1, True, 1.0, "1", None])
def test_there_is_no_such_party(party: object) -> None:
    """For both calls; an index of another library's is taken for what it is."""
    _is_refused(party, "gone", Code.GONE)
    stepped = SteppedRound(four(Mode.SEMI_HONEST))
    if party is not None:
        with pytest.raises(LocalProtocolError):
            stepped.server.resend(party)  # type: ignore[arg-type]
    stepped.server.drop(np.int64(3), "gone")  # type: ignore[arg-type]
    assert {type(party) for party in stepped.server.status.gone} == {int}


def _is_refused(party: object, reason: object, code: object) -> None:
    stepped = SteppedRound(four(Mode.SEMI_HONEST))
    before = state_of(stepped.server)
    with pytest.raises(LocalProtocolError) as caught:
        stepped.server.drop(party, reason, code)  # type: ignore[arg-type]
    assert caught.value.code in (Code.ARGUMENT, Code.UNKNOWN_PARTY)
    assert state_of(stepped.server) == before
