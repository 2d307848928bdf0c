"""Random schedules: a server that lies to everybody, clients that lie, and a network that is bad.

Thousands of schedules (`schedules`) are played to real clients and servers. Of a lying server the
judge says what it could compute from all that it and its colluders hold; of lying clients and a bad
network, whether the sum is exact and nobody honest was harmed. Defences are then taken out one by
one, and the same schedules must find that out.

`pytest -s` prints how often each move was made and had an effect. Level `long` has 10,000
schedules, with those in which every lie is told; `full` has 100,000 of each kind.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import hypothesis
import pytest
from hypothesis import HealthCheck, settings
from levels import amount, runs_at
from pairwise.malicious import malicious_tight
from pairwise.schedules.bad_network import BadNetwork
from pairwise.schedules.lying_server import LyingServer, earlier_round, progress_of, sealed_by
from pairwise.schedules.network_judge import NetworkJudge
from pairwise.schedules.network_plan import SPARSE_CASES, NetworkSchedule
from pairwise.schedules.network_strategies import network_schedules
from pairwise.schedules.replayed_client import dealt_shares, h0_of, replay, seeds_of
from pairwise.schedules.roster_lies import entry_signed_by
from pairwise.schedules.server_judge import (
    Finding,
    Knowledge,
    conduct_violations,
    secrecy_violations,
)
from pairwise.schedules.server_plan import DROPPING, Lie, Plan, legal_params_of
from pairwise.schedules.server_strategies import THEMES, plans
from pairwise.test_planted_bugs import DEFENCES, disarm

import secagg
from secagg import Code, Params
from secagg.params import complete

Patch = pytest.MonkeyPatch
SHARD = amount("schedules in a shard")
CAP = 2000  # schedules in which a missing defence must be found
# The schedules of a shard are the same in every run, unless the level draws them afresh.
FIXED = settings.default.derandomize  # type: ignore[union-attr]
CACHES = (
    replay, h0_of, seeds_of, dealt_shares, entry_signed_by, sealed_by, earlier_round,
    legal_params_of,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _silent(monkeypatch: Patch) -> None:
    """Thousands of rounds fail here, as they must; pytest would keep a line for each."""
    monkeypatch.setattr(logging.getLogger("secagg"), "disabled", True)


class Tally:
    """The numbers of schedules that went so far, and the moves that were made."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.far: Counter[str] = Counter()
        self.used: Counter[str] = Counter()
        self.effect: Counter[str] = Counter()

    def add(self, far: dict[str, int], used: Counter[str], effect: Counter[str]) -> None:
        """One schedule."""
        self.far.update({"schedules": 1, **{one: int(yes) for one, yes in far.items()}})
        self.used.update(used)
        self.effect.update(effect)

    def merge(self, other: "Tally") -> None:
        """Those of a shard."""
        for mine, more in ((self.far, other.far), (self.used, other.used)):
            mine.update(more)
        self.effect.update(other.effect)

    def share(self, what: str) -> float:
        """Of all schedules."""
        return self.far[what] / self.far["schedules"]

    def __str__(self) -> str:
        lines = [f"{self.name}: " + ", ".join(f"{self.far[one]} {one}" for one in self.far)]
        moves = sorted(self.used.keys() | self.effect.keys() - {""})
        lines += [f"  {one:<36}{self.used[one]:>8}{self.effect[one]:>8}" for one in moves]
        return "\n".join(lines)


@pytest.fixture(scope="module")
def tallies() -> Iterator[dict[str, Tally]]:
    """Yields the tallies of all shards of this process, and prints them in the end."""
    found = {name: Tally(name) for name in ("lying server", "bad network")}
    yield found
    for tally in found.values():
        print(f"\n\n{tally}\n  (move, times made, times it came through)")  # noqa: T201


