"""Builds the extension module ``secagg._native`` from the C core (cffi, API mode, abi3).

``setup.py`` calls it through ``cffi_modules``. Two environment variables are for testing:
``SECAGG_SANITIZE=1`` compiles with AddressSanitizer and UndefinedBehaviorSanitizer, and
``SECAGG_CFLAGS`` adds compiler options.
"""

import argparse
import hashlib
import os
import sys
import sysconfig
from distutils.dist import Distribution  # of setuptools
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent


def chosen_compiler() -> str:
    """Returns the compiler that the command line or a configuration file names, else ""."""
    if sys.argv[1:] and sys.argv[1].startswith("build"):
        parser = argparse.ArgumentParser(add_help=False)
        parser.add_argument("-c", "--compiler")
        named = parser.parse_known_args(sys.argv[2:])[0].compiler
        if named:
            return str(named)
    files = Distribution()
    files.parse_config_files()
    for command in ("build_ext", "build"):
        options = files.get_option_dict(command)
        if "compiler" in options:
            return str(options["compiler"][1])
    return ""


def target_args(platform: str, compiler: str) -> tuple[list[str], list[str]]:
    """Returns the options to compile and to link with.

    Contracting a*b+c into one operation would make quantization differ between machines.

    Args:
        platform: the target, as `sysconfig.get_platform` names it.
        compiler: "msvc" for command lines in the style of cl.exe, which clang-cl reads.
    """
    if compiler == "msvc":
        return ["/std:c11", "/clang:-O3", "/clang:-ffp-contract=off"], []
    threads = [] if platform.startswith(("win", "mingw")) else ["-pthread"]
    libraries = ["-lm"] if threads else []
    floats = ["-msse2", "-mfpmath=sse"] if platform.endswith(("-i386", "-i686", "win32")) else []
    options = ["-std=c11", "-O3", "-ffp-contract=off", "-fvisibility=hidden", *floats, *threads]
    return options, [*threads, *libraries]


# A cross build sets _PYTHON_HOST_PLATFORM, which get_platform returns.
PLATFORM = sysconfig.get_platform()
COMPILER = chosen_compiler() or (
    "msvc" if os.name == "nt" and PLATFORM.startswith("win") else "unix"
)
COMPILE_ARGS, LINK_ARGS = target_args(PLATFORM, COMPILER)
if os.environ.get("SECAGG_SANITIZE"):
    SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    COMPILE_ARGS += [*SANITIZE, "-g", "-O1", "-fno-omit-frame-pointer"]
    LINK_ARGS += SANITIZE
COMPILE_ARGS += os.environ.get("SECAGG_CFLAGS", "").split()


def source_digest() -> str:
    """Returns SHA-256 over the sources, to recognise a module built from older ones."""
    digest = hashlib.sha256()
    for path in sorted(HERE.glob("*.[ch]")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


ffibuilder = FFI()
ffibuilder.cdef((HERE / "api.h").read_text() + "\nconst char *sa_source_digest(void);\n")
ffibuilder.set_source(
    "secagg._native",
    # The options and the digest are in the text, so that a change of either compiles anew.
    f"/* {' '.join(COMPILE_ARGS)} */\n"
    '#include <stddef.h>\n#include <stdint.h>\n#include "api.h"\n'
    f'static const char *sa_source_digest(void) {{ return "{source_digest()}"; }}\n',
    # setuptools wants sources relative to the root, where it runs.
    sources=[f"native/{path.name}" for path in sorted(HERE.glob("*.c"))],
    include_dirs=["native"],
    extra_compile_args=COMPILE_ARGS,
    extra_link_args=LINK_ARGS,
    # Free-threaded interpreters have no limited API that goes back to Python 3.11.
    py_limited_api=not sysconfig.get_config_var("Py_GIL_DISABLED"),
)
