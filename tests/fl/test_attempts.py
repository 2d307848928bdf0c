"""One model, a limited number of inputs: whatever a server announces, no more leave a client.

The server here lies: it opens rounds by itself, under any attempt, on any model it likes. What
leaves a client is read from the recorded messages of the round.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import numpy as np
import pytest
from refusals import Endless, refused
from secagg.fl import (
    AttemptsExhaustedError,
    Coordinator,
    FedAvg,
    FedClient,
    Participant,
    RoundReport,
    fedavg_params,
)
from secagg.fl.models import Model
from secagg.fl.template import Template

from secagg import (
    SERVER,
    Client,
    Code,
    FixedPoint,
    MemoryLedger,
    Mode,
    ParameterError,
    Phase,
    RangeError,
    Result,
    Server,
    digest,
)
from secagg.simulate import Cohort, Input, Run, introduce

N = 5
MODEL = [np.arange(6.0).reshape(2, 3) / 10, np.array([0.5])]
OTHER = [MODEL[0] + 1.0, MODEL[1]]
TRAINING = "trial 7"
IDENTITIES, PINS = introduce(N)
STEP = FixedPoint(clip=4.0).step


class Adds:
    """A client whose training adds a constant: deterministic, and its update is known."""

    def __init__(self, party: int) -> None:
        self.examples = party + 1
        self.amount = 0.1 * party + 0.03

    def train(self, model: Model) -> Model:
        """Adds the constant."""
        return [array + self.amount for array in model]


CLIENTS = [Adds(party) for party in range(N)]
PARAMS = fedavg_params(CLIENTS, MODEL, mode=Mode.MALICIOUS)
# The quorum is 4: without these two a round fails, after all inputs, or before any has left.
TOO_LATE = dict.fromkeys((3, 4), Phase.UNMASK)
TOO_EARLY = dict.fromkeys((3, 4), Phase.SHARE_KEYS)


def participants(
    ledger: MemoryLedger,
    training: str = TRAINING,
    kind: type[Participant] = Participant,
    **more: int,
) -> list[Participant]:
    """The whole cohort, with one ledger."""
    return [
        kind(party, client, PARAMS, training, MODEL, IDENTITIES[party], PINS, ledger, **more)
        for party, client in enumerate(CLIENTS)
    ]


class Announced:
    """One round of a lying server: the participants that join it, and later what leaves them."""

    def __init__(
        self,
        cohort: Sequence[Participant],
        model: Model = MODEL,
        attempt: int = 0,
        training: str = TRAINING,
    ) -> None:
        agreed = PARAMS.round(context=digest(training, model, attempt))
        self.server = Server(agreed, PINS)
        self.refusals: dict[int, Code] = {}
        self.clients: dict[int, Client] = {}
        self.inputs: dict[int, Input] = {}
        for each in cohort:
            try:
                joined = each.join(agreed.encode(), model, attempt)
            except ParameterError as error:
                self.refusals[each.index] = error.code
            else:
                self.clients[each.index], self.inputs[each.index] = joined

    def play(self, drops: Mapping[int, Phase] | None = None) -> Run:
        """Runs the round, with these dropouts."""
        run = Cohort(self.server, self.clients, self.inputs, drops, keep_transcript=True).play()
        self.refusals |= run.refusal_codes
        return run


def left(run: Run) -> list[int]:
    """The parties whose masked input left."""
    sent = [each.sender for each in run.transcript if each.phase is Phase.MASKED_INPUT]
    return [party for party in sent if party != SERVER]


def differences(first: Run, second: Run) -> np.ndarray:
    """Returns the difference of the two sums, per example of party 4."""
    assert first.result is not None
    assert second.result is not None
    return np.asarray(first.result.total - second.result.total) / CLIENTS[4].examples


# -- a server that announces the same model again -------------------------------------------


def test_the_same_model_as_a_new_round_gets_no_second_input() -> None:
    """Two sums over one model that differ in party 4 would be its update."""
    cohort = participants(MemoryLedger())
    assert left(Announced(cohort).play()) == list(range(N))
    again = Announced(cohort)
    run = again.play({4: Phase.MASKED_INPUT})
    assert left(run) == []
    assert run.result is None
    assert again.refusals == dict.fromkeys(range(4), Code.REPEATED_CONTRIBUTION)
    new = Announced(cohort, attempt=1)
    assert new.refusals == dict.fromkeys(range(N), Code.ATTEMPTS_EXHAUSTED)
    assert left(new.play()) == []


def test_a_limit_of_two_is_two_sums_and_their_difference() -> None:
    """A second attempt can reveal an update, to the last digits, as the documents say."""
    cohort = participants(MemoryLedger(), attempts=2)
    first = Announced(cohort).play()
    second = Announced(cohort, attempt=1).play({4: Phase.MASKED_INPUT})
    np.testing.assert_allclose(differences(first, second), CLIENTS[4].amount, atol=20 * STEP)
    sent = [left(Announced(cohort, attempt=attempt).play()) for attempt in (0, 1, 2)]
    assert sent == [[], [4], []], "all but party 4 gave two"


@pytest.mark.parametrize("order", [(0, 1, 0, 1), (1, 0, 1, 0), (1, 1, 5, 0), (2, 3, 1, 0), (1, 0)])
def test_two_objects_of_one_identity_share_the_limit(order: tuple[int, ...]) -> None:
    """In any order of attempts, by turns, exactly two inputs of each party leave."""
    ledger = MemoryLedger()
    twins = participants(ledger, attempts=2), participants(ledger, attempts=2)
    sent = Counter(
        party
        for turn, attempt in enumerate(order)
        for party in left(Announced(twins[turn % 2], attempt=attempt).play())
    )
    assert sent == dict.fromkeys(range(N), 2)


def test_two_sessions_at_once_share_the_limit() -> None:
    """Both were joined before an input left, as twins that do not know each other."""
    ledger = MemoryLedger()
    one, other = (Announced(participants(ledger)) for _ in range(2))
    assert not one.refusals | other.refusals
    assert left(one.play()) == list(range(N))
    assert left(other.play()) == []


def test_a_model_of_an_earlier_round_is_not_new() -> None:
    """Rounds on another model in between change nothing."""
    cohort = participants(MemoryLedger())
    assert left(Announced(cohort).play()) == list(range(N))
    assert left(Announced(cohort, OTHER).play()) == list(range(N))
    for model in (MODEL, OTHER):
        for attempt in (0, 1):
            assert left(Announced(cohort, model, attempt).play()) == []


def test_a_model_that_changes_after_joining_is_not_trained() -> None:
    """The context is that of the model when it joined, and so is the update."""
    buffer, seen = [array.copy() for array in MODEL], []

    class Looks(Adds):
        def train(self, model: Model) -> Model:
            seen.append(model[0][0, 0])
            return super().train(model)

    (victim,) = participants(MemoryLedger())[:1]
    victim._client = Looks(0)
    joined = Announced([victim, *participants(MemoryLedger())[1:]], buffer)
    buffer[0] += 1.0
    assert left(joined.play()) == list(range(N))
    assert seen == [MODEL[0][0, 0]]


# A dtype without byte order, if NumPy has one (from 2.0 on).
TEXT = getattr(np.dtypes, "StringDType", lambda: "S9")()
# The numbers of MODEL, written in another way.
FLAT = np.concatenate([array.ravel() for array in MODEL])
REWRITTEN: dict[str, tuple[object, Code]] = {
    "reshaped": ([MODEL[0].reshape(3, 2), MODEL[1]], Code.SHAPE),
    "bias as a row": ([MODEL[0], MODEL[1].reshape(1, 1)], Code.SHAPE),
    "bias without dimension": ([MODEL[0], MODEL[1].reshape(())], Code.SHAPE),
    "empty array more": ([*MODEL, np.zeros(0)], Code.SHAPE),
    "one array": ([FLAT], Code.SHAPE),
    "array without a list": (FLAT, Code.DTYPE),
    "rows": ([*MODEL[0], MODEL[1]], Code.SHAPE),
    "other order": ([MODEL[1], MODEL[0]], Code.SHAPE),
    "dict": (dict(enumerate(MODEL)), Code.DTYPE),
    "masked": ([np.ma.masked_array(array, False) for array in MODEL], Code.DTYPE),
    "iterator": (iter(MODEL), Code.DTYPE),
    "lists of numbers": ([array.tolist() for array in MODEL], Code.DTYPE),
    "scalar": ([MODEL[0], MODEL[1][0]], Code.DTYPE),
    "float32": ([MODEL[0].astype(np.float32), MODEL[1]], Code.DTYPE),
    "long double": ([array.astype(np.longdouble) for array in MODEL], Code.DTYPE),
    "complex": ([array.astype(complex) for array in MODEL], Code.DTYPE),
    "objects": ([array.astype(object) for array in MODEL], Code.DTYPE),
    "texts": ([array.astype(str) for array in MODEL], Code.DTYPE),
    "texts of any length": ([array.astype(TEXT) for array in MODEL], Code.DTYPE),
    "fields": ([array.view([("x", "f8")]) for array in MODEL], Code.DTYPE),
    "none": (None, Code.DTYPE),
    "NaN": ([MODEL[0], np.array([np.nan])], Code.NOT_FINITE),
    "infinite": ([MODEL[0], np.array([-np.inf])], Code.NOT_FINITE),
}


class Tagged(np.ndarray):
    """A subclass of arrays."""


# Equal numbers in the structure of MODEL, in other bytes or objects.
EQUAL: dict[str, Sequence[np.ndarray]] = {
    "minus zero": [np.where(MODEL[0] == 0, -0.0, MODEL[0]), MODEL[1]],
    "big-endian": [array.astype(">f8") for array in MODEL],
    "columns first": [np.asfortranarray(MODEL[0]), MODEL[1]],
    "strided": [np.repeat(array, 2, axis=0)[::2] for array in MODEL],
    "subclass": [array.view(Tagged) for array in MODEL],
    "tuple": tuple(MODEL),
}


@pytest.mark.parametrize("name", REWRITTEN)
def test_a_model_of_another_structure_is_refused(name: str) -> None:
    """Whatever the server writes into its offer: no number need change for another context."""
    model, code = REWRITTEN[name]
    try:
        context = digest(TRAINING, model, 0)  # type: ignore[arg-type]
    except RangeError:
        context = bytes(32)
    for params in (PARAMS, fedavg_params(CLIENTS, MODEL)):
        party = Participant(0, CLIENTS[0], params, TRAINING, MODEL)
        with refused(ParameterError, code):
            party.join(params.round(context=context).encode(), model, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", EQUAL)
def test_equal_numbers_are_one_model(name: str) -> None:
    """In other bytes they have the same context, and get no second input."""
    cohort, written = participants(MemoryLedger()), list(EQUAL[name])
    assert digest(written) == digest(MODEL)
    assert left(Announced(cohort).play()) == list(range(N))
    assert left(Announced(cohort, written).play()) == []
    assert left(Announced(participants(MemoryLedger()), written).play()) == list(range(N))


@pytest.mark.parametrize(
    ("template", "code"),
    [
        ([np.arange(7)], Code.DTYPE),
        ([np.zeros(7, np.longdouble)], Code.DTYPE),
        ([np.zeros(7, object)], Code.DTYPE),
        (np.zeros(7), Code.DTYPE),
        ([np.zeros(6)], Code.SHAPE),
        ([], Code.SHAPE),
    ],
    ids=str,
)
def test_a_template_is_checked(template: Model, code: Code) -> None:
    """On both sides; a participant's values do not count, a coordinator's do."""
    with refused(ParameterError, code):
        Participant(0, CLIENTS[0], PARAMS, TRAINING, template)
    with refused(ParameterError, code):
        Coordinator(template, PARAMS, TRAINING)
    unknown = [np.full(7, np.nan)]
    Participant(0, CLIENTS[0], PARAMS, TRAINING, unknown)
    with refused(ParameterError, Code.NOT_FINITE):
        Coordinator(unknown, PARAMS, TRAINING)


@pytest.mark.parametrize(
    "attempt", [-1, 1.0, "0", None, True, np.int64(0), 2**63, 10**5000, -(10**5000)], ids=type
)
def test_an_attempt_is_a_whole_number(attempt: object) -> None:
    """Each that is hashed in another way would be one more, so only one kind is taken."""
    for params in (PARAMS, fedavg_params(CLIENTS, MODEL)):
        party = Participant(0, CLIENTS[0], params, TRAINING, MODEL, attempts=2)
        offer = params.round(context=digest(TRAINING, MODEL, 0)).encode()
        with refused(ParameterError, Code.ARGUMENT):
            party.join(offer, MODEL, attempt)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", [5, True, "01234", range(N), {0: 1}, Endless(9), Endless(0)], ids=type
)
def test_what_is_no_list_of_the_right_length_is_not_read(wrong: object) -> None:
    """The members of a cohort, and what comes beside a model, are words of the server."""
    for params in (PARAMS, fedavg_params(CLIENTS, MODEL)):
        party = Participant(
            0, CLIENTS[0], params, TRAINING, MODEL, IDENTITIES[0], PINS, MemoryLedger()
        )
        offer = params.round(context=digest(TRAINING, MODEL, 0)).encode()
        for members in (wrong, iter(range(N)), set(range(N)), dict.fromkeys(range(N))):
            with refused(ParameterError, Code.ARGUMENT):
                party.join(offer, MODEL, 0, members=members)  # type: ignore[arg-type]
        for sent in (wrong or 0, iter(()), None, {}, set()):
            with refused(ParameterError, Code.SHAPE):
                party.join(offer, MODEL, 0, sent=sent)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"training": ""}, {"training": b"x"}, {"attempts": 0}])
@pytest.mark.parametrize(
    "more", [{}, {"attempts": True}, {"attempts": 1.0}, {"attempts": 2**63}], ids=str
)
def test_word_and_limit_are_checked(options: dict[str, object], more: dict[str, object]) -> None:
    """On both sides, also where only the coordinator sees them."""
    wrong = {"training": TRAINING} | options | more
    with refused(ParameterError, Code.ARGUMENT):
        Participant(0, CLIENTS[0], PARAMS, template=MODEL, **wrong)  # type: ignore[arg-type]
    with refused(ParameterError, Code.ARGUMENT):
        Coordinator(MODEL, PARAMS, **wrong)  # type: ignore[arg-type]
    with refused(ParameterError, Code.ARGUMENT):
        FedAvg(MODEL, CLIENTS, rounds=1, **wrong)  # type: ignore[arg-type]


# -- what is no repetition ------------------------------------------------------------------


def test_another_training_may_begin_with_the_same_model() -> None:
    """By the client's own word, with the same ledger; under the same word it is a repetition."""
    ledger = MemoryLedger()
    assert left(Announced(participants(ledger)).play()) == list(range(N))
    other = participants(ledger, training="trial 8")
    assert left(Announced(other, training="trial 8").play()) == list(range(N))
    for word in (TRAINING, "trial 8"):
        assert left(Announced(participants(ledger, training=word), training=word).play()) == []


