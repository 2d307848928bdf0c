"""The Flower adapter in Flower's own processes: SuperLink, SuperNodes, `flwr run`, Ray."""

import json
import os
import re
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import children
import numpy as np
import pytest
from levels import runs_at

pytest.importorskip("flwr", reason="Flower is not installed: the extra `flower`")
if sys.platform != "linux":
    pytest.skip("processes are found in /proc", allow_module_level=True)

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "flower"

# Waits until nobody holds its input any more, however that ended; then kills all processes with a
# word in their environment, which children inherit from their parents.
REAPER = """
import os, pathlib, signal, sys, time
word, me = sys.argv[1].encode(), os.getpid()
sys.stdin.read()
while True:
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if int(process.name) != me and word in (process / "environ").read_bytes():
                found.append(int(process.name))
                os.kill(found[-1], signal.SIGKILL)
        except OSError:
            pass
    if not found:
        break
    time.sleep(0.1)
"""


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Returns an environment whose processes all end with the test, also if it is killed."""
    word = f"run-{uuid.uuid4().hex}"
    command = [sys.executable, "-c", REAPER, word]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as reaper:
        try:
            yield children.environment(
                SECAGG_TEST_RUN=word,
                HOME=str(tmp_path),
                FLWR_HOME=str(tmp_path / "flwr"),
                FLWR_TELEMETRY_ENABLED="0",
                FLWR_DISABLE_UPDATE_CHECK="1",
                FLWR_SUPEREXEC_TASK_POLL_INTERVAL="0.1",
                RAY_USAGE_STATS_ENABLED="0",
                NO_PROXY="127.0.0.1",
                PYTHONPATH=os.environ.get("PYTHONPATH", ""),
            )
        finally:
            assert reaper.stdin is not None
            reaper.stdin.close()
            reaper.wait(60)


def run(environment: dict[str, str], seconds: float, *command: Any) -> str:
    """Runs a program to its end; returns what it wrote."""
    done = children.run(
        [sys.executable, *map(str, command)], "", seconds, env=environment, cwd=EXAMPLE
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-20_000:]
    return done.stdout


def seconds_by_phase(text: str) -> dict[str, list[float]]:
    """Returns the seconds of each exchange by phase, as the server's log has them; prints them."""
    found: dict[str, list[float]] = {}
    for phase, seconds in re.findall(r": ([a-z ]+) over after ([\d.]+) s: \d+ answered", text):
        found.setdefault(phase, []).append(float(seconds))
    sys.stdout.write(f"\n{found}\n")
    return found


def replayed(rounds: list[list[int]]) -> dict[str, np.ndarray]:
    """Returns the model of plain averaging over these partitions of each round."""
    sys.path.insert(0, str(EXAMPLE / "numpy_app"))
    try:
        from numpyexample import task
    finally:
        del sys.path[0]
    model = task.FIRST
    for partitions in rounds:
        data = [task.examples_of(partition) for partition in partitions]
        trained = [task.trained(model, *each) for each in data]
        weights = [len(x) for x, _ in data]
        model = {
            name: np.average([each[name] for each in trained], axis=0, weights=weights).astype(
                np.float32
            )
            for name in model
        }
    return model


def assert_is(path: Path, wanted: dict[str, np.ndarray]) -> None:
    with np.load(path) as model:
        assert set(model.files) == set(wanted)
        for name, array in wanted.items():
            assert model[name].dtype == array.dtype
            assert np.allclose(model[name], array, atol=5e-6), name


def trainings(text: str) -> Counter[tuple[int, int]]:
    """Returns how often each node trained in each round."""
    return Counter(
        (int(node), int(number))
        for node, number in re.findall(r"node (\d+) trains in round (\d+)", text)
    )


