"""The client side of buffered averaging: it keeps its update until enough others are ready.

Source: Nguyen et al. 2022 (arXiv 2106.06639). There a trusted machine holds the buffer; here it is
a secure sum over those who reported ready.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from secagg import Client, Code, Mode, Once, ParameterError, StateError, digest
from secagg.numeric import as_float, brief
from secagg.simulate import Input

from ..agreed import NUMBERS, buffer_context
from ..models import Model
from ..participant import Member, Randomness, require_number
from ..updates import Vector, clipped_by_array, function, whole

MOST_STALE: Final = 10_000
_DIGEST_BYTES: Final = 32

Weigh = Callable[[int], float]


def staleness_weight(stale: int) -> float:
    """Returns 1 / sqrt(1 + stale): what an update counts after so many changes of the model.

    Raises:
        ParameterError: it is no whole number from 0.
    """
    return 1 / math.sqrt(1 + whole("stale", stale, 0, 2**63 - 1))


@dataclass(slots=True)
class _Work:
    """A model, its digest, and the update that was trained on it, as long as it is kept."""

    model: Model
    version: bytes
    update: tuple[Vector, int] | None = None


class BufferedParticipant(Member):
    """The client side of `FedBuff`: it trains at its own pace, and keeps the update.

    `begin` takes a model, `train` makes the update, `join` gives it into one sum, no matter whether
    that succeeds: then it begins anew. An update that is too stale is not given.

    In malicious mode it gives its update of one model at most `attempts` times, to which its ledger
    sees: what counts for "once" is the model and this client's own count, not the number of the
    attempt, which the server chooses. So there may be many sums about one model, each over other
    clients. A ledger that has a method `has` tells a new object what others have given.

    By default it enters only sums in which everybody trained on the same model, and so counts alike
    (`FedBuff` says why).

    Attributes:
        reason, code, clipped, training_seconds: as of `Participant`; they are about its last
            training and the sum that it joined last.
        subject: as of `Participant`, of the sum for which it has made its input last.
        given: how many updates have left it, or may have.
        weights: what an update counts after so many changes of the model, from none.

    Args:
        attempts: in malicious mode, how often it gives its update of one model, at least once.
        most_stale: how often the model may have changed since it was sent to this client, at most,
            if its update is to be given; 0..10,000.
        weigh: what an update counts after so many changes; above 0, and at most 1. All clients need
            the same function. By default 1 / sqrt(1 + changes).
        mixed: whether it enters sums over updates of several models; in semi-honest mode only.
        contributions: how many updates it gives in all, at least one; by default any number. This
            object counts them, also if sums overlap: the limit ends with it. What outlasts it, and
            counts those of all objects with the same data, is `budget`.
        others: as of `Participant`.

    Raises:
        ParameterError: as of `Participant`; or a value is outside its range.
    """

    def __init__(
        self,
        *args: Any,
        most_stale: int = 10,
        weigh: Weigh = staleness_weight,
        mixed: bool = False,
        contributions: int | None = None,
        **others: Any,
    ) -> None:
        super().__init__(*args, **others)
        self.given = 0
        self._most_stale: Final = whole("most_stale", most_stale, 0, MOST_STALE)
        function("weigh", weigh, "stale")
        self.weights: Final = [_weight(weigh, stale) for stale in range(self._most_stale + 1)]
        if not isinstance(mixed, bool):
            raise ParameterError(f"mixed must be True or False, not {brief(mixed)}", Code.ARGUMENT)
        self._mixed = mixed
        if mixed and self._params.mode == Mode.MALICIOUS:
            raise ParameterError(
                "mixed buffers do not protect from a server that lies: it could send all but one "
                "client a model whose updates are zero, or known to it, and the sum would be the "
                "update of that one; leave mixed out, or take semi-honest mode",
                Code.ARGUMENT,
            )
        self._limit = (
            NUMBERS
            if contributions is None
            else whole("contributions", contributions, 1, NUMBERS - 1)
        )
        self._times: dict[bytes, int] = {}  # that an update left, by the digest of the model
        self._work: _Work | None = None  # that was begun last

    def why_not(self, version: bytes | None = None) -> tuple[str, Code] | None:
        """Returns why this client gives no update, and the code of this reason; None if it does.

        Args:
            version: digest of the model; by default the reason must hold for any.
        """
        if spent := self._why_spent(version):
            return spent
        if reason := self._why_out():
            return reason, Code.TRAINING
        return None

    def _why_spent(self, version: bytes | None) -> tuple[str, Code] | None:
        """Returns why it has given as many updates as it may: in all, or of a model."""
        if self.given >= self._limit:
            return (
                f"refused by this client: it has given {self.given} updates, all that its privacy "
                "allows",
                Code.BUDGET,
            )
        times = 0 if version is None else self._times_of(version)
        if self._params.mode == Mode.MALICIOUS and times >= self._attempts:
            return (
                f"refused by this client: it has given its update of this model {times} times, its "
                "limit",
                Code.ATTEMPTS_EXHAUSTED,
            )
        return None

    def _times_of(self, version: bytes) -> int:
        """Returns how many updates of a model have left: by its count, and its ledger if it can."""
        times, has = self._times.get(version, 0), getattr(self._ledger, "has", None)
        if has is None or self._identity is None:
            return times
        with suppress(StateError):  # of the ledger; `submit` asks it again
            while has(Once.CONTRIBUTION, self._identity.verify_key + self._nth(version, times)):
                times += 1
        return times

    def _nth(self, version: bytes, times: int) -> bytes:
        """Returns what an update of a model is given for once, after so many others."""
        return digest(self._training, "buffer", version, times)

    def begin(self, model: Model) -> None:
        """Takes a model to train on; what it had before is dropped, also if it trains just now.

        Raises:
            ParameterError: the model has another structure or dtype than the template, or a value
                that is not finite.
        """
        model = self._template.take(model)
        self._work = _Work(model, digest(model))

    @property
    def times(self) -> dict[str, int]:
        """The numbers of updates that have left it, by the model's digest, hexadecimal."""
        return {version.hex(): times for version, times in self._times.items()}

    def put_back(self, given: int, times: Mapping[str, int]) -> None:
        """Takes back the counts of another object of this client: `given` and `times`."""
        self.given = given
        self._times = {bytes.fromhex(version): many for version, many in times.items()}

    def lose(self) -> None:
        """Counts the update that it trains, or has kept, as given: it may have left."""
        if (work := self._work) is not None:
            work.update = None
            self._count(work.version, self._times_of(work.version))

    def _count(self, version: bytes, before: int) -> None:
        """Counts an update of a model, after so many others of it."""
        self._times[version] = before + 1
        self.given += 1

    def train(self) -> bool:
        """Trains, and returns whether there is an update to give; else `reason` says why."""
        self.reason, self.code, self.training_seconds = "", None, 0.0
        if (work := self._work) is None:
            return False
        work.update = self._input_or_none(work.model, (), self._form)
        if work is not self._work:
            self.reason = "another model came while it trained, and what it trained is dropped"
            self.code = Code.NO_INPUT
            return False
        return work.update is not None

    def join(
        self,
        offer: bytes,
        attempt: int,
        stale: Sequence[int],
        versions: Sequence[bytes] = (),
        random: Randomness | None = None,
        members: Sequence[int] | None = None,
    ) -> tuple[Client, Input]:
        """Joins a sum with the update that it has kept; see `Participant.join`.

        The context is computed from the model that this client has trained on. In a mixed buffer
        the server says what the others trained on: what they have got under these digests, only
        they know.

        Args:
            offer: the server's first message.
            attempt: number of the attempt, as the server says.
            stale: how often the model has changed since, as the server says: one number for all,
                or in a mixed buffer one for each member of the cohort.
            versions: in a mixed buffer, the digests of the members' models; by default all trained
                on the same.
            random, members: as of `Participant.join`.

        Raises:
            ParameterError: it has no update that it may give, or that is too stale; another member
                trained on another model, and this client does not take part in such sums; the
                server says that this client trained on another model; or as of `Participant.join`.
            DecodeError: the offer is malformed.
        """
        self.clipped = {}
        self.subject = self._gave = None
        require_number("attempt", attempt)
        index, directory = self._place(members)
        cohort = self._params.cohort
        entry = self._entry(index, cohort, stale, versions)
        for each in stale:
            require_number("a staleness", each)
            if each > self._most_stale:
                raise ParameterError(
                    f"refused by this client: an update would be {each} changes of the model old, "
                    f"and {self._most_stale} are its limit",
                    Code.POLICY_CONTEXT,
                )
        if (work := self._work) is None or work.update is None:
            raise _not_ready()
        version = work.version
        if refusal := self.why_not(version):
            reason, code = refusal
            raise ParameterError(reason, code)
        own = list(versions) if len(stale) > 1 else [version]
        if own[entry] != version:
            raise ParameterError(
                "refused by this client: it has trained on another model than the server says",
                Code.POLICY_CONTEXT,
            )
        context = buffer_context(self._training, own, stale, attempt)
        params, form = self._terms(offer)
        secure = self._client_of(offer, params, context, index, directory, random)
        with self._lock:  # another sum may have got it meanwhile
            kept, work.update = work.update, None
        if kept is None:
            raise _not_ready()
        update, weight = kept[0] * self.weights[stale[entry]], kept[1]
        self.clipped = clipped_by_array(work.model, update, form)
        counted = False

        def give() -> tuple[Vector, int] | None:
            nonlocal counted
            with self._lock:  # other sums may have taken what was left when this one was joined
                refusal = None if counted else self._why_spent(version)
                self.reason, self.code = refusal or ("", None)
                if refusal:
                    return None
                if not counted:  # now, so that no sum that is open at the same time has this number
                    times = self._times_of(version)
                    self.subject = self._nth(version, times)
                    secure.expect(context, self.subject)
                    self._count(version, times)
                counted = True
            self._gave = secure
            return self._packed((update, weight), form)

        return secure, give

    def _entry(
        self, index: int, cohort: int, stale: Sequence[int], versions: Sequence[bytes]
    ) -> int:
        """Returns this member's place in what the server says of the models of all."""
        if not isinstance(stale, list | tuple) or not isinstance(versions, list | tuple):
            raise ParameterError(
                "the members' models and how stale they are must be lists", Code.ARGUMENT
            )
        if len(stale) == 1 and not versions:
            return 0
        if not self._mixed:
            raise ParameterError(
                "refused by this client: the members of this sum trained on several models, and "
                "the server could tell their updates apart; it takes part with mixed=True only",
                Code.POLICY_CONTEXT,
            )
        right = len(stale) == len(versions) == cohort and all(
            type(each) is bytes and len(each) == _DIGEST_BYTES for each in versions
        )
        if not right:
            raise ParameterError(
                f"a mixed buffer needs a digest and a staleness for each of {cohort} members, not "
                f"{len(versions)} and {len(stale)}",
                Code.ARGUMENT,
            )
        return index


def _not_ready() -> ParameterError:
    return ParameterError("this client has no update that is ready", Code.NO_INPUT)


def _weight(weigh: Weigh, stale: int) -> float:
    """Returns a weight; raises ParameterError unless it is above 0, and at most 1."""
    found = as_float(given := weigh(stale))
    if found is None or not 0 < found <= 1:
        raise ParameterError(
            f"the weight of an update must be above 0, and at most 1, and weigh({stale}) is "
            f"{brief(given)}",
            Code.ARGUMENT,
        )
    return float(np.float64(found))
