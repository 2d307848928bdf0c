"""`secagg.run_round`: sums of a training over a transport that asks and is answered."""

from collections.abc import Iterator, Mapping

import numpy as np
import pytest

import secagg
from secagg import Phase

TRAINING, FORM = "asked", secagg.FixedPoint(clip=4.0, bits=16)
NAMES = ("ada", "bell", "curie", "dirac")
MODEL = {"w": np.zeros(3), "b": np.ones(2, np.float32)}
LAYOUT = secagg.ModelLayout.of(MODEL, FORM, cohort=4)


class Sites:
    """Homes in memory behind an `ask`; those of `lost` are lost from their phase on."""

    settings: dict[str, str]

    def __init__(self, attempts: int = 1) -> None:
        self.settings = {}
        self.homes = {name: secagg.Home.in_memory(attempts=attempts) for name in NAMES}
        self.lost: dict[str, Phase] = {}
        self.asked: list[tuple[Phase, list[str]]] = []
        self.trained: list[str] = []
        self.closed = 0

    def __call__(self, phase: Phase, payloads: object) -> Iterator[tuple[str, object]]:
        assert isinstance(payloads, Mapping)
        self.asked.append((phase, sorted(payloads)))
        try:
            for name, payload in payloads.items():
                if self.lost.get(name) is phase:
                    yield name, ConnectionError("gone")
                else:
                    yield name, secagg.answer(self.homes[name], payload, self.train(name))
        finally:
            self.closed += 1

    def train(self, name: str):
        def train(assignment: secagg.Assignment):
            model = LAYOUT.from_bytes(assignment.task)
            assignment.expect(TRAINING, LAYOUT, model, settings=self.settings.get(name))
            self.trained.append(name)
            return LAYOUT.pack({key: a + 1 + NAMES.index(name) for key, a in model.items()}, model)

        return train


def run(rounds, ask, present=NAMES, **more):
    return secagg.run_round(
        rounds, ask, present, LAYOUT, MODEL, task=LAYOUT.to_bytes(MODEL), **more
    )


def mean_of(outcome: object) -> float:
    assert isinstance(outcome, secagg.Completed), outcome
    return float(LAYOUT.unpack(outcome.result, MODEL)[0]["w"][0])


def test_one_call_is_one_sum() -> None:
    sites, rounds = Sites(), secagg.Rounds(TRAINING, FORM)
    sites.lost = {"dirac": Phase.MASKED_INPUT}
    assert mean_of(run(rounds, sites)) == pytest.approx(2.0, abs=1e-3)
    assert sites.trained == ["ada", "bell", "curie"]
    assert [phase for phase, _ in sites.asked] == [
        Phase.ADVERTISE_KEYS,
        Phase.SHARE_KEYS,
        Phase.MASKED_INPUT,
        Phase.UNMASK,
    ]
    assert sites.asked[-1][1] == ["ada", "bell", "curie"]
    assert sites.closed == 4  # its `finally` ran each time
    assert rounds.history[-1].dropped == {"dirac": "gone"}


def test_a_round_that_failed_is_tried_again_with_those_present_then() -> None:
    sites, rounds = Sites(attempts=2), secagg.Rounds(TRAINING, FORM, attempts=2)
    sites.lost = {"ada": Phase.MASKED_INPUT, "bell": Phase.MASKED_INPUT}
    calls = []

    def present() -> list[str]:
        calls.append(1)
        if len(calls) == 2:
            sites.lost = {}
        return list(NAMES)

    assert mean_of(run(rounds, sites, present)) == pytest.approx(2.5, abs=1e-3)
    assert [record.outcome for record in rounds.history] == ["quorum", "completed"]
    assert [record.attempt for record in rounds.history] == [0, 1]