def test_a_model_with_another_last_bit_is_another_model() -> None:
    """This is not promised, and said so: the update of it is the same to the last digits."""
    cohort = participants(MemoryLedger())
    nearly = [MODEL[0], np.nextafter(MODEL[1], 1.0)]
    first = Announced(cohort).play()
    second = Announced(cohort, nearly).play({4: Phase.MASKED_INPUT})
    np.testing.assert_allclose(differences(first, second), CLIENTS[4].amount, atol=20 * STEP)


def test_the_servers_word_for_the_training_is_not_taken() -> None:
    """A server that names another training gets nobody to join."""
    joined = Announced(participants(MemoryLedger()), training="trial 8")
    assert joined.refusals == dict.fromkeys(range(N), Code.POLICY_CONTEXT)


def test_a_round_that_fails_before_inputs_left_costs_nothing() -> None:
    """It is repeated under the same attempt; one that fails afterwards is not."""
    cohort = participants(MemoryLedger())
    for _ in range(3):
        failed = Announced(cohort).play(TOO_EARLY)
        assert failed.result is None
        assert left(failed) == []
    lost = Announced(cohort).play(TOO_LATE)
    assert lost.result is None
    assert left(lost) == list(range(N))
    assert left(Announced(cohort).play()) == []


# -- the coordinator's count ----------------------------------------------------------------


