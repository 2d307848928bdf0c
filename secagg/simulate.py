"""A secure sum in one process, for trials, tests and measurements. It protects nobody.

`secure_sum` makes all parties of the protocol and runs them in a `Cohort`, which also runs machines
that you made yourself.
"""

from collections.abc import Callable, Iterable, Mapping, Set
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .codes import Code
from .drivers.cohort import Cohort, Cost, Input, Record, RoundFailedError, Run, Wire
from .encoding.arrays import is_shaped, kind_of, listed, read_array, shortened, unreadable
from .encoding.clipping import count_clipped, warn_of_clipping
from .encoding.layout import Layout
from .encoding.trees import Arrays
from .errors import ParameterError, RangeError
from .events import Phase, Randomness
from .numeric import as_int, brief
from .pairwise.parties import all_parties, introduce
from .params.formats import FixedPoint, Format, Integers
from .params.mode import Mode
from .params.params import Params, Round
from .params.policy import Policy
from .primitives.secret import require_source

__all__ = [
    "Cohort",
    "Cost",
    "Input",
    "Record",
    "RoundFailedError",
    "Run",
    "SecureSum",
    "Wire",
    "count_clipped",
    "introduce",
    "read_drops",
    "secure_sum",
    "warn_of_clipping",
]


@dataclass(frozen=True, slots=True)
class SecureSum:
    """The result of `secure_sum`: the sum in the layout of the updates, and a record of the round.

    Attributes:
        total: the weighted sum of the survivors' updates, in the layout of one update.
        mean: total / weight; arrays of floats have the dtypes of the first update.
        weight: sum of the survivors' weights.
        survivors: parties whose update is in the sum.
        cost: seconds and bytes by phase and role.
        transcript: every message of the round, in order; empty with `transcript=False`.
        run: everything else (bytes of each party, drops, clipped values, ...).
        params: the parameters of the round.
        round: these with session and context, as every party has them.
    """

    total: Arrays
    mean: Arrays
    weight: int
    survivors: tuple[int, ...]
    cost: dict[Phase, Cost]
    transcript: list[Record] = field(repr=False)
    run: Run = field(repr=False)
    params: Params
    round: Round


