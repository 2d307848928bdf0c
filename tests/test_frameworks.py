"""docs/FRAMEWORKS.md, played with real frameworks, each in an environment of its own.

A framework that is not installed is left out; `nox -s declearn` installs it and plays its recipe.
"""

import importlib.util
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import STDOUT, Popen
from typing import Any

import children
import pytest
from documents import DOCS, programs
from levels import runs_at

PROGRAMS = programs("INTEGRATE.md") | programs("FRAMEWORKS.md")
(CERTIFICATES,) = re.findall(
    r"```bash\n(.*?openssl.*?)```", (DOCS / "INTEGRATE.md").read_text(), re.DOTALL
)
SITES = ("north", "east", "south", "west", "mid")
WITH_ALL = [
    ("completed  {}", [*SITES, "51.00"]),
    ("completed  {}", [*SITES, "76.50"]),
]


def needs(framework: str, *others: str) -> pytest.MarkDecorator:
    """Marks tests that are left out where a framework, or what it takes besides, is missing."""
    missing = any(importlib.util.find_spec(each) is None for each in (framework, *others))
    return pytest.mark.skipif(missing, reason=f"{framework} is not installed: nox -s {framework}")


class Played:
    """The programs of the document in a folder, with homes and certificates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = children.environment(HOME=str(folder), USERNAME="site")
        self._started: list[Any] = []
        self._processes: list[Popen[str]] = []
        for name, code in PROGRAMS.items():
            (folder / name).write_text(code)
        for command in ([sys.executable, "make_homes.py"], ["bash", "-c", CERTIFICATES]):
            done = children.run(command, cwd=folder, env=self.environment)
            assert done.returncode == 0, done.stderr
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = str(listener.getsockname()[1])
        self.alter("http_server.py", "30.0, 10.0", "300.0, 5.0")

    def alter(self, program: str, old: str, new: str) -> None:
        """Changes what the document prints once."""
        code = (self.folder / program).read_text()
        assert code.count(old) == 1, (program, old)
        (self.folder / program).write_text(code.replace(old, new))

    def slow(self) -> None:
        """Has each site show that it trains, and take two seconds for it."""
        shown = "    import os, time\n    open(f'trains-{os.getpid()}', 'w'); time.sleep(2)\n"
        self.alter("study.py", "    return LAYOUT.pack(", shown + "    return LAYOUT.pack(")

    def start(self, *command: str, **environment: str) -> "Popen[str]":
        """Starts a program; what it writes goes to a file of its own."""
        with (self.folder / f"{len(self._started)}.log").open("w") as log:
            block = children.started(
                [sys.executable, "-u", *command],
                cwd=self.folder,
                env=self.environment | environment,
                stdout=log,
                stderr=STDOUT,
            )
            process = block.__enter__()  # ended by `end`
        self._started.append(block)
        self._processes.append(process)
        return process

    def kill_in_training(self, process: "Popen[str]") -> None:
        """Kills a site in the middle of its training."""
        end = time.monotonic() + 300
        while not (self.folder / f"trains-{process.pid}").exists():
            assert time.monotonic() < end, self.logs()
            assert process.poll() is None, self.logs()
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def written(self, process: "Popen[str]") -> str:
        """Waits until a program has ended well; returns what it wrote."""
        assert process.wait(600) == 0, self.logs()
        return (self.folder / f"{self._processes.index(process)}.log").read_text()

    def rounds(self, server: "Popen[str]") -> list[tuple[str, list[str]]]:
        """Returns how each round ended, once the server has, and of whom the model is."""
        lines = r"^round \d+: (.*)\n  model of (.*)$"
        found = re.findall(lines, self.written(server), re.MULTILINE)
        return [(ended, model.split()) for ended, model in found]

    def logs(self) -> str:
        """Returns the last of what the programs wrote."""
        return "\n".join(path.read_text()[-2000:] for path in sorted(self.folder.glob("*.log")))

    def end(self) -> None:
        """Ends all programs."""
        for block in self._started:
            block.__exit__(None, None, None)


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Played]:
    found = Played(tmp_path)
    yield found
    found.end()


def lost_once(rounds: list[tuple[str, list[str]]], code: str) -> None:
    """Checks two rounds in which `mid` went in the first training, and did not come back."""
    assert rounds == [
        (f"completed  {{'mid': '{code}'}}", [*SITES[:-1], "50.75"]),
        (f"completed  {{'mid': '{code}'}}", [*SITES[:-1], "76.12"]),
    ]


@runs_at("programs")
@needs("declearn", "websockets")  # Fed-BioMed brings declearn without
def test_declearn(played: Played) -> None:
    """Five clients over its web sockets, with TLS; one is killed while it trains."""
    played.alter("declearn_server.py", "8765", played.port)
    played.alter("declearn_server.py", "30.0", "300.0")
    played.slow()
    server = played.start("declearn_server.py")
    url = f"wss://127.0.0.1:{played.port}"
    sites = [played.start("declearn_client.py", name, url) for name in SITES]
    played.kill_in_training(sites[-1])
    lost_once(played.rounds(server), "gone")
    for site in sites[:-1]:
        assert site.wait(300) == 0, played.logs()


@runs_at("programs")
@pytest.mark.parametrize(
    "framework", [pytest.param(each, marks=needs(each)) for each in ("appfl", "openfl")]
)
def test_mailbox(framework: str, played: Played) -> None:
    """Five clients, one of which is killed while it trains, and started again."""
    port = {"appfl": "50051", "openfl": "50052"}[framework]
    code = (played.folder / f"{framework}_server.py").read_text()
    (played.folder / f"{framework}_server.py").write_text(code.replace(port, played.port))
    address = [f"127.0.0.1:{played.port}"] if framework == "appfl" else ["127.0.0.1", played.port]
    played.slow()
    server = played.start(f"{framework}_server.py")
    sites = {name: played.start(f"{framework}_client.py", name, *address) for name in SITES}
    played.kill_in_training(sites["mid"])
    sites["mid"] = played.start(f"{framework}_client.py", "mid", *address)
    assert played.rounds(server) == WITH_ALL
    for site in sites.values():
        assert site.wait(300) == 0, played.logs()


NODE = """
import os, sys
from fedbiomed.node.config import NodeComponent
from fedbiomed.node.dataset_manager import DatasetManager
from fedbiomed.node.node_pm import _start_node_process
from fedbiomed.node.training_plan_security_manager import TrainingPlanSecurityManager

