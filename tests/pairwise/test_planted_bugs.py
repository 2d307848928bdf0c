"""Takes one defence out at a time, and proves that an attack of the batteries then succeeds.

A defence is taken out in the library as it stands: `disarm` finds the `if` that raises or returns
with a given code and makes its condition false, in the code object itself. Where the defence is a
construction rather than a test, the helper that it calls is replaced. `pytest -s` prints the table.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType

import numpy as np
import pytest
from harness import integers
from pairwise.attacks import CLIENT_ATTACKS, SERVER_ATTACKS
from pairwise.malicious import MALICIOUS_ATTACKS

from secagg.arithmetic.field import Field
from secagg.codes import Code
from secagg.errors import SecAggError
from secagg.events import Dropped, Job, ServerEvent
from secagg.identity import identity
from secagg.machine import tables
from secagg.machine.claims import claim_participation
from secagg.machine.wire import MessageType, PartySet, Reader, open_message, u32
from secagg.pairwise import (
    authentication,
    client,
    derivation,
    recovery,
    server,
    transcript,
    transitions,
)
from secagg.pairwise.client_steps import ClientSteps
from secagg.pairwise.memory import ClientMemory
from secagg.pairwise.messages import PublicKeys
from secagg.pairwise.server import Server
from secagg.pairwise.server_steps import ServerSteps
from secagg.pairwise.transitions import PHASES, ClientState, ServerState
from secagg.params import complete, policy
from secagg.params.mode import Mode
from secagg.params.params import Params
from secagg.params.policy import Policy, require_context
from secagg.primitives import agreement
from secagg.primitives.labels import Label, hash_parts, kdf
from secagg.sharing import rebuilding, shamir

Patch = pytest.MonkeyPatch
CLIENT_TABLE = transitions.CLIENT[Mode.SEMI_HONEST]
SERVER_TABLE = transitions.SERVER[Mode.SEMI_HONEST]
ATTACKS = CLIENT_ATTACKS | SERVER_ATTACKS | MALICIOUS_ATTACKS


def disarm(patch: Patch, function: object, *codes: Code) -> None:
    """Makes false the condition of the one `if` in a function that ends in each of these codes."""
    assert isinstance(function, FunctionType)
    function = inspect.unwrap(function)
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    tree.body[0].decorator_list.clear()
    for code in codes:
        guards = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.If)
            and any(
                isinstance(part, ast.Attribute) and ast.unparse(part) == f"Code.{code.name}"
                for line in node.body
                if isinstance(line, ast.Raise | ast.Return)
                for part in ast.walk(line)
            )
        ]
        assert len(guards) == 1, f"{function.__qualname__} has {len(guards)} x {code!r}"
        guards[0].test = ast.copy_location(ast.Constant(False), guards[0].test)
    scope: dict[str, FunctionType] = {}
    exec(compile(tree, function.__code__.co_filename, "exec"), function.__globals__, scope)  # noqa: S102
    changed: CodeType = scope[function.__name__].__code__
    patch.setattr(function, "__code__", changed)


def no_quorum_in(step: str) -> Callable[[Patch], None]:
    """Takes out the quorum test of one step: for U1, U2 or U3."""
    return _lenient(step, member=True)


def no_membership_in(step: str) -> Callable[[Patch], None]:
    """Takes out the test of one step that the client itself is in U1, U2 or U3."""
    return _lenient(step, member=False)


def _lenient(step: str, member: bool) -> Callable[[Patch], None]:
    true_step, true_test = getattr(ClientSteps, step), ClientSteps._require_quorum

    def remove(patch: Patch) -> None:
        def lenient(self: ClientSteps, name: str, members: PartySet) -> None:
            n = self._params.cohort
            if member:  # only membership is tested
                true_test(self, name, PartySet.of(range(n) if self.index in members else (), n))
            else:  # only the number
                stuffed = dict.fromkeys((self.index, *members))
                true_test(self, name, PartySet.of(list(stuffed)[: len(members)], n))

        def careless(self: ClientSteps, message: object) -> object:
            with pytest.MonkeyPatch.context() as during:
                during.setattr(ClientSteps, "_require_quorum", lenient)
                if member:
                    during.setattr(ClientSteps, "_require_neighbours", lambda *_: None)
                return true_step(self, message)

        patch.setattr(ClientSteps, step, careless)

    return remove


def both(*removals: Callable[[Patch], None]) -> Callable[[Patch], None]:
    """Several layers that stop the same attack, taken out together."""

    def remove(patch: Patch) -> None:
        for removal in removals:
            removal(patch)

    return remove


def guard(function: object, *codes: Code) -> Callable[[Patch], None]:
    """`disarm`, to be done later."""
    return lambda patch: disarm(patch, function, *codes)


def no_end(patch: Patch) -> None:
    """Bytes may follow the last field; the longest messages have a test of their own."""
    patch.setattr(Reader, "expect", lambda self, length: None)
    patch.setattr(client, "largest_to_client", lambda params: 2**32)
    patch.setattr(server, "largest_to_server", lambda params: 2**32)


def unbounded(*names: str) -> Callable[[Patch], None]:
    """A policy without these bounds."""
    left = tuple(bound for bound in policy._BOUNDS if bound.name not in names)
    return lambda patch: patch.setattr(policy, "_BOUNDS", left)


def no_purposes(patch: Patch) -> None:
    """An identity signs whatever it is given, for any purpose."""
    patch.setattr(identity, "signed_bytes", lambda purpose, message: message)


def no_key_check(*, canonical: bool, low_order: bool) -> Callable[[Patch], None]:
    """Public keys are taken as they come, but for what is still tested."""

    def check(key: bytes) -> None:
        u = int.from_bytes(key, "little")
        if not canonical and u >= agreement._P:
            raise agreement.WeakKeyError("public key is not canonical")
        if not low_order and u % 2**255 % agreement._P in agreement._LOW_ORDER:
            raise agreement.WeakKeyError("public key is of low order")

    return lambda patch: patch.setattr(agreement, "check_public_key", check)


def zero_agreement(patch: Patch) -> None:
    """X25519 as RFC 7748 leaves it without the optional test for zero."""
    true = agreement.agree

    def agree(secret: bytes, peer: bytes) -> bytes:
        try:
            return true(secret, peer)
        except agreement.WeakKeyError:
            return bytes(32)

    patch.setattr(agreement, "agree", agree)
    patch.setattr(derivation, "agree", agree)


def channels_without_direction(patch: Patch) -> None:
    """One key and the same associated data for both directions of a channel."""

    def channel_key(shared: bytes, h1: bytes, sender: int, receiver: int, roster: object) -> bytes:
        low, high = sorted((sender, receiver))
        return kdf(shared, Label.SHARE_CHANNEL, h1, u32(low), u32(high))

    patch.setattr(derivation, "channel_key", channel_key)
    patch.setattr(derivation, "channel_data", lambda h1, sender, receiver: h1)


def channels_without_session(patch: Patch) -> None:
    """Channel keys and associated data that do not bind the transcript."""
    true_key, true_data = derivation.channel_key, derivation.channel_data
    patch.setattr(derivation, "channel_key", lambda shared, h1, *rest: true_key(shared, b"", *rest))
    patch.setattr(derivation, "channel_data", lambda h1, *rest: true_data(b"", *rest))


def checksum_without_index(patch: Patch) -> None:
    """A checksum that any party could send as its own."""

    def checksum(h2: bytes, party: int, packed: bytes) -> bytes:
        return hash_parts(Label.INPUT_CHECKSUM, h2, packed)[:16]

    patch.setattr(transcript, "checksum", checksum)


def answers_again(patch: Patch) -> None:
    """A finished client takes a survivors message as long as it has shares, and it keeps them."""
    row = {MessageType.SURVIVORS: ClientState.FINISHED}
    patch.setitem(CLIENT_TABLE, ClientState.FINISHED, row)
    patch.setattr(ClientMemory, "erase", lambda self: None)


def deals_again(patch: Patch) -> None:
    """A client takes a second roster, with its channel key still there."""
    row = {**CLIENT_TABLE[ClientState.AWAITING_DELIVERY]}
    row[MessageType.ROSTER] = ClientState.AWAITING_DELIVERY
    patch.setitem(CLIENT_TABLE, ClientState.AWAITING_DELIVERY, row)
    patch.setattr("secagg.primitives.secret.Secret.wipe", lambda self: None)


def shares_again(patch: Patch) -> None:
    """A client takes a second delivery, with its keys still there."""
    for state in (ClientState.AWAITING_INPUT, ClientState.AWAITING_SURVIVORS):
        row = {**CLIENT_TABLE[state], MessageType.DELIVERY: ClientState.AWAITING_INPUT}
        patch.setitem(CLIENT_TABLE, state, row)
    patch.setattr("secagg.primitives.secret.Secret.wipe", lambda self: None)


def consistency_without_h3(patch: Patch) -> None:
    """Everybody signs that there is a survivor set, not which."""
    patch.setattr(transcript, "consistency_digest", lambda h3: hash_parts(Label.CONSISTENCY))


def entries_without_h0(patch: Patch) -> None:
    """Entries are signed once for all rounds."""

    def digest(h0: bytes, party: int, entry: PublicKeys) -> bytes:
        return hash_parts(Label.ADVERTISE_KEYS, u32(party), entry.channel + entry.mask)

    patch.setattr(transcript, "entry_digest", digest)


def inputs_without_index(patch: Patch) -> None:
    """A signature on a masked input is anybody's of the cohort."""
    true = authentication.Signatures.input_valid

    def valid(
        self: authentication.Signatures, h2: bytes, party: int, packed: bytes, proof: bytes
    ) -> bool:
        return any(true(self, h2, one, packed, proof) for one in range(len(self._verify_keys)))

    patch.setattr(authentication.Signatures, "input_valid", valid)


