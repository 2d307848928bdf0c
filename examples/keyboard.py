"""Which words do people type, and how fast? A keyboard's statistics, without a model.

Run it: ``python examples/keyboard.py [--full] [--plot FILE]`` (400 phones; 2,000). It needs the
extra `dp`, which computes epsilon. It asks twice. Exactly: each phone counts its last 20 words, and
words of fewer than 25 uses are not published. And with noise: each phone gives one of its words at
random, and its speed in steps of ten words per minute; the phones themselves add noise to that.

Data: words and speeds of a seeded generator, by Zipf's law; some people type a word of their own.

The list of words must be public before anybody types. Were it made of what people type, a rare word
in it would tell that somebody typed it, and no noise on its count could take that back. What is not
in the list is counted as "other", so a phone never sends a word at all.

Protected: what an owner types, and how fast, from the server and from up to 5 % of the phones that
collude with it. Without noise the server sees every cell, the small ones as well; the least count
protects from those who see what is published. With noise, epsilon bounds what all of it can tell
of one phone; it is for this one round, and each further day is a round more. In earnest ask one of
the two: whoever has both has the exact one.
"""

import argparse
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray
from secagg.fl import picture_file

import secagg
from secagg import noise
from secagg.analytics import Bins, Categories, Count, Moments, MomentsTable, Query, Table

TEXT: Final = """the be to of and a in that have it for not on with he as you do at this but his by
from they we say her she or an will my one all would there their what so up out if about who get
which go me when make can like time no just him know take"""
VOCABULARY: Final = TEXT.split()
WORD: Final = Categories("word", VOCABULARY)  # with "other"
WORDS, LEAST = 20, 25
SPEEDS: Final = Bins("speed", range(0, 101, 10))
EXACT: Final = Query({"word": Count(WORD), "speed": Moments("speed", 0, 100, 1)}, records=WORDS)
QUESTIONS: Final = {"word": Count(WORD), "speed": Count(SPEEDS)}
ONE: Final = Query(QUESTIONS, records=1)
CORRUPT, DROPOUT = 0.05, 0.1
EPSILON, DELTA = 2.0, 1e-5


def typed(phone: int) -> dict[str, Any]:
    """Draws the last words of an owner, and the speed of each."""
    random = np.random.default_rng((11, phone))
    chance = 1 / (1 + np.arange(len(VOCABULARY) + 1))
    chance[-1] = 0.02 * chance.sum()
    words = random.choice([*VOCABULARY, f"name{phone}"], WORDS, p=chance / chance.sum())
    speed = random.normal(random.normal(38, 9), 6, WORDS).clip(1, 99).round()
    return {"word": words.tolist(), "speed": speed}


def one_of(records: dict[str, Any]) -> dict[str, Any]:
    """Returns one record, drawn on the phone."""
    at = int(np.random.default_rng().integers(WORDS))
    return {name: [column[at]] for name, column in records.items()}


def securely(vectors: list[Any], params: secagg.Params) -> Any:
    """Returns the sum over the phones, of which every fifteenth is lost on the way."""
    gone = dict.fromkeys(range(0, len(vectors), 15), secagg.Phase.MASKED_INPUT)
    names = "threshold", "min_survivors", "colluders", "degree"
    safe = {name: getattr(params, name) for name in names}
    return secagg.secure_sum(vectors, params.format, drops=gone, transcript=False, **safe)


def draw(
    path: Path, exact: NDArray[Any], noisy: dict[str, Table], least: float, speeds: NDArray[Any]
) -> None:
    """Draws the counts with noise beside the exact ones per phone, and the speeds."""
    from matplotlib.figure import Figure  # noqa: PLC0415  (only for pictures)

    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.8, 1))
    order, counts = np.argsort(-exact, kind="stable"), noisy["word"].count.data
    left.plot(exact[order], color="#0072B2", label="exact, divided by 20")
    left.plot(counts[order], "o", ms=3.5, color="#E69F00", label="with noise, one word each")
    left.axhline(least, color="black", ls="--", label="below: not shown")
    left.set_yscale("symlog", linthresh=20)
    left.set_yticks((0, 10, 20, 50, 100, 200, 400), labels=[0, 10, 20, 50, 100, 200, 400])
    named = range(0, len(order), 8)
    left.set_xticks(named, [WORD.labels[order[at]] for at in named], fontsize=9)
    left.set(xlabel="words by frequency (one in eight is named)", ylabel="uses", ylim=(-12, 600))
    above = f"{(counts >= least).sum()} of {len(order)} words"
    left.set_title(f"{above} stand out of the noise", fontsize=10)
    left.legend(fontsize=8)
    found = noisy["speed"].count.data
    right.stairs(100 * found / found.sum(), SPEEDS.edges, color="#E69F00", label="with noise")
    pooled = np.histogram(speeds, SPEEDS.edges)[0]
    right.stairs(100 * pooled / pooled.sum(), SPEEDS.edges, color="black", ls=":", label="pooled")
    right.set(xlabel="words per minute", ylabel="share of words, %")
    right.set_title("Speed, with noise", fontsize=10)
    right.legend(fontsize=8)
    figure.savefig(path, dpi=100)