def rounds(strategy: object, play: Callable[..., None], number: int, count: int,
           explain: bool = True) -> None:  # fmt: skip
    """Plays `count` schedules, others for each number; failures shrink if they are explained."""
    phases = [*hypothesis.Phase] if explain else [hypothesis.Phase.generate]
    given = hypothesis.given(strategy)(play)  # type: ignore[arg-type]
    some = settings(
        max_examples=count,
        phases=phases,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )(given)
    (hypothesis.seed(number)(some) if FIXED else some)()


def a_lying_server(number: int, count: int = SHARD) -> Tally:
    """A shard of schedules in which the judge finds nothing."""
    tally = Tally("")

    def play(plan: Plan) -> None:
        server = LyingServer(plan).play()
        found, knowledge = secrecy_violations(server.evidence)
        assert found + conduct_violations(server.evidence) == []
        sums = knowledge.sums()
        if tally.far["schedules"] % 8 == 0:
            for parties in sums:  # the judge's word against what can really be computed
                assert knowledge.recover(parties) == knowledge.inputs(parties)
        far = {**progress_of(server), "sums": bool(sums), "with lies": bool(server.used)}
        tally.add(far, server.used, server.effect)

    rounds(plans(), play, number, count)
    return tally


def a_bad_network(number: int, count: int = SHARD, cases: tuple[Params, ...] = ()) -> Tally:
    """The same, of lying clients and a bad network."""
    tally = Tally("")

    def play(schedule: NetworkSchedule) -> None:
        net = BadNetwork(schedule).play()
        assert NetworkJudge(net).verdict() == []
        far = {
            "sums": net.result is not None,
            "sums with wrong shares": bool(net.result and net.result.disputes),
            "sums without everybody": bool(
                net.result and len(net.result.survivors) < net.params.cohort
            ),
            "failed": net.failure is not None,
            "failed unmasking": str(net.failed_in) == "unmask" and net.failure is not None,
            "aborts": bool(net.aborted()),
        }
        tally.add(far, net.used, net.effect)

    rounds(network_schedules(cases, drops=True), play, number, count)
    return tally


def deep_enough(tally: Tally, **least: float) -> None:
    """A generator whose schedules die at the first step proves nothing."""
    for what, share in least.items():
        name = what.replace("_", " ")
        assert tally.share(name) >= share, f"{tally.share(name):.0%} {name}"


LYING_SERVER_REACHES = {"masked": 0.6, "signed": 0.5, "unmasked": 0.25, "sums": 0.2,
                        "with_lies": 0.5, "aborted": 0.2}  # fmt: skip
BAD_NETWORK_REACHES = {"sums": 0.35, "failed": 0.15, "failed_unmasking": 0.02,
                       "sums_with_wrong_shares": 0.002, "sums_without_everybody": 0.08}  # fmt: skip


@pytest.mark.parametrize("number", range(amount("shards of a lying server")))
def test_a_lying_server_learns_no_more_than_promised(
    number: int, tallies: dict[str, Tally]
) -> None:
    """No sum over fewer honest clients than promised, no two seeds of one client, no two sets."""
    tally = a_lying_server(number)
    tallies["lying server"].merge(tally)
    assert tally.far["schedules"] >= SHARD
    deep_enough(tally, **LYING_SERVER_REACHES)


@pytest.mark.parametrize("number", range(amount("shards of a bad network")))
def test_lying_clients_and_a_bad_network_change_nothing(
    number: int, tallies: dict[str, Tally]
) -> None:
    """The sum is exact or there is none, for a reason; nobody honest and well served is harmed."""
    tally = a_bad_network(number)
    tallies["bad network"].merge(tally)
    assert tally.far["schedules"] >= SHARD
    deep_enough(tally, **BAD_NETWORK_REACHES)


def test_lying_clients_and_a_bad_network_change_nothing_on_sparse_graphs() -> None:
    """The same; honest clients may end the round for themselves, for want of neighbours."""
    tally = a_bad_network(2000, amount("schedules on sparse graphs"), SPARSE_CASES)
    deep_enough(tally, **{**BAD_NETWORK_REACHES, "failed": 0.1, "failed_unmasking": 0.02})
    assert tally.far["aborts"] > 0


