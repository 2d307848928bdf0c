"""The command line: what it prints and writes, how it refuses, and the promises at the defaults."""

import json
import math
import os
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

import children
import numpy as np
import pytest
from levels import amount, runs_at
from secagg.fl import FedAvg, Placement, RoundReport, Softmax
from secagg.fl.command import cli, export, report
from secagg.fl.schedule import draw_drops, failure_probability

from secagg import Code, FixedPoint, Mode, Params, Phase
from secagg.outputs import check_writable, write_whole

FIELDS = {
    "secure_accuracy",
    "plain_accuracy",
    "central_accuracy",
    "max_abs_difference",
    "bound",
    "rounds",
}
ROUND_FIELDS = {
    "round",
    "survivors",
    "failed",
    "loss",
    "accuracy",
    "bytes_up",
    "bytes_down",
    "seconds",
    "seconds_by_phase",
}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def run_json(tmp_path, *options, code=0):
    path = tmp_path / "out.json"
    assert cli.main(["--json", str(path), *options]) == code
    return json.loads(path.read_text())


@pytest.mark.parametrize("seed", range(amount("seeds of a training")))
def test_promises_at_the_defaults(tmp_path, capsys, seed):
    out = run_json(tmp_path, "--seed", str(seed))
    assert out["max_abs_difference"] <= out["bound"]
    assert out["max_abs_difference"] < 1e-4
    assert abs(out["secure_accuracy"] - out["plain_accuracy"]) <= 0.01
    assert out["secure_accuracy"] > 0.94
    assert out["clipped"] == 0
    assert len(out["rounds"]) == 20
    assert sum(bool(each["drops"]) for each in out["rounds"]) > 10
    assert out["failed_rounds"] <= 1
    assert out["attempts_used"] == 1 + out["failed_rounds"]  # the repetition succeeded
    text, err = capsys.readouterr()
    assert err == ""
    assert "(within)" in text
    assert text.endswith(f"\nThe server saw {seen(out)} updates, and no single update.\n") == (
        not out["failed_rounds"]
    )
    for column in ("survivors", "loss", "accuracy", "up", "down", "train", "keys", "unmask"):
        assert column in text[: text.index("\n\n")], "the legend"


def seen(out):
    sizes = [each["survivors"] for each in out["rounds"] if not each["failed"]]
    return f"{len(sizes)} sums of {min(sizes)} to {max(sizes)}"


@runs_at("trainings like others")
def test_both_modes_train_alike(tmp_path, capsys):
    """The mode changes who is trusted, not the sum; semi-honest rounds have no signatures."""
    outs = {
        mode: run_json(tmp_path, "--rounds", "3", "--dropout", "0", "--mode", mode)
        for mode in ("malicious", "semi-honest")
    }
    assert outs["malicious"]["secure_loss"] == outs["semi-honest"]["secure_loss"]
    assert "consistency" in outs["malicious"]["rounds"][0]["seconds_by_phase"]
    assert "consistency" not in outs["semi-honest"]["rounds"][0]["seconds_by_phase"]
    assert outs["malicious"]["rounds"][0]["bytes_up"] > outs["semi-honest"]["rounds"][0]["bytes_up"]
    assert run_json(tmp_path, "--rounds", "1")["mode"] == "malicious"


def test_json_fields(tmp_path, capsys):
    out = run_json(tmp_path, "--rounds", "4", "--dropout", "0.35", "--seed", "3")
    assert out.keys() >= FIELDS
    failed = [each for each in out["rounds"] if each["failed"]]
    assert failed
    assert len(failed) < 4
    for number, each in enumerate(out["rounds"], 1):
        assert each.keys() >= ROUND_FIELDS
        assert each["round"] == number
        assert each["survivors"] == len(each["survivor_ids"])
        assert each["failed"] == (each["survivors"] == 0) == bool(each["reason"])
        assert each["failed"] == (each["code"] == "quorum")
        assert each["refusal_codes"].keys() == each["refusals"].keys()
        assert 0 <= each["accuracy"] <= 1
        assert sum(each["seconds_by_phase"].values()) <= each["seconds"]
    assert out["rounds"][-1]["accuracy"] == out["secure_accuracy"]
    text = capsys.readouterr().out
    assert text.count("model unchanged: ") == len(failed)


# Rounds 1 and 2 fail, the second before an input left; 3 succeeds; 4, 5, 7 and 8 fail.
LOSSY = ["--rounds", "8", "--dropout", "0.5", "--seed", "1"]


