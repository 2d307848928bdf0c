"""Compiles and links the core, its program and the extension for other systems, with ziglang.

Programs are run where this machine can: those for Linux by itself or by QEMU, those for Windows by
Wine if it is installed. The extension is compiled with the headers of this Python and a
configuration written here; names of Python stay open, or come from an import library. What cannot
work must be refused with a reason.
"""

import argparse
import errno
import os
import re
import runpy
import shutil
import struct
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import run

ROOT = run.NATIVE.parent

# Target: what runs its programs; None if nothing here does.
TARGETS: dict[str, list[str] | None] = {
    "x86_64-linux-musl": [],
    "aarch64-linux-musl": ["qemu-aarch64"],
    "x86-linux-musl": [],
    "x86_64-macos": None,
    "aarch64-macos": None,
    "x86_64-windows-gnu": ["wine"] if shutil.which("wine") else None,
    "aarch64-windows-gnu": None,
}
# The whole core is compiled for these, and nothing else.
COMPILED = (
    *("arm-linux-musleabihf", "riscv64-linux-musl", "powerpc64le-linux-musl"),
    *("aarch64-freebsd", "aarch64-openbsd"),
)
# How each system is asked for AES instructions on aarch64, so that none forgets to ask.
QUESTIONS = {
    "linux": b"getauxval",
    "macos": b"sysctlbyname",
    "windows": b"IsProcessorFeaturePresent",
    "freebsd": b"elf_aux_info",
    "openbsd": b"elf_aux_info",
}
# A thread of musl has 128 KiB of stack, and functions on secrets call three deep. Whether the
# compiler could vectorise a loop is no fault of the source.
OPTIONS = ("-O3", "-fvisibility=hidden", "-Wframe-larger-than=32768", "-Wno-pass-failed")

# What Python.h asks of its configuration where the limited API is used.
PYCONFIG = """
#define _GNU_SOURCE 1
#define SIZEOF_SHORT 2
#define SIZEOF_INT 4
#define SIZEOF_LONG_LONG 8
#ifndef __APPLE__ /* there Python.h knows by itself */
#define SIZEOF_LONG __SIZEOF_LONG__
#define SIZEOF_VOID_P __SIZEOF_POINTER__
#define SIZEOF_SIZE_T __SIZEOF_SIZE_T__
#endif
#define SIZEOF_WCHAR_T __SIZEOF_WCHAR_T__
#define SIZEOF_FLOAT 4
#define SIZEOF_DOUBLE 8
#define SIZEOF_TIME_T 8
#define SIZEOF_PID_T 4
#define SIZEOF__BOOL 1
#define ALIGNOF_LONG __SIZEOF_LONG__
#define ALIGNOF_SIZE_T __SIZEOF_SIZE_T__
#define STDC_HEADERS 1
#define HAVE_STDINT_H 1
#define HAVE_INTTYPES_H 1
#define HAVE_SYS_TYPES_H 1
#define HAVE_SYS_STAT_H 1
#define HAVE_UINTPTR_T 1
#ifdef _WIN32
#define MS_WINDOWS 1
#define MS_WIN64 1
#define HAVE_DECLSPEC_DLL 1
#define Py_ENABLE_SHARED 1
typedef long long Py_ssize_t;
#define HAVE_PY_SSIZE_T 1
#else
#define HAVE_SSIZE_T 1
#define HAVE_UNISTD_H 1
#endif
"""


def is_windows(target: str) -> bool:
    return "windows" in target


def options_of(target: str) -> list[str]:
    """Options that a build for this target has besides those of all."""
    if is_windows(target) or "macos" in target:
        return [*OPTIONS]
    own = {"x86": ["-msse2"], "powerpc64le": ["-Wno-deprecated-altivec-src-compat"]}
    return [*OPTIONS, "-pthread", *own.get(target.split("-", maxsplit=1)[0], [])]


def check_question(target: str, objects: Path) -> None:
    """Fails if the core for aarch64 does not ask the system for AES instructions."""
    machine, system = target.split("-")[:2]
    if machine == "aarch64" and QUESTIONS[system] not in (objects / "dispatch.o").read_bytes():
        raise SystemExit(f"{target}: the core does not ask for AES instructions")


