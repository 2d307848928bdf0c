"""A training that is interrupted and goes on ends with the same model as one that was not."""

import json
import math
import signal
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import children
import numpy as np
import pytest
from levels import runs_at
from refusals import refused
from secagg.fl import (
    Adam,
    Average,
    Decay,
    Descent,
    FedAvg,
    LocalClient,
    Momentum,
    Optimizer,
    Placement,
    Privacy,
    Scaffold,
    ScaffoldClient,
    Score,
    Softmax,
    Split,
    Yogi,
    fedavg_params,
    frame,
    loss,
    private_params,
    simulated_randomness,
)

from secagg import (
    Code,
    FixedPoint,
    Mode,
    ParameterError,
    Params,
    Phase,
    RangeError,
    StateError,
    noise,
)

ARCHITECTURE = Softmax(3, 2)
START = ARCHITECTURE.init(0)
ROUNDS = 6


def cohort(clients: int = 7) -> list[LocalClient]:
    random = np.random.default_rng(5)
    splits = [Split(random.normal(size=(6, 3)), random.integers(0, 2, 6)) for _ in range(clients)]
    return [LocalClient(ARCHITECTURE, each, Descent(epochs=2), 0) for each in splits]


def score(model: Any) -> Score:
    return Score(loss(ARCHITECTURE, model, cohort()[0].data), 0.5)


def np_score(model: Any) -> Score:
    return Score(np.float32(score(model).loss), np.float32(0.5))  # type: ignore[arg-type]


class Own(Optimizer):
    """An optimizer of the user's own, which is no dataclass."""

    def __init__(self, rate: Any, way: Any) -> None:
        self.rate, self.way = rate, way

    def start(self, length: int) -> dict[str, Any]:
        return {}

    def step(self, mean: Any, state: Any, number: int, share: float) -> Any:
        return self.rate * mean


def scaffolded() -> list[ScaffoldClient]:
    return [ScaffoldClient(each, Scaffold(1.0, steps=each.steps)) for each in cohort()]


def training(kind: str, path: Path | None = None, **others: Any) -> FedAvg:
    clients: list[Any] = scaffolded() if kind == "scaffold" else cohort()
    drops = [{number % 7: Phase.MASKED_INPUT} for number in range(ROUNDS)]
    options: dict[str, Any] = {"rounds": ROUNDS, "drops": drops, "evaluate": score}
    options |= {
        "momentum": {"optimizer": Momentum(), "sample": 5},
        "adam": {"optimizer": Adam()},
        "malicious": {"params": fedavg_params(clients, START, mode=Mode.MALICIOUS)},
        "scaffold": {"optimizer": Scaffold(1.0, steps=2), "sample": 0.6},
        "failing": {"drops": [dict.fromkeys(range(5), Phase.SHARE_KEYS), *drops[1:]]},
    }.get(kind, {})
    if kind in ("distributed", "central"):
        pytest.importorskip("dp_accounting", reason="dp-accounting is not installed: extra `dp`")
        options["privacy"] = private_params(
            clients, START, epsilon=8, rounds=ROUNDS, clip=1.0, placement=kind
        )
    options |= {"random": simulated_randomness(3), "checkpoint": path} | others
    return FedAvg(START, clients, **options)


LONG = ("momentum", "adam", "malicious", "failing", "distributed", "central")


@pytest.mark.parametrize(
    "kind", ["scaffold", *(pytest.param(each, marks=runs_at("programs")) for each in LONG)]
)
def test_an_interrupted_training_goes_on(kind: str, tmp_path: Path) -> None:
    whole = training(kind)
    reports = [*whole]
    path, seen = tmp_path / "training.npz", 0
    while seen < ROUNDS:  # two rounds in each process, then another one takes over
        part = training(kind, path)
        assert len(part.reports) == seen
        seen += len([*islice(part, 2)])
        assert [each.round for each in part.reports] == list(range(1, seen + 1))
    done = training(kind, path)
    assert list(done) == []
    for got, want in zip(done.model, whole.model, strict=True):
        np.testing.assert_array_equal(got, want)
    for one, other in zip(done.reports, reports, strict=True):
        assert (one.survivors, one.drops, one.score) == (other.survivors, other.drops, other.score)
        assert (one.code, one.refusals, one.epsilon) == (other.code, other.refusals, other.epsilon)
    assert done.coordinator.changes == whole.coordinator.changes > 0


