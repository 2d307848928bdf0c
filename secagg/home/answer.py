"""The client's side of a round for transports that start a process, or a call, per message.

Between two payloads the client is in the home, sealed. The state that made an answer is stored
before the answer is returned; so a process that is killed at any moment leads to the same bytes
again or to a refusal, and no mask is ever used for two inputs.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from ..codes import Code
from ..drivers.assignment import (
    AbandonedError,
    Assignment,
    RoundOverError,
    Train,
    Values,
    require_train,
)
from ..drivers.envelope import (
    NO_SESSION,
    Ask,
    Hello,
    Invitation,
    Over,
    Refusal,
    Rejection,
    seal,
)
from ..drivers.inputs import NoInputError
from ..drivers.responder import (
    NO_INDEX,
    Responder,
    decline,
    header_of,
    log_end,
    unpacked,
)
from ..errors import SERVER, Aborted, ParameterError, RemoteProtocolError, StateError
from ..events import InputNeeded
from ..forks import this_process
from ..identity.directory import Directory
from ..interfaces import ClientMachine
from ..ledger.ledger import Ledger, Once
from ..machine.claims import require_no_contribution
from ..machine.wire import Reader, as_bytes
from ..pairwise.client import Client
from ..pairwise.examination import examine
from ..params.checks import require_int, require_kind
from ..params.mode import Mode
from ..params.params import MAX_COHORT, Params, Round
from ..params.policy import Policy
from .home import Home, cohort_of
from .records import PartyRecord, UselessStateError

_log: Final = logging.getLogger("secagg.drivers")


def answer(
    home: Home,
    payload: bytes,
    train: Train,
    *,
    index: int | None = None,
    members: Sequence[int] = (),
    attempt: int = 0,
    task: bytes = b"",
) -> bytes:
    """Returns what a party sends for one payload of the server: a message, a refusal, or b"".

    Each call may be in another process. What the server sends is never an exception: the server
    gets a refusal, and the log the reason. A payload that comes again gets the same bytes again if
    it is the last one of its round, else b"".

    `train` is called once per round, without a client in memory, and again only if it did not
    return (its process died, or Ctrl-C ended it), or the ledger failed after it did. See
    `Responder` for what it returns. The home is held meanwhile.

    Args:
        home: of this party.
        payload: what came: the offer of a round, a message, or an envelope (`secagg.Invitation`);
            b"" asks who this is, and gets a greeting with the verify key of the home's identity.
        train: makes the input of this party.
        index: its place in the cohort, if the payload is a bare offer; in malicious mode it is
            found in the pins if it is left out.
        members: the same: indices of the cohort in the pins, ascending, if that is not all of them.
        attempt: the same: number of the attempt.
        task: what the application needs to make the input, if the transport brings it beside.

    Raises:
        ParameterError: `home` is no home, or `train` cannot be called with an `Assignment`, or is
            `async`.
        StateError: the home cannot be used: its folder, its store or its ledger failed, or another
            process holds it (`busy`). Nothing was sent; give the same payload again later,
            with the same home, which remembers what its store did not take. Another process may
            find the stored state used up, and then refuses (`repeated_resumption`, or
            `repeated_participation`): the round is lost to this party.
        LocalProtocolError: the payload is not bytes, or the identity was wiped.
    """
    require_kind("home", home, Home, "`secagg.Home(folder)` makes one")
    require_train(train)
    if as_bytes(payload) == b"":
        return seal(Hello(verify_key=home.identity.verify_key if home.identity else b""))
    try:
        envelope = unpacked(payload)
    except RemoteProtocolError as error:
        return decline(NO_SESSION, error.code, error.reason)
    match envelope:
        case Invitation(offer, place, named, number):
            if place == NO_INDEX:
                return _begin(home, offer, index, members, attempt)
            return _begin(home, offer, place, named, number)
        case Ask(brought, message):
            return _go_on(home, message, train, brought or task)
        case Over(session) | Rejection(session):
            with home.lock():
                if isinstance(envelope, Over):
                    _log_end(home, envelope)
                home.remove(session)
        case _:
            _log.warning("the server sent an envelope of a client")
    return b""


def _log_end(home: Home, over: Over) -> None:
    """Logs the end of a round in which this party has a part."""
    with suppress(UselessStateError):
        record = home.load(over.session)
        if record is not None and not record.code:
            log_end(over, through=not record.client)


def _begin(
    home: Home, offer: bytes, index: int | None, members: Sequence[int], attempt: int
) -> bytes:
    """Joins a round, or answers an invitation that comes again."""
    try:
        agreed = Round.decode(offer)
    except RemoteProtocolError as error:
        return decline(_session_of(offer), error.code, error.reason)
    with home.lock():
        try:
            record, pins = _placed(home, agreed, index, members, attempt)
            before = home.store_unsaved(agreed.session) or home.load(agreed.session)
            if before is not None:
                return _again(before, record)
            if agreed.params.mode is Mode.MALICIOUS:
                _require_credentials(home)
                home.require_training(agreed.session)
            client = Client(
                agreed,
                record.index,
                home.policy,
                identity=home.identity,
                directory=pins,
                ledger=home.ledger if agreed.params.mode is Mode.MALICIOUS else None,
                budget=home.budget,
            )
            going = home.make_room()
            record.reply = client.start()
        except (ParameterError, Aborted, UselessStateError) as error:
            return decline(agreed.session, error.code, error.reason)
        record.client = client.suspend(home.key, keep_last=False)
        home.save(record)
        home.discard(going)  # only now: what is refused must not push out other rounds
        _log.info(
            "%s: joined as party %d of %d, attempt %d",
            *(agreed.session.hex(), record.index, agreed.params.cohort, record.attempt),
        )
        return record.reply


def _require_credentials(home: Home) -> None:
    """Raises ParameterError if a home lacks what malicious mode needs."""
    for name, found, code in (
        ("identity", home.identity, Code.NO_IDENTITY),
        ("pins", home.directory, Code.NO_DIRECTORY),
    ):
        if found is None:
            raise ParameterError(
                f"malicious mode needs a file `{name}` in this party's home, or "
                f"`Home({'directory' if name == 'pins' else name}=...)`, and there is none",
                code,
            )


def _session_of(offer: bytes) -> bytes:
    """Returns the session of an offer that cannot be read as a whole: its other rounds go on."""
    header = header_of(offer)
    return NO_SESSION if header is None else header[1]


def _placed(
    home: Home, agreed: Round, index: int | None, members: Sequence[int], attempt: int
) -> tuple[PartyRecord, Directory | None]:
    """Checks what an invitation says about this party; returns its record and the cohort's pins.

    Raises:
        ParameterError: this party does not take part in such a round, or not in this place.
    """
    cohort = agreed.params.cohort
    attempt = require_int("the attempt", attempt, 0, 2**63 - 1)
    if attempt >= home.attempts:
        raise ParameterError(
            f"refused by this client: attempt {attempt} is beyond its limit of {home.attempts} "
            "(counted from 0; `Home(attempts=...)`)",
            Code.ATTEMPTS_EXHAUSTED,
        )
    if len(members) not in (0, cohort):
        raise ParameterError(
            f"the invitation names {len(members)} members of a cohort of {cohort}",
            Code.WRONG_DIRECTORY,
        )
    named = [require_int("a member", each, 0, MAX_COHORT - 1) for each in members]
    pins = cohort_of(home.directory, named)
    if pins is not None and home.directory is not None:
        _require_demands(home.policy, agreed.params, len(home.directory))
    if index is None:
        if home.identity is None or pins is None:
            raise ParameterError(
                "an offer came without this party's index, which only its identity and pins could "
                "tell: give `index`, or send an `Invitation`",
                Code.ARGUMENT,
            )
        index = pins.index_of(home.identity.verify_key)
    index = require_int("the index of this party", index, 0, cohort - 1)
    return PartyRecord(agreed.session, agreed.encode(), index, named, attempt), pins


def _require_demands(policy: Policy, params: Params, pinned: int) -> None:
    """Refuses the part of the pins that the server names, unless the policy bounds such a cohort.

    The server could name this party and those that collude with it.

    Raises:
        ParameterError: the policy does not bound it.
    """
    demands = policy.params is not None or policy.colluders or (policy.min_survivors or 0) > 2
    if params.mode is Mode.MALICIOUS and params.cohort < pinned and not demands:
        raise ParameterError(
            f"refused by this client's policy: the server has chosen {params.cohort} of the "
            f"{pinned} parties that are pinned here, and could choose those that collude with it; "
            "say in the policy what such a cohort must be good for: `colluders` (the number of "
            "parties to be safe from), `min_survivors` (3 or more) or `params`",
            Code.POLICY_COHORT,
        )


def _again(before: PartyRecord, record: PartyRecord) -> bytes:
    """Answers an invitation to a round that this party has joined."""
    old, new = ((one.offer, one.index, one.members, one.attempt) for one in (before, record))
    if old != new:
        return decline(
            record.session,
            Code.EQUIVOCATION,
            "a second invitation to one round, which says something else; the first one counts",
        )
    return _told(before) or (b"" if before.seen else before.reply)


def _told(record: PartyRecord) -> bytes:
    """Returns the refusal with which the part of a party has ended; b"" if it has not."""
    return seal(Refusal(record.session, record.code, record.reason)) if record.code else b""


def _go_on(home: Home, message: bytes, train: Train, task: bytes) -> bytes:
    """Answers a message of a round that this party has joined."""
    try:
        _, session = Reader(message, SERVER).header()
    except RemoteProtocolError as error:
        return decline(NO_SESSION, error.code, error.reason)
    with home.lock():
        try:
            record = home.store_unsaved(session) or home.load(session)
        except UselessStateError as error:
            return decline(session, error.code, error.reason)
        if record is None:
            return decline(
                session,
                Code.UNKNOWN_SESSION,
                "this party has nothing stored of the round: it never joined it, it is over, or it "
                "was removed to make room, which its log tells (`Home(most_rounds=...)`)",
            )
        return _told(record) or _Stored(home, record, train).step(task, message)


class _Ledger:
    """The ledger of a home, which remembers an exception of its own.

    So a state that was used before is told from a ledger that cannot be read.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.failure: BaseException | None = None

    def claim(self, what: Once, key: bytes) -> bool:
        """See `Ledger`."""
        try:
            return self._ledger.claim(what, key)
        except BaseException as error:
            self.failure = error
            raise