def test_a_run_without_attempts_left_reports_what_was_done(tmp_path, capsys):
    """It ends with exit code 1, and with the summary, JSON and picture of the rounds so far."""
    picture = tmp_path / "picture.jpg"
    out = run_json(tmp_path, *LOSSY, "--attempts", "2", "--plot", str(picture), code=1)
    assert [each["failed"] for each in out["rounds"]] == [True, True, False, True, True]
    assert [each["attempt"] for each in out["rounds"]] == [0, 1, 1, 0, 1]
    assert (out["attempts_used"], out["attempts_allowed"]) == (2, 2)
    assert out["code"] == "attempts_exhausted"
    assert out["secure_accuracy"] == out["rounds"][2]["accuracy"]
    assert picture.read_bytes().startswith(b"\xff\xd8\xff"), "JPEG"
    text, err = capsys.readouterr()
    warning, error = err.splitlines()
    assert error == f"secagg.fl: error: {out['reason']}"
    assert warning == (
        "secagg.fl: warning: a round will fail with probability 83%: it needs 7 of 10 clients, "
        "and each drops out with probability 0.5; better take --dropout 0.18"
    )
    unwrapped = " ".join(text.split())
    assert f"Ended before round 6 of 8: {out['reason']}." in unwrapped
    assert "5 rounds: 5 with dropouts, 4 failed" in unwrapped
    assert f"Attempts on one model: 2 used, 2 allowed. {out['attempts_note']}" in unwrapped
    assert "down to one client's update" in out["attempts_note"]
    assert unwrapped.endswith(
        "The server saw 1 sum of 9 updates, and no single update. It may also have the sum of a "
        "failed round, if the inputs had left."
    )
    assert max(map(len, text.splitlines())) <= 80


@runs_at("trainings like others")
def test_more_attempts_or_a_trusted_server_go_on(tmp_path, capsys):
    """Three are enough here, by default; in semi-honest mode nothing counts."""
    malicious = run_json(tmp_path, *LOSSY)
    trusted = run_json(tmp_path, *LOSSY, "--attempts", "1", "--mode", "semi-honest")
    for out, allowed in ((malicious, 3), (trusted, None)):
        assert len(out["rounds"]) == 8
        assert (out["attempts_used"], out["attempts_allowed"]) == (3, allowed)
        assert (out["reason"], out["code"]) == ("", None)
    text = capsys.readouterr().out
    assert "any number allowed" in " ".join(text.split())
    _, *tables = text.split("round survivors ")
    for table in tables:  # a failure of the last round is no error, and is said
        last, why = table[table.index("\n    8 ") + 1 :].splitlines()[:2]
        assert last.split()[:2] == ["8", "failed"]
        assert why.startswith("      model unchanged: ")
        assert "8 rounds: " in table


def test_a_converged_training_is_a_success(tmp_path, capsys, monkeypatch):
    """Exit code 0, a line that says so, and the results of the rounds that were run."""

    def coarse(self, seed):
        return [np.full((self.features, 2), 1e4, np.float16), np.full(2, 1e4, np.float16)]

    monkeypatch.setattr(Softmax, "init", coarse)
    options = ["--rounds", "6", "--clip", "0.01", "--dropout", "0", "--clients", "4"]
    out = run_json(tmp_path, *options)
    assert [each["attempt"] for each in out["rounds"]] == [0, 1, 2]
    assert (out["converged"], out["failed_rounds"], out["attempts_used"]) == (True, 0, 3)
    assert (out["reason"], out["code"]) == ("", None)
    text, err = capsys.readouterr()
    assert err == ""
    assert "Ended before round 4 of 6: the training has converged: " in " ".join(text.split())
    assert "dropout rate" not in text
    assert not run_json(tmp_path, *options, "--mode", "semi-honest")["converged"]
    assert "Ended before" not in capsys.readouterr().out


def test_numbers_that_are_not_finite_are_null(capsys):
    """JSON has none. A warning of NumPy would be an error here."""
    options = ["--clip", "1e200", "--bits", "1", "--rounds", "2", "--dropout", "0"]
    assert cli.main([*options, "--json", "-"]) == 0
    text, err = capsys.readouterr()
    assert "The server saw 2 sums" in err
    assert max(map(len, err.splitlines())) <= 80  # also with a loss of 200 digits
    out = json.loads(text, parse_constant=pytest.fail)  # nothing else is on standard output
    assert (out["bound"], out["bound_note"]) == (None, "the models are too large to compute it")
    numbers = {"a": [1, math.nan, -math.inf], "b": {"c": np.float64("nan"), "d": 2.5, "e": "nan"}}
    assert export._with_nulls(numbers) == {
        "a": [1, None, None],
        "b": {"c": None, "d": 2.5, "e": "nan"},
    }


