"""Packaging that pyproject.toml cannot say: the compiled module and where packages lie."""

from setuptools import setup

setup(
    cffi_modules=["native/build.py:ffibuilder"],
    # A top-level `fl` in site-packages would collide with other code bases' own.
    package_dir={"secagg.fl": "fl"},
    packages=[
        "secagg",
        "secagg.encoding",
        "secagg.fl",
        "secagg.pairwise",
        "secagg.primitives",
    ],
    package_data={"secagg": ["py.typed", "_native.pyi"]},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
