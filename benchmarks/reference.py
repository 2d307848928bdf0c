"""Straightforward C of both keystreams (`reference.c`), compiled on first use."""

import ctypes
import os
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from secagg.arithmetic.binding import lib
from secagg.arithmetic.generators import Generator

HERE: Final = Path(__file__).resolve().parent
# The options of native/build.py that matter to speed.
OPTIONS: Final = ["-std=c11", "-O3", "-ffp-contract=off", "-fPIC", "-shared"]
NAMES: Final = {
    lib.SA_AES256CTR: ("reference_aes256ctr", 16),
    lib.SA_CHACHA20: ("reference_chacha20", 64),
}

Keystream = Callable[[int, int, bytes], None]


class UnavailableError(Exception):
    """The reference cannot be compiled here; the message says why."""


def keystreams() -> dict[Generator, Keystream]:
    """Compiles for each generator a function (address, bytes, key) that writes its keystream.

    It begins at block 0; bytes are a multiple of 64.

    Raises:
        UnavailableError: no compiler, or it failed.
    """
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    if shutil.which(compiler[0]) is None:
        raise UnavailableError(f"reference C: there is no compiler {compiler[0]}; set CC")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "reference.so")
        command = [*compiler, *OPTIONS, f"-I{HERE.parent / 'native'}", str(HERE / "reference.c")]
        ran = subprocess.run(  # noqa: S603
            [*command, "-o", str(library)], capture_output=True, text=True, check=False
        )
        if ran.returncode != 0:
            raise UnavailableError(f"reference C: {compiler[0]} failed: {ran.stderr.strip()}")
        loaded = ctypes.CDLL(str(library))
    return {generator: _wrap(loaded, *names) for generator, names in NAMES.items()}


def _wrap(library: ctypes.CDLL, name: str, block: int) -> Keystream:
    function = library[name]
    function.restype = None
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    return lambda address, size, key: function(address, size // block, key)
