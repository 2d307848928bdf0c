"""Can phones teach a model to read handwriting if only one in twenty reports at a time?

Run it: ``python examples/handwriting_phones.py [--full] [--plot FILE]`` (30 rounds; 60). It needs
the extra `fl`. There are 400 phones with three or four digits each, written by their owner. For
each round the server draws 20 of them, 5 % of all; about one in ten is lost on the way: its battery
is low, or the network is gone. The others train a softmax regression, and the server adds the mean
of their updates with Adam (FedAdam), which three examples a phone need.

Data: 1,797 digits of 8 x 8 pixels from scikit-learn (UCI, "Optical Recognition of Handwritten
Digits", CC BY 4.0). Pixels are scaled by row, on the phone: nothing is computed over phones but
what is summed.

Protected: digits and updates of each phone, from the server, which learns sums over at least 14
phones, also if six of the 20 are in league with it. Not protected: who took part, and what a sum
tells. That is little of one phone among 20, but only noise gives a proof
(`secagg.fl.private_params`).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from secagg.fl import (
    Adam,
    Dataset,
    Descent,
    FedAvg,
    LocalClient,
    RoundReport,
    Score,
    Softmax,
    Split,
    accuracy,
    draw_drops,
    fedavg_params,
    load,
    loss,
    picture_file,
    simulated_randomness,
)

from secagg import Mode

PHONES: Final = 400
INVITED: Final = 20
LOST: Final = 0.1  # the share of phones that fail in a round
SEED: Final = 5


def without_sums(
    kind: Softmax, data: Dataset, phones: Sequence[LocalClient]
) -> tuple[float, list[float]]:
    """Returns how many digits are right, in %: trained on all at one place, and on each phone."""
    model = kind.init(SEED)
    pooled = LocalClient(kind, data.pooled, Descent(rate=0.5, epochs=60, batch=64), SEED)
    alone = [
        LocalClient(kind, each.data, Descent(rate=0.5, epochs=200, batch=4)) for each in phones
    ]
    found = [100 * accuracy(kind, each.train(model), data.test) for each in (pooled, *alone)]
    return found[0], found[1:]


def draw(
    path: Path, reports: Sequence[RoundReport], quorum: int, pooled: float, alone: Sequence[float]
) -> None:
    """Draws the accuracy after each round beside what is reached without sums."""
    from matplotlib.figure import Figure  # noqa: PLC0415  (only for pictures)

    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.2))
    rounds, scores = zip(
        *((each.round, 100 * each.score.accuracy) for each in reports), strict=True
    )
    together = f"secure sums of {INVITED} phones: {scores[-1]:.1f} %"
    upper.plot(rounds, scores, color="#0072B2", marker=".", label=together)
    upper.axhline(pooled, color="black", ls=":", label=f"all digits pooled: {pooled:.1f} %")
    low, middle, high = np.quantile(alone, (0.05, 0.5, 0.95))
    label = f"a phone alone: {middle:.0f} %, nine in ten {low:.0f} to {high:.0f} %"
    upper.axhline(middle, color="#D55E00", label=label)
    upper.axhspan(low, high, color="#D55E00", alpha=0.25, lw=0)
    upper.legend(loc="center right", fontsize=8)
    upper.set(title=f"{INVITED / PHONES:.0%} of the phones in a round are enough")
    upper.set(ylim=(0, 103), ylabel="test digits right, %", xlim=(0, len(rounds) + 1))
    lower.bar(rounds, [len(each.survivors) for each in reports], color="#0072B2", alpha=0.6)
    lower.bar([each.round for each in reports if each.failed], INVITED, color="#BBBBBB")
    lower.axhline(quorum, color="black", ls="--")
    lower.set_title(f"dashed: {quorum}, the least; grey: failed, model unchanged", fontsize=9)
    lower.set(xlabel="round", ylabel="phones\nin the sum", ylim=(0, INVITED + 1))
    figure.savefig(path, dpi=100)


def main() -> None:
    """Trains, and prints accuracy and cost over the rounds."""
    parser = argparse.ArgumentParser(description="Trains on the handwriting of 400 phones.")
    parser.add_argument("--full", action="store_true", help="60 rounds in place of 30")
    parser.add_argument("--plot", type=picture_file, metavar="FILE", help="draw a picture of it")
    args = parser.parse_args()
    rounds = 60 if args.full else 30
    data, random = load("digits", clients=1, by_row=True), np.random.default_rng(SEED)
    digits = data.pooled
    rows = np.array_split(random.permutation(len(digits)), PHONES)
    kind = Softmax(data.features, data.classes)
    steps = Descent(rate=0.5, epochs=5, batch=4)
    phones = [
        LocalClient(kind, Split(digits.x[each], digits.y[each]), steps, seed)
        for seed, each in enumerate(rows)
    ]
    model, optimizer = kind.init(SEED), Adam(0.1)
    params = fedavg_params(phones, model, sample=INVITED, optimizer=optimizer)
    drops = [draw_drops(random, PHONES, LOST, Mode.SEMI_HONEST) for _ in range(rounds)]
    training = FedAvg(
        model,
        phones,
        rounds=rounds,
        params=params,
        optimizer=optimizer,
        sample=INVITED,
        drops=drops,
        random=simulated_randomness(SEED),  # so that a run can be repeated; leave it out in earnest
        evaluate=lambda now: Score(loss(kind, now, data.test), accuracy(kind, now, data.test)),
    )
    print(
        f"{PHONES} phones with {min(map(len, rows))} to {max(map(len, rows))} "
        f"digits, {INVITED} invited to a round; {params.quorum} must give an update.\n"
    )
    print("round  in the sum  accuracy  bytes up  bytes down (per phone)")
    reports = []
    for report in training:
        reports.append(report)
        if report.round % 5 == 0 or report.round == 1 or report.failed:
            inside = "failed" if report.failed else f"{len(report.survivors)} of {INVITED}"
            print(
                f"{report.round:5}  {inside:>10}  {report.score.accuracy:8.1%}  "
                f"{report.bytes_up:8,.0f}  {report.bytes_down:10,.0f}"
            )
    sizes = [len(report.survivors) for report in reports if not report.failed]
    met = {phone for report in reports for phone in report.survivors}
    more = sum(array.nbytes for array in model)
    print(
        f"\n{len(met)} of {PHONES} phones are in at least one sum. A phone that is invited also "
        f"gets the\nmodel, {more:,} bytes.\n\nWhat the server saw: {len(sizes)} sums of "
        f"{params.length} numbers and of the numbers of digits, each over {min(sizes)} to\n"
        f"{max(sizes)} phones; which phones these were; and masked vectors, which are random "
        "numbers to it."
    )
    if args.plot:
        draw(args.plot, reports, params.quorum, *without_sums(kind, data, phones[:100]))


if __name__ == "__main__":
    main()
