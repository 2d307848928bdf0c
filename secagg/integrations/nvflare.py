"""NVFlare: secure sums in a job of its `nvflare.collab` API, see docs/NVFLARE.md.

The coordinator calls `run_round` in its `@collab.main`; each site is a `SecureSite`. NVFlare
carries the bytes and says who is who: parties have the names of its sites.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from typing import Any, Final, TypeAlias

from nvflare.collab import CollabCallError, collab
from nvflare.collab.api.decorators import is_publish

import secagg

from ..drivers.timeouts import DEFAULT_TIMEOUT, read_timeouts
from ..params.checks import require_kind
from ..texts import described, one_line
from .common import MANY, packed_update, summed_once, wrong

Answers: TypeAlias = Iterator[tuple[str, bytes | BaseException]]

_log: Final = logging.getLogger("secagg.integrations")


class SecureSite:
    """A site of a job: a subclass gives `training`, `layout` and `train`."""

    training: str  # the cohort's word for this training, agreed on without the server
    layout: secagg.ModelLayout  # of the model: the site's own word as well

    def __init_subclass__(cls, **options: Any) -> None:
        """Raises ParameterError if the server could call `train` by itself, and read the model."""
        super().__init_subclass__(**options)
        if is_publish(cls.train):
            raise wrong(
                f"{cls.__name__}.train has @collab.publish, so the server could call it and get "
                "this site's model in the clear: remove the decorator"
            )

    def train(self, model: Any) -> tuple[Any, Mapping[str, float], int] | None:
        """Returns what this site gives: its new model, metrics and a weight; None: nothing.

        Args:
            model: the old one, in the structure of the layout; it may be changed in place.
        """
        raise NotImplementedError

    def home(self) -> secagg.Home:
        """Makes the home of this site, once a job: in memory, which is for semi-honest mode.

        Malicious mode needs a folder that the site names itself: `secagg.Home(path, policy=...)`.
        """
        return secagg.Home.in_memory(attempts=MANY)

    @collab.publish
    def secagg_answer(self, payload: bytes) -> bytes:
        """Returns what this site sends for a payload of the server; `run_round` calls it.

        Raises StateError with no more than a code: NVFlare shows the server texts and tracebacks.
        """
        try:
            if missing := {"training", "layout"} - set(dir(self)):
                raise wrong(f"{type(self).__name__} has no {' and no '.join(sorted(missing))}")
            home = vars(self).get("_home") or vars(self).setdefault("_home", self.home())
            return secagg.answer(home, payload, self._give)
        except Exception as error:
            code = error.code if isinstance(error, secagg.SecAggError) else secagg.Code.IO
            _log.warning("no answer: %s", described(error))
            raise secagg.StateError(f"no answer, see the log of the site [{code}]", code) from None

    def _give(self, assignment: secagg.Assignment) -> Any:
        try:
            old = self.layout.from_bytes(assignment.task)
        except secagg.RangeError as error:  # no failure of the training, which was not called
            raise secagg.Aborted(str(error), secagg.Code.POLICY_CONTEXT) from None
        assignment.expect(self.training, self.layout, old)
        try:
            given = self.train(self.layout.take(old))
        except (SystemExit, GeneratorExit, KeyboardInterrupt) as error:  # NVFlare tells nobody
            raise RuntimeError(f"the training ended by {type(error).__name__}") from None
        return packed_update(self.layout, given, old)


def run_round(
    rounds: secagg.Rounds,
    clients: Sequence[Any],
    layout: secagg.ModelLayout,
    model: Any,
    *,
    timeouts: float | Mapping[secagg.Phase, float] = DEFAULT_TIMEOUT,
    keep: Callable[[secagg.Completed], object] | None = None,
    executor: Executor | None = None,
) -> tuple[Any, dict[str, float], secagg.Completed | secagg.Failed]:
    """Gets the next model from the sites: `secagg.run_round` over NVFlare's calls.

    A site that raises, is silent or answers anything wrong costs its own contribution alone.

    Args:
        rounds, keep, executor: as of `secagg.run_round`; `rounds.history` has the sites by name.
        clients: NVFlare's, such as `collab.clients`, whose objects are each a `SecureSite`.
        layout: of the model, as all sites have it.
        model: the old one.
        timeouts: seconds of a phase, or by phase, transfers included; then it is over for sites
            that have not answered. They train in `Phase.MASKED_INPUT`.

    Returns:
        The next model, the metrics and the outcome. If that is `Failed`: the old model, and {}.

    Raises:
        RangeError: the model does not fit the layout; or no honest sites have such a sum.
        AttemptsExhaustedError: there was a sum over this model before.
        SecAggError, Exception: as of `secagg.run_round`.
    """
    require_kind("layout", layout, secagg.ModelLayout, "`secagg.ModelLayout.of(...)` makes one")
    if not isinstance(clients, Iterable) or not all(hasattr(each, "name") for each in clients):
        raise wrong("clients must be NVFlare's, such as collab.clients; seconds are timeouts=")
    sites = {client.name: client for client in clients}
    limits = read_timeouts(timeouts, tuple(secagg.Phase))

    def ask(phase: secagg.Phase, payloads: Mapping[str, bytes]) -> Answers:
        return _answers(sites, payloads, limits[phase])

    old, task = layout.take(model), layout.to_bytes(model)
    outcome = summed_once(
        *(rounds, ask, list(sites), layout, old), task=task, keep=keep, executor=executor
    )
    if isinstance(outcome, secagg.Failed):
        return old, {}, outcome
    return *layout.unpack(outcome.result, old), outcome


def _answers(sites: Mapping[str, Any], payloads: Mapping[str, bytes], seconds: float) -> Answers:
    """Calls every site in a thread, as each gets another payload; yields answers as they come."""
    pool = ThreadPoolExecutor(len(payloads), "secagg")
    call = lambda name: sites[name](timeout=seconds).secagg_answer(payloads[name])  # noqa: E731
    calls = {pool.submit(call, name): name for name in payloads}
    try:
        for done in as_completed(calls, seconds):  # NVFlare waits longer, while bytes trickle in
            name = calls.pop(done)
            try:
                yield name, done.result()
            except CollabCallError as error:  # another one, such as that the job ends, passes
                _log.warning("%s is lost: %s", name, one_line(str(error)))
                yield name, error.cause if isinstance(error.cause, TimeoutError) else error
    except TimeoutError:
        _log.warning("no answer in %g seconds: %s", seconds, ", ".join(calls.values()))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
