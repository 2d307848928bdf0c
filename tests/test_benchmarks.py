"""``python -m benchmarks`` measures what it says. How fast anything is, no test decides."""

import argparse
import contextlib
import functools
import importlib
import importlib.metadata
import io
import json
import logging
import re
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import children
import numpy as np
import pytest
from levels import amount, runs_at
from secagg.fl import Dataset, Split

import secagg
from secagg import FixedPoint, Mode, Params, cost
from secagg.primitives import sign
from secagg.progress import Progress

ROOT = Path(__file__).resolve().parent.parent
SMALL = ["--clients", "6", "--length", "100"]


def load(monkeypatch: pytest.MonkeyPatch, name: str) -> ModuleType:
    """A module of `benchmarks`, which is not installed with the library."""
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module(f"benchmarks.{name}")


@pytest.fixture
def modes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load(monkeypatch, "modes")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The code of ``python -m benchmarks``."""
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    code: int = load(monkeypatch, "__main__").main()
    return code


def checked(printed: str, path: Path, code: int) -> list[dict[str, Any]]:
    """The rows of a command that wrote them: as printed, and each verdict as its ratio says."""
    rows: list[dict[str, Any]] = json.loads(path.read_text())["rows"]
    for row in rows:
        assert row["machine"] in printed
        assert f"| {row['name']} |" in printed
        speedup = row["target"].startswith(">=")
        value, reference = row["value"], row["reference"]
        ratio = reference / value if speedup else value / reference
        assert row["ratio"] == pytest.approx(ratio)
        bound = float(row["target"][2:] or 0)
        assert row["ok"] is (not bound or (ratio >= bound if speedup else ratio <= bound))
    assert code == (0 if all(row["ok"] for row in rows) else 1)
    return rows


@pytest.mark.parametrize("mode", [str(mode) for mode in Mode])
def test_protocol(
    mode: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """One row a phase of the mode, and a right sum."""
    written = tmp_path / "rows.json"
    options = ["--mode", mode, "--json", str(written), "--plot", str(tmp_path)]
    code = run(monkeypatch, "protocol", *SMALL, *options)
    printed = capsys.readouterr().out
    assert (tmp_path / "protocol.png").read_bytes().startswith(b"\x89PNG")
    rows = {row["name"]: row for row in json.loads(written.read_text())["rows"]}
    assert rows["largest error"]["ok"]
    assert f"| {rows['bytes up, one client']['value']:,} |" in printed
    assert code == 0
    assert ("| consistency |" in printed) is (mode == "malicious")
    for phase in ("advertise keys", "share keys", "masked input", "unmask", "all"):
        assert f"| {phase} |" in printed


def test_protocol_on_a_sparse_graph(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A right sum again, and a client that hears of its neighbours only."""
    size = ["--clients", "20", "--length", "50", "--dropout", "0.05"]
    assert run(monkeypatch, "protocol", *size, "--degree", "6") == 0
    printed = capsys.readouterr().out
    assert "6 neighbours each" in printed
    assert f"| {20 + 3 + 32 + 7 * 64:,} |" in printed  # a roster