def result_of(mean: Iterable[float]) -> Result:
    """A result with this mean."""
    mean = np.array(list(mean))
    return Result(mean, 1, mean, tuple(range(N)))


def test_an_update_that_overflows_leaves_the_model_as_it_is() -> None:
    """The last good model is not lost, and a training that stops at it has not converged."""
    small = [np.zeros(2, np.float16), np.zeros(5, np.float16)]
    coordinator = Coordinator(small, PARAMS, TRAINING, PINS)
    coordinator.open()
    mean = np.full(7, 7e4)
    with refused(RangeError, Code.NOT_FINITE, match="unchanged"):
        coordinator.close(Result(mean, 1, mean, (0,)))
    assert [array.tolist() for array in coordinator.model] == [[0, 0], [0] * 5]
    assert not coordinator.converged
    with refused(AttemptsExhaustedError, Code.ATTEMPTS_EXHAUSTED, match="higher dropout rate"):
        coordinator.open()


def test_the_coordinator_counts_per_model() -> None:
    """Failed rounds count if inputs may have left, successful ones always; models may return."""
    server_side = Coordinator(MODEL, PARAMS, TRAINING, PINS, attempts=4)
    back, forth = result_of(-np.ones(7)), result_of(np.ones(7))

    def round_ends(result: Result | None, **more: bool) -> int:
        _, attempt, server = server_side.open()
        assert server.round.context == digest(TRAINING, server_side.model, attempt)
        server_side.close(result, **more)
        return attempt

    server_side.model = [np.zeros((2, 3)), np.zeros(1)]
    assert round_ends(None, inputs_left=False) == 0
    assert round_ends(None, inputs_left=True) == 0
    assert round_ends(None) == 1  # not knowing is as if they had
    assert round_ends(forth) == 2
    assert round_ends(back) == 0  # another model
    assert server_side.attempts_used == 3
    assert round_ends(result_of(np.zeros(7)), inputs_left=False) == 3  # back, and unchanged
    assert server_side.attempts_used == 4
    with refused(AttemptsExhaustedError, Code.ATTEMPTS_EXHAUSTED, "4 of 4.*has converged"):
        server_side.open()
    server_side.model[1] += np.inf  # as if a step had overflowed
    with refused(ParameterError, Code.NOT_FINITE):
        server_side.open()
    once = Coordinator(MODEL, PARAMS, TRAINING, PINS)
    once.open()
    once.close(None)
    assert not once.converged
    with refused(AttemptsExhaustedError, Code.ATTEMPTS_EXHAUSTED, "1 of 1.*dropout rate"):
        once.open()
    forgotten = Coordinator(MODEL, PARAMS, TRAINING, PINS, attempts=2)
    (_, one, first), (_, two, second) = forgotten.open(), forgotten.open()
    assert (one, two, forgotten.server) == (0, 1, second)  # one that is open counts
    with refused(ParameterError, Code.ARGUMENT, "2 rounds are open: .* which .* server"):
        forgotten.close(None)
    for _ in range(2):  # the second time it is not open any more
        forgotten.close(None, inputs_left=False, server=first)
        assert forgotten.server is second
        assert forgotten.attempts == {digest(MODEL).hex(): [1]}
    with refused(ParameterError, Code.ARGUMENT, "not open"):
        forgotten.close(forth, server=first)
    forgotten.close(None, inputs_left=False)
    assert (forgotten.server, forgotten.attempts) == (None, {})


