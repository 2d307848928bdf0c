"""Can phones teach a model to read handwriting if only one in twenty reports at a time?

Run it: ``python examples/handwriting_phones.py``, or with ``--full`` for 60 rounds. It needs the
extra `fl`. There are 400 phones with three or four digits each, written by their owner. For each
round the server draws 20 of them, 5 % of all; about one in ten is lost on the way: its battery is
low, or the network is gone. The others train a softmax regression, and the server adds the mean of
their updates with Adam (FedAdam), which three examples a phone need.

Data: 1,797 digits of 8 x 8 pixels from scikit-learn (UCI, "Optical Recognition of Handwritten
Digits", CC BY 4.0). Pixels are scaled by row, on the phone: nothing is computed over phones but
what is summed.

Protected: digits and updates of each phone, from the server, which learns sums over at least 14
phones, also if six of the 20 are in league with it. Not protected: who took part, and what a sum
tells. That is little of one phone among 20, but only noise gives a proof
(`secagg.fl.private_params`).
"""

import argparse
from typing import Final

import numpy as np
from secagg.fl import (
    Adam,
    Descent,
    FedAvg,
    LocalClient,
    Score,
    Softmax,
    Split,
    accuracy,
    draw_drops,
    fedavg_params,
    load,
    loss,
    simulated_randomness,
)

from secagg import Mode

PHONES: Final = 400
INVITED: Final = 20
LOST: Final = 0.1  # the share of phones that fail in a round
SEED: Final = 5


def main() -> None:
    """Trains, and prints accuracy and cost over the rounds."""
    parser = argparse.ArgumentParser(description="Trains on the handwriting of 400 phones.")
    parser.add_argument("--full", action="store_true", help="60 rounds in place of 30")
    rounds = 60 if parser.parse_args().full else 30
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


if __name__ == "__main__":
    main()
