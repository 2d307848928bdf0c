"""docs/FRAMEWORKS.md, played with the real frameworks, each in an environment of its own.

Their requirements clash. A test is left out where its framework is not installed; `nox -s declearn`
installs one and plays its recipe, and so for each other.
"""

import pickle
import signal
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen

import pytest
from integrations.recipes import SITES, Played, free_ports, is_open, needs
from levels import runs_at

pytestmark = runs_at("programs")


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Played]:
    """Writes all programs into a folder, with homes and certificates."""
    with Played(tmp_path) as found:
        yield found


@needs("declearn", "declearn", "websockets")  # Fed-BioMed brings declearn without
def test_declearn(played: Played) -> None:
    """Five clients over its web sockets, with TLS; one is killed while it trains."""
    played.alter("declearn_server.py", "8765", played.port)
    played.alter("declearn_server.py", "30.0", "300.0")
    played.slow()
    server = played.start("declearn_server.py")
    url = f"wss://127.0.0.1:{played.port}"
    sites = [played.start("declearn_client.py", name, url) for name in SITES]
    played.kill_in_training(sites.pop())
    played.check(server, *sites, lost="gone")


@pytest.mark.parametrize(
    "framework", [pytest.param(each, marks=needs(each)) for each in ("appfl", "openfl")]
)
def test_mailbox(framework: str, played: Played) -> None:
    """Five clients, one of which is killed while it trains, and started again."""
    played.alter("http_server.py", "30.0, 10.0", "300.0, 5.0")
    if framework == "appfl":
        played.alter("appfl_server.py", "50051", played.port)
        address = [f"127.0.0.1:{played.port}"]
    else:
        played.alter("openfl_server.py", "50052", played.port, times=2)
        address = ["127.0.0.1", played.port]
    played.slow()
    server = played.start(f"{framework}_server.py")
    sites = {name: played.start(f"{framework}_client.py", name, *address) for name in SITES}
    played.kill_in_training(sites["mid"])
    sites["mid"] = played.start(f"{framework}_client.py", "mid", *address)
    played.check(server, *sites.values())


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


@needs("fedbiomed")
def test_fedbiomed(played: Played) -> None:
    """Five nodes that have approved the plan; one is killed while it trains."""
    played.alter("fedbiomed_server.py", "PATIENCE = 30", "PATIENCE = 300")
    played.alter("fedbiomed_server.py", "len(found()) < 3", "len(found()) < 5")
    played.slow()
    played.written(played.start("-c", RESEARCHER, played.port))
    shared = {"PYTHONPATH": str(played.folder)}
    nodes = []
    for name in SITES:
        home = str(played.folder / "homes" / name)
        nodes.append(played.start("-c", NODE, name, played.port, SECAGG_HOME=home, **shared))
    researcher = {"FBM_RESEARCHER_COMPONENT_ROOT": str(played.folder / "researcher")}
    server = played.start("fedbiomed_server.py", **researcher)
    played.kill_in_training(nodes[-1])
    played.check(server, lost="timeout")


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


@needs("pfl")
def test_pfl(played: Played) -> None:
    """Ten users are simulated: the sum is that of those who are left, and their weight too."""
    (played.folder / "simulation.py").write_text(SIMULATION)
    lines = played.written(played.start("simulation.py")).splitlines()
    all_of, left = (line.split() for line in lines[-2:])
    assert all_of == ["0", "78.375", "10.0", "10.0"]
    assert left[2:] == ["8.0", "8.0"]
    assert abs(float(left[1]) - 78.375) < 1.0


@needs("fate")
def test_fate(played: Played) -> None:
    """The arbiter and four sites, over FATE's standalone federation; one is away."""
    sites = {name: played.start("fate_main.py", name) for name in SITES[:-1]}
    for name, site in sites.items():
        played.wait(site, (played.folder / "homes" / name / "ledger.db").exists)
    played.check(played.start("fate_main.py", "server"), *sites.values(), lost="timeout")
    assert "Traceback" not in played.logs(10**6)


class Bomb:
    """Makes a file where it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("unpickled"),)


@needs("fedml")
def test_fedml(played: Played) -> None:
    """Four sites over FedML's gRPC, one is away; pickles that anyone sends them are not loaded."""
    import grpc

    ports = free_ports(1 + len(SITES))
    rows = [f"{rank},{rank},127.0.0.1,{port},\n" for rank, port in enumerate(ports)]
    titles = "eid,rank,grpc_server_ip,grpc_server_port,ingress_ip\n"
    (played.folder / "ips.csv").write_text(titles + "".join(rows))
    sites = [played.start("fedml_sum.py", name) for name in SITES[:-1]]
    for port, site in zip(ports[1:], sites, strict=False):
        played.wait(site, lambda port=port: is_open(port))
        data = pickle.dumps(Bomb())
        assert len(data) < 128
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            send = channel.unary_unary("/gRPCCommManager/sendMessage")
            send(b"\x12" + bytes([len(data)]) + data, timeout=60, wait_for_ready=True)
    played.check(played.start("fedml_sum.py", "server"), *sites, lost="gone")
    assert "Traceback" not in played.logs(10**6)
    assert not (played.folder / "unpickled").exists()


@needs("syft", "syft_rpc")
def test_syft(played: Played) -> None:
    """Four sites that share a folder of SyftBox with the server; one is away."""

    def start(program: str, name: str) -> "Popen[str]":
        path, box = played.folder / f"{name}.json", played.folder / "box"
        path.write_text(f'{{"email": "{name}@example.org", "data_dir": "{box}"}}')
        return played.start(program, name, SYFTBOX_CLIENT_CONFIG_PATH=str(path))

    sites = {name: start("syft_site.py", name) for name in SITES[:-1]}
    for name, site in sites.items():
        folder = played.folder / "box" / "datasites" / f"{name}@example.org" / "app_data/secagg"
        played.wait(site, (folder / "rpc" / "syft.pub.yaml").exists)
    played.check(start("syft_server.py", "server"), *sites.values(), lost="timeout")
    assert "Traceback" not in played.logs(10**6)


COMPARE = """
import atexit, os, signal
atexit.register(os.killpg, 0, signal.SIGKILL)  # TFF would leave a worker behind
from tff_sum import *
import numpy as np
plain = learning.algorithms.build_weighted_fed_avg(new_model, CLIENT, SERVER)
state = plain.initialize()
for _ in range(ROUNDS):
    state = plain.next(state, [DATA[name] for name in NAMES if name != "mid"]).state
found = plain.get_model_weights(state).trainable
assert max(np.abs(array).max() for array in found) > 0.1
print(max(np.abs(a - b).max() for a, b in zip(model, found, strict=True)), flush=True)
"""


@needs("tff", "tensorflow_federated")
def test_tff(played: Played) -> None:
    """Two rounds give what TFF's own federated averaging gives over the same four sites."""
    answers = "        yield name,"
    played.alter("tff_sum.py", answers, "        if name != 'mid':\n    " + answers)
    (played.folder / "compare.py").write_text(COMPARE)
    lines = played.written(played.start("compare.py"), -signal.SIGKILL).splitlines()
    assert lines[:-1] == [f"round {at}: {' '.join(SITES[:-1])}" for at in range(2)]
    assert float(lines[-1]) < 2 * 2.0**-19, played.logs()
