"""Requests for an input: the assignment that an application gets, and its possible answers."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from numpy.typing import ArrayLike

from ..codes import Code
from ..errors import Aborted, LocalProtocolError, ParameterError
from ..params.checks import require_callable
from ..params.params import CONTEXT_BYTES, Round

Values: TypeAlias = ArrayLike | Iterator[ArrayLike]
# The vector; or the vector and its weight; or None if there is nothing to give.
Answer: TypeAlias = Values | tuple[Values, int] | None

OTHER_CONTEXT: Final = (
    "refused by this client: the round is about something else (training, layout, model, attempt) "
    "than the input would be for"
)


@dataclass(slots=True)
class Assignment:
    """One input that a round asks for.

    Attributes:
        round: the round, as the server offered it and the policy accepted it.
        index: the place of this party in the cohort.
        attempt: number of the attempt on what the round is about, from 0, by the server's word.
        task: what the server sent along, such as a model; bytes of the application, b"" if its
            transport brings it in another way.
        context: the context that was expected, or None.
    """

    round: Round
    index: int
    attempt: int = 0
    task: bytes = field(default=b"", repr=False)
    context: bytes | None = None

    def expect(self, context: bytes) -> None:
        """Says what the input is for, in this party's own words; needed in malicious mode.

        Compute it from what the input is computed from, in this party's own structure:
        `digest(training, layout, layout.take(model), attempt)`, which is what the server's
        `Rounds.plan(present, layout, model)` makes; without a `ModelLayout`
        `digest(training, model, attempt)`, for `plan(present, length, model)`. A number that only
        the server says, such as that of the round, must not be in it: the server would get the same
        input once for each number that it makes up.

        Raises:
            Aborted: the round is about something else; let it through.
            LocalProtocolError: the context does not have 32 bytes.
        """
        if not isinstance(context, bytes) or len(context) != CONTEXT_BYTES:
            found = f"{len(context)}" if isinstance(context, bytes) else type(context).__name__
            raise LocalProtocolError(
                f"a context is {CONTEXT_BYTES} bytes, not {found}: see `secagg.digest`",
                Code.ARGUMENT,
            )
        if context != self.round.context:
            raise Aborted(OTHER_CONTEXT, Code.POLICY_CONTEXT)
        self.context = context


Train: TypeAlias = Callable[[Assignment], Answer]


def require_train(train: Train) -> None:
    """Checks that a training can be called in a round: with one `Assignment`, and not awaited.

    Raises:
        ParameterError: it cannot.
    """
    require_callable("train", train, "it is called with an Assignment")
    kinds = inspect.iscoroutinefunction, inspect.isasyncgenfunction
    if any(each(one) for each in kinds for one in (train, type(train).__call__)):
        raise ParameterError(
            "train must be a plain function, and is `async`: nothing awaits it; call "
            "`asyncio.run` in it",
            Code.ARGUMENT,
        )
    try:
        inspect.signature(train).bind(None)
    except ValueError:  # of a function that is written in C, which does not say
        return
    except TypeError as error:
        raise ParameterError(
            f"train must be callable with one argument, an Assignment: {error}", Code.ARGUMENT
        ) from None


class AbandonedError(BaseException):
    """An input came when nobody wanted it any more, and goes nowhere; no training has failed.

    A driver raises it in the place of the application's training.
    """


class RoundOverError(AbandonedError):
    """The same, as the server has said that the round is over: nothing of it is needed any more."""
