"""Requests for an input: the assignment that an application gets, and its possible answers."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from numpy.typing import ArrayLike

from ..codes import Code
from ..encoding.described import Described
from ..encoding.digest import Part, digest
from ..encoding.model_layout import ModelLayout
from ..errors import Aborted, LocalProtocolError, ParameterError
from ..params.checks import require_plain_function
from ..params.params import CONTEXT_BYTES, Round

Values: TypeAlias = ArrayLike | Iterator[ArrayLike]
# The vector; or the vector and its weight; or None if there is nothing to give.
Answer: TypeAlias = Values | tuple[Values, int] | None

# What the server is told where the round is another one than the input would be for, or the input
# was given.
OTHER_ROUND: Final = {
    Code.POLICY_CONTEXT: (
        "refused by this client: the round is about something else (training, layout, model, "
        "attempt, settings) than the input would be for"
    ),
    Code.REPEATED_CONTRIBUTION: "refused by this client: it has given an input for this before",
    Code.POLICY_FORMAT: "refused by this client: the round has another format than the input",
    Code.POLICY_LENGTH: "refused by this client: the round has another length than the input",
}


@dataclass(slots=True)
class Assignment:
    """One input that a round asks for.

    Attributes:
        round: the round, as the server offered it and the policy accepted it.
        index: the place of this party in the cohort.
        attempt: number of the attempt on what the round is about, from 0, by the server's word.
        task: what the server sent along, such as a model; bytes of the application, b"" if its
            transport brings it in another way.
        context: what the input is for: as `expect` computed it, or None. Where contexts are made in
            another way, set it (32 bytes): one that is not the round's is refused.
        subject: what an input is given for once, as `expect` computed it; None if that is the
            context.
    """

    round: Round
    index: int
    attempt: int = 0
    task: bytes = field(default=b"", repr=False)
    context: bytes | None = None
    subject: bytes | None = None
    # Raises Aborted if an input was given for a subject before; a driver may know.
    require_new: Callable[[bytes], None] | None = field(default=None, repr=False, compare=False)

    def expect(self, *parts: Part, settings: Part | None = None) -> None:
        """Says what the input is for, in this party's own words; needed in malicious mode.

        Give what the input is computed from, in this party's own structure:
        `expect(training, layout, layout.take(model))`, where the server has
        `Rounds(training, ...).plan(present, layout, model)`; without a `ModelLayout`
        `expect(training, model)`, for `plan(present, length, model)`. The context is
        `digest(*parts, attempt)`. A number that only the server says, such as that of the round,
        must not be in it: the server would get the same input once for each number that it makes
        up.

        Format and length of the round must be those of each `ModelLayout` and `Query`.

        Args:
            parts: as `digest` takes them, without the attempt.
            settings: what else the server has said, and all must have got alike, such as a learning
                rate; as in `Rounds.plan`. Without it a server could tell all but one party to learn
                nothing, and the sum would be that party's update. It does not make another input:
                whatever the settings, the input for these parts is given once.

        Raises:
            Aborted: the round is about something else, or of another format or length, or an input
                was given for this before; let it through.
            LocalProtocolError: there are no parts, or a digest in their place.
            RangeError: a part has no digest.
        """
        if not parts or (len(parts) == 1 and _is_digest(parts[0])):
            raise LocalProtocolError(
                "expect() takes what the input is for, such as training, layout and model, and "
                f"adds the attempt itself; not {'a digest of it' if parts else 'nothing'}",
                Code.ARGUMENT,
            )
        offered = self.round.params
        for each in parts:
            if isinstance(each, ModelLayout | Described):
                if each.format is not None:
                    _require_same("format", offered.format, each.format, Code.POLICY_FORMAT)
                _require_same("length", offered.length, each.length, Code.POLICY_LENGTH)
        subject = digest(*parts, self.attempt)
        context = subject if settings is None else digest(subject, settings)
        if context != self.round.context:
            raise Aborted(OTHER_ROUND[Code.POLICY_CONTEXT], Code.POLICY_CONTEXT)
        if self.require_new is not None:
            self.require_new(subject)
        self.context, self.subject = context, None if settings is None else subject


def _is_digest(part: Part) -> bool:
    return isinstance(part, bytes | bytearray) and len(part) == CONTEXT_BYTES


def _require_same(what: str, offered: object, ours: object, code: Code) -> None:
    """Raises Aborted if the round has another format or length than a layout of this party."""
    if offered != ours:
        raise Aborted(f"{OTHER_ROUND[code]}: its {what} is {offered}, not {ours}", code)


Train: TypeAlias = Callable[[Assignment], Answer]


def require_train(train: Train) -> None:
    """Checks that a training can be called in a round: with one `Assignment`, and not awaited.

    Raises:
        ParameterError: it cannot.
    """
    require_plain_function("train", train, "it is called with an Assignment")
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
