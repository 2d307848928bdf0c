"""The command that compiles the core, and what it says where that fails.

pip shows the end of a build's output, so the cause and the command that fixes it come last, below
what the compiler said.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError, CompileError

# The command that installs a compiler and the headers of Python and C, by ID of /etc/os-release, or
# one of the names in ID_LIKE.
LINUX = {
    "debian": "apt install gcc python3-dev",
    "ubuntu": "apt install gcc python3-dev",
    "fedora": "dnf install gcc python3-devel",
    "rhel": "dnf install gcc python3-devel",
    "alpine": "apk add gcc musl-dev python3-dev",
    "suse": "zypper install gcc python3-devel",
    "arch": "pacman -S gcc",
}
OTHERS = {
    "darwin": "xcode-select --install",
    "win32": "clang-cl (of Visual Studio's Build Tools), llvm-mingw or MinGW-w64, not cl.exe",
}


def install_command(system: str, os_release: dict[str, str]) -> str:
    """Returns the command that installs a C compiler.

    Args:
        system: `sys.platform`.
        os_release: /etc/os-release, or nothing.
    """
    if system in OTHERS:
        return OTHERS[system]
    for name in [os_release.get("ID", ""), *os_release.get("ID_LIKE", "").split()]:
        if name in LINUX:
            return LINUX[name]
    return "install GCC or Clang, and the headers of C and Python, with your package manager"


def cause(compiler: Sequence[str], options: Sequence[str], include: Sequence[str]) -> str | None:
    """Returns why nothing can be compiled; None if something can, so that the core is at fault.

    Args:
        compiler: the words of the compiler's command.
        options: those that the core needs.
        include: the folders of headers.
    """
    name = shlex.join(compiler[:1])
    chosen = " (the variable CC)" if os.environ.get("CC") else ""
    if not shutil.which(compiler[0]):
        return f"secagg needs a C compiler, and there is no `{name}`{chosen}"
    if not compiles(compiler, "#include <stdlib.h>"):
        return f"secagg needs a C compiler, and `{name}`{chosen} fails on an empty program"
    for count, option in enumerate(options, 1):
        if not compiles([*compiler, *options[:count]], "#include <stdlib.h>"):
            return (
                f"secagg needs a newer C compiler, or another one: `{name}`{chosen} refuses the "
                f"option {option}"
            )
    if not compiles([*compiler, *(f"-I{folder}" for folder in include)], "#include <Python.h>"):
        release = ".".join(platform.python_version_tuple()[:2])
        return (
            f"secagg needs the headers of Python {release}, and `{name}` finds no Python.h that "
            f"compiles in {sysconfig.get_path('include')}"
        )
    return None


def compiles(command: Sequence[str], source: str) -> bool:
    """Returns whether the compiler accepts this source."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "probe.c")
        file.write_text(f"{source}\nint probe;\n")
        words = [*command, "-c", str(file), "-o", str(file.with_suffix(".o"))]
        try:
            return not subprocess.run(words, capture_output=True, check=False).returncode  # noqa: S603
        except OSError:
            return False


class BuildCore(build_ext):
    """Compiles the core, or says what the machine lacks."""

    def run(self) -> None:
        try:
            super().run()
        except (BaseError, CCompilerError, OSError) as error:
            compiler = getattr(self.compiler, "compiler_so", None)  # Microsoft's has none
            options = self.extensions[0].extra_compile_args
            found = compiler and cause(compiler, options, self.include_dirs)
            if not found:
                raise
            try:
                release = platform.freedesktop_os_release()
            except OSError:
                release = {}
            advice = install_command(sys.platform, release)
            raise CompileError(f"{error}\n\n{found}. Try:\n\n    {advice}\n") from error
