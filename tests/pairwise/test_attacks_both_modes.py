"""The battery of `attacks` in malicious mode: there, too, every attack gains nothing.

Malicious mode adds defences, and would be worth little if it lost one. So each attack is played in
both modes, by an attacker who in malicious mode has the signing keys of its colluders; and as in
`test_planted_bugs.py` each is proved able to succeed there, with the same defences taken out and,
where signatures stop it as well, those too.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from harness import identity_of, integers
from pairwise import attacks
from pairwise import test_planted_bugs as planted
from pairwise.attacks import CLIENT_ATTACKS, SERVER_ATTACKS, in_mode, lying_server

from secagg import Client, Code, Identity, Mode, ParameterError, Params, Round, Server
from secagg.errors import SecAggError
from secagg.machine.wire import MessageType
from secagg.pairwise import transitions
from secagg.pairwise.transitions import ClientState, ServerState
from secagg.params import complete

Patch = pytest.MonkeyPatch
BATTERY = CLIENT_ATTACKS | SERVER_ATTACKS


# -- every attack gains nothing -------------------------------------------------------------------


@dataclass
class Watch:
    """The needs of an attack: the parameters of its rounds, and whose signing keys it asks for."""

    params: list[Params]
    signers: set[int]


@pytest.fixture
def watch(monkeypatch: Patch) -> Watch:
    """Looks on while an attack is played."""
    seen = Watch([], set())

    def identity(party: int) -> Identity:
        seen.signers.add(party)
        return identity_of(party)

    def watched(machine: type[Client] | type[Server]) -> None:
        true: Callable[..., None] = machine.__init__

        def init(self: Client | Server, agreed: Round, *rest: object, **more: object) -> None:
            seen.params.append(agreed.params)
            true(self, agreed, *rest, **more)

        monkeypatch.setattr(machine, "__init__", init)

    watched(Client)
    watched(Server)
    modules = [one for one in vars(attacks).values() if hasattr(one, "identity_of")]
    assert lying_server in modules
    for module in modules:
        monkeypatch.setattr(module, "identity_of", identity)
    return seen


@pytest.mark.parametrize("mode", Mode, ids=str)
@pytest.mark.parametrize("name", BATTERY)
def test_attack_gains_nothing(name: str, mode: Mode, watch: Watch) -> None:
    """In either mode; the attack plays rounds of this mode and no other.

    It signs only as colluders, no more of them than the parameters state.
    """
    assert in_mode(mode, BATTERY[name]) == ""
    assert {params.mode for params in watch.params} == {mode}
    assert len(watch.signers) <= min(params.colluders for params in watch.params)
    assert 0 not in watch.signers, "the victim colludes with nobody"
    if mode is Mode.SEMI_HONEST:
        assert not watch.signers


def test_an_attack_is_semi_honest_unless_told_otherwise() -> None:
    """`in_mode` leaves nothing behind."""
    assert in_mode(Mode.MALICIOUS, lambda: str(attacks.integers(4).mode)) == "malicious"
    assert attacks.integers(4).mode is Mode.SEMI_HONEST


# -- what malicious mode does not even let begin --------------------------------------------------


@dataclass(frozen=True)
class Unavailable:
    """A means of an attack in semi-honest mode only, why, and for which parameters it would be had.

    All else of the attack is played in malicious mode as well.
    """

    what: str
    reason: str
    possible: Callable[[Params], bool]


UNAVAILABLE = {
    "small_u2_of_colluders": Unavailable(
        "colluders enough to fill U2 with t - 1 ciphertexts that open",
        "2t > n + c and c <= quorum - 2 leave c < t - 1; so the victim, where its quorum of U2 "
        "were missing, would still count too few ciphertexts",
        lambda params: params.colluders >= params.threshold - 1,
    ),
    "u3_outside_u2": Unavailable(
        "a U3 that is, but for the victim, outside U2",
        "t > 2n / 3 leaves n - t < t - 1 parties outside U2; so U3 is filled with others of U2",
        lambda params: params.cohort - params.quorum >= params.quorum - 1,
    ),
    "shares_of_outsiders": Unavailable(
        "a cohort of five, of which one is away and one is dropped as a liar",
        "three would have to be at least t > 2n / 3; so the attack is played in a cohort of seven",
        lambda params: params.cohort <= 5 and params.cohort - 2 >= params.threshold,
    ),
}


def every_params(mode: Mode, most: int = 8) -> Iterator[Params]:
    """All parameters of small cohorts that can be made in a mode."""
    for cohort in range(2, most + 1):
        for threshold in range(1, cohort + 1):
            for quorum in range(threshold, cohort + 1):
                for colluders in range(cohort):
                    more = {"min_survivors": quorum, "colluders": colluders, "mode": mode}
                    try:
                        yield integers(cohort, 1, threshold=threshold, **more)
                    except ParameterError:
                        continue


@pytest.mark.parametrize("name", UNAVAILABLE)
def test_what_is_unavailable_is_so_by_construction(name: str) -> None:
    """No parameters of malicious mode let it begin, while some of semi-honest mode do."""
    assert name in BATTERY
    possible = UNAVAILABLE[name].possible
    assert any(map(possible, every_params(Mode.SEMI_HONEST)))
    assert not any(map(possible, every_params(Mode.MALICIOUS)))


@pytest.mark.parametrize("name", UNAVAILABLE)
def test_without_the_rules_of_malicious_mode_it_would_begin(name: str, monkeypatch: Patch) -> None:
    """The test above goes red if parameters let the attack begin after all."""
    true = complete.require_int

    def require_int(what: str, value: object, least: int, most: int, **codes: Code) -> None:
        true(what, value, 1 if what == "threshold" else least, most, **codes)

    monkeypatch.setattr(complete, "require_int", require_int)
    planted.disarm(monkeypatch, complete.checked_counts, Code.UNSAFE_THRESHOLD)
    assert any(map(UNAVAILABLE[name].possible, every_params(Mode.MALICIOUS)))


def test_an_attack_in_one_mode_only_is_noticed(watch: Watch) -> None:
    """Parameters that do not follow the mode, or none at all, are no round of malicious mode."""

    def stubborn() -> str:
        return attacks.gain_unless_refused(attacks.Liar(integers(4)), 0, b"", "gain")

    assert in_mode(Mode.MALICIOUS, stubborn) == ""
    assert {params.mode for params in watch.params} == {Mode.SEMI_HONEST}


# -- every attack could succeed -------------------------------------------------------------------


def malicious_tables(patch: Patch) -> None:
    """Planted bugs in the tables go into those of malicious mode."""
    patch.setattr(planted, "CLIENT_TABLE", transitions.CLIENT[Mode.MALICIOUS])
    patch.setattr(planted, "SERVER_TABLE", transitions.SERVER[Mode.MALICIOUS])


def answers_again(patch: Patch) -> None:
    """A finished client takes a survivors message, and signs and answers once more."""
    planted.answers_again(patch)
    row = {MessageType.SURVIVORS: ClientState.AWAITING_SIGNATURES}
    patch.setitem(transitions.CLIENT[Mode.MALICIOUS], ClientState.FINISHED, row)


def late_inputs(patch: Patch) -> None:
    """The server takes masked inputs while it awaits signatures or shares, from anybody."""
    planted.late_inputs(patch)
    table = transitions.SERVER[Mode.MALICIOUS]
    row = {**table[ServerState.CONSISTENCY], MessageType.MASKED_INPUT: ServerState.CONSISTENCY}
    patch.setitem(table, ServerState.CONSISTENCY, row)


REMOVALS = {defence.name: defence.remove for defence in planted.DEFENCES} | {
    "one answer a session": answers_again,
    "late inputs, all layers": late_inputs,
}
# Where malicious mode has another layer that stops the attack: all that must be taken out.
LAYERS = {
    "quorum of U2, with colluders": ("quorum of U2, with colluders", "opened ciphertexts"),
    "quorum of U3": ("quorum of U3", "threshold of signers"),
    "own entry (everything replaced)": ("own entry (everything replaced)", "entry signatures"),
    "keys of full order, exploited": ("keys of full order, exploited", "entry signatures"),
    "direction of channels": ("direction of channels", "consistency signatures"),
    "h0 and h1": ("directory in h0, and its signatures", "h1"),
    "index in the checksum": ("signer of an input",),
}
PROVED = [defence for defence in planted.DEFENCES if defence.attack in BATTERY]


@pytest.mark.parametrize("defence", PROVED, ids=lambda defence: defence.name)
def test_an_attack_catches_the_missing_defence(
    defence: planted.Defence, monkeypatch: Patch
) -> None:
    """The planted bug makes the attack succeed in malicious mode as in semi-honest mode."""
    attack = BATTERY[defence.attack]
    with monkeypatch.context() as patch:
        malicious_tables(patch)
        for name in LAYERS.get(defence.name, (defence.name,)):
            REMOVALS[name](patch)
        try:
            gain = in_mode(Mode.MALICIOUS, attack)
        except (SecAggError, KeyError) as error:
            gain = f"crash: {error!r}"
    assert defence.gain in gain
    assert in_mode(Mode.MALICIOUS, attack) == "", "the defence is back"


@pytest.mark.parametrize("name", LAYERS)
def test_malicious_mode_has_another_layer(name: str, monkeypatch: Patch) -> None:
    """With what stops it in semi-honest mode taken out, the attack has not its gain here."""
    (defence,) = (one for one in PROVED if one.name == name)
    defence.remove(monkeypatch)
    gain = in_mode(Mode.MALICIOUS, BATTERY[defence.attack])
    assert defence.gain not in gain
    # What reflection leaves is that the ciphertexts open; the input stays out of reach.
    assert gain == ("reflected ciphertexts open" if name == "direction of channels" else "")


def test_every_attack_is_proved_able_to_succeed() -> None:
    """But for the one that semi-honest mode has no proof for either."""
    unproved = BATTERY.keys() - {defence.attack for defence in PROVED}
    assert unproved == {"misrouted_ciphertexts"}
