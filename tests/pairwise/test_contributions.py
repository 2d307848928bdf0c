"""An identity contributes once to a context: whoever asks again, however often, gets no input.

What a second contribution would give away is shown as well, where a policy allows it.
"""

import sys
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import children
import numpy as np
import pytest
from harness import (
    CONTEXT,
    SESSION,
    WILLING,
    directory_of,
    identity_of,
    input_of,
    integers,
    secrets_of,
    seeded,
    state_of,
)
from pairwise.attacks import Liar
from pairwise.restarts import (
    KEY,
    FailingLedger,
    RecordingNetwork,
    directory_for,
    new_client,
    resumed_client,
)
from pairwise.stored import FOUR_MALICIOUS, lost_round
from refusals import refused

from secagg import (
    SERVER,
    Aborted,
    Client,
    Code,
    Identity,
    InputNeeded,
    Ledger,
    LocalProtocolError,
    MemoryLedger,
    Mode,
    Once,
    ParameterError,
    Policy,
    RangeError,
    Send,
    Server,
    SqliteLedger,
    StateError,
)
from secagg.machine.claims import claim_contribution
from secagg.pairwise.transitions import ClientState

REPEATS = replace(WILLING, allow_repeats=True)
PARTICIPATION = (Once.PARTICIPATION, identity_of(0).verify_key + SESSION)
CONTRIBUTION = (Once.CONTRIBUTION, identity_of(0).verify_key + CONTEXT)
OTHER_CONTEXT, OTHER_SESSION = bytes(32), bytes(16)


class Asked:
    """A ledger that keeps what it was asked for."""

    def __init__(self) -> None:
        self.claims: list[tuple[Once, bytes]] = []
        self._ledger = MemoryLedger()

    def claim(self, what: Once, key: bytes) -> bool:
        """See `Ledger`."""
        self.claims.append((what, key))
        return self._ledger.claim(what, key)


def ready(
    ledger: Ledger,
    party: int = 0,
    context: bytes = CONTEXT,
    session: bytes = SESSION,
    policy: Policy = WILLING,
    expected: bool = True,
) -> Client:
    """A party in malicious mode that was asked for its input."""
    liar = Liar(FOUR_MALICIOUS, context=context, session=session, label=session)
    random = seeded((session, party, id(ledger)))
    client = new_client(liar.round, party, ledger, random, policy, expected=expected)
    client.start()
    liar.clients[party] = client
    liar.entries[party] = client._memory.keys
    liar.share()
    client.receive(liar.delivery(party, liar.everybody))
    return client


def submits(client: Client, values: object = None) -> bool:
    """Returns whether its input leaves; if not, the client is finished and wiped."""
    try:
        message = client.submit(input_of(client.index) if values is None else values)  # type: ignore[arg-type]
    except Aborted as error:
        code = error.code
    else:
        assert client.resend() == [Send(-1, message)]
        return True
    assert code is Code.REPEATED_CONTRIBUTION
    assert client.state is ClientState.ABORTED
    assert secrets_of(client) == []
    assert client.resend() == []
    return False


# ---- when a ledger is needed --------------------------------------------------------------