def check_refusals(zig: Sequence[str]) -> None:
    """Fails unless what cannot work is refused with a reason."""
    for words, reason in (
        (["-target", "s390x-linux-musl"], "little-endian"),
        (["-target", "x86_64-linux-musl", "-U__GNUC__", "-U__clang__"], "GCC or Clang"),
        (["-target", "x86-linux-musl", "-mcpu=pentium3"], "-mfpmath=sse"),
    ):
        source = str(run.NATIVE / "primes.c")
        command = [*zig, "cc", *words, "-c", source, "-o", os.devnull]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0 or not re.search(f"error: .*{re.escape(reason)}", done.stderr):
            raise SystemExit(f"{words}: compiled, or not refused for {reason!r}:\n{done.stderr}")


def extension(folder: Path, zig: Sequence[str], target: str) -> None:
    """Compiles and links the extension module in an empty folder."""
    headers = folder / "include"
    shutil.copytree(sysconfig.get_path("include"), headers)
    (headers / "pyconfig.h").write_text(PYCONFIG)
    source = folder / "_native.c"
    runpy.run_path(str(run.NATIVE / "build.py"))["ffibuilder"].emit_c_code(str(source))
    compiler = [*zig, "cc", "-target", target, "-std=c11", "-ffp-contract=off"]
    compiler += [*options_of(target), "-DPy_LIMITED_API=0x030b0000", f"-I{run.NATIVE}"]
    compiler += [f"-I{headers}", "-Werror"]
    compiler += [] if is_windows(target) else ["-fPIC"]
    parts = run.compile_all(folder, compiler, [source, *run.NATIVE.glob("*.c")])
    library = ["-shared", "-o", "_native.lib"]
    if "macos" in target:
        library += ["-Wl,-undefined,dynamic_lookup"]
    if is_windows(target):
        text = "\n".join(path.read_text() for path in headers.rglob("*.h")) + source.read_text()
        data = set(re.findall(r"PyAPI_DATA\([^)]*\)\s*(\w+)", text))
        names = set(re.findall(r"\b_?Py[A-Z_]\w+", text)) | data
        lines = (name + (" DATA" if name in data else "") for name in sorted(names))
        (folder / "python3.def").write_text("\n".join(["LIBRARY python3.dll", "EXPORTS", *lines]))
        machine = "arm64" if target.startswith("aarch64") else "i386:x86-64"
        words = ("dlltool", "-m", machine, "-d", "python3.def", "-l", "libpython3.a")
        subprocess.run([*zig, *words], cwd=folder, check=True)
        parts.append("libpython3.a")
    subprocess.run([*compiler, *parts, *library], cwd=folder, check=True)


def ran(runner: Sequence[str], program: Path) -> str:
    """Runs a program; returns what to report."""
    try:
        subprocess.run([*runner, program], check=True)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
        return ", not run: this kernel has no 32-bit programs"
    return ", ran"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zig", default=f"{sys.executable} -m ziglang", help="the command")
    parser.add_argument("targets", nargs="*", help="the targets to link for; all without any")
    options = parser.parse_args()
    zig = options.zig.split()
    check_refusals(zig)
    for target in options.targets or [*TARGETS, *COMPILED]:
        began = time.monotonic()
        done = "compiled"
        with tempfile.TemporaryDirectory() as folder:
            program, module = Path(folder, "program"), Path(folder, "module")
            program.mkdir()
            cc = f"{options.zig} cc -target {target}"
            if target in COMPILED:
                words = [*cc.split(), *run.FLAGS, *options_of(target), f"-I{run.NATIVE}"]
                run.compile_all(program, words, run.NATIVE.glob("*.c"))
                check_question(target, program)
            else:
                static = ["-static"] if "musl" in target else []
                built = run.build(program, cc, *options_of(target), *static)
                check_question(target, program)
                module.mkdir()
                done = "linked"
                if struct.calcsize("P") == 8 and not target.startswith("x86-"):
                    extension(module, zig, target)
                    done = "linked with the extension"
                runner = TARGETS[target]
                if runner is not None:
                    done += ran(runner, built)
        sys.stdout.write(f"{target}: {done}, {time.monotonic() - began:.0f} s\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
