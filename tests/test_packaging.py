"""What users install: the public names, the compiled module and its mends, the packages.

At level `long` the tests build the sdist and from it the wheel, and install that in a fresh
environment.
"""

import ast
import re
import runpy
import shutil
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import children
import pytest
from levels import runs_at

import secagg

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())

# Frozen: a name that comes or goes is a decision, and a line in CHANGELOG.md.
PUBLIC = [
    "Aborted",
    "Ask",
    "Assignment",
    "AttemptsExhaustedError",
    "Client",
    "ClientMachine",
    "ClippingWarning",
    "Code",
    "Combined",
    "Completed",
    "DecodeError",
    "Directory",
    "Dropped",
    "Failed",
    "Field",
    "FileStore",
    "Finished",
    "FixedPoint",
    "Fractions",
    "Home",
    "Identity",
    "IdentityError",
    "InputNeeded",
    "Integers",
    "Invitation",
    "Layout",
    "LayoutOptions",
    "Ledger",
    "LocalProtocolError",
    "MappingStore",
    "MemoryLedger",
    "MemoryStore",
    "Mode",
    "ModelLayout",
    "NativeError",
    "Once",
    "ParameterError",
    "Params",
    "Phase",
    "PhaseEnded",
    "PhaseRecord",
    "PhaseStarted",
    "Plan",
    "Policy",
    "RandomK",
    "Range",
    "RangeError",
    "RemoteProtocolError",
    "Responder",
    "Result",
    "Round",
    "Rotated",
    "RoundEnded",
    "RoundFailedError",
    "RoundRecord",
    "Rounds",
    "SERVER",
    "SecAggError",
    "SecureSum",
    "Send",
    "Server",
    "ServerMachine",
    "SqliteLedger",
    "StateError",
    "Status",
    "Store",
    "Suite",
    "Work",
    "__version__",
    "answer",
    "combine",
    "digest",
    "lockstep",
    "preflight",
    "run_jobs",
    "run_round",
    "seal",
    "secure_sum",
]


# ---- names --------------------------------------------------------------------------------


def test_the_public_names_are_frozen() -> None:
    assert sorted(secagg.__all__) == sorted(PUBLIC)


def test_every_public_name_exists() -> None:
    assert [name for name in secagg.__all__ if not hasattr(secagg, name)] == []


def test_version_is_said_once() -> None:
    assert secagg.__version__ == PROJECT["project"]["version"]
    assert f"{secagg.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_runtime_needs_three_packages() -> None:
    names = [re.split(r"[^\w-]", need)[0] for need in PROJECT["project"]["dependencies"]]
    assert sorted(names) == ["cffi", "numpy", "pynacl"]


def test_every_file_is_installed(tmp_path: Path) -> None:
    """A wheel has all of secagg/ and fl/: an editable install would hide that one is missing."""
    command(
        *(sys.executable, "setup.py", "-q"),
        *("egg_info", "--egg-base", tmp_path),
        *("build_py", "--build-lib", tmp_path / "lib"),
        cwd=ROOT,
    )
    lib = tmp_path / "lib"
    listed = {str(path.relative_to(lib)) for path in lib.rglob("*") if path.is_file()}
    tree = {
        str(base / path.relative_to(ROOT))
        for base, top in ((Path(), "secagg"), (Path("secagg"), "fl"))
        for path in ROOT.glob(f"{top}/**/*")
        if path.is_file() and path.suffix not in {".so", ".pyc"}
    }
    assert listed == tree


# ---- the compiled module ------------------------------------------------------------------

# An editable install's finder would lend the copy the module that it lacks.
TRY = """
import sys
sys.meta_path[:] = [f for f in sys.meta_path if f.__module__.startswith("_frozen_importlib")]
try:
    import secagg
except Exception as error:
    print(type(error).__name__, error)
else:
    print("imported", secagg.__file__)
"""


