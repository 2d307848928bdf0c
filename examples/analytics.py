"""Statistics of five hospitals whose records stay where they are: tables, means, a median.

Run it: ``python examples/analytics.py [--plot FILE]``. All parties are in this process, in
malicious mode, with homes in memory; over a network, ``ask`` is your transport (docs/INTEGRATE.md),
and each hospital makes the query from its own configuration. It prints what the server learned
of all, what became of a question that nobody had agreed to, and what it saw of one hospital.
"""

import argparse
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from secagg.fl import picture_file

import secagg
from secagg.analytics import Bins, Categories, Count, Moments, Query, Table

HOSPITALS = ("ada", "bell", "curie", "dirac", "euler")
WORD = "diabetes survey 2026"  # another one for each time that the records may be asked about
SEX = Categories("sex", ["f", "m"], other=False)
AGES = (0, 18, 30, 40, 50, 60, 70, 80, 120)
DIAGNOSIS = Categories("diagnosis", ["type 1", "type 2", "gestational"])
QUERY = Query(
    {
        "age": Count(Bins("age", AGES)),
        "diagnosis and sex": Count([DIAGNOSIS, SEX]),
        "hba1c": Moments("hba1c", 3.0, 20.0, 0.1, missing="count"),
        "hba1c by diagnosis": Moments("hba1c", 3.0, 20.0, 0.1, by=DIAGNOSIS, missing="count"),
    },
    records=100_000,  # the most of one hospital
)
# Its difference to the agreed one would be the number of those who are 18.
OTHER = Query(
    {**dict(QUERY.questions), "age": Count(Bins("age", (0, 19, *AGES[2:])))}, records=QUERY.records
)


def records_of(name: str) -> dict[str, np.ndarray]:
    """Returns the records of a hospital; they never leave it. Here they are drawn at random."""
    generator = np.random.default_rng(HOSPITALS.index(name))
    count = 150 + 50 * HOSPITALS.index(name)
    sex = generator.choice(["f", "m"], count)
    diagnosis = generator.choice(["type 1", "type 2", "other"], count, p=[0.2, 0.75, 0.05])
    diagnosis[(sex == "f") & (generator.random(count) < 0.05)] = "gestational"
    age = generator.normal(58, 16, count).clip(1, 99).round()
    hba1c = generator.normal(np.where(diagnosis == "type 1", 8.2, 7.1), 1.1).round(1)
    hba1c[generator.random(count) < 0.03] = np.nan  # not measured
    return {"age": age, "sex": sex, "diagnosis": diagnosis, "hba1c": hba1c}


def train(name: str, assignment: secagg.Assignment) -> np.ndarray:
    """Returns the answer of a hospital; raises if another query is asked than the agreed one."""
    assignment.expect(WORD, QUERY)
    return QUERY.pack(records_of(name))


class Consortium:
    """The homes of all hospitals, and the messages that their answers are."""

    def __init__(self) -> None:
        keys = {name: secagg.Identity.generate() for name in HOSPITALS}
        self.pins = secagg.Directory.of([(name, key.verify_key) for name, key in keys.items()])
        policy = secagg.Policy(mode=secagg.Mode.MALICIOUS, min_survivors=3)
        self._homes = {
            name: secagg.Home.in_memory(
                identity=key, directory=self.pins, ledger=secagg.MemoryLedger(), policy=policy
            )
            for name, key in keys.items()
        }
        self.seen: dict[str, bytes] = {}  # masked inputs, as the server gets them

    def ask(
        self, phase: secagg.Phase, messages: Mapping[str, bytes]
    ) -> Iterator[tuple[str, bytes]]:
        """Carries messages to the hospitals, and their answers back."""
        for name, message in messages.items():
            answer = secagg.answer(self._homes[name], message, partial(train, name))
            if phase is secagg.Phase.MASKED_INPUT:
                self.seen[name] = answer
            yield name, answer


def masked_in(message: bytes) -> np.ndarray:
    """Returns the numbers in a masked input as the server has it (docs/WIRE.md)."""
    packed = np.frombuffer(message, np.uint8)[52:-64]  # a header and a hash; a signature
    width = 8 * len(packed) // QUERY.length
    bits = np.unpackbits(packed, bitorder="little")[: QUERY.length * width]
    return bits.reshape(-1, width) @ (1 << np.arange(width))


def draw(path: Path, seen: np.ndarray, table: Table) -> None:
    """Draws the ages that a hospital gave, what the server saw of them, and the sum."""
    from matplotlib.figure import Figure  # noqa: PLC0415  (only for pictures)

    figure = Figure(figsize=(7.2, 3.0), layout="constrained")
    labels, median = table.labels[0], table.quantile(0.5)
    panels = {
        "Ages that ada gives": (QUERY.pack(records_of("ada")), "#D55E00"),
        "The server sees of ada": (seen, "#999999"),
        f"The sum: median {median.value:.1f}": (table.count.data, "#0072B2"),
    }
    for axes, (title, (counts, colour)) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        axes.bar(labels, counts[: len(labels)], color=colour)
        axes.set_title(title, fontsize=10)
        axes.tick_params("x", rotation=90)
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.set_xlabel("age")
    figure.axes[0].set_ylabel("patients")
    figure.savefig(path, dpi=100)


def main() -> None:
    """Asks the agreed query, and then another one."""
    parser = argparse.ArgumentParser(description="Asks five hospitals for statistics.")
    parser.add_argument("--plot", type=picture_file, metavar="FILE", help="draw a picture of it")
    path = parser.parse_args().plot
    consortium = Consortium()
    print(QUERY, "\n")
    rounds = secagg.Rounds(WORD, QUERY.format, directory=consortium.pins)
    outcome = secagg.run_round(rounds, consortium.ask, HOSPITALS, QUERY)
    if isinstance(outcome, secagg.Failed):
        raise SystemExit(f"analytics: {outcome.reason} [{outcome.code}]")
    seen = consortium.seen["ada"]
    tables = QUERY.unpack(outcome.result)
    for name, table in QUERY.unpack(outcome.result, least=5).items():
        print(f"{name}, of {', '.join(HOSPITALS)}:\n{table}\n")
    median = tables["age"].quantile(0.5)
    print(f"median age: about {median.value:.1f}, in {median.low:g}..{median.high:g}\n")

    if path:
        draw(path, masked_in(seen), tables["age"])
    rounds = secagg.Rounds(WORD, OTHER.format, directory=consortium.pins)
    outcome = secagg.run_round(rounds, consortium.ask, HOSPITALS, OTHER)
    print(f"Asked again, with the edge 19 in place of 18: {type(outcome).__name__}")
    for name, code in rounds.history[-1].refused.items():
        print(f"{name} refused [{code}]")
    print("\nWhat ada gave:      ", *QUERY.pack(records_of("ada"))[:8], "...")
    print("What the server saw:", seen[120:150].hex(" ", 2), "...")


if __name__ == "__main__":
    main()
