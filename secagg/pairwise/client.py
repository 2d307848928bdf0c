"""The client of one round: takes bytes and calls, returns bytes and events. No I/O, no clock.

A malformed message changes nothing. A well-formed message that is unsafe to act on ends the round
for this client (`Aborted`), and its secrets are wiped. `client_steps.py` has these checks.
"""

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from numpy.typing import ArrayLike

from ..arithmetic.threads import default_threads
from ..codes import Code
from ..encoding.choice import codec_for
from ..encoding.clipping import warn_of_vector
from ..errors import (
    SERVER,
    Aborted,
    LocalProtocolError,
    ParameterError,
    RemoteProtocolError,
    StateError,
)
from ..events import ClientEvent, Finished, InputNeeded, Randomness, Send
from ..identity.directory import Directory
from ..identity.identity import Identity
from ..ledger.ledger import Ledger
from ..machine.claims import (
    claim_contribution,
    claim_participation,
    claim_resumption,
    require_ledger,
)
from ..machine.ownership import FailsIfInterrupted, Owned, exclusive
from ..machine.tables import Call, Input, message_due, next_state
from ..machine.wire import open_message
from ..params.checks import require_bytes, require_int, require_kind, whole
from ..params.mode import Mode
from ..params.params import CONTEXT_BYTES, Params, Round
from ..params.policy import Policy, require_context
from ..params.privacy import PrivacyBudget, require_budget
from ..primitives import agreement
from ..primitives.secret import Secret, draw, require_source
from ..sharing import shamir
from ..tracebacks import keeps_no_locals
from . import derivation, transcript
from .authentication import for_client
from .client_steps import ClientSteps, ReleaseRaisedError
from .memory import ClientMemory
from .messages import AdvertiseKeys, PublicKeys, largest_to_client
from .stored import StoredClient, open_client, seal_client
from .transitions import CLIENT, ClientState

_log: Final = logging.getLogger("secagg")
_DEFAULT_POLICY: Final = Policy()