def main() -> None:
    """Asks twice, and prints what comes back beside what the pooled records say."""
    parser = argparse.ArgumentParser(description="Counts the words of a keyboard's users.")
    parser.add_argument("--full", action="store_true", help="2,000 phones in place of 400")
    parser.add_argument("--plot", type=picture_file, metavar="FILE", help="draw a picture of it")
    args = parser.parse_args()
    phones = [typed(phone) for phone in range(2000 if args.full else 400)]
    shape: dict[str, Any] = {"corrupt": CORRUPT, "dropout": DROPOUT, "sparse": True}

    params = secagg.Params.for_cohort(len(phones), EXACT.length, EXACT.format, **shape)
    sums = securely([EXACT.pack(each) for each in phones], params)
    exact, shown = EXACT.unpack(sums), EXACT.unpack(sums, least=LEAST)
    mean = cast("MomentsTable", exact["speed"]).mean
    plan = noise.calibrate(
        epsilon=EPSILON,
        delta=DELTA,
        rounds=1,
        clip=ONE.norm,
        length=ONE.length,
        cohort=len(phones),
        **shape,
    )
    query = Query(QUESTIONS, records=1, format=plan.form)
    noisy_sums = securely([query.pack(one_of(each)) for each in phones], plan.params)
    noisy = query.unpack(noisy_sums)
    speeds, least = noisy["speed"], 3 * noisy["word"].noise
    above = np.ma.masked_less(noisy["word"].count, least)

    print(f"{len(phones)} phones, {WORDS} words each\n")
    print(f"{'':6} {'exact':>8} {'noise, of one word each':>26}")
    labels = WORD.labels
    order = np.argsort(-exact["word"].count.data, kind="stable")
    for at in [*order[:8].tolist(), order.tolist()[-1]]:
        cells = ("-" if np.ma.is_masked(each) else f"{each:,}" for each in
                 (shown["word"].count[at], above[at]))  # fmt: skip
        print(f"{labels[at]:6} {next(cells):>8} {next(cells):>26}")
    print(
        f"not shown: {shown['word'].suppressed} of {len(labels)} words, for a least count of "
        f"{LEAST}; with noise {above.mask.sum()} words, below\n{least:.1f}, three standard "
        "deviations of it"
    )
    middles = np.array(SPEEDS.edges[:-1]) + 5.0
    rough = float((middles * speeds.count.data).sum() / speeds.count.data.sum())
    all_speeds = np.concatenate([phones[at]["speed"] for at in sums.survivors])
    pooled = float(all_speeds.mean())
    print(
        f"\nmean speed in words per minute: {pooled:.2f} pooled, "
        f"{float(mean):.2f} by the secure sum,\n{rough:.1f} from the histogram with "
        f"noise\n\nepsilon {plan.epsilon():.2f} at delta {DELTA:g} for each phone, of the round "
        f"with noise: it relies on the noise of\n{plan.honest} honest phones.\n\nWhat the server "
        f"saw: one exact sum of {EXACT.length} numbers over {len(sums.survivors)} phones, with "
        f"every count, the small ones\nas well; and one sum of {ONE.length} counts with noise over "
        f"{len(noisy_sums.survivors)} phones. No word that is not in the public\nlist."
    )
    if args.plot:
        draw(args.plot, exact["word"].count.data / WORDS, noisy, least, all_speeds)


if __name__ == "__main__":
    main()
