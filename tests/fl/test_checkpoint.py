"""A training that is interrupted and goes on ends with the same model as one that was not."""

import json
import signal
import sys
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
    Descent,
    FedAvg,
    LocalClient,
    Momentum,
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

from secagg import Code, Mode, ParameterError, Phase, StateError

ARCHITECTURE = Softmax(3, 2)
START = ARCHITECTURE.init(0)
ROUNDS = 6


def cohort(clients: int = 7) -> list[LocalClient]:
    random = np.random.default_rng(5)
    splits = [Split(random.normal(size=(6, 3)), random.integers(0, 2, 6)) for _ in range(clients)]
    return [LocalClient(ARCHITECTURE, each, Descent(epochs=2), 0) for each in splits]


def score(model: Any) -> Score:
    return Score(loss(ARCHITECTURE, model, cohort()[0].data), 0.5)


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


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "training.npz"
    next(iter(training("adam", path)))
    others: dict[str, Any]
    for what, others in (
        ("optimizer is 'Adam', not 'Average'", {"optimizer": Average()}),
        ("optimizer is 'Adam', not 'Yogi'", {"optimizer": Yogi()}),
        ("training is .*, not 'other'", {"training": "other"}),
        ("parameters is", {"params": fedavg_params(cohort(), START, bits=9)}),
    ):
        with refused(ParameterError, Code.ARGUMENT, match=f"another training: its {what}"):
            training("adam", path, **others)
    with refused(ParameterError, Code.ARGUMENT, match="another training: its"):
        FedAvg(START, cohort(6), rounds=3, optimizer=Adam(), checkpoint=path)
    training("adam", path, rounds=9, drops=None)  # more rounds are no other training


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "training.npz"
    next(iter(training("adam", path)))
    right = path.read_bytes()
    for wrong in (b"", b"text", right[:-30], right[:90]):
        path.write_bytes(wrong)
        with refused(StateError, Code.CORRUPT, match="no whole checkpoint.*put back a copy"):
            training("adam", path)
    arrays = dict(np.load(BytesIO(right)))
    about = json.loads(arrays["about"].tobytes())
    for name, value in (("version", 2), ("reports", [{}]), ("attempts", 5), ("changes", "x")):
        changed = arrays | {
            "about": np.frombuffer(json.dumps(about | {name: value}).encode(), np.uint8)
        }
        np.savez(path, **changed)
        with refused(StateError, Code.CORRUPT, match="no whole checkpoint"):
            training("adam", path)
    objects = arrays | {"state mean": np.array([None, 1], object)}
    np.savez(path, **objects)
    with refused(StateError, Code.CORRUPT, match="no whole checkpoint"):  # nothing is unpickled
        training("adam", path)
    for name, array, reason in (
        ("state mean", np.zeros(3), "the state of the checkpoint"),
        ("model 0", np.zeros((2, 3)), "array 0 of the model has shape"),
        ("client 2", np.zeros(8), "client 2 .* keeps nothing"),
    ):
        np.savez(path, **arrays | {name: array})
        with refused(ParameterError, Code.SHAPE if "client" not in name else Code.ARGUMENT, reason):
            training("adam", path)
    path.unlink()
    path.mkdir()
    with refused(StateError, Code.IO, match="cannot be read"):
        training("adam", path)
    with refused(StateError, Code.IO, match="cannot be written"):
        next(iter(training("adam", tmp_path / "nowhere" / "training.npz")))


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