def signs_again(patch: Patch) -> None:
    """A client that has signed a survivor set takes another one."""
    table = transitions.CLIENT[Mode.MALICIOUS]
    row = {**table[ClientState.AWAITING_SIGNATURES]}
    row[MessageType.SURVIVORS] = ClientState.AWAITING_SIGNATURES
    patch.setitem(table, ClientState.AWAITING_SIGNATURES, row)


def late_inputs(patch: Patch) -> None:
    """The server takes masked inputs while it awaits shares, from anybody."""
    row = {**SERVER_TABLE[ServerState.UNMASK]}
    row[MessageType.MASKED_INPUT] = ServerState.UNMASK
    patch.setitem(SERVER_TABLE, ServerState.UNMASK, row)
    disarm(patch, Server.receive, Code.DROPPED)
    disarm(patch, tables.message_due, Code.OUT_OF_ORDER)


def any_deadline(patch: Patch) -> None:
    """The server takes a deadline of any phase as one of the present phase."""
    true = Server.deadline
    patch.setattr(Server, "deadline", lambda self, phase: true(self, PHASES.get(self.state, phase)))


def drops_at_once(patch: Patch) -> None:
    """A party of which the driver says that it is gone is out, whatever it has sent."""
    true = Server.drop

    def drop(self: Server, party: int, reason: str, code: Code = Code.GONE) -> list[ServerEvent]:
        if self.phase is not None and party not in self._memory.dropped:
            self._drop(Dropped(party, reason, code))
        return true(self, party, reason, code)

    patch.setattr(Server, "drop", drop)


