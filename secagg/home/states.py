"""The stored states of a home: parties, servers with their notes, and failed trainings."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final

from ..codes import Code
from ..drivers.responder import mark_of
from ..errors import ParameterError, StateError
from ..identity.directory import Directory
from ..interfaces import ServerMachine
from ..ledger.ledger import Ledger
from ..machine.claims import require_same_ledger
from ..machine.wire import SESSION_BYTES
from ..pairwise.server import Server
from ..pairwise.stored import open_server
from ..params.checks import require_bytes
from ..params.mode import Mode
from ..texts import described
from .records import (
    Head,
    Kind,
    PartyRecord,
    Stage,
    UselessStateError,
    key_of,
    open_failures,
    open_note,
    open_party,
    read_head,
    seal_failures,
    seal_note,
    seal_party,
    write_record,
)
from .stores import Store

_ALL: Final = bytes(SESSION_BYTES)  # for a record that is of no single round
_IDLE: Final = 3600 * 10**9  # nanoseconds after which a round that nothing comes of may go
# What makes room for another round, in this order.
_GO_FIRST: Final = (Stage.OVER, Stage.JOINED, Stage.GOING)

_log: Final = logging.getLogger("secagg.drivers")


class States:
    """The records in the store of a home, sealed under its key.

    Attributes:
        key, store, ledger, directory, failures, keep_last, most_rounds: as for `Home`, which is
            one.
    """

    def __init__(
        self,
        key: bytes,
        store: Store,
        ledger: Ledger,
        directory: Directory | None,
        *,
        failures: int,
        keep_last: bool,
        most_rounds: int,
        max_age: float,
    ) -> None:
        self.key: Final = key
        self.store: Final[Store] = store
        self.ledger: Final = ledger
        self.directory: Final = directory
        self.failures: Final = failures
        self.keep_last: Final = keep_last
        self.most_rounds: Final = most_rounds
        self._max_age = max_age
        self._unsaved: dict[bytes, PartyRecord] = {}  # which the store did not take, by session
        self._ended: set[bytes] = set()  # trainings that count as failed in the store, wrongly

    # -- of a party: `answer` calls these under the lock ---------------------------------------

    def store_unsaved(self, session: bytes) -> PartyRecord | None:
        """Stores what the store did not take of a round before, and returns it; None if it did.

        Also None if another process has stored something of the round since: that counts.

        Raises:
            StateError: the store failed again.
        """
        record = self._unsaved.get(session)
        if record is None:
            return None
        found = self.store.get(key_of(Kind.PARTY, session))
        if found is not None and mark_of(found) not in record.marks:
            del self._unsaved[session]
            return None
        self.save(record)
        return record

    def load(self, session: bytes) -> PartyRecord | None:
        """Returns what is stored of a party in a round, or None.

        Raises:
            StateError: the store failed; or (`UselessStateError`) what it has does not serve.
        """
        data = self.store.get(key_of(Kind.PARTY, session))
        try:
            head = _head_of(data, Kind.PARTY, session)
            record = None if head is None else open_party(head, self.key)
        except StateError as error:
            raise UselessStateError(error.reason, error.code) from None
        if data is not None and record is not None:
            record.marks = {mark_of(data)}
        return record

    def save(self, record: PartyRecord) -> None:
        """Stores what a party remembers of a round.

        If that fails, this object remembers it for `store_unsaved`: what was stored before is used
        up, so without it the round would be lost to this party.

        Raises:
            StateError: it cannot be stored.
        """
        kept = record if self.keep_last else replace(record, reply=b"")
        self._unsaved.pop(record.session, None)
        try:
            sealed = seal_party(kept, self.key)
            now, stage = time.time_ns(), record.stage
            data = write_record(Kind.PARTY, record.session, now, sealed, stage=stage)
            record.marks.add(mark_of(data))  # a store that fails may have stored it nevertheless
            self.store.put(key_of(Kind.PARTY, record.session), data)
        except BaseException:
            self._unsaved[record.session] = replace(record)
            if len(self._unsaved) > self.most_rounds:
                goes = min(self._unsaved.values(), key=lambda each: _GO_FIRST.index(each.stage))
                del self._unsaved[goes.session]
            raise
        record.marks = {mark_of(data)}

    def remove(self, session: bytes) -> None:
        """Removes what is stored of a party in a round."""
        self._unsaved.pop(session, None)
        self.store.delete(key_of(Kind.PARTY, session))

    def make_room(self) -> dict[bytes, bytes]:
        """Returns what goes when a party begins another round, for `discard`.

        That is what is too old; and if `most_rounds` are stored beside it, those that are over,
        then those that were only joined, then those of which nothing has come for an hour; of each
        the oldest first. So no server can push out another's round that goes on, and rounds that
        have failed, of which nobody told this party, do not shut it out.

        Raises:
            ParameterError: so many are under way (`limit`).
            StateError: the store failed.
        """
        now = time.time_ns()
        going: dict[bytes, bytes] = {}
        rounds: list[tuple[int, int, bytes, bytes]] = []
        for key, head in self._heads():
            if self._is_old(head, now):
                going[key] = b""
            elif head.kind is Kind.PARTY:
                session = b"" if head.stage is Stage.OVER else head.session
                rounds.append((_GO_FIRST.index(head.stage), -_age(head, now), key, session))
        may_go = {
            key: session
            for turn, age, key, session in sorted(rounds)
            if _GO_FIRST[turn] is not Stage.GOING or -age > _IDLE
        }
        excess = max(0, len(rounds) + 1 - self.most_rounds)
        if len(may_go) < excess:
            raise ParameterError(
                f"refused by this client: {len(rounds)} rounds are under way in its home, which "
                f"takes {self.most_rounds} (`Home(most_rounds=...)`): try again when one is over",
                Code.LIMIT,
            )
        return going | dict(islice(may_go.items(), excess))

    def discard(self, going: Mapping[bytes, bytes]) -> None:
        """Removes records by key; the log tells if the store fails, since nothing rests on it.

        Args:
            going: for each key the session, if it is a round under way: the log tells that, too.
        """
        for key, session in going.items():
            if session:
                _log.warning(
                    "%s: removed from the home to make room (`Home(most_rounds=...)`, here %d): if "
                    "this round goes on, it is lost to this party",
                    *(session.hex(), self.most_rounds),
                )
            try:
                self.store.delete(key)
            except Exception as error:
                _log.warning("old state was not removed: %s", described(error))

    def _is_old(self, head: Head, now: int) -> bool:
        return _age(head, now) > int(self._max_age * 1e9) and head.kind is not Kind.FAILURES

    def begin_training(self, session: bytes) -> bool:
        """Counts the training of a round as failed, until `end_training`.

        Returns:
            False if it was counted before.

        Raises:
            ParameterError: too many have failed in other rounds.
            StateError: it cannot be stored, or read (`UselessStateError`).
        """
        self.require_training(session)
        self._ended.discard(session)
        if is_new := session not in (failed := self._failed()):
            self._put_failed([*failed, session])
        return is_new

    def end_training(self, session: bytes) -> None:
        """Says that the training of a round has given an input, or had none to give.

        If the store fails, this object remembers it, and the log tells: an answer must not be lost
        for that.
        """
        self._ended.add(session)
        try:
            self._put_failed(self._failed())
        except Exception as error:
            _log.warning(
                "%s: its training counts as failed in the store, and has not: %s",
                *(session.hex(), described(error)),
            )
        else:
            self._ended.clear()

    def require_training(self, session: bytes) -> None:
        """Raises ParameterError if the training has failed in too many rounds but this one."""
        count = len([each for each in self._failed() if each != session])
        if count >= self.failures:
            raise ParameterError(
                f"refused by this client: its training has failed in {count} rounds (or was ended "
                "in some of them), and a server that lies can learn about its data from that; find "
                "the cause, then call `clear_failures()` of its home",
                Code.TRAINING,
            )

    def _failed(self) -> list[bytes]:
        return [each for each in self._stored_failures() if each not in self._ended]

    def _stored_failures(self) -> list[bytes]:
        data = self.store.get(key_of(Kind.FAILURES, _ALL))
        try:
            head = _head_of(data, Kind.FAILURES, _ALL)
            return [] if head is None else open_failures(head, self.key)
        except StateError as error:
            raise UselessStateError(
                f"{error.reason}; `clear_failures()` of this party's home begins a new one",
                error.code,
            ) from None

    def _put_failed(self, sessions: Sequence[bytes]) -> None:
        if sessions:
            self._put(Kind.FAILURES, _ALL, seal_failures(sessions, self.key))
        else:
            self.store.delete(key_of(Kind.FAILURES, _ALL))

    # -- of a server: what `lockstep` and `secagg.aio.serve` use (`Snapshots`) -----------------

    def keep_server(self, server: ServerMachine) -> None:
        """Stores the state of a server, in the place of what was stored of its round.

        Raises:
            StateError: it cannot be stored, or the server has another ledger than this home, with
                which it will be resumed (`no_ledger`).
            LocalProtocolError: no phase is in progress, or the server has no ledger.
        """
        theirs = getattr(server, "ledger", None)
        if theirs is not None:
            require_same_ledger(theirs, self.ledger, server.session)
        self._put(Kind.SERVER, server.session, server.snapshot(self.key))

    def forget(self, session: bytes) -> None:
        """Removes what is stored of a server and its note; nothing, if there is nothing."""
        require_bytes("session", session, SESSION_BYTES)
        for kind in (Kind.SERVER, Kind.NOTE):
            self.store.delete(key_of(kind, session))

    def resume_server(
        self, session: bytes | None = None, directory: Directory | None = None
    ) -> Server | None:
        """Returns the server of a round as it was stored last, or None if there is none.

        Args:
            session: the round; by default that which was stored last.
            directory: malicious mode: the verify keys of the cohort; by default the home's.

        Raises:
            StateError: what is stored cannot be used.
            ParameterError: the directory does not fit.
        """
        now = time.time_ns()
        self.discard({key: b"" for key, head in self._heads() if self._is_old(head, now)})
        if session is None:
            found = [head for _, head in self._heads() if head.kind is Kind.SERVER]
            head = min(found, key=lambda each: _age(each, now), default=None)
        else:
            head = self._head(Kind.SERVER, session)
        if head is None:
            return None
        mode = open_server(head.rest, self.key).round.params.mode
        directory = self.directory if directory is None else directory
        pins = directory if mode is Mode.MALICIOUS else None
        return Server.resume(head.rest, self.key, self.ledger, pins)

    def keep_note(self, session: bytes, note: bytes) -> None:
        """Stores what a driver needs beside a server to go on: members, attempt, task.

        Raises:
            StateError: it cannot be stored.
        """
        self._put(Kind.NOTE, session, seal_note(session, note, self.key))

    def note(self, session: bytes) -> bytes:
        """Returns the note of a round, b"" if there is none.

        Raises:
            StateError: it cannot be read.
        """
        head = self._head(Kind.NOTE, session)
        return b"" if head is None else open_note(head, self.key)

    # -- records -------------------------------------------------------------------------------

    def _put(self, kind: Kind, session: bytes, sealed: bytes) -> None:
        require_bytes("session", session, SESSION_BYTES)
        self.store.put(key_of(kind, session), write_record(kind, session, time.time_ns(), sealed))

    def _head(self, kind: Kind, session: bytes) -> Head | None:
        require_bytes("session", session, SESSION_BYTES)
        return _head_of(self.store.get(key_of(kind, session)), kind, session)

    def _heads(self) -> Iterator[tuple[bytes, Head]]:
        """Yields what is stored, by key; what another version has stored is left alone."""
        for key in list(self.store.sessions()):
            data = self.store.get(key)
            if data is not None:
                try:
                    yield key, read_head(data)
                except StateError:
                    continue


def _age(head: Head, now: int) -> int:
    """Returns how far from now a record was stored, also by a clock that was ahead."""
    return abs(now - head.at)


def _head_of(data: bytes | None, kind: Kind, session: bytes) -> Head | None:
    """Returns the head of a record, None if there is none; raises StateError if it is another."""
    head = None if data is None else read_head(data)
    if head is not None and (head.kind, head.session) != (kind, session):
        raise StateError("the state that is stored is of another round", Code.CORRUPT)
    return head