@runs_at("schedules in which every lie is told")
def test_every_move_is_made_and_some_come_through() -> None:
    """No kind of lie is dead: each is told, and those that clients cannot notice are taken."""
    tally = a_lying_server(1000, amount("schedules in which every lie is told"))
    kinds = {kind for theme in THEMES.values() for kind in theme}
    assert kinds - tally.used.keys() == set()
    for kind in ("vanish", "dealt by a colluder", "another U2",
                 "another U3", "again", "signers left out"):  # fmt: skip
        assert tally.effect[kind] > 0, kind


# -- planted bugs ---------------------------------------------------------------------------------


class Found(Exception):
    """The judge has found something, after so many schedules."""


@dataclass(frozen=True)
class Bug:
    """A defence that is taken out (by its name in `test_planted_bugs.py`), and what must be found.

    `finds` is "secret" if the adversary then holds what it must not, "conduct" if another layer
    keeps that from it, and only the client's going on shows; `why` names that layer.
    """

    defence: str
    finds: str
    why: str = ""


SECRET, CONDUCT = "a secret", "conduct"
SERVER_BUGS = [
    Bug("quorum of U2 and opened ciphertexts", SECRET),
    Bug("quorum of U3", SECRET),
    Bug("threshold of signers", SECRET),
    Bug("consistency signatures", SECRET),
    Bug("h3 in the consistency signature", SECRET),
    Bug("one h3 a session", SECRET),
    Bug("entry signatures", SECRET),
    Bug("quorum of U1", CONDUCT, "the quorum of U2, which lies inside U1"),
    Bug("quorum of U2, with colluders", CONDUCT, "the quorum of U3, which lies inside U2"),
    Bug("opened ciphertexts", CONDUCT, "h3: peers of another roster never sign the same"),
    Bug("self in U2", CONDUCT, "self in U3, which lies inside U2; the others do not sign"),
    Bug("self in U3", CONDUCT, "everybody who signs the same gives mask seeds alone"),
    Bug("U3 inside U2", CONDUCT, "shares are given of members of U2 only"),
    Bug("U2 inside U1", CONDUCT, "it ends in a KeyError: there is no key for a stranger"),
    Bug("self in U1", CONDUCT, "it ends in a KeyError: there is no own entry"),
    Bug("own entry (mask key)", CONDUCT, "the others' signature check, and so another h1"),
    Bug("distinct keys though signed", CONDUCT, "indices and keys are hashed into every pair"),
    Bug("canonical keys", CONDUCT, "only colluders can sign odd keys, and theirs are known"),
    Bug("keys of full order, both layers", CONDUCT, "the same"),
    Bug("h0 in the entry signature", CONDUCT, "the secrets of the replayed entry are wiped"),
    Bug("direction of channels", CONDUCT, "a share sent back is its own receiver's: one of t"),
    Bug("signers inside U3", CONDUCT, "2t > n + c counts all signers, wherever they are"),
]  # fmt: skip

CLIENT_BUGS = [
    "h0 and h1",
    "h1",
    "h2",
    "checksum",
    "index in the checksum",
    "input signature, server",
    "signer of an input",
    "one message per step, both layers",
    "late inputs, all layers",
    "deadline names its phase",
    "distinct keys, server",
    "strong keys, server",
    "entry signatures, server",
    "consistency signature, server",
    "commitment to the self seed",
    "mask key of a mask seed",
    "correction of shares",
    "dropped parties stay out, both layers",
    "elements of the field",
    "elements of the sharing field",
    "session in the header",
    "version in the header",
    "end of message",
    "what was sent before a drop counts",
]
BUGS_OF_DROPS = {"what was sent before a drop counts"}