def joins(**more: object) -> Client:
    """A client of a malicious round, with or without a ledger."""
    agreed = FOUR_MALICIOUS.round(CONTEXT, SESSION)
    return Client(agreed, 0, identity=identity_of(0), directory=directory_of(4), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("policy", [WILLING, REPEATS])
def test_malicious_mode_needs_a_ledger(policy: Policy) -> None:
    """Also where repeats are allowed; it is not asked before keys leave."""
    for nothing in (None, object()):
        with refused(ParameterError, Code.NO_LEDGER):
            joins(policy=policy, ledger=nothing)
    asked = Asked()
    client = joins(policy=policy, ledger=asked)
    assert asked.claims == []
    client.start()
    assert asked.claims == [PARTICIPATION]


@pytest.mark.parametrize("policy", [WILLING, REPEATS])
def test_semi_honest_mode_has_no_ledger(policy: Policy) -> None:
    """No identity contributes: a ledger that would never be asked is refused."""
    agreed = integers(4).round(CONTEXT, SESSION)
    Client(agreed, 0, policy)
    with refused(ParameterError, Code.DOWNGRADE):
        Client(agreed, 0, policy, ledger=MemoryLedger())


# ---- once ---------------------------------------------------------------------------------


def test_it_claims_once_and_by_identity_and_context() -> None:
    """Verify key and session when it starts; verify key and context when it submits."""
    asked = Asked()
    client = ready(asked)
    assert asked.claims == [PARTICIPATION], "a client that has not submitted claims no context"
    assert submits(client)
    assert asked.claims == [PARTICIPATION, CONTRIBUTION]


def starts(client: Client) -> bool:
    """Returns whether its keys leave; if not, the client is finished and wiped."""
    try:
        client.start()
    except Aborted as error:
        code = error.code
    else:
        return True
    assert code is Code.REPEATED_PARTICIPATION
    assert client.state is ClientState.ABORTED
    assert secrets_of(client) == []
    assert client.resend() == []
    return False


@pytest.mark.parametrize("policy", [WILLING, REPEATS])
@pytest.mark.parametrize("first", ["started", "suspended", "finished", "wiped"])
def test_an_identity_takes_part_in_a_session_once(policy: Policy, first: str) -> None:
    """Whatever the policy says about repeats, and whatever became of its first client.

    Two live clients of one identity in a session let a server unmask what each alone protects.
    """
    ledger = MemoryLedger()
    client = ready(ledger, policy=policy) if first == "finished" else joins(ledger=ledger)
    if first == "finished":
        assert submits(client)
    elif first == "suspended":
        client = resumed_client(client.suspend(KEY), client, ledger, seeded("again"))
        assert starts(client)
    else:
        assert starts(client)
        if first == "wiped":
            client.wipe()
    assert not starts(joins(policy=policy, ledger=ledger))
    with refused(LocalProtocolError, Code.OUT_OF_ORDER):
        client.start()
    assert starts(new_client(FOUR_MALICIOUS.round(CONTEXT, OTHER_SESSION), 0, ledger))
    assert starts(new_client(FOUR_MALICIOUS.round(CONTEXT, SESSION), 1, ledger))


@pytest.mark.parametrize(
    "error", [StateError("the disk is full"), OSError(28, "full"), KeyboardInterrupt()]
)
def test_a_ledger_that_fails_keeps_the_keys_here(error: BaseException) -> None:
    """Nothing has left, nothing has changed, a retry works."""
    client = joins(ledger=FailingLedger(Once.PARTICIPATION, error))  # type: ignore[arg-type]
    before = state_of(client)
    for _ in range(2):
        with pytest.raises(type(error)):
            client.start()
        assert state_of(client) == before
        assert client.resend() == []
    client._ledger = MemoryLedger()
    assert starts(client)


# ---- what the input is for ----------------------------------------------------------------


@pytest.mark.parametrize("policy", [Policy(), Policy(allow_repeats=True)])
@pytest.mark.parametrize("stored", [False, True])
def test_no_input_leaves_on_the_word_of_the_server(policy: Policy, stored: bool) -> None:
    """A client in malicious mode says itself what its input is for, or keeps it."""
    ledger = Asked()
    client = ready(ledger, policy=policy, expected=False)
    if stored:
        client = resumed_client(client.suspend(KEY), client, ledger, seeded("again"))
    before, asked_for = state_of(client), client.resend()
    claims = list(ledger.claims)
    with refused(LocalProtocolError, Code.NO_CONTEXT, match="expect"):
        client.submit(input_of(0))
    assert (state_of(client), client.resend(), ledger.claims) == (before, asked_for, claims)
    client.expect(CONTEXT)
    client.expect(CONTEXT)
    if stored:
        client = resumed_client(client.suspend(KEY), client, ledger, seeded("once more"))
    assert submits(client)
    client.expect(CONTEXT)


def test_a_policy_is_the_word_of_the_client() -> None:
    """When it is made, or when it is resumed."""
    assert submits(ready(MemoryLedger(), policy=Policy(context=CONTEXT), expected=False))
    ledger = MemoryLedger()
    client = ready(ledger, policy=Policy(), expected=False)
    stored = client.suspend(KEY)
    with refused(ParameterError, Code.POLICY_CONTEXT):
        resumed_client(stored, client, ledger, seeded("again"), Policy(context=OTHER_CONTEXT))
    again = resumed_client(stored, client, ledger, seeded("again"), Policy(context=CONTEXT))
    assert submits(again)


@pytest.mark.parametrize("how", ["wiped identity", "no randomness"])
def test_what_cannot_work_uses_up_no_stored_state(how: str) -> None:
    """Refused before the resumption is claimed."""
    ledger = MemoryLedger()
    client = ready(ledger)
    stored, mine = client.suspend(KEY), Identity.generate(seeded(("identity", 0)))
    assert mine.verify_key == identity_of(0).verify_key
    given = {"identity": mine, "directory": directory_of(4)}
    if how == "wiped identity":
        mine.wipe()
        with refused(LocalProtocolError, Code.WIPED):
            Client.resume(stored, KEY, ledger, **given)  # type: ignore[arg-type]
    else:
        with refused(ParameterError, Code.RANDOMNESS):
            Client.resume(stored, KEY, ledger, None, **given)  # type: ignore[arg-type]
    assert submits(resumed_client(stored, client, ledger, seeded("again")))


@pytest.mark.parametrize("submitted", [False, True])
def test_another_context_ends_the_round(submitted: bool) -> None:
    """As soon as the client knows better what it works on."""
    client = ready(MemoryLedger(), expected=submitted)
    if submitted:
        assert submits(client)
    for wrong in (b"short", "text", None):
        with refused(ParameterError, Code.ARGUMENT):
            client.expect(wrong)  # type: ignore[arg-type]
    with refused(Aborted, Code.POLICY_CONTEXT):
        client.expect(OTHER_CONTEXT)
    assert client.state is ClientState.ABORTED
    assert secrets_of(client) == []
    assert client.resend() == []
    with refused(LocalProtocolError, Code.OUT_OF_ORDER):
        client.expect(CONTEXT)


def test_a_second_contribution_is_aborted() -> None:
    """In another session, by another object: the same identity, context and ledger are enough."""
    ledger = MemoryLedger()
    assert submits(ready(ledger))
    assert not submits(ready(ledger, session=OTHER_SESSION))
    assert not submits(ready(ledger, session=bytes([2]) * 16))


@pytest.mark.parametrize("first", [OTHER_CONTEXT, None])
def test_a_subject_counts_in_the_place_of_the_context(first: bytes | None) -> None:
    """Whatever else the server puts into a context: it gets one input for one subject."""
    ledger = MemoryLedger()
    client = ready(ledger, expected=False)
    client.expect(CONTEXT, OTHER_CONTEXT)
    client.expect(CONTEXT, OTHER_CONTEXT)
    for other in (None, CONTEXT):
        with refused(LocalProtocolError, Code.OUT_OF_ORDER, match="another subject before"):
            client.expect(CONTEXT, other)
    assert submits(client)
    again = ready(ledger, session=OTHER_SESSION, expected=False, context=OTHER_CONTEXT)
    again.expect(OTHER_CONTEXT, first)
    assert not submits(again)


def test_a_suspended_client_forgets_its_subject_and_what_it_was_told() -> None:
    """Otherwise it would claim the context, which may have words of the server in it."""
    ledger = MemoryLedger()
    client = ready(ledger, expected=False)
    with refused(ParameterError, Code.ARGUMENT):
        client.expect(CONTEXT, b"short")
    client.expect(CONTEXT, OTHER_CONTEXT)
    client = resumed_client(client.suspend(KEY), client, ledger, seeded("again"))
    with refused(LocalProtocolError, Code.NO_CONTEXT):
        client.submit(input_of(0))
    client.expect(CONTEXT, OTHER_CONTEXT)
    assert submits(client)


def test_another_context_or_identity_is_free() -> None:
    """Parties that share a ledger do not stand in each other's way, nor do rounds of a training."""
    ledger = MemoryLedger()
    for number, context in enumerate((CONTEXT, OTHER_CONTEXT)):
        for party in range(4):
            assert submits(ready(ledger, party, context, bytes([number]) * 16))
            assert not submits(ready(ledger, party, context, bytes([2 + number]) * 16))


def test_other_parameters_are_no_excuse() -> None:
    """Another cohort, mode of encoding or index: the context is the same."""
    ledger = MemoryLedger()
    assert submits(ready(ledger))
    liar = Liar(integers(5, 4, mode=Mode.MALICIOUS), session=OTHER_SESSION)
    liar.clients[0] = new_client(liar.round, 0, ledger)
    liar.clients[0].start()
    liar.share()
    liar.clients[0].receive(liar.delivery(0, liar.everybody))
    assert not submits(liar.clients[0])


def test_a_resumed_client_contributes_once() -> None:
    """Before and after, in either order, with the same ledger."""
    for stored_first in (True, False):
        ledger = MemoryLedger()
        client, other = ready(ledger), ready(ledger, session=OTHER_SESSION)
        again = resumed_client(client.suspend(KEY), client, ledger, seeded("again"))
        first, second = (again, other) if stored_first else (other, again)
        assert submits(first)
        assert not submits(second)


def test_repeats_that_are_allowed_stay_allowed_when_stored() -> None:
    """And a client that counts goes on counting: neither becomes the other by being stored."""
    ledger = Asked()
    assert submits(ready(ledger))
    sessions = iter(range(100))

    def again(before: Policy, after: Policy | None) -> bool:
        client = ready(ledger, session=bytes([next(sessions)]) * 16, policy=before)
        stored = client.suspend(KEY)
        return submits(resumed_client(stored, client, ledger, seeded("again"), after))

    assert again(REPEATS, None)
    assert again(REPEATS, REPEATS)
    assert not again(REPEATS, WILLING), "a policy may take back what was allowed"
    assert not again(WILLING, REPEATS), "and does not allow what was not"
    assert not again(WILLING, None)


def test_a_policy_is_checked_again_when_a_client_is_resumed() -> None:
    """A refusal does not use up what was stored."""
    ledger = MemoryLedger()
    client = ready(ledger)
    stored = client.suspend(KEY)
    with refused(ParameterError, Code.POLICY_COHORT):
        resumed_client(stored, client, ledger, seeded("again"), Policy(max_cohort=3))
    assert submits(resumed_client(stored, client, ledger, seeded("again"), Policy(max_cohort=4)))


def test_another_process_knows(tmp_path: Path) -> None:
    """The file is what remembers."""
    path = tmp_path / "ledger"
    script = (
        "import sys\nfrom pathlib import Path\nfrom secagg import SqliteLedger\n"
        "from pairwise.test_contributions import ready, submits\n"
        "print(submits(ready(SqliteLedger(sys.argv[1]), session=bytes([int(sys.argv[2])]) * 16)))\n"
    )

    def elsewhere(number: int) -> str:
        command = [sys.executable, "-c", script, str(path), str(number)]
        done = children.run(command, cwd=Path(__file__).parents[1])
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert elsewhere(1) == "True"
    assert not submits(ready(SqliteLedger(path), session=bytes([2]) * 16))


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_of_many_sessions_at_once_one_contributes(kind: str, tmp_path: Path) -> None:
    """Six sessions of the same context, each in its own thread."""
    ledger = MemoryLedger() if kind == "memory" else SqliteLedger(tmp_path / "ledger")
    clients = [ready(ledger, session=bytes([number]) * 16) for number in range(6)]
    together = threading.Barrier(6)

    def submit(client: Client) -> bool:
        together.wait(30)
        return submits(client)

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(submit, clients)) == 1


