"""``python -m benchmarks`` measures what it says. How fast anything is, no test decides."""

import importlib
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from secagg import Mode
from secagg.primitives import sign

ROOT = Path(__file__).resolve().parent.parent
SMALL = ["--clients", "6", "--length", "100"]


@pytest.fixture
def modes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`benchmarks.modes`, which is not installed with the library."""
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.modes")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The code of ``python -m benchmarks``."""
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    code: int = importlib.import_module("benchmarks.__main__").main()
    return code


@pytest.mark.parametrize("mode", [str(mode) for mode in Mode])
def test_protocol(
    mode: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One row a phase of the mode, and a right sum."""
    assert run(monkeypatch, "protocol", *SMALL, "--mode", mode) == 0
    printed = capsys.readouterr().out
    assert ("| consistency |" in printed) is (mode == "malicious")
    for phase in ("advertise keys", "share keys", "masked input", "unmask", "all"):
        assert f"| {phase} |" in printed


def test_kernels(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Each row has a ratio against a reference; a missed target is said, and is code 1."""
    code = run(monkeypatch, "kernels", "--quick", "--json", str(tmp_path / "rows.json"))
    printed = capsys.readouterr().out
    written = json.loads((tmp_path / "rows.json").read_text())
    assert written["machine"] in printed
    rows = written["rows"]
    assert len(rows) > 12
    for row in rows:
        assert f"| {row['name']} |" in printed
        speedup = row["target"].startswith(">=")
        value, reference = row["value"], row["reference"]
        ratio = reference / value if speedup else value / reference
        assert row["ratio"] == pytest.approx(ratio)
        bound = float(row["target"][2:] or 0)
        assert row["ok"] is (not bound or (ratio >= bound if speedup else ratio <= bound))
    assert code == (0 if all(row["ok"] for row in rows) else 1)


def test_no_compiler_for_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be measured is left out with its reason."""
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setenv("CC", "no-such-compiler -O3")
    kernels = importlib.import_module("benchmarks.kernels")
    assert list(kernels._portable(1)) == ["reference C: no compiler no-such-compiler"]
    monkeypatch.setenv("CC", f"{sys.executable} -c 'raise SystemExit(1)'")
    (said,) = kernels._portable(1)
    assert "failed" in said


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
    assert made.within
    assert not modes.Comparison([5], [10.1], [4], 3, 10).within
    assert modes.Comparison([50, 5], [100, 10], [40, 4], 3, 10).within


def test_the_signatures_are_those_of_the_client(
    modes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is timed alone is what the client makes and verifies, one by one and no more."""
    recording, key = modes.record(7, 50, 0, Mode.MALICIOUS)
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
