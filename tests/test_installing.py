"""What people meet who install from a clone: editable installs, and a machine that cannot compile.

At level `long`, in fresh environments, with a clone in a folder named `secagg`, as git makes it.
"""

import re
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import children
import pytest
from levels import runs_at

ROOT = Path(__file__).resolve().parents[1]
pytestmark = runs_at("packages")

WHERE = (
    "import secagg, secagg.fl as fl; print(secagg.Code, secagg.__file__, fl.__file__, sep='\\n')"
)


class Clone(NamedTuple):
    """A clone of the sources and a fresh environment beside it."""

    folder: Path
    python: Path

    def run(
        self, *words: str | Path, cwd: Path | None = None, ends: int = 0, **environment: str
    ) -> str:
        """Runs the environment's Python, by default beside the clone; returns all that it wrote."""
        # Compiled without optimization, which takes a fifth of the time.
        environment = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "SECAGG_CFLAGS": "-O0"} | environment
        run = children.run(
            [self.python, *words],
            seconds=400,
            cwd=cwd or self.folder.parent,
            env=children.environment(**environment),
        )
        assert run.returncode == ends, f"ended with {run.returncode}:\n{run.stdout}{run.stderr}"
        return run.stdout + run.stderr

    def pip(self, *words: str | Path, ends: int = 0, **environment: str) -> str:
        return self.run("-m", "pip", *words, ends=ends, **environment)

    def imported(self, *words: str | Path, **options: str | Path) -> list[Path]:
        """Returns the folders of `secagg` and `secagg.fl`, by default of a `python -c`."""
        said = self.run(*(words or ("-c", WHERE)), **options)  # type: ignore[arg-type]
        return [Path(file).parent for file in said.splitlines()[1:]]

    @property
    def own(self) -> list[Path]:
        return [self.folder / "secagg", self.folder / "fl"]


def fresh(parent: Path) -> Clone:
    folder = parent / "secagg"
    shutil.copytree(
        ROOT,
        folder,
        ignore=shutil.ignore_patterns(".*", "__pycache__", "*.so", "*.egg-info", "build", "dist"),
    )
    children.run([sys.executable, "-m", "venv", parent / "venv"]).check_returncode()
    return Clone(folder, parent / "venv" / "bin" / "python")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """As the README installs it."""
    clone = fresh(tmp_path_factory.mktemp("editable é "))
    clone.pip("install", "-q", "-e", clone.folder)
    return clone


# ---- editable installs --------------------------------------------------------------------


def test_an_editable_install_is_found_from_every_folder(clone: Clone) -> None:
    for cwd in (clone.folder.parent, clone.folder, clone.folder / "tests", Path("/")):
        assert clone.imported(cwd=cwd) == clone.own, cwd
    script = clone.folder.parent / "script.py"
    script.write_text(WHERE)
    assert clone.imported(script, cwd=Path("/")) == clone.own
    assert "--rounds" in clone.run("-m", "secagg.fl", "--help")
    # What is named in another character set than the locale's cannot be imported; all else can.
    clone.run("-c", "import json, numpy", cwd=Path("/"), LC_ALL="C", PYTHONUTF8="0")


def test_an_editable_install_gives_only_secagg(clone: Clone) -> None:
    for name in ("fl", "tests", "native", "benchmarks", "compiling"):
        assert "ModuleNotFoundError" in clone.run("-c", f"import {name}", ends=1), name


def test_a_copy_on_the_path_goes_before_an_editable_install(clone: Clone, tmp_path: Path) -> None:
    """The sanitized build depends on it."""
    shutil.copytree(clone.folder / "secagg", tmp_path / "secagg")
    for cwd in (clone.folder.parent, Path("/")):
        assert clone.imported(PYTHONPATH=str(tmp_path), cwd=cwd)[0] == tmp_path / "secagg"


