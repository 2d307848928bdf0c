"""The vectors of the wire format v1: what the reference model makes of them, and the library."""

import copy
import hashlib
from pathlib import Path

import numpy as np
import pytest
import reference
import wire_v1
from levels import runs_at
from refusals import refused
from replay import (
    ACCEPTED,
    BY_CLIENTS,
    BY_SERVER,
    CONFRONT,
    EVERY,
    INPUTS,
    MODEL_REPEATS,
    OFFERS,
    REFUSALS,
    REPEAT,
    REPEATED,
    ROUNDS,
    TO_CLIENTS,
    TO_SERVER,
    Tape,
    Vector,
    confront_input,
    groups,
    model_confronts_input,
    model_offers,
    model_refuses,
    pinned,
    replay,
    replay_model,
    round_of,
    sent,
    session_of,
    values_of,
)
from wire_v1.forge import ABORTED, DECODE, DROPPED, FAILS, OFFER, REFUSED

import secagg
from secagg import Code, Mode, Rotated, Round
from secagg.arithmetic.field import Field
from secagg.encoding.choice import codec_for
from secagg.noise.samplers import sampler
from secagg.pairwise import derivation, transcript
from secagg.pairwise.graph import graph_of
from secagg.pairwise.messages import PublicKeys
from secagg.primitives import agreement
from secagg.sharing import shamir

# What a party draws, in the order of WIRE.md and of `PartySecrets`.
DRAWN = "channel_sk", "mask_seed", "self_seed", "coefficient_key", "rounding_key", "noise_key"
# What the reference model takes: it compares no keys, counts no ciphertexts that open, and keeps no
# record of what it took and from whom. Its Ed25519 (OpenSSL) takes points of small order. It reads
# no offers.
MODEL_TAKES = (
    "advertise keys, channel key of party 0",
    "advertise keys, entry of party 0",
    "advertise keys, mask key of party 0 as channel key",
    "advertise keys, mask key of party 1, no neighbour",
    "advertise keys, one key in both roles",
    "after the end, another survivor set",
    "consistency, R of small order",
    "delivery, ciphertexts in another order",
    "delivery, no ciphertext opens",
    "delivery, of another receiver",
    "delivery, reflected ciphertexts",
    "delivery, too few ciphertexts open",
    "delivery, too few ciphertexts open",
    "input of a party outside U2",
    "roster, a neighbour with another's key",
    "roster, a neighbour with its own key",
    "roster, a signed key of another",
    "roster, duplicate channel key",
    "roster, duplicate mask key",
    "roster, mask key of 1 as channel key of 4",
    "roster, one key in both roles",
    "roster, own key with another",
    "roster, two entries of one party",
    "second, different keys",
    "second, different masked input",
    "second, different shares",
    "second, different shares of seeds",
    "signatures, R of small order",
)

# Why the model refuses all the others: every reason occurs.
MODEL_REASONS = {
    "the message is too short",
    "bytes follow the last field",
    "a field differs from what it must be",
    "a bitmap has a bit that it must not have",
    "not a canonical packed vector",
    "an element is not below p(b)",
    "public key is not canonical",
    "Error computing shared key.",  # the output is zero
    "a signature is not valid",
    "the roster is too small or lacks this party's keys",
    "U2 is too small or lacks this party",
    "U3 is too small or lacks this party",
    "too few of this party's holders are left",
    "U3 is not connected",
    "too few have signed",
    "fewer than t shares",
    "the shares do not meet in a seed",
    "a self seed does not fit its commitment",
    "no honest inputs have this sum",
}


# Of all files, by name: changes where a vector is added, and with it alone.
DIGEST = "3ce4cf0a1609f6b1153cd43b811e096e3a08aa8c2df5445740b270833ce302cc"


# (dealer, holder) of the shares that a server corrects.
DISPUTES = {
    "semi-honest-05-wrong-share": ((1, 4),),
    "semi-honest-05-wrong-share-of-the-first": ((1, 0),),
    "semi-honest-05-wrong-shares-of-four": ((2, 0), (3, 1)),
    "sparse-12-wrong-share": ((1, 4),),
}


def digest() -> str:
    """Returns the SHA-256 of all files, each as its name, its length and its bytes."""
    hashed = hashlib.sha256()
    for path in sorted(wire_v1.DIRECTORY.iterdir()):
        content = path.read_bytes()
        hashed.update(f"{path.name}\0{len(content)}\0".encode() + content)
    return hashed.hexdigest()