# ---- what does not count ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "weight"),
    [
        (np.zeros(3, np.int64), 1),
        (np.full(4, 1001), 1),
        (np.full(4, 0.5), 1),
        ("input", 1),
        (np.zeros(4, np.int64), 2),
    ],
)
def test_an_input_that_is_refused_claims_nothing(values: object, weight: int) -> None:
    """A RangeError comes before the claim, and a good input after it is taken."""
    asked = Asked()
    client = ready(asked)
    before = state_of(client)
    with pytest.raises(RangeError):
        client.submit(values, weight)  # type: ignore[arg-type]
    assert asked.claims == [PARTICIPATION]
    assert state_of(client) == before
    assert submits(client)


def test_a_client_that_never_submitted_has_claimed_nothing() -> None:
    """However it ended: given up, suspended, aborted, or called out of turn."""
    asked = Asked()
    ready(asked, session=bytes([1]) * 16).wipe()
    ready(asked, session=bytes([2]) * 16).suspend(KEY)
    early = joins(ledger=asked)
    with pytest.raises(LocalProtocolError):
        early.submit(input_of(0))
    early.start()
    with pytest.raises(LocalProtocolError):
        early.submit(input_of(0))
    aborted = Liar(FOUR_MALICIOUS, session=bytes([3]) * 16)
    aborted.clients[0] = new_client(aborted.round, 0, asked)
    aborted.clients[0].start()
    aborted.share()
    with pytest.raises(Aborted):
        aborted.clients[0].receive(aborted.delivery(0, [0]))
    assert {what for what, _ in asked.claims} == {Once.PARTICIPATION}
    assert submits(ready(asked, session=bytes([4]) * 16))