def test_strangers_are_left_out_and_wrong_names_are_refused(caplog) -> None:
    sites, rounds = Sites(), secagg.Rounds(TRAINING, FORM)

    def with_stranger(phase, payloads):
        yield "mallory", b"junk"
        yield from sites(phase, payloads)

    mean_of(run(rounds, with_stranger))
    assert "'mallory', who is not of this round" in caplog.text
    for wrong, found in (
        (lambda phase, payloads: [(0, b"")], "a name of type int"),
        (lambda phase, payloads: [b"answer"], "not bytes"),
        (lambda phase, payloads: None, "NoneType"),
        (lambda phase, payloads: [("mallory", b"")], "'mallory', whom it was not asked about"),
    ):
        fresh = secagg.Rounds(TRAINING, FORM)
        with pytest.raises(secagg.LocalProtocolError, match=found):
            run(fresh, wrong)
        assert mean_of(run(fresh, Sites()))  # the round went on


def test_arguments_are_checked_before_anything_is_planned() -> None:
    rounds = secagg.Rounds(TRAINING, FORM)
    for changed in (
        {"ask": 3},
        {"task": "text"},
        {"executor": 3},
        {"keep": "file"},
        {"rounds": None},
        {"present": NAMES[:2]},
        {"present": ("ada", "ada", "bell")},
    ):
        given = {"rounds": rounds, "ask": Sites(), "present": NAMES} | changed
        first = [given.pop(name) for name in ("rounds", "ask", "present")]
        with pytest.raises(secagg.ParameterError):
            secagg.run_round(*first, LAYOUT, MODEL, **given)
    assert rounds.history == []
    assert mean_of(run(rounds, Sites()))


@pytest.mark.parametrize("fault", [KeyboardInterrupt, OSError])
def test_after_an_exception_of_the_transport_the_round_goes_on(fault, tmp_path) -> None:
    sites = Sites()
    rounds = secagg.Rounds(TRAINING, FORM, home=secagg.Home(tmp_path / "home"))

    def stopped(phase, payloads):
        if phase is Phase.UNMASK:
            raise fault
        return sites(phase, payloads)

    with pytest.raises(fault):
        run(rounds, stopped)
    assert mean_of(run(rounds, sites)) == pytest.approx(2.5, abs=1e-3)
    assert len(sites.trained) == 4  # once each
    with pytest.raises(secagg.AttemptsExhaustedError):
        run(rounds, sites)


def test_a_round_that_was_left_goes_on_with_those_who_are_there(caplog) -> None:
    """Nobody else is asked; a framework may have forgotten the others."""
    sites, rounds = Sites(), secagg.Rounds(TRAINING, FORM)

    def stopped(phase, payloads):
        if phase is Phase.SHARE_KEYS:
            raise OSError("no route to the sites")
        return sites(phase, payloads)

    with pytest.raises(OSError, match="no route"):
        run(rounds, stopped)
    sites.asked.clear()
    assert mean_of(run(rounds, sites, ("ada", "bell", "curie"))) == pytest.approx(2.0, abs=1e-3)
    assert {name for _, names in sites.asked for name in names} == {"ada", "bell", "curie"}
    assert rounds.history[-1].dropped == {"dirac": "gone"}


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("stored", [True, False])
def test_a_sum_is_kept_before_its_round_is_forgotten(stored, keeps, tmp_path) -> None:
    home = secagg.Home(tmp_path / "home") if stored else None
    sites, rounds = Sites(), secagg.Rounds(TRAINING, FORM, home=home)
    kept = []

    def full(outcome: secagg.Completed) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        run(rounds, sites, keep=full)
    outcome = run(rounds, sites, keep=kept.append if keeps else None)
    assert kept == [outcome] * keeps
    assert mean_of(outcome) == pytest.approx(2.5, abs=1e-3)
    assert len(sites.trained) == 4
    if home is not None:
        assert not list((tmp_path / "home" / "states").glob("[0-9a-f]*"))


