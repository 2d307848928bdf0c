"""Rounds of a training over the connections of a hub: planned, served, and tried again."""

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import Final

from ..drivers.envelope import read_task
from ..drivers.executors import require_executor
from ..drivers.timeouts import DEFAULT_TIMEOUT, read_timeouts
from ..drivers.untold import untold_outcome
from ..encoding.described import Shape
from ..encoding.digest import Part
from ..events import Completed, Failed, Phase
from ..params.checks import require_kind, require_plain_function, require_seconds
from ..rounds.ending import Ending, Keep, NotKeptError, another_follows, left_open, stop
from ..rounds.plan import Plan
from ..rounds.record import listed
from ..rounds.rounds import Rounds, subject_parts
from .goodbye import goodbyes
from .hub import Hub
from .serving import serve
from .worker import outlast

_log: Final = logging.getLogger("secagg.rounds")

_TELL_AGAIN: Final = 60.0  # seconds after which the log says again for whom it waits
_TELL_LATER: Final = 600.0  # and from then on


async def run_round(
    rounds: Rounds,
    hub: Hub,
    shape: Shape,
    *about: Part,
    task: bytes = b"",
    settings: Part | None = None,
    timeouts: float | Mapping[Phase, float] = DEFAULT_TIMEOUT,
    grace: float = 5.0,
    wait: float = math.inf,
    settle: float = 1.0,
    executor: Executor | None = None,
    keep: Keep | None = None,
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
            round is about, and so is a `secagg.analytics.Query`.
        about: what else it is about, such as the model, see `Rounds.plan`.
        task: what parties compute their input from, see `serve`.
        settings: what else all parties must have been told alike, see `Rounds.plan`.
        timeouts, grace, executor: see `serve`.
        keep: stores what came of the sum, such as the next model, so that it is durable when this
            returns; a plain function. It is called in a thread, with what is then returned, before
            the clients are told of the end and before anything of the round is forgotten: a process
            that is killed before loses nothing, if `rounds` have a home. After one that was killed
            within it or right after it, it may be called again. What it raises is raised here, and
            the next call of `run_round` begins with it.
        wait: seconds to wait for `rounds.least` parties, before each try; also again, if some left
            meanwhile. By default without end.
        settle: seconds to wait then for more parties, 3600 at most.

    Returns:
        The sum; or how the last round failed, if it makes no sense to try again.

    Raises:
        ParameterError: too few parties came (`Code.QUORUM`), or an argument is wrong, in which case
            nothing was planned.
        AttemptsExhaustedError: clients give no more inputs for this; where `rounds.converged`,
            because the training has converged.
        StateError: the home failed, or another process plans rounds of this training there. A sum
            is returned nevertheless, and the log says it.
        Exception: what `keep` raised.
    """
    require_kind("rounds", rounds, Rounds, "`secagg.Rounds(...)` makes one")
    require_kind("hub", hub, Hub, "`secagg.aio.Hub()` makes one")
    least_wait = require_seconds("wait", wait, most=math.inf)
    pause = require_seconds("settle", settle, most=3600.0)
    _check_for_serve(task, timeouts, grace, executor)
    if keep is not None:
        require_plain_function("keep", keep, "it is called with the sum")
    parts = subject_parts(shape, about)
    left = await _kept(rounds, partial(left_open, rounds, parts, settings))
    while True:
        planned = partial(_plan, rounds, shape=shape, about=about, settings=settings)
        plan = left.pop(0) if left else await _planned(rounds, hub, planned, least_wait, pause)
        ending = None if keep is None else Ending(rounds, keep)
        try:
            ended = untold_outcome(plan.server)
            if ending is not None and ended is not None:  # in a call before this one
                await _in_thread(partial(ending.end, plan.server.session, ended))
            outcome = await serve(
                plan.server,
                hub.net(plan.names),
                timeouts,
                executor,
                ending if ending is not None and rounds.home is not None else rounds.home,
                task=task,
                members=plan.members,
                attempt=plan.attempt,
                observe=rounds.observe if ending is None else ending.observe,
                grace=grace,
            )
        except NotKeptError as error:
            await _stop(rounds, hub, plan, left, ending)
            raise error.cause from None
        except BaseException:  # cancelled, or the disk is full: the round can go on
            await _stop(rounds, hub, plan, left, ending)
            raise
        # At once: nothing can be cancelled between a sum and its return.
        if not another_follows(rounds, plan, left, outcome):
            return outcome


def _check_for_serve(
    task: bytes,
    timeouts: float | Mapping[Phase, float],
    grace: float,
    executor: Executor | None,
) -> None:
    """Checks arguments of `serve`, which would refuse them when a round is planned already."""
    read_task(task)
    read_timeouts(timeouts, tuple(Phase))
    require_seconds("grace", grace)
    require_executor(executor)


async def _stop(
    rounds: Rounds, hub: Hub, plan: Plan, left: list[Plan], ending: Ending | None
) -> None:
    """Leaves a round open that can go on, and those after it; closes it if its sum is kept."""
    if ending is not None and ending.kept is not None:
        net = hub.net(plan.names)
        everybody = range(len(plan.names))
        for party, message in goodbyes(plan.server, ending.kept, everybody).items():
            await net.send(party, message)  # which never waits, so it is not cancelled either
    stop(rounds, plan, left, ending)


async def _planned(
    rounds: Rounds,
    hub: Hub,
    plan_with: Callable[[list[str]], list[Plan]],
    wait: float,
    settle: float,
) -> Plan:
    """Plans a round with those who are present, when they are enough."""
    loop = asyncio.get_running_loop()
    until = loop.time() + wait
    tell_at, told = loop.time(), 0
    while True:
        present = rounds.eligible(hub.present())
        if len(present) < rounds.least:
            if loop.time() >= tell_at:
                _tell_who_is_missing(rounds, present, logging.WARNING if told else logging.INFO)
                tell_at = loop.time() + (_TELL_LATER if told else _TELL_AGAIN)
                told += 1
            left = max(0.0, min(until, tell_at) - loop.time())
            present = await hub.wait_for(rounds.least, left, rounds.eligible)
            if len(present) < rounds.least and loop.time() < until:
                continue
        await asyncio.sleep(settle)
        present = rounds.eligible(hub.present())
        if len(present) >= rounds.least or loop.time() >= until:
            [plan] = await _kept(rounds, partial(plan_with, present))
            return plan


def _tell_who_is_missing(rounds: Rounds, present: list[str], level: int) -> None:
    missing = rounds.missing(present)
    _log.log(
        level,
        "waiting for %d parties, %d are here: %s%s",
        *(rounds.least, len(present), listed(present) or "nobody"),
        f"; not here: {listed(missing)}" if missing else "",
    )


def _plan(
    rounds: Rounds,
    present: list[str],
    shape: Shape,
    about: tuple[Part, ...],
    settings: Part | None,
) -> list[Plan]:
    return [rounds.plan(present, shape, *about, settings=settings)]


async def _kept(rounds: Rounds, call: Callable[[], list[Plan]]) -> list[Plan]:
    """Returns the plans that a call in a thread returns; leaves them if this is cancelled."""
    plans: list[Plan] = []
    try:
        await _in_thread(lambda: plans.extend(call()))
    except asyncio.CancelledError:
        for plan in plans:
            rounds.leave(plan)
        raise
    return plans


async def _in_thread(call: Callable[[], None]) -> None:
    """Calls a function in a thread; if this is cancelled, it waits for the end of the call."""
    running = asyncio.get_running_loop().run_in_executor(None, call)
    cancelled = await outlast(running)
    if cancelled is None:
        return running.result()
    running.exception()  # nobody else asks for it
    raise cancelled
