"""What every test run has: forced implementations and the hypothesis profiles."""

import gc
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# The examples of `ci` are the same in every run, so that red means that the code changed.
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=50)
settings.register_profile("few", derandomize=True, deadline=None, max_examples=10)
settings.register_profile(
    "full",
    deadline=None,
    max_examples=1000,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
LEVEL = "full" if os.environ.get("CI_LEVEL") == "full" else "ci"
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", LEVEL))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--implementation",
        metavar="CHOICE",
        help="force the native kernels: `portable`, or for example `aes=aesni,chacha=portable`",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Here, not earlier: coverage must be running when secagg is first imported."""
    choice = session.config.getoption("implementation")
    if not choice:
        return
    from support import select_all

    from secagg.errors import ParameterError

    try:
        select_all(choice)
    except ParameterError as error:
        raise pytest.UsageError(f"--implementation {choice}: {error}") from None


def pytest_collection_finish(session: pytest.Session) -> None:
    """Thousands of tests stay to the end: the garbage collector need not walk through them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def pytest_report_header(config: pytest.Config) -> str:
    return f"native kernels: {config.getoption('implementation') or 'the fastest usable'}"


@pytest.fixture
def implementation(request: pytest.FixtureRequest) -> Iterator[str]:
    """The implementation that `support.implementations` forces for one test."""
    from secagg.implementations import forced

    family, name = request.param
    with forced(family, name):
        yield name
