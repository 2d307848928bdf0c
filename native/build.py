"""Builds the extension module ``secagg._native`` from the C core (cffi, API mode, abi3).

``setup.py`` calls it through ``cffi_modules``. Two environment variables are for testing:
``SECAGG_SANITIZE=1`` compiles with AddressSanitizer and UndefinedBehaviorSanitizer, and
``SECAGG_CFLAGS`` adds compiler options.
"""

import hashlib
import os
import sysconfig
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent

# Contracting a*b+c into one operation would make quantization differ between machines.
COMPILE_ARGS = ["-std=c11", "-O3", "-ffp-contract=off", "-fvisibility=hidden"]
LINK_ARGS: list[str] = []
if os.name == "posix":  # else the core works in one thread
    COMPILE_ARGS.append("-pthread")
    LINK_ARGS.append("-pthread")
if os.environ.get("SECAGG_SANITIZE"):
    SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    COMPILE_ARGS += [*SANITIZE, "-g", "-O1", "-fno-omit-frame-pointer"]
    LINK_ARGS += SANITIZE
COMPILE_ARGS += os.environ.get("SECAGG_CFLAGS", "").split()


def source_digest() -> str:
    """SHA-256 over the sources, so that a module built from older ones can be told."""
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
