"""A server that lies in envelopes can end the part of a party, and no more."""

import time
from dataclasses import replace

import pytest
from harness import CONTEXT, MODES, WILLING, directory_of, identity_of, integers
from home.world import ResidentWorld, World, code_of, home_of, sum_of, train

import secagg
from secagg import Assignment, Code, Home, Invitation, Mode, Phase, Policy, StateError, answer, seal
from secagg.drivers.envelope import Ask, Hello, Over, Refusal, Rejection, opened

either_mode = pytest.mark.parametrize("mode", MODES, ids=str)
DEMANDING = replace(WILLING, colluders=1)


def invitation_of(one: World, party: int) -> Invitation:
    """The invitation that is on its way to a party."""
    found = opened(one.payload(party), 0)
    assert isinstance(found, Invitation)
    return found


@either_mode
def test_a_second_invitation_to_a_round_changes_nothing(mode: Mode) -> None:
    """With another index, other members, attempt or parameters: the first one counts, and goes on.

    A bare offer is an invitation as well.
    """
    one = World(mode, 3, {0: home_of(mode, 0, 4, attempts=2, policy=DEMANDING)}).begin()
    right = replace(invitation_of(one, 0), members=(0, 1, 2) if mode else ())
    first = one.answer(0, seal(right))
    offer = right.offer
    others = one.params.round(bytes(32), one.round.session).encode()
    fewer = replace(one.params, length=3).round(CONTEXT, one.round.session).encode()
    lies = [
        replace(right, index=1),
        replace(right, attempt=1),
        replace(right, offer=others),
        replace(right, offer=fewer),
    ]
    lies += [replace(right, members=(0, 1, 3))] if mode else []
    answered = first
    for phase in mode.phases:
        for lie in lies:
            assert code_of(one.answer(0, seal(lie))) == Code.EQUIVOCATION
        told = answer(one.homes[0], offer, train, index=1, members=right.members)
        assert code_of(told) == Code.EQUIVOCATION
        if phase is not Phase.ADVERTISE_KEYS:
            answered = one.answer(0, one.payload(0))
        assert one.answer(0, seal(right)) == (first if answered == first else b"")
        one.step({0: answered})
    assert one.total == sum_of(range(3))


def test_what_an_invitation_says_about_a_party_is_checked() -> None:
    """Index, members and attempt; nothing of it is stored, and the round can still be joined."""
    mode = Mode.MALICIOUS
    home = home_of(mode, 1, 4, policy=DEMANDING)
    offer = integers(3, mode=mode).round(CONTEXT).encode()
    for code, index, members, attempt in (
        (Code.WRONG_IDENTITY, 0, (0, 1, 2), 0),
        (Code.WRONG_IDENTITY, 1, (1, 2, 3), 0),
        (Code.ARGUMENT, 3, (0, 1, 2), 0),
        (Code.ARGUMENT, -1, (0, 1, 2), 0),
        (Code.ARGUMENT, "1", (0, 1, 2), 0),
        (Code.ARGUMENT, 1, (0, 1, 1), 0),
        (Code.ARGUMENT, 1, (1, 0, 2), 0),
        (Code.ARGUMENT, 1, (0, 1, 2**70), 0),
        (Code.WRONG_DIRECTORY, 1, (0, 1, 4), 0),
        (Code.WRONG_DIRECTORY, 1, (0, 1), 0),
        (Code.WRONG_DIRECTORY, 1, range(2**16), 0),
        (Code.WRONG_DIRECTORY, 1, (), 0),
        (Code.UNKNOWN_NAME, None, (0, 2, 3), 0),
        (Code.ATTEMPTS_EXHAUSTED, 1, (0, 1, 2), 1),
        (Code.ATTEMPTS_EXHAUSTED, 1, (0, 1, 2), 2**40),
        (Code.ARGUMENT, 1, (0, 1, 2), -1),
        (Code.ARGUMENT, 1, (0, 1, 2), 2**80),
        (Code.ARGUMENT, 1, (0, 1, 2), True),
    ):
        told = answer(home, offer, train, index=index, members=members, attempt=attempt)  # type: ignore[arg-type]
        assert code_of(told) == code, (index, members, attempt)
    assert list(home.store.sessions()) == []
    assert code_of(answer(home, offer, train, members=(0, 1, 2))) == ""
    semi = home_of(Mode.SEMI_HONEST, 1)
    offer = integers(3).round(CONTEXT).encode()
    assert code_of(answer(semi, offer, train)) == Code.ARGUMENT
    for members in ((0, 1), range(2**16)):
        told = answer(semi, offer, train, index=1, members=members)
        assert code_of(told) == Code.WRONG_DIRECTORY
    assert code_of(answer(semi, seal(Invitation(offer, 1, (0, 1, 2), 0)), train)) == ""