def test_the_files_are_unchanged() -> None:
    """v1 never changes."""
    assert digest() == DIGEST


@runs_at("vectors made anew")
def test_the_files_are_frozen() -> None:
    """Making the vectors anew gives the same bytes."""
    assert wire_v1.differing(wire_v1.DIRECTORY, wire_v1.files()) == []


def test_how_many_there_are() -> None:
    """No vector is lost unseen, and nothing that they must cover."""
    assert (len(ROUNDS), {name: len(them) for name, them in REFUSALS.items()}) == (
        63,
        {BY_CLIENTS: 155, BY_SERVER: 131, OFFERS: 116},
    )
    assert len(ACCEPTED) == 55
    assert len(INPUTS) == 54
    assert {name: len(them) for name, them in REPEATED.items()} == {TO_CLIENTS: 12, TO_SERVER: 12}
    assert len({refusal["name"] for _, refusal in EVERY}) == len(EVERY)
    outcomes = [refusal["expected"] for _, refusal in EVERY]
    assert {one: outcomes.count(one) for one in sorted(set(outcomes))} == {
        ABORTED: 99,
        DECODE: 82,
        DROPPED: 59,
        OFFER: 116,
        REFUSED: 28,
        FAILS: 18,
    }
    params = [vector["params"] for vector in ROUNDS.values()]
    both = {"fixed point", "integers"}
    for mode, cohorts, formats in (
        (0, {2, 3, 4, 5, 10}, both | {"rotated"}),
        (1, {2, 3, 4, 5, 10}, both | {"rotated"}),
        (2, {4, 10, 12, 64}, both),
    ):
        of_mode = [one for one in params if one["mode"] == mode]
        assert {one["cohort"] for one in of_mode} == cohorts
        assert {one["suite"] for one in of_mode} == {1, 2}
        assert {one["format"]["name"] for one in of_mode} == formats
        assert {one["field_bits"] > 32 for one in of_mode} == {False, True}
    turned = [one["format"] for one in params if one["format"]["name"] == "rotated"]
    assert {(one["noise"], one["rotation"]) for one in turned} >= {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert {one["noise"] for one in turned} == {0, 1, 2}
    failed = {vector["result"].get("failed") for vector in ROUNDS.values()}
    assert failed == {None, "u1", "u2", "u3", "consistency", "unmask", "seed", "graph"}
    drops = {one["drops_before"] for vector in ROUNDS.values() for one in vector["parties"]}
    assert drops == {None, *(str(phase) for phase in Mode.MALICIOUS.phases)}
    rejecting = [name for name, vector in ROUNDS.items() if vector["rejected"]]
    assert len([name for name in rejecting if "rejected" in name]) == 5
    twice = [
        vector["params"]["suite"]
        for vector in ROUNDS.values()
        for one in vector["rejected"]
        if "twice" in one
    ]
    assert twice == [1, 2]


@pytest.mark.parametrize("name", ROUNDS)
def test_the_library_plays_every_byte(name: str) -> None:
    """On the listed randomness and inputs: every message of both sides, and the result."""
    host = replay(ROUNDS[name])
    results = [one.result for one in host.told if isinstance(one, secagg.Completed)]
    if results:
        assert results[0].disputes == DISPUTES.get(name, ())


@pytest.mark.parametrize("name", ROUNDS)
def test_the_model_plays_every_byte(name: str) -> None:
    """The reference model, too, with the messages that arrive changed."""
    replay_model(ROUNDS[name])


@pytest.mark.parametrize("name", ["semi-honest-10-every-phase", "malicious-10-early-dropouts"])
def test_the_order_within_a_step_does_not_matter(name: str) -> None:
    """Messages of clients may arrive in any order: here in the reverse of the listed one."""
    vector = copy.deepcopy(ROUNDS[name])
    steps = [listed for _, _, listed in groups(vector["messages"])]
    vector["messages"][1:] = [one for listed in steps for one in reversed(listed)]
    replay(vector)
    replay_model(vector)


def test_refused_inputs() -> None:
    """Library and model refuse each, draw nothing for it, and take the right one afterwards."""
    for refusal in INPUTS:
        assert refusal["expected"] == REFUSED
        confront_input(refusal)
        model_confronts_input(refusal)


@pytest.mark.parametrize("file", REPEATED)
def test_repetitions(file: str) -> None:
    """Library and model answer those that are to be answered, and take no notice of the others."""
    for script in REPEATED[file]:
        REPEAT[file](script)
        MODEL_REPEATS[file](script)


@pytest.mark.parametrize("name", ROUNDS)
def test_the_values_on_the_way(name: str) -> None:
    """Derived keys, shares, and encoded and masked vectors are those of the library."""
    vector = ROUNDS[name]
    agreed, n = round_of(vector), vector["params"]["cohort"]
    directory = pinned(vector)
    h0 = transcript.h0(agreed, b"".join(directory.verify_keys) if directory else b"")
    sets, chain = vector["sets"], vector["transcript"]
    roster = {}
    for one in vector["messages"]:
        if one["type"] == "advertise keys":
            entry = sent(one)[52:]
            roster[one["from"]] = PublicKeys(entry[:32], entry[32:64], entry[64:])
    assert chain["h0"] == h0.hex()
    h1, field = transcript.h1(h0, roster, n), Field(agreed.params.field_bits)
    if chain["h1"]:
        assert chain["h1"] == h1.hex()
    if chain["h2"]:
        assert chain["h2"] == transcript.h2(h1, sets["u2"], n).hex()
    if chain["h3"]:
        assert chain["h3"] == transcript.h3(bytes.fromhex(chain["h2"]), sets["u3"], n).hex()
    encoded = {}
    for got in vector["derived"]:
        u = got["index"]
        drawn = {one["name"]: bytes.fromhex(one["bytes"]) for one in vector["parties"][u]["random"]}
        secrets = derivation.PartySecrets.of(list(drawn.values()))
        listed = [drawn.get(name) for name in DRAWN]
        assert [getattr(secrets, name) for name in secrets.__slots__] == listed
        mask_sk = derivation.mask_key(drawn["mask_seed"], h0, u)
        assert got["mask_sk"] == mask_sk.hex()
        assert got["mask_pk"] == agreement.public_key(mask_sk).hex() == roster[u].mask.hex()
        assert got["channel_pk"] == agreement.public_key(drawn["channel_sk"]).hex()
        if got["commitment"]:
            assert got["commitment"] == derivation.commitment(drawn["self_seed"], h1, u).hex()
            assert got["self_key"] == derivation.self_key(drawn["self_seed"], h1, u).hex()
            near = vector.get("neighbours", [roster.keys() - {v} for v in range(n)])[u]
            assert [int(v) for v in got["channel_keys"]] == sorted(roster.keys() & near)
            for v, key in got["channel_keys"].items():
                shared = agreement.agree(drawn["channel_sk"], roster[int(v)].channel)
                assert key == derivation.channel_key(shared, h1, u, int(v), roster).hex()
        if got["pairwise_keys"]:
            assert [int(v) for v in got["pairwise_keys"]] == [v for v in sets["u2"] if v in near]
            for v, key in got["pairwise_keys"].items():
                assert key == derivation.pairwise_key(mask_sk, h1, u, int(v), roster).hex()
            values, weight = values_of(vector, u)
            keys = iter([drawn[name] for name in ("rounding_key", "noise_key") if name in drawn])
            of_rounding = codec_for(agreed.params, agreed.session).encode(
                np.array(values), weight, lambda _, keys=keys: next(keys)
            )
            encoded[u] = [int(x) for x in got["encoded"]]
            assert of_rounding.vector.tolist() == encoded[u]
            if "noise" in got:
                form, added = agreed.params.format, np.zeros(agreed.params.length, field.dtype)
                assert isinstance(form, Rotated)
                noise = sampler(form.noise, form.variance_steps)
                noise.add(field, added, agreed.params.suite.generator, drawn["noise_key"])
                q, more = ([int(x) for x in got[name]] for name in ("rounded", "noise"))
                assert added.tolist() == [x % field.modulus for x in more]
                sums = [(x + y) % field.modulus for x, y in zip(q, more, strict=True)]
                assert sums == encoded[u]
                assert sum(x * x for x in q) <= form.bound
            vector_bytes = field.pack(np.array([int(x) for x in got["masked"]], field.dtype))
            message = next(
                one
                for one in vector["messages"]
                if (one["type"], one["from"]) == ("masked input", u)
            )
            assert sent(message)[52:].startswith(vector_bytes)
    check_shares(vector, agreed)
    if "neighbours" in vector:
        graph = graph_of(agreed.params, h0)
        assert vector["neighbours"] == [[*graph.neighbours(u, range(n))] for u in range(n)]
    if "field_sum" in vector["result"]:
        columns = zip(*(encoded[u] for u in sets["u3"]), strict=True)
        sums = [str(sum(column) % field.modulus) for column in columns]
        assert sums == vector["result"]["field_sum"]


def check_shares(vector: Vector, agreed: Round) -> None:
    """The shares of one dealer are those that the library deals."""
    listed = vector["shares"]
    if listed is None:
        assert vector["result"]["failed"] == "u1"
        return
    random = vector["parties"][listed["dealer"]]["random"]
    drawn = {one["name"]: bytes.fromhex(one["bytes"]) for one in random}
    shares = shamir.deal(
        [drawn["mask_seed"], drawn["self_seed"]],
        agreed.params.threshold,
        [int(v) for v in listed["holders"]],
        agreed.params.suite.generator,
        drawn["coefficient_key"],
    )
    for row, got in zip(shares, listed["holders"].values(), strict=True):
        assert [int(x) for x in got["mask_seed"] + got["self_seed"]] == row.tolist()
        assert got["plaintext"] == shamir.pack_shares(row).hex()


@runs_at("vectors made anew")
@pytest.mark.parametrize("name", [name for name in ROUNDS if "share" not in name])
def test_the_driver_is_the_models_own_run(name: str) -> None:
    """The vectors' driver adds nothing to an undisturbed `reference.run`: the same messages."""
    vector = ROUNDS[name]
    n = vector["params"]["cohort"]
    s = session_of(vector)
    seeds = [one["identity_seed"] for one in vector["parties"]]
    run = reference.run(
        s.parameters,
        s.session,
        s.context,
        {u: values_of(vector, u) for u in range(n)},
        {u: Tape(vector, u) for u in range(n)},
        {u: one["drops_before"] for u, one in enumerate(vector["parties"]) if one["drops_before"]},
        {u: bytes.fromhex(seed) for u, seed in enumerate(seeds) if seed},
    )
    messages = vector["messages"]
    assert run.offer == sent(messages[0])
    assert run.sent == {
        (one["from"], one["type"]): sent(one) for one in messages if one["from"] != "server"
    }
    assert run.received == {
        (to, one["type"]): sent(one)
        for one in messages[1:]
        if one["from"] == "server"
        for to in one["to"]
    }
    assert run.failed == vector["result"].get("failed")


@pytest.mark.parametrize("file", REFUSALS)
def test_refusals_in_the_library(file: str) -> None:
    """Each has the outcome that it names; what changes nothing lets the round go on as listed."""
    for refusal in REFUSALS[file]:
        CONFRONT[file](refusal)


def test_refusals_in_the_model() -> None:
    """The reference model refuses all but those listed above, each for a reason of its own."""
    found = {refusal["name"]: model_refuses(refusal) for file, refusal in EVERY if file != OFFERS}
    taken = sorted(name.split(": ", 1)[1] for name, why in found.items() if not why)
    assert taken == sorted(MODEL_TAKES)
    assert set(found.values()) - {""} == MODEL_REASONS


def test_offers_at_the_limits() -> None:
    """The library takes each, and what follows from its parameters is what is listed."""
    for vector in ACCEPTED:
        model_offers(vector)
        wanted = vector["params"]
        agreed = Round.decode(bytes.fromhex(vector["bytes"]))
        params = agreed.params
        assert agreed.encode().hex() == vector["bytes"]
        assert params.encode().hex() == wanted["encoding"]
        assert params.quorum == wanted["quorum"]
        assert params.vector_length == wanted["vector_length"]
        assert params.field_bits == wanted["field_bits"]
        assert str(Field(params.field_bits).modulus) == wanted["modulus"]
        assert (params.degree, params.degree > 0) == (wanted.get("degree", 0), wanted["mode"] == 2)
        assert params.degree or params.mode == wanted["mode"]
        for name in ("suite", "cohort", "threshold", "min_survivors", "colluders"):
            assert getattr(params, name) == wanted[name]


# -- the checks can fail --------------------------------------------------------------------------


def flipped(text: str, at: int) -> str:
    """One hex digit changed in its lowest bit."""
    return f"{text[:at]}{int(text[at], 16) ^ 1:x}{text[at + 1 :]}"


ALTERED = [
    "semi-honest-02-fixed-point",
    "semi-honest-05-absent-shares",
    "malicious-03-weighted",
    "malicious-05-too-few-signatures",
    "sparse-10-late-dropouts",
]


@pytest.mark.parametrize("name", ALTERED)
def test_a_changed_digit_of_a_message_is_noticed(name: str) -> None:
    """In any message, at its end: the library then makes other bytes than are listed."""
    for number in range(1, len(ROUNDS[name]["messages"])):
        vector = copy.deepcopy(ROUNDS[name])
        message = vector["messages"][number]
        message["bytes"] = flipped(message["bytes"], len(message["bytes"]) - 2)
        with pytest.raises(AssertionError):
            replay(vector)


def test_draws_have_their_lengths() -> None:
    """Three at least, six at most."""
    for lengths in ([], [32, 16], [32, 16, 32], [32, 16, 16, 32, 32, 32, 32], [32, 16, 16, 16]):
        with refused(secagg.ParameterError, Code.RANDOMNESS, "at least the first 3, not"):
            derivation.PartySecrets.of(list(map(bytes, lengths)))


@pytest.mark.parametrize("draw", range(5))
def test_a_changed_digit_of_randomness_is_noticed(draw: int) -> None:
    """Each drawn string counts."""
    vector = copy.deepcopy(ROUNDS["malicious-03-weighted"])
    random = vector["parties"][1]["random"][draw]
    random["bytes"] = flipped(random["bytes"], 9)
    with pytest.raises(AssertionError):
        replay(vector)


@pytest.mark.parametrize("what", ["weight", "total", "mean", "survivors"])
def test_a_changed_result_is_noticed(what: str) -> None:
    """Each field of the result is compared."""
    vector = copy.deepcopy(ROUNDS["semi-honest-03-weighted"])
    right = vector["result"][what]
    vector["result"][what] = str(int(right) + 1) if what == "weight" else right[::-1]
    with pytest.raises(AssertionError):
        replay(vector)


def test_a_right_message_is_no_refusal() -> None:
    """With what the round really has in its place, every check of a refusal fails."""
    confronted = 0
    for file, refusal in EVERY:
        right = ROUNDS["semi-honest-05-plain"]["messages"][0]
        if file != OFFERS:
            listed = ROUNDS[refusal["round"]]["messages"][refusal["before"] :]
            right = next((one for one in listed[:1] if one["from"] == refusal["from"]), None)
        if right is None:  # the refusal is a message too many, not one in the place of another
            continue
        with pytest.raises(AssertionError):
            CONFRONT[file]({**refusal, "bytes": right["bytes"]})
        confronted += 1
    assert (confronted, len(EVERY)) == (391, 402)


def test_another_outcome_is_noticed() -> None:
    """A check tells the outcomes from each other, but for the two that change nothing."""
    for file, refusal in EVERY:
        right = refusal["expected"]
        others = {ABORTED, DECODE} if file == BY_CLIENTS else {DECODE, DROPPED, FAILS}
        for other in others - ({DECODE} if right == REFUSED else {right}):
            if file != OFFERS:
                with pytest.raises((AssertionError, secagg.SecAggError)):
                    CONFRONT[file]({**refusal, "expected": other})


def test_a_changed_file_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One digit, a file too many, a file that is missing."""
    made = {path.name: path.read_text("ascii") for path in wire_v1.DIRECTORY.iterdir()}
    for name, content in made.items():
        (tmp_path / name).write_bytes(content.encode())
    assert wire_v1.differing(tmp_path, made) == []
    name = "semi-honest-05-plain.json"
    content = made[name]
    at = content.index('"bytes": "') + 30
    (tmp_path / name).write_text(
        content[:at] + flipped(content[at : at + 1], 0) + content[at + 1 :]
    )
    (tmp_path / "more.json").write_text("{}")
    (tmp_path / "malicious-05-plain.json").unlink()
    assert wire_v1.differing(tmp_path, made) == ["malicious-05-plain.json", "more.json", name]
    monkeypatch.setattr(wire_v1, "DIRECTORY", tmp_path)
    assert digest() != DIGEST
