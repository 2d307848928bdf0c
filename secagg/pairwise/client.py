"""A client of one round: bytes and calls in, bytes and events out. No I/O, no clock.

A malformed message changes nothing; a well-formed one that it would be unsafe to act on ends the
round for this client (`Aborted`), with its secrets wiped. What is safe, `client_steps.py` says.
"""

import logging
import os
from typing import Final

from numpy.typing import ArrayLike

from ..codes import Code
from ..errors import (
    SERVER,
    Aborted,
    LocalProtocolError,
    ParameterError,
    RemoteProtocolError,
    StorageError,
)
from ..events import ClientEvent, Finished, InputNeeded, Randomness, Send
from ..identity.directory import Directory
from ..identity.identity import Identity
from ..ledger.ledger import Ledger
from ..machine.claims import claim_contribution, claim_resumption, require_ledger
from ..machine.ownership import Owned, exclusive, fails_if_interrupted
from ..machine.wire import MessageType, open_message
from ..params.checks import require_int
from ..params.mode import Mode
from ..params.params import Params, Round
from ..params.policy import Policy
from ..primitives import agreement
from ..primitives.secret import Secret, draw
from ..sharing import shamir
from . import derivation, transcript
from .authentication import for_client
from .client_steps import ClientSteps
from .memory import ClientMemory
from .messages import AdvertiseKeys, PublicKeys
from .stored import StoredClient, open_client, seal_client
from .transitions import CLIENT, Call, ClientState, Input, step, takes

_log: Final = logging.getLogger("secagg")
_DEFAULT_POLICY: Final = Policy()


