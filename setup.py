"""Packaging that pyproject.toml cannot say: the compiled module and where packages lie."""

from setuptools import find_packages, setup

setup(
    cffi_modules=["native/build.py:ffibuilder"],
    # A top-level `fl` in site-packages would collide with other code bases' own.
    package_dir={"secagg.fl": "fl"},
    packages=[
        *find_packages(include=["secagg", "secagg.*"]),
        *("secagg." + name for name in find_packages(include=["fl", "fl.*"])),
    ],
    package_data={"secagg": ["py.typed", "_native.pyi"]},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
