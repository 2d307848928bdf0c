"""Federated averaging over secure sums: a thin layer for trying `secagg` on real data.

    for report in secagg.fl.FedAvg(model, clients, params=params, rounds=20): print(report)

A model is a list of NumPy arrays; a client is any object with `examples` and `train(model)`, and
there are at least three: from the sum of two each learns the other's. One that holds no
examples, or whose training fails, sits the round out, and the report says why. The server side sees
only sums. A contribution counts as given when the masked input leaves, whatever becomes of the
round: in malicious mode clients give their update of one model `attempts` times at most, and then
training ends (`AttemptsExhaustedError`).

`FedBuff` lets each client train at its own pace, and sums whoever is ready.

`python -m secagg.fl` runs it with ten simulated hospitals.
"""

from secagg import AttemptsExhaustedError
from secagg.extras import MissingExtraError

from .adaptive import AdaptiveClip, QuantileClip
from .buffered.fedbuff import FedBuff
from .buffered.pace import log_normal
from .buffered.participant import BufferedParticipant, staleness_weight
from .command.plot import picture_file
from .compare import Comparison, compare_training, plain_fedavg, quantization_bound
from .coordinator import Coordinator
from .data import DATASETS, Dataset, Split, load
from .edges import secure_edges
from .fedavg import (
    FedAvg,
    fedavg_params,
    simulated_randomness,
)
from .frameworks.clients import ModelClient, keras_client, sklearn_client, torch_client
from .frameworks.weights import arrays_of, into
from .history import BufferReport, RoundReport, Score, frame
from .models import MLP, Architecture, Model, Softmax, accuracy, loss
from .optimizers import Adagrad, Adam, Average, Decay, Momentum, Optimizer, Yogi
from .participant import Participant
from .private import Placement, Privacy, private_params
from .scaffold import Scaffold, ScaffoldClient
from .scaler import Scaler, secure_scaler
from .schedule import draw_drops
from .tables import secure_tables
from .training import Descent, LocalClient
from .trees.model import BoostedTrees, TreePlan
from .trees.sums import TreeParty
from .trees.training import LevelReport, SecureTrees, TreeReport
from .updates import FedClient

__all__ = [
    "DATASETS",
    "MLP",
    "Adagrad",
    "Adam",
    "AdaptiveClip",
    "Architecture",
    "AttemptsExhaustedError",
    "Average",
    "BoostedTrees",
    "BufferReport",
    "BufferedParticipant",
    "Comparison",
    "Coordinator",
    "Dataset",
    "Decay",
    "Descent",
    "FedAvg",
    "FedBuff",
    "FedClient",
    "LevelReport",
    "LocalClient",
    "MissingExtraError",
    "Model",
    "ModelClient",
    "Momentum",
    "Optimizer",
    "Participant",
    "Placement",
    "Privacy",
    "QuantileClip",
    "RoundReport",
    "Scaffold",
    "ScaffoldClient",
    "Scaler",
    "Score",
    "SecureTrees",
    "Softmax",
    "Split",
    "TreeParty",
    "TreePlan",
    "TreeReport",
    "Yogi",
    "accuracy",
    "arrays_of",
    "compare_training",
    "draw_drops",
    "fedavg_params",
    "frame",
    "into",
    "keras_client",
    "load",
    "log_normal",
    "loss",
    "picture_file",
    "plain_fedavg",
    "private_params",
    "quantization_bound",
    "secure_edges",
    "secure_scaler",
    "secure_tables",
    "simulated_randomness",
    "sklearn_client",
    "staleness_weight",
    "torch_client",
]