def test_a_cohort_that_the_server_has_chosen_out_of_the_pins() -> None:
    """It may be this party and those that collude: refused, before anything is claimed, unless the
    policy says what such a cohort must be good for."""
    mode = Mode.MALICIOUS
    params = integers(3, mode=mode)
    for policy, code in (
        (Policy(), Code.POLICY_COHORT),
        (Policy(mode=mode, max_cohort=3, min_threshold=1, context=CONTEXT), Code.POLICY_COHORT),
        (Policy(colluders=1), ""),
        (Policy(colluders=2), Code.POLICY_COLLUDERS),
        (Policy(min_survivors=2), Code.POLICY_COHORT),
        (Policy(min_survivors=3), ""),
        (Policy(params=params), ""),
    ):
        home = home_of(mode, 1, 4, policy=policy)
        told = answer(home, params.round(CONTEXT).encode(), train, members=(0, 1, 2))
        assert code_of(told) == code, policy
        assert bool(home.ledger._claims) is not bool(code)  # type: ignore[attr-defined]
        whole = integers(4, mode=mode).round(CONTEXT).encode()
        for members in ((), range(4)):
            told = answer(home_of(mode, 1, 4, policy=Policy()), whole, train, members=members)
            assert code_of(told) == ""


def test_the_mode_of_a_round_is_the_partys_own_word() -> None:
    """A party with an identity, or with pins alone, refuses semi-honest rounds, and the reverse."""
    weak, strong = (integers(3, mode=mode).round(CONTEXT).encode() for mode in MODES)
    mine = home_of(Mode.MALICIOUS, 0)
    pins_only = Home.in_memory(policy=WILLING, directory=directory_of(3))
    no_pins = Home.in_memory(policy=WILLING, identity=identity_of(0))
    stranger = home_of(Mode.MALICIOUS, 5)
    for home, offer, code in (
        (mine, weak, Code.DOWNGRADE),
        (pins_only, weak, Code.DOWNGRADE),
        (pins_only, strong, Code.NO_IDENTITY),
        (no_pins, strong, Code.NO_DIRECTORY),
        (stranger, strong, Code.WRONG_IDENTITY),
        (home_of(Mode.SEMI_HONEST, 0), strong, Code.NO_IDENTITY),
    ):
        refusal = answer(home, offer, train, index=0)
        assert code_of(refusal) == code
        for missing, name in ((Code.NO_IDENTITY, b"`identity`"), (Code.NO_DIRECTORY, b"`pins`")):
            assert (name in refusal) is (code == missing)
        assert list(home.store.sessions()) == []


@either_mode
def test_the_end_of_a_round_in_its_middle_ends_one_part(mode: Mode) -> None:
    """`Over` costs the contribution of the party that believes it: the others get their sum."""
    for phase in mode.phases:
        one = World(mode, 4, {}).until(phase)
        stays, ends = one.payload(0), seal(Over(one.round.session, "quorum", "x"))
        invited = seal(Invitation(one.round.encode(), 0))
        if phase is Phase.ADVERTISE_KEYS:
            one.answer(0, stays)
        assert one.answer(0, ends) == one.answer(0, ends) == b""
        assert list(one.homes[0].store.sessions()) == []
        if phase is not Phase.ADVERTISE_KEYS:
            assert code_of(one.answer(0, stays)) == Code.UNKNOWN_SESSION
        if mode is Mode.MALICIOUS:
            assert code_of(one.answer(0, invited)) == Code.REPEATED_PARTICIPATION
        one.step({0: b""}).finish()
        assert one.total == sum_of(one.survivors)
        assert (0 in one.survivors) is (phase in (Phase.CONSISTENCY, Phase.UNMASK))