def test_the_output_is_plain_text_that_fits(tmp_path, capsys):
    options = ["--clients", "5", "--dataset", "digits", "--model", "mlp", "--mode", "semi-honest"]
    run_json(tmp_path, "--rounds", "2", *options)
    text = capsys.readouterr().out
    assert text.isascii()
    assert text.replace("\n", "").isprintable()
    assert max(map(len, text.splitlines())) <= 80
    assert "not known" in text  # no bound for a network
    assert json.loads((tmp_path / "out.json").read_text())["bound"] is None


@runs_at("trainings like others")
def test_runs_repeat(tmp_path, capsys):
    options = ["--rounds", "3", "--clients", "6", "--dropout", "0.2", "--seed", "5"]
    one, same = (run_json(tmp_path, *options) for _ in range(2))
    other = run_json(tmp_path, *options[:-1], "6")
    for out in (one, same, other):
        for each in out["rounds"]:
            del each["seconds"], each["seconds_by_phase"]
    assert one == same
    assert one["rounds"] != other["rounds"]


def test_clipping_is_said(tmp_path, capsys):
    out = run_json(tmp_path, "--rounds", "1", "--clip", "0.05", "--dropout", "0")
    assert out["bound"] is None
    assert out["clipped"] > 0
    assert out["bound_note"] == f"{out['clipped']} values were clipped"
    (each,) = out["rounds"]
    assert each["clipped"] == out["clipped"] == sum(each["clipped_by_array"].values())
    assert each["clipped_by_array"].keys() == {"0", "1"}
    text = capsys.readouterr().out
    assert f"not known, {out['bound_note']}\n" in text
    weights, bias = each["clipped_by_array"].values()
    assert f"{out['clipped']} values clipped: {weights} in array 0, {bias} in array 1\n" in text


def test_few_bits_are_told(tmp_path, capsys):
    """What was clipped, how many bits, and how many bytes, beside the accuracy."""
    options = ["--rotate", "--bits", "2", "--clip", "1.5", "--rounds", "2", "--dropout", "0"]
    out = run_json(tmp_path, *options)
    plain = run_json(tmp_path, "--rounds", "2", "--dropout", "0")
    assert (out["bits"], out["rotate"], out["bound"]) == (2, True, None)
    assert (plain["bits"], plain["rotate"], plain["shortened"]) == (20, False, 0)
    assert out["masked_bits"] < 6 < 20 < plain["masked_bits"]
    assert out["bytes_up"] < plain["bytes_up"]
    assert out["clipped"] == 62 * out["shortened"] > 0
    assert out["shortened"] == sum(each["shortened"] for each in out["rounds"])
    text = " ".join(capsys.readouterr().out.split())
    assert "62 parameters, 2 bits each, rotated, L2 norm at most 1.5." in text
    assert f"{out['rounds'][0]['shortened']} updates shortened to the clip" in text
    assert f"2 rounds: 0 with dropouts, 0 failed; {out['shortened']} updates shortened" in text
    assert f"{out['bytes_up']:,.0f} bytes, {out['masked_bits']:.3g} bits per masked" in text


needs_accounting = pytest.mark.skipif(
    not find_spec("dp_accounting"), reason="dp-accounting is not installed: the extra `dp`"
)