def any_self_seed(patch: Patch) -> None:
    """A rebuilt self seed is not held against its commitment."""
    _accept_if(patch, lambda alive: alive)


def any_mask_seed(patch: Patch) -> None:
    """A rebuilt mask seed is not held against the advertised key."""
    _accept_if(patch, lambda alive: not alive)


def _accept_if(patch: Patch, blindly: Callable[[bool], bool]) -> None:
    true = recovery.SeedCheck.accept

    def accept(self: recovery.SeedCheck, dealer: int, seed: bytes) -> bool:
        return blindly(dealer in self.commitments) or true(self, dealer, seed)

    patch.setattr(recovery.SeedCheck, "accept", accept)
    # A random seed mostly has a limb that is too wide; that alone must not be the defence.
    patch.setattr(shamir, "limbs_seed", _any_limbs)


def _any_limbs(limbs: list[int]) -> bytes:
    sizes = zip(limbs, (7, 7, 2), strict=True)
    return b"".join((limb % 256**size).to_bytes(size, "little") for limb, size in sizes)


def no_correction(patch: Patch) -> None:
    """Redundant shares are not used to find wrong ones."""
    patch.setattr(rebuilding._Decoding, "_wrong_rows", lambda self, seeds: None)
    patch.setattr(rebuilding._LeavingOneOut, "_candidates", lambda self, number: [])


