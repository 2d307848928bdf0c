"""One sum of a training over a transport that asks and is answered: planned, run, tried again."""

import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing
from typing import Final, TypeAlias

from ..codes import Code
from ..drivers.envelope import Ask, Invitation, read_task, seal
from ..drivers.executors import require_executor
from ..drivers.lockstep import Exchange, lockstep
from ..drivers.untold import untold_outcome
from ..encoding.described import Shape
from ..encoding.digest import Part
from ..errors import LocalProtocolError
from ..events import Completed, Failed, Phase
from ..numeric import brief
from ..params.checks import require_callable, require_kind, require_plain_function
from .ending import Ending, Keep, NotKeptError, another_follows, left_open, stop
from .plan import Plan
from .rounds import Rounds, subject_parts

AskNamed: TypeAlias = Callable[
    [Phase, Mapping[str, bytes]], Iterable[tuple[str, bytes | BaseException]]
]

_log: Final = logging.getLogger("secagg.rounds")


def run_round(
    rounds: Rounds,
    ask: AskNamed,
    present: Sequence[str] | Callable[[], Iterable[str]],
    shape: Shape,
    *about: Part,
    task: bytes = b"",
    settings: Part | None = None,
    keep: Keep | None = None,
    executor: Executor | None = None,
) -> Completed | Failed:
    """Gets one sum: plans a round with those present, runs it, and tries again where that helps.

    The twin of `secagg.aio.run_round` for a transport that asks and is answered; it blocks. At a
    party every payload goes to `secagg.answer`: the invitation, and later the task, is in it.

    A round about the same that was left open is run to its end first: by a process before this one,
    if the rounds have a home, or by a call that failed. With other settings it is given up if no
    input can have left, and else goes on with its own.

    Args:
        rounds: plan and count the rounds; their home stores servers.
        ask: called with the phase and a payload for each party by name; yields `(name, answer)` as
            answers come, as the `exchange` of `lockstep` does by index. An answer of a name that is
            not of the round is left out.
        present: names of the parties that can take part, or a function that returns them, called
            before each try. Those count that the rounds can invite (`Rounds.eligible`). Of a round
            that was left open, nobody else is asked: whoever is gone is lost to it.
        shape: coordinates of an input, or the layout of one. A `ModelLayout` is part of what the
            round is about, and so is a `secagg.analytics.Query`.
        about: what else it is about, such as the model, see `Rounds.plan`.
        task: what parties compute their input from, such as a model as bytes; b"" if the transport
            brings it, or they know.
        settings: what else all parties must have been told alike, see `Rounds.plan`.
        keep: stores what came of the sum, such as the next model, so that it is durable when this
            returns. It is called before anything of the round is forgotten: a process that is
            killed before loses nothing, if `rounds` have a home, and the parties' homes outlive it,
            and calls it again. What it raises is raised here, and the next call of `run_round`
            begins with it.
        executor: runs the server's jobs, as in `run_jobs`.

    Returns:
        The sum; or how the last round failed, if it makes no sense to try again.

    Raises:
        ParameterError: too few parties are present (`Code.QUORUM`), a name is there twice, or an
            argument is wrong; nothing was planned.
        AttemptsExhaustedError: clients give no more inputs for this; where `rounds.converged`,
            because the training has converged.
        LocalProtocolError: `ask` does not yield pairs of a name and an answer.
        StateError: the home failed, or another process plans rounds of this training there. A sum
            is returned nevertheless, and the log says it.
        Exception: what `ask` or `keep` raised. The round goes on with the next call.
    """
    require_kind("rounds", rounds, Rounds, "`secagg.Rounds(...)` makes one")
    require_callable("ask", ask, "it carries payloads to the parties, see docs/DRIVERS.md")
    require_executor(executor)
    data = read_task(task)
    if keep is not None:
        require_plain_function("keep", keep, "it is called with the sum")
    left = left_open(rounds, subject_parts(shape, about), settings)
    while True:
        here = rounds.eligible(present() if callable(present) else present)
        plan = left.pop(0) if left else rounds.plan(here, shape, *about, settings=settings)
        ending = None if keep is None else Ending(rounds, keep)
        try:
            ended = untold_outcome(plan.server)
            if ending is not None and ended is not None:  # in a call before this one
                ending.end(plan.server.session, ended)
            outcome = lockstep(
                plan.server,
                _exchange_of(plan, ask, frozenset(here), data),
                executor,
                ending if ending is not None and rounds.home is not None else rounds.home,
                observe=rounds.observe if ending is None else ending.observe,
            )
        except NotKeptError as error:
            stop(rounds, plan, left, ending)
            raise error.cause from None
        except BaseException:  # Ctrl-C, the transport, a full disk: the round can go on
            stop(rounds, plan, left, ending)
            raise
        if not another_follows(rounds, plan, left, outcome):
            return outcome


