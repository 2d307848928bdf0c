"""Six sites of a health insurance experiment: Poisson regression of visits, exact to six digits.

Question: how do insurance and health change the number of visits to a doctor? And: who goes at all?
Data: randhie of statsmodels (RAND Health Insurance Experiment, public domain), 20,190 years of
people, who are dealt unevenly over six sites (the data do not tell the true ones).
Run it: ``python examples/health_insurance.py [--full] [--plot FILE]``, with the extra `examples`.
All sites are in this process: it is a simulation.
Protected: records, gradients and curvatures of each site from the server and from the others.
"""

import argparse
from pathlib import Path
from textwrap import fill
from typing import cast

import numpy as np
from secagg.fl import picture_file

import secagg
from secagg.extras import extra

with extra("examples"):
    import statsmodels.api as sm
    from sklearn.metrics import roc_auc_score

SITES, ROUNDS, SMALL = 6, 8, 3000
# Public largest values, by which columns are divided.
LARGEST = {
    **{"lncoins": 5, "idp": 1, "lpi": 8, "fmde": 9, "physlm": 1, "disea": 60},
    **{"hlthg": 1, "hlthf": 1, "hlthp": 1},
}
MEANING = (  # of the columns, in pictures
    *("coinsurance, log", "individual deductible", "incentive payment, log", "most expense, log"),
    *("physical limitation", "chronic diseases", "health good", "health fair", "health poor"),
)
UNIT = 2**20  # steps of a sum per unit
FORM = secagg.Integers(-(2**44), 2**44)

Records = tuple[np.ndarray, np.ndarray]


def expected(family: str, line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and variance of each record by the model."""
    if family == "poisson":
        return np.exp(line), np.exp(line)
    mean = 1 / (1 + np.exp(-line))
    return mean, mean * (1 - mean)


def summed(vectors: list[np.ndarray]) -> tuple[np.ndarray, secagg.SecureSum]:
    """Returns the sum of what the sites give, and all that became of it."""
    total = secagg.secure_sum(vectors, FORM)
    return cast("np.ndarray", total.total), total


def answer(family: str, records: Records, model: np.ndarray) -> np.ndarray:
    """At a site: returns gradient and curvature of its log-likelihood, as integers."""
    x, y = records
    mean, variance = expected(family, x @ model)
    curvature = (x.T * variance) @ x
    numbers = np.concatenate([x.T @ (y - mean), curvature.ravel()])
    return cast("np.ndarray", np.rint(UNIT * numbers).astype(np.int64))


def fit(family: str, sites: list[Records]) -> tuple[np.ndarray, np.ndarray, secagg.SecureSum]:
    """Returns coefficients and standard errors by Newton's steps, and the last sum.

    The first sum has the numbers of records and of visits, for the step that begins it all.
    """
    counts = [np.array([len(y), y.sum()], np.int64) for _, y in sites]
    (people, visits), _ = summed(counts)
    mean = visits / people
    model = np.zeros(1 + len(LARGEST))
    model[0] = np.log(mean if family == "poisson" else mean / (1 - mean))
    for _ in range(ROUNDS):
        found, total = summed([answer(family, each, model) for each in sites])
        gradient, curvature = np.split(found / UNIT, [len(model)])
        inverse = np.linalg.inv(curvature.reshape(len(model), -1))
        model = model + inverse @ gradient
    return model, np.sqrt(np.diag(inverse)), total


def draw(path: Path, found: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Draws coefficients with their 95 % intervals."""
    from matplotlib.figure import Figure  # noqa: PLC0415  (only for pictures)

    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.subplots()
    for at, (name, (model, errors)) in enumerate(found.items()):
        rows = np.arange(len(LARGEST)) + (at - 1) / 4
        mark, colour = "os^"[at], ("#D55E00", "#0072B2", "#555555")[at]
        wide = 1.96 * errors[1:]
        axes.errorbar(model[1:], rows, xerr=wide, fmt=mark, color=colour, ms=4, label=name)
    axes.axvline(0, color="black", ls=":")
    axes.set_yticks(range(len(LARGEST)), MEANING)
    axes.invert_yaxis()
    axes.set_title("The sums give the coefficients and errors of the pooled records", fontsize=10)
    axes.set_xlabel("change of log(visits) over the whole range, 95 % interval")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=100)


def main() -> None:
    """Fits both questions over sites, beside the pooled records."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help=f"all records; else {SMALL}")
    data = sm.datasets.randhie.load_pandas().data
    parser.add_argument("--plot", type=picture_file, metavar="FILE", help="draw a picture of it")
    asked = parser.parse_args()
    generator = np.random.default_rng(0)
    order = generator.permutation(len(data))
    order = order if asked.full else order[:SMALL]
    x = np.ones((len(order), 1 + len(LARGEST)))
    for at, (name, largest) in enumerate(LARGEST.items(), 1):
        x[:, at] = data[name].to_numpy()[order] / largest
    visits = data["mdvis"].to_numpy(np.int64)[order]
    ends = np.cumsum(generator.multinomial(len(x), [0.25, 0.2, 0.2, 0.15, 0.1, 0.1]))[:-1]

    def dealt(y: np.ndarray) -> list[Records]:
        return list(zip(np.split(x, ends), np.split(y, ends), strict=True))

    sites = dealt(visits)
    model, errors, total = fit("poisson", sites)
    pooled = sm.GLM(visits, x, family=sm.families.Poisson()).fit(tol=1e-12)
    print(f"{len(x)} years of people at {SITES} sites, {ROUNDS} rounds.")
    print("Visits, as a Poisson regression:")
    print(f"{'':10}{'sites':>10}{'std error':>10}{'pooled':>10}{'std error':>10}")
    for row in zip(("one", *LARGEST), model, errors, pooled.params, pooled.bse, strict=True):
        print("{:10}{:10.5f}{:10.5f}{:10.5f}{:10.5f}".format(*row))
    print(f"largest difference: {np.abs(model - pooled.params).max():.1e}\n")

    if asked.plot:
        few, number = min(((y, x) for x, y in sites), key=lambda site: len(site[0]))
        alone = sm.GLM(few, number, family=sm.families.Poisson()).fit()
        shown = {
            f"smallest site alone ({len(few):,})": (alone.params, alone.bse),
            f"all {SITES} by sums ({len(x):,})": (model, errors),
            "pooled, by statsmodels": (pooled.params, pooled.bse),
        }
        draw(asked.plot, shown)

    goes = (visits > 0).astype(np.int64)
    model, _, total = fit("binomial", dealt(goes))
    apart = np.abs(model - sm.GLM(goes, x, family=sm.families.Binomial()).fit(tol=1e-12).params)
    right, most = ((x @ model > 0) == goes).mean(), max(goes.mean(), 1 - goes.mean())
    print(
        fill(
            f"Who goes at all? Right: {right:.1%}; {most:.1%} for who says that everybody "
            "goes. As yes or no next to nothing is learned, federated or pooled (difference "
            f"{apart.max():.1e}); the scores rank people better than chance: AUC "
            f"{roc_auc_score(goes, x @ model):.3f}."
        )
    )
    print()

    print(
        fill(
            "What the server saw: first the numbers of records and visits, then in each "
            "round the sums of gradients and curvatures over all sites, "
            f"{total.params.length} integers, from which it has model and standard errors; "
            f"of each site {total.run.bytes_up[0]} bytes of keys, shares and masked numbers. "
            "These sums are exact and without noise: with few records they can tell about "
            "single people. In this simulation all sites are in one process."
        )
    )


if __name__ == "__main__":
    main()
