"""Every attack on sparse graphs gains nothing; without the defence it reports what it gained."""

import pytest
from pairwise.sparse import SPARSE_ATTACKS
from pairwise.test_planted_bugs import Defence, Patch, both, guard, no_end

from secagg.codes import Code
from secagg.errors import SecAggError
from secagg.pairwise import transcript
from secagg.pairwise.client_steps import ClientSteps
from secagg.pairwise.server_steps import ServerSteps
from secagg.params import sparse
from secagg.params.policy import Policy


def no_consent(patch: Patch) -> None:
    """A policy takes part on any sparse graph that `Params` allows."""
    patch.setattr(Policy, "_check_sparse", lambda self, params: None)


def h1_alone(patch: Patch) -> None:
    """A client says which h1 it was told, and nothing of the entries."""
    patch.setattr(transcript, "roster_digest", lambda h1, near, cohort: h1)


DEFENCES = [
    Defence("holders in U1", guard(ClientSteps._require_neighbours, Code.NEIGHBOURS),
            "few_neighbours_in_u1", "three holders"),
    Defence("holders in U2, and ciphertexts",
            both(guard(ClientSteps._require_neighbours, Code.NEIGHBOURS),
                 guard(ClientSteps._on_delivery, Code.SHARES)),
            "few_neighbours_in_u2", "masks with two"),
    Defence("holders in U3", guard(ClientSteps._require_neighbours, Code.NEIGHBOURS),
            "few_neighbours_in_u3", "three holders"),
    Defence("U3 in one piece", guard(ClientSteps._on_survivors, Code.DISCONNECTED),
            "survivors_in_two_groups", "the sums of 2 groups apart"),
    Defence("threshold above colluders",
            guard(sparse.checked_counts, Code.UNSAFE_THRESHOLD),
            "threshold_below_colluders", "recovered the input"),
    Defence("end of a roster", no_end, "keys_of_strangers", "keys of strangers"),
    Defence("end of a delivery", no_end, "ciphertext_of_a_stranger", "stranger's ciphertext"),
    Defence("distinct keys", guard(ClientSteps._on_roster, Code.DUPLICATE_KEY), "same_key_twice",
            "the same"),
    Defence("policy's parameters", guard(Policy.check, Code.POLICY_PARAMS),
            "sparse_where_complete_is_wanted", "instead of a complete"),
    Defence("policy's degree", guard(Policy.check, Code.POLICY_PARAMS),
            "smaller_degree_than_wanted", "instead of six"),
    Defence("policy's colluders", guard(Policy.check, Code.POLICY_COLLUDERS),
            "fewer_colluders_than_wanted", "one colluder"),
    Defence("consent to a sparse graph", no_consent, "sparse_without_consent", "a ring of fifty"),
    Defence("no malicious mode", guard(sparse.checked_counts, Code.UNSAFE_MODE),
            "malicious_mode", "a malicious round"),
    Defence("degree above losses", guard(sparse.checked_counts, Code.UNSAFE_GRAPH),
            "survivors_that_may_fall_apart", "two pieces"),
    Defence("shares of neighbours only", guard(ServerSteps.on_unmask, Code.FOREIGN_SHARE),
            "share_of_a_stranger", "took a share"),
    Defence("end of the shares", no_end, "ciphertext_for_a_stranger", "took a ciphertext"),
    Defence("roster digest", guard(ServerSteps.on_share_keys, Code.ROSTER),
            "roster_altered_on_the_way", "the round failed"),
    Defence("entries in the roster digest", h1_alone, "roster_altered_on_the_way",
            "a wrong sum"),
    Defence("server looks at the pieces", guard(ServerSteps._why_unrecoverable, Code.DISCONNECTED),
            "round_that_falls_apart", "were asked"),
    Defence("server counts holders", guard(ServerSteps._why_unrecoverable, Code.NEIGHBOURS),
            "round_without_holders", "were asked"),
]  # fmt: skip


@pytest.mark.parametrize("defence", DEFENCES, ids=lambda defence: defence.name)
def test_an_attack_catches_the_missing_defence(defence: Defence, monkeypatch: Patch) -> None:
    """With the defence the attack gains nothing; without it, it reports what it gained."""
    attack = SPARSE_ATTACKS[defence.attack]
    assert attack() == ""
    with monkeypatch.context() as patch:
        defence.remove(patch)
        try:
            gain = attack()
        except (SecAggError, ValueError, KeyError) as error:
            gain = f"crash: {error!r}"
    assert defence.gain in gain


def test_every_attack_is_proved_able_to_succeed() -> None:
    """No attack that could not go red."""
    assert SPARSE_ATTACKS.keys() == {defence.attack for defence in DEFENCES}