def test_protocol_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A step for each state of the server, to the last one; the log is left as it was."""
    protocol = load(monkeypatch, "protocol")
    log = logging.getLogger("secagg")
    before = log.level, list(log.handlers)
    for mode in Mode:
        said: list[str] = []
        protocol.measure(6, 10, 0.2, 8, mode, 0, said.append)
        assert len(said) == protocol.steps(mode)
        assert said[-1] == "completed"
    assert (log.level, log.handlers) == before


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--dropout", "0.9"], "1 parties sent masked input, 5 are needed"),
        (["--dropout", "1"], "must be in [0, 1)"),
        (["--bits", "99"], "bits must be in 1..32"),
        (["--degree", "2", "--mode", "malicious"], "malicious mode needs the complete graph"),
    ],
)
def test_impossible_options(
    options: list[str],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Code 2 and the reason, without a traceback."""
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, "protocol", *SMALL, *options)
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "least"),
    [
        ("bounds", 5),
        ("protocol", 6),
        *(
            pytest.param(command, least, marks=runs_at("programs"))
            for command, least in (("kernels", 13), ("papers", 4), ("scale", 8), ("accuracy", 18))
        ),
    ],
)
def test_rows(
    command: str,
    least: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Each row has a ratio against a reference. Where targets are about other sizes, small ones
    are not judged, so that the code is 0.
    """
    written = tmp_path / "rows.json"
    drawn = ["--plot", str(tmp_path)] if command not in ("bounds", "accuracy") else []
    assert run(monkeypatch, command, "--quick", "--json", str(written), *drawn) == 0
    printed = capsys.readouterr().out
    if command == "protocol":
        found = json.loads(written.read_text())["rows"]
    else:
        found = checked(printed, written, 0)
    assert len(found) >= least
    assert any(row["target"] for row in found) is (command in ("papers", "protocol"))
    for picture in drawn[1:]:
        assert (Path(picture) / f"{command}.png").read_bytes().startswith(b"\x89PNG")


@runs_at("programs")
@pytest.mark.parametrize(
    ("command", "options"),
    [("kernels", ["--length", "20000", "--rounds", "3"]), ("scale", ["--clients", "20", "60"])],
)
def test_rows_that_are_judged(
    command: str,
    options: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Measured as whoever wants to know it measures it; the code is what the verdicts say."""
    written = tmp_path / "rows.json"
    code = run(monkeypatch, command, *options, "--json", str(written))
    rows = checked(capsys.readouterr().out, written, code)
    assert any(row["target"] for row in rows)


@pytest.mark.parametrize(
    ("rounds", "short", "long"),
    [(1, 1, 1), (3, 2 + 3 * 20, 2 + 3)],
)
def test_short_work_is_repeated(
    rounds: int, short: int, long: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until one measurement is long enough; in a single round nothing is."""
    module = load(monkeypatch, "rows")
    now, calls = 0.0, [0, 0]

    def work(number: int, seconds: float) -> None:
        nonlocal now
        now += seconds
        calls[number] += 1

    lasting = 1 / 1024, 1.0  # of which sums are exact
    monkeypatch.setattr(module, "ENOUGH", 20 * lasting[0])
    works = [functools.partial(work, *each) for each in enumerate(lasting)]
    assert tuple(module.in_turns(works, rounds, lambda: now)) == lasting
    assert calls == [short, long]


@runs_at("trainings like others")
def test_few_bits_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Near plain averaging at 2 bits and 1, and more exact than ranges per array at 4."""
    accuracy = load(monkeypatch, "accuracy")
    for model in accuracy.MODELS:
        for trained in accuracy.train(model, [2, 1], accuracy.SEEDS, accuracy.ROUNDS, lambda: None):
            # Sessions are random, and with them rotations: one run in ten misses the target itself.
            allowed = 2 * accuracy.ALLOWED[trained.bits]
            assert trained.accuracy >= trained.plain - allowed, trained
    judged = [row for row in accuracy.rows() if isinstance(row, accuracy.Row) and row.target]
    assert len(judged) == 3
    assert all(row.ok for row in judged)


@runs_at("trainings like others")
def test_noise_by_clients_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside noise by a trusted server, if 67 of 100 clients are relied on; local noise does."""
    pytest.importorskip("dp_accounting", reason="dp-accounting is not installed: the extra `dp`")
    privacy = load(monkeypatch, "privacy")
    judged = [task for task in privacy.WAYS if task.judged]
    for task, none, central, local in zip(
        judged, (92.5, 93.5, 95), (90, 92, 94.5), (60, 60, 0), strict=True
    ):
        played = [
            privacy.measure(task, way, range(2), 1)
            for way in privacy.WAYS[task]
            if way.epsilon == 8
        ]
        found = {(each.way.placement, each.privacy.honest): each.mean for each in played}
        assert found["none", 0] > none
        assert found["central", 0] > central
        assert found["central", 0] - found["distributed", 67] < privacy.ALLOWED
        assert not list(privacy.missed(played))
        assert found.get(("local", 1), 0) <= local
        for each in played:
            spent = each.privacy.epsilon(task.rounds)
            assert spent == float("inf") if each.way.placement == "none" else 7.9 < spent <= 8


@runs_at("programs")
def test_trainings_with_privacy_are_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A table for each task, and rows; small ones are not judged."""
    pytest.importorskip("dp_accounting", reason="dp-accounting is not installed: the extra `dp`")
    written = tmp_path / "rows.json"
    assert run(monkeypatch, "privacy", "--quick", "--json", str(written)) == 0
    printed = capsys.readouterr().out
    assert printed.count("| plain averaging, no clip |") == 4
    laplace = 2
    assert len(json.loads(written.read_text())["rows"]) == printed.count("+-") - laplace


class StandIn:
    """Sums the examples of each class; as to classes, its limits are those of diffprivlib."""

    def __init__(self, *, data_norm: float, fit_intercept: bool, **options: Any) -> None:
        assert not fit_intercept
        self.norm = data_norm

    def fit(self, x: np.ndarray, y: np.ndarray) -> "StandIn":
        classes = np.unique(y)
        assert len(classes) > 1
        assert np.linalg.norm(x, axis=1).max() <= self.norm + 1e-9
        rows = classes if len(classes) > 2 else classes[1:]
        self.coef_ = np.array([x[y == each].sum(axis=0) for each in rows])
        return self


def test_models_of_diffprivlib_have_one_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever classes a client holds; and no example is left out of the mean, or added to it."""
    stand_in = ModuleType("diffprivlib.models")
    monkeypatch.setattr(stand_in, "LogisticRegression", StandIn, raising=False)
    monkeypatch.setitem(sys.modules, "diffprivlib", ModuleType("diffprivlib"))
    monkeypatch.setitem(sys.modules, "diffprivlib.models", stand_in)
    clients = load(monkeypatch, "diffprivlib_clients")
    monkeypatch.setattr(clients, "GRID", ((0.5, False), (2.0, True)))
    x = np.array([[1.0, 0.0], [0.0, 0.5], [0.6, 0.8]])
    for classes, held in ((2, ((0, 0, 0), (1, 1, 1), (1, 0, 1))), (4, ((0, 3), (3, 3), (1,)))):
        splits = tuple(Split(x[: len(labels)], np.array(labels)) for labels in held)
        data = Dataset("toy", 2, classes, splits, splits[0])
        sums = np.zeros((2, classes, 3))
        for split in splits:
            for vector, label in zip(split.x, split.y, strict=True):
                sums[:, label] += [[*vector / 0.5, 0.0], [*vector / 2, 0.5]]
        wanted = sums[:, 1:] if classes == 2 else sums
        np.testing.assert_allclose(clients.mean(data, 1.0, 8.0, 0), wanted / 3, atol=1e-6)


@pytest.mark.parametrize("seconds", [1.0, 3.0])
def test_a_missed_target_is_said(
    seconds: float,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """In the table, in the file, and as code 1; a run without targets reports none."""
    command, rows = load(monkeypatch, "__main__"), load(monkeypatch, "rows")
    written = tmp_path / "rows.json"
    options = argparse.Namespace(json=written)
    found = [
        rows.make_row("one", seconds, "s", "other", 2.0, "<= 1"),
        rows.make_row("two", seconds, "s", "other", 3.0, ">= 1"),
    ]
    code = command.report(options, "title", found, [])
    checked(capsys.readouterr().out, written, code)
    assert code == (0 if seconds == 1.0 else 1)
    assert command.report(options, "title", found, [], targets=False) == 0
    assert " NO " not in capsys.readouterr().out


PEERS = {"Flower": "flwr", "FedML LightSecAgg": "fedml", "CKKS": "tenseal"}


def installed(package: str) -> bool:
    try:
        return bool(importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return False


@pytest.mark.parametrize("hidden", [False, True])
def test_peers(
    hidden: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """A peer that is installed is measured; one that is not is left out, with the reason."""
    if hidden:
        find, version = importlib.util.find_spec, importlib.metadata.version
        gone = set(PEERS.values())
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name, *more: None if name in gone else find(name, *more),
        )

        def versions(package: str) -> str:
            if package in gone:
                raise importlib.metadata.PackageNotFoundError(package)
            return version(package)

        monkeypatch.setattr(importlib.metadata, "version", versions)
        for package in gone:
            monkeypatch.setitem(sys.modules, package, None)
    written = tmp_path / "rows.json"
    code = run(monkeypatch, "peers", "--quick", "--json", str(written))
    printed = capsys.readouterr().out
    rows = checked(printed, written, code)
    for peer, package in PEERS.items():
        there = installed(package)
        assert (f"left out: {peer}" in printed) is not there
        rounds = [row for row in rows if row["name"].startswith("whole") and peer in row["against"]]
        assert bool(rounds) is there
    assert any(row["against"] == "cryptography + NumPy" for row in rows)


def test_every_peer_comes_to_the_same_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are installed, within what rounding to so many levels allows each of them."""
    compare = load(monkeypatch, "peers.compare")
    case = compare.Case.random(7, 30, 0.2)
    assert case.lost
    for system in (compare.ours.play, *compare.SYSTEMS.values()):
        try:
            outcome = system(case)
        except compare.MissingError:
            continue
        # A client's rounding is off by a level at most, a level weighs up to 10 times.
        assert outcome.error(case) < 10 * 16 / 2**22
        assert outcome.bytes_up > 2 * case.length
        assert outcome.seconds > 0


def of_a_deployment(error: float) -> list[dict[str, Any]]:
    """What the app writes of a round that does not count, and of three; 2 nodes."""
    exchange = {"down": 20, "up": 40, "nodes": 2}
    steps = {"plain": 1, "plus": 4, "malicious": 5, "exchanges": 5, "secret": 4}
    return [
        {
            "round": number,
            "system": system,
            "seconds": [99.0, 8.0, 2.0, 5.0][number],
            "error": error if (number, system) == (2, "secret") else 1e-6,
            "exchanges": [{**exchange, "seconds": 1.0 + place} for place in range(many)],
        }
        for number in range(4)
        for system, many in steps.items()
    ]


@pytest.mark.parametrize("error", [2e-6, 1.0, float("nan")])
def test_a_deployment_is_compared(
    error: float,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """A round beside as many plain exchanges, without the first; a wrong mean is a failure."""
    compare = load(monkeypatch, "frameworks.compare")
    played = compare.gather(2, 10_000, of_a_deployment(error))
    monkeypatch.setattr(compare, "play", lambda *_: [played])
    monkeypatch.setattr(compare.flower, "version", lambda: "1.42.0")
    written = tmp_path / "rows.json"
    code = run(monkeypatch, "frameworks", "--json", str(written))
    printed = capsys.readouterr().out
    assert code == (0 if error < 1e-5 else 1)
    first, second, *_ = checked(printed, written, 0)
    assert (first["value"], first["reference"], second["reference"]) == (5.0, 1 + 2 + 3 + 5, 15.0)
    assert "| secagg | 4 | 5.00 | 80 | 40 |" in printed
    assert "| unmask | 5.00 | 4.00 | 5.00 | 4.00 |" in printed
    assert "| consistency | 4.00 |  | 4.00 |  |" in printed
    assert ("secagg, n = 2, m = 10,000: the mean is off" in printed) is (code == 1)


@pytest.mark.parametrize("found", ["", "1.41.2"])
def test_a_deployment_needs_flower(
    found: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What to type, before anything starts."""

    def version(package: str) -> str:
        if not found and package == "flwr":
            raise importlib.metadata.PackageNotFoundError(package)
        return found

    load(monkeypatch, "__main__")
    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, "frameworks", "--quick")
    assert ended.value.code == 2
    assert "pip install -e '.[flower]'" in capsys.readouterr().err


@runs_at("programs")
@pytest.mark.parametrize("failure", [KeyboardInterrupt, None])
def test_nothing_of_a_deployment_is_left(
    failure: type[BaseException] | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nor what its processes have started, in sessions of their own, and that hears no signal."""
    flower = load(monkeypatch, "frameworks.flower")
    monkeypatch.setattr(flower, "_GRACE", 0.1)
    monkeypatch.setattr(flower.Deployment, "_await_listener", lambda _: None)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    for name in ("flower-superlink", "flower-supernode"):
        program = tmp_path / name
        program.write_text(
            f"#!{sys.executable}\nimport os, subprocess, sys\n"
            f"child = subprocess.Popen([sys.executable, '-c', {deaf!r}], start_new_session=True)\n"
            f"open({str(tmp_path)!r} + f'/{{child.pid}}.pid', 'w').close()\n{deaf}\n"
        )
        program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    pids: list[int] = []

    def use() -> None:
        with flower.deployed(2) as deployment:
            while len(files := list(tmp_path.glob("*.pid"))) < 3:
                time.sleep(0.05)
            pids[:] = [int(file.stem) for file in files]
            pids.extend(process.pid for process in deployment._started)
            if failure is not None:
                raise failure

    with pytest.raises(failure) if failure else contextlib.nullcontext():
        use()
    assert len(pids) == 6
    until = time.monotonic() + 30
    while left := [pid for pid in pids if Path(f"/proc/{pid}").exists() and not is_zombie(pid)]:
        assert time.monotonic() < until, left
        time.sleep(0.05)


def is_zombie(pid: int) -> bool:
    """Whether it has ended, and only waits for the parent that it was given."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


@runs_at("programs")
def test_a_deployment_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The real one: every system comes to the same mean, over as many exchanges as it needs."""
    pytest.importorskip("flwr.superlink.grid", reason="Flower 1.42 is not installed")
    written = tmp_path / "rows.json"
    assert run(monkeypatch, "frameworks", "--quick", "--json", str(written)) == 0
    printed = capsys.readouterr().out
    checked(printed, written, 0)
    for system, many in (("SecAgg+", 4), ("secagg", 4), ("secagg, malicious mode", 5)):
        assert re.search(rf"{re.escape(system)} \| {many} \| \d", printed)


def test_bytes_of_the_expansion_are_those_of_the_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted from the encoders, and on the wire of rounds that were played."""
    count = load(monkeypatch, "expansion").client_bytes
    for mode in Mode:
        for clients, length in ((3, 1), (8, 33), (9, 100), (20, 7)):
            form = FixedPoint(clip=1.0, bits=16)
            done = secagg.secure_sum([[0.5] * length] * clients, form, mode=mode)
            offer = len(done.params.round().encode())
            sent, received = done.run.bytes_up[0], done.run.bytes_down[0]
            assert count(done.params) == offer + sent + received


@pytest.mark.parametrize(
    ("n", "m", "published", "semi_honest", "malicious"),
    [
        (2**10, 2**20, 1.734375, 3_624_764, 3_734_356),
        (2**14, 2**24, 1.984432, 66_380_092, 68_130_004),
    ],
)
def test_expansion_is_below_the_published_one(
    n: int,
    m: int,
    published: float,
    semi_honest: int,
    malicious: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bonawitz et al. 2017, against 16 bits per coordinate in clear. To the byte."""
    theirs = load(monkeypatch, "published").paper_bits(n, m) / (16 * m)
    assert theirs == pytest.approx(published, abs=5e-7)
    count = load(monkeypatch, "expansion").client_bytes
    form = FixedPoint(clip=1.0, bits=16)
    assert count(Params(n, m, form)) == semi_honest
    assert count(Params(n, m, form, mode=Mode.MALICIOUS)) == malicious
    assert 8 * semi_honest / (16 * m) <= theirs


def test_bare_calls_of_a_small_round(monkeypatch: pytest.MonkeyPatch, modes: ModuleType) -> None:
    """As many as the protocol needs: with a call too many the bound would be too easy."""
    small_round = load(monkeypatch, "small_round")
    n, t = 7, 5
    for mode, signatures, hashes in (
        (Mode.SEMI_HONEST, 0, 3 * (n - 1) + 11),
        (Mode.MALICIOUS, 3 + (n - 1) + t, 4 * n + 11),
    ):
        recording, _ = modes.record(n, 20, mode)
        count = small_round.BareCalls(recording).count
        assert count["X25519"] == 2 * n  # two keys, two agreements with each other
        assert count["AEAD"] == 2 * (n - 1)
        assert count["Ed25519"] == signatures
        assert count["BLAKE2b"] == hashes  # three keys per peer; in malicious mode its entry, too


def test_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """This is no timing: what is allocated is the same everywhere, and the bounds hold."""
    memory = load(monkeypatch, "memory")
    found = list(memory.rows([(amount("clients whose memory is measured"), 1000)]))
    assert [row.name.split("'")[0] for row in found] == ["server", "client"]
    assert [row.ok for row in found] == [True, True]
    assert memory.peak(lambda: np.zeros(10**6)) >= 8 * 10**6, "arrays count"
    rules = {"degree": 4, "min_survivors": 20, "colluders": 0}
    sparse = secagg.secure_sum([np.zeros(2)] * 20, FixedPoint(1.0), **rules)
    grown = memory.peak(functools.partial(memory.server_replay, sparse.params, sparse.transcript))
    bound = cost.memory(cost.Shape.of(sparse.params)).server
    assert bound / 3 < grown <= bound, "the bound that the preflight shows, for the smallest rounds"


def test_unmasking_is_held_to_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    """The code that is timed takes the masks off; another sum than the inputs' would be noticed."""
    unmasking = load(monkeypatch, "unmasking")
    ready = unmasking.waiting(12, 40, 2)
    assert ready.masks == 10 + 2 * 10
    ready.unmask(ready.server())
    ready.total[3] += 1
    with pytest.raises(AssertionError, match="the sum is wrong"):
        ready.unmask(ready.server())


def test_progress_is_for_terminals() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    seen, unseen = Terminal(), io.StringIO()
    for stream in (seen, unseen):
        bar = Progress(2, stream)
        bar("half")
        bar.say("more")
        bar("whole")
        bar.close()
    assert unseen.getvalue() == ""
    steps = seen.getvalue().split("\r\x1b[K")
    half, whole = f"[{'#' * 12}{'.' * 12}] 1/2", f"[{'#' * 24}] 2/2"
    assert steps == ["", f"{half} half", f"{half} more", f"{whole} whole", ""]


def test_a_picture_needs_matplotlib(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """It is missed before anything is measured, with what to type."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(SystemExit, match=r"pip install 'secagg\[fl\]'"):
        run(monkeypatch, "papers", "--quick", "--plot", str(tmp_path))
    assert capsys.readouterr().out == ""


@runs_at("programs")
def test_pytest_benchmark_runs_the_kernels() -> None:
    """``pytest benchmarks/``, once each, and without a time to keep."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "benchmarks"]
    done = children.run([*command, "--benchmark-disable"], cwd=ROOT)
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d\d passed", done.stdout)


def test_no_compiler_for_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """A measurement that is not possible is left out with its reason."""
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setenv("CC", "no-such-compiler -O3")
    kernels = importlib.import_module("benchmarks.kernels")
    reason = "reference C: there is no compiler no-such-compiler; set CC"
    assert list(kernels._portable(1)) == [reason]
    monkeypatch.setenv("CC", f"{sys.executable} -c 'raise SystemExit(1)'")
    (reason,) = kernels._portable(1)
    assert "failed" in reason


@pytest.mark.parametrize(("bound", "code"), [(1e9, 0), (-1e9, 1)])
def test_modes(
    bound: float,
    code: int,
    modes: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Both modes and the signatures side by side; code 1 if, and only if, the bound is broken."""
    monkeypatch.setattr(modes, "BOUND", bound)
    assert run(monkeypatch, "modes", *SMALL, "--rounds", "2") == code
    printed = capsys.readouterr().out
    number = r"(\d+\.\d\d)"
    for row in ("semi-honest mode", "malicious mode", r"its signatures.*10 verified"):
        found = re.search(rf"\| {row} \| {number} \| {number} \|", printed)
        assert found is not None
        assert float(found[1]) >= float(found[2]) > 0
    assert re.search(r"not counted: a claim .* \d+\.\d ms on the clock", printed)
    assert f"allowed {bound}" in printed


def test_the_least_times_decide(modes: ModuleType) -> None:
    """Ten against five is the price of four: 1.25, and a little more is too much."""
    made = modes.Comparison([5, 50, 7], [80, 10, 12], [4, 4, 9], 3, 10)
    assert made.ratio(min) == 1.25
    assert made.row.ok
    assert not modes.Comparison([5], [10.1], [4], 3, 10).row.ok
    assert modes.Comparison([50, 5], [100, 10], [40, 4], 3, 10).row.ok


def test_the_signatures_are_those_of_the_client(
    modes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signatures that are timed are those of the client, one by one and no more."""
    recording, key = modes.record(7, 50, Mode.MALICIOUS)
    bare = modes.signatures_of(recording, key)
    made, verified = [], []
    true_sign, true_verify = sign.sign, sign.verify

    def signing(seed: bytes, message: bytes) -> bytes:
        made.append((message, true_sign(seed, message)))
        return made[-1][1]

    def verifying(*signed: bytes) -> bool:
        verified.append(signed)
        return true_verify(*signed)

    monkeypatch.setattr(sign, "sign", signing)
    monkeypatch.setattr(sign, "verify", verifying)
    recording.replay()
    assert made == bare.made
    assert verified == bare.verified
    assert (len(made), len(verified)) == (3, 6 + 5)  # six peers, and a threshold of five
