"""Cryptographic secure aggregation for federated learning.

Many clients hold one vector each. A server learns the sum of the vectors of the clients that
finished, and nothing else, even if clients drop out at any time. `secure_sum` runs it in one
process, to try it; `Client` and `Server` are the two sides, for any transport.
"""

import logging

from .arithmetic.field import Field
from .codes import Code
from .cost.preflight import preflight
from .drivers.assignment import Assignment
from .drivers.conductor import PhaseEnded, RoundEnded
from .drivers.envelope import Ask, Invitation, seal
from .drivers.executors import run_jobs
from .drivers.lockstep import lockstep
from .drivers.responder import Responder
from .encoding.clipping import ClippingWarning
from .encoding.combine import Combined, combine
from .encoding.digest import digest
from .encoding.layout import Layout
from .encoding.model_layout import ModelLayout
from .encoding.options import LayoutOptions
from .encoding.ranges import Range
from .encoding.sparsify import RandomK
from .errors import (
    SERVER,
    Aborted,
    AttemptsExhaustedError,
    DecodeError,
    IdentityError,
    LocalProtocolError,
    NativeError,
    ParameterError,
    RangeError,
    RemoteProtocolError,
    SecAggError,
    StateError,
)
from .events import (
    Completed,
    Dropped,
    Failed,
    Finished,
    InputNeeded,
    Phase,
    PhaseStarted,
    Result,
    Send,
    Work,
)
from .home.answer import answer
from .home.home import Home
from .home.stores import FileStore, MappingStore, MemoryStore, Store
from .identity.directory import Directory
from .identity.identity import Identity
from .interfaces import ClientMachine, ServerMachine, Status
from .ledger.ledger import Ledger, MemoryLedger, Once
from .ledger.sqlite import SqliteLedger
from .pairwise.client import Client
from .pairwise.server import Server
from .params.formats import FixedPoint, Integers
from .params.fractions import Fractions
from .params.mode import Mode
from .params.params import Params, Round
from .params.policy import Policy
from .params.rotated import Rotated
from .params.suite import Suite
from .rounds.asked import run_round
from .rounds.plan import Plan
from .rounds.record import PhaseRecord, RoundRecord
from .rounds.rounds import Rounds
from .simulate import RoundFailedError, SecureSum, secure_sum

logging.getLogger("secagg").addHandler(logging.NullHandler())

__version__ = "0.1.0"

__all__ = [
    "SERVER",
    "Aborted",
    "Ask",
    "Assignment",
    "AttemptsExhaustedError",
    "Client",
    "ClientMachine",
    "ClippingWarning",
    "Code",
    "Combined",
    "Completed",
    "DecodeError",
    "Directory",
    "Dropped",
    "Failed",
    "Field",
    "FileStore",
    "Finished",
    "FixedPoint",
    "Fractions",
    "Home",
    "Identity",
    "IdentityError",
    "InputNeeded",
    "Integers",
    "Invitation",
    "Layout",
    "LayoutOptions",
    "Ledger",
    "LocalProtocolError",
    "MappingStore",
    "MemoryLedger",
    "MemoryStore",
    "Mode",
    "ModelLayout",
    "NativeError",
    "Once",
    "ParameterError",
    "Params",
    "Phase",
    "PhaseEnded",
    "PhaseRecord",
    "PhaseStarted",
    "Plan",
    "Policy",
    "RandomK",
    "Range",
    "RangeError",
    "RemoteProtocolError",
    "Responder",
    "Result",
    "Rotated",
    "Round",
    "RoundEnded",
    "RoundFailedError",
    "RoundRecord",
    "Rounds",
    "SecAggError",
    "SecureSum",
    "Send",
    "Server",
    "ServerMachine",
    "SqliteLedger",
    "StateError",
    "Status",
    "Store",
    "Suite",
    "Work",
    "__version__",
    "answer",
    "combine",
    "digest",
    "lockstep",
    "preflight",
    "run_jobs",
    "run_round",
    "seal",
    "secure_sum",
]