KILLED = """
import os, signal, sys
sys.path[:0] = [sys.argv[2] + "/fl", sys.argv[2]]
import test_checkpoint as here
from pathlib import Path
for report in here.training("scaffold", Path(sys.argv[1])):
    if report.round % 2 == 0:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@runs_at("programs")
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_killed_training_goes_on(tmp_path: Path) -> None:
    path, tests = tmp_path / "training.npz", Path(__file__).resolve().parents[1]
    codes = [
        children.run([sys.executable, "-c", KILLED, str(path), str(tests)]).returncode
        for _ in range(3)
    ]
    assert codes == [-signal.SIGKILL] * 3
    whole, done = training("scaffold"), training("scaffold", path)
    assert len([*whole]) == len(done.reports) == ROUNDS
    for got, want in zip(done.model, whole.model, strict=True):
        np.testing.assert_array_equal(got, want)


# Fields of a report that are of another type, or impossible.
WRONG_REPORTS: list[dict[str, Any]] = [
    {"round": 2},
    {"round": True},
    {"more": 1},
    {"invited": [7]},
    {"invited": 5},
    {"survivors": []},
    {"failed": 0},
    {"reason": 5},
    {"code": "x"},
    {"drops": {"7": "share_keys"}},
    {"refusals": {"1": 5}},
    {"clipped": 1.5},
    {"clipped_by_array": {"0": -1}},
    {"seconds": "x"},
    {"seconds_by_phase": [1]},
    {"bytes_up": -1},
    {"score": [0.5, "x"]},
    {"score": [0.5]},
    {"epsilon": "0.001"},
    {"epsilon": math.nan},
]


def packed(about: Any) -> Any:
    return np.frombuffer(json.dumps(about).encode(), np.uint8)


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "training.npz"
    next(iter(training("adam", path)))
    weighted = Params(7, 8, FixedPoint(clip=4.0, max_weight=8))
    others: dict[str, Any]
    for what, others in (
        ("optimizer is 'Adam', not 'Average'", {"optimizer": Average()}),
        ("optimizer is 'Adam', not 'Yogi'", {"optimizer": Yogi()}),
        ("training is .*, not 'other'", {"training": "other"}),
        ("training is .*, not '{.* command line", {"training": '{"dataset": "digits"}'}),
        ("cohort is 7, not 5 .*sample or buffer", {"sample": 5}),
        ("max_weight is 6, not 8 .*params= with a", {"params": weighted}),
        ("format is .*bits=9", {"params": fedavg_params(cohort(), START, bits=9)}),
        ("settings of the optimizer is {'rate': 0.1}, not {'rate': 0.2}", {"optimizer": Adam(0.2)}),
    ):
        told = f"another training: its {what}.*: give the same, or name another file"
        with refused(ParameterError, Code.ARGUMENT, match=told):
            training("adam", path, **others)
    with refused(ParameterError, Code.ARGUMENT, match="another training: its clients is 7, not 6"):
        FedAvg(START, cohort(6), rounds=3, optimizer=Adam(), checkpoint=path)
    for random in (simulated_randomness(4), None):  # what has left would leave with other noise
        with refused(ParameterError, Code.ARGUMENT, match="another training: its random is '"):
            training("adam", path, random=random)
    training("adam", path, rounds=9, drops=None)  # more rounds are no other training
    # Numbers of NumPy are numbers, also in an optimizer of one's own.
    path.unlink()
    next(iter(training("", path, optimizer=Adam(Decay(0.1, 9)))))
    training("", path, optimizer=Adam(Decay(0.1, 9)))
    told = "its settings of the optimizer is {'rate': {'rounds': 9}}, not {'rate': {'rounds': 2}}"
    with refused(ParameterError, Code.ARGUMENT, match=told):
        training("", path, optimizer=Adam(Decay(0.1, 2, end=0.001)))
    path.unlink()
    fed = training("", path, optimizer=Own(np.float32(0.5), "x"), evaluate=np_score)
    list(islice(fed, 2))
    again = training("", path, optimizer=Own(0.5, "x"), evaluate=np_score)
    assert again.reports[0].score == fed.reports[0].score
    for other in (Own(np.float32(0.25), "x"), Own(0.5, "y")):
        with refused(ParameterError, Code.ARGUMENT, match="its settings of the optimizer is .'"):
            training("", path, optimizer=other)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "training.npz"
    next(iter(training("adam", path)))
    right = path.read_bytes()
    path.write_bytes(b"a list of passwords")
    with refused(StateError, Code.FOREIGN_FILE, match="another file, which begins with b'a list"):
        training("adam", path)
    np.savez(path, weights=np.zeros(3))
    with refused(StateError, Code.FOREIGN_FILE, match="of something else, with .'weights'.*name a"):
        training("adam", path)
    for wrong in (b"", right[:-30], right[:90]):
        path.write_bytes(wrong)
        with refused(StateError, Code.CORRUPT, match="no whole checkpoint.*put back a copy"):
            training("adam", path)
    arrays = dict(np.load(BytesIO(right)))
    about = json.loads(arrays["about"].tobytes())
    used, (report,) = about["attempts"], about["reports"]
    (version,) = used
    np.savez(path, **arrays | {"about": packed(about | {"version": 1})})
    with refused(StateError, Code.VERSION, match="version 1 of its format, .* reads 3: go on with"):
        training("adam", path)
    for wrongs in (
        {"training": [1]},
        {"reports": []},  # the model has changed
        {"reports": [report, report]},
        *({"reports": [report | each]} for each in WRONG_REPORTS),
        *({"attempts": each} for each in (5, {"zz": [0]}, {"00": [0]}, {version: [-1]})),
        *({"attempts": {version: each}} for each in ([], [0, 1], [1], [0.0])),
        *({"changes": each} for each in ("x", -5, 0, 2, 1.0, math.inf)),
        *({"succeeded": each} for each in (["zz"], [], 5)),
        {"attempts": {"00": [0]}, "succeeded": ["00"]},
        *({"clip": each} for each in (math.nan, 1.0)),
        *({"opened": each} for each in ([7], [-1], 5)),
        *({"failed": each} for each in ({"7": 1}, {"0": -1}, {"0": 0.5}, {"x": 1}, [1], None)),
    ):
        np.savez(path, **arrays | {"about": packed(about | wrongs)})
        with refused(StateError, Code.CORRUPT, match="no whole checkpoint"):
            training("adam", path)
    np.savez(path, **arrays | {"about": np.frombuffer(b"[" * 10**5, np.uint8)})
    with refused(StateError, Code.CORRUPT, match="no whole checkpoint"):  # too deep to be read
        training("adam", path)
    more = about | {"training": about["training"] | {"more": 1}}
    np.savez(path, **arrays | {"about": packed(more)})
    with refused(ParameterError, Code.ARGUMENT, match="another training: its more"):
        training("adam", path)
    # A small file can hold gigabytes, or say so.
    path.write_bytes(right)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("more", np.random.default_rng(1).bytes(9000))
    said = bytearray(right)
    at = said.index(b"PK\x01\x02") + 20  # in the directory: two sizes of the first member
    said[at : at + 8] = (2**30).to_bytes(4, "little") * 2
    for wrong in (path.read_bytes(), bytes(said)):
        path.write_bytes(wrong)
        with refused(StateError, Code.CORRUPT, match="a member is compressed, or larger"):
            training("adam", path)
    huge = BytesIO()
    header: dict[str, Any] = {"descr": "<f8", "fortran_order": False, "shape": (10**15,)}
    np.lib.format.write_array_header_1_0(huge, header)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("about.npy", huge.getvalue())
    with refused(StateError, Code.CORRUPT, match="no whole checkpoint"):
        training("adam", path)
    objects = arrays | {"state mean": np.array([None, 1], object)}
    np.savez(path, **objects)
    with refused(StateError, Code.CORRUPT, match="no whole checkpoint"):  # nothing is unpickled
        training("adam", path)
    for name, array, reason in (
        ("state mean", np.zeros(3), "the state of the checkpoint"),
        ("model 0", np.zeros((2, 3)), "array 0 of the model has shape"),
        ("state mean", np.full(8, math.nan), "the state of the checkpoint"),
        ("client 2", np.zeros(8), "client 2 .* keeps nothing"),
        ("client 2", np.full(8, math.inf), "finite float64"),
        ("client 2", np.zeros(8, np.float32), "finite float64"),
        ("client 7", np.zeros(8), "a client that the training does not have"),
    ):
        np.savez(path, **arrays | {name: array})
        with refused(StateError, Code.CORRUPT, match=f"no whole checkpoint.*{reason}"):
            training("adam", path)


def test_a_path_that_is_none_is_refused_before_the_first_round(tmp_path: Path) -> None:
    for wrong in (5, b"training.npz", "", ".", "/", "training\0.npz"):
        with refused(ParameterError, Code.ARGUMENT, match="checkpoint must be the path of a file"):
            training("adam", wrong)  # type: ignore[arg-type]
    for path, text in (
        (tmp_path, "is a folder; give the name of a file"),
        (tmp_path / "nowhere" / "training.npz", "cannot write .*nowhere"),
        (tmp_path / ("x" * 300), "cannot write .*xxx"),
        *([(Path("/dev/null"), "no file, which checkpoint must be")] * Path("/dev/null").exists()),
    ):
        with refused(ParameterError, Code.IO, match=text):
            training("adam", path)
    path = tmp_path / "gone" / ".." / "training.npz"
    next(iter(training("adam", path)))
    assert (tmp_path / "training.npz").exists()
    assert len(training("adam", path).reports) == 1


@pytest.mark.parametrize(
    "began", [False, pytest.param(True, marks=runs_at("trainings like others"))]
)
def test_two_trainings_on_one_file_do_not_destroy_it(began: bool, tmp_path: Path) -> None:
    """The one that comes second ends with a reason; the other's file stays, and goes on."""
    path = tmp_path / "training.npz"

    def make() -> FedAvg:
        return training("adam", path, rounds=4, drops=None)

    if began:
        next(iter(make()))
    one, two = make(), make()
    next(iter(one))
    kept = path.read_bytes()
    for _ in range(2):
        with refused(StateError, Code.BUSY, match="another process or training has written this"):
            list(two)
        assert path.read_bytes() == kept
    next(iter(one))
    three = make()
    assert len(three.reports) == 2 + began
    path.unlink()  # what is gone cannot be destroyed
    next(iter(three))
    assert len(make().reports) == 3 + began


