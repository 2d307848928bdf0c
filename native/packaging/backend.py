"""The build backend: setuptools', whose editable installs also work beside the clone.

setuptools has Python ask for an editable package after all of `sys.path`. Where that holds a folder
`secagg`, such as the clone itself in its parent folder, Python takes the folder for a namespace
package and never asks. So an editable install gets one more entry of `sys.path`, the last, where
only the package `secagg` is found: a package with an `__init__.py` goes before a namespace, and one
that PYTHONPATH names before this one.
"""

import base64
import hashlib
import os
import zipfile
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403 (the other hooks of PEP 517 and 660)

NAME = "_secagg_editable"

# The entry of `sys.path` is no folder, so that nothing but `secagg` is found there. It is ASCII, or
# every import would fail where the locale knows nothing else.
FINDER = '''\
"""Finds the package `secagg` in a clone, as the last entry of `sys.path` (an editable install)."""
import sys
from importlib.machinery import PathFinder

CLONE = {clone}
ENTRY = "_secagg_editable.entry"


class Finder:
    @staticmethod
    def find_spec(name, target=None):
        return PathFinder.find_spec(name, [CLONE]) if name == "secagg" else None


def hook(entry):
    if entry != ENTRY:
        raise ImportError
    return Finder


sys.path_hooks.append(hook)
sys.path.append(ENTRY)
'''


def build_editable(
    wheel_directory: str,
    config_settings: dict[str, Any] | None = None,
    metadata_directory: str | None = None,
) -> str:
    """Builds the wheel of an editable install; returns its name."""
    name = build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
    add_files(
        Path(wheel_directory, name),
        {
            f"{NAME}.py": FINDER.format(clone=ascii(str(Path.cwd()))).encode(),
            f"{NAME}.pth": f"import {NAME}\n".encode(),
        },
    )
    return name


def add_files(wheel: Path, files: dict[str, bytes]) -> None:
    """Writes a wheel anew with these files and their lines of RECORD."""
    written = wheel.with_suffix(".tmp")
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename.endswith(".dist-info/RECORD"):
                content += "".join(record(*file) for file in files.items()).encode()
            new.writestr(entry, content)
        for file, content in files.items():
            new.writestr(file, content)
    os.replace(written, wheel)  # noqa: PTH105


def record(file: str, content: bytes) -> str:
    """Returns the line of RECORD for a file."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
    return f"{file},sha256={digest},{len(content)}\n"