class Failing(Exception):
    """Not an error of the library."""


@pytest.mark.parametrize(
    "error", [StateError("the disk is full"), Failing(), OSError(28, "full"), KeyboardInterrupt()]
)
def test_a_ledger_that_fails_keeps_the_input_here(error: BaseException) -> None:
    """Its error goes to the caller; nothing has left, nothing has changed, a retry works."""
    client = ready(FailingLedger(Once.CONTRIBUTION, error))  # type: ignore[arg-type]
    twin = ready(MemoryLedger())
    before, secrets = state_of(client), secrets_of(client)
    asked_for = client.resend()
    for _ in range(2):
        with pytest.raises(type(error)):
            client.submit(input_of(0))
        assert client.state is ClientState.AWAITING_INPUT
        assert state_of(client) == before
        assert secrets_of(client) == secrets
        assert "mask_keys" in secrets
        assert client.resend() == asked_for
        assert not any(isinstance(event, Send) for event in asked_for)
    client._ledger = MemoryLedger()
    assert submits(client)
    assert submits(twin), "another ledger knows nothing of it"


async def yes() -> bool:
    """Returns what a ledger must not answer with: it is true before anything was stored."""
    return True


@pytest.mark.parametrize("answer", [None, 0, 1, "", "yes", yes])
def test_only_a_yes_is_a_yes(answer: object) -> None:
    """A ledger that answers later, or something else, has not said yes: nothing leaves."""
    given = answer() if callable(answer) else answer

    class Odd:
        def claim(self, what: Once, key: bytes) -> bool:
            if what is Once.PARTICIPATION and self.starts:
                return True
            return given  # type: ignore[return-value]

        starts = False

    client = joins(ledger=Odd())
    with refused(StateError, Code.NO_LEDGER):
        client.start()
    assert client.resend() == []
    Odd.starts = True
    client = ready(Odd())
    with refused(StateError, Code.NO_LEDGER):
        client.submit(input_of(0))
    assert client.resend() == [InputNeeded()]
    client._ledger = MemoryLedger()
    assert submits(client)
    if callable(answer):
        given.close()  # type: ignore[attr-defined]