class Keeps:
    """A client that keeps something of any kind between rounds."""

    def __init__(self, like: LocalClient) -> None:
        self.examples, self.like = like.examples, like
        self.state: Any = np.zeros(2)

    def train(self, model: Any) -> Any:
        return self.like.train(model)


class Restores(Keeps):
    def restore(self, state: Any) -> None:
        self.state = state


class Faulty(Keeps):
    def restore(self, state: Any) -> None:
        raise KeyError("v")


def test_what_a_client_keeps_can_be_put_back_or_costs_it_the_round(tmp_path: Path) -> None:
    """One that could not take it back keeps nothing."""
    path = tmp_path / "training.npz"

    def make(kept: Path | None = path, faulty: bool = False) -> tuple[FedAvg, list[Any]]:
        clients: list[Any] = [Restores(each) for each in cohort(4)]
        if faulty:
            clients[1] = Faulty(clients[1].like)
        clients[2] = Keeps(clients[2].like)
        clients[2].state = "a model"
        return FedAvg(START, clients, rounds=9, checkpoint=kept), clients

    fed, clients = make()
    one = clients[1].state = np.ones(2)
    rounds = iter(fed)
    assert not next(rounds).refusals
    one[0] = math.nan  # in place: it is saved as it was
    for wrong in (one, 3, np.float32([1]), np.ones((1, 2))):
        clients[1].state = wrong
        report = next(rounds)
        assert list(report.refusals) == [1]
        assert "its state is a" in report.refusals[1]
        again, restored = make()  # with what it kept before
        assert len(again.reports) == report.round
        np.testing.assert_array_equal(restored[1].state, np.ones(2))
    restored[1].state = 3
    next(iter(again))
    _, restored = make()
    np.testing.assert_array_equal(restored[1].state, np.ones(2))
    saved = path.read_bytes()
    with refused(
        ParameterError,
        Code.ARGUMENT,
        match="client 1 .Faulty.: its restore raised KeyError: 'v'; the checkpoint is whole and",
    ):
        make(faulty=True)
    assert path.read_bytes() == saved
    free, clients = make(None)  # nobody asks without a checkpoint
    clients[1].state = 3
    assert not next(iter(free)).refusals


