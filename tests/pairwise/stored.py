"""Attacks on what is stored, and on what may happen only once.

Each function mounts one and says what the attacker gained; "" is nothing.
"""

import os
import warnings
from collections.abc import Callable, Sequence

import numpy as np
from children import die_with_parent
from harness import (
    CONTEXT,
    SESSION,
    WILLING,
    Network,
    directory_of,
    identity_of,
    input_of,
    integers,
    seeded,
)
from pairwise.attacks import Liar, body, shares_of_dealer
from pairwise.malicious import STRANGER, signed
from pairwise.restarts import (
    KEY,
    FailingLedger,
    RecordingNetwork,
    directory_for,
    new_client,
    resumed_client,
    resumed_server,
)

import secagg
from secagg import (
    Client,
    Directory,
    Ledger,
    MemoryLedger,
    Mode,
    Once,
    Phase,
    Policy,
    SecAggError,
    Send,
    Server,
    StateError,
)
from secagg.arithmetic.field import Field
from secagg.machine.wire import MessageType
from secagg.pairwise import derivation, transcript
from secagg.pairwise.messages import MaskedInput

# -- attacks ---------------------------------------------------------------------------------------

STORED_ATTACKS: dict[str, Callable[[], str]] = {}
FOUR_SEMI_HONEST = integers(4, threshold=3)
FOUR_MALICIOUS = integers(4, threshold=3, mode=Mode.MALICIOUS)


def attack(function: Callable[[], str]) -> Callable[[], str]:
    """Registers an attack."""
    STORED_ATTACKS[function.__name__] = function
    return function


def lost_round(policy: Policy = WILLING, contexts: Sequence[bytes] = (CONTEXT, CONTEXT)) -> str:
    """The server plays a round, claims to have lost it, and plays it again without party 3.

    Nothing but the context is the same; every client has its ledger and the same input. The
    difference of the sums is the input of party 3.

    Args:
        contexts: those that the server names; the clients work on `CONTEXT`. If they differ, the
            clients are not told anything.
    """
    expected = len(set(contexts)) == 1
    ledgers = [MemoryLedger() for _ in range(4)]
    sums: list[np.ndarray] = []
    for number, drops in enumerate(({}, {3: Phase.MASKED_INPUT})):
        agreed = FOUR_MALICIOUS.round(contexts[number], bytes([number]) * 16)
        clients = {
            party: new_client(
                agreed,
                party,
                ledgers[party],
                seeded((number, party)),
                policy,
                expected=expected,
            )
            for party in range(4)
        }
        network = (
            RecordingNetwork(Server(agreed, directory_for(FOUR_MALICIOUS)), clients, drops)
            .start()
            .run()
        )
        if network.result is None:
            assert set(network.aborts) >= {0, 1, 2}
            assert not any(one.payload[3] == MessageType.MASKED_INPUT for one in network.log), (
                "an input left"
            )
            return ""
        sums.append(network.result.total)
    found = (sums[0] - sums[1]).tolist()
    return "recovered the input" if found == input_of(3).tolist() else f"two sums, {found}"


@attack
def second_contribution() -> str:
    """The same input a second time, in a round about the same thing."""
    return lost_round()


@attack
def context_of_the_server() -> str:
    """The same, but for the context: the server names another one for the same model."""
    try:
        return lost_round(contexts=(CONTEXT, bytes(32)))
    except secagg.LocalProtocolError:
        return ""


@attack
def unclaimed_contribution() -> str:
    """The ledger fails while the input is made: it must not leave, by whatever way."""
    liar = Liar(FOUR_MALICIOUS)
    liar.clients[0] = new_client(liar.round, 0, FailingLedger(Once.CONTRIBUTION))
    liar.clients[0].start()
    liar.share()
    client = liar.clients[0]
    client.receive(liar.delivery(0, liar.everybody))
    try:
        client.submit(input_of(0))
    except StateError:
        if any(isinstance(event, Send) for event in client.resend()):
            return "the input is resent though its claim failed"
        return ""
    return "the input left though its claim failed"


