"""FedML's LightSecAgg functions (So et al. 2022), called in the order in which FedML calls them.

Only the module with these functions is loaded: FedML as a whole needs torch, an old NumPy and many
other packages. Only two functions need torch, and they are not called here; if it is not
installed, an empty module replaces it while the file is loaded. Masks and coded masks are NumPy
arrays of int64, and their bytes are counted as such. FedML uses a prime below 2^15, which is too
small for these sums; the functions take the prime as an argument, so here it is the smallest one
that gives the precision of the case.
"""

import importlib.util
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

from secagg import Field

from .case import BITS, CLIP, MAX_WEIGHT, Case, MissingError, Outcome, Side, Stopwatch

PACKAGE: Final = "fedml"


def _load() -> ModuleType:
    """Loads the module with the functions.

    Raises:
        MissingError: FedML is not installed, or its module is elsewhere.
    """
    found = importlib.util.find_spec(PACKAGE)  # does not run the package
    if found is None or found.origin is None:
        raise MissingError(
            "FedML LightSecAgg: not installed; pip install --no-deps fedml==0.9.6 (its "
            "dependencies conflict with those of the other peers)"
        )
    path = Path(found.origin).parent / "core" / "mpc" / "lightsecagg.py"
    spec = importlib.util.spec_from_file_location("lightsecagg", path)
    if spec is None or spec.loader is None or not path.exists():
        raise MissingError(f"FedML LightSecAgg: no {path.name} in the FedML that is installed")
    module = importlib.util.module_from_spec(spec)
    stand_in = importlib.util.find_spec("torch") is None
    if stand_in:
        sys.modules["torch"] = ModuleType("torch")
    try:
        spec.loader.exec_module(module)
    finally:
        if stand_in:
            del sys.modules["torch"]
    return module


def recovery(clients: int, length: int, enough: int, private: int, prime: int) -> float:
    """Returns the server's seconds for decoding the sum of masks from `enough` answers.

    Raises:
        MissingError: FedML is not installed.
    """
    fedml: Any = _load()
    rows = -(-length // (enough - private))
    answers = np.random.randint(prime, size=(enough, rows))  # which ones makes no difference
    points, targets = np.arange(enough) + 1, np.arange(enough) + clients + 1
    start = time.perf_counter()
    fedml.LCC_decoding_with_points(answers, points, targets, prime)
    return time.perf_counter() - start


def play(case: Case) -> Outcome:
    """Plays one round: coded masks to all, masked updates, summed coded masks of the survivors.

    Raises:
        MissingError: FedML is not installed, or its int64 arithmetic is too narrow for the case.
    """
    fedml: Any = _load()
    enough, private = case.threshold, case.clients // 3
    prime = Field((case.clients * MAX_WEIGHT * 2**BITS - 1).bit_length()).modulus
    if enough * prime**2 >= 2**63:
        raise MissingError(f"FedML LightSecAgg: {case} overflows int64 at this precision")
    fraction_bits = BITS - round(np.log2(2 * CLIP))
    piece = enough - private
    length = -(-case.length // piece) * piece
    watch = Stopwatch()

    masks, coded = [], []
    with watch("coded masks", Side.CLIENTS):
        for _ in range(case.clients):
            mask = np.random.randint(prime, size=(length, 1))  # as FedML draws it
            masks.append(mask)
            coded.append(fedml.mask_encoding(length, case.clients, enough, private, prime, mask))
    uploads = []
    with watch("masked input", Side.CLIENTS):
        for party in case.stayed:
            weighted = case.weights[party] * case.updates[party].astype(np.float64)
            finite = {"update": fedml.my_q(weighted, fraction_bits, prime)}
            uploads.append(fedml.model_masking(finite, [case.length], masks[party], prime))
    with watch("masked input", Side.SERVER):
        total = fedml.aggregate_models_in_finite(uploads, prime)["update"]
    answers = []
    with watch("unmask", Side.CLIENTS):
        for holder in case.stayed:
            received = {dealer: coded[dealer][holder] for dealer in range(case.clients)}
            answers.append(fedml.compute_aggregate_encoded_mask(received, prime, case.stayed))
    with watch("unmask", Side.SERVER):
        points = np.arange(case.clients) + 1
        targets = np.arange(enough) + case.clients + 1
        mask_sum = fedml.LCC_decoding_with_points(
            np.array(answers[:enough], np.int64), points[case.stayed[:enough]], targets, prime
        ).reshape(-1)[: case.length]
        summed = fedml.my_q_inv(np.mod(total - mask_sum, prime), fraction_bits, prime)

    size = length // piece * 8
    return Outcome(
        watch.phases,
        watch.cpu,
        (case.clients - 1) * size + 8 * case.length + size,
        summed / sum(case.weights[party] for party in case.stayed),
    )