@runs_at("programs")
def test_a_killed_node_costs_its_own_update(environment, tmp_path) -> None:
    """On a SuperLink: the round goes on without it, and so does the run."""
    out = tmp_path / "model.npz"
    text = run(environment, 900, "run.py", "--rounds", "2", "--kill-in", "1", "--out", out)
    assert text.count("--- site-3 was killed") == 1
    (lost,) = re.findall(r"site-3 +is node (\d+)", text)
    assert re.findall(r"round \d+: a sum of .*", text) == [
        f"round 0: a sum of 3; dropped: {lost} (gone)",
        "round 1: a sum of 3",
    ]
    assert trainings(text) == Counter(
        [(node, 1) for node in range(4)] + [(node, 2) for node in range(3)]
    )
    exchanges = seconds_by_phase(text)
    phases = ["advertise keys", "share keys", "masked input", "unmask"]
    assert {phase: len(times) for phase, times in exchanges.items()} == dict.fromkeys(phases, 2)
    assert_is(out, replayed([[0, 1, 2], [0, 1, 2]]))


SIMULATION = """
import json, sys
from pathlib import Path

sys.path.insert(0, "numpy_app")
import numpy as np
from flwr.app import Array, ArrayRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from numpyexample.client_app import app as client
from numpyexample.task import AGREED, FIRST
from secagg.integrations.flower import SecAgg

many, options, out = int(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3])
server = ServerApp()

@server.main()
def main(grid, context):
    average = FedAvg(fraction_evaluate=0.0, min_train_nodes=many, min_available_nodes=many)
    strategy = SecAgg(average, **AGREED, **options)
    arrays = ArrayRecord({name: Array(each) for name, each in FIRST.items()})
    result = strategy.start(grid=grid, initial_arrays=arrays, num_rounds=2, timeout=600)
    np.savez(out, **{name: each.numpy() for name, each in result.arrays.items()})
    history = [record.as_dict() for record in strategy.rounds.history]
    out.with_suffix(".json").write_text(json.dumps(history))

cpus = {"client_resources": {"num_cpus": 1}, "init_args": {"num_cpus": 2}}
run_simulation(server, client, num_supernodes=many, backend_config=cpus)
"""


@runs_at("programs")
def test_the_simulation_on_a_sparse_graph(environment, tmp_path) -> None:
    """The homes of virtual clients are in Flower's context."""
    pytest.importorskip("ray", reason="Ray is not installed: `flwr[simulation]`")
    many, options = 50, {"corrupt": 0.02, "dropout": 0.05}
    out = tmp_path / "model.npz"
    run(environment, 600, "-c", SIMULATION, many, json.dumps(options), out)
    first, second = json.loads(out.with_suffix(".json").read_text())
    for record in (first, second):
        assert (record["outcome"], len(record["survivors"])) == ("completed", many)
        seconds = {phase["phase"]: round(phase["seconds"], 2) for phase in record["phases"]}
        sys.stdout.write(f"\n{seconds}\n")
    assert not list(tmp_path.glob("**/secagg")), "a home on the disk"
    assert_is(out, replayed([list(range(many))] * 2))


@runs_at("programs")
def test_malicious_mode_with_tls_and_registered_names(environment, tmp_path) -> None:
    """Five exchanges, none to ask for keys; the names are those of the registration."""
    out = tmp_path / "model.npz"
    given = ("--malicious", "--rounds", "1", "--kill-in", "1", "--out", out)
    text = run(environment, 900, "run.py", *given)
    assert re.findall(r"round \d+: a sum of .*", text) == [
        "round 0: a sum of 3; dropped: site-3 (gone)"
    ]
    assert "of 'numpyexample 1': 0 site-0, 1 site-1, 2 site-2, 3 site-3" in text
    assert trainings(text) == Counter((node, 1) for node in range(4))
    exchanges = seconds_by_phase(text)
    phases = ["advertise keys", "share keys", "masked input", "consistency", "unmask"]
    assert {phase: len(times) for phase, times in exchanges.items()} == dict.fromkeys(phases, 1)
    assert_is(out, replayed([[0, 1, 2]]))
