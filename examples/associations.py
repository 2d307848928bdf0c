"""Does smoking go with asthma? Associations between columns of records, over six hospitals.

Run it: ``python examples/associations.py [--plot FILE]``. It needs the extra `fl`, as it compares
with SciPy. The hospitals sum up one cross table of two categorical columns within age groups;
chi-square, Cramer's V and odds ratios are computed from that, also the odds ratio of Mantel and
Haenszel, which takes the influence of age out. Everything is then compared with what SciPy makes of
the pooled records, which in earnest nobody has.

Data: records of a seeded generator. By its rules the odds of asthma are 1.9 times as large with
smoking at any age; and the old smoke less and have asthma more, which hides a part of that.

Protected: the records and counts of each hospital, from the server and from up to two hospitals
that collude with it; a server that lies is kept from them as well (malicious mode). The table of
all is exact: the server sees its small cells. What is published has none below 10.
"""

import argparse
import math
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from secagg.fl import picture_file

import secagg
from secagg.analytics import Bins, Categories, Count, Query
from secagg.extras import extra

with extra("fl"):
    from scipy import stats

HOSPITALS: Final = ("ada", "bell", "curie", "dirac", "euler", "fermat")
AGE: Final = Bins("age", (18, 45, 65, 120))
SMOKING: Final = Categories("smoking", ["never", "former", "current"], other=False)
ASTHMA: Final = Categories("asthma", ["no", "yes"], other=False)
QUERY: Final = Query({"table": Count([AGE, SMOKING, ASTHMA])}, records=100_000)
LEAST: Final = 10

Table = NDArray[np.float64]


def records_of(hospital: int) -> dict[str, NDArray[Any]]:
    """Draws the records of a hospital."""
    random, count = np.random.default_rng((3, hospital)), 900 + 250 * hospital
    age = random.normal(50, 18, count).clip(18, 99).round()
    smoking = np.where(random.random(count) < 0.6 - age / 150, "current", "never")
    smoking[(smoking == "never") & (random.random(count) < 0.3)] = "former"
    odds = 0.03 * np.exp(0.02 * (age - 18)) * np.where(smoking == "current", 1.9, 1.0)
    asthma = np.where(random.random(count) < odds / (1 + odds), "yes", "no")
    return {"age": age, "smoking": smoking, "asthma": asthma}


def chi_square(table: Table) -> tuple[float, int, float]:
    """Returns Pearson's statistic, its degrees of freedom, and Cramer's V."""
    total = table.sum()
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / total
    statistic = float(((table - expected) ** 2 / expected).sum())
    rows, columns = table.shape
    v = math.sqrt(statistic / total / (min(rows, columns) - 1))
    return statistic, (rows - 1) * (columns - 1), v


def odds_ratio(table: Table) -> tuple[float, float, float]:
    """Returns the odds ratio of two rows (without, with) and its interval of 95 %."""
    (a, b), (c, d) = table
    ratio = a * d / (b * c)
    wide = math.exp(1.959964 * math.sqrt((1 / table).sum()))
    return ratio, ratio / wide, ratio * wide


def mantel_haenszel(strata: Table) -> float:
    """Returns the odds ratio within strata, shape (strata, 2, 2)."""
    size = strata.sum(axis=(1, 2))
    with_both = strata[:, 0, 0] * strata[:, 1, 1] / size
    return float(with_both.sum() / (strata[:, 0, 1] * strata[:, 1, 0] / size).sum())