class _Stored(Responder):
    """A client that is stored between two messages, and while its input is made."""

    def __init__(self, home: Home, record: PartyRecord, train: Train) -> None:
        self._set_up(record.session, train)
        self._client = None
        self._home = home
        self._record = record
        self._seen = record.seen
        self._reply = record.reply
        self._waiting = record.waiting
        self._done = not record.client
        self._process = this_process()
        self._round = Round.decode(record.offer)
        self._is_malicious = self._round.params.mode is Mode.MALICIOUS
        self._has_asked = False  # for an input, in malicious mode

    def step(self, task: bytes, message: bytes) -> bytes:
        """Answers a message; what made the answer is stored when it returns."""
        try:
            reply = self._on_message(task, message)
        except (ParameterError, UselessStateError) as error:
            # Identity, pins or policy are others than before, or the state was used before.
            return decline(self._session, error.code, error.reason)
        except RoundOverError:  # before anybody else has the home, who could train once more
            self._home.remove(self._session)
            raise
        except BaseException:  # Ctrl-C in `train`, a ledger that failed: it may be tried again
            if self._waiting and self._client is not None:
                with suppress(Exception):
                    if InputNeeded() in self._client.resend():
                        self._store()
            raise
        failed = self.refusal is not None and self.refusal.code == Code.TRAINING
        if self._has_asked and not failed:
            self._home.end_training(self._session)
        if self._client is not None or self.refusal is not None:
            self._store()  # the last that may fail: the answer may be stored nowhere else
        return reply

    def _store(self) -> None:
        """Stores the client, which then is no more in memory."""
        client, self._client = self._client, None
        record = self._record
        record.seen, record.reply, record.waiting = self._seen, self._reply, self._waiting
        record.client = b""
        if self.refusal is not None:
            record.code, record.reason = self.refusal.code, self.refusal.reason
        elif client is not None and not client.finished:
            record.client = client.suspend(self._home.key, keep_last=False)
        self._home.save(record)

    def _machine(self) -> ClientMachine:
        if self._process != this_process():
            raise StateError(
                "a process that was forked while this party trained has left the training by "
                "itself, where its parent answers: end such a process where its work ends",
                Code.FORKED,
            )
        if self._client is not None:
            return self._client
        if self._done:
            raise RemoteProtocolError(
                SERVER, "this party has done its part in the round", Code.OUT_OF_ORDER
            )
        home, ledger = self._home, _Ledger(self._home.ledger)
        try:
            self._client = Client.resume(
                self._record.client,
                home.key,
                ledger,
                identity=home.identity,
                directory=cohort_of(home.directory, self._record.members),
                policy=home.policy,
                budget=home.budget,
            )
        except StateError as error:
            if error is ledger.failure or error.code is Code.NO_LEDGER:
                raise
            raise UselessStateError(error.reason, error.code) from None
        return self._client

    def _examine(self, message: bytes) -> None:
        if not self._done:
            seen, record = len(self._seen), self._record
            examine(self._round, record.index, seen, message, waiting=self._waiting)

    def _assignment(self, task: bytes) -> Assignment:
        record, round_ = self._record, self._round
        check = self._require_new_if_known if self._is_malicious else None
        return Assignment(round_, record.index, record.attempt, task, require_new=check)

    def _require_new_if_known(self, subject: bytes) -> None:
        if subject != self._round.context:  # about which `_given` has asked
            with suppress(StateError):  # of the ledger; `submit` asks it again
                self._require_new(subject)

    def _require_new(self, subject: bytes) -> None:
        """Refuses what `submit` would refuse, too: this saves the training."""
        home = self._home
        if home.identity is not None and not home.policy.allow_repeats:
            require_no_contribution(home.ledger, home.identity.verify_key, subject)

    def _given(self, assignment: Assignment) -> tuple[Values, int]:
        if self._client is not None:
            self._store()
        if not self._is_malicious:
            return super()._given(assignment)
        home, self._has_asked = self._home, True
        self._require_new(self._round.context)
        try:
            is_new = home.begin_training(self._session)
        except ParameterError as error:
            raise NoInputError(error.reason, error.code) from None
        try:
            return super()._given(assignment)
        except AbandonedError:
            if is_new:
                home.end_training(self._session)
            raise