def decoding_one_by_one(patch: Patch) -> None:
    """The wrong shares of each seed are looked for by themselves."""
    true = rebuilding._Decoding._wrong_rows

    def wrong_rows(self: rebuilding._Decoding, seeds: list[int]) -> rebuilding.Rows | None:
        return true(self, seeds) if len(seeds) == 1 else None

    patch.setattr(rebuilding._Decoding, "_wrong_rows", wrong_rows)
    patch.setattr(rebuilding._Decoding, "_leave_out", lambda self, wrong, seeds, accept: seeds)


def no_budget(patch: Patch) -> None:
    """Wrong shares are looked for without end."""
    patch.setattr(rebuilding.Account, "pays", lambda self, cost: True)


def rebuilds_in_receive(patch: Patch) -> None:
    """The server runs the first jobs by itself, before it hands them out."""
    true = ServerSteps.rebuild

    def rebuild(self: ServerSteps, members: tuple[int, ...]) -> list[Job]:
        jobs = true(self, members)
        for job in jobs:
            job.run()
        return jobs

    patch.setattr(ServerSteps, "rebuild", rebuild)


def elements_reduced(patch: Patch) -> None:
    """The server reduces packed elements instead of refusing those outside the field."""

    def unpack_add(self: Field, acc: np.ndarray, data: bytes) -> np.ndarray:
        bits = int.from_bytes(data, "little")
        for place in range(acc.size):
            element = bits >> place * self.bits & (1 << self.bits) - 1
            acc[place] = (int(acc[place]) + element) % self.modulus
        return acc

    patch.setattr(Field, "unpack_add", unpack_add)


def any_magic(patch: Patch) -> None:
    """The first two bytes of a message may be anything."""
    true = Reader.header

    def header(self: Reader) -> tuple[int, bytes]:
        self._data = b"SA" + self._data[2:]
        return true(self)

    patch.setattr(Reader, "header", header)


@dataclass(frozen=True)
class Defence:
    """A defence, how to take it out, and the attack that it stops.

    `gain` is a word of what the attack then reports; "crash" if the client then fails otherwise.
    """

    name: str
    remove: Callable[[Patch], None]
    attack: str
    gain: str