# ---- the attack ---------------------------------------------------------------------------


def test_a_lost_round_that_is_repeated_costs_an_input() -> None:
    """Two sums over the same inputs, one of them without party 3, are its input.

    The server that does it follows the protocol in each round. With a ledger it gets the first sum
    and no second one.
    """
    assert lost_round(REPEATS) == "recovered the input"
    assert lost_round() == ""


@pytest.mark.parametrize("dropped", range(4))
def test_whoever_is_left_out(dropped: int) -> None:
    """Any one party can be the victim: every client refuses the second round by itself."""
    ledgers = [MemoryLedger() for _ in range(4)]

    def play(session: bytes, parties: Iterable[int], policy: Policy) -> RecordingNetwork:
        agreed = FOUR_MALICIOUS.round(CONTEXT, session)
        clients = {
            party: new_client(agreed, party, ledgers[party], seeded((session, party)), policy)
            for party in parties
        }
        return (
            RecordingNetwork(Server(agreed, directory_for(FOUR_MALICIOUS)), clients).start().run()
        )

    assert play(SESSION, range(4), WILLING).exact()
    others = [party for party in range(4) if party != dropped]
    again = play(OTHER_SESSION, others, WILLING)
    assert again.result is None
    assert set(again.aborts) == set(others)
    assert play(bytes([2]) * 16, others, REPEATS).exact(), "there is nothing else to stop it"


