"""The preflight: what it calls possible is, to the last dropout; what it advises helps."""

import dataclasses
import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from levels import amount, runs_at

import secagg
from secagg import Code, FixedPoint, Integers, Mode, ParameterError, Params, Phase, Suite
from secagg import __main__ as command
from secagg.cost import Preflight, Severity, Shape, Units, measure, plan, preflight
from secagg.cost import bench as played
from secagg.cost import command as commands
from secagg.pairwise.parties import all_parties
from secagg.simulate import Cohort, Run

UNITS = Units(**dict.fromkeys((field.name for field in dataclasses.fields(Units)), 1e-9))
SLOW = Units(**dict.fromkeys((field.name for field in dataclasses.fields(Units)), 1e-3))
MALICIOUS = Mode.MALICIOUS


def fly(cohort: int = 100, length: int = 1000, *form: Any, **options: Any) -> Preflight:
    """A preflight without timing anything."""
    return preflight(cohort, length, *form, **{"units": UNITS, **options})


def codes(found: Preflight) -> set[Code]:
    return {finding.code for finding in found.findings}


# -- what is possible -----------------------------------------------------------------------------


def play(params: Params, drops: dict[int, Phase]) -> Run:
    server, clients = all_parties(params, secagg.Policy(params, allow_pair=True))
    return Cohort(server, clients, dict.fromkeys(clients, lambda: ([1] * 3, 1)), drops).play()


@settings(max_examples=amount("planned rounds"), deadline=None)
@given(
    cohort=st.integers(2, 12),
    corrupt=st.sampled_from([0, 0.1, 0.3, 0.5]),
    dropout=st.sampled_from([0, 0.1, 0.25, 0.5]),
    mode=st.sampled_from(Mode),
    last=st.sampled_from([Phase.CONSISTENCY, Phase.UNMASK]),
)
def test_what_is_possible_is_so_to_the_last_dropout(
    cohort: int, corrupt: float, dropout: float, mode: Mode, last: Phase
) -> None:
    """With exactly as many dropouts as are allowed there is a sum, with one more there is none."""
    if mode is Mode.SEMI_HONEST:
        last = Phase.UNMASK
    found = fly(cohort, 3, Integers(0, 1), corrupt=corrupt, dropout=dropout, mode=mode)
    if found.params is None:
        with pytest.raises(ParameterError) as raised:
            Params.for_cohort(
                cohort, 3, Integers(0, 1), corrupt=corrupt, dropout=dropout, mode=mode
            )
        assert {raised.value.code} == codes(found)
        with pytest.raises(ParameterError):
            _ = found.drops_before_input
        return
    before, after = found.drops_before_input, found.drops_after_input
    rest, exact = found.drops_after_input_at_quorum, found.params.degree == 0
    early = dict.fromkeys(range(before), Phase.MASKED_INPUT)
    run = play(found.params, early | dict.fromkeys(range(before, before + rest), last))
    assert run.result is not None, run.reason
    assert len(run.result.survivors) == found.params.quorum
    run = play(found.params, {before: Phase.SHARE_KEYS} | early)
    assert (run.result, run.code) == (None, Code.QUORUM)
    run = play(found.params, dict.fromkeys(range(after), last))
    assert run.result is not None, run.reason
    if exact:  # on a sparse graph one more is unlikely to cost the round
        assert play(found.params, dict.fromkeys(range(after + 1), last)).result is None
        more = early | dict.fromkeys(range(before, before + rest + 1), last)
        assert play(found.params, more).result is None


IMPOSSIBLE: list[tuple[dict[str, Any], Code, set[str]]] = [
    (
        {"corrupt": 0.4, "dropout": 0.3, "mode": MALICIOUS},
        Code.UNSAFE_FRACTIONS,
        {"corrupt", "dropout", "cohort", "mode"},
    ),
    ({"corrupt": 0.6, "dropout": 0.5}, Code.UNSAFE_FRACTIONS, {"corrupt", "dropout"}),
    ({"cohort": 2}, Code.UNSAFE_SUM, {"corrupt", "cohort"}),
    (
        {"cohort": 4, "corrupt": 0.5, "dropout": 0.25},
        Code.UNSAFE_SUM,
        {"corrupt", "dropout", "cohort"},
    ),
    (
        {"format": FixedPoint(8.0, 32, 2**32 - 1)},
        Code.HEADROOM,
        {"bits", "max_weight"},
    ),
    ({"format": Integers(-5, 2**57)}, Code.HEADROOM, {"high", "cohort"}),
    ({"format": Integers(2**62, 2**62 + 1)}, Code.HEADROOM, set()),
    ({"length": 5 * 2**28}, Code.HEADROOM, {"length", "cohort", "bits"}),
]


