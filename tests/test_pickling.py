"""What crosses processes: exceptions as themselves, data by its value, keys not at all."""

import copy
import dataclasses
import importlib
import inspect
import multiprocessing
import pickle
import pkgutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import children
import numpy as np
import pytest
import secagg.fl
from levels import runs_at

import secagg
import secagg.cost
from secagg import Code, FixedPoint, Integers, Layout, Params, Phase, Policy, SecAggError
from secagg.simulate import Cohort

PARAMS = Params(4, 3, Integers(0, 9))
COPIES: list[Callable[[Any], Any]] = [
    *(
        lambda one, number=number: pickle.loads(pickle.dumps(one, number))  # noqa: S301
        for number in range(pickle.HIGHEST_PROTOCOL + 1)
    ),
    copy.copy,
    copy.deepcopy,
]


def failed_round(_: object = None) -> secagg.RoundFailedError:
    """The exception of a round that lost too many, with all that it says about the round."""
    drops = dict.fromkeys(range(3), Phase.MASKED_INPUT)
    with pytest.raises(secagg.RoundFailedError) as caught:
        secagg.secure_sum([np.zeros(4)] * 5, FixedPoint(8.0), drops=drops)
    return caught.value


# ---- exceptions ---------------------------------------------------------------------------


def exceptions() -> Iterator[type[Exception]]:
    """Every class of exception in the modules of `secagg` and `secagg.fl`."""
    for package in (secagg, secagg.fl):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                try:
                    module = importlib.import_module(found.name)
                except ModuleNotFoundError:
                    assert found.name.startswith("secagg.integrations.")  # needs its framework
                    continue
                classes = [each for each in vars(module).values() if isinstance(each, type)]
                here = [each for each in classes if each.__module__ == found.name]
                yield from (each for each in here if issubclass(each, Exception))


SAMPLES = {
    "reason": "why",
    "code": Code.QUORUM,
    "party": 3,
    "run": failed_round().run,
    "disputes": ((0, 1), (2, 0)),
}


def sample(kind: type[Exception]) -> Exception:
    """An exception made as its signature says."""
    names = inspect.signature(kind.__init__).parameters
    return kind(*([SAMPLES[name] for name in names if name in SAMPLES] or ["why"]))


class UnreachableError(SecAggError):
    """An application's own: made of something else than its base, and with more to tell."""

    def __init__(self, host: str, *, port: int) -> None:
        super().__init__(f"{host} does not answer", Code.LEDGER)
        self.host, self.port = host, port


@dataclasses.dataclass
class ClosedError(secagg.RemoteProtocolError):
    """A dataclass that is an exception, as some applications have them."""

    party: int
    seconds: float
    reason: str = "closed the connection"
    code: Code = Code.TIMEOUT


def test_the_walk_finds_the_exceptions() -> None:
    """All public ones are among them, and those of the layer above."""
    names = {kind.__name__ for kind in exceptions()}
    public = {name for name in secagg.__all__ if name.endswith(("Error", "Aborted"))}
    assert {"MissingExtraError", "AttemptsExhaustedError", "RecoveryError"} | public <= names


def test_every_exception_survives() -> None:
    """With text, attributes and notes, at each protocol: one that cannot be made again ends the
    pool of processes that it was to cross."""
    made = [*map(sample, exceptions()), UnreachableError("site-3", port=8), ClosedError(3, 0.5)]
    made.append(StopAsyncIteration("how the interpreter's own come back"))
    for error in made:
        error.add_note("in round 7")
        for again in COPIES:
            back = again(error)
            assert type(back) is type(error)
            assert (str(back), repr(back)) == (str(error), repr(error))
            assert sorted(map(repr, vars(back).items())) == sorted(map(repr, vars(error).items()))
            assert vars(back)["__notes__"] == ["in round 7"]
            assert back.__traceback__ is back.__cause__ is None


def test_a_failed_round_tells_all_of_it() -> None:
    """Also the transcript, if it was kept; as bytes it is little more than what was sent."""
    error = failed_round()
    sent = sum(len(record.payload) for record in error.run.transcript)
    assert sent == sum(error.run.bytes_up.values()) + sum(error.run.bytes_down.values())
    for again in COPIES:
        assert again(error).run == error.run
    assert len(pickle.dumps(error)) < 2 * sent + 5000