def _exchange_of(plan: Plan, ask: AskNamed, here: frozenset[str], task: bytes) -> Exchange:
    """Returns the `exchange` of `lockstep`: by index, with invitation and task in the payloads."""

    def exchange(
        phase: Phase, messages: Mapping[int, bytes]
    ) -> Iterator[tuple[int, bytes | BaseException]]:
        indices = {name: index for index, name in enumerate(plan.names)}
        strangers: set[str] = set()
        for index in messages:
            if plan.names[index] not in here:
                yield index, ConnectionError("it is not among those who are present now")
        asked = {i: message for i, message in messages.items() if plan.names[i] in here}
        if not asked:
            return
        answers = ask(phase, _Payloads(plan, phase, asked, task))
        if not isinstance(answers, Iterable):
            raise _wrong(type(answers).__name__)
        heard = False
        with closing(_pairs(answers)) as pairs:
            for name, answer in pairs:
                if name in indices:
                    heard = True
                    yield indices[name], answer
                elif name not in strangers:
                    strangers.add(name)
                    _log.warning(
                        "%s: an answer of %s, who is not of this round, was left out",
                        *(plan.server.session.hex(), brief(name)),
                    )
        if strangers and not heard:
            raise _wrong(f"the name {brief(min(strangers))}, whom it was not asked about")

    return exchange


class _Payloads(Mapping[str, bytes]):
    """The payloads by name, each made when it is read: every one may hold a copy of the task."""

    def __init__(
        self, plan: Plan, phase: Phase, messages: Mapping[int, bytes], task: bytes
    ) -> None:
        self._plan = plan
        self._phase = phase
        self._messages = messages
        self._indices = {plan.names[index]: index for index in messages}
        self._task = task

    def __getitem__(self, name: str) -> bytes:
        index, plan = self._indices[name], self._plan
        message = self._messages[index]
        if message == plan.server.offer:
            return seal(Invitation(message, index, plan.members, plan.attempt))
        if self._phase is Phase.MASKED_INPUT and self._task:
            return seal(Ask(self._task, message))
        return message

    def __iter__(self) -> Iterator[str]:
        return iter(self._indices)

    def __len__(self) -> int:
        return len(self._indices)


def _pairs(
    answers: Iterable[tuple[str, bytes | BaseException]],
) -> Generator[tuple[str, bytes | BaseException], None, None]:
    """Yields the pairs, and closes their generator at its end; refuses what is no pair."""
    try:
        for item in answers:
            match item:
                case (str() as name, answer):
                    yield name, answer
                case (key, _):
                    raise _wrong(f"a name of type {type(key).__name__}")
                case _:
                    raise _wrong(type(item).__name__)
    finally:
        close = getattr(answers, "close", None)
        if callable(close):
            close()


def _wrong(found: str) -> LocalProtocolError:
    return LocalProtocolError(
        "`ask` must yield pairs of a name that it is called with and an answer (bytes or an "
        f"exception), not {found}",
        Code.ARGUMENT,
    )