@needs_accounting
@pytest.mark.parametrize(
    ("placement", "adaptive"),
    [
        (Placement.DISTRIBUTED, True),
        *(pytest.param(each, False, marks=runs_at("trainings like others")) for each in Placement),
    ],
)
def test_privacy_is_told(tmp_path, capsys, placement, adaptive):
    """What was spent, of what, by whose noise; and that a seeded simulation protects nobody."""
    options = ["--dp-epsilon", "8", "--dp-placement", placement, "--rounds", "2", "--clients", "5"]
    options += ["--adaptive-clip", "0.9", "--plot", str(tmp_path / "x.svg")] * adaptive
    out = run_json(tmp_path, *options, "--dropout", "0", "--mode", "semi-honest", "--split", "even")
    found = out["privacy"]
    assert (out["clip"], out["bound"], found["delta"]) == (1.0, None, 1e-5)
    text = " ".join(capsys.readouterr().out.split())
    first, last = (each["clip"] for each in out["rounds"])
    assert (out["adaptive_clip"], first) == ((0.9, 1.0) if adaptive else (None, None))
    assert (out["parameters"], out["numbers"]) == (62, 62 + adaptive)
    assert text.count("L2 norm at most 1 in the first round.") == adaptive
    noise = {"distributed": " with noise", "local": " with noise", "none": ""}
    saw = ", and of as many bits" * adaptive + noise.get(placement, ", to which it added noise")
    assert f"The server saw 2 sums of 5 updates{saw}, and no single update." in text
    own = f"{out['shortened']} updates shortened (as this simulation counts: no server learns it"
    assert (own in text) == (placement != "none")
    if adaptive:
        assert last > 1
        assert f" clip {last:.4g}: {out['rounds'][1]['shortened']} updates shortened" in text
        assert f"The clip went from 1 to {last:.4g}, towards the quantile 0.9" in text
        assert b"clip (dashed)" in (tmp_path / "x.svg").read_bytes()
    assert "456 examples over 5 clients (91 to 92 each)" in text
    assert found["note"] in text
    assert "Every client with examples counts once" in text
    noisy = placement != "none"
    assert ("follows from its seed, so that here the noise protects nobody" in text) == noisy
    assert ("down to one client's update" in text) == (placement in ("central", "none"))
    if placement == "none":
        assert found["epsilon"] is None
        assert "Not differentially private" in text
        return
    assert 7.8 < found["epsilon"] <= 8
    assert f"epsilon {found['epsilon']:.4g} at delta 1e-05 after 2 rounds" in text
    assert f"z = {found['multiplier']:.4g}" in text
    assert f"{found['factor']:.3g} times that of a trusted server" in text
    relied = f"h = {found['honest']} of 5 clients"
    assert (relied in text) == (placement == "distributed")


OTHER_TRAININGS = {
    "--dropout 0.2": "--dropout 0.0, not with --dropout 0.2",
    "--epochs 2": "--epochs 1, not with --epochs 2",
    "--split even": "--split shards, not with --split even",
    "--mode malicious": "--mode semi-honest, not with --mode malicious",
    "--sample 0.7": "--sample 5, not with --sample 6",
    "--seed 1 --model mlp": "--model softmax --seed 0, not with --model mlp --seed 1",
    "--dataset digits": "--dataset breast_cancer, not with --dataset digits",
    "--rotate --clip 9": "--bits 20, not with --rotate --bits 8",
    "--clip 3": "--clip 9.0, not with --clip 3.0",
    "--server-rate 0.5": "--server-rate ",
}