def changed(options: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    if name in ("bits", "max_weight", "high"):
        form = options.get("format", FixedPoint(8.0))
        return options | {"format": dataclasses.replace(form, **{name: value})}
    return options | {name: Mode.SEMI_HONEST if name == "mode" else value}


@pytest.mark.parametrize(("options", "code", "names"), IMPOSSIBLE)
def test_the_nearest_values_are_possible(
    options: dict[str, Any], code: Code, names: set[str]
) -> None:
    """Each change by itself makes the request possible, and the value next to it does not."""
    found = fly(**options)
    (finding,) = found.findings
    assert (found.possible, finding.severity, finding.code) == (False, Severity.IMPOSSIBLE, code)
    assert "IMPOSSIBLE" in str(found)
    changes = dict(finding.changes)
    assert set(changes) == names
    assert finding.remedy
    for name, value in changes.items():
        assert str(value) in finding.remedy
        assert fly(**changed(options, name, value)).possible, name
        if name in ("bits", "max_weight", "high", "length"):
            assert not fly(**changed(options, name, value + 1)).possible, name
        elif name in ("corrupt", "dropout"):
            assert not fly(**changed(options, name, value + 1 / found.request.cohort)).possible, (
                name
            )


def test_all_reasons_at_once() -> None:
    """Fractions and numbers are impossible for reasons of their own."""
    found = fly(corrupt=0.6, dropout=0.5, format=Integers(0, 2**60))
    assert codes(found) == {Code.UNSAFE_FRACTIONS, Code.HEADROOM}


@pytest.mark.parametrize(
    "options",
    [
        {"cohort": 1},
        {"length": 0},
        {"corrupt": 1.0},
        {"dropout": "a"},
        {"expected_dropout": -0.1},
        {"format": 3},
        {"mode": "malicious"},
        {"suite": 7},
        {"measured": True, "seconds": 0},
        {"memory_bytes": "1e9"},
        {"memory_bytes": -1},
        {"units": 5},
        {"units": 0},
    ],
)
def test_what_is_no_value_of_its_kind_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=list(options)[-1]) as raised:
        fly(**options)
    assert raised.value.code is Code.ARGUMENT


# -- findings -------------------------------------------------------------------------------------

# A request that needs no advice but what is true of every round of its mode.
CALM: dict[str, Any] = {"format": Integers(0, 9), "expected_dropout": 0.02, "mode": MALICIOUS}
ALWAYS = {Code.BEYOND_QUORUM, Code.MALICIOUS_THRESHOLD}
ADVICE: dict[Code, dict[str, Any]] = {
    Code.DROPOUT_MARGIN: {"expected_dropout": 0.09},
    Code.NO_DROPOUTS: {"dropout": 0.001},
    Code.LATE_DROPOUTS: {"corrupt": 0.3, "dropout": 0.33},
    Code.NO_COLLUDERS: {"corrupt": 0},
    Code.SMALL_SUM: {"cohort": 10, "corrupt": 0.7, "expected_dropout": 0},
    Code.POLICY_PAIR: {"cohort": 2, "corrupt": 0, "dropout": 0},
    Code.TRUSTED_SERVER: {"mode": Mode.SEMI_HONEST},
    Code.SPARSE_GRAPH: {"mode": Mode.SEMI_HONEST},
    Code.COMPLETE_GRAPH: {"mode": Mode.SEMI_HONEST, "corrupt": 0.3, "dropout": 0.3},
    Code.WIDE_FIELD: {"format": FixedPoint(8.0, 30)},
    Code.WEIGHT_BITS: {"format": FixedPoint(8.0, 12, 1000)},
    Code.PRECISION: {"format": FixedPoint(8.0, 12)},
    Code.LARGE_MESSAGE: {"length": 2**22},
    Code.MEMORY: {"memory_bytes": 10**6},
    Code.SLOW_PHASE: {"units": SLOW},
}


def test_a_calm_request_needs_no_advice() -> None:
    assert codes(fly(**CALM)) == ALWAYS
    with_finding = {code for code in Code if "Finding" in code.carriers}
    assert with_finding == set(ADVICE) | ALWAYS | {code for _, code, _ in IMPOSSIBLE}