def secure_sum(
    updates: Iterable[Arrays | None] | Mapping[int, Arrays | None] | ArrayLike,
    format: Format,  # noqa: A002
    *,
    weights: Iterable[int] | Mapping[int, int] | None = None,
    drops: Mapping[int, Phase] | None = None,
    mode: Mode = Mode.SEMI_HONEST,
    threshold: int = 0,
    min_survivors: int = 0,
    colluders: int = -1,
    degree: int = 0,
    policy: Policy | None = None,
    random: Callable[[int], Randomness] | None = None,
    executor: Executor | None = None,
    transcript: bool = True,
) -> SecureSum:
    """Sums updates by the real protocol with all parties in this process; it protects nobody.

    There is one `ClippingWarning` if more than 1 % of the values of an array were clipped, or of
    the updates were longer than the clip of `Rotated` without noise.

    Args:
        updates: one per party; arrays, or lists and dicts of arrays, nested at will, all of one
            layout (see `Layout.of`). A list or any other iterable, an array whose rows are the
            updates, or a dict by the parties 0, 1, .... None is a party with nothing to give: it
            joins and then sits the round out, like one that drops out before its masked input.
        format: how numbers are encoded, `FixedPoint`, `Integers` or `Rotated`.
        weights: one per party, or a dict by party, for a format with max_weight > 1; 1 each by
            default.
        drops: parties that disappear, each with the phase before whose message it does so, such as
            {2: Phase.MASKED_INPUT}.
        mode: in `Mode.MALICIOUS` every party gets a fresh identity, which all others pin.
        threshold, min_survivors, colluders, degree: see `Params`.
        policy: the demands of every client; by default, exactly these parameters. A quorum of two
            needs `Policy(allow_pair=True)`.
        random: returns the source of randomness of a party, for reproducible runs.
        executor: runs the server's jobs, as in `run_jobs`; by default this process does.
        transcript: whether all messages are kept; together they are as large as all inputs.

    Raises:
        ParameterError: the parameters, the weights or the schedule of drops are impossible, or
            `updates` is no such collection.
        RangeError: an update is unusable, and the message names party and array; no sum was
            computed.
        RoundFailedError: the round failed, for example because too few parties were left.
    """
    given = _by_party(updates)
    weighing = _weights(weights, len(given))
    dropping = _drops(drops, len(given))
    if random is not None:
        require_source(random)
    layout, vectors = _flattened(given)
    params = Params(
        cohort=len(given),
        length=layout.length,
        format=format,
        threshold=threshold,
        min_survivors=min_survivors,
        colluders=colluders,
        mode=mode,
        degree=degree,
    )
    server, clients = all_parties(params, Policy(params) if policy is None else policy, random)
    asked: list[int] = []  # the parties whose input was asked for, in order

    def input_of(party: int) -> tuple[NDArray[np.generic], int] | None:
        if party not in vectors:
            return None
        asked.append(party)
        return vectors[party], weighing[party]

    inputs: dict[int, Input] = {party: partial(input_of, party) for party in given}
    cohort = Cohort(server, clients, inputs, dropping, transcript, executor)
    try:
        run = cohort.play()
    except RangeError as error:
        if not asked:
            raise
        party = asked[-1]
        why = _why(error, cast("Arrays", given[party]), vectors[party], format)
        raise RangeError(f"update of party {party}: {why}", error.code) from None
    if run.result is None:
        raise RoundFailedError(run.reason, cast("Code", run.code), run)
    if any(run.clipped.values()):
        counts = [count_clipped(format, layout, vectors[party]) for party in run.clipped]
        if isinstance(format, FixedPoint):  # clients do not know the dtype of each array
            run.clipped = {
                party: int(each.sum()) for party, each in zip(run.clipped, counts, strict=True)
            }
        warn_of_clipping(format, layout, np.sum(counts, axis=0), len(run.clipped))
    return SecureSum(
        total=layout.unflatten(run.result.total),
        mean=layout.unflatten(run.result.mean, own_dtypes=True),
        weight=run.result.weight,
        survivors=run.result.survivors,
        cost=run.cost,
        transcript=run.transcript,
        run=run,
        params=params,
        round=server.round,
    )


def _weights(weights: object, parties: int) -> list[int]:
    """Returns the weight of each party; raises ParameterError unless there is one for each."""
    if weights is None:
        return [1] * parties
    if is_shaped(weights):
        weights = read_array(weights, "the array of weights").tolist()
    if not isinstance(weights, Iterable) or isinstance(weights, str | bytes | Set):
        raise ParameterError(
            f"weights must have one number per party, in their order, not {brief(weights)}",
            Code.ARGUMENT,
        )
    if isinstance(weights, Mapping) and set(weights) == set(range(parties)):
        return [weights[party] for party in range(parties)]
    found = list(weights)
    if len(found) == parties and not isinstance(weights, Mapping):
        return found
    kind = "a dict with the keys " if isinstance(weights, Mapping) else ""
    raise ParameterError(
        f"{parties} updates need {parties} weights, of the parties 0..{parties - 1}, and there are "
        f"{len(found)}: {kind}{brief(found)}",
        Code.ARGUMENT,
    )


def _drops(drops: object, parties: int) -> dict[int, Phase]:
    """Returns the schedule of drops; raises ParameterError unless it maps parties to phases."""
    if not isinstance(drops or {}, Mapping):
        raise ParameterError(
            f"drops must be a dict of parties and phases, such as {{2: Phase.MASKED_INPUT}}, not "
            f"{brief(drops)}",
            Code.ARGUMENT,
        )
    return read_drops(cast("Mapping[Any, Any]", drops or {}), parties)


