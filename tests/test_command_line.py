"""``python -m secagg``, the examples and the README do what they say."""

import ast
import copy
import dataclasses
import operator
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import children
import numpy as np
import pytest
from levels import runs_at

import secagg
from secagg import __main__ as command
from secagg import __version__, selftest
from secagg.arithmetic import threads
from secagg.arithmetic.binding import ffi, lib
from secagg.arithmetic.implementations import cpu_features, families, forced, select
from secagg.codes import Code
from secagg.errors import ParameterError

ROOT = Path(__file__).resolve().parent.parent


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Python in the repository's root."""
    return children.run([sys.executable, *arguments], cwd=ROOT)


Reply = tuple[int, str, str]
Secagg = Callable[..., Reply]


@pytest.fixture(params=["called", pytest.param("started", marks=runs_at("programs"))])
def secagg_program(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Secagg:
    """Returns code, output and complaints of ``python -m secagg``: its function, or a process."""

    def called(*arguments: str) -> Reply:
        try:
            code = command.main(list(arguments))
        except SystemExit as end:
            code = end.code
        return (code, *capsys.readouterr())

    def started(*arguments: str) -> Reply:
        done = run("-m", "secagg", *arguments)
        return done.returncode, done.stdout, done.stderr

    return called if request.param == "called" else started


def test_a_wrong_variable_is_no_wrong_answer(
    secagg_program: Secagg, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else half the known answers would be reported as failed."""
    monkeypatch.setenv("SECAGG_NUM_THREADS", "abc")
    threads.default_threads.cache_clear()
    code, out, err = secagg_program()
    threads.default_threads.cache_clear()
    assert (code, out) == (2, "")
    assert "SECAGG_NUM_THREADS" in err


def test_only_features_that_exist_have_names() -> None:
    """The core gives no name for another number, and does not read beside its table."""
    count = len(cpu_features())
    for number in (-(2**31), -1, count, count + 1, 2**31 - 1):
        assert lib.sa_cpu_feature_name(number) == ffi.NULL
    assert lib.sa_cpu_feature_name(count - 1) != ffi.NULL


def test_report_and_self_test() -> None:
    """The report names version, features and kernels; all known answers are right: code 0.

    Also where Python warns of all that it can, and warnings are errors.
    """
    done = run("-W", "error", "-bb", "-X", "dev", "-m", "secagg")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert f"secagg {__version__}" in done.stdout
    for name in cpu_features():
        assert name in done.stdout
    for family in families():
        assert re.search(rf"{family.name}\s+{family.usable[-1]}\s", done.stdout)
    right, total = map(int, re.search(r"(\d+) of (\d+) right", done.stdout).groups())
    assert right == total >= 10


def test_every_usable_implementation_is_tested() -> None:
    """The self-test forces each implementation that runs here, and restores the choice."""
    before = families()
    tested = {outcome.implementation for outcome in selftest.run() if outcome.passed}
    assert tested == {"protocol"} | {
        f"{family.name}/{name}" for family in before for name in family.usable
    }
    assert families() == before


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("_KEY", bytes(32)), ("secure_sum", lambda *_, **__: pytest.fail("unused"))],
)
def test_a_wrong_answer_gives_code_1(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    attribute: str,
    value: object,
) -> None:
    """A kernel that gives something else than the known answer is named, and the code is 1."""
    if attribute == "secure_sum":

        def broken(*_: object, **__: object) -> None:
            raise ParameterError("planted", Code.ARGUMENT)

        value = broken
    monkeypatch.setattr(selftest, attribute, value)
    assert command.main([]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_bad_option_is_one_line_and_code_2(secagg_program: Secagg) -> None:
    """Usage errors do not print a manual."""
    code, out, complaint = secagg_program("--nonsense")
    assert code == 2
    assert out == ""
    assert complaint.count("\n") == 1
    assert "--nonsense" in complaint


def test_version(secagg_program: Secagg) -> None:
    """--version prints it and nothing else."""
    assert secagg_program("--version") == (0, f"secagg {__version__}\n", "")


def test_forcing_an_implementation() -> None:
    """`forced` makes one active and puts the former back; unknown ones are refused."""
    before = {family.name: family.active for family in families()}
    with forced("aes", "bitsliced"):
        assert {f.name: f.active for f in families()} == before | {"aes": "bitsliced"}
    assert {family.name: family.active for family in families()} == before
    with pytest.raises(ParameterError, match="not turbo"):
        select("aes", "turbo")
    with pytest.raises(ParameterError, match="no kernel family"):
        select("rot13", "portable")


def test_readme_sum(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The README's ten lines run as they stand and give the survivors that the text says."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    script = tmp_path / "readme.py"
    script.write_text(blocks[0])
    runpy.run_path(str(script))
    survivors, error = capsys.readouterr().out.splitlines()
    assert survivors == "(0, 1, 3, 4, 5, 6, 7, 8, 9)"
    assert 0 < float(error) < 2e-4


def test_readme_server_and_client_are_python() -> None:
    """The README's loops compile, and name only what exists."""
    import secagg.aio
    import secagg.cost

    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) >= 6
    for block in blocks:
        compile(block, "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        for path in re.findall(r"secagg\.([A-Za-z][\w.]*\w)", block):
            if path.startswith("integrations."):  # their frameworks may be missing
                place = ROOT / "secagg" / path.replace(".", "/")
                assert place.is_dir() or place.with_suffix(".py").is_file(), path
                continue
            assert operator.attrgetter(path)(secagg), path


def test_readme_model(capsys: pytest.CaptureFixture[str]) -> None:
    """The README's model layout packs and unpacks a network with counters, and prints its table."""
    state = {"fc.weight": np.zeros((2, 3), "f4"), "bn.running_var": np.ones(3, "f4")}
    state["bn.num_batches_tracked"] = np.array(5)
    loaded: dict[str, np.ndarray] = {}
    names: dict[str, Any] = {
        **{"secagg": secagg, "copy": copy, "attempt": 0},
        "torch": SimpleNamespace(as_tensor=np.asarray),
        "net": SimpleNamespace(state_dict=lambda: state, load_state_dict=loaded.update),
        "train": lambda old: {name: array + 0 * array for name, array in old.items()},
        "result": SimpleNamespace(total=np.zeros(11), weight=2),
    }
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    exec(next(block for block in blocks if "ModelLayout" in block), names)  # noqa: S102
    assert "fc.weight" in capsys.readouterr().out
    assert all(np.array_equal(loaded[name], array) for name, array in state.items())
    assert names["metrics"]["loss"] == 5.0


def test_readme_large_cohort(monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's sparse graph is the one that its comment says, and the cost is of its field."""
    import secagg
    from secagg import cost

    found = []

    def calibrate(*of: int) -> cost.Units:
        found.append(of)
        return cost.Units(*[1e-6] * len(dataclasses.fields(cost.Units)))

    monkeypatch.setattr(cost, "calibrate", calibrate)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    form = secagg.FixedPoint(clip=8.0, bits=20)
    names: dict[str, Any] = {"secagg": secagg, "m": 1000, "form": form}
    block = next(block for block in blocks if "for_cohort" in block)
    exec(block, names)  # noqa: S102
    params = names["params"]
    assert f"{params.degree} neighbours, {params.threshold} shares" in block
    assert found == [(params.suite, params.field_bits)]


def test_tcp_example() -> None:
    """The example sums over real sockets."""
    done = run("-W", "error", "examples/tcp_sum.py", "--clients", "4", "--length", "300")
    assert done.returncode == 0, done.stderr
    assert "sum over parties [0, 1, 2, 3]" in done.stdout


@runs_at("programs")
def test_process_a_message_example() -> None:
    """Every step in a process of its own, one client lost: the sum is exact."""
    done = run("-W", "error", "examples/process_a_message.py", "--clients", "4", "--lost", "1")
    assert done.returncode == 0, done.stderr
    assert "dropped party 0" in done.stdout
    assert "sum over parties [1, 2, 3], exact" in done.stdout


@runs_at("programs")
def test_process_a_message_example_fails_with_one_line() -> None:
    """Its steps say why they fail, with code 1; the process that starts them passes that on."""
    example = "examples/process_a_message.py"
    refused = run("-W", "error", example, "--clients", "2", "--lost", "0")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert re.fullmatch("process_a_message: refused by this client's policy: .*\n", refused.stderr)


@runs_at("programs")
def test_process_a_message_example_loses_too_many() -> None:
    """The server's step ends the round, and says so."""
    lost = run("-W", "error", "examples/process_a_message.py", "--clients", "4", "--lost", "3")
    assert lost.returncode == 1
    assert lost.stderr == (
        "process_a_message: the round failed: 1 parties sent share keys, 3 are needed [quorum]\n"
    )


@runs_at("programs")
def test_protocol_benchmark() -> None:
    """The benchmark measures a round and checks its sum."""
    done = run("-m", "benchmarks", "protocol", "--clients", "6", "--length", "100")
    assert done.returncode == 0, done.stderr
    for phase in ("advertise keys", "share keys", "masked input", "unmask", "all"):
        assert f"| {phase} |" in done.stdout