def test_failed_trainings_are_counted_by_the_next_process_too(tmp_path: Path) -> None:
    """Else a server that lies would only have to end its own simulation now and then."""
    path = tmp_path / "training.npz"

    def fails() -> None:
        raise ValueError("no data of this kind")

    for number, told in enumerate(("ValueError", "failed in 1 rounds"), 1):
        clients: list[Any] = [*cohort(5)]
        clients[3] = Acts(clients[3], 1, fails)
        params = fedavg_params(clients, START, mode=Mode.MALICIOUS)
        options: dict[str, Any] = {"params": params, "failures": 1, "checkpoint": path}
        report = next(iter(FedAvg(START, clients, rounds=3, **options)))
        assert report.round == number
        assert told in report.refusals[3]


def test_a_control_variate_is_checked() -> None:
    client = scaffolded()[0]
    client.restore(np.ones(8))
    for wrong in (np.ones(7), np.ones((8, 1)), np.full(8, math.nan), np.ones(8, np.float32)):
        with refused(ParameterError, Code.SHAPE, match="8 finite float64"):
            client.restore(wrong)
    np.testing.assert_array_equal(client.state, np.ones(8))


def test_privacy_is_that_with_which_a_training_began(tmp_path: Path) -> None:
    """Else the rounds before would be taken for rounds with the noise of those after."""
    clients, path = cohort(), tmp_path / "training.npz"
    params = fedavg_params(clients, START, rotate=True)
    target: Any = np.float32(8.0)
    began = Privacy(Placement.NONE, params, target, 1e-5, 6, 0.0, 0, 0.0, None)
    next(iter(FedAvg(START, clients, rounds=3, privacy=began, checkpoint=path)))
    release = noise.Release(noise.Noise.SKELLAM, Fraction(5), 10, 8, 3)
    for what, changed in (
        ("placement is 'none', not 'central'", {"placement": Placement.CENTRAL}),
        ("epsilon", {"target": 4.0}),
        ("delta", {"delta": 1e-2}),
        ("rounds of noise", {"rounds": 7}),
        ("central steps", {"central_steps": 5}),
        ("release", {"release": release}),
    ):
        privacy = replace(began, **changed)
        with refused(ParameterError, Code.ARGUMENT, match=f"another training: its {what}"):
            FedAvg(START, clients, rounds=3, privacy=privacy, checkpoint=path)
    assert len(FedAvg(START, clients, rounds=3, privacy=began, checkpoint=path).reports) == 1


