"""Packaging that pyproject.toml cannot say: the compiled module and where packages lie."""

import sys
import sysconfig
from pathlib import Path

from setuptools import find_packages, setup

sys.path.insert(0, str(Path(__file__).resolve().parent / "native" / "packaging"))
from compiling import BuildCore

# A wheel for every Python from 3.11 on; free-threaded ones have no such interface.
LIMITED_API = {} if sysconfig.get_config_var("Py_GIL_DISABLED") else {"py_limited_api": "cp311"}

setup(
    cmdclass={"build_ext": BuildCore},
    cffi_modules=["native/build.py:ffibuilder"],
    # A top-level `fl` in site-packages would collide with other code bases' own.
    package_dir={"secagg.fl": "fl"},
    packages=[
        *find_packages(include=["secagg", "secagg.*"]),
        *("secagg." + name for name in find_packages(include=["fl", "fl.*"])),
    ],
    package_data={"secagg": ["py.typed", "_native.pyi"]},
    options={"bdist_wheel": LIMITED_API},
)