def test_a_semi_honest_coordinator_goes_on() -> None:
    """There is no ledger that would refuse."""
    params = fedavg_params(CLIENTS, MODEL)
    server_side = Coordinator(MODEL, params, TRAINING)
    party = Participant(0, CLIENTS[0], params, TRAINING, MODEL)
    for expected in range(3):
        offer, attempt, _ = server_side.open()
        assert attempt == expected
        party.join(offer, MODEL, attempt)
        server_side.close(None)


# -- FedAvg ---------------------------------------------------------------------------------


def train(drops: Sequence[Mapping[int, Phase]], attempts: int, mode: Mode) -> list[RoundReport]:
    """The reports of a training with these dropouts."""
    params = fedavg_params(CLIENTS, MODEL, mode=mode)
    fed = FedAvg(MODEL, CLIENTS, rounds=len(drops), params=params, drops=drops, attempts=attempts)
    return list(fed)


def test_a_training_repeats_a_failed_round_within_the_limit() -> None:
    """Under the next attempt if inputs left, and under the same if not."""
    drops = [TOO_LATE, TOO_EARLY, {}, {}, TOO_LATE, {}]
    reports = train(drops, 2, Mode.MALICIOUS)
    assert [report.failed for report in reports] == [True, True, False, False, True, False]
    assert [report.attempt for report in reports] == [0, 1, 1, 0, 0, 1]
    assert not any(report.refusals for report in reports)