def lose_one_round(number: int) -> int:
    """Fails if the number is 1."""
    if number == 1:
        raise failed_round()
    if number == 2:
        raise UnreachableError("site-3", port=8)
    return number


def check(outcome: Callable[[], int], number: int) -> None:
    """Checks what came back of one of the calls above."""
    if number == 1:
        with pytest.raises(secagg.RoundFailedError) as lost:
            outcome()
        assert lost.value.run.drops.keys() == {0, 1, 2}
    elif number == 2:
        with pytest.raises(UnreachableError) as unreachable:
            outcome()
        assert unreachable.value.port == 8
    else:
        assert outcome() == number


@runs_at("programs")
def test_a_failed_round_costs_one_future() -> None:
    """Of the standard library's two kinds of pools."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn) as executor:
        futures = [executor.submit(lose_one_round, number) for number in range(4)]
        for number, future in enumerate(futures):
            check(lambda future=future: future.result(60), number)
    with spawn.Pool(1) as pool:
        results = [pool.apply_async(lose_one_round, (number,)) for number in range(4)]
        for number, result in enumerate(results):
            check(lambda result=result: result.get(60), number)


@runs_at("programs")
@pytest.mark.filterwarnings("default")
def test_a_failed_round_costs_one_future_of_dask(tmp_path: Path) -> None:
    """Its workers send exceptions by the same way."""
    with children.cluster(tmp_path, n_workers=1) as (_, client):
        for number, future in enumerate(client.map(lose_one_round, range(4))):
            check(future.result, number)


# ---- data and keys ------------------------------------------------------------------------


def test_data_is_sent_by_value(tmp_path: Path) -> None:
    """Data for workers or logs comes back equal; objects with keys refuse, and say why."""
    done = secagg.secure_sum([[np.arange(3)]] * 4, Integers(0, 9))
    result = done.run.result
    identity = secagg.Identity.generate()
    directory = secagg.Directory.of([("a", identity.verify_key)])
    agreed = PARAMS.round(session=bytes(16))
    policy, server = Policy(PARAMS), secagg.Server(agreed)
    client = secagg.Client(agreed, 0, policy)
    cohort = Cohort(server, {}, {})
    fl = secagg.fl
    score = fl.Score(0.5, 0.9)
    drops: dict[int, Phase] = {2: Phase.UNMASK}
    no_run = (1, 0, (0, 1), False, "", None, drops, {}, {}, 0, {}, 0, 1.0, 2.0, 0.1, {}, score)
    units = secagg.cost.Units(*[1e-6] * len(dataclasses.fields(secagg.cost.Units)))
    plain: list[object] = [
        *(*Code, *Phase, *secagg.Mode, *secagg.Suite, *secagg.Once),
        *(secagg.Send(1, b"x"), secagg.InputNeeded(), secagg.Finished()),
        *(secagg.PhaseStarted(Phase.UNMASK), secagg.Dropped(1, "x", Code.QUORUM)),
        *(secagg.Completed(result), secagg.Failed("x", Code.QUORUM, ((0, 1),)), result),
        *(PARAMS, PARAMS.format, FixedPoint(8.0), agreed, policy, Policy(min_survivors=3)),
        *(
            Layout.of([np.zeros(3)]),
            secagg.ModelLayout.of([np.zeros(3)], FixedPoint(1.0), cohort=2),
        ),
        *(secagg.Range(0, 1), directory, secagg.SqliteLedger(tmp_path / "ledger")),
        *(server.status, done, done.run, fl.RoundReport(*no_run)),
        *(units, units.__class__, secagg.secure_sum, secagg.Field(20)),
    ]
    for each in plain:
        for again in COPIES[2:]:  # below protocol 2 Python itself has no objects with slots
            assert repr(again(each)) == repr(each)
    for each in (identity, secagg.MemoryLedger(), server, client, cohort):
        for again in COPIES[:-2]:
            with pytest.raises(TypeError, match="neither copied nor pickled"):
                again(each)