def test_the_end_of_a_round_for_a_client_in_memory(caplog: pytest.LogCaptureFixture) -> None:
    """Its secrets are wiped before its input leaves, and it answers nothing more.

    Unless it was through, its log says so, once; else whether its input counts.
    """
    for world in (World, ResidentWorld):
        one = world(cohort=4).until(Phase.UNMASK)
        session = one.round.session
        one.answer(0, one.payload(0))
        with caplog.at_level("INFO", "secagg.drivers"):
            one.answer(0, seal(Over(session, survivors=4)))
        assert caplog.messages == [f"{session.hex()}: over: a sum of 4 inputs, with this party's"]
        caplog.clear()
    for phase in Mode.SEMI_HONEST.phases[1:]:
        one = ResidentWorld(cohort=4).until(phase)
        responder = one.responders[0]
        client = responder._client
        over = Over(one.round.session, "quorum", "2 are left", 0)
        assert [responder.answer(seal(over)) for _ in range(2)] == [b"", b""]
        (line,) = caplog.messages
        assert line == (
            f"{one.round.session.hex()}: over before this party had sent all: the round failed: "
            "2 are left [quorum]"
        )
        assert (responder.over, responder.finished) == (over, True)
        assert code_of(one.answer(0, one.payload(0))) == Code.OUT_OF_ORDER
        caplog.clear()
        assert phase is Phase.UNMASK or client.state.value == "withdrawn"


@pytest.mark.parametrize("world", [World, ResidentWorld])
def test_a_task_that_changes_trains_nobody_twice(world: type[World]) -> None:
    """Once a training has returned, another task for the same message gets the same bytes."""
    tasks: list[bytes] = []

    def how(assignment: Assignment) -> object:
        tasks.append(assignment.task)
        assert (assignment.index, assignment.attempt) == (0, 0)
        return train(assignment)

    one = world(Mode.MALICIOUS, 3, {}, {0: how}).until(Phase.MASKED_INPUT)
    asked = [seal(Ask(task, one.payload(0))) for task in (b"model 1", b"model 2")]
    answers = [one.answer(0, each) for each in (*asked, one.payload(0))]
    assert len(set(answers)) == 1
    assert tasks == [b"model 1"]
    foreign = World(Mode.MALICIOUS, 3).until(Phase.MASKED_INPUT).payload(0)
    told = one.answer(0, seal(Ask(b"model 3", foreign)))
    assert told == b"" if world is ResidentWorld else code_of(told) == Code.UNKNOWN_SESSION
    assert one.step({0: answers[0]}).finish().total == sum_of(range(3))
    assert tasks == [b"model 1"]


def test_a_second_session_for_one_context_gets_no_input() -> None:
    """An invitation to the same attempt again, or a later one than was agreed on, gains nothing."""
    homes = {party: home_of(Mode.MALICIOUS, party, 4, attempts=2) for party in range(4)}
    trained: list[int] = []

    def counted(asked: Assignment) -> object:
        trained.append(asked.index)
        return train(asked)

    trains = dict.fromkeys(homes, counted)
    assert World(Mode.MALICIOUS, 4, homes, trains).begin().finish().total == sum_of(range(4))
    again = World(Mode.MALICIOUS, 4, homes, trains).begin().finish()
    assert trained == [0, 1, 2, 3]
    assert {each.code for each in again.conductor.refusals.values()} == {Code.REPEATED_CONTRIBUTION}
    later = World(Mode.MALICIOUS, 4, homes, {}, bytes(32), attempt=2).begin().finish()
    assert {each.code for each in later.conductor.refusals.values()} == {Code.ATTEMPTS_EXHAUSTED}
    other = World(Mode.MALICIOUS, 4, homes, {}, bytes(32), attempt=1).begin().finish()
    assert other.total == sum_of(range(4))


def test_a_round_that_a_party_has_finished() -> None:
    """Its last message gets the same answer, a message that it never got a refusal."""
    one = World().until(Phase.UNMASK)
    last, other = one.payload(0), World(context=bytes(32)).until(Phase.UNMASK).payload(0)
    mine = one.answer(0, last)
    assert one.answer(0, last) == mine
    forged = other[:4] + one.round.session + other[20:]
    assert code_of(one.answer(0, last + b"x")) == Code.OUT_OF_ORDER
    assert code_of(one.answer(0, forged + b"x")) == Code.OUT_OF_ORDER
    assert one.step({0: mine}).total == sum_of(range(3))


def test_rounds_side_by_side_are_not_thrown_out(caplog: pytest.LogCaptureFixture) -> None:
    """One too many is refused, and can be joined once another one is over; all get their sum."""
    home = home_of(Mode.SEMI_HONEST, 0, most_rounds=3)
    rounds = [World(homes={0: home}).begin() for _ in range(4)]
    for one in rounds[:3]:
        one.step().step()
    refusal = rounds[3].answer(0, rounds[3].payload(0))
    assert code_of(refusal) == Code.LIMIT
    assert b"3 rounds are under way" in refusal
    for one in rounds:
        assert one.finish().total == sum_of(range(3))
    assert len(list(home.store.sessions())) == 3
    assert "removed" not in caplog.text