def test_a_training_ends_when_no_attempt_is_left() -> None:
    """After the report of the last round, with an error; a new iteration does not go on either."""
    fed = FedAvg(MODEL, CLIENTS, rounds=3, params=PARAMS, drops=[{}, TOO_LATE, {}])
    reports, kept = [], None
    with refused(AttemptsExhaustedError, Code.ATTEMPTS_EXHAUSTED):
        for report in fed:
            kept = kept or [array.copy() for array in fed.model]
            reports.append(report)
    assert [report.failed for report in reports] == [False, True]
    assert kept is not None
    for got, want in zip(fed.model, kept, strict=True):
        np.testing.assert_array_equal(got, want)
    with refused(AttemptsExhaustedError, Code.ATTEMPTS_EXHAUSTED):
        next(iter(fed))


@pytest.mark.parametrize(("mode", "rounds"), [(Mode.MALICIOUS, 3), (Mode.SEMI_HONEST, 5)])
def test_a_converged_training_ends_without_an_error(mode: Mode, rounds: int) -> None:
    """Steps below the resolution change nothing; in malicious mode no attempt is left then.

    Round 1 fails, and 2 and 3 succeed: with three attempts the failure is not why it ends.
    """
    model = [np.ones((2, 3), np.float16), np.ones((), np.float16)]
    clients: list[FedClient] = [Adds(0) for _ in range(N)]
    for each in clients:
        each.train = lambda model: [a.astype(np.float64) + 1e-5 for a in model]  # type: ignore[method-assign]
    params = fedavg_params(clients, model, clip=0.001, mode=mode)
    drops = [TOO_LATE, {}, {}, {}, {}]
    fed = FedAvg(model, clients, rounds=5, params=params, drops=drops, attempts=3)
    reports = list(fed)
    assert [report.failed for report in reports] == [True, *[False] * (rounds - 1)]
    assert fed.converged == (mode == Mode.MALICIOUS)
    assert list(fed) == []
    assert all((array == 1.0).all() for array in fed.model)