class Client(Owned):
    """One party of one round; use a new object for every round.

    Threads may share it, one call runs at a time. A forked child may not use it.

    Args:
        agreed: the round, as offered by the server (`Round.decode`).
        index: this party's place in the cohort, 0..cohort-1.
        policy: the demands of this client on the round.
        random: source of random bytes; any other than the operating system's is for test vectors
            and simulation only.
        identity: malicious mode: this party's long-lived signing key.
        directory: malicious mode: the pinned verify keys of the whole cohort.
        ledger: malicious mode: the record of the sessions in which this identity has taken part,
            and of the contexts in which it has contributed. All its clients must share it.
        budget: what is charged for the round before the masked input leaves, such as
            `secagg.noise.SqliteBudget`. All clients with the same data must share it.

    Raises:
        ParameterError: the policy refuses the round, the budget cannot pay for it, the index is
            outside the cohort, the format has no codec, identity, directory or ledger are missing
            or do not fit the mode or each other, or `SECAGG_NUM_THREADS` is not a positive integer.
    """

    @keeps_no_locals
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
        budget: PrivacyBudget | None = None,
    ) -> None:
        super().__init__()  # first: it is not the child's if the source of randomness forks
        default_threads()  # a wrong variable is an error before the round
        require_kind("agreed", agreed, Round, "Round.decode reads what a server offers")
        require_kind("policy", policy, Policy, "leave it out for the default, or make one")
        policy.check(agreed)
        index = whole("index", index)
        require_int("index", index, 0, agreed.params.cohort - 1)
        authentication = for_client(agreed.params, index, identity, directory)
        checked_ledger = _ledger_for(agreed.params, ledger)
        require_budget(budget)
        codec = codec_for(
            agreed.params, agreed.session
        )  # before secrets exist, as it may refuse the format
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
        memory.may_repeat = policy.allow_repeats
        memory.context_expected = policy.context is not None
        memory.demands_privacy = policy.privacy is not None
        memory.has_budget = budget is not None
        memory.has_release = policy.release is not None
        steps = ClientSteps(
            agreed, h0, index, authentication, codec, memory, random, policy.release
        )
        self._set_up(steps, checked_ledger, budget)
        if budget is not None:
            budget.check(self._payer, agreed.params)

    def _set_up(
        self, steps: ClientSteps, ledger: Ledger | None, budget: PrivacyBudget | None
    ) -> None:
        self.round = steps.round
        self.index = steps.index
        self.session = steps.round.session
        self.context = steps.round.context
        self._table = CLIENT[steps.round.params.mode]
        self._steps = steps
        self._ledger = ledger
        self._budget = budget
        self._claimed = False
        self._subject: bytes | None = None  # in the place of the context, for "once"
        self.largest_message = largest_to_client(steps.round.params)

    @classmethod
    @keeps_no_locals
    def resume(
        cls,
        stored: bytes,
        key: bytes,
        ledger: Ledger,
        random: Randomness = os.urandom,
        *,
        identity: Identity | None = None,
        directory: Directory | None = None,
        policy: Policy | None = None,
        budget: PrivacyBudget | None = None,
    ) -> "Client":
        """Restores the client that `suspend` stored, in any process; works once per stored state.

        `resend()` then returns its last reply again, if that was stored.

        Args:
            stored: the bytes that `suspend` returned.
            key: the 32 bytes that they were sealed under.
            ledger: where the resumption is claimed; in malicious mode the client's own.
            random: as for a new client.
            identity, directory: malicious mode: the same as before.
            policy: the demands of this client, if they are to be checked again. The stored client
                remembers what it was allowed and what it expects; a policy can only narrow this: it
                does not allow repeats that were not allowed before.
            budget: what is charged for the round; it may be given for the first time here.

        Raises:
            StateError: the key or the directory is not the one of before, the bytes were altered,
                they hold a state that no client can be in, or they were resumed before.
            ParameterError: the policy refuses the round, identity, directory or source of
                randomness do not fit, or there is no ledger; or the client was made with a policy
                that demands privacy or has `release`, or with a budget, and there is none. The
                stored client is not used up.
            LocalProtocolError: the identity was wiped; the stored client is not used up.
        """
        client = cls.__new__(cls)
        Owned.__init__(client)  # first: it is not the child's if the ledger forks
        default_threads()
        stored_client = open_client(stored, key)
        agreed, index = stored_client.round, stored_client.index
        if policy is not None:
            policy.check(agreed)
        _require_as_before(stored_client.memory, policy, budget)
        require_source(random)
        authentication = for_client(agreed.params, index, identity, directory)
        h0 = transcript.h0(agreed, authentication.pinned)
        if h0 != stored_client.h0:
            raise StateError(
                "this client was suspended with another directory: pass the same one",
                Code.WRONG_DIRECTORY,
            )
        codec = codec_for(agreed.params, agreed.session)
        memory = stored_client.memory
        if policy is not None:
            memory.may_repeat &= policy.allow_repeats
            memory.context_expected |= policy.context is not None
            memory.demands_privacy |= policy.privacy is not None
        memory.has_budget = budget is not None
        release = None if policy is None else policy.release
        memory.has_release = release is not None
        steps = ClientSteps(agreed, h0, index, authentication, codec, memory, random, release)
        claim_resumption(require_ledger(ledger), stored_client.id)
        client._set_up(steps, ledger if agreed.params.mode is Mode.MALICIOUS else None, budget)
        return client

    def __repr__(self) -> str:
        return f"<secagg.Client {self.index} of {self.round.params.cohort}: {self.state.value}>"

    @property
    def _memory(self) -> ClientMemory:
        return self._steps.memory

    @property
    def state(self) -> ClientState:
        """The state of this client in the protocol."""
        return self._memory.state

    @property
    def finished(self) -> bool:
        """True once this client has done its part."""
        return self.state is ClientState.FINISHED

    @property
    def clipped(self) -> int:
        """The number of input values that were clipped; 0 before `submit`.

        With `Rotated` they are all values of an input that was longer than the clip; of any other,
        those that the rotation has put beyond the grid, as by design (`Rotated.of`) it does.
        """
        return self._memory.clipped

    # -- calls of the driver --------------------------------------------------------------

    @exclusive
    def start(self) -> bytes:
        """Returns the first message to the server, with this party's keys.

        In malicious mode it claims first that this identity takes part in the session. So a
        process that dies before it has stored this client is out of the round.

        Raises:
            Aborted: by the ledger, this identity has taken part in this session before.
            StateError: the ledger failed; nothing has changed and there is no message. Trying
                again is safe, as for `submit`.
            LocalProtocolError: called twice.
        """
        memory = self._memory
        next_state(self._table, self.state, Call.START)
        self._claim(claim_participation, self.session)
        self._advance(Call.START)
        memory.last_reply = AdvertiseKeys(self._steps.h0, memory.keys).encode(self.session)
        self._log_state()
        return memory.last_reply

    @exclusive
    def expect(self, context: bytes, subject: bytes | None = None) -> None:
        """Says what the input is for, in this client's own words, not in the server's.

        In malicious mode `submit` needs this, or `Policy(context=...)`: the ledger's promise that
        one identity contributes once per context is worth nothing if the server names the context.

        Args:
            context: 32 bytes, computed from what this client works on (`secagg.digest`).
            subject: 32 bytes that count for "once" in the place of the context, if that has more in
                it than what makes it another input: words of the server, which only must be the
                same for all. A client that is suspended forgets it, and what it was told.

        Raises:
            Aborted: the round has another context; its secrets are wiped.
            LocalProtocolError: the client has finished, aborted or withdrawn, or was suspended; or
                another subject was said before.
            ParameterError: the context does not have 32 bytes.
        """
        require_bytes("context", context, CONTEXT_BYTES)
        if subject is not None:
            require_bytes("subject", subject, CONTEXT_BYTES)
        if self._subject not in (None, subject):
            raise LocalProtocolError(
                "the input was said to be about another subject before: with the context alone it "
                "would count as another input",
                Code.OUT_OF_ORDER,
            )
        if Call.ABORT not in self._table[self.state]:
            raise LocalProtocolError(
                f"expect() is not possible while {self.state.value}", Code.OUT_OF_ORDER
            )
        try:
            require_context(context, self.round)
        except ParameterError as refusal:
            unsafe = Aborted(refusal.reason, refusal.code)
            self._abort(unsafe)
            raise unsafe from None
        self._memory.context_expected = True
        self._subject = subject

    @exclusive
    def receive(self, data: bytes) -> list[ClientEvent]:
        """Handles one message from the server; returns what to do next.

        If the server repeats the last accepted message, the reply is the same as before; if it
        repeats an earlier one, or the client was suspended since without its reply, there is none.

        Raises:
            RemoteProtocolError: the message is malformed (`DecodeError`), of another session,
                or out of order; nothing has changed.
            Aborted: continuing would be unsafe; the client has ended the round and wiped its keys.
                What the policy's `release` raises has ended it as well.
            LocalProtocolError: `data` is not bytes, or the identity to sign with was wiped.
        """
        kind, reader = open_message(data, SERVER, self.session, self.largest_message)
        memory = self._memory
        if kind in memory.accepted and memory.accepted[kind] == reader.digest():
            return self._last_reply() if kind == memory.latest else []
        cause = message_due(self._table, self.state, kind, SERVER)
        with FailsIfInterrupted(
            self._end_round, harmless=(Aborted, RemoteProtocolError, LocalProtocolError)
        ):
            try:
                events = self._steps.handle(cause, reader)
            except Aborted as unsafe:
                self._abort(unsafe)
                raise
            except ReleaseRaisedError as raised:
                self._end_round()
                raise raised.error from None
            self._advance(cause)
            memory.accepted[kind], memory.latest = reader.digest(), kind
            memory.last_reply = next(
                (each.payload for each in events if isinstance(each, Send)), b""
            )
        self._log_state()
        return events

    @exclusive
    def submit(self, values: ArrayLike | Iterator[ArrayLike], weight: int = 1) -> bytes:
        """Returns the masked input for the server; called once, after `InputNeeded`.

        Afterwards `clipped` is the number of values that were clipped. If they are more than 1 %
        there is a `ClippingWarning`, here and not at the server; where a filter turns it into an
        exception, nothing has changed. With `Rotated` there is one if the input was longer than the
        clip, and shortened to it; but none with noise, whose clip shortens many inputs by design:
        `clipped` alone tells that. Other threads that call this client (`wipe`, `withdraw`) wait
        until the input was read, so an iterator that waits for one of them never returns.

        Args:
            values: shape (params.length,), of a dtype that the format accepts, never written to;
                or, for an input larger than memory, an iterator of such arrays of any length, the
                chunks of one vector, of which one is held at a time. Whatever the iterator raises
                leaves the client as it was; a new call needs a new iterator.
            weight: this client's weight, 1..max_weight.

        Raises:
            RangeError: the input is unusable; nothing has changed and no mask was used.
            Aborted: by the ledger, this identity has contributed in this context before; or the
                budget cannot pay for the round.
            StateError: the ledger or the budget failed; nothing has changed and there is no
                message. Trying again is safe: if the ledger had stored the claim in spite of the
                error, it leads to `Aborted`; a charge that was stored is not made again.
            LocalProtocolError: the client does not wait for an input; or, in malicious mode, it has
                not been told what the input is for (`expect`, `Policy(context=...)`).
        """
        memory = self._memory
        next_state(self._table, self.state, Call.SUBMIT)
        if self._ledger is not None and not memory.context_expected:
            raise LocalProtocolError(
                "this client has not been told what its input is for, and in malicious mode it "
                "must not take the server's word: call expect(context), or give "
                "Policy(context=...)",
                Code.NO_CONTEXT,
            )
        message, clipped, is_long = self._steps.mask(values, weight)
        params = self.round.params
        warn_of_vector(params.format, clipped, params.length, is_long=is_long)  # may raise
        self._require_owner()  # reading the input may have forked: a child claims nothing
        if not memory.may_repeat and not self._claimed:
            self._require_funds()  # or the claim would be made for nothing
            self._claim(claim_contribution, self._subject or self.round.context)
            self._claimed = True  # also if the budget fails now, and this is called again
        self._pay()
        self._advance(Call.SUBMIT)  # before anything else: these masks may be used once only
        memory.clipped, memory.last_reply = clipped, message
        for key in memory.mask_keys:
            key.wipe()
        self._log_state()
        return message

    @exclusive
    def withdraw(self) -> None:
        """Sits the round out: ends it for this client, which has no input to give.

        Possible until `submit` has returned a masked input. No message is made, and every secret is
        wiped: to the server this is a party that does not answer before the deadline, and its input
        is not in the sum. In malicious mode no contribution is claimed, so an input for the same
        context may be given in another session; in this session the identity has taken part.
        Remove what `suspend` has stored: it is used up, and there is nothing to store in its place.

        Raises:
            LocalProtocolError: the client has given its input, which may be in the sum (`wipe` ends
                the round then); or the round is over for it.
        """
        self._leave(Call.WITHDRAW)
        self._log_state()

    @exclusive
    def resend(self) -> list[ClientEvent]:
        """Returns the last reply or request again, byte by byte the same.

        Use it after a lost connection, or after `resume`. There is no reply if the client was
        suspended since without it (`keep_last`), or was wiped.
        """
        if self.state is ClientState.AWAITING_INPUT:
            return [InputNeeded()]
        return [*self._last_reply(), *([Finished()] if self.finished else [])]

    @exclusive
    def suspend(self, key: bytes, *, keep_last: bool = True) -> bytes:
        """Returns all that this client remembers, sealed; this object cannot be used any more.

        Store the bytes before you send a message that was made since they were last stored. Keep
        them as secret as an identity: with them and the key, anyone can act as this client in the
        round.

        Args:
            key: 32 secret bytes that stay on this device; one key may serve many clients.
            keep_last: whether the last reply is stored, so that `resend` can return it. False is
                for applications that store replies themselves, or can do without: then the stored
                bytes are small and no masked input is in them. A reply that is lost nevertheless
                cannot be made again: the client is a dropout then.

        Raises:
            ParameterError: the key does not have 32 bytes; nothing has changed.
            LocalProtocolError: the client was suspended before, or has aborted.
        """
        next_state(self._table, self.state, Call.SUSPEND)
        steps = self._steps
        memory = steps.memory if keep_last else replace(steps.memory, last_reply=b"")
        if self._subject is not None:
            memory = replace(memory, context_expected=False)
        stored = seal_client(StoredClient(steps.round, steps.index, steps.h0, memory), key)
        # First, as a handler of the application may raise: nothing has changed then.
        _log.debug("%s: %r is suspended", self.round.session.hex(), self)
        self._leave(Call.SUSPEND)
        return stored

    @exclusive
    def wipe(self) -> None:
        """Aborts the round unless it is finished, and overwrites every secret.

        The last reply is removed, too.
        """
        self._end_round()

    # -- internals ---------------------------------------------------------------------------

    def _leave(self, cause: Call) -> None:
        """Advances to a state in which no secret is needed, and wipes them all."""
        next_state(self._table, self.state, cause)  # if it is refused, nothing has changed
        try:
            self._advance(cause)
        finally:
            self._wipe_memory()

    def _wipe_memory(self) -> None:
        try:
            self._memory.last_reply = b""
            self._memory.erase()
        except BaseException:  # Ctrl-C in the midst of it
            self._memory.erase()
            raise

    def _end_round(self) -> None:
        if Call.ABORT in self._table[self.state]:
            self._leave(Call.ABORT)
            self._log_state()
        else:
            self._wipe_memory()

    def _abort(self, unsafe: Aborted) -> None:
        """Ends the round for this client, and logs the reason."""
        self._end_round()
        _log.warning(
            "%s: %r aborted: %s [%s]", self.round.session.hex(), self, unsafe.reason, unsafe.code
        )

    def _last_reply(self) -> list[ClientEvent]:
        reply = self._memory.last_reply
        return [Send(SERVER, reply)] if reply else []

    def _claim(self, claim: Callable[[Ledger, bytes, bytes], None], key: bytes) -> None:
        """Makes a claim for this identity in malicious mode; ends the round if it is refused."""
        if self._ledger is None:
            return
        try:
            claim(self._ledger, self._steps.authentication.verify_key, key)
        except Aborted as unsafe:
            self._abort(unsafe)
            raise

    @property
    def _payer(self) -> bytes:
        """The bytes by which the budget knows this client: its own public key of this round.

        No other client has it, also if a server repeats a session.
        """
        return self._memory.keys.channel

    def _require_funds(self) -> None:
        """Ends the round if the budget cannot pay for it; spends nothing.

        Without a ledger no claim follows, and `_pay` says the same.
        """
        if self._budget is None or self._ledger is None:
            return
        try:
            self._budget.check(self._payer, self.round.params)
        except ParameterError as refusal:
            unsafe = Aborted(refusal.reason, refusal.code)
            self._abort(unsafe)
            raise unsafe from None

    def _pay(self) -> None:
        """Charges the budget, if there is one; ends the round if it cannot pay."""
        if self._budget is None:
            return
        try:
            self._budget.charge(self._payer, self.round.params)
        except Aborted as unsafe:
            self._abort(unsafe)
            raise

    def _advance(self, cause: Input) -> None:
        self._memory.state = next_state(self._table, self.state, cause)

    def _log_state(self) -> None:
        """Logs the new state, last in a call, as a handler of the application may raise."""
        _log.debug("%s: %r", self.round.session.hex(), self)


def _ledger_for(params: Params, ledger: Ledger | None) -> Ledger | None:
    """Returns the ledger in which an identity claims what it does once; None without identities."""
    if params.mode == Mode.MALICIOUS:
        return require_ledger(ledger)
    if ledger is not None:
        raise ParameterError(
            "a ledger was given, but the round is semi-honest, where no identity contributes: "
            "take part without it, or refuse the round",
            Code.DOWNGRADE,
        )
    return None


def _require_as_before(
    memory: ClientMemory, policy: Policy | None, budget: PrivacyBudget | None
) -> None:
    """Raises ParameterError if a stored client had a demand or a budget, and has none now."""
    require_budget(budget)
    if memory.demands_privacy and (policy is None or policy.privacy is None):
        raise ParameterError(
            "this client was made with a policy that demands privacy: give a policy with `privacy`",
            Code.POLICY_PRIVACY,
        )
    if memory.has_budget and budget is None:
        raise ParameterError(
            "this client was made with a budget: give the same one (`budget=`)", Code.BUDGET
        )
    if memory.has_release and (policy is None or policy.release is None):
        raise ParameterError(
            "this client was made with a policy that is asked before a sum is opened: give a "
            "policy with `release`",
            Code.POLICY_RELEASE,
        )
