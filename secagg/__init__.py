"""Cryptographic secure aggregation for federated learning.

Many clients hold one vector each. A server learns the sum of the vectors of the clients that
finished, and nothing else, even if clients drop out at any time. `secure_sum` runs it in one
process, to try it; `Client` and `Server` are the two sides, for any transport.
"""

import logging

from .arithmetic.field import Field
from .codes import Code
from .drivers.executors import run_jobs
from .encoding.clipping import ClippingWarning
from .encoding.digest import digest
from .encoding.layout import Layout
from .encoding.model_layout import ModelLayout
from .encoding.ranges import Range
from .errors import (
    SERVER,
    Aborted,
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
from .params.suite import Suite
from .simulate import RoundFailedError, SecureSum, secure_sum

logging.getLogger("secagg").addHandler(logging.NullHandler())

__version__ = "0.1.0"

__all__ = [
    "SERVER",
    "Aborted",
    "Client",
    "ClientMachine",
    "ClippingWarning",
    "Code",
    "Completed",
    "DecodeError",
    "Directory",
    "Dropped",
    "Failed",
    "Field",
    "Finished",
    "FixedPoint",
    "Fractions",
    "Identity",
    "IdentityError",
    "InputNeeded",
    "Integers",
    "Layout",
    "Ledger",
    "LocalProtocolError",
    "MemoryLedger",
    "Mode",
    "ModelLayout",
    "NativeError",
    "Once",
    "ParameterError",
    "Params",
    "Phase",
    "PhaseStarted",
    "Policy",
    "Range",
    "RangeError",
    "RemoteProtocolError",
    "Result",
    "Round",
    "RoundFailedError",
    "SecAggError",
    "SecureSum",
    "Send",
    "Server",
    "ServerMachine",
    "SqliteLedger",
    "StateError",
    "Status",
    "Suite",
    "Work",
    "__version__",
    "digest",
    "run_jobs",
    "secure_sum",
]
