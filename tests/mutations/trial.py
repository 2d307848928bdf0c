"""Trying mutants: scratch copies of the tree, the C build, and runs of the tests in them."""

import contextlib
import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sites import ROOT, Site

HERE = Path(__file__).parent
GCC = os.environ.get("CC", "gcc")
NOT_COPIED = (".git", ".venv*", ".*_cache", ".hypothesis", "__pycache__", "*.so", "build", "dist")
EMIT = """import sys; sys.path.insert(0, "native"); import build
build.ffibuilder.emit_c_code(sys.argv[1]); print(*build.COMPILE_ARGS)"""
# Which tests come first for a C file, by what its name begins with.
FIRST = {
    ("aes", "chacha", "stream", "mask"): (
        "primitives/test_prg",
        "field/test_field",
        "test_vectors",
    ),
    ("shamir", "api_shamir"): ("sharing/test_shamir", "pairwise/test_robust_shares"),
    ("rotate", "api_rotate"): ("field/test_rotation",),
    ("pack", "quantize", "field", "primes", "api"): ("field/", "encoding/"),
    ("noise", "gaussian"): ("noise/",),
    ("threads",): ("field/test_threads",),
    ("",): ("field/", "primitives/", "test_secret"),
}


class Workshop:
    """A temporary folder with copies of the tree, and the processes that run in them."""

    def __init__(self, objects: Path, suite: str) -> None:
        self._objects, self._suite = objects, shlex.split(suite)
        self._folder = Path(tempfile.mkdtemp(prefix="secagg-mutants-"))
        self._folder.chmod(0o755)  # some tests are another user for a while
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._closed = False
        self.base = self._folder / "base"

    def close(self) -> None:
        """Ends what still runs and removes the folder."""
        with self._lock:
            self._closed = True
            for process in self._running:
                _kill(process)
        shutil.rmtree(self._folder, ignore_errors=True)

    def command(
        self, words: Sequence[str | Path], cwd: Path, limit: float = 600
    ) -> tuple[int, str]:
        """Exit code and output of a process; whatever it starts has ended as well."""
        scratch = Path(f"{cwd}.tmp")
        scratch.mkdir(exist_ok=True)
        scratch.chmod(0o1777)  # like /tmp
        env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
        env |= {"PYTHONPATH": f"{cwd}:{HERE}", "TMPDIR": str(scratch), "COVERAGE_CORE": "ctrace"}
        env |= {"MUTATION_PLAN": f"{cwd}.plan", "MUTATION_NOTES": f"{cwd}.notes"}
        env |= {"COVERAGE_FILE": f"{cwd}.coverage"}
        with self._lock:
            if self._closed:
                raise InterruptedError
            process = subprocess.Popen(
                [str(word) for word in words],
                cwd=cwd,
                env=env,
                text=True,
                errors="replace",
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            self._running.add(process)
        try:
            output, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            output = f"still running after {limit:.0f} s"
        finally:
            _kill(process)
            process.wait()
            with self._lock:
                self._running.discard(process)
        if self._closed:
            raise InterruptedError
        return process.returncode, output

    def checked(self, words: Sequence[str | Path], cwd: Path) -> str:
        """The output; RuntimeError if the code is not 0."""
        code, output = self.command(words, cwd)
        if code != 0:
            raise RuntimeError(f"{' '.join(map(str, words))}\n{output[-3000:]}")
        return output

    # -- copies ---------------------------------------------------------------------------

    def prepare(self) -> None:
        """Copies the tree, builds the core, and compiles the tests once."""
        shutil.copytree(ROOT, self.base, ignore=shutil.ignore_patterns(*NOT_COPIED))
        self.build(self.base)
        code, output = self.pytest(self.base, {"without": [], "usual": {}}, ["--collect-only"])
        if code != 0:
            raise RuntimeError(f"the copy without a mutant is broken:\n{output[-3000:]}")

    @contextlib.contextmanager
    def copy(self, name: str, site: Site | None = None) -> Iterator[Path]:
        """A fresh copy of the prepared tree for a while, with a mutant put in."""
        made = self._folder / name
        shutil.copytree(self.base, made)
        try:
            if site is not None:
                path = made / site.name.path
                path.write_text(site.applied(path.read_text()))
                for stale in path.parent.glob(f"__pycache__/{path.stem}.*"):
                    stale.unlink()
            yield made
        finally:
            for left in (made, *self._folder.glob(f"{name}.*")):
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
                else:
                    left.unlink(missing_ok=True)

    # -- the core -------------------------------------------------------------------------

    def build(self, tree: Path, *, link: bool = True) -> list[Path]:
        """The object files of a tree's core, as `setup.py build_ext --inplace` makes them.

        A text that was compiled before, after the preprocessor, is taken from the store.
        """
        glue = f"{tree}.glue.c"
        flags = self.checked([sys.executable, "-c", EMIT, glue], tree).splitlines()[-1].split()
        told = shlex.split(sysconfig.get_config_var("CFLAGS") or "")
        flags += [flag for flag in told if not flag.startswith(("-g", "-O"))]
        words = [GCC, "-fPIC", *flags, "-Inative", f"-I{sysconfig.get_path('include')}"]
        objects = []
        self._objects.mkdir(parents=True, exist_ok=True)
        for source in [*(f"native/{path.name}" for path in sorted(tree.glob("native/*.c"))), glue]:
            text = self.checked([*words, "-E", "-P", source], tree)
            name = hashlib.sha256("\0".join([*words, text]).encode()).hexdigest()
            objects.append(self._objects / f"{name}.o")
            if not objects[-1].exists() and (link or source != glue):
                draft = self._objects / f"{name}.{os.getpid()}.{threading.get_ident()}"
                self.checked([*words, "-c", source, "-o", draft], tree)
                draft.rename(objects[-1])
        if not link:
            return objects[:-1]
        out = tree / "secagg/_native.abi3.so"
        out.unlink(missing_ok=True)
        self.checked([GCC, "-shared", "-pthread", *objects, "-lm", "-o", out], tree)
        return objects

    def changes_core(self, site: Site) -> bool:
        """Returns whether a mutant in C compiles, and to other object code in some file."""
        try:
            with self.copy("draw", site) as copy:
                mine = [self.build(tree, link=False) for tree in (self.base, copy)]
        except RuntimeError:
            return False
        return [path.read_bytes() for path in mine[0]] != [path.read_bytes() for path in mine[1]]

    # -- tests ----------------------------------------------------------------------------

    def pytest(
        self, copy: Path, plan: dict[str, Any], words: Iterable[str], limit: float = 7200
    ) -> tuple[int, str]:
        """Runs pytest with the plugin in a copy."""
        Path(f"{copy}.plan").write_text(json.dumps(plan))
        for kind in ("notes", "late"):
            Path(f"{copy}.{kind}").unlink(missing_ok=True)
        options = ["-q", "-p", "no:cacheprovider", "-p", "mutation_plugin", *self._suite, *words]
        return self.command([sys.executable, "-m", "pytest", *options], copy, limit)

    def verdict(self, copy: Path, plan: dict[str, Any]) -> dict[str, Any]:
        """Returns what the planned tests say of a copy: `how` is empty if all pass."""
        usual, files = plan["usual"], list(dict.fromkeys(map(file_of, plan.get("only", ()))))
        names = plan["only"] if "only" in plan else usual.keys() - set(plan["without"])
        limit = 120 + 5 * sum(usual[name] for name in names)
        code, output = self.pytest(copy, plan, ["-x", "-n", "0", *files], limit)
        notes, late = Path(f"{copy}.notes"), Path(f"{copy}.late")
        found = {"how": "", "last": "", "why": output.strip()[-300:], "begun": 0}
        found |= json.loads(notes.read_text() or "{}") if notes.exists() else {}
        if found["how"]:
            pass
        elif (late.exists() and late.stat().st_size) or output.startswith("still running"):
            found["how"] = "time-out"
        elif code < 0:
            found["how"] = f"crash, {signal.Signals(-code).name}"
        elif code not in {0, 5}:  # 5: no tests are left
            found["how"] = f"pytest ended with {code}"
        else:
            found |= {"last": "", "why": ""}
        return found


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def file_of(test: str) -> str:
    """The file that a test is in."""
    return test.partition("::")[0]


class Selection:
    """The tests of a suite by what `cover` noted: seconds, and which lines each runs."""

    def __init__(self, seconds: dict[str, float], lines: dict[str, dict[str, str]]) -> None:
        self.seconds, self._lines = seconds, lines

    def _meeting(self, site: Site) -> list[str]:
        """The tests that run its line; if none does, but an import, those named like its file."""
        path = Path(site.name.path)
        for line in range(site.lines[1], site.lines[0] - 1, -1):
            mask = int(self._lines.get(str(path), {}).get(str(line), "0"), 16)
            if mask:
                return [name for i, name in enumerate(self.seconds) if mask >> i & 1]
        near: tuple[str, ...] = (f"{path.parent.name}/", f"test_{path.stem}")
        if path.parent.name == "native":
            near = next(tests for stems, tests in FIRST.items() if path.name.startswith(stems))
        return [name for name in self.seconds if name.removeprefix("tests/").startswith(near)]

    def stages(self, site: Site) -> list[list[str]]:
        """Tests to run one lot after the other, before what is left of the suite.

        First the shortest case of each test function, as far as 20 seconds reach, then the other
        tests that meet the mutant. Those of a file stay together, for their fixtures.
        """
        meeting = sorted(self._meeting(site), key=self.seconds.__getitem__)
        shortest = {name.partition("[")[0]: name for name in reversed(meeting)}
        total, first = 0.0, set[str]()
        for name in sorted(shortest.values(), key=self.seconds.__getitem__):
            if total < 20:
                first.add(name)
            total += self.seconds[name]
        lots = [name for name in meeting if name in first], [n for n in meeting if n not in first]
        return [self._by_file(lot) for lot in lots if lot]

    def _by_file(self, names: list[str]) -> list[str]:
        totals = dict.fromkeys(map(file_of, names), 0.0)
        for name in names:
            totals[file_of(name)] += self.seconds[name]
        return sorted(names, key=lambda name: (totals[file_of(name)], file_of(name)))