def test_a_process_that_died_before_it_kept_the_sum_gets_it_again(tmp_path) -> None:
    sites, kept = Sites(), []
    first = secagg.Rounds(TRAINING, FORM, home=secagg.Home(tmp_path / "home"))

    def killed(outcome: secagg.Completed) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(first, sites, keep=killed)
    del first
    second = secagg.Rounds(TRAINING, FORM, home=secagg.Home(tmp_path / "home"))
    assert mean_of(run(second, sites, keep=kept.append)) == pytest.approx(2.5, abs=1e-3)
    assert len(kept) == 1
    assert len(sites.trained) == 4


def test_all_are_told_the_same_settings() -> None:
    """One that was told something else refuses; attempts are counted whatever the settings."""
    sites, rounds = Sites(), secagg.Rounds(TRAINING, FORM)
    sites.settings = dict.fromkeys(NAMES, "rate 0.1") | {"curie": "rate 0"}
    assert mean_of(run(rounds, sites, settings="rate 0.1")) == pytest.approx(7 / 3, abs=1e-3)
    assert rounds.history[-1].refused == {"curie": "policy_context"}
    with pytest.raises(secagg.AttemptsExhaustedError):
        run(rounds, sites, settings="rate 0.2")


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("phase", [Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.UNMASK])
def test_an_open_round_with_other_settings(phase, stored, tmp_path) -> None:
    """It is given up before inputs can have left, and its attempt is free; later it goes on."""
    home = secagg.Home(tmp_path / "home") if stored else None
    sites, rounds = Sites(), secagg.Rounds(TRAINING, FORM, home=home)
    sites.settings = dict.fromkeys(NAMES, "first")

    def stopped(now, payloads):
        if now is phase:
            raise OSError("no route to the sites")
        return sites(now, payloads)

    with pytest.raises(OSError, match="no route"):
        run(rounds, stopped, settings="first")
    sites.settings = dict.fromkeys(NAMES, "second")
    assert mean_of(run(rounds, sites, settings="second")) == pytest.approx(2.5, abs=1e-3)
    outcomes = [record.outcome for record in rounds.history]
    assert outcomes == ["completed"] if phase is Phase.UNMASK else ["abandoned", "completed"]
    assert len(sites.trained) == 4


def full(*_: object) -> None:
    raise secagg.StateError("the disk is full", secagg.Code.IO)


def test_a_failed_round_whose_end_was_not_noted_is_closed_by_the_next_call(monkeypatch) -> None:
    sites, rounds = Sites(attempts=2), secagg.Rounds(TRAINING, FORM, attempts=2, tries=1)
    sites.lost = {"ada": Phase.MASKED_INPUT, "bell": Phase.MASKED_INPUT}
    close = rounds.close
    monkeypatch.setattr(rounds, "close", full)
    with pytest.raises(secagg.StateError, match="full"):
        run(rounds, sites)
    monkeypatch.setattr(rounds, "close", close)
    sites.lost = {}
    assert isinstance(run(rounds, sites), secagg.Failed)  # of the first call
    assert mean_of(run(rounds, sites)) == pytest.approx(2.5, abs=1e-3)
    assert [record.outcome for record in rounds.history] == ["quorum", "completed"]


@pytest.mark.parametrize("keeps", [True, False])
def test_a_sum_whose_end_was_not_noted_comes_again(keeps, monkeypatch) -> None:
    """The same sum, of which `keep` may get to know twice; then the round is closed."""
    kept = []
    sites, rounds, keep = Sites(), secagg.Rounds(TRAINING, FORM), kept.append if keeps else None
    with monkeypatch.context() as patched:
        patched.setattr(rounds, "close", full)
        outcome = run(rounds, sites, keep=keep)
    assert run(rounds, sites, keep=keep) is outcome
    assert kept == [outcome, outcome] * keeps
    assert len(sites.trained) == 4
    assert rounds.converged(LAYOUT, MODEL)
    assert [record.outcome for record in rounds.history] == ["completed"]
