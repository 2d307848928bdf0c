"""Rounds over real sockets in which peers are killed, come back, are slow, silent or malformed.

Whatever the schedule, the sum is right and has everybody who stayed, in time, and nothing is left.
So that green means something, the schedules find bugs that are planted in the drivers.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
from aio.loopback import play
from aio.schedules import Schedule, happens
from levels import amount

from secagg.aio import hub, serving
from secagg.aio.hub import HubNet
from secagg.events import Phase

AT_ONCE = 20


def found(numbers: Sequence[int], in_time: float) -> dict[str, str]:
    """What is wrong in these schedules, which are played side by side."""
    schedules = [Schedule(number) for number in numbers]

    async def scenario() -> list[str]:
        playing = (happens(schedule, in_time) for schedule in schedules)
        return await asyncio.gather(*playing)

    wrong = play(scenario, 60)
    return {repr(each): what for each, what in zip(schedules, wrong, strict=True) if what}


def test_the_sum_is_right_and_nobody_who_stays_is_left_out() -> None:
    """No task, thread or descriptor is left; the loop reports no exception."""
    numbers = range(amount("rounds over sockets"))
    for first in range(0, len(numbers), AT_ONCE):
        assert found(numbers[first : first + AT_ONCE], 15) == {}


async def nothing(*_: object) -> None:
    """Stands for a step that is missing."""


def timers_stay(self: Any, phase: Phase) -> None:
    """A timer for each phase, which ends the phase that is under way when it is up."""

    async def expire() -> None:
        await self._act(self._conductor.deadline, self._conductor.phase)

    self._timers[phase] = (self._loop.time() + self._seconds[phase], expire)


def without_bound(bind: Callable[..., None], self: HubNet, session: bytes, _: int) -> None:
    bind(self, session, 2**62)


async def to_the_next(send: Callable[..., Any], self: HubNet, party: int, data: bytes) -> None:
    await send(self, (party + 1) % len(self.names), data)


async def from_the_next(deliver: Callable[..., Any], self: HubNet, name: str, data: bytes) -> None:
    names = self.names
    await deliver(self, names[(names.index(name) + 1) % len(names)], data)


async def keeps_the_older(attach: Callable[..., Any], self: Any, name: str, link: Any) -> None:
    try:
        await attach(self, name, link)
    finally:
        if name in self._peers:
            self._forget(self._peers[name])


Round = serving._Round
# By name: where, what, instead of which, in which schedules, what is found.
BUGS: dict[str, tuple[type, str, Callable[..., Any], list[int], str]] = {
    "a party that is back gets nothing": (Round, "_resend", nothing, [2, 4], ""),
    "a lost connection is forgotten": (Round, "_on_lost", lambda *_: None, [0, 4], ""),
    "a timer of an earlier phase": (Round, "_start_timer", timers_stay, [1, 9], ""),
    "a queue without bound": (HubNet, "bind", without_bound, [3, 10], ""),
    "a message for another party": (HubNet, "send", to_the_next, [3], ""),
    "a message as another party's": (HubNet, "deliver", from_the_next, [3], ""),
    "an older connection ends the newer": (hub.Hub, "attach", keeps_the_older, [3, 11], ""),
    "a hello is not passed on": (hub.Hub, "_greet", nothing, [3], ""),
}


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The schedules would not be green with it."""
    where, what, instead, numbers, says = BUGS[name]
    if instead.__name__ in {"without_bound", "to_the_next", "from_the_next", "keeps_the_older"}:
        instead = _method(instead, getattr(where, what))
    monkeypatch.setattr(where, what, instead)
    wrong = found(numbers, 5)
    print(wrong)
    assert wrong


def _method(instead: Callable[..., Any], original: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *args: instead(original, self, *args)
