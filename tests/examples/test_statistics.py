"""Examples of statistics, and of trainings over many clients: what they print is what is so.

Each runs as a process, as its docstring says. Its numbers are computed again here, from the same
records pooled, by plain loops, NumPy, SciPy or scikit-learn.
"""

import importlib.util
import re
import sys
import tempfile
from collections import Counter
from itertools import combinations
from pathlib import Path

import children
import numpy as np
import pytest
from levels import runs_at

from secagg import Phase

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

pytestmark = runs_at("programs")


def printed(name):
    """Returns what an example prints, and its module for its data; it must draw a picture."""
    command = [sys.executable, "-W", "error", EXAMPLES / f"{name}.py"]
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder, "picture.png")
        done = children.run([*command, "--plot", picture], seconds=300)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        assert picture.stat().st_size > 8000
    assert "\n\nWhat the server saw: " in done.stdout
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return done.stdout, module


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """Puts the modules where dataclasses look for them, and takes them out again."""
    for path in EXAMPLES.glob("*.py"):
        monkeypatch.setitem(sys.modules, f"example_{path.stem}", None)
        monkeypatch.delitem(sys.modules, f"example_{path.stem}")


def numbers(text, pattern):
    """Returns the groups of the one place that matches, as floats."""
    (found,) = re.findall(pattern, text)
    groups = found if isinstance(found, tuple) else (found,)
    return [float(each.replace(",", "")) for each in groups]


def test_phones_learn_to_read_though_few_report():
    """As well as a regression on all digits at one place, within five points."""
    linear = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    out, _ = printed("handwriting_phones")
    from secagg.fl import load

    data = load("digits", clients=1, by_row=True)
    pooled = linear.LogisticRegression(C=10, max_iter=1000).fit(data.pooled.x, data.pooled.y)
    rows = re.findall(r"^ +(\d+) +(\d+) of 20 +([\d.]+)% +([\d,]+) +([\d,]+)$", out, re.M)
    scores = [float(row[2]) for row in rows]
    assert [int(row[0]) for row in rows] == [1, 5, 10, 15, 20, 25, 30]
    assert all(14 <= int(row[1]) <= 20 for row in rows)
    assert scores[0] < 50 < scores[2]
    assert scores[-1] > 100 * pooled.score(data.test.x, data.test.y) - 5
    assert all(1_500 < float(row[3].replace(",", "")) < 6_000 for row in rows)  # 650 x 28 bits
    met, sums, least, most = (
        *numbers(out, r"(\d+) of 400 phones are in at least one sum"),
        *numbers(out, r"saw: (\d+) sums of 650 numbers .*over (\d+) to\n(\d+) phones"),
    )
    assert (sums, 14 <= least <= most <= 20) == (30, True)
    assert least * 5 < met <= 400


def test_recommendations_are_those_of_the_pooled_baskets():
    """Counted by pairs in plain Python; with noise they are worse, and better than none."""
    out, module = printed("recommendation")
    people = module.baskets(300)
    items, pairs = Counter(), Counter()
    for phone, basket in enumerate(people):
        if phone % 20:
            items.update(basket[:-1])
            pairs.update(frozenset(pair) for pair in combinations(basket[:-1], 2))

    def recall(least):
        hits = 0
        for *known, wanted in people:
            score = {}
            for item in set(range(40)) - set(known):
                counts = [(pairs[frozenset((item, other))], other) for other in known]
                score[item] = sum(
                    count / (items[item] * items[other]) ** 0.5
                    for count, other in counts
                    if count >= least
                )
            hits += wanted in sorted(score, key=lambda item: (-score[item], item))[:5]
        return 100 * hits / len(people)

    assert "pooled and secure: equal" in out
    (pooled,) = numbers(out, r"pooled baskets +([\d.]+)%")
    (secure,) = numbers(out, r"secure sum +([\d.]+)%")
    cut, hidden = numbers(out, r"fewer than 5 +([\d.]+)% \((\d+) pairs\)")
    noisy, scale = numbers(out, r"noise of the phones +([\d.]+)% \(counts \+- ([\d.]+)\)")
    (popular,) = numbers(out, r"popularity alone +([\d.]+)%")
    assert pooled == secure == pytest.approx(recall(1), abs=0.4)  # one owner, by a tie
    assert cut == pytest.approx(recall(5), abs=0.4)
    assert hidden == 780 - sum(count >= 5 for count in pairs.values())
    assert popular + 3 < noisy < pooled + 3
    assert 3 < scale < 10
    assert numbers(out, r"epsilon ([\d.]+) at delta")[0] <= 4
    assert numbers(out, r"summed over (\d+) phones") == [285]


def test_sensors_have_the_quantiles_of_all_readings():
    """Within a bin; means and shares of what is odd exactly; and soil is foretold as well."""
    out, module = printed("sensors")
    from secagg.fl import draw_drops

    from secagg import Mode

    offline = draw_drops(np.random.default_rng(module.SEED), 60, 0.1, Mode.SEMI_HONEST)
    inside = [p for p in range(60) if offline.get(p, Phase.UNMASK) is Phase.UNMASK]
    assert f"{len(offline)} of 60 gateways went offline; the sum is over {len(inside)}." in out
    readings = [module.readings_of(p) for p in inside]
    kinds, celsius, odd = (
        np.concatenate([each[name] for each in readings]) for name in ("kind", "celsius", "odd")
    )
    for kind in ("room", "stable", "soil"):
        row = numbers(
            out,
            rf"{kind} +([\d,]+) +([\d.]+) +([\d.]+)% +([\d.]+) \(.*\) +([\d.]+) \(.*\) +([\d.]+)",
        )
        own = celsius[kinds == kind]
        assert row[0] == own.size
        assert row[1] == pytest.approx(own.mean(), abs=0.006)
        assert row[2] == pytest.approx(100 * odd[kinds == kind].mean(), abs=0.06)
        assert row[3:] == pytest.approx(np.quantile(own, (0.05, 0.5, 0.95)), abs=0.51)
    today, federated, pooled = (
        numbers(out, rf"{name} +([\d.]+)\n")[0] for name in ("as today", "federated", "pooled")
    )
    assert pooled <= federated + 0.02 <= 1.2 * pooled
    assert federated < today / 2
    assert numbers(out, r"each over (\d+) to (\d+)\ngateways")[0] >= 14


