"""Rounds over real sockets in which peers are killed, come back, are slow, silent or malformed.

Whatever the schedule, the sum is right and has everybody who stayed, in time, and nothing is left.
So that green means something, the schedules find bugs that are planted in the drivers.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
from aio.schedules import Schedule, happens
from aio.skipping import play_ahead
from levels import amount

from secagg.aio import Hub, HubNet
from secagg.aio.round_loop import RoundLoop
from secagg.events import Phase

AT_ONCE = 20


def found(numbers: Sequence[int]) -> dict[str, str]:
    """Returns what is wrong in these schedules, which are played side by side."""
    schedules = [Schedule(number) for number in numbers]

    async def scenario() -> list[str]:
        return await asyncio.gather(*map(happens, schedules))

    wrong = play_ahead(scenario)
    return {repr(each): what for each, what in zip(schedules, wrong, strict=True) if what}


def test_the_sum_is_right_and_nobody_who_stays_is_left_out() -> None:
    """No task, thread or descriptor is left; the loop reports no exception."""
    numbers = range(amount("rounds over sockets"))
    for first in range(0, len(numbers), AT_ONCE):
        assert found(numbers[first : first + AT_ONCE]) == {}


async def nothing(*_: object) -> None:
    """Stands for a step that is missing."""


def timers_stay(self: Any, phase: Phase) -> None:
    """A timer for each phase, which ends the phase that is under way when it is up."""

    async def expire() -> None:
        await self._act(self._conductor.deadline, self._conductor.phase)

    self._timers[phase] = (self._loop.time() + self._seconds[phase], expire)


def without_bound(bind: Callable[..., None]) -> Callable[..., None]:
    return lambda self, session, _: bind(self, session, 2**62)


def to_the_next(send: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, party, data: send(self, (party + 1) % len(self.names), data)


def as_the_next(deliver: Callable[..., Any]) -> Callable[..., Any]:
    def delivers(self: HubNet, name: str, data: bytes) -> Any:
        return deliver(self, self.names[(self.indices[name] + 1) % len(self.names)], data)

    return delivers


def forgets_the_newer(attach: Callable[..., Any]) -> Callable[..., Any]:
    async def attaches(self: Hub, name: str, link: Any) -> None:
        try:
            await attach(self, name, link)
        finally:
            if name in self._peers:
                self._forget(self._peers[name])

    return attaches


class Bug(NamedTuple):
    """A method, what stands in its place, and the schedule in which that must show."""

    where: type
    method: str
    instead: Callable[[Callable[..., Any]], Callable[..., Any]]
    shows_in: int
    says: str


BUGS = {
    "a party that is back gets nothing": Bug(RoundLoop, "_resend", lambda _: nothing, 2, "no end"),
    "a lost connection is forgotten": Bug(
        RoundLoop, "_on_lost", lambda _: lambda *_: None, 0, "no end"
    ),
    "a timer of an earlier phase": Bug(
        RoundLoop, "_start_timer", lambda _: timers_stay, 1, "without [(1, 'SLOW')]"
    ),
    "a queue without bound": Bug(HubNet, "bind", without_bound, 10, "bytes of one party"),
    "a message to another party": Bug(HubNet, "send", to_the_next, 3, "no end"),
    "a message as another party's": Bug(HubNet, "deliver", as_the_next, 3, "no "),  # end or sum
    "an older connection ends the newer": Bug(Hub, "attach", forgets_the_newer, 3, "no sum"),
    "a hello is not passed on": Bug(Hub, "_greet", lambda _: nothing, 3, "no sum"),
}


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The schedules would not be green with it."""
    bug = BUGS[name]
    monkeypatch.setattr(bug.where, bug.method, bug.instead(getattr(bug.where, bug.method)))
    [what] = found([bug.shows_in]).values()
    assert bug.says in what
