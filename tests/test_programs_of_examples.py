"""The examples that are folders of programs: all their processes and accidents, as printed."""

import ast
import re
import sys
from pathlib import Path

import children
import pytest
from levels import runs_at

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def code_lines(path: Path) -> int:
    """Counts lines of code: no imports, docstrings and comments, nor what starts the program.

    The function that trains does not count, either: it is the user's in any system.
    """
    source = path.read_text()
    lines = {at for at, line in enumerate(source.splitlines(), 1) if line.strip(" )")}
    lines -= {at for at, line in enumerate(source.splitlines(), 1) if line.strip()[:1] == "#"}
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Import | ast.ImportFrom)
            or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
            or (isinstance(node, ast.If) and "__main__" in ast.unparse(node.test))
            or (isinstance(node, ast.FunctionDef) and node.name == "train")
        ):
            lines -= set(range(node.lineno, (node.end_lineno or 0) + 1))
    return len(lines)


def test_the_glue_of_the_http_example_is_short() -> None:
    """What a user writes for transport and rounds, on both sides; the README has the numbers."""
    folder = EXAMPLES / "http"
    glue = {
        name: code_lines(folder / name) for name in ("sockets.py", "coordinator.py", "hospital.py")
    }
    assert sum(glue.values()) <= 60
    readme = (folder / "README.md").read_text()
    for name, count in glue.items():
        assert re.search(rf"`{name}`.*\| {count} \|\n", readme), (name, count)
    assert f"{sum(glue.values())} lines" in readme


@runs_at("programs")
def test_the_training_over_http_survives_its_accidents() -> None:
    """One site refuses, one is killed and comes back, and so does the coordinator."""
    done = children.run([sys.executable, "-W", "error", "run.py"], cwd=EXAMPLES / "http")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "4 rounds, each over all hospitals but euler, which refused"
    assert [line for line in lines if line.endswith("was killed")] == [
        "--- curie was killed",
        "--- coordinator was killed",
    ]
    rounds = [re.search(r"round (\d): (\d) hospitals, {'loss': (.*)}", line) for line in lines]
    found = [match.groups() for match in rounds if match]
    assert [(number, sites) for number, sites, _ in found] == [(str(at), "4") for at in range(4)]
    losses = [float(loss) for *_, loss in found]
    assert losses == sorted(losses, reverse=True)
    assert abs(losses[0] - 0.6931) < 0.001  # ln 2, of a model that knows nothing


@runs_at("programs")
@pytest.mark.parametrize("lost", [0, 1])
def test_a_process_per_message_answers_from_its_home(lost: int) -> None:
    """One is killed with a message in its hands, some are lost: the sum is exact."""
    command = [sys.executable, "-W", "error", "coordinator.py", "--lost", str(lost)]
    done = children.run(command, cwd=EXAMPLES / "message_a_process")
    assert done.returncode == 0, done.stderr
    assert f"sum over {list(range(5 - lost))}: exact" in done.stdout


@runs_at("programs")
@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--lost 3", "the round failed: 2 parties sent share keys, 4 are needed [quorum]"),
        ("--parties 1", "cohort must be in 2..65536, not 1 [argument]"),
    ],
)
def test_a_process_per_message_fails_with_one_line(options: str, line: str) -> None:
    """And exits with 1."""
    command = [sys.executable, "-W", "error", "coordinator.py", *options.split()]
    done = children.run(command, cwd=EXAMPLES / "message_a_process")
    assert (done.returncode, done.stderr) == (1, f"message_a_process: {line}\n")
