"""The tasks of developers and CI: `nox` runs those for every change, `nox -l` lists all.

Sessions run in the environment of nox itself, where the dev extra is installed; `build`,
`cross`, `diffprivlib`, `pythons`, `ray` and those of frameworks make environments of their own.
Arguments after `--` go to pytest:
`nox -s tests -- --level long -k field`. Those of `pictures` are names of examples.
"""

import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nox
from nox.command import CommandFailed

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "contract", "tests"]

ROOT = Path(__file__).resolve().parent
CC = os.environ.get("CC", "gcc")
PYTEST = ("-m", "pytest", "-q", "-n", "2")

# Documents that are generated, and the modules that generate them.
PRINTED = {"docs/CODES.md": "secagg.codes", "docs/STATES.md": "secagg.pairwise.transitions"}

# Examples with a picture in docs/EXAMPLES.md that use a package which the dev extra lacks.
LARGE = {"line_keras": "keras", "relu_adam_keras": "keras", "state_dicts": "torch"}

# With a palette of 256 colours a picture has about a third of the bytes.
PALETTE = """
import sys
from PIL import Image
with Image.open(sys.argv[1]) as drawn:
    drawn.convert("RGB").quantize().save(sys.argv[1], optimize=True)
"""

# Prints values of `--implementation` with the implementations that are neither portable nor the
# fastest: the second of every kernel family, then the third, and so on.
BETWEEN = """
from secagg.arithmetic.implementations import families
between = [family.usable[1:-1] for family in families()]
for place in range(max(map(len, between))):
    print(",".join(
        f"{family.name}={names[min(place, len(names) - 1)]}"
        for family, names in zip(families(), between)
        if names
    ))
"""

# Tests of Python, of other programs and of times: they use nothing of the core that others do not.
UNSANITIZED = (
    *("drivers/test_envelope.py", "fl", "reference", "test_vector_mistakes.py"),
    *(f"noise/test_{name}.py" for name in ("accounting", "calibration", "filter")),
    *(f"test_{name}.py" for name in ("benchmarks", "command_line", "consortium", "cost")),
    *(f"test_{name}.py" for name in ("directory", "identity", "ledger", "packaging")),
    *(f"test_{name}.py" for name in ("permissions", "preflight", "rooms", "rounds", "sparsity")),
)

IS_SANITIZED = """
import pathlib, sys
import secagg.arithmetic.binding
maps = pathlib.Path("/proc/self/maps").read_text()
assert pathlib.Path(secagg.__file__).is_relative_to(sys.argv[1]), secagg.__file__
assert "libasan" in maps and "libubsan" in maps, "the module is not sanitized"
"""
OVERRUN = "from secagg.arithmetic.binding import ffi, lib; lib.sa_wipe(ffi.new('uint8_t[8]'), 9)"


def python(session: nox.Session, *arguments: str | Path, **options: Any) -> str:
    """Runs Python of the environment that nox runs in; returns its output if it is `silent`."""
    return str(session.run(sys.executable, *arguments, external=True, **options))


def compiler(session: nox.Session, *arguments: str) -> str:
    """Returns the output of the C compiler."""
    return str(session.run(*shlex.split(CC), *arguments, external=True, silent=True)).strip()


def native_program(session: nox.Session, cc: str, *arguments: str) -> None:
    """Compiles the C core with its known-answer program, warnings as errors, and runs it."""
    python(session, "tests/native/run.py", "--cc", cc, *arguments)


@contextmanager
def copy_of_sources(session: nox.Session) -> Iterator[Path]:
    """Copies the files that git would commit, and runs the block in the copy."""
    listed = str(
        session.run(
            *(
                "git",
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
                "--deduplicate",
            ),
            external=True,
            silent=True,
            log=False,
        )
    )
    with tempfile.TemporaryDirectory(prefix="secagg-") as folder:
        copy = Path(folder, "secagg")
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).exists():  # else it is deleted, but not yet committed
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, copy / name)
        with session.chdir(copy):
            yield copy


# ---- for every change --------------------------------------------------------------------