# -- rounds count from when inputs may have left ------------------------------------------------


class Acts:
    """A client that does something else in one of its trainings."""

    def __init__(self, like: LocalClient, number: int, act: Callable[[], None]) -> None:
        self.like, self.left, self.act = like, number, act
        self.examples = like.examples

    def train(self, model: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            self.act()
        return self.like.train(model)


def stop() -> None:
    raise KeyboardInterrupt


def acting(client: int, act: Callable[[], None], path: Path | None, **others: Any) -> FedAvg:
    """Returns a training of three rounds in which a client acts in the second."""
    clients: list[Any] = [*cohort()]
    clients[client] = Acts(clients[client], 2, act)
    options: dict[str, Any] = {"rounds": 3, "evaluate": score, "checkpoint": path} | others
    return FedAvg(START, clients, **options)


@pytest.mark.parametrize("kept", [True, False])
def test_a_sum_counts_although_evaluate_fails(kept: bool, tmp_path: Path) -> None:
    """Else whoever goes on gets sums without end, and is told the epsilon of a few."""
    path, failures = tmp_path / "training.npz" if kept else None, iter(range(3))

    def fails(model: Any) -> Score:
        if next(failures, None) is not None:
            raise OSError("the disk of the test set")
        return score(model)

    def make() -> FedAvg:
        privacy = Privacy(
            Placement.NONE, fedavg_params(cohort(), START), 8.0, 1e-5, 2, 0.0, 0, 0.0, None
        )
        return acting(6, lambda: None, path, evaluate=fails, rounds=2, privacy=privacy)

    fed = make()
    for _ in range(3):
        with pytest.raises(OSError, match="test set"):
            list(fed)
        assert (fed.coordinator.changes, len(fed.reports)) == (1, 1)
        assert not fed.reports[0].failed
        fed = make() if kept else fed
    assert [each.round for each in fed] == [2]
    assert (fed.coordinator.changes, [each.round for each in fed.reports]) == (2, [1, 2])
    assert all(each.score for each in (make() if kept else fed).reports)
    assert list(fed) == []


def test_a_sum_counts_although_a_client_does_not_settle() -> None:
    clients: list[Any] = [Acts(each, 0, stop) for each in cohort()]
    clients[2].settle = lambda _: stop()
    fed = FedAvg(START, clients, rounds=1)
    with pytest.raises(KeyboardInterrupt):
        list(fed)
    assert [each.failed for each in fed.reports] == [False]
    assert list(fed) == []


def test_an_interrupted_round_counts_if_inputs_have_left(tmp_path: Path) -> None:
    path = tmp_path / "training.npz"
    fed = acting(5, stop, path)
    with pytest.raises(KeyboardInterrupt):
        list(fed)
    again = acting(5, stop, path)
    for each in (fed, again):
        first, second = each.reports
        assert not first.failed
        assert (second.failed, second.survivors, second.attempt) == (True, (), 0)
        assert second.reason.startswith("interrupted by KeyboardInterrupt")
        assert sorted(map(len, each.coordinator.attempts.values())) == [1, 1]
    (third,) = fed
    assert (third.round, third.attempt, fed.coordinator.changes) == (3, 1, 2)
    assert fed.reports[1].score == fed.reports[0].score
    path.unlink()
    fed = acting(0, stop, path)  # before any input left: as if it had not been opened
    with pytest.raises(KeyboardInterrupt):
        list(fed)
    assert len(fed.reports) == len(acting(0, stop, path).reports) == 1
    assert [each.round for each in fed] == [2, 3]


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_an_interrupted_round_of_a_simulation_is_run_again(how: str, tmp_path: Path) -> None:
    """By another process, with the same randomness: the same messages leave twice."""
    path, random, seen = tmp_path / "training.npz", simulated_randomness(1), b""

    def act() -> None:
        nonlocal seen
        seen = path.read_bytes()  # what a process that is killed leaves
        if how == "stopped":
            stop()

    whole = acting(5, lambda: None, None, random=random)
    list(whole)
    fed = acting(5, act, path, random=random)
    with suppress(KeyboardInterrupt):
        list(fed)
    if how == "killed":
        path.write_bytes(seen)
    done = acting(5, lambda: None, path, random=random)
    assert [each.round for each in done] == [2, 3]
    for got, want in zip(done.model, whole.model, strict=True):
        np.testing.assert_array_equal(got, want)


def test_a_round_in_which_the_process_ended_counts(tmp_path: Path) -> None:
    """The file says so before inputs leave."""
    path = tmp_path / "training.npz"
    seen: list[bytes] = []
    list(acting(0, lambda: seen.append(path.read_bytes()), path))
    for _ in range(2):  # also if it is put back: it knows no better
        path.write_bytes(seen[0])
        fed = acting(6, lambda: None, path)
        assert [each.failed for each in fed.reports] == [False, True]
        assert fed.reports[1].reason.startswith("the process ended in this round")
        assert fed.reports[1].invited == tuple(range(7))
    (third,) = fed
    assert (third.round, third.attempt, fed.coordinator.changes) == (3, 1, 2)


@pytest.mark.parametrize("random", [None, simulated_randomness(1)])
def test_a_sum_that_cannot_be_applied_counts(random: Any, tmp_path: Path) -> None:
    path, edge = tmp_path / "training.npz", [np.full(8, 6.5e4, np.float16)]

    class Climbs:
        examples = 1
        settled: bool | None = None

        def train(self, model: Any) -> Any:
            return [model[0].astype(np.float64) + 600]

        def settle(self, counted: bool) -> None:
            self.settled = counted

    clients = [Climbs() for _ in range(5)]
    params = fedavg_params(clients, edge, clip=4096.0)
    options: dict[str, Any] = {"rounds": 1, "params": params, "checkpoint": path, "random": random}
    fed = FedAvg(edge, clients, **options)
    with refused(RangeError, Code.NOT_FINITE):
        list(fed)
    assert {each.settled for each in clients} == {False}
    again = FedAvg(edge, clients, **options)
    for each in (fed, again):
        (report,) = each.reports
        assert (report.failed, report.code) == (True, Code.NOT_FINITE)
        assert "too large for the dtype" in report.reason
        assert list(each.coordinator.attempts.values()) == [[0]]
        assert list(each) == []


def test_patience_ends_a_training() -> None:
    """After rounds without a better loss than before; what was best counts, not what was last."""
    losses = iter([0.5, 0.4, 0.6, 0.45, 0.41, 0.39])
    fed = training("adam", evaluate=lambda _: Score(next(losses), 0.0), patience=3)
    assert [each.round for each in fed] == [1, 2, 3, 4, 5]
    with refused(ParameterError, Code.ARGUMENT, match="patience needs evaluate"):
        training("adam", evaluate=None, patience=3)
    with refused(ParameterError, Code.ARGUMENT, match="patience must be in 1"):
        training("adam", patience=0)


def test_a_history_is_a_table() -> None:
    pytest.importorskip("pandas", reason="pandas is not installed: the extra `fl`")
    fed = training("failing")
    table = frame([*fed])
    assert list(table.index) == [1, 2, 3, 4, 5, 6]
    assert list(table["survivors"]) == [0, 6, 6, 6, 6, 6]
    assert table["failed"].tolist() == [True] + 5 * [False]
    assert "needed" in table["reason"][1]
    assert table["loss"].tolist() == [each.score.loss for each in fed.reports if each.score]
    assert table["epsilon"].isna().all()
    assert len(frame([])) == 0
    for wrong in (None, [1], "reports"):
        with refused(ParameterError, Code.ARGUMENT, match="reports"):
            frame(wrong)  # type: ignore[arg-type]
