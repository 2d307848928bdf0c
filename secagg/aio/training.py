"""Rounds of a training over the connections of a hub: planned, served, and tried again."""

import asyncio
import logging
import math
from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Final

from ..codes import Code
from ..encoding.digest import Part
from ..encoding.layout import Layout
from ..encoding.model_layout import ModelLayout
from ..errors import ParameterError, StateError
from ..events import Completed, Failed, Phase
from ..numeric import as_float, brief
from ..rounds.rounds import Plan, Rounds
from .hub import Hub
from .serving import DEFAULT_TIMEOUT, serve

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

    A round about the same that was left open is served to its end first: by a process before this
    one, if the rounds have a home, or by a call that was cancelled or failed.

    Args:
        rounds: plan and count the rounds; their home stores servers.
        hub: the connections.
        shape: coordinates of an input, or the layout of one.
        about: what the round is about, see `Rounds.plan`.
        task: what parties compute their input from, see `serve`.
        timeouts, grace, executor: see `serve`.
        wait: seconds to wait for `rounds.least` parties, before each try.
        settle: seconds to wait then for more parties.

    Returns:
        The sum; or how the last round failed, if it makes no sense to try again.

    Raises:
        ParameterError: too few parties came (`Code.QUORUM`), or an argument is wrong.
        AttemptsExhaustedError: clients give no more inputs for this; where `rounds.converged`,
            because the training has converged.
        StateError: the home failed. A sum is returned nevertheless, and the log says it.
    """
    least_wait, pause = _patience("wait", wait, math.inf), _patience("settle", settle, 3600.0)
    left = await asyncio.to_thread(rounds.resume, *about)
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
        try:
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
                rounds.close(each, None)
            return outcome


def _patience(name: str, value: object, most: float) -> float:
    """Returns a number of seconds; raises ParameterError if it is none."""
    seconds = as_float(value)
    if seconds is None or not 0 <= seconds <= most:
        raise ParameterError(
            f"{name} must be a number of seconds, 0 or more, not {brief(value)}", Code.ARGUMENT
        )
    return seconds


async def _planned(
    rounds: Rounds,
    hub: Hub,
    shape: int | Layout | ModelLayout,
    about: tuple[Part, ...],
    wait: float,
    settle: float,
) -> Plan:
    """Plans a round with those who are present, when they are enough."""
    await hub.wait_for(rounds.least, wait)
    await asyncio.sleep(settle)
    return await asyncio.to_thread(rounds.plan, hub.present(), shape, *about)