@pytest.mark.parametrize(
    ("code", "options"),
    [
        *((code, CALM | options) for code, options in ADVICE.items()),
        *((Code.DROPOUT_MARGIN, {"cohort": n, "dropout": d}) for n, d in ((5, 0.2), (12, 0.1))),
        (Code.NO_DROPOUTS, CALM | {"cohort": 3, "corrupt": 0.1, "dropout": 0.1}),
    ],
    ids=lambda each: str(each) if isinstance(each, Code) else "",
)
def test_advice(code: Code, options: dict[str, Any]) -> None:
    """Each finding comes with what calls for it, says what to do, and its changes help."""
    found = fly(**options)
    assert found.possible, found.findings
    finding = next(each for each in found.findings if each.code is code)
    assert finding.remedy
    graves = [each.severity for each in found.findings]
    assert graves == sorted(graves, key=lambda each: each is Severity.NOTE)
    plays = [{name: value} for name, value in finding.changes]
    plays += [
        {"dropout": float(both[1]), "expected_dropout": float(both[2])}
        for both in re.finditer(
            r"dropout to (\S+) and expected_dropout to ([\d.]+\d)", finding.remedy
        )
    ]
    for play in plays:
        changes = dict(options)
        for name, value in play.items():
            changes = changed(changes, name, value)
        better = fly(**changes)
        assert better.possible
        assert code not in codes(better), play
    if code in (Code.DROPOUT_MARGIN, Code.NO_DROPOUTS, Code.WIDE_FIELD):
        assert finding.changes


def test_the_probability_of_a_failed_round() -> None:
    """That of the binomial distribution; half of the dropout is usual unless it is said."""
    found = fly(10, dropout=0.1)
    (margin,) = (each for each in found.findings if each.code is Code.DROPOUT_MARGIN)
    assert f"{1 - 0.95**10 - 10 * 0.05 * 0.95**9:.1%}" in margin.text
    assert Code.DROPOUT_MARGIN not in codes(fly(10, dropout=0.1, expected_dropout=0))
    assert fly(10, dropout=0.1, expected_dropout=0).expected_dropout == 0


def test_numbers_of_any_library() -> None:
    """They are kept as Python's."""
    found = fly(np.int64(100), np.uint32(1000), dropout=np.float32(0.25), corrupt=np.float64(0.1))
    assert found.drops_before_input == 25
    json.loads(found.to_json())


# -- JSON and tables ------------------------------------------------------------------------------