R, D, S = "_on_roster", "_on_delivery", "_on_survivors"
DEFENCES = [
    Defence("quorum of U1", no_quorum_in(R), "small_u1", "below the quorum"),
    Defence("quorum of U1 (alone)", no_quorum_in(R), "alone_in_u1", "a roster of one"),
    Defence("quorum of U2, with colluders", no_quorum_in(D), "small_u2_of_colluders",
            "recovered the input"),
    Defence("quorum of U2 and opened ciphertexts",
            both(no_quorum_in(D), guard(ClientSteps._on_delivery, Code.SHARES)),
            "alone_in_u2", "recovered the input"),
    Defence("opened ciphertexts", guard(ClientSteps._on_delivery, Code.SHARES), "junk_ciphertexts",
            "0 confirmed peers"),
    Defence("quorum of U3", no_quorum_in(S), "small_u3", "recovered the input"),
    Defence("policy's quorum", unbounded("min_survivors"),
            "quorum_below_own_policy", "minimum"),
    Defence("self in U1", no_membership_in(R), "self_missing_from_u1", "crash"),
    Defence("self in U2", no_membership_in(D), "self_missing_from_u2", "nobody masks"),
    Defence("self in U3", no_membership_in(S), "self_missing_from_u3", "own mask seed"),
    Defence("U2 inside U1", guard(ClientSteps._on_delivery, Code.SHARING_SET), "u2_outside_u1",
            "crash"),
    Defence("U3 inside U2", guard(ClientSteps._on_survivors, Code.SURVIVOR_SET),
            "u3_outside_u2", "outside U2"),
    Defence("own entry (everything replaced)", guard(ClientSteps._on_roster, Code.ROSTER),
            "everybody_replaced", "recovered the self seed"),
    Defence("own entry (channel key)", guard(ClientSteps._on_roster, Code.ROSTER),
            "own_channel_key_replaced", "to the server"),
    Defence("own entry (mask key)", guard(ClientSteps._on_roster, Code.ROSTER),
            "own_mask_key_replaced", "server's key"),
    Defence("own entry (swapped)", guard(ClientSteps._on_roster, Code.ROSTER),
            "own_keys_swapped", "each other's role"),
    Defence("distinct keys", guard(ClientSteps._on_roster, Code.DUPLICATE_KEY), "duplicate_keys",
            "the same key twice"),
    Defence("canonical keys", no_key_check(canonical=True, low_order=False),
            "non_canonical_keys", "non-canonical"),
    Defence("keys of full order, both layers",
            both(no_key_check(canonical=False, low_order=True), zero_agreement),
            "low_order_keys", "of low order"),
    Defence("keys of full order, exploited",
            both(no_key_check(canonical=False, low_order=True), zero_agreement),
            "low_order_everywhere", "recovered the self seed"),
    Defence("direction of channels", channels_without_direction, "reflected_ciphertexts",
            "recovered the input"),
    Defence("session of channels", channels_without_session, "ciphertexts_of_another_session",
            "an earlier session"),
    Defence("one answer a session", answers_again, "two_survivor_sets", "recovered the input"),
    Defence("one roster a session", deals_again, "two_rosters", "two rosters"),
    Defence("one sharing set a session", shares_again, "two_sharing_sets", "two sharing sets"),
    Defence("session in the header", guard(open_message, Code.SESSION),
            "message_of_another_session", "another session"),
    Defence("version in the header", guard(Reader.header, Code.VERSION),
            "message_of_another_version", "version 0"),
    Defence("magic in the header", any_magic,
            "message_with_another_magic", "another format"),
    Defence("end of message", no_end,
            "message_with_more_bytes", "a byte too many"),
    Defence("consent to a pair", guard(Policy.check, Code.POLICY_PAIR),
            "pair_without_consent", "cohort of two"),
    Defence("claim of a participation", guard(claim_participation, Code.REPEATED_PARTICIPATION),
            "one_identity_twice", "one honest input less"),
    Defence("signing for one purpose", no_purposes, "split_survivors_by_login",
            "recovered the sum of two"),
    Defence("policy's context", guard(require_context, Code.POLICY_CONTEXT),
            "other_context_than_wanted", "something else"),
    Defence("policy's parameters", guard(Policy.check, Code.POLICY_PARAMS),
            "other_parameters_than_wanted", "other parameters"),
    Defence("h0 and h1", both(guard(ServerSteps.on_advertise_keys, Code.CONTEXT),
                              guard(ServerSteps.on_share_keys, Code.ROSTER)),
            "client_with_another_context", "the round failed"),
    Defence("h1", guard(ServerSteps.on_share_keys, Code.ROSTER), "shares_for_another_roster",
            "shares under another roster were forwarded"),
    Defence("h2", guard(ServerSteps.on_masked_input, Code.SHARING_SET), "input_for_other_sets",
            "a wrong sum"),
    Defence("checksum", guard(ServerSteps.on_masked_input, Code.SIGNATURE),
            "corrupted_input", "a wrong sum"),
    Defence("index in the checksum", checksum_without_index, "input_of_another_party",
            "a wrong sum"),
    Defence("one message per step, both layers",
            both(guard(Server.receive, Code.EQUIVOCATION),
                 guard(tables.message_due, Code.OUT_OF_ORDER)),
            "two_inputs", "a wrong sum"),
    Defence("late inputs, all layers", late_inputs, "late_input", "a wrong sum"),
    Defence("deadline names its phase", any_deadline, "stale_deadline",
            "short"),
    Defence("what was sent before a drop counts", drops_at_once, "input_of_a_party_that_is_gone",
            "a wrong sum"),
    Defence("distinct keys, server", guard(ServerSteps.on_advertise_keys, Code.DUPLICATE_KEY),
            "advertised_twice", "a copied entry was forwarded; the round failed"),
    Defence("strong keys, server", no_key_check(canonical=True, low_order=True),
            "advertised_weak", "was forwarded"),
    Defence("commitment to the self seed", any_self_seed, "junk_self_seed", "a wrong sum"),
    Defence("mask key of a mask seed", any_mask_seed, "junk_mask_seed", "a wrong sum"),
    Defence("correction of shares", no_correction, "junk_share_to_spare", "the round failed"),
    Defence("decoding at once", decoding_one_by_one, "junk_shares_of_one", "decodings"),
    Defence("rebuilding as a job", rebuilds_in_receive, "junk_shares_of_one", "in receive()"),
    Defence("budget for decoding one by one", no_budget, "wrong_shares_of_bad_dealers",
            "13 decodings"),
    Defence("shares of U2 only", guard(ServerSteps.on_unmask, Code.FOREIGN_SHARE),
            "shares_of_outsiders", "a share of a party that did not share"),
    Defence("dropped parties stay out, both layers", both(guard(Server.receive, Code.DROPPED),
            guard(tables.message_due, Code.OUT_OF_ORDER)),
            "dropped_party_goes_on", "came back"),
    Defence("server's quorum", guard(ServerSteps.why_failed, Code.QUORUM),
            "too_few_for_the_quorum", "was announced"),
    Defence("elements of the sharing field", guard(shamir.unpack_shares, Code.OUT_OF_RANGE),
            "shares_outside_the_field", "took a share"),
    Defence("elements of the field", elements_reduced, "elements_outside_the_field", "took"),
    # Malicious mode.
    Defence("consistency signatures", guard(ClientSteps._on_signatures, Code.SIGNATURE),
            "split_view", "recovered the input"),
    Defence("consistency signatures, one U2", guard(ClientSteps._on_signatures, Code.SIGNATURE),
            "split_survivors", "recovered the sum of two"),
    Defence("consistency signatures, every kind", guard(ClientSteps._on_signatures, Code.SIGNATURE),
            "invalid_signatures", "unmasked for signatures: forged"),
    Defence("h3 in the consistency signature", consistency_without_h3, "split_view",
            "recovered the input"),
    Defence("threshold of signers", guard(ClientSteps._on_signatures, Code.TOO_FEW_SIGNATURES),
            "split_view_valid_signatures", "recovered the input"),
    Defence("threshold of signers, each number",
            guard(ClientSteps._on_signatures, Code.TOO_FEW_SIGNATURES), "too_few_signers",
            "unmasked for 2 signers"),
    Defence("signers inside U3", guard(ClientSteps._on_signatures, Code.SIGNERS),
            "signers_outside_u3", "outside the survivor set"),
    Defence("one h3 a session", signs_again, "second_survivor_set", "signed two"),
    Defence("entry signatures", guard(ClientSteps._check_entry, Code.SIGNATURE),
            "man_in_the_middle", "recovered the self seed"),
    Defence("entry signatures, every kind", guard(ClientSteps._check_entry, Code.SIGNATURE),
            "altered_entries", "two exchanged"),
    Defence("h0 in the entry signature", entries_without_h0, "entry_of_an_earlier_session",
            "an earlier session"),
    Defence("strong keys though signed",
            both(no_key_check(canonical=False, low_order=True), zero_agreement),
            "bad_keys_of_a_signer", "a signed channel key order"),
    Defence("strong keys though signed, server", no_key_check(canonical=False, low_order=True),
            "bad_keys_of_a_signer", "the server took a signed channel key order"),
    Defence("distinct keys though signed", guard(ClientSteps._on_roster, Code.DUPLICATE_KEY),
            "bad_keys_of_a_signer", "the victim's"),
    Defence("distinct keys though signed, server",
            guard(ServerSteps.on_advertise_keys, Code.DUPLICATE_KEY),
            "bad_keys_of_a_signer", "the server took"),
    Defence("no downgrade", guard(authentication.for_client, Code.DOWNGRADE),
            "downgrade", "joined a semi-honest"),
    Defence("identity at its index", guard(authentication.for_client, Code.WRONG_IDENTITY),
            "seat_of_another", "in another's place"),
    Defence("size of the directory", guard(authentication._fitting, Code.WRONG_DIRECTORY),
            "directory_of_another_cohort", "pinned of 4"),
    Defence("2t > n + c", guard(complete.checked_counts, Code.UNSAFE_THRESHOLD),
            "too_many_colluders_offered", "2 * 5 <= 7 + 3"),
    Defence("entry signatures, server", guard(ServerSteps.on_advertise_keys, Code.SIGNATURE),
            "entry_badly_signed", "the round failed"),
    Defence("input signature, server", guard(ServerSteps.on_masked_input, Code.SIGNATURE),
            "input_badly_signed", "a wrong sum"),
    Defence("signer of an input", inputs_without_index, "input_of_another_signer", "a wrong sum"),
    Defence("consistency signature, server", guard(ServerSteps.on_consistency, Code.SIGNATURE),
            "consistency_badly_signed", "the round failed"),
    Defence("directory in h0, and its signatures",
            both(guard(ServerSteps.on_advertise_keys, Code.CONTEXT, Code.SIGNATURE)),
            "other_directory", "the round failed"),
]  # fmt: skip


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    """Rows of the table, printed in the end."""
    rows: list[str] = []
    yield rows
    print(f"\n\n{'defence taken out':<38}{'attack that catches it':<34}what it then reports")  # noqa: T201
    print("\n".join(rows))  # noqa: T201


