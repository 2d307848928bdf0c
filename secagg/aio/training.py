"""Rounds of a training over the connections of a hub: planned, served, and tried again."""

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import Final

from ..encoding.digest import Part
from ..encoding.layout import Layout
from ..encoding.model_layout import ModelLayout
from ..errors import StateError
from ..events import Completed, Failed, Phase
from ..params.checks import require_kind, require_seconds
from ..rounds.plan import Plan
from ..rounds.rounds import Rounds, subject_parts
from .hub import Hub
from .serving import DEFAULT_TIMEOUT, serve
from .worker import outlast

_log: Final = logging.getLogger("secagg.rounds")


async def run_round(
    rounds: Rounds,
    hub: Hub,
    shape: int | Layout | ModelLayout,
    *about: Part,
    task: bytes = b"",
    timeouts: float | Mapping[Phase, float] = DEFAULT_TIMEOUT,
    grace: float = 5.0,
    wait: float = math.inf,
    settle: float = 1.0,
    executor: Executor | None = None,
) -> Completed | Failed:
    """Gets one sum: plans a round with those present, serves it, and tries again where that helps.

    Of those present the ones count that the rounds can invite (`Rounds.eligible`), and no more are
    invited than the layout is for.

    A round about the same that was left open is served to its end first: by a process before this
    one, if the rounds have a home, or by a call that was cancelled or failed.

    Args:
        rounds: plan and count the rounds; their home stores servers.
        hub: the connections.
        shape: coordinates of an input, or the layout of one. A `ModelLayout` is part of what the
            round is about.
        about: what else it is about, such as the model, see `Rounds.plan`.
        task: what parties compute their input from, see `serve`.
        timeouts, grace, executor: see `serve`.
        wait: seconds to wait for `rounds.least` parties, before each try; also again, if some left
            meanwhile. By default without end.
        settle: seconds to wait then for more parties, 3600 at most.

    Returns:
        The sum; or how the last round failed, if it makes no sense to try again.

    Raises:
        ParameterError: too few parties came (`Code.QUORUM`), or an argument is wrong.
        AttemptsExhaustedError: clients give no more inputs for this; where `rounds.converged`,
            because the training has converged.
        StateError: the home failed. A sum is returned nevertheless, and the log says it.
    """
    require_kind("rounds", rounds, Rounds, "`secagg.Rounds(...)` makes one")
    require_kind("hub", hub, Hub, "`secagg.aio.Hub()` makes one")
    least_wait = require_seconds("wait", wait, most=math.inf)
    pause = require_seconds("settle", settle, most=3600.0)
    left = await _kept(rounds, partial(rounds.resume, *subject_parts(shape, about)))
    while True:
        plan = left.pop(0) if left else await _planned(rounds, hub, shape, about, least_wait, pause)
        try:
            outcome = await serve(
                plan.server,
                hub.net(plan.names),
                timeouts,
                executor,
                rounds.home,
                task=task,
                members=plan.members,
                attempt=plan.attempt,
                observe=rounds.observe,
                grace=grace,
            )
        except BaseException:  # cancelled, or the disk is full: the round can go on
            for each in (plan, *left):
                rounds.leave(each)
            raise
        try:  # at once: nothing can be cancelled between a sum and its return
            again = rounds.close(plan, outcome)
        except StateError as error:
            for each in left:
                rounds.leave(each)
            if isinstance(outcome, Failed):
                raise
            # The attempt stays used, and there is a sum, which must not be lost.
            session = plan.server.session.hex()
            _log.warning("%s: that it is over was not noted: %s", session, error.reason)
            return outcome
        if isinstance(outcome, Completed) or not (again or left):
            for each in left:
                _give_up(rounds, each)
            return outcome


def _give_up(rounds: Rounds, plan: Plan) -> None:
    """Closes a round without an outcome; leaves it if that cannot be noted."""
    try:
        rounds.close(plan, None)
    except StateError as error:  # there is an outcome of another, which must not be lost
        rounds.leave(plan)
        session = plan.server.session.hex()
        _log.warning("%s: that it is given up was not noted: %s", session, error.reason)


async def _planned(
    rounds: Rounds,
    hub: Hub,
    shape: int | Layout | ModelLayout,
    about: tuple[Part, ...],
    wait: float,
    settle: float,
) -> Plan:
    """Plans a round with those who are present, when they are enough."""
    loop = asyncio.get_running_loop()
    until = loop.time() + wait
    while True:
        here = len(rounds.eligible(hub.present()))
        if here < rounds.least:
            _log.info("waiting for %d parties, %d are here", rounds.least, here)
        await hub.wait_for(rounds.least, max(0.0, until - loop.time()), rounds.eligible)
        await asyncio.sleep(settle)
        present = rounds.eligible(hub.present())
        if len(present) >= rounds.least or loop.time() >= until:
            [plan] = await _kept(rounds, partial(_plan, rounds, present, shape, about))
            return plan


def _plan(
    rounds: Rounds,
    present: list[str],
    shape: int | Layout | ModelLayout,
    about: tuple[Part, ...],
) -> list[Plan]:
    return [rounds.plan(present, shape, *about)]


async def _kept(rounds: Rounds, call: Callable[[], list[Plan]]) -> list[Plan]:
    """Returns the plans that a call in a thread returns; leaves them if this is cancelled."""
    running = asyncio.get_running_loop().run_in_executor(None, call)
    cancelled = await outlast(running)
    if cancelled is None:
        return running.result()
    if running.exception() is None:
        for plan in running.result():
            rounds.leave(plan)
    raise cancelled