def test_the_keyboard_counts_what_was_typed():
    """Exactly, but nothing below the least count; with noise about so."""
    out, module = printed("keyboard")
    phones = [module.typed(phone) for phone in range(400) if phone % 15]
    words = Counter(word for phone in phones for word in phone["word"])
    rows = re.findall(r"^(\w+) +([\d,]+|-) +([\d,]+|-)$", out, re.M)
    assert len(rows) == 9
    for word, exact, noisy in rows:
        if exact == "-":
            assert words[word] < 60  # hidden, or so that another one stays hidden
        else:
            assert int(exact.replace(",", "")) == words[word] >= 25
        if noisy != "-":
            assert abs(int(noisy) - words[word] / 20) < 60
    assert rows[0][2] != "-"
    speed = np.concatenate([phone["speed"] for phone in phones]).mean()
    pooled, secure = numbers(out, r"minute: ([\d.]+) pooled, ([\d.]+) by")
    assert pooled == secure == pytest.approx(speed, abs=0.006)
    assert abs(numbers(out, r"([\d.]+) from the histogram")[0] - speed) < 5
    assert 1.9 < numbers(out, r"epsilon ([\d.]+) at")[0] <= 2
    assert re.findall(r"over (\d+) phones", out) == [str(len(phones))] * 2


def test_associations_are_those_of_scipy():
    """Also that of Mantel and Haenszel, which SciPy lacks, by its formula."""
    stats = pytest.importorskip("scipy.stats", reason="SciPy is not installed")
    out, module = printed("associations")
    cells = Counter()
    for hospital in range(6):
        columns = module.records_of(hospital)
        for age, smoking, asthma in zip(*columns.values(), strict=True):
            cells[int(age >= 45) + int(age >= 65), smoking, asthma] += 1
    table = np.array(
        [[sum(cells[age, row, column] for age in range(3)) for column in ("no", "yes")]
         for row in ("never", "former", "current")]
    )  # fmt: skip
    found = numbers(
        out, r"chi-square ([\d.]+), 2 degrees, p ([\d.e-]+) +([\d.]+), .*p ([\d.e-]+)\n"
    )
    wanted = stats.chi2_contingency(table, correction=False)
    assert found == pytest.approx([wanted.statistic, wanted.pvalue] * 2, rel=0.01)
    low, high = stats.contingency.odds_ratio(table[[0, 2]], kind="sample").confidence_interval()
    found = numbers(out, r"odds ratio ([\d.]+) \(([\d.]+) to ([\d.]+)\)")
    ratio = table[0, 0] * table[2, 1] / (table[0, 1] * table[2, 0])
    assert found == pytest.approx([ratio, low, high], abs=1e-4)
    above = below = 0.0
    for age in range(3):
        a, b, c, d = (cells[age, row, column] for row in ("never", "current")
                      for column in ("no", "yes"))  # fmt: skip
        above += a * d / (a + b + c + d)
        below += b * c / (a + b + c + d)
    assert numbers(out, r"Haenszel ([\d.]+)") == pytest.approx([above / below], abs=1e-4)
    assert "one sum of 18 numbers over 6 of 6 hospitals" in out


def test_traffic_has_its_peaks_and_no_small_cell():
    out, module = printed("city_traffic")
    cells, total = Counter(), 0
    for operator in (0, 1, 2, 3, 4, 6):
        records = module.vehicles_of(operator)
        cells.update(zip(records["district"], records["hour"], strict=True))
        total += len(records["hour"])
    assert f"{total:,} vehicles of 6 operators; pooled and secure: equal" in out
    for name, (peaks, *_) in module.CITY.items():
        (row,) = re.findall(rf"^{name} +(.*)   (\d+):00 and (\d+):00$", out, re.M)
        assert (int(row[1]), int(row[2])) == peaks
        for at, cell in enumerate(row[0].split()):
            assert cell == "-" or int(cell) == cells[name, 2 * at] >= 30
            assert cell == "-" or cells[name, 2 * at] > 0
    small = sum(cells[name, hour] < 30 for name in module.CITY for hour in range(24))
    assert numbers(out, r"suppressed \(-\): (\d+) below") == [small]
    assert numbers(out, r"(\d+) of 144 cells are suppressed")[0] > small > 0


def test_shards_cost_averaging_more():
    """With one seed, as it runs by default; tests/fl/test_optimizers.py judges three."""
    out, _ = printed("two_label_shards")
    rows = re.findall(r"^(\w+) +([\d.]+) % +(> 20|\d+) +([\d.]+) % +(> 20|\d+)$", out, re.M)
    alike, unlike = ({row[0]: float(row[at]) for row in rows} for at in (1, 3))
    assert list(alike) == ["FedAvg", "FedAdam", "FedYogi", "FedAvgM", "SCAFFOLD", "FedProx"]
    assert all(88 < score < 97 for score in alike.values())
    assert unlike["FedAvg"] < alike["FedAvg"] - 5
    assert min(unlike["FedAdam"], unlike["SCAFFOLD"]) > unlike["FedAvg"] + 5
