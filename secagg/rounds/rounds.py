"""Plans the rounds of a training at its server, for any driver.

    form = secagg.FixedPoint(clip=1.0, bits=20, max_weight=1000)
    rounds = secagg.Rounds("heart study 3", form, directory=pins, home=home)
    layout = secagg.ModelLayout.of(model, form, cohort=100)

With clients that stay connected `secagg.aio.run_round` is one round; with another driver:

    for _ in range(10):
        again = True
        while again:
            plan = rounds.plan(framework.nodes(), layout, model)
            outcome = secagg.lockstep(
                plan.server, exchange_for(plan, model), store=home, observe=rounds.observe
            )
            again = rounds.close(plan, outcome)
        model, _ = layout.unpack(outcome.result, model)

A client says what its input is for in its own words. Only what its input is computed from is in
them, never a number that the server tells, with which it would get the same input again and again:

    def train(assignment):
        model = layout.from_bytes(assignment.task)  # in this client's own structure
        assignment.expect("heart study 3", layout, model)
        return layout.pack(trained(model), model), examples
"""

import logging
from collections.abc import Iterable, Sequence
from typing import Final

from ..codes import Code
from ..drivers.conductor import Observer, PhaseEnded, RoundEnded
from ..encoding.described import Described, Shape
from ..encoding.digest import Part, digest
from ..encoding.model_layout import ModelLayout
from ..errors import ParameterError
from ..events import Completed, Failed
from ..home.home import Home
from ..identity.directory import Directory
from ..machine.claims import claim_plan, give_up_plan
from ..numeric import brief
from ..pairwise.server import Server
from ..params.checks import require_int, require_kind, require_plain_function
from ..params.formats import Format
from ..params.mode import Mode
from ..params.params import MAX_COHORT
from ..params.suite import Suite
from ..texts import described
from .attempts import check_training
from .cohorts import Cohorts
from .keeping import Keeper, OpenRound
from .open_rounds import OpenRounds, Running
from .plan import Plan
from .record import RoundRecord, listed

_log: Final = logging.getLogger("secagg.rounds")

_MOST_ATTEMPTS: Final = 2**32 - 1  # an invitation has 32 bits for the number
# What a round fails by when too many parties were lost; others may stay for the next one.
_TOO_FEW_LEFT: Final = frozenset({Code.QUORUM, Code.NEIGHBOURS, Code.DISCONNECTED})


def subject_parts(shape: Shape, about: tuple[Part, ...]) -> tuple[Part, ...]:
    """Returns what a round is about: its layout or query, if it has one, and what the caller says.

    The layout decides what an input means, so nobody can leave it out: with two layouts in one
    subject the same update could enter two sums.

    Raises:
        ParameterError: `about` has the layout as well.
    """
    if not isinstance(shape, ModelLayout | Described):
        return about
    if any(isinstance(part, type(shape)) and part == shape for part in about):
        raise ParameterError(
            "the layout is part of what a round is about by itself: leave it out of `about`",
            Code.LAYOUT,
        )
    return shape, *about


def forget_ended(home: Home, session: bytes) -> None:
    """Removes what is stored of a round that has an outcome, which no failure of it may cost."""
    try:
        home.forget(session)
    except Exception as error:
        _log.warning(
            "%s: what is stored of this round was not removed: %s",
            *(session.hex(), described(error)),
        )


def _context_of(parts: tuple[Part, ...], attempt: int, settings: Part | None) -> bytes:
    inner = digest(*parts, attempt)
    return inner if settings is None else digest(inner, settings)


