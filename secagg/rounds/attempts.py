"""Counts the attempts on each subject: the numbers of its rounds in which inputs may have left.

A client's input counts as given when it leaves the client, whatever becomes of the round: a server
may have the sum of a round that it calls failed. Clients give their input for one subject (a
training and a model, say) a limited number of times, and each time under another number, which is
part of the context. So a server must not use a number twice, nor waste one.
"""

from itertools import count
from typing import Final

from ..codes import Code
from ..errors import AttemptsExhaustedError, ParameterError


def check_training(training: str) -> None:
    """Checks the word for a training, which all of its contexts begin with.

    Raises:
        ParameterError: it is no text, empty, or no Unicode.
    """
    if not isinstance(training, str) or not training:
        raise ParameterError(
            f"training must be a word for this training, not {training!r}; choose one that the "
            "cohort has not used",
            Code.ARGUMENT,
        )


class Attempts:
    """The numbers that are used, by subject, counted from 0.

    Attributes:
        limit: how many attempts on one subject clients take part in; None for any number.
        used: the numbers of the rounds in which inputs may have left, or still may.
        succeeded: the subjects of which a round had a result.
        impossible: the subjects of which a round had a sum that honest clients cannot have.
        lost: the subjects of which a round was left by its process, and could not go on.

    Args:
        limit: as above.
        what: what a subject is, for messages.
    """

    def __init__(self, limit: int | None, what: str = "this subject") -> None:
        self.limit: Final = limit
        self._what = what
        self.used: Final[dict[bytes, set[int]]] = {}
        self.succeeded: Final[set[bytes]] = set()
        self.impossible: Final[set[bytes]] = set()
        self.lost: Final[set[bytes]] = set()

    def _lowest_free(self, subject: bytes) -> int:
        used = self.used.get(subject, ())
        return next(number for number in count() if number not in used)

    def are_exhausted(self, subject: bytes) -> bool:
        """Returns whether no attempt on a subject is left."""
        return self.limit is not None and self._lowest_free(subject) >= self.limit

    def have_converged(self, subject: bytes) -> bool:
        """Returns whether no attempt is left on a subject of which a round had a result.

        The subject is what a client's input depends on. So a result that leads back to it, such as
        an update of zero to a model, is final.
        """
        return subject in self.succeeded and self.are_exhausted(subject)

    def next(self, subject: bytes, *, is_open: bool = False) -> int:
        """Returns the number for the next round on a subject; it is not used yet.

        Args:
            subject: what the round is about.
            is_open: whether a round about it is open, which may give its number back.

        Raises:
            AttemptsExhaustedError: clients take part in no more rounds on it.
        """
        if self.are_exhausted(subject) and is_open:
            raise AttemptsExhaustedError(
                f"a round about {self._what} is still open: close it, or go on with it "
                "(`Rounds.resume`, also after `Rounds.leave`)",
                Code.ATTEMPTS_EXHAUSTED,
            )
        if self.are_exhausted(subject):
            raise AttemptsExhaustedError(
                f"all attempts on {self._what} are used ({len(self.used[subject])} of "
                f"{self.limit}): clients give their input for it no more often, whatever became of "
                f"the rounds; {self._advice(subject)}",
                Code.ATTEMPTS_EXHAUSTED,
            )
        return self._lowest_free(subject)

    def _advice(self, subject: bytes) -> str:
        """Returns why no attempt is left, as far as that is known, and what helps."""
        agree = "agree with all parties on one attempt more, or on a new word for the training"
        if subject in self.succeeded:
            return (
                "a round about the same succeeded, so the training has converged; or, if its "
                f"result was lost before it was stored, {agree}"
            )
        if subject in self.lost:
            return (
                "the process of a round about the same ended after inputs may have left clients, "
                f"and the round could not go on: if `keep` did not store its result, {agree}"
            )
        return "choose parameters for a higher dropout rate, or agree on more attempts"

    def use(self, subject: bytes, attempt: int) -> None:
        """Marks a number as used, before anything of its round is sent."""
        self.used.setdefault(subject, set()).add(attempt)

    def give_back(self, subject: bytes, attempt: int) -> None:
        """Frees a number whose round ended before inputs could leave."""
        used = self.used.get(subject, set())
        used.discard(attempt)
        if not used:
            self.used.pop(subject, None)