# Numbers under which a hunt is short with today's Hypothesis, where that of 0 takes longer. With
# another version a hunt may take more schedules, up to CAP; what it must find stays the same.
SHORT_HUNTS = {
    "quorum of U2 and opened ciphertexts": 1,
    "consistency signatures": 1,
    "h3 in the consistency signature": 16,
    "one h3 a session": 16,
    "entry signatures": 21,
    "quorum of U1": 5,
    "quorum of U2, with colluders": 14,
    "opened ciphertexts": 1,
    "self in U2": 2,
    "self in U3": 7,
    "U3 inside U2": 9,
    "self in U1": 7,
    "own entry (mask key)": 3,
    "distinct keys though signed": 8,
    "canonical keys": 5,
    "keys of full order, both layers": 8,
    "h0 in the entry signature": 5,
    "direction of channels": 1,
    "signers inside U3": 3,
    "h0 and h1": 3,
    "h1": 2,
    "h2": 2,
    "index in the checksum": 8,
    "signer of an input": 4,
    "entry signatures, server": 42,
    "consistency signature, server": 5,
    "commitment to the self seed": 30,
    "checksum": 10,
    "input signature, server": 10,
    "one message per step, both layers": 11,
    "late inputs, all layers": 7,
    "deadline names its phase": 17,
    "distinct keys, server": 14,
    "mask key of a mask seed": 37,
    "correction of shares": 2,
    "what was sent before a drop counts": 21,
    "elements of the sharing field": 6,
    "session in the header": 2,
    "version in the header": 3,
    "end of message": 1,
}

REMOVALS = {defence.name: defence.remove for defence in DEFENCES}
CRASHES = (secagg.SecAggError, LookupError, ArithmeticError, AssertionError)


@pytest.fixture
def planted(monkeypatch: Patch) -> Iterator[Callable[[str], None]]:
    """Takes a defence out for one test, and what was played before out of memory."""

    def forget() -> None:
        for cached in CACHES:
            cached.cache_clear()

    def plant(name: str) -> None:
        forget()
        REMOVALS[name](monkeypatch)

    yield plant
    monkeypatch.undo()
    forget()


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    """Rows, printed in the end."""
    rows: list[str] = []
    yield rows
    print(f"\n\n{'defence taken out':<40}{'schedules':<10}what the judge then finds")  # noqa: T201
    print("\n".join(rows))  # noqa: T201


def hunt(strategy: object, look: Callable[[object], str], name: str = "") -> tuple[int, str]:
    """The number of schedules until something is found, and what."""
    count = 0
    number = 0 if amount("hunts from the first schedule") else SHORT_HUNTS.get(name, 0)

    def play(schedule: object) -> None:
        nonlocal count
        count += 1
        if said := look(schedule):
            raise Found(said)

    try:
        rounds(strategy, play, number, CAP, explain=False)
    except Found as found:
        return count, str(found)
    return count, ""


def is_proved(finding: Finding, knowledge: Knowledge) -> bool:
    """Returns whether the secret is really rebuilt from what the adversary holds, and is true."""
    if finding.what == "a sum over too few":
        return knowledge.recover(finding.parties) == knowledge.inputs(finding.parties)
    if finding.what == "both seeds":
        (party,) = finding.parties
        seeds = (knowledge.seed(party, own=False), knowledge.seed(party, own=True))
        return seeds == seeds_of(knowledge.evidence.clients[party].setup)
    return True


@pytest.mark.parametrize("bug", SERVER_BUGS, ids=lambda bug: bug.defence)
def test_a_lying_server_finds_the_missing_defence(
    bug: Bug, planted: Callable[[str], None], table: list[str]
) -> None:
    """And what it says that it can compute, it computes: it is the true sum, or the true seeds."""
    planted(bug.defence)

    def look(plan: object) -> str:
        assert isinstance(plan, Plan)
        try:
            evidence = LyingServer(plan).play().evidence
        except CRASHES as error:
            return "" if bug.finds == SECRET else f"crash: {error!r}"
        found, knowledge = secrecy_violations(evidence)
        for finding in found:
            assert is_proved(finding, knowledge)
            return f"{finding.what}: {finding.parties}" if bug.finds == SECRET else ""
        if bug.finds == CONDUCT:
            return ", ".join(sorted({one.what for one in conduct_violations(evidence)}))
        return ""

    count, said = hunt(plans(), look, bug.defence)
    assert said
    note = f" (nothing is learned: {bug.why})" if bug.why else ""
    table.append(f"{bug.defence:<40}{count:<10}{said}{note}")