def keys(value: Any, path: str = "") -> Iterator[str]:
    """All paths of keys in a JSON value; the members of a list have those of the first."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from keys(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        yield from keys(value[0], f"{path}[]")
    else:
        yield path


def expanded(pattern: str) -> set[str]:
    """Expands `a.{b,c}` to both."""
    if not (found := re.search(r"\{([^{}]*)\}", pattern)):
        return {pattern}
    before, after = pattern[: found.start()], pattern[found.end() :]
    return {whole for part in found[1].split(",") for whole in expanded(before + part + after)}


PHASES = "{advertise_keys,share_keys,masked_input,consistency,unmask}"
SIDE = f"{{cpu_seconds,sent_bytes,received_bytes,phases_cpu_seconds.{PHASES}}}"
SIDES = "{client,server}." + SIDE
FORMAT = "format.{name,clip,bits,max_weight}"
PARAMS = "{cohort,length,graph,degree,threshold,min_survivors,colluders,mode,suite,field_bits}"
FROZEN = [
    "possible",
    "request.{cohort,length,corrupt,dropout,expected_dropout,mode,suite}",
    f"request.{FORMAT}",
    "findings[].{code,severity,text,remedy,changes.cohort}",
    f"params.{PARAMS}",
    f"params.{FORMAT}",
    "limits.{quorum,honest_inputs,largest_cohort}",
    "limits.{drops_before_input,drops_after_input,drops_after_input_at_quorum}",
    "sizes.{client_sent_bytes,client_received_bytes,largest_message_bytes}",
    "sizes.{client_memory_bytes,server_memory_bytes}",
    "estimates[].dropouts",
    f"estimates[].{SIDES}",
    "measured.{dropouts,rounds,round_seconds}",
    f"measured.params.{PARAMS}",
    f"measured.params.{FORMAT}",
    f"measured.{{,estimate.}}{SIDES}",
]


@pytest.fixture(scope="module")
def measured() -> Preflight:
    """A preflight with a measured round of four clients."""
    found = fly(10, 5, FixedPoint(8.0, 12), mode=MALICIOUS)
    assert found.params is not None
    small = Params.for_cohort(6, 5, FixedPoint(8.0, 12), corrupt=0.1, dropout=0.2, mode=MALICIOUS)
    return dataclasses.replace(found, measured=measure(small, 1, 1, samples=1))


def test_the_keys_of_the_json_are_frozen(measured: Preflight) -> None:
    """Programs read them; units are in the names."""
    whole = json.loads(measured.to_json())
    assert set(keys(whole)) == {path for pattern in FROZEN for path in expanded(pattern)}
    assert whole == measured.as_dict()
    refused = fly(corrupt=0.6, dropout=0.5).as_dict()
    assert set(refused) == set(whole)
    assert (refused["possible"], refused["params"], refused["estimates"]) == (False, None, [])
    assert whole["limits"] == {
        "quorum": 9,
        "honest_inputs": 8,
        "drops_before_input": 1,
        "drops_after_input": 3,
        "drops_after_input_at_quorum": 2,
        "largest_cohort": 16,
    }
    assert fly(10, 5, Integers(-3, 9)).as_dict()["request"]["format"] == {
        "name": "Integers",
        "low": -3,
        "high": 9,
    }


@pytest.mark.parametrize("cohort", [3, 1000, 60_000])
def test_tables_are_narrow(cohort: int, measured: Preflight) -> None:
    """At most 80 letters, whatever the numbers."""
    texts = [fly(cohort, 10**6, units=SLOW), measured, fly(corrupt=0.6, dropout=0.5)]
    for line in "".join(map(str, texts)).splitlines():
        assert len(line) <= 80, line


# -- rounds that are played -----------------------------------------------------------------------


def test_what_is_measured_is_the_round(measured: Preflight) -> None:
    """Bytes are the model's to the byte; the table has a line for each phase, and says that the
    rounds are smaller than those asked for.
    """
    found = measured.measured
    assert found is not None
    for real, told in ((found.client, found.model.client), (found.server, found.model.server)):
        assert (real.sent, real.received) == (told.sent, told.received)
        assert all(seconds > 0 for seconds in real.phases)
    text = measured.measurement()
    for phase in (*MALICIOUS.phases, "all"):
        assert re.search(rf"^{phase} .*\d\.\d\d .*\d\.\d\d$", text, re.MULTILINE)
    assert "smaller than the one asked for" in text
    assert text in str(measured)
    assert fly().measurement() == ""


def test_a_wrong_sum_is_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum of each round is compared with that of the inputs."""
    monkeypatch.setattr(played, "_INPUTS", 2)
    monkeypatch.setattr(played, "_input", lambda values, weight, party: (values[0], weight))
    params = Params(4, 3, Integers(0, 2**40))
    with pytest.raises(secagg.NativeError, match="sum of a round"):
        measure(params, 0, 1, samples=1)


@pytest.mark.parametrize(
    "form", [FixedPoint(1e-3, 8, 50), FixedPoint(2.0**800, 9), Integers(-5, 5)]
)
def test_every_format_is_played(form: secagg.FixedPoint | Integers) -> None:
    """In inputs of its own range; progress is told in as many steps as the plan says."""
    said: list[str] = []
    todo = plan(Params(5, 9, form), seconds=60, units=UNITS)
    one = dataclasses.replace(todo, rounds=1)
    calibration = played.Calibration(cohort=5)
    _, run = played._play(one.params, one.dropouts, calibration, said.append)
    assert run.result is not None
    assert len(said) == one.steps
    assert said[-1] == "unmask"


def test_plans_fit_time_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A round as asked for if it can be; else shorter vectors, then a smaller cohort."""
    params = Params.for_cohort(
        200, 10**6, FixedPoint(8.0), corrupt=0.1, dropout=0.1, mode=MALICIOUS
    )
    whole = plan(params, seconds=1e6, units=UNITS)
    assert (whole.params, whole.dropouts, whole.rounds) == (params, 20, 5)
    shorter = plan(params, seconds=whole.whole_seconds / 3, units=UNITS)
    assert (shorter.params.cohort, shorter.rounds) == (200, 1)
    assert shorter.params.length < 10**6 / 3
    smaller = plan(params, seconds=whole.whole_seconds / 1e3, units=UNITS)
    assert smaller.params.cohort < 200
    assert smaller.dropouts <= smaller.params.cohort - smaller.params.quorum
    assert Shape.of(smaller.params, smaller.dropouts)
    monkeypatch.setattr(played, "physical_memory", lambda: 10**8)
    assert plan(params, seconds=1e6, units=UNITS).params.length < 10**6
    with pytest.raises(ParameterError, match="raise seconds"):
        plan(params, seconds=1e-9, units=UNITS)
    with pytest.raises(ParameterError, match="dropouts"):
        plan(params, 21, units=UNITS)


@runs_at("rounds beside their estimate")
@pytest.mark.parametrize(
    ("cohort", "length", "options"),
    [
        (10, 10**6, {}),
        (100, 10**5, {"mode": MALICIOUS}),
        (1000, 10**4, {"corrupt": 0.05, "dropout": 0.05}),
    ],
)
def test_the_estimate_holds(
    cohort: int, length: int, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A factor of two is far more than they differ on a quiet machine; on a busy one, again."""
    monkeypatch.setattr(played, "_ROUNDS", 2)

    def ratios() -> list[float]:
        found = preflight(cohort, length, measured=True, seconds=60, **options).measured
        assert found is not None
        assert found.params.cohort == cohort
        pairs = (found.client, found.model.client), (found.server, found.model.server)
        return [told.seconds / real.seconds for real, told in pairs]

    tries = [ratios()]
    while not all(0.5 <= ratio <= 2 for ratio in tries[-1]):
        assert len(tries) < 3, tries
        tries.append(ratios())