def twins(ledger_of_the_second: Callable[[Ledger], Ledger]) -> str:
    """Three clients are resumed twice from the same stored state, and told two survivor sets.

    One gives the self seed of party 0, the other its mask seed.
    """
    liar = Liar(FOUR_SEMI_HONEST)
    liar.share().deliver(liar.everybody)
    first, second = {}, {}
    for party in (1, 2, 3):
        ledger, random = MemoryLedger(), seeded("twin")
        stored = liar.clients[party].suspend(KEY)
        first[party] = resumed_client(stored, liar.clients[party], ledger, random)
        try:
            again = ledger_of_the_second(ledger)
            second[party] = resumed_client(stored, liar.clients[party], again, random)
        except StateError:
            return ""
    liar.clients = first
    self_seed = liar.seed(shares_of_dealer(liar.answers(dict.fromkeys(first, range(4))), 0))
    liar.clients = second
    mask_seed = liar.seed(shares_of_dealer(liar.answers(dict.fromkeys(second, (1, 2, 3))), 0))
    assert mask_seed is not None
    secret = derivation.mask_key(mask_seed, liar.h0, 0)
    return liar.gained(0, liar.strip(0, range(4), self_seed, {0: secret}))


@attack
def resumed_twice() -> str:
    """Two incarnations of one stored state answer two survivor sets."""
    return twins(lambda ledger: ledger)


@attack
def resumed_with_other_pins() -> str:
    """A stored client is given a directory in which the server has keys of its own."""
    liar = Liar(FOUR_MALICIOUS)
    liar.share().deliver(liar.everybody)
    mine = liar.sign(0, liar.everybody)
    assert mine is not None
    h3 = transcript.h3(liar.inputs[0].h2, liar.everybody, 4)
    entries = [(entry.name, entry.verify_key) for entry in directory_of(4).entries]
    strangers = {1: STRANGER, 2: secagg.Identity.generate(seeded("another stranger"))}
    for party, identity in strangers.items():
        entries[party] = (f"party-{party}", identity.verify_key)
    stored = liar.clients[0].suspend(KEY)
    directory = Directory.of(entries)
    try:
        liar.clients[0] = Client.resume(
            stored, KEY, MemoryLedger(), identity=identity_of(0), directory=directory
        )
    except StateError:
        return ""
    forged = {party: signed(identity, h3) for party, identity in strangers.items()}
    answers = liar.clients[0].receive(liar.signatures({0: mine, **forged}))
    return "unmasked for signatures of strangers" if answers else ""


@attack
def server_with_other_pins() -> str:
    """A stored server is given another directory, by mistake: its cohort would be lost."""
    agreed = FOUR_MALICIOUS.round(CONTEXT, SESSION)
    server = Server(agreed, directory_for(FOUR_MALICIOUS), MemoryLedger())
    server.start()
    entries = [(entry.name, entry.verify_key) for entry in directory_of(4).entries]
    entries[1] = ("party-1", STRANGER.verify_key)
    try:
        other = Server.resume(server.snapshot(KEY), KEY, MemoryLedger(), Directory.of(entries))
    except StateError:
        return ""
    network = RecordingNetwork(
        other, {party: new_client(agreed, party, MemoryLedger()) for party in range(4)}
    )
    for party, client in network.clients.items():
        network.send_up(party, client.start())
    return "" if network.run().result else "the round failed"


def _before_the_survivors(server: Server) -> tuple[Network, bytes]:
    """Plays until all but party 3 have sent their input, and stores the server."""
    agreed = server.round
    clients = {party: new_client(agreed, party, MemoryLedger()) for party in range(4)}
    network = RecordingNetwork(server, clients).start()
    while len(server._memory.accepted[MessageType.MASKED_INPUT]) < 3:
        message = network.queue.pop(0)
        network.deliver(message)
    return network, server.snapshot(KEY)


def two_survivor_sets(server: Server, ledger: Ledger) -> str:
    """The server sends the survivor set of all four; a copy from before sends one of three."""
    try:
        network, stored = _before_the_survivors(server)
    except secagg.LocalProtocolError:
        return ""
    network.run()
    assert network.result is not None
    other = resumed_server(stored, server, ledger)
    network.events += other.deadline(Phase.MASKED_INPUT)
    assert isinstance(network, RecordingNetwork)
    return "" if len(network.survivor_sets) == 1 else "two survivor sets were sent"


@attack
def rolled_back_server() -> str:
    """The ledger is kept, the snapshot is an old one."""
    ledger = MemoryLedger()
    return two_survivor_sets(Server(FOUR_SEMI_HONEST.round(CONTEXT, SESSION), None, ledger), ledger)