name, port = sys.argv[1:]
root = os.path.abspath(name)
config = NodeComponent().initiate(root)
config.set("default", "name", name)
config.set("researcher", "port", port)
config.set("security", "training_plan_approval", "True")
config.set("security", "allow_default_training_plans", "False")
config.write()
database = os.path.abspath(os.path.join(root, "etc", config.get("default", "db")))
table = os.path.join(root, "table.csv")
with open(table, "w") as file:
    file.write("x,y\\n1,2\\n3,4\\n")
DatasetManager(path=database).add_database(
    name="table", data_type="csv", tags=["study"], description="a table", path=table
)
node = config.get("default", "id")
plans = TrainingPlanSecurityManager(database, node, name, "SHA256", True)
plans.register_training_plan("carrier", "carries messages", os.path.abspath("plan.txt"))
_start_node_process(root, {})
"""
RESEARCHER = """
import sys
from fedbiomed.researcher.config import ResearcherComponent
config = ResearcherComponent().initiate("researcher")
config.set("server", "port", sys.argv[1])
config.write()
from fedbiomed_plan import Carrier
Carrier().save_code("plan.txt")
"""


@runs_at("programs")
@needs("fedbiomed")
def test_fedbiomed(played: Played) -> None:
    """Five nodes that have approved the plan; one is killed while it trains."""
    played.alter("fedbiomed_server.py", "PATIENCE = 30", "PATIENCE = 300")
    played.alter("fedbiomed_server.py", "len(found()) < 3", "len(found()) < 5")
    played.slow()
    prepared = played.start("-c", RESEARCHER, played.port)
    assert prepared.wait(300) == 0, played.logs()
    researcher = {"FBM_RESEARCHER_COMPONENT_ROOT": str(played.folder / "researcher")}
    paths = {"PYTHONPATH": str(played.folder)}
    nodes = [
        played.start(
            *("-c", NODE, name, played.port),
            **(paths | {"SECAGG_HOME": str(played.folder / "homes" / name)}),
        )
        for name in SITES
    ]
    server = played.start("fedbiomed_server.py", **researcher)
    played.kill_in_training(nodes[-1])
    lost_once(played.rounds(server), "timeout")


SIMULATION = """
from dataclasses import dataclass
import numpy as np
import secagg
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import FederatedAlgorithm
from pfl.common_types import Population
from pfl.context import CentralContext
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam.base import AlgorithmHyperParams, ModelHyperParams
from pfl.metrics import Metrics
from pfl.model.base import Model
from pfl.stats import MappedVectorStatistics
from pfl_sum import SecureSum

class Mean(Model):
    def __init__(self):
        self.value, self.weights = np.zeros(1000, np.float32), []

    def apply_model_update(self, statistics):
        self.weights.append(statistics.weight)
        statistics.average()
        self.value = self.value + statistics["value"]
        return self, Metrics()

@dataclass(frozen=True)
class Params(AlgorithmHyperParams):
    iterations: int = 2

class Halfway(FederatedAlgorithm):
    def get_next_central_contexts(self, model, iteration, params, train_params, eval_params=None):
        if iteration == params.iterations:
            return None, model, Metrics()
        context = CentralContext(
            current_central_iteration=iteration, do_evaluation=False, cohort_size=10,
            population=Population.TRAIN, algorithm_params=params,
            model_train_params=train_params, model_eval_params=eval_params, seed=0,
        )
        return (context,), model, Metrics()

    def simulate_one_user(self, model, dataset, context):
        half = (dataset.raw_data[0] - model.value) / 2
        return MappedVectorStatistics({"value": half}, weight=1.0), Metrics()

    def process_aggregated_statistics(self, context, metrics, model, statistics):
        return model.apply_model_update(statistics)

def user(number):
    return Dataset(raw_data=[np.full(1000, 100.0 + number, np.float32)], user_id=str(number))

data = FederatedDataset(user, get_user_sampler("minimize_reuse", list(range(10))))
for lost in (0, 2):
    sum_of = SecureSum(secagg.FixedPoint(clip=300.0, bits=24), lost)
    backend = SimulatedBackend(data, data, postprocessors=[sum_of])
    model = Halfway().run(
        Params(), backend, Mean(), ModelHyperParams(), send_metrics_to_platform=False
    )
    print(lost, *(round(each, 3) for each in (float(model.value[0]), *model.weights)))
"""


@runs_at("programs")
@needs("pfl")
def test_pfl(played: Played) -> None:
    """Ten users are simulated: the sum is that of those who are left, and their weight too."""
    (played.folder / "simulation.py").write_text(SIMULATION)
    lines = played.written(played.start("simulation.py")).splitlines()
    all_of, left = (line.split() for line in lines[-2:])
    assert all_of == ["0", "78.375", "10.0", "10.0"]
    assert left[2:] == ["8.0", "8.0"]
    assert abs(float(left[1]) - 78.375) < 1.0