# ---- planted bugs -------------------------------------------------------------------------


@pytest.mark.parametrize("bug", ["early claim", "late wipe"])
def test_the_order_within_submit_matters(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Claimed before the input is read, or wiped before it is claimed: the tests above go red."""
    true = Client._claim
    if bug == "early claim":
        whole = Client.submit

        def submit(self: Client, *values: object) -> bytes:
            true(self, claim_contribution, self.round.context)
            return whole(self, *values)  # type: ignore[arg-type]

        monkeypatch.setattr(Client, "submit", submit)
        with pytest.raises(AssertionError):
            test_an_input_that_is_refused_claims_nothing(np.zeros(3, np.int64), 1)
        return

    def claim(self: Client, *claim: object) -> None:
        for key in self._memory.mask_keys:
            key.wipe()
        true(self, *claim)  # type: ignore[arg-type]

    monkeypatch.setattr(Client, "_claim", claim)
    with pytest.raises(AssertionError):
        test_a_ledger_that_fails_keeps_the_input_here(StateError("full"))


def test_a_ledger_that_calls_back() -> None:
    """One that submits while it is asked: refused, and no input has left."""

    class Recursive:
        """Says yes to everything."""

        client: Client
        inner: bytes = b""

        def claim(self, what: Once, key: bytes) -> bool:
            """See `Ledger`."""
            if what is Once.CONTRIBUTION and not self.inner:
                self.inner = b"asked"
                self.inner = self.client.submit(input_of(3))
            return True

    ledger = Recursive()
    liar = Liar(FOUR_MALICIOUS).share()
    ledger.client = liar.clients[0]
    ledger.client._ledger = ledger
    ledger.client.receive(liar.delivery(0, liar.everybody))
    with refused(LocalProtocolError, Code.REENTRANT):
        ledger.client.submit(input_of(0))
    assert ledger.inner == b"asked"
    assert ledger.client.resend() == [InputNeeded()]
    ledger.client._ledger = MemoryLedger()
    said = ledger.client.submit(input_of(0))
    assert ledger.client.resend() == [Send(SERVER, said)]