class Rounds:
    """Plans a training's rounds: who is invited, what each is about, what follows a failure.

    It keeps no model and sends nothing. Several rounds may be open at a time; calls may come from
    any thread. With a home, its counts outlive the process.

    An input counts as given when it may have left its client. So the number of an attempt is used
    from the moment when a round is planned, and free again only if that round is closed as failed
    before inputs could leave, or was left by a process that ended before.

    One process at a time plans and resumes the rounds of a training in a home: for as long as it
    has such an object, another one is refused. Of several objects in it none takes up what another
    has under way.

    `plan` hashes what the round is about, twice: with a large model, an event loop should call it
    in a thread.

    Attributes:
        least: the smallest cohort that is invited.
        history: the record of every round that was closed, in the order of closing. Yours to clear.

    Args:
        training: the cohort's word for this training, agreed on without the server; not empty.
            Contexts begin with it, so with the same ledgers another training needs another word.
        format: how inputs are encoded. With noise, the thresholds or fractions and `least` must be
            those of its plan (`NoisePlan.for_rounds`).
        directory: malicious mode: the verify keys of all who may take part. Parties are then known
            by their names in it.
        mode: malicious by default if there is a directory.
        suite: the algorithms.
        corrupt, dropout: greatest fractions of a cohort that collude with the server, and that drop
            out: parameters are then those of `Params.for_cohort`. Otherwise they follow from
            `threshold`, `min_survivors` and `colluders`, whose defaults are those of `Params`.
        least: invite no fewer parties; at least 2. By default 3, or as many as there must be for a
            sum by `threshold` and `min_survivors`.
        most: invite no more parties: drawn at random from those present. By default all.
        attempts: how often clients give their input for one subject, as agreed with them
            (`Home(attempts=...)`). With more than one, the server may learn as many sums over the
            same inputs, whose differences are sums over fewer clients.
        tries: how many rounds on one subject may fail, one after the other, because too few parties
            were left, before `close` advises against one more.
        home: keeps the counts, and has the ledger of the servers, so that they can be stored.
        observe: is called with all that `Rounds.observe` is called with, such as for metrics.

    Raises:
        ParameterError: an argument is wrong, or `least` or `most` parties have no safe parameters.
        StateError: what the home keeps of this training cannot be used.
    """

    def __init__(
        self,
        training: str,
        format: Format,  # noqa: A002
        *,
        directory: Directory | None = None,
        mode: Mode | None = None,
        suite: Suite = Suite.AES256CTR,
        corrupt: float | None = None,
        dropout: float | None = None,
        threshold: int = 0,
        min_survivors: int = 0,
        colluders: int = -1,
        least: int | None = None,
        most: int | None = None,
        attempts: int = 1,
        tries: int = 3,
        home: Home | None = None,
        observe: Observer | None = None,
    ) -> None:
        check_training(training)
        digest(training)  # refuses what is no Unicode
        if home is not None:
            require_kind("home", home, Home, "`secagg.Home(folder)` makes one")
        if observe is not None:
            require_plain_function("observe", observe, "it is called with what happened")
        self._cohorts = Cohorts(
            format,
            directory=directory,
            mode=mode,
            suite=suite,
            corrupt=corrupt,
            dropout=dropout,
            threshold=threshold,
            min_survivors=min_survivors,
            colluders=colluders,
            least=least,
            most=most,
        )
        self.least: Final = self._cohorts.least
        self._tries = require_int("tries", tries, 1, MAX_COHORT)
        attempts = require_int("attempts", attempts, 1, _MOST_ATTEMPTS)
        self._training = training
        self._home = home
        self._observer = observe
        self._keeper = Keeper(training, attempts, home.path if home else None)
        self._lock = self._keeper.shared.lock
        self._failures: dict[bytes, int] = {}  # one after the other, by subject
        self.history: Final[list[RoundRecord]] = []
        self._open = OpenRounds(self._cohorts, self._keeper, home, self.history)

    @property
    def home(self) -> Home | None:
        """The home that keeps the counts and the servers of these rounds."""
        return self._home

    def __repr__(self) -> str:
        return f"<secagg.Rounds of {self._training!r}: {len(self._open)} open>"

    def eligible(self, names: Iterable[str]) -> list[str]:
        """Returns those of these names that can be invited: in malicious mode the directory's.

        The log tells of each of the others once.
        """
        return self._cohorts.eligible(names)

    def missing(self, names: Iterable[str]) -> list[str]:
        """Returns the names in the directory that are not among these; none without a directory."""
        return self._cohorts.missing(names)

    # -- one round ------------------------------------------------------------------------------

    def plan(
        self,
        present: Sequence[str],
        shape: Shape,
        *about: Part,
        settings: Part | None = None,
    ) -> Plan:
        """Plans one round; carry it out with a driver, then `close` it.

        Args:
            present: names of the parties that can take part now, each once; in malicious mode those
                of the directory (`eligible`). Of more than `most`, or than the layout is for, some
                are drawn at random.
            shape: coordinates of an input, or the layout of one. A `ModelLayout` is part of what
                the round is about, and so is a `secagg.analytics.Query`.
            about: what else the clients' inputs are computed from, in any parts that `digest`
                takes, such as the model. Clients compute the context from the same, as they know
                it, see `Assignment.expect`. No number of the round: a client cannot check it, so
                whoever invents numbers gets the same input again.
            settings: what else all parties must have been told alike, such as a learning rate, see
                `Assignment.expect`. It is part of the context, and not of what attempts are counted
                for.

        Raises:
            ParameterError: a name is unknown or there twice; fewer are present than are to be
                invited (`Code.QUORUM`); no parameters are safe for these; or `about` has the layout
                as well.
            AttemptsExhaustedError: clients give no more inputs for this, or a round about it is
                open.
            RangeError: something of `about` has no digest.
            StateError: the home failed, or another process plans rounds of this training there
                (`busy`); nothing is planned.
        """
        names, members, params = self._cohorts.draw(present, shape)
        parts = (self._training, *subject_parts(shape, about))
        subject = digest(*parts)
        with self._lock:
            self._keeper.hold()
            with self._keeper.change() as counts:
                still = any(each.subject == subject.hex() for each in counts.open.values())
                attempt = counts.attempts.next(subject, is_open=still)
                context = _context_of(parts, attempt, settings)
                ledger = self._home.ledger if self._home else None
                server = Server(params.round(context), self._cohorts.select(members), ledger)
                if ledger is not None:
                    claim_plan(ledger, server.session)
                plan = Plan(counts.planned, names, members, params, context, attempt, server)
                counts.attempts.use(subject, attempt)
                counts.planned += 1
                counts.open[server.session] = OpenRound(
                    plan.number, attempt, subject.hex(), names, members
                )
            self._open.begin(plan, subject)
        self._log_plan(plan, "")
        return plan

    def _log_plan(self, plan: Plan, more: str) -> None:
        _log.info(
            "%s: round %d, attempt %d of %s%s: %s",
            *(plan.server.session.hex(), plan.number, plan.attempt, brief(self._training), more),
            listed([f"{index} {name}" for index, name in enumerate(plan.names)]),
        )

    def observe(self, happened: PhaseEnded | RoundEnded) -> None:
        """Takes what a driver reports of these rounds; give it to drivers as `observe`."""
        with self._lock:
            self._open.note(happened)
        if self._observer is not None:
            self._observer(happened)

    def close(
        self, plan: Plan, outcome: Completed | Failed | None, inputs_left: bool | None = None
    ) -> bool:
        """Notes how a round ended; returns whether to try again, with those present then.

        To try again is advised after a round that failed because too few parties were left, if
        tries and attempts are left; not if `observe` saw that refusals alone were too many, by
        parties that would refuse again (`RoundRecord.refused`).

        Args:
            plan: of these rounds, not closed yet.
            outcome: what the driver returned; None if the round is given up.
            inputs_left: whether inputs may have left clients: False only if the round failed before
                `PhaseStarted(Phase.MASKED_INPUT)`. By default what `observe` saw decides, and not
                knowing is as if they had. With a home its ledger must agree, and it alone decides
                about a round that is given up.

        Raises:
            LocalProtocolError: the plan was closed before, or is of other rounds.
            ParameterError: the outcome is something else.
            StateError: the home failed; close it again.
        """
        if not isinstance(outcome, Completed | Failed | None):
            raise ParameterError(
                "outcome must be what a driver returns, Completed or Failed, or None, not "
                f"{type(outcome).__name__}",
                Code.ARGUMENT,
            )
        with self._lock:
            running = self._open.running(plan)
            session, subject, course = plan.server.session, running.subject, running.course
            succeeded = isinstance(outcome, Completed)
            if self._home is not None and outcome is None:
                self._home.forget(session)
            elif self._home is not None:  # a driver before may have been unable to
                forget_ended(self._home, session)
            left = succeeded or inputs_left or self._may_have_left(running, outcome, inputs_left)
            with self._keeper.change() as counts:
                # A number that was given back before, when the disk failed then, may be used again.
                noted = counts.open.pop(session, None) is not None
                if noted and not left:
                    counts.attempts.give_back(subject, plan.attempt)
                if succeeded:
                    counts.attempts.succeeded.add(subject)
                if isinstance(outcome, Failed) and outcome.code is Code.IMPOSSIBLE_SUM:
                    counts.attempts.impossible.add(subject)
                rolled_back = isinstance(outcome, Failed) and outcome.code is Code.ROLLED_BACK
                if noted and left and rolled_back:
                    counts.attempts.lost.add(subject)
                exhausted = counts.attempts.are_exhausted(subject)
            self._open.end(session)
            record = course.record(plan.number, plan.attempt, session, plan.names, outcome, left)
            self.history.append(record)
            _log.info("%s: round %d: %s", session.hex(), plan.number, record.described())
            failures = self._failures.pop(subject, 0) + 1
            again = (
                isinstance(outcome, Failed)
                and outcome.code in _TOO_FEW_LEFT
                and failures < self._tries
                and not exhausted
                and not course.would_fail_again(plan.params)
            )
            if again:
                self._failures[subject] = failures
            return again

    def _may_have_left(
        self, running: Running, outcome: Completed | Failed | None, said: bool | None
    ) -> bool:
        """Returns False only if no input of a round without a sum has left, and none ever will.

        Its server may be stored somewhere, also in an older state: with a home the round is given
        up in the ledger before its number is free.
        """
        given_up = outcome is None and self._home is not None  # of which the ledger knows all
        if said is None and not given_up and running.course.inputs_may_have_left(outcome):
            return True
        return self._home is not None and not give_up_plan(
            self._home.ledger, running.plan.server.session
        )

    def is_about(self, plan: Plan, *about: Part, settings: Part | None = None) -> bool:
        """Returns whether a round is about this, and with these settings.

        Args:
            plan: the round.
            about, settings: as in `plan`, with the `ModelLayout`, if there is one, before `about`.

        Raises:
            RangeError: something of them has no digest.
        """
        return plan.context == _context_of((self._training, *about), plan.attempt, settings)

    def converged(self, *about: Part) -> bool:
        """Returns whether a round about this succeeded, and no attempt on it is left.

        Asked about the present model it is True if the last rounds changed nothing, or went in a
        circle: to the resolution of its numbers the model is final. So it is if the result of such
        a round was lost: store each before the next round.

        Args:
            about: as in `plan`, but with the `ModelLayout`, if there is one, before it:
                `converged(layout, model)`.

        Raises:
            RangeError: something of `about` has no digest.
            StateError: the home's file failed.
        """
        subject = digest(self._training, *about)
        with self._keeper.change() as counts:
            return counts.attempts.have_converged(subject)

    def had_sum(self, *about: Part) -> bool:
        """Returns whether a round about this had a sum, also one that honest clients cannot have.

        Another one over the same inputs differs by those of the clients that are in one of the two.
        With a home it is known in later processes as well.

        Args:
            about: as to `converged`.

        Raises:
            RangeError: something of `about` has no digest.
            StateError: the home's file failed.
        """
        subject = digest(self._training, *about)
        with self._keeper.change() as counts:
            attempts = counts.attempts
            return subject in attempts.succeeded or subject in attempts.impossible

    def leave(self, plan: Plan) -> None:
        """Leaves a round open whose driver was stopped; `resume` returns it again.

        Raises:
            LocalProtocolError: the plan was closed before, or is of other rounds.
        """
        with self._lock:
            self._open.leave(plan)

    def resume(self, *about: Part) -> list[Plan]:
        """Returns the rounds that were left open, by a process before this one or by `leave`.

        Give their servers to a driver, which goes on in the phase that was stored last, and close
        them. A round of which nothing is stored is over: its attempt counts as used, unless the
        home's ledger knows that its server was not about to get inputs. Call it first.

        Args:
            about: only rounds about this, given as to `converged`; without it all.

        Raises:
            RangeError: something of `about` has no digest.
            StateError: what is stored of a round cannot be used, as the key or the directory is not
                the one of before, or it was altered; or another process plans rounds of this
                training there (`busy`). Then none is taken up.
        """
        subject = digest(self._training, *about).hex() if about else ""
        with self._lock:
            self._keeper.hold()
            plans = self._open.resume(subject)
        for plan in plans:
            self._log_plan(plan, " goes on")
        return plans
