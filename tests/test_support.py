"""The switch that forces implementations, which the other suites lean on."""

from collections.abc import Iterator

import pytest
from support import family_named, implementations, select_all

from secagg.errors import ParameterError
from secagg.implementations import Family, families, forced, select

IN_USE = {family.name: family.active for family in families()}


@implementations("aes")
def test_a_test_runs_on_the_implementation_it_names(implementation: str) -> None:
    assert family_named("aes").active == implementation


@pytest.mark.parametrize("family", families(), ids=lambda family: family.name)
def test_the_portable_ones_are_usable_everywhere(family: Family) -> None:
    assert family.compiled[0] in family.usable


def test_a_forced_choice_is_restored() -> None:
    before = family_named("aes").active
    portable = family_named("aes").compiled[0]

    def fails_while_forced() -> None:
        with forced("aes", portable):
            assert family_named("aes").active == portable
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails_while_forced()
    assert family_named("aes").active == before


@pytest.fixture
def _put_back() -> Iterator[None]:
    before = families()
    yield
    for family in before:
        select(family.name, family.active)


@pytest.mark.usefixtures("_put_back")
def test_a_whole_run_is_forced() -> None:
    select_all("portable")
    assert all(family.active == family.compiled[0] for family in families())
    for family in families():
        select_all(f"{family.name}={family.usable[-1]}")
    assert all(family.active == family.usable[-1] for family in families())


@pytest.mark.parametrize(
    "choice", ["", "aes", "aes=nothing", "nothing=portable", "chacha=portable,"]
)
def test_a_choice_that_this_machine_lacks_is_refused(choice: str) -> None:
    with pytest.raises(ParameterError):
        select_all(choice)


def test_the_option_reached_this_process(pytestconfig: pytest.Config) -> None:
    """Workers of a parallel run get it too."""
    choice = pytestconfig.getoption("implementation")
    if choice == "portable":
        assert {family.name: family.compiled[0] for family in families()} == IN_USE
    else:
        assert choice or {family.name: family.usable[-1] for family in families()} == IN_USE