def test_a_failure_in_the_last_round_is_only_reported() -> None:
    """No further attempt is wanted."""
    assert [report.failed for report in train([{}, TOO_LATE], 1, Mode.MALICIOUS)] == [False, True]


def test_semi_honest_training_repeats_freely() -> None:
    """Any number of times, whatever the limit."""
    reports = train([TOO_LATE, TOO_LATE, TOO_LATE, {}], 1, Mode.SEMI_HONEST)
    assert [report.failed for report in reports] == [True, True, True, False]


def test_a_round_that_breaks_off_has_cost_an_attempt() -> None:
    """The inputs before the interrupt have left."""

    def interrupted(model: Model) -> Model:
        raise KeyboardInterrupt

    clients = [Adds(party) for party in range(N)]
    clients[3].train = interrupted  # type: ignore[method-assign]
    fed = FedAvg(MODEL, clients, rounds=3, params=PARAMS, attempts=2)
    with pytest.raises(KeyboardInterrupt):
        next(iter(fed))
    clients[3].train = CLIENTS[3].train  # type: ignore[method-assign]
    report = next(iter(fed))
    assert (report.attempt, report.survivors, report.refusals) == (1, tuple(range(N)), {})


# -- planted bugs ---------------------------------------------------------------------------


class NoLimit(Participant):
    """Whatever attempt the server announces is taken."""

    def join(self, offer, model, attempt, *rest):  # type: ignore[no-untyped-def]
        self._attempts = attempt + 1
        return super().join(offer, model, attempt, *rest)


class NoLedger(Participant):
    """Remembers nothing between rounds."""

    def join(self, offer, model, attempt, *rest):  # type: ignore[no-untyped-def]
        self._ledger = MemoryLedger()
        return super().join(offer, model, attempt, *rest)


class NoTemplate(Participant):
    """Takes a model of any structure."""

    def join(self, offer, model, attempt, *rest):  # type: ignore[no-untyped-def]
        self._template = Template(model, self._params, self._optimizer)
        return super().join(offer, model, attempt, *rest)


@pytest.mark.parametrize(
    "name", ["reshaped", "bias as a row", "bias without dimension", "empty array more", "one array"]
)
def test_without_a_template_equal_numbers_give_two_sums(name: str) -> None:
    """Their difference is the update of the client that was left out of one."""
    model = cast("Model", REWRITTEN[name][0])
    cohort = participants(MemoryLedger(), kind=NoTemplate)
    first = Announced(cohort).play()
    second = Announced(cohort, model).play({4: Phase.MASKED_INPUT})
    np.testing.assert_allclose(differences(first, second), CLIENTS[4].amount, atol=20 * STEP)


@pytest.mark.parametrize("planted", [NoLimit, NoLedger])
def test_planted_bugs_let_a_second_input_out(planted: type[Participant]) -> None:
    """The limit and the ledger are both needed."""
    cohort = participants(MemoryLedger(), kind=planted)
    first, *more = (Announced(cohort, attempt=attempt).play() for attempt in (0, 0, 1))
    assert left(first) == list(range(N))
    assert any(left(run) for run in more)
