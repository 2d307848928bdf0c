"""The switch that forces implementations, which the other suites lean on."""

from collections.abc import Iterator

import pytest
from levels import amount
from support import EDGES, WIDTHS, family_named, implementations, looped, select_all

from secagg.arithmetic.implementations import Family, families, forced, select
from secagg.arithmetic.moduli import MAX_BITS, MIN_BITS
from secagg.errors import ParameterError

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


def test_a_loop_runs_every_case_and_names_the_one_that_fails() -> None:
    seen = []

    @looped("a", [1, 2])
    @looped("b, c", [(3, 4), (5, 6)])
    def inner(a: int, b: int, c: int, *, stop: int) -> None:
        seen.append((a, b, c))
        if (a, b) == (2, stop):
            pytest.fail("as it should")

    inner(stop=0)
    assert sorted(seen) == [(1, 3, 4), (1, 5, 6), (2, 3, 4), (2, 5, 6)]
    with pytest.raises(pytest.fail.Exception) as raised:
        inner(stop=5)
    assert sorted(raised.value.__notes__) == ["a = 2", "b, c = (5, 6)"]


def test_loops_that_would_prove_nothing_are_refused() -> None:
    """Over nothing, or over a name that the test does not take."""
    with pytest.raises(AssertionError, match="nothing"):
        looped("a", [])
    with pytest.raises(AssertionError, match="takes no b"):
        looped("b", [1])(lambda a: None)


def test_every_width_runs_where_the_table_says() -> None:
    """The edges are some of all the widths, both ends among them."""
    every = tuple(range(MIN_BITS, MAX_BITS + 1))
    assert (EDGES[0], EDGES[-1]) == (every[0], every[-1])
    assert set(EDGES) < set(every)
    assert (every if amount("every width of the field") else EDGES) == WIDTHS
