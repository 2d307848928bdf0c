"""The choice between the complete and a sparse graph, for given colluders and dropouts."""

from ..codes import Code
from ..errors import ParameterError
from .complete import least_threshold
from .mode import Mode
from .sparse import SECURITY, Sparse, sparsest


def choose_graph(
    mode: Mode, cohort: int, colluders: int, dropouts: int, *, sparse: bool = True
) -> tuple[int, int]:
    """Chooses the degree (0 for the complete graph) and the threshold.

    A sparse graph is chosen where at most half of the others need be neighbours, or where the
    complete graph cannot serve.

    Args:
        cohort: number of parties n.
        colluders: the most parties that collude with the server.
        dropouts: the most parties that drop out.
        sparse: False takes the complete graph in any case.

    Raises:
        ParameterError: no graph is safe for these numbers.
    """
    left = cohort - dropouts
    least = least_threshold(mode, cohort, colluders)
    found = None
    if mode == Mode.SEMI_HONEST and cohort > 3 and colluders < left:
        found = sparsest(cohort, colluders, dropouts)
    if found and least <= left and _saves_little(cohort, found):
        found = None
    if not (found and sparse) and least > left:
        other = ""
        if mode == Mode.SEMI_HONEST:
            other = "sparse=True has one that does" if found else "no sparse graph is safe either"
            other += "; "
        raise ParameterError(
            f"with {colluders} colluders and {dropouts} dropouts among {cohort} parties, "
            f"{left} may be left, and the complete graph needs a threshold of {least} or more: "
            f"{other}lower corrupt or dropout",
            Code.UNSAFE_FRACTIONS,
        )
    if found and sparse:
        return found.degree, found.threshold
    return 0, min(max(least, 2 * cohort // 3 + 1), left)


def explain_graph(
    mode: Mode, cohort: int, degree: int, threshold: int, quorum: int, colluders: int
) -> str:
    """Explains in a sentence or two why parameters have the graph that they have."""
    dropouts = cohort - quorum
    assumed = f"{colluders} colluders and {dropouts} dropouts among {cohort} parties"
    if degree:
        forced = 2 * quorum <= cohort
        return (
            f"Sparse graph: with up to {assumed}, {degree} neighbours per party and a threshold of "
            f"{threshold} leave a probability below 2^-{SECURITY} that a server that follows the "
            "protocol learns more than the sum."
            + (" The complete graph needs more than half of them to be left." if forced else "")
        )
    if mode == Mode.MALICIOUS:
        return "Complete graph: malicious mode needs it."
    found = sparsest(cohort, colluders, dropouts) if cohort > 3 else None
    if found is None:
        return f"Complete graph: with {assumed} no sparse one is safe enough."
    needed = f"a sparse one needs {found.degree} neighbours per party"
    why = "which would save little" if _saves_little(cohort, found) else "and was not asked for"
    return f"Complete graph: with {assumed} {needed}, {why}."


def _saves_little(cohort: int, found: Sparse) -> bool:
    """Returns whether more than half of the others would be neighbours."""
    return 2 * found.degree > cohort - 1