@pytest.mark.parametrize("optimizer", ["adam", "scaffold"])
def test_a_sample_of_the_clients_is_drawn_for_each_round(tmp_path, capsys, optimizer, monkeypatch):
    """What is printed and written is of these rounds, and plain averaging over the same comes near.

    From a checkpoint the training goes on, and its first rounds are shown again. With options that
    make another training it is refused by their names.
    """
    kept = tmp_path / "training.npz"
    options = ["--clients", "9", "--sample", "0.6", "--optimizer", optimizer, "--split", "shards"]
    options += ["--mode", "semi-honest", "--dropout", "0", "--epochs", "1", "--clip", "9"]
    whole = run_json(tmp_path, *options, "--rounds", "3")
    text = " ".join(capsys.readouterr().out.split())
    assert "The server saw 3 sums of 5 updates, of clients drawn anew for each, and no" in text
    assert [each["invited"] for each in whole["rounds"]] == [5, 5, 5]
    assert len({tuple(each["survivor_ids"]) for each in whole["rounds"]}) > 1
    assert (whole["optimizer"], whole["sample"], whole["bound"]) == (optimizer, 0.6, None)
    assert whole["max_abs_difference"] < 0.01
    with monkeypatch.context() as ended:  # as if it ended before the score of round 1 was saved
        ended.setattr(cli, "loss", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            cli.main([*options, "--rounds", "2", "--checkpoint", str(kept)])
    begun = run_json(tmp_path, *options, "--rounds", "2", "--checkpoint", str(kept))
    assert [each["loss"] for each in begun["rounds"]] == [
        each["loss"] for each in whole["rounds"][:2]
    ]
    capsys.readouterr()
    resumed = run_json(tmp_path, *options, "--rounds", "3", "--checkpoint", str(kept))
    assert capsys.readouterr().out.count("     5/5 ") == 3
    for name in ("secure_loss", "max_abs_difference", "bytes_up"):
        assert resumed[name] == whole[name], name
    cli.main([*options, "--rounds", "2", "--checkpoint", str(kept)])
    assert "The file has 3 rounds already, more than --rounds 2." in capsys.readouterr().out
    monkeypatch.setattr(cli.FedAvg, "__iter__", None)  # nothing may be trained
    for other, told in OTHER_TRAININGS.items():
        if (optimizer, other) == ("scaffold", "--mode malicious"):
            continue  # refused before the file is read
        with pytest.raises(SystemExit):
            cli.main([*options, "--rounds", "3", "--checkpoint", str(kept), *other.split()])
        text = capsys.readouterr().err
        assert f"of a run with {told}" in text
        assert "; give the same options, or name another file\n" in text


def test_clients_train_at_their_own_pace(tmp_path, capsys):
    """From a checkpoint, too, which holds for this kind of training alone."""
    kept, most = ["--checkpoint", str(tmp_path / "training.npz")], ["--rounds", "4"]
    options = ["--clients", "9", "--sample", "3", "--epochs", "1", "--dropout", "0"]
    options += ["--mode", "semi-honest"]
    whole = run_json(tmp_path, "--async", *options, *most)
    run_json(tmp_path, "--async", *options, "--rounds", "2", *kept)
    capsys.readouterr()
    out = run_json(tmp_path, "--async", *options, *most, *kept)
    assert out["secure_loss"] == whole["secure_loss"]
    text = " ".join(capsys.readouterr().out.split())
    assert "The server saw 4 sums of 3 updates, of whoever was ready, and no single" in text
    assert "Simulated time: " in text
    assert (out["async"], out["bound_note"]) == (True, "updates are of earlier models")
    times = [each["time"] for each in out["rounds"]]
    assert times == sorted(times) == [each["time"] for each in whole["rounds"]]
    assert all(len(set(each["stale"])) == 1 for each in out["rounds"])
    with pytest.raises(SystemExit):
        cli.main([*options, *most, *kept])
    assert "of a run with --async, not without --async; give the" in capsys.readouterr().err
    options = options[:4]
    out = run_json(tmp_path, "--async", *options, "--server-rate", "1e308", "--rounds", "9")
    text = " ".join(capsys.readouterr().out.split())
    assert f"Ended before round {len(out['rounds']) + 1} of 9: {out['reason']}." in text
    assert "have an update to give or will have one" in out["reason"]


@needs_accounting
def test_epsilon_is_of_the_client_that_gave_most(tmp_path, capsys):
    options = ["--async", "--clients", "9", "--rounds", "3", "--epochs", "1", "--dropout", "0"]
    out = run_json(tmp_path, *options, "--dp-epsilon", "8", "--mode", "semi-honest")
    assert out["privacy"]["epsilon"] == out["rounds"][-1]["epsilon"] < 7.5
    text = " ".join(capsys.readouterr().out.split())
    assert "after 3 sums, of which no client gave to more than 2 (asked for: 8 after 3)" in text


def test_a_broken_bound_is_shouted(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("secagg.fl.compare.quantization_bound", lambda params, rounds: 0.0)
    run_json(tmp_path, "--rounds", "1")
    assert "(BROKEN)" in capsys.readouterr().out


KINDS = {
    "picture": b"\x89PNG\r\n\x1a\n",
    "picture.PNG": b"\x89PNG\r\n\x1a\n",
    "picture.jpeg": b"\xff\xd8\xff",
    "picture.svg": b"<?xml",
    "picture.pdf": b"%PDF-",
}


@runs_at("trainings like others")
@pytest.mark.parametrize("name", KINDS)
def test_a_picture_has_the_format_of_its_name(tmp_path, capsys, name):
    path = tmp_path / name
    options = ["--rounds", "3", "--dropout", "0.4", "--seed", "0", "--plot", str(path)]
    assert cli.main(options) == 0
    content = path.read_bytes()
    assert content.startswith(KINDS[name])
    assert len(content) > 10_000
    assert names(tmp_path) == [name]


class NotTrained(FedAvg):
    """Reports that every round failed, at once."""

    def __iter__(self):
        why = ("2 parties sent share keys, 3 are needed", Code.QUORUM)
        for number in range(1, self.rounds + 1):
            failed = RoundReport(number, 0, (), (), True, *why, {}, {}, {}, 0, {}, 0, 0, 0, 0, {})
            self.reports.append(failed)
            yield failed


def test_all_rounds_failed_is_a_failure(tmp_path, capsys, monkeypatch):
    """Exit code 1, with one line, and all that there is to report."""
    monkeypatch.setattr(cli, "FedAvg", NotTrained)
    out = run_json(tmp_path, "--rounds", "2", "--clients", "3", "--dropout", "0", code=1)
    assert out["failed_rounds"] == len(out["rounds"]) == 2
    text, err = capsys.readouterr()
    assert err == (
        "secagg.fl: error: all rounds failed, the last one because 2 parties sent share keys, 3 "
        "are needed\n"
    )
    assert "The server saw no sum, and no single update. It may also" in text


# Cohort and rate -> the probability that a round fails, by hand.
FAILING = {(3, 0.1): 1 - 0.9**3, (4, 0.5): 1 - 0.5**4 - 4 * 0.5**4, (10, 0.0): 0.0, (3, 0.99): 1.0}


@pytest.mark.parametrize("mode", Mode)
def test_quorum_and_dropout_rate_that_do_not_fit_are_told(mode):
    """With the probability, and with something that does fit; and nothing where they do."""
    for (clients, rate), expected in FAILING.items():
        params = Params(clients, 1, FixedPoint(1.0), mode=mode)
        assert failure_probability(params, rate) == pytest.approx(expected, abs=2e-6)
        text = report.warning(params, rate)
        assert bool(text) == (expected > 0.1)
        assert f"probability {expected:.0%}" in text or not text
    higher = Params(10, 1, FixedPoint(1.0), min_survivors=9, mode=mode)
    fails, rng = failure_probability(higher, 0.3), np.random.default_rng(1)
    found = [fails_in(higher, draw_drops(rng, 10, 0.3, mode)) for _ in range(1000)]
    assert np.mean(found) == pytest.approx(fails, abs=0.05)
    three = Params(3, 1, FixedPoint(1.0), mode=mode)
    assert "it needs 3 of 3 clients" in report.warning(three, 0.1)
    malicious = mode == Mode.MALICIOUS  # in which fewer are before their input when they drop out
    for drawn_of, fractions, more in (
        (None, None, " or --clients 5"),
        (40, None, " or --sample 5"),
        (4, None, " or --sample 4"),
        (3, None, ""),
        (None, (0.1, 0.1), " or --clients 50" * malicious),
        (20, (0.1, 0.3), " or --sample 5"),
        (20, (0.2, 0.3), f" or --sample {20 if malicious else 10}"),  # 4 colluders may be in one
    ):
        text = report.warning(three, 0.1, drawn_of, fractions)
        assert text.endswith(f"; better take --dropout 0.03{more}")


def fails_in(params, drops):
    order = params.mode.phases
    early = sum(order.index(phase) <= order.index(Phase.MASKED_INPUT) for phase in drops.values())
    n = params.cohort
    return n - early < params.quorum or n - len(drops) < params.threshold


BAD = {
    "--dataset iris": "invalid choice: 'iris'",
    "--model tree": "invalid choice: 'tree'",
    "--mode friendly": "invalid choice: 'friendly'",
    "--clients 2": "must be at least 3, not 2",
    "--clients ten": "'ten'",
    "--clients 115": "456 training examples cannot be split over 115 clients: with at least 4",
    "--rounds 0": "must be at least 1",
    "--rounds 1000000000": "must be at most 100000",
    "--rounds 10**9": "'10**9'",
    "--attempts 0": "must be at least 1",
    "--seed -1": "must be at least 0",
    "--dropout 1": "must be in [0, 1), not 1",
    "--dropout nan": "must be in [0, 1), not nan",
    "--dropout=-0.1": "must be in [0, 1)",
    "--dropout x": "'x'",
    "--bits 0": "bits must be in 1..32",
    "--bits 33": "bits must be in 1..32",
    "--rotate --bits 17": "bits must be in 1..16, not 17",
    "--rotate --bits 0": "bits must be in 1..16, not 0",
    "--rotate --clip 0": "clip must be",
    "--clip 0": "clip must be",
    "--server-rate 0": "--server-rate must be a finite number above 0",
    "--server-rate 0 --optimizer adam": "--server-rate must be a finite number above 0",
    "--optimizer sgd": "invalid choice: 'sgd'",
    "--sample 2": "must be a share of the clients, above 0 and up to 1.0, or a whole number in 3",
    "--sample 11": "or a whole number in 3..10, not 11",
    "--sample 1.5": "sample or buffer must be a share",
    "--sample 25%": "must be a number of clients, or a share such as 0.25, not '25%'",
    "--checkpoint /": "/ is a folder",
    "--optimizer scaffold": "--optimizer scaffold needs --mode semi-honest",
    "--async --optimizer scaffold --mode semi-honest": "sends clients more than the model",
    "--async --sample 1.5": "sample or buffer must be a share",
    "--checkpoint -": "--checkpoint is read as well",
    "--json x --checkpoint x": "--json and --checkpoint name the same file",
    "--epochs 0": "must be at least 1",
    "--split odd": "invalid choice: 'odd'",
    "--dp-delta 1e-5": "--dp-delta is about differential privacy: give --dp-epsilon",
    "--dp-placement central": "--dp-placement is about differential privacy",
    "--dp-corrupt 0.1 --dp-dropout 0.1": "--dp-corrupt is about differential privacy",
    "--dp-epsilon 8 --rotate": "leave --rotate and --bits out",
    "--dp-epsilon 8 --dp-dropout 0.1": "are given together",
    "--dp-epsilon 8 --dp-corrupt 1 --dp-dropout 0.1": "must be in [0, 1)",
    "--dp-epsilon 8 --dp-placement nowhere": "invalid choice: 'nowhere'",
    "--adaptive-clip": "--adaptive-clip is about differential privacy: give --dp-epsilon",
    "--dp-epsilon 8 --adaptive-clip 1": "quantile must be a number above 0, and below 1, not 1.0",
    "--dp-epsilon 8 --adaptive-clip --clip 0": "clip must be a number above",
    "--dp-epsilon 8 --adaptive-clip --dp-placement local": "and placement is local: give a fixed",
    "--dp-epsilon 0": "epsilon must be a finite number above 0",
    "--dp-epsilon 33": "epsilon must be in 0.001..32",
    "--dp-epsilon 8 --dp-delta 1": "delta must be above 0 and below 1",
    "--dp-epsilon 8 --dp-scale 0": "scale must be a finite number above 0",
    "--dp-epsilon 8 --clip 0": "clip must be a finite number above 0",
    "--dp-epsilon 0.001 --rounds 100000": "less privacy",
    "--clip nan": "clip must be",
    "--clip 1e400": "clip must be",
    "--plot x.gif": "ending .gif; use one of .png, .svg, .pdf, .jpg, .jpeg",
    "--plot x.v2": "ending .v2; use",
    "--json - --plot -": "name the same file",
    f"--json {300 * 'x'}": "File name too long",
    "--json /dev/null/x": "Not a directory",
    "--json /no/such/folder/x": "cannot write /no/such/folder/x: No such file or directory",
    "--plot /no/such/folder/x": "cannot write",
    "--json /": "/ is a folder",
    "--json same --plot ./same": "name the same file",
    "--cli 5": "unrecognized arguments",
    "surplus": "unrecognized arguments",
    "--json": "expected one argument",
}


@pytest.mark.parametrize("options", BAD)
def test_bad_options_get_one_line_and_exit_code_2(options, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.FedAvg, "__iter__", None)  # nothing may be trained
    with pytest.raises(SystemExit) as stop:
        cli.main(options.split())
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("secagg.fl: error: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert BAD[options] in err
    assert names(tmp_path) == []


def test_a_closed_standard_output_takes_no_json(capsys, monkeypatch):
    monkeypatch.setattr(cli.FedAvg, "__iter__", None)
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(SystemExit) as stop:
        cli.main(["--json", "-"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.endswith("it is closed, or takes no bytes\n")


def test_a_file_may_be_named_like_standard_output(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "FedAvg", NotTrained)
    cli.main(["--rounds", "1", "--clients", "3", "--dropout", "0", "--json", "./-"])
    assert names(tmp_path) == ["-"]


def test_a_link_to_itself_is_refused_in_one_line(capsys, tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(SystemExit) as stop:
        cli.main(["--json", str(tmp_path / "loop")])
    assert stop.value.code == 2
    assert capsys.readouterr().err.endswith("loop: a link that leads to itself\n")


def test_headroom_is_refused_in_one_line(capsys, monkeypatch):
    monkeypatch.setattr("secagg.params.formats.FixedPoint.levels", 2**62)
    with pytest.raises(SystemExit) as stop:
        cli.main([])
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("package", ["sklearn", "rich", "matplotlib"])
def test_a_missing_package_is_one_line(package, capsys, monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit) as stop:
        cli.main(["--rounds", "1", "--plot", str(tmp_path / "x")])
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert (out, err) == (
        "",
        f"secagg.fl: error: {package} is not installed; run pip install 'secagg[fl]'\n",
    )


def test_failures_at_work_are_one_line_and_exit_code_1(capsys, monkeypatch, tmp_path):
    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cli, "write_whole", full)
    assert cli.main(["--rounds", "1", "--json", str(tmp_path / "x")]) == 1
    assert (
        capsys.readouterr().err
        == "secagg.fl: error: cannot write the output: No space left on device\n"
    )


def test_an_interrupt_is_one_line(capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "simulate", interrupted)
    assert cli.main([]) == 130
    assert capsys.readouterr().err == "secagg.fl: interrupted\n"


def test_failed_rounds_are_not_logged_on_top(capsys, monkeypatch):
    import logging

    monkeypatch.setattr(logging.getLogger("secagg"), "propagate", False)
    for _ in range(2):
        assert cli.main(["--rounds", "2", "--dropout", "0.9"]) == 1
    out, err = capsys.readouterr()
    assert out.count("model unchanged") == 4
    assert [line.split(":")[1] for line in err.splitlines()] == [" warning", " error"] * 2


def test_a_terminal_gets_a_progress_bar(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert cli.main(["--rounds", "2"]) == 0
    text = capsys.readouterr().out
    assert "\x1b[" in text
    assert "2/2" in text


def test_as_a_module(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["secagg.fl", "--rounds", "1"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("secagg.fl", run_name="__main__")
    assert stop.value.code == 0
    assert "\n1 round: " in capsys.readouterr().out


def program(options, **more):
    return children.run([sys.executable, "-m", "secagg.fl", *options], seconds=60, **more)


@runs_at("programs")
def test_as_a_program():
    """JSON alone is on standard output, so that it can be piped on."""
    done = program(["--rounds", "1", "--clients", "4", "--json", "-"])
    assert done.returncode == 0
    assert json.loads(done.stdout).keys() >= FIELDS
    assert "The server saw 1 sum of 4 updates, and no single update.\n" in done.stderr


@runs_at("programs")
def test_a_device_takes_table_and_json():
    done = program(["--rounds", "1", "--json", "/dev/stdout"])
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout[done.stdout.index("{") :]).keys() >= FIELDS


def test_a_table_that_nobody_reads_ends_without_a_word(capsys, monkeypatch):
    """Exit code 141, as for a program that SIGPIPE ends; the progress library has its own way."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert cli.main(["--rounds", "1", "--clients", "5"]) == 141
    assert capsys.readouterr().err.count("error") == 0


@runs_at("programs")
@pytest.mark.parametrize(
    "variables", [{}, {"FORCE_COLOR": "1", "TERM": "xterm", "PYTHONUNBUFFERED": "1"}], ids=str
)
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("$P --rounds 30 | head -1", 141),
        ("$P --rounds 3 --json - 2>&1 >/dev/null | head -1", 141),
        ("$P --rounds 3 --json - 2>/dev/null | true", 141),
        ("PYTHONUNBUFFERED= $P --help | true", 141),  # else argparse says that all is well
        ("$P --rounds 2 --dropout 0 >&- | cat", 1),  # it was closed before: lost, which is said
        ("$P --rounds 2 --clients 3 2>&- | tail -1", 0),
        ("$P --bits 99 2>&- | cat", 2),
        ("$P --rounds 2 >&- 2>&- | cat", 1),
    ],
)
def test_output_that_nobody_reads_ends_quietly(command, code, variables):
    """A closed pipe, or a stream that was closed from the start, is no reason for a traceback."""
    line = command.replace("$P", f"'{sys.executable}' -m secagg.fl") + "; exit ${PIPESTATUS[0]}"
    env = children.environment(**variables)
    done = children.run(["bash", "-c", line], seconds=60, env=env)
    lost = "secagg.fl: error: cannot write the output: it is closed\n"
    assert (done.returncode, done.stderr) == (code, lost if code == 1 and "2>" not in line else "")


@runs_at("programs")
def test_a_full_disk_is_one_line():
    done = children.run(
        ["bash", "-c", f"'{sys.executable}' -m secagg.fl --rounds 1 >/dev/full"], seconds=60
    )
    assert done.returncode == 1
    assert done.stderr == "secagg.fl: error: cannot write the output: No space left on device\n"


def test_importing_is_light():
    code = (
        "import sys, secagg.fl, secagg.fl.command.cli;"
        "heavy = {'sklearn', 'scipy', 'rich', 'matplotlib'} & sys.modules.keys();"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = children.run([sys.executable, "-c", code])
    assert (done.returncode, done.stderr) == (0, "")


# -- files ------------------------------------------------------------------------------------


def test_files_are_whole_or_untouched(tmp_path, monkeypatch):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    check_writable(link)
    write_whole(link, b"new")
    assert target.read_bytes() == b"new"
    assert link.is_symlink()

    def fails(self, destination):
        raise OSError("no")

    monkeypatch.setattr("pathlib.Path.replace", fails)
    with pytest.raises(OSError, match="no"):
        write_whole(target, b"newer")
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["link", "target"]


def test_a_device_without_permission_is_refused(monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ValueError, match="cannot write to /dev/null"):
        check_writable(Path("/dev/null"))