@pytest.mark.parametrize("hour", [3601, -3601])
def test_rounds_that_came_to_nothing_make_room(
    hour: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Those that were only joined, the oldest first; then those of which nothing came for an hour,
    also if the clock was ahead. Those that are over go before, so the rounds of a server push out
    none of another's that goes on. The log tells of each, and the server if it goes on after all.
    """
    home, real = home_of(Mode.SEMI_HONEST, 0, most_rounds=3), time.time_ns

    def begun() -> World:
        return World(homes={0: home}).begin().step()

    def removed() -> list[str]:
        lines = [each.getMessage() for each in caplog.records]
        return [line[:32] for line in lines if "removed from the home to make room" in line]

    first, _ = begun().step(), begun().step()
    joined = [begun().round.session.hex() for _ in range(3)]
    assert removed() == joined[:2]
    begun().finish()
    assert removed() == joined
    monkeypatch.setattr(time, "time_ns", lambda: real() + 10**9)
    begun().finish()  # in the place of the one that is over
    assert removed() == joined
    third = begun().step()
    offer = integers(3).round(CONTEXT).encode()
    assert code_of(answer(home, offer, train, index=0)) == Code.LIMIT
    assert removed() == joined
    monkeypatch.setattr(time, "time_ns", lambda: real() + hour * 10**9)
    begun().finish()
    assert removed()[3:] == [(first if hour > 0 else third).round.session.hex()]
    told = first.answer(0, first.payload(0))
    assert code_of(told) == (Code.UNKNOWN_SESSION if hour > 0 else "")
    assert (b"most_rounds" in told) == (hour > 0)
    monkeypatch.setattr(home.store, "delete", full)
    assert code_of(answer(home, offer, train, index=0)) == ""
    assert "old state was not removed: StateError: full" in caplog.text


def full(_: bytes) -> None:
    raise StateError("full", Code.IO)


@either_mode
def test_rounds_that_are_over_go_before_those_under_way(
    mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also refused ones; and an invitation that is refused pushes out nothing."""
    home = home_of(mode, 0, most_rounds=4)
    one = World(mode, homes={0: home}).until(Phase.UNMASK)
    for number in range(5):
        how = train if number % 2 else lambda _: None
        other = World(mode, 3, {0: home}, {0: how}, bytes([number]) * 32)
        assert other.until(Phase.UNMASK if number % 2 else Phase.MASKED_INPUT).step()
        assert len(list(home.store.sessions())) <= 4
    stored = sorted(home.store.sessions())
    assert len(stored) == 4
    offer = integers(3, mode=MODES[mode is Mode.SEMI_HONEST]).round(CONTEXT).encode()
    assert code_of(answer(home, offer, train, index=0))
    assert sorted(home.store.sessions()) == stored
    assert one.finish().total == sum_of(range(3))
    offer = integers(3, mode=mode).round(CONTEXT).encode()
    with monkeypatch.context() as patch:
        patch.setattr(home.store, "delete", interrupted)  # only then: the round is stored already
        with pytest.raises(KeyboardInterrupt):
            answer(home, offer, train, index=0)
    assert code_of(answer(home, offer, train, index=0)) == ""


def interrupted(_: bytes) -> None:
    raise KeyboardInterrupt


def test_envelopes_that_only_a_client_sends() -> None:
    """They get no answer, so two drivers never answer each other for ever."""
    home = home_of(Mode.SEMI_HONEST, 0)
    for envelope in (Hello("a"), Refusal(bytes(16), "quorum", "x"), Rejection(bytes(16), "x", "y")):
        assert answer(home, seal(envelope), train) == b""
    with pytest.raises(secagg.LocalProtocolError):
        answer(home, "text", train)  # type: ignore[arg-type]


def test_an_offer_that_cannot_be_read_costs_no_other_round() -> None:
    """Its refusal names the session where that can be read."""
    home, agreed = home_of(Mode.SEMI_HONEST, 0, 3), integers(3).round(CONTEXT)
    later = bytearray(agreed.encode())
    later[len(later) - 17] = 99  # a number format that is not known here
    for offer, session in ((bytes(later), agreed.session), (b"SA\2" + bytes(60), bytes(16))):
        refusal = opened(answer(home, seal(Invitation(offer, 0)), train), 0)
        assert isinstance(refusal, Refusal)
        assert refusal.session == session