@nox.session
def lint(session: nox.Session) -> None:
    """Lints the sources and checks their format."""
    python(session, "-m", "ruff", "check")
    python(session, "-m", "ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Checks types. The programs of an example import each other by name, so it is by itself."""
    python(session, "-m", "mypy")
    decorated = "--allow-untyped-decorators"  # by those of Flower
    for folder, *more in (("flower", decorated), ("http",), ("message_a_process",), ("nvflare",)):
        with session.chdir(ROOT / "examples" / folder):
            config, path = ("--config-file", ROOT / "pyproject.toml"), {"MYPYPATH": str(ROOT)}
            python(session, "-m", "mypy", *config, *more, ".", env=path)


@nox.session
def contract(session: nox.Session) -> None:
    """Checks which room imports which."""
    linter = Path(sys.executable).with_name("lint-imports")
    session.run(linter, "--no-logo", "--no-cache", external=True)


@nox.session
def tests(session: nox.Session) -> None:
    """Runs the tests, at level quick unless `--level` says otherwise."""
    python(session, *PYTEST, *session.posargs)


# ---- on demand ---------------------------------------------------------------------------


@nox.session
def docs(session: nox.Session) -> None:
    """Writes the generated documents."""
    for document, module in PRINTED.items():
        text = python(
            session,
            *("-c", f"from {module} import document; print(document(), end='')"),
            silent=True,
        )
        (ROOT / document).write_text(text)


@nox.session
def pictures(session: nox.Session) -> None:
    """Draws the pictures of docs/EXAMPLES.md, or of the examples after `--`, at full size."""
    document = (ROOT / "docs" / "EXAMPLES.md").read_text()
    for name in session.posargs or re.findall(r"\(examples/(\w+)\.png\)", document):
        if find_spec(package := LARGE.get(name, "matplotlib")) is None:
            session.warn(f"{name}: skipped, as {package} is not installed")
            continue
        program = ROOT / "examples" / f"{name}.py"
        picture = ROOT / "docs" / "examples" / f"{name}.png"
        size = ["--full"] if '"--full"' in program.read_text() else []
        python(session, program, *size, "--plot", picture)
        python(session, "-c", PALETTE, picture, log=False)


@nox.session
def core(session: nox.Session) -> None:
    """Compiles and runs the C core's tests, for any machine and for this one."""
    native_program(session, CC)
    # Like a build for one machine only, in which the compiler may use wider instructions anywhere.
    native_program(session, f"{CC} -march=native")


@nox.session
def aarch64(session: nox.Session) -> None:
    """Runs the C core's tests for aarch64; needs gcc-aarch64-linux-gnu and qemu-user."""
    native_program(session, "aarch64-linux-gnu-gcc", "--run", "qemu-aarch64", "--static")


@nox.session(venv_backend="venv", reuse_venv=True)
def cross(session: nox.Session) -> None:
    """Compiles the C core for macOS, Windows, musl and more; runs it where this machine can."""
    session.install("ziglang~=0.17.1")
    zig = f"{session.virtualenv.bin}/python -m ziglang"
    python(session, "tests/native/cross.py", "--zig", zig, *session.posargs)


@nox.session(venv_backend="venv", reuse_venv=True, python=["3.11", "3.12", "3.13", "3.14"])
def pythons(session: nox.Session) -> None:
    """Runs the tests with each Python that is found, each in an environment of its own."""
    session.install("-e", ".[test]")
    session.run("python", *PYTEST, *session.posargs)


@nox.session(venv_backend="venv", reuse_venv=True)
def ray(session: nox.Session) -> None:
    """Runs the test of jobs on Ray, a package too large for the test extra."""
    session.install("-e", ".[test]", "ray")
    tests = ("--level", "long", "tests/pairwise/test_executors.py", "-k", "ray")
    session.run("python", "-m", "pytest", "-q", *tests, *session.posargs)


@nox.session(venv_backend="venv", reuse_venv=True)
def flower(session: nox.Session) -> None:
    """Runs the tests with Flower and its simulation, packages too large for the test extra."""
    session.install("-e", ".", "flwr[simulation]>=1.42", "hypothesis", "pytest", "pytest-xdist")
    # Those with processes first, one at a time: each worker gets one of the two that wait.
    files = sorted(map(str, Path("tests/integrations").glob("test_flower*.py")), reverse=True)
    words = ("--maxschedchunk=1", "--level", "long", "--durations=5")
    session.run("python", *PYTEST, *words, *files, *session.posargs)


def with_models_of(session: nox.Session, words: str, *packages: str, backend: str = "jax") -> None:
    """Runs the tests with models of frameworks, packages too large for the test extra."""
    session.install(
        "-e", ".[fl,keras]", "hypothesis>=6.100", "pytest>=8", "pytest-xdist", *packages
    )
    tests = ("--level", "full", "tests/examples", "tests/fl/test_frameworks.py", "-k", words)
    env = {"KERAS_BACKEND": backend}
    session.run("python", "-m", "pytest", "-q", *tests, *session.posargs, env=env)


@nox.session(venv_backend="venv", reuse_venv=True)
def keras(session: nox.Session) -> None:
    """Averages models of Keras on JAX."""
    with_models_of(session, "keras or Keras")


@nox.session(venv_backend="venv", reuse_venv=True)
def tensorflow(session: nox.Session) -> None:
    """Averages models of Keras on TensorFlow, which takes 1.5 GB."""
    with_models_of(session, "keras or Keras", "tensorflow-cpu>=2.20", backend="tensorflow")


@nox.session(venv_backend="venv", reuse_venv=True)
def torch(session: nox.Session) -> None:
    """Averages models of PyTorch, which takes 3 GB on Linux, and of Keras on JAX."""
    with_models_of(session, "keras or Keras or torch or state_dict", "ml-dtypes>=0.5", "torch")


@nox.session(venv_backend="venv", reuse_venv=True)
def nvflare(session: nox.Session) -> None:
    """Runs the tests of the adapter to NVFlare, a package too large for the test extra."""
    session.install("-e", ".[test,nvflare]")
    tests = ("--level", "long", "tests/integrations/test_nvflare.py")
    session.run("python", "-m", "pytest", "-q", *tests, *session.posargs)


def framework(session: nox.Session, *packages: str) -> None:
    """Plays the recipe of a framework; its requirements clash with those of the test extra."""
    session.install("-e", ".", "pytest>=8", "hypothesis>=6.100", *packages)
    tests = ("--level", "long", "tests/integrations/test_recipes.py", "-k", session.name)
    session.run("python", "-m", "pytest", "-q", *tests, *session.posargs)


@nox.session(venv_backend="venv", reuse_venv=True)
def declearn(session: nox.Session) -> None:
    """Plays the recipe for declearn."""
    framework(session, "declearn[websockets]~=2.9")


@nox.session(venv_backend="venv", reuse_venv=True, python="3.11")
def fedbiomed(session: nox.Session) -> None:
    """Plays the recipe for Fed-BioMed, which takes no Python after 3.11."""
    framework(session, "fedbiomed~=6.4")


@nox.session(venv_backend="venv", reuse_venv=True, python="3.11")
def pfl(session: nox.Session) -> None:
    """Plays the recipe for pfl, which takes no Python after 3.12."""
    framework(session, "pfl~=0.6")


@nox.session(venv_backend="venv", reuse_venv=True)
def appfl(session: nox.Session) -> None:
    """Plays the recipe for APPFL."""
    framework(session, "appfl~=1.12")


@nox.session(venv_backend="venv", reuse_venv=True, python="3.11")
def openfl(session: nox.Session) -> None:
    """Plays the recipe for OpenFL, which takes no Python after 3.12."""
    framework(session, "openfl~=1.9")


@nox.session(venv_backend="venv", reuse_venv=True)
def fate(session: nox.Session) -> None:
    """Plays the recipe for FATE."""
    framework(session, "pyfate==2.2.0")


@nox.session(venv_backend="venv", reuse_venv=True)
def fedml(session: nox.Session) -> None:
    """Plays the recipe for FedML, which imports `pkg_resources`."""
    framework(session, "fedml[grpc]==0.9.6", "setuptools<81")


@nox.session(venv_backend="venv", reuse_venv=True)
def syft(session: nox.Session) -> None:
    """Plays the recipe for SyftBox."""
    framework(session, "syft-rpc~=0.4.1", "syft-event~=0.4.3")


@nox.session(venv_backend="venv", reuse_venv=True, python="3.11")
def tff(session: nox.Session) -> None:
    """Plays the recipe for TensorFlow Federated, with what it requires but for jax and SciPy."""
    session.install("--no-deps", "tensorflow-federated==0.87.0")
    framework(
        session,
        *("tensorflow==2.14.*", "jax==0.4.20", "jaxlib==0.4.20", "numpy~=1.26"),
        *("tensorflow-model-optimization==0.7.5", "tensorflow-privacy==0.9.0", "ml-dtypes==0.2.*"),
        *("google-vizier==0.1.11", "dp-accounting==0.4.3", "dm-tree==0.1.8", "scipy~=1.11.2"),
        *("googleapis-common-protos==1.61.0", "typing-extensions==4.5.*", "attrs~=23.1"),
        *("absl-py~=1.0", "cachetools~=5.3", "portpicker~=1.6", "tqdm~=4.64", "setuptools<81"),
    )


@nox.session(venv_backend="venv", reuse_venv=True, python="3.11")
def diffprivlib(session: nox.Session) -> None:
    """Measures docs/ACCURACY.md's rows of diffprivlib, which takes no scikit-learn after 1.7."""
    session.install("-e", ".[fl]", "diffprivlib==0.6.6", "scikit-learn==1.7.*", "scipy<1.18")
    words, env = ("-m", "benchmarks.diffprivlib_clients"), {"OMP_NUM_THREADS": "1"}
    session.run("python", *words, env=env)


@nox.session
def coverage(session: nox.Session) -> None:
    """Runs level long on portable kernels and reports which lines of Python ran."""
    with tempfile.TemporaryDirectory() as folder:
        env = {"COVERAGE_FILE": f"{folder}/data"}
        failed = False
        try:
            words = ("--level", "long", "--implementation", "portable", "--durations=15")
            python(session, "-m", "coverage", "run", *PYTEST, *words, *session.posargs, env=env)
        except CommandFailed:
            failed = True  # the report is still useful
        python(session, "-m", "coverage", "combine", "-q", env=env)
        report = ("-m", "coverage", "report")
        for part in ("secagg", "fl"):
            total = python(
                session,
                *(*report, f"--include={part}/*", "--format=total", "--precision=1"),
                env=env,
                silent=True,
                success_codes=[0, 2],  # 2: below the bound, as the report says next
            )
            session.log(f"{part}, branch coverage in percent: {total.strip()}")
        python(session, *report, "--skip-covered", "--show-missing", env=env)
        if failed:
            session.error("tests failed")


@nox.session
def kernels(session: nox.Session) -> None:
    """Runs level long on the kernels between the portable and the fastest ones."""
    for choice in python(session, "-c", BETWEEN, silent=True, log=False).split():
        python(session, *PYTEST, "--level", "long", "--implementation", choice, *session.posargs)


@nox.session
def sanitizers(session: nox.Session) -> None:
    """Runs the C core's tests and what uses it at level quick with ASan and UBSan, in a copy."""
    native_program(session, CC, "--sanitize")
    with copy_of_sources(session) as copy:
        options = {"env": {"SECAGG_SANITIZE": "1"}, "silent": True}
        python(session, "setup.py", "-q", "build_ext", "--inplace", **options)
        # Pytest would lose output before a crash. So ASan writes files; UBSan cannot, and
        # --capture=sys leaves its output alone. Leaks are not reported, as Python itself leaks at
        # exit. The C++ library is preloaded, or ASan fails on exceptions inside matplotlib.
        reports = copy.with_name("reports")
        reports.mkdir()
        preloaded = "libasan.so", "libstdc++.so.6"
        env = {
            "PYTHONPATH": str(copy),  # goes before the installed package
            "PYTHONMALLOC": "malloc",
            "ASAN_OPTIONS": f"detect_leaks=0:log_path={reports}/asan",
            "LD_PRELOAD": " ".join(compiler(session, f"-print-file-name={n}") for n in preloaded),
        }
        python(session, "-c", IS_SANITIZED, copy, env=env, log=False)
        python(session, "-c", OVERRUN, env=env, success_codes=[1], log=False)  # a planted fault
        if not any("heap-buffer-overflow" in file.read_text() for file in reports.iterdir()):
            session.error("AddressSanitizer does not find a planted write past the end of a buffer")
        for file in reports.iterdir():
            file.unlink()
        words = ("--capture=sys", *(f"--ignore=tests/{path}" for path in UNSANITIZED))
        try:
            python(session, *PYTEST, *words, *session.posargs, env=env)
        except CommandFailed:
            for file in sorted(reports.iterdir()):
                lines = file.read_text(errors="replace").splitlines()
                errors = [line for line in lines if re.search(r"ERROR: |#\d+ .* native/", line)]
                session.warn("\n".join(errors[:60]))
            raise


@nox.session(venv_backend="venv", reuse_venv=False)
def build(session: nox.Session) -> None:
    """Builds the packages of a release into dist/ and tests the wheel in a new environment."""
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    python(session, "-m", "build", "--outdir", "dist")
    (wheel,) = (ROOT / "dist").glob("*.whl")
    session.install(str(wheel))
    with session.chdir(session.create_tmp()):  # or the sources would be imported
        session.run("python", "-m", "secagg")