def draw(path: Path, table: Table, scipy: float) -> None:
    """Draws the share with asthma by age and smoking, and the odds ratios that follow."""
    from matplotlib.figure import Figure  # noqa: PLC0415  (only for pictures)

    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    shares, colours = 100 * table[:, :, 1] / table.sum(axis=2), ("#0072B2", "#009E73", "#D55E00")
    for name, share, colour in zip(SMOKING.labels, shares.T, colours, strict=True):
        left.plot(share, "o-", color=colour, label=name)
    smoke = table[:, 2].sum(axis=1) / table.sum(axis=(1, 2))
    pairs = zip(AGE.labels, smoke, strict=True)
    left.set_xticks(range(3), [f"{label}:\n{each:.0%} smoke" for label, each in pairs], fontsize=9)
    left.set(xlabel="age", ylabel="have asthma, %", yticks=range(0, 26, 5), xlim=(-0.3, 2.3))
    left.set_title("Age: more asthma, but fewer smokers", fontsize=10)
    left.legend(title="smoking", fontsize=8, loc="upper left")
    two = table[:, [0, 2]]
    found = np.array([odds_ratio(each) for each in (two.sum(axis=0), *two)]).T
    wide = np.abs(found[1:] - found[0])
    right.errorbar(found[0], range(4), xerr=wide, fmt="o", color="#0072B2")
    right.plot(mantel_haenszel(two), 4, "D", color="#0072B2")
    right.plot(scipy, 0, "kx", ms=9, zorder=3, label="SciPy, pooled records")
    right.axvline(1.9, color="black", ls=":", label="by the rules of the data")
    right.set_yticks(range(5), ["all ages", *AGE.labels, "within ages"])
    right.invert_yaxis()
    right.set(xlabel="odds ratio of smokers (line: 95 %)")
    right.set_title("This hides a part of what smoking does", fontsize=10)
    right.legend(fontsize=8, loc="lower right")
    figure.savefig(path, dpi=100)


def main() -> None:
    """Sums up the table, and compares what follows from it with the pooled records."""
    parser = argparse.ArgumentParser(description="Finds associations over six hospitals.")
    parser.add_argument("--plot", type=picture_file, metavar="FILE", help="draw a picture of it")
    path = parser.parse_args().plot
    records = [records_of(hospital) for hospital in range(len(HOSPITALS))]
    run = secagg.secure_sum(
        [QUERY.pack(each) for each in records],
        QUERY.format,
        mode=secagg.Mode.MALICIOUS,
        drops={4: secagg.Phase.UNMASK},  # euler's network fails: its records are in the sum
    )
    secure = QUERY.unpack(run)["table"].count.data.astype(float)
    print(QUERY.unpack(run, least=LEAST)["table"], f"\n(no cell below {LEAST})\n")
    both, two = secure.sum(axis=0), secure[:, [0, 2]]  # never and current

    inside = [records[at] for at in run.survivors]
    pooled = {name: np.concatenate([each[name] for each in inside]) for name in inside[0]}
    crossed = stats.contingency.crosstab(
        pooled["smoking"], pooled["asthma"], levels=(SMOKING.values, ASTHMA.values)
    ).count
    print("from the secure table                          SciPy, from pooled records")
    statistic, degrees, v = chi_square(both)
    scipy = stats.chi2_contingency(crossed, correction=False)
    p = float(stats.chi2.sf(statistic, degrees))
    print(
        f"chi-square {statistic:.4f}, {degrees} degrees, p {p:.3g}     "
        f"{scipy.statistic:.4f}, {scipy.dof} degrees, p {scipy.pvalue:.3g}"
    )
    scipy_v = stats.contingency.association(crossed, method="cramer")
    print(f"Cramer's V {v:.4f}                              {scipy_v:.4f}")
    ratio, low, high = odds_ratio(two.sum(axis=0))
    found = stats.contingency.odds_ratio(crossed[[0, 2]].astype(int), kind="sample")
    interval = found.confidence_interval(0.95)
    print(
        f"odds ratio {ratio:.4f} ({low:.4f} to {high:.4f})         {found.statistic:.4f} "
        f"({interval.low:.4f} to {interval.high:.4f})"
    )
    print(f"within ages, by Mantel and Haenszel {mantel_haenszel(two):.4f}; by the rules 1.9\n")
    print(
        f"What the server saw: one sum of {QUERY.length} numbers over {len(run.survivors)} of "
        f"{len(HOSPITALS)} hospitals, with every cell of\nthe table; and of each hospital a masked "
        "vector, which is random numbers to it."
    )
    if path:
        draw(path, secure, float(found.statistic))


if __name__ == "__main__":
    main()