# -- the command line -----------------------------------------------------------------------------

ROUND = ["--cohort", "10", "--length", "5"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is timed, and a measurement takes the least there is."""
    monkeypatch.setitem(preflight.__globals__, "calibrate", lambda *_: UNITS)
    monkeypatch.setattr(played, "_SAMPLES", 2)
    monkeypatch.setattr(played, "_ROUNDS", 1)


def run(*arguments: str) -> int:
    try:
        return command.main(list(arguments))
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.usefixtures("quick")
def test_preflight_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Code 0 and the table, or 1 and why not; the file has what the table is made from."""
    file = tmp_path / "found.json"
    assert run("preflight", *ROUND, "--mode", "malicious", "--json", str(file)) == 0
    out, err = capsys.readouterr()
    expected = fly(10, 5, mode=MALICIOUS)
    assert (out, err) == (str(expected), "")
    assert json.loads(file.read_text()) == expected.as_dict()
    options = ["--integers", "-3", "4", "--suite", "chacha20", "--expected-dropout", "0.01"]
    assert run("preflight", *ROUND, *options, "--json", "-") == 0
    out, err = capsys.readouterr()
    again = fly(10, 5, Integers(-3, 4), suite=Suite.CHACHA20, expected_dropout=0.01)
    assert (json.loads(out), err) == (again.as_dict(), str(again))
    assert run("preflight", *ROUND, "--corrupt", "0.6", "--dropout", "0.5") == 1
    assert "impossible: unsafe_fractions" in capsys.readouterr().out


@pytest.mark.usefixtures("quick")
def test_bench_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of what was measured; on a terminal a bar that is gone at the end."""
    assert run("bench", *ROUND, "--dropouts", "0", "--bits", "9", "--max-weight", "7") == 0
    out, err = capsys.readouterr()
    assert out.startswith("measured here: one round of 10 clients x 5 values with 0 lost")
    assert err == ""
    assert run("bench", *ROUND, "--corrupt", "0.6", "--dropout", "0.5") == 1
    assert "IMPOSSIBLE" in capsys.readouterr().out

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(commands, "_QUIET", 0.0)
    assert run("preflight", *ROUND, "--measure") == 0
    assert "measured here" in capsys.readouterr().out
    steps = terminal.getvalue().split("\r\x1b[K")
    assert re.fullmatch(r"\[\.{24}\] 0/40 about \d.* s", steps[1])
    assert re.fullmatch(r"\[#{24}\] 40/40 unmask; about \d.* s in all", steps[-2])
    assert steps[-1] == ""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(played, "_play", interrupted)
    assert run("bench", *ROUND) == 130
    assert terminal.getvalue().endswith("\r\x1b[Ksecagg: interrupted\n")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["--cohort", "1"], "--cohort"),
        (["--length", "0"], "--length"),
        (["--length", "many"], "--length"),
        (["--corrupt", "1"], "--corrupt"),
        (["--dropout", "nan"], "--dropout"),
        (["--expected-dropout", "-1"], "--expected-dropout"),
        (["--clip", "0"], "--clip"),
        (["--bits", "33"], "--bits"),
        (["--max-weight", "0"], "--max-weight"),
        (["--integers", "3", "3"], "--integers"),
        (["--integers", "3", "5", "--bits", "3"], "--bits"),
        (["--mode", "honest"], "--mode"),
        (["--suite", "rot13"], "--suite"),
        (["--seconds", "inf"], "--seconds"),
        (["--dropouts", "2"], "--dropouts"),
        (["--json", "/no/such/folder/file"], "/no/such/folder/file"),
    ],
)
def test_bad_options_are_named(
    arguments: list[str], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("bench", *ROUND, *arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert option in err