def test_an_editable_install_is_replaced_and_removed(tmp_path: Path) -> None:
    """With the oldest setuptools that may build it."""
    clone = fresh(tmp_path)
    (oldest,) = re.findall(r'"setuptools>=(\d+)"', (ROOT / "pyproject.toml").read_text())[:1]
    clone.pip("install", "-q", f"setuptools=={oldest}.*", "cffi", "wheel", "numpy", "pynacl")
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    before = set(site.iterdir())
    for _ in range(2):
        clone.pip("install", "-q", "--no-build-isolation", "-e", clone.folder)
        assert clone.imported() == clone.own
    clone.pip("uninstall", "-q", "-y", "secagg")
    assert set(site.iterdir()) == before


# ---- machines that cannot compile ---------------------------------------------------------

# Compilers that lack something.
LACKING = {
    "headers": 'for a; do shift; case $a in -I*python*) ;; *) set -- "$@" "$a" ;; esac; done',
    "option": 'case " $* " in *" -std=c11 "*) echo "unknown option" >&2; exit 1 ;; esac',
    "everything": "exit 1",
}


def test_a_machine_that_cannot_compile_is_told_what_it_lacks(clone: Clone, tmp_path: Path) -> None:
    """As the end of what pip writes, under the compiler's own words."""
    clone.pip("install", "-q", "setuptools>=77", "cffi", "wheel")
    copy = tmp_path / "secagg"
    shutil.copytree(clone.folder, copy, ignore=shutil.ignore_patterns("build", "*.so"))

    def told(**environment: str) -> str:
        words = ("install", "--no-build-isolation", "--no-deps", copy)
        lines = clone.pip(*words, ends=1, **environment).splitlines()
        (at,) = [at for at, line in enumerate(lines) if "secagg needs" in line]
        assert len(lines) - at < 20, "\n".join(lines)
        return "\n".join(lines[at:])

    assert "there is no `/nonexistent` (the variable CC). Try:" in told(CC="/nonexistent")
    assert "needs a C compiler, and there is no `" in told(PATH="/nonexistent")
    for lacking, words in {
        "headers": "needs the headers of Python",
        "option": "refuses the option -std=c11",
        "everything": "fails on an empty program",
    }.items():
        compiler = tmp_path / lacking
        compiler.write_text(f'#!/bin/sh\n{LACKING[lacking]}\nexec {shutil.which("cc")} "$@"\n')
        compiler.chmod(0o755)
        assert words in told(CC=str(compiler))
    assert "installed" in clone.pip("install", "--no-build-isolation", "--no-deps", copy)


@pytest.mark.parametrize(
    ("system", "release", "command"),
    [
        ("linux", {"ID": "debian"}, "apt install gcc python3-dev"),
        ("linux", {"ID": "pop", "ID_LIKE": "ubuntu debian"}, "apt install gcc python3-dev"),
        (
            "linux",
            {"ID": "rocky", "ID_LIKE": "rhel centos fedora"},
            "dnf install gcc python3-devel",
        ),
        ("linux", {"ID": "alpine"}, "apk add gcc musl-dev python3-dev"),
        ("linux", {}, "with your package manager"),
        ("darwin", {}, "xcode-select --install"),
        ("win32", {}, "clang-cl"),
    ],
)
def test_the_command_is_the_systems(
    monkeypatch: pytest.MonkeyPatch, system: str, release: dict[str, str], command: str
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "native" / "packaging"))
    from compiling import install_command

    assert command in install_command(system, release)


# ---- other interpreters -------------------------------------------------------------------

# The flag of a free-threaded interpreter is feigned.
FREE_THREADED = """
import sys, sysconfig
real = sysconfig.get_config_var
sysconfig.get_config_var = lambda name: 1 if name == "Py_GIL_DISABLED" else real(name)
import setuptools
from distutils.core import run_setup
made = run_setup("setup.py", ["bdist_wheel"], stop_after="commandline")
wheel = made.get_command_obj("bdist_wheel")
wheel.ensure_finalized()
print(wheel.py_limited_api, made.ext_modules[0].py_limited_api)
"""


def test_a_free_threaded_interpreter_gets_a_module_of_its_own(clone: Clone) -> None:
    clone.pip("install", "-q", "setuptools>=77", "cffi")
    said = clone.run("-W", "ignore", "-c", FREE_THREADED, cwd=clone.folder)
    assert said.split()[-2:] == ["False", "False"]