def read_drops(drops: Mapping[Any, Any], parties: int) -> dict[int, Phase]:
    """Returns a schedule of drops by ints, whatever library the numbers of the parties are of.

    Args:
        drops: parties that disappear, each with the phase before whose message it does so.
        parties: the number of parties.

    Raises:
        ParameterError: an entry is not one of the parties, given once, with a phase.
    """
    found: dict[int, Phase] = {}
    for key, phase in drops.items():
        party, known = as_int(key), isinstance(phase, Phase)
        if not known or party is None or party not in range(parties) or party in found:
            raise ParameterError(
                f"drops has the entry {brief(key)}: {brief(phase)}; it must be a client in "
                f"0..{parties - 1}, once, and a Phase: drops maps the parties 0..{parties - 1} to "
                "phases",
                Code.ARGUMENT,
            )
        found[party] = phase
    return found


def _by_party(updates: object) -> dict[int, Arrays | None]:
    """Returns the updates by party.

    Raises:
        ParameterError: they are in no such collection, or there are none.
        RangeError: they are an array that cannot be read.
    """
    try:
        shape, dtype = getattr(updates, "shape", None), getattr(updates, "dtype", None)
    except Exception as error:  # an array in a file that was closed, say
        raise unreadable(updates, "the array of updates", error) from error
    if isinstance(updates, Mapping):
        if set(updates) != set(range(len(updates))):
            names = shortened(", ".join(map(repr, updates)), 60)
            raise ParameterError(
                f"updates is a dict with the keys {names}: its keys must be the parties "
                f"0..{len(updates) - 1}; or give a list",
                Code.ARGUMENT,
            )
        found = {party: updates[party] for party in range(len(updates))}
    elif is_shaped(updates) and dtype != np.dtype(object) and shape != ():
        found = dict(enumerate(read_array(updates, "the array of updates")))
    elif (
        not isinstance(updates, Iterable)
        or isinstance(updates, str | bytes | bytearray | Set)
        or shape == ()
    ):
        raise ParameterError(
            f"updates must be a list with one update per party, not {type(updates).__name__}; "
            "another iterable, an array with one row per party, or a dict by party 0, 1, ... is "
            "taken as well",
            Code.ARGUMENT,
        )
    else:
        found = dict(enumerate(updates))
    if not found or all(update is None for update in found.values()):
        raise ParameterError("there are no updates to sum", Code.ARGUMENT)
    return found


def _flattened(
    updates: Mapping[int, Arrays | None],
) -> tuple[Layout, dict[int, NDArray[np.generic]]]:
    """Returns the layout of the first update that there is, and the vectors of all.

    Raises:
        RangeError: an update is unusable, or has another layout than the first.
    """
    layout: Layout | None = None
    vectors = {}
    for party, update in updates.items():
        if update is None:
            continue
        try:
            if layout is None:
                layout, vectors[party] = Layout.flattened(update)
            else:
                vectors[party] = layout.flatten(update)
        except RangeError as error:
            reason = f"update of party {party}: {error}"
            raise RangeError(reason, error.code) from error.__cause__
    return cast("Layout", layout), vectors


def _why(error: RangeError, update: Arrays, vector: NDArray[np.generic], form: Format) -> str:
    """Returns why a client refused its input, with the names of arrays in place of "an input"."""
    layout = Layout.of(update)
    names: Iterable[str] = ()
    if error.code is Code.NOT_FINITE:
        bad = ~np.isfinite(vector)
        names = layout.names_at(np.flatnonzero(bad))
        what = "a NaN" if np.isnan(vector[bad]).any() else "an infinite value"
        why = f"has {what}: check whether the training diverged"
    elif error.code is Code.OUT_OF_RANGE and isinstance(form, Integers):
        integers = cast("NDArray[np.int64]", vector)
        names = layout.names_at(np.flatnonzero((integers < form.low) | (integers > form.high)))
        why = f"has a value outside {form.low}..{form.high}: clip it, or widen the range"
    elif error.code is Code.DTYPE:
        pairs = zip(layout.names, layout.dtypes, strict=True)
        names = [name for name, dtype in pairs if kind_of(dtype) == "f"]
        why = f"holds floats, and {type(form).__name__} takes integers: use FixedPoint, or convert"
    return f"{listed(names)} {why}" if names else str(error)