@pytest.mark.parametrize("name", CLIENT_BUGS)
def test_lying_clients_and_a_bad_network_find_the_missing_defence(
    name: str, planted: Callable[[str], None], table: list[str]
) -> None:
    """A wrong sum, a round lost for nothing, or an honest party harmed."""
    planted(name)

    def look(schedule: object) -> str:
        assert isinstance(schedule, NetworkSchedule)
        try:
            return "; ".join(NetworkJudge(BadNetwork(schedule).play()).verdict())
        except CRASHES as error:
            return f"crash: {error!r}"

    count, said = hunt(network_schedules(drops=name in BUGS_OF_DROPS), look, name)
    assert said
    table.append(f"{name:<40}{count:<10}{said}")


@runs_at("bugs that another layer stops")
@pytest.mark.parametrize("bug", [one for one in SERVER_BUGS if one.finds == CONDUCT],
                         ids=lambda bug: bug.defence)  # fmt: skip
def test_another_layer_keeps_the_secrets(bug: Bug, planted: Callable[[str], None]) -> None:
    """With this defence alone taken out, no schedule teaches the adversary anything."""
    planted(bug.defence)

    def look(plan: object) -> str:
        assert isinstance(plan, Plan)
        try:
            found, _ = secrecy_violations(LyingServer(plan).play().evidence)
        except CRASHES:
            return ""
        return "; ".join(one.what for one in found)

    assert hunt(plans(), look) == (CAP, "")


def test_too_many_colluders_are_found(monkeypatch: Patch, table: list[str]) -> None:
    """With 2t = n + c two survivor sets find their signers: the bound is no formality."""
    with pytest.raises(secagg.ParameterError):
        malicious_tight(7, threshold=5, colluders=3)
    disarm(monkeypatch, complete.checked_counts, Code.UNSAFE_THRESHOLD)
    case = malicious_tight(7, threshold=5, colluders=3)

    def look(plan: object) -> str:
        assert isinstance(plan, Plan)
        found, _ = secrecy_violations(LyingServer(plan).play().evidence)
        return "; ".join(one.what for one in found)

    count, said = hunt(plans((case,)), look)
    assert "answers for two survivor sets" in said
    table.append(f"{'2t > n + c':<40}{count:<10}{said}")


def test_an_honest_schedule_gives_the_sum() -> None:
    """Without a lie the server learns the sum over all, and not one party less."""
    none: frozenset[int] = frozenset()
    for params in DROPPING:
        nobody = (none, none, none)
        server = LyingServer(Plan(params, (), (nobody, nobody))).play()
        found, knowledge = secrecy_violations(server.evidence)
        assert found == conduct_violations(server.evidence) == []
        everybody = tuple(range(params.cohort))
        assert knowledge.sums() == [everybody]
        assert knowledge.recover(everybody) == knowledge.inputs(everybody)


def test_a_schedule_is_told_as_planned() -> None:
    """A lie of each step meets its victim, and the others go on: what "effect" means."""
    none: frozenset[int] = frozenset()
    nobody = (none, none, none)
    params = malicious_tight(4, threshold=3, colluders=1)
    lies = (Lie("signers left out", 0, 0, 3), Lie("vanish", 1, 0, 3))
    server = LyingServer(Plan(params, (3,), (nobody, nobody), lies=lies)).play()
    assert {party: len(one.answers) for party, one in server.honest.items()} == {0: 0, 1: 0, 2: 1}
    assert {party: len(one.signed) for party, one in server.honest.items()} == {0: 1, 1: 0, 2: 1}
    assert server.effect["vanish"] == 1