class Client(Owned):
    """One party of one round; use a fresh object for every round.

    Threads take turns on it; a forked child may not use it.

    Args:
        agreed: the round, as offered by the server (`Round.decode`).
        index: this party's place in the cohort, 0..cohort-1.
        policy: what this client insists on.
        random: source of random bytes; another one than the operating system's is for test
            vectors and simulation only.
        identity: malicious mode: this party's long-lived signing key.
        directory: malicious mode: the pinned verify keys of the whole cohort.
        ledger: malicious mode: the record of what this identity has contributed to, unless the
            policy allows repeats.

    Raises:
        ParameterError: the policy refuses the round, the index is outside the cohort, or identity,
            directory and ledger do not fit the mode or each other.
    """

    def __init__(
        self,
        agreed: Round,
        index: int,
        policy: Policy = _DEFAULT_POLICY,
        random: Randomness = os.urandom,
        *,
        identity: Identity | None = None,
        directory: Directory | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        policy.check(agreed)
        require_int("index", index, 0, agreed.params.cohort - 1)
        authentication = for_client(agreed.params, index, identity, directory)
        claims = _ledger_for(agreed.params, policy, ledger)
        h0 = transcript.h0(agreed, authentication.pinned)
        channel_secret = Secret(draw(random, agreement.SECRET_KEY_BYTES))
        mask_seed = Secret(draw(random, shamir.SEED_BYTES))
        self_seed = Secret(draw(random, shamir.SEED_BYTES))
        mask_secret = Secret(derivation.mask_key(mask_seed.expose(), h0, index))
        advertised = PublicKeys(
            agreement.public_key(channel_secret.expose()),
            agreement.public_key(mask_secret.expose()),
        )
        entry = authentication.sign_entry(h0, index, advertised)
        memory = ClientMemory(entry, channel_secret, mask_seed, self_seed, mask_secret)
        steps = ClientSteps(agreed, h0, index, authentication, memory, random)
        self._set_up(steps, claims)

    def _set_up(self, steps: ClientSteps, ledger: Ledger | None) -> None:
        super().__init__()
        self.round = steps.round
        self.index = steps.index
        self.session = steps.round.session
        self._table = CLIENT[steps.round.params.mode]
        self._steps = steps
        self._ledger = ledger

    @classmethod
    def resume(
        cls,
        stored: bytes,
        key: bytes,
        ledger: Ledger,
        random: Randomness = os.urandom,
        *,
        identity: Identity | None = None,
        directory: Directory | None = None,
    ) -> "Client":
        """The client that `suspend` stored, in whatever process. Works once for each stored state.

        Its last reply is in `resend()`.

        Args:
            stored: what `suspend` gave.
            key: the 32 bytes that it was sealed under.
            ledger: where the resumption is claimed; in malicious mode the client's own.
            random: as for a new client.
            identity, directory: malicious mode: the same as before.

        Raises:
            StorageError: another key, altered bytes, another directory than before, or resumed
                before.
            ParameterError: identity and directory do not fit, or there is no ledger.
        """
        state = open_client(stored, key)
        params = state.round.params
        authentication = for_client(params, state.index, identity, directory)
        if transcript.h0(state.round, authentication.pinned) != state.h0:
            raise StorageError(
                "the directory is another one than when this client was suspended",
                Code.WRONG_DIRECTORY,
            )
        steps = ClientSteps(
            state.round, state.h0, state.index, authentication, state.memory, random
        )
        claim_resumption(require_ledger(ledger), state.id)
        client = cls.__new__(cls)
        client._set_up(steps, ledger if state.once else None)
        return client

    def __repr__(self) -> str:
        return f"<secagg.Client {self.index} of {self.round.params.cohort}: {self.state.value}>"

    @property
    def _memory(self) -> ClientMemory:
        return self._steps.memory

    @property
    def state(self) -> ClientState:
        """Where this client stands."""
        return self._memory.state

    @property
    def finished(self) -> bool:
        """Whether this client has done its part."""
        return self.state is ClientState.FINISHED

    @property
    def clipped(self) -> int:
        """How many values of the input were clipped, after `submit`."""
        return self._memory.clipped

    # -- what the caller does -------------------------------------------------------------

    @exclusive
    def start(self) -> bytes:
        """Returns the first message to the server, with this party's keys.

        Raises:
            LocalProtocolError: called twice.
        """
        memory = self._memory
        self._advance(Call.START)
        memory.last_reply = AdvertiseKeys(self._steps.h0, memory.keys).encode(self.session)
        return memory.last_reply

    @exclusive
    def receive(self, data: bytes) -> list[ClientEvent]:
        """Takes one message from the server and returns what to do next.

        A repetition of the last message that was accepted gets the same reply, of an earlier one
        none.

        Raises:
            RemoteProtocolError: the message is malformed (`DecodeError`), of another session,
                or out of order; nothing has changed.
            Aborted: going on would be unsafe; the client is finished and wiped.
            LocalProtocolError: not bytes, or the identity to sign with was wiped.
        """
        kind, reader, digest = open_message(data, SERVER, self.session)
        memory = self._memory
        if memory.accepted.get(kind) == digest:
            return self._last_reply() if kind == memory.latest else []
        cause = next((known for known in self._table[self.state] if known == kind), None)
        if not isinstance(cause, MessageType):
            raise RemoteProtocolError(
                SERVER,
                f"message of type {kind:#04x} while {self.state.value}",
                Code.OUT_OF_ORDER if takes(self._table, kind) else Code.MALFORMED,
            )
        with fails_if_interrupted(
            self._end, harmless=(Aborted, RemoteProtocolError, LocalProtocolError)
        ):
            try:
                events = self._steps.handle(cause, reader)
            except Aborted as unsafe:
                self._give_up(unsafe)
                raise
            self._advance(cause)
            memory.accepted[kind], memory.latest = digest, kind
            memory.last_reply = next(
                (each.payload for each in events if isinstance(each, Send)), b""
            )
        return events

    @exclusive
    def submit(self, values: ArrayLike, weight: int = 1) -> bytes:
        """Returns the masked input for the server. Call it once, after `InputNeeded`.

        How many values were clipped is in `clipped` afterwards.

        Args:
            values: shape (params.length,); what the format takes. Never written to.
            weight: this client's weight, 1..max_weight.

        Raises:
            RangeError: the input is unusable; nothing has changed and no mask was used.
            Aborted: this identity has contributed in this context before, says the ledger.
            StorageError: the ledger failed; nothing has changed, and nothing may leave. (If it had
                stored the claim all the same, trying again is an `Aborted`.)
            LocalProtocolError: no input is needed now.
        """
        memory = self._memory
        if Call.SUBMIT not in self._table[self.state]:
            raise LocalProtocolError(f"submit() while {self.state.value}", Code.OUT_OF_ORDER)
        message, clipped = self._steps.mask(values, weight)
        self._claim_contribution()
        self._advance(Call.SUBMIT)  # before anything else: these masks serve once
        memory.clipped, memory.last_reply = clipped, message
        for key in memory.mask_keys:
            key.wipe()
        return message

    @exclusive
    def resend(self) -> list[ClientEvent]:
        """Returns the last reply or request again, with the same bytes.

        For a connection that was lost, or a process that ended: nothing is computed anew.
        """
        if self.state is ClientState.AWAITING_INPUT:
            return [InputNeeded()]
        return [*self._last_reply(), *([Finished()] if self.finished else [])]

    @exclusive
    def suspend(self, key: bytes) -> bytes:
        """Everything this client knows, sealed; the object is of no more use.

        Store the bytes before a message is sent that was made since the last time. Keep them as
        private as an identity: whoever has them and the key is this client for the round.

        Args:
            key: 32 secret bytes that stay on this device, the same for any number of clients.

        Raises:
            ParameterError: not such a key; nothing has changed.
            LocalProtocolError: the client was suspended before, or has aborted.
        """
        step(self._table, self.state, Call.SUSPEND)
        steps, once = self._steps, self._ledger is not None
        client = StoredClient(steps.round, steps.index, once, steps.h0, steps.memory)
        stored = seal_client(client, key)
        self._advance(Call.SUSPEND)
        self._forget()
        return stored

    @exclusive
    def wipe(self) -> None:
        """Gives up the round, unless it is finished: every secret is overwritten, and the
        last reply is forgotten.
        """
        self._end()

    # -- within -----------------------------------------------------------------------------

    def _forget(self) -> None:
        self._memory.erase()
        self._memory.last_reply = b""

    def _end(self) -> None:
        if Call.ABORT in self._table[self.state]:
            self._advance(Call.ABORT)
        self._forget()

    def _give_up(self, unsafe: Aborted) -> None:
        self._end()
        _log.warning(
            "%s: %r aborted: %s [%s]", self.round.session.hex(), self, unsafe.reason, unsafe.code
        )

    def _last_reply(self) -> list[ClientEvent]:
        reply = self._memory.last_reply
        return [Send(SERVER, reply)] if reply else []

    def _claim_contribution(self) -> None:
        if self._ledger is None:
            return
        verify_key = self._steps.authentication.verify_key
        try:
            claim_contribution(self._ledger, verify_key, self.round.context)
        except Aborted as unsafe:
            self._give_up(unsafe)
            raise

    def _advance(self, cause: Input) -> None:
        self._memory.state = step(self._table, self.state, cause)
        _log.debug("%s: %r", self.round.session.hex(), self)


def _ledger_for(params: Params, policy: Policy, ledger: Ledger | None) -> Ledger | None:
    """Returns the ledger in which contributions are claimed, if they are."""
    if params.mode == Mode.SEMI_HONEST:
        if ledger is not None:
            raise ParameterError(
                "the round is semi-honest, where no identity contributes: take part without a "
                "ledger, or insist on malicious mode",
                Code.DOWNGRADE,
            )
        return None
    if policy.allow_repeats:
        return None
    if ledger is None:
        raise ParameterError(
            "malicious mode needs a ledger of what this identity has contributed to "
            "(SqliteLedger), or a policy that allows repeats",
            Code.NO_LEDGER,
        )
    return require_ledger(ledger)