@attack
def snapshot_without_a_ledger() -> str:
    """A server that has no ledger claims nothing, so that one from a snapshot could not know."""
    return two_survivor_sets(Server(FOUR_SEMI_HONEST.round(CONTEXT, SESSION)), MemoryLedger())


@attack
def stolen_storage() -> str:
    """Stored bytes without their key: is any secret of the round in them?"""
    agreed = FOUR_MALICIOUS.round(CONTEXT, SESSION)
    client = new_client(agreed, 0, MemoryLedger())
    memory = client._memory
    seeds = {
        "channel secret": memory.channel_secret,
        "mask seed": memory.mask_seed,
        "self seed": memory.self_seed,
    }
    secrets = {name: secret.expose() for name, secret in seeds.items()}
    stored = client.suspend(KEY)
    gains = [f"the {name} of a client" for name, secret in secrets.items() if secret in stored]
    server = Server(agreed, directory_for(FOUR_MALICIOUS), MemoryLedger())
    _, snapshot = _before_the_survivors(server)
    sum_so_far = Field(FOUR_MALICIOUS.field_bits).pack(server._memory.total)
    if sum_so_far in snapshot:
        gains.append("the sum of a server")
    return ", ".join(gains)


def _waiting_for_input() -> Client:
    """Returns party 0 of a round with a lying server, which waits for its input."""
    liar = Liar(FOUR_SEMI_HONEST)
    liar.share()
    victim = liar.clients[0]
    victim.receive(liar.delivery(0, liar.everybody))
    return victim


@attack
def answers_of_a_fork() -> str:
    """A child process masks another input with the same keys: the difference is in clear."""
    victim = _waiting_for_input()

    def child() -> bytes:
        return victim.submit(input_of(2))

    theirs = in_fork(child)
    return _difference(victim.submit(input_of(0)), theirs)


@attack
def answers_of_a_fork_by_the_iterator() -> str:
    """The same by an application that forks while the client reads its input."""
    victim = _waiting_for_input()
    ours, theirs = fork_within(
        lambda fork: victim.submit(input_of(2 if fork() else 0) for _ in range(1))
    )
    return _difference(ours, theirs)


def _difference(ours: bytes, theirs: bytes) -> str:
    """Returns what party 0's masked inputs, its own in the parent and 2's in the child, reveal."""
    if not theirs.startswith(b"SA"):
        return ""
    field_ = Field(FOUR_SEMI_HONEST.field_bits)
    vectors = [
        field_.unpack(MaskedInput.read(body(message), FOUR_SEMI_HONEST).packed, 4).astype(np.int64)
        for message in (theirs, ours)
    ]
    difference = (vectors[0] - vectors[1]) % field_.modulus
    true = (input_of(2) - input_of(0)) % field_.modulus
    return "recovered a difference of inputs" if np.array_equal(difference, true) else ""


def in_fork(function: Callable[[], bytes]) -> bytes:
    """Returns the result of a function in a forked child, or the code of its error."""
    return fork_within(lambda fork: function() if fork() else b"")[1]


def fork_within(function: Callable[[Callable[[], bool]], bytes]) -> tuple[bytes, bytes]:
    """Returns the results of a function, or the codes of its errors, here and in a forked child.

    Args:
        function: gets what forks, the first time that it is called, and says if this is the child.
    """
    reading, writing = os.pipe()
    parent = os.getpid()
    pids: list[int] = []

    def fork() -> bool:
        if not pids:
            with warnings.catch_warnings():
                # Threads of numerical libraries make the interpreter warn; the child runs no such
                # code.
                warnings.simplefilter("ignore", DeprecationWarning)
                pids.append(os.fork())
            if pids == [0]:
                die_with_parent(parent)
        return pids == [0]

    try:
        try:
            ours = function(fork)
        except SecAggError as error:
            ours = error.code.encode()
        except BaseException as error:
            if pids != [0]:
                raise
            ours = repr(error).encode()
        if pids == [0]:
            os.write(writing, ours)
    finally:
        if pids == [0]:
            os._exit(0)  # whatever happens: no second run of the tests goes on from here
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            theirs = pipe.read()
        if pids:
            os.waitpid(pids[0], 0)
    return ours, theirs
