"""A client that has no update to give sits the round out, which tells why; the others go on."""

import asyncio
import gc
import weakref
from collections.abc import Sequence
from concurrent.futures import CancelledError
from contextlib import suppress

import numpy as np
import pytest
from refusals import refused
from secagg.fl import Coordinator, FedAvg, Participant, fedavg_params, plain_fedavg
from test_fedavg import MODEL, STEP, Adds, cohort, weighted_mean

from secagg import Code, MemoryLedger, Mode, ParameterError, Phase, digest
from secagg.simulate import introduce


def raises(error):
    def train(model):
        raise error

    return train


class Mute(Exception):
    def __str__(self):
        raise KeyError


class Tensor:
    def __array__(self, *args, **kwargs):
        raise RuntimeError("tensor is on another device")


class Unreadable(Sequence):
    def __len__(self):
        return 2

    def __getitem__(self, at):
        raise RuntimeError("the file is closed")


# What a training does -> the code, and a part of the reason.
FAULTS = {
    "exception": (raises(RuntimeError("CUDA\nout of \x1b[1mmemory")), Code.TRAINING,
        "its training raised RuntimeError: CUDA out of [1mmemory"),
    "no text": (raises(MemoryError()), Code.TRAINING, "its training raised MemoryError"),
    "text that raises": (raises(Mute()), Code.TRAINING, "its training raised Mute"),
    "long text": (raises(ValueError("x" * 10**6)), Code.TRAINING, "xxx..."),
    "cancelled": (raises(CancelledError()), Code.TRAINING, "CancelledError"),
    "of the library": (raises(ParameterError("no", Code.IO)), Code.TRAINING, "ParameterError: no"),
    "NaN": (lambda model: [a * np.nan for a in model], Code.NOT_FINITE, "its update has a value"),
    "one NaN": (lambda model: [model[0], np.array([np.nan])], Code.NOT_FINITE, "arrays: '1'"),
    "infinite": (lambda model: [a - np.inf for a in model], Code.NOT_FINITE, "NaN or infinite"),
    "overflow": (lambda model: [np.full((2, 3), 1e4932, np.longdouble), model[1]],
        Code.NOT_FINITE, "NaN or infinite"),
    "shape": (lambda model: [np.zeros((2, 2)), np.zeros(1)], Code.LAYOUT,
        "array '0' has shape (2, 2) instead of (2, 3)"),
    "number": (lambda model: model[:1], Code.LAYOUT, "array '1' is missing"),
    "one array": (lambda model: model[0], Code.LAYOUT, "one array of shape (2, 3) instead"),
    "dict": (lambda model: {"a": model[0]}, Code.LAYOUT, "a dict of 1 array instead of a list"),
    "nothing": (lambda model: None, Code.DTYPE, "its training returned no model"),
    "empty": (lambda model: [], Code.LAYOUT, "its training returned no model"),
    "text": (lambda model: "done", Code.DTYPE, "its training returned no model"),
    "complex": (lambda model: [a + 1j for a in model], Code.DTYPE, "complex128"),
    "on a device": (lambda model: [Tensor(), model[1]], Code.DTYPE,
        "cannot be read as a NumPy array: tensor is on another device"),
    "unreadable": (lambda model: Unreadable(), Code.TRAINING,
        "could not be read: RuntimeError: the file is closed"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_client_whose_training_fails_is_a_dropout(name):
    """Of that round only, with a reason of bounded length; the others' mean is exact."""
    train, code, text = FAULTS[name]
    clients = cohort()
    fed = FedAvg(MODEL, clients, rounds=2)
    rounds = iter(fed)
    clients[4].train = train
    report = next(rounds)
    assert not report.failed
    assert report.survivors == (0, 1, 2, 3)
    assert report.refusal_codes == {4: code}
    assert text in report.refusals[4]
    assert len(report.refusals[4]) < 300
    assert report.refusals[4].isprintable()
    np.testing.assert_allclose(fed.model[1], 0.5 + weighted_mean(clients, range(4)), atol=STEP)
    del clients[4].train
    report = next(rounds)
    assert report.survivors == (0, 1, 2, 3, 4)
    assert (report.refusals, report.refusal_codes) == ({}, {})


def test_no_object_keeps_what_failed():
    """Neither the model that was returned, nor the frames of the training, with its memory."""
    refs = []

    def kept(made):
        refs.append(weakref.ref(made))
        return made

    def crashes(model):
        held = kept(np.full(10, 3.0))
        raise RuntimeError(held.size)

    clients = cohort()
    clients[3].train = crashes
    clients[4].train = lambda model: [model[0], kept(np.array([np.inf]))]
    gc.disable()  # so that no cycle keeps it either
    try:
        list(FedAvg(MODEL, clients, rounds=1))
        assert [ref() for ref in refs] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_a_training_ends_the_federation(error):
    clients = cohort()
    clients[2].train = raises(error())
    fed = FedAvg(MODEL, clients, rounds=2)
    with pytest.raises(error):
        next(iter(fed))
    np.testing.assert_array_equal(fed.model[1], MODEL[1])


def test_what_the_codec_refuses_is_a_dropout(monkeypatch):
    """Whatever that is: the reason is the codec's."""

    class Odd(Participant):
        def _input(self, model, sent, form):
            update, weight = super()._input(model, sent, form)
            return update, weight + 13 * (self.index == 4)

    monkeypatch.setattr("secagg.fl.fedavg.Participant", Odd)
    for report in FedAvg(MODEL, cohort(), rounds=2):
        assert report.survivors == (0, 1, 2, 3)
        assert report.refusal_codes == {4: Code.WEIGHT}
        assert report.clipped_by_array == {}


def test_an_empty_client_sits_every_round_out():
    """It does not train, and never is a weight of 0 in the sum."""
    clients = cohort()
    clients[2].examples = 0
    clients[2].train = raises(AssertionError("nothing to train on"))
    fed = FedAvg(MODEL, clients, rounds=2, params=fedavg_params(clients, MODEL))
    assert fed.params.format.max_weight == 13
    survivors = [report.survivors for report in fed]
    assert survivors == [(0, 1, 3, 4)] * 2
    (plain,) = plain_fedavg(MODEL, clients, [range(5)])
    np.testing.assert_allclose(plain[1], 0.5 + weighted_mean(clients, survivors[0]))
    (same,) = plain_fedavg(MODEL, clients, [(2,)])
    np.testing.assert_array_equal(same[1], MODEL[1])
    clients[2].examples = 3  # it got some
    del clients[2].train
    (report,) = FedAvg(MODEL, clients, rounds=1)
    assert report.survivors == (0, 1, 2, 3, 4)


def test_everybody_without_an_update_is_a_failed_round():
    clients = cohort()
    for each in clients:
        each.train = raises(OSError("disk"))
    for report in FedAvg(MODEL, clients, rounds=2):
        assert (report.code, report.attempt) == (Code.QUORUM, 0)
        assert list(report.refusals) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("examples", "code", "text"),
    [
        (0, Code.NO_INPUT, "it holds no examples"),
        (-3, Code.WEIGHT, "in 0..9223372036854775807, not -3"),
        (14, Code.WEIGHT, "has 14 examples, but weights must be in 1..13"),
        (2.5, Code.WEIGHT, "must be an int, not of type float"),
        (RuntimeError("gone"), Code.WEIGHT, "examples of this client raised RuntimeError: gone"),
    ],
    ids=str,
)
@pytest.mark.parametrize("reads", [0, 1], ids=["before training", "by training"])
def test_examples_may_become_impossible(reads, examples, code, text):
    """Between rounds, or in the training; that costs the client its round."""

    class Moody(Adds):
        reads = None

        @property
        def examples(self):
            if self.reads is None:
                return 13
            self.reads -= 1
            if self.reads >= 0:
                return 13
            if isinstance(examples, Exception):
                raise examples
            return examples

        @examples.setter
        def examples(self, value):
            pass

    clients = cohort()
    clients[4] = Moody(13, 1.0)
    fed = FedAvg(MODEL, clients, rounds=2)
    clients[4].reads = reads
    first = next(iter(fed))
    assert first.survivors == (0, 1, 2, 3)
    assert first.refusal_codes == {4: code}
    assert text in first.refusals[4]
    clients[4].reads = None
    assert next(iter(fed)).survivors == (0, 1, 2, 3, 4)


def test_a_participant_alone_says_why_it_has_nothing_to_give():
    """With a transport of one's own: None instead of an input, and the reason beside it."""
    clients = cohort()
    params = fedavg_params(clients, MODEL)
    participant = Participant(4, clients[4], params, "trial", MODEL)
    coordinator = Coordinator(MODEL, params, "trial")
    offer, attempt, _ = coordinator.open()
    clients[4].train = raises(RuntimeError("no"))
    client, make_input = participant.join(offer, MODEL, attempt)
    assert make_input() is None
    assert participant.reason == "its training raised RuntimeError: no"
    assert participant.code is Code.TRAINING
    client.withdraw()
    clients[4].train = lambda model: [model[0] + 5.0, model[1]]
    coordinator.close(None, inputs_left=False)
    offer, attempt, _ = coordinator.open()
    _, make_input = participant.join(offer, MODEL, attempt)
    assert (participant.reason, participant.code, participant.clipped) == ("", None, {})
    update, weight = make_input()
    assert (update.tolist(), weight) == ([5.0] * 6 + [0.0], 13)
    assert (participant.reason, participant.code, participant.clipped) == ("", None, {"0": 6})


def test_a_client_that_gave_nothing_has_used_no_attempt():
    """In malicious mode its ledger has no contribution; the attempt is used by the others."""
    clients = cohort()
    params = fedavg_params(clients, MODEL, mode=Mode.MALICIOUS)
    fed = FedAvg(MODEL, clients, rounds=3, params=params, drops=[{0: Phase.UNMASK}, {}, {}])
    for each in clients[3:]:
        each.train = raises(RuntimeError("no"))
    ledger = fed._participants[0]._ledger
    assert isinstance(ledger, MemoryLedger)
    with pytest.raises(Exception, match="all attempts on this model are used"):
        list(fed)
    kinds = [what for what, _ in ledger._claims]
    assert (kinds.count("participation"), kinds.count("contribution")) == (5, 3)


@pytest.fixture
def asked():
    """Returns a client, and a function that joins a round on a model for it: a lying server's."""

    def of(mode, failures=2):
        clients = cohort()
        params = fedavg_params(clients, MODEL, mode=mode)
        ids, pins = introduce(5) if mode is Mode.MALICIOUS else ([None] * 5, None)
        ledger = MemoryLedger() if mode is Mode.MALICIOUS else None
        party = Participant(
            4, clients[4], params, "t", MODEL, ids[4], pins, ledger, failures=failures
        )

        def join(size):
            model = [MODEL[0] + size, MODEL[1]]
            offer = params.round(context=digest("t", model, 0)).encode()
            client, make_input = party.join(offer, model, 0)
            client.withdraw()
            return make_input

        return clients[4], join

    return of


def fails_above(limit):
    return lambda model: [model[0] / (model[0] < limit), model[1]]


@pytest.mark.parametrize("mode", Mode)
def test_failed_trainings_are_no_oracle_without_limit(asked, mode):
    """A lying server asks by models on which training fails for certain data only."""
    client, join = asked(mode)
    client.train = fails_above(37.5)
    with np.errstate(all="ignore"):
        assert join(30)() is not None
        assert [join(size)() for size in (50, 50)] == [None, None]
        if mode is Mode.MALICIOUS:
            with refused(ParameterError, Code.TRAINING, "in 2 rounds"):
                join(36)
        else:
            assert join(36)() is not None


def test_answers_of_rounds_at_the_same_time_are_counted(asked):
    """All joined before any trains: the first two that fail are the last."""
    client, join = asked(Mode.MALICIOUS)
    trained = []

    def train(model):
        trained.append(1)
        raise MemoryError

    client.train = train
    assert [make() for make in [join(size) for size in range(9)]] == [None] * 9
    assert len(trained) == 2


def test_every_failure_after_the_training_began_counts(asked):
    """Also one that is no Exception, and examples that the training made none."""
    for cancels in (True, False):
        client, join = asked(Mode.MALICIOUS, failures=1)

        def train(model, client=client, cancels=cancels):
            client.examples = 0
            if cancels:
                raise asyncio.CancelledError
            return model

        client.train = train
        with suppress(asyncio.CancelledError):
            assert join(1)() is None
        client.examples = 13
        with refused(ParameterError, Code.TRAINING):
            join(2)
    client, join = asked(Mode.MALICIOUS, failures=1)
    client.examples = 0
    assert [join(size)() for size in range(3)] == [None] * 3  # that depends on no model


def test_a_failure_that_all_share_passes():
    """The next round is on the same model, and nobody refuses it."""
    clients = cohort()
    fed = FedAvg(
        MODEL, clients, rounds=2, params=fedavg_params(clients, MODEL, mode=Mode.MALICIOUS)
    )
    trains = [each.train for each in clients]
    for each in clients:
        each.train = raises(MemoryError())
    rounds = iter(fed)
    assert next(rounds).failed
    for each, train in zip(clients, trains, strict=True):
        each.train = train
    assert not next(rounds).failed
    with refused(ParameterError, Code.ARGUMENT, "failures"):
        FedAvg(MODEL, clients, rounds=1, failures=0)