def tree(to: Path) -> Path:
    """A copy of the sources with the compiled module, as after `pip install -e .`."""
    for folder in ("secagg", "native"):
        shutil.copytree(ROOT / folder, to / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return to


def attempt(root: Path) -> str:
    run = children.run([sys.executable, "-c", TRY], cwd=root, env=children.environment())
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def compiled(root: Path) -> Path:
    (module,) = (root / "secagg").glob("_native.*.so")
    return module


def test_a_fresh_module_imports(tmp_path: Path) -> None:
    """The control for the two below."""
    assert attempt(tree(tmp_path)) == f"imported {tmp_path / 'secagg' / '__init__.py'}"


def test_a_missing_module_names_the_mend(tmp_path: Path) -> None:
    compiled(tree(tmp_path)).unlink()
    said = attempt(tmp_path)
    assert said.startswith("NativeError")
    assert "cannot be imported by Python" in said
    assert "(it is missing)" in said
    assert "`pip install -e .`" in said
    assert "force-reinstall" not in said


def test_a_module_missing_from_a_package_names_another_mend(tmp_path: Path) -> None:
    """Without the sources, `pip install -e .` is of no use: Python, platform and cause are said."""
    compiled(tree(tmp_path)).write_bytes(b"for another machine")
    shutil.rmtree(tmp_path / "native")
    said = attempt(tmp_path)
    assert said.startswith("NativeError")
    assert f"Python 3.{sys.version_info.minor} on {sysconfig.get_platform()}" in said
    assert "_native.abi3.so: " in said  # what the loader says
    assert f"`{sys.executable} -m pip install --force-reinstall secagg`" in said
    assert "`pip install -e .`" not in said


@pytest.mark.parametrize("name", ["dispatch.c", "api.h", "added.c"])
def test_a_stale_module_names_the_mend(tmp_path: Path, name: str) -> None:
    with (tree(tmp_path) / "native" / name).open("a") as source:
        source.write("/* changed */\n")
    said = attempt(tmp_path)
    assert said.startswith("NativeError")
    assert "older than the sources" in said
    assert "`pip install -e .`" in said


@pytest.fixture(scope="module")
def flags() -> dict[str, Any]:
    """The names of native/build.py, as a cross build for Windows with another compiler has them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("_PYTHON_HOST_PLATFORM", "win-arm64")
        return runpy.run_path(str(ROOT / "native" / "build.py"))


def test_options_are_those_of_the_target(flags: dict[str, Any]) -> None:
    """Not of the machine that compiles: this one has POSIX threads and a libm, Windows has not."""
    assert flags["PLATFORM"] == "win-arm64"
    assert "-pthread" not in flags["COMPILE_ARGS"] + flags["LINK_ARGS"]
    of = flags["target_args"]
    unix = ["-std=c11", "-O3", "-ffp-contract=off", "-fvisibility=hidden"]
    assert of("win-amd64", "mingw32") == of("mingw_x86_64_ucrt", "unix") == (unix, [])
    for platform in ("linux-aarch64", "macosx-11.0-arm64", "freebsd-14.1-release-amd64"):
        assert of(platform, "unix") == ([*unix, "-pthread"], ["-pthread", "-lm"])
    assert "-msse2" in of("linux-i686", "unix")[0]
    compile_args, link_args = of("win-amd64", "msvc")
    assert compile_args == ["/std:c11", "/clang:-O3", "/clang:-ffp-contract=off"]
    assert link_args == []


@pytest.mark.parametrize(
    "words", [["--compiler=mingw32"], ["--compiler", "mingw32"], ["-cmingw32"]]
)
def test_a_compiler_is_taken_at_its_name(
    flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    """MinGW for the Python of python.org gets no options of cl.exe."""
    assert flags["chosen_compiler"]() == ""
    monkeypatch.setattr(sys, "argv", ["setup.py", "build_ext", *words])
    assert flags["chosen_compiler"]() == "mingw32"


def test_a_compiler_is_read_from_a_configuration(
    flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "extra.cfg").write_text("[build]\ncompiler = mingw32\n")
    monkeypatch.setenv("DIST_EXTRA_CONFIG", str(tmp_path / "extra.cfg"))
    assert flags["chosen_compiler"]() == "mingw32"


def test_the_module_serves_every_python_from_311() -> None:
    assert compiled(ROOT).name == "_native.abi3.so"


def test_programs_that_freeze_applications_find_what_the_module_needs() -> None:
    """They read import statements, and no compiled module."""
    tree = ast.parse((ROOT / "secagg/arithmetic/binding.py").read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    assert "_cffi_backend" in {alias.name for node in imports for alias in node.names}


# ---- the packages -------------------------------------------------------------------------

SHIPPED = {"secagg/py.typed", "secagg/_native.pyi", "secagg/_native.abi3.so"}
SOURCES = {
    *("pyproject.toml", "setup.py", "MANIFEST.in", "LICENSE", "README.md"),
    *("native/packaging/backend.py", "native/packaging/compiling.py"),
    *("CHANGELOG.md", "SECURITY.md", "native/api.h", "native/build.py", "native/dispatch.c"),
    *("secagg/py.typed", "secagg/_native.pyi", "fl/__init__.py", "docs/WIRE.md"),
    *("tests/conftest.py", "tests/native/selftest.c", "tests/vectors/arithmetic_vectors.json"),
}
SUM = """
import numpy as np, secagg
run = secagg.secure_sum([np.arange(5), np.ones(5, int), np.ones(5, int)], secagg.Integers(0, 10))
assert run.total.tolist() == [2, 3, 4, 5, 6], run.total
print(secagg.__file__)
"""


def command(*words: str | Path, cwd: Path) -> str:
    run = children.run(
        [str(word) for word in words],
        seconds=400,
        cwd=cwd,
        env=children.environment(PIP_DISABLE_PIP_VERSION_CHECK="1"),
    )
    assert run.returncode == 0, f"{words} ended with {run.returncode}:\n{run.stdout}{run.stderr}"
    return run.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the sdist and the wheel that was made from it."""
    pytest.importorskip("build", reason="needs the dev extra")
    out = tmp_path_factory.mktemp("dist")
    copy = out / "source"
    shutil.copytree(
        ROOT,
        copy,
        ignore=shutil.ignore_patterns(".*", "__pycache__", "*.so", "*.egg-info", "build", "dist"),
    )
    command(sys.executable, "-m", "build", "--outdir", out, copy, cwd=out)
    return out


@runs_at("packages")
def test_the_sdist_is_complete(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert SOURCES - names == set()
    native = {f"native/{path.name}" for path in (ROOT / "native").glob("*.[ch]")}
    assert native - names == set()
    assert [name for name in names if name.endswith((".so", ".o", ".pyc"))] == []


@runs_at("packages")
def test_the_wheel_is_typed_and_abi3(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    version = PROJECT["project"]["version"]
    assert wheel.name.startswith(f"secagg-{version}-cp311-abi3-")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert SHIPPED - names == set()
    wanted = {str(path.relative_to(ROOT)) for path in ROOT.glob("secagg/**/*.py")}
    wanted |= {f"secagg/{path.relative_to(ROOT)}" for path in ROOT.glob("fl/**/*.py")}
    assert wanted - names == set()
    assert {name.partition("/")[0] for name in names} == {"secagg", f"secagg-{version}.dist-info"}


@runs_at("packages")
def test_the_wheel_works_in_a_fresh_environment(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    python = tmp_path / "venv" / "bin" / "python"
    command(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    command(python, "-m", "pip", "install", "-q", wheel, cwd=tmp_path)
    assert str(tmp_path / "venv") in command(python, "-c", SUM, cwd=tmp_path)
    assert secagg.__version__ in command(python, "-m", "secagg", cwd=tmp_path)