@pytest.mark.parametrize("defence", DEFENCES, ids=lambda defence: defence.name)
def test_an_attack_catches_the_missing_defence(
    defence: Defence, monkeypatch: Patch, table: list[str]
) -> None:
    """With the defence the attack gains nothing; without it, it reports what it gained."""
    attack = ATTACKS[defence.attack]
    assert attack() == ""
    with monkeypatch.context() as patch:
        defence.remove(patch)
        try:
            gain = attack()
        except (SecAggError, KeyError) as error:
            gain = f"crash: {error!r}"
    assert defence.gain in gain
    table.append(f"{defence.name:<38}{defence.attack:<34}{gain}")
    assert attack() == "", "the defence is back"


def test_every_attack_is_proved_able_to_succeed() -> None:
    """No attack is in the batteries that could not go red."""
    unproved = ATTACKS.keys() - {defence.attack for defence in DEFENCES}
    # Nothing to take out: a ciphertext to another party is under another X25519 agreement.
    assert unproved == {"misrouted_ciphertexts"}


def test_disarm_notices_a_moved_defence(monkeypatch: Patch) -> None:
    """A planted bug that no longer finds its defence is an error, not a pass."""
    with pytest.raises(AssertionError, match="has 0 x"):
        disarm(monkeypatch, ClientSteps.handle, Code.TIMEOUT)


def test_one_honest_input_is_refused_at_construction(monkeypatch: Patch) -> None:
    """Parameters under which a sum could hold one honest input; red without the test."""

    def build() -> Params:
        return integers(3, threshold=2, colluders=1)

    with pytest.raises(SecAggError) as refused:
        build()
    assert refused.value.code is Code.UNSAFE_SUM
    disarm(monkeypatch, Params.__post_init__, Code.UNSAFE_SUM)
    build()
