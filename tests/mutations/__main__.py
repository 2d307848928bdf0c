"""Compares two states of the test suite by which of sixty mutants each of them catches.

    python tests/mutations draw --data DIR > tests/mutations.json
    python tests/mutations cover --data DIR [--suite ARGS]
    python tests/mutations control --data DIR [--suite ARGS]
    python tests/mutations run --data DIR --results FILE [--suite ARGS]
    python tests/mutations table BEFORE [AFTER]

`draw` names the mutants, by a seed. `cover` notes which tests run which lines, for one suite and
one state of the tree: ARGS are pytest arguments. `control` runs the tests as for the mutants, but
without one: all must pass. `run` tries every mutant that FILE has no result of, so that it goes on
where it stopped. `table` prints results as Markdown. Needed are gcc and an environment in which
this tree is installed with the test extra. Nothing is written into the checkout.
"""

import argparse
import hashlib
import json
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

import c_sites
import python_sites
from sites import ROOT, TABLE, Name, Site, drawn, resolved, stored
from trial import Selection, Workshop


def say(text: str) -> None:
    """Prints a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def draw(shop: Workshop) -> None:
    """Draws the mutants and prints their names."""
    shop.prepare()
    python = python_sites.sites(ROOT)
    names = drawn(python, 40, 5, lambda site: python_sites.changes(ROOT, site))
    names += drawn(c_sites.sites(ROOT), 20, 2, shop.changes_core)
    say(json.dumps([asdict(name) for name in names], indent=1, ensure_ascii=False))


def digests() -> dict[str, str]:
    """The state of the files whose lines are noted."""
    paths = sorted({site.name.path for site in python_sites.sites(ROOT)})
    return {path: hashlib.sha256((ROOT / path).read_bytes()).hexdigest() for path in paths}


def cover(shop: Workshop, options: argparse.Namespace) -> None:
    """Runs the suite once and notes the seconds of tests and the lines that each runs."""
    from coverage import Coverage

    shop.prepare()
    words = f"-n {options.jobs} --cov --cov-report= --cov-fail-under=0"
    code, output = shop.pytest(shop.base, {"record": True}, words.split())
    say(output[-1500:])
    if code != 0:
        sys.exit("the suite is not green without a mutant")
    seconds = dict(map(json.loads, Path(f"{shop.base}.notes").read_text().splitlines()))
    bits = {name: 1 << number for number, name in enumerate(seconds)}
    whole = Coverage(data_file=f"{shop.base}.coverage", config_file=False)
    whole.load()
    lines: dict[str, dict[int, str]] = {}
    for path in digests():
        found = whole.get_data().contexts_by_lineno(str(shop.base / path))
        masks = {at: sum(bits.get(name, 0) for name in set(names)) for at, names in found.items()}
        lines[path] = {at: f"{mask:x}" for at, mask in masks.items()}
    content = {"suite": options.suite, "state": digests(), "seconds": seconds, "lines": lines}
    options.data.mkdir(parents=True, exist_ok=True)
    (options.data / "cover.json").write_text(json.dumps(content))
    say(f"{len(seconds)} tests, {sum(seconds.values()):.0f} s in all of them")


def work(options: argparse.Namespace) -> tuple[Selection, list[Site]]:
    """Reads what `cover` noted for this suite and these sources, and the mutants."""
    content = json.loads((options.data / "cover.json").read_text())
    if content["suite"] != options.suite or content["state"] != digests():
        sys.exit(f"{options.data} is of another suite or other sources: run `cover`")
    all_sites = [*python_sites.sites(ROOT), *c_sites.sites(ROOT)]
    sites = resolved(stored(TABLE), all_sites)
    return Selection(content["seconds"], content["lines"]), sites


def tried(shop: Workshop, tests: Selection, site: Site, number: int) -> dict[str, Any]:
    """Tries one mutant. A test that fails once and then passes has not caught it."""
    began, ran, done, doubtful = time.monotonic(), 0, list[str](), list[str]()
    found: dict[str, Any] = {"how": ""}

    def verdict_of(**plan: list[str]) -> dict[str, Any]:
        return shop.verdict(copy, {**plan, "usual": tests.seconds})

    with shop.copy(f"mutant{number}", site) as copy:
        if site.name.path.startswith("native/"):
            shop.build(copy)
        lots: list[list[str] | None] = [*tests.stages(site), None]
        while lots and not found["how"]:
            found = verdict_of(without=done) if lots[0] is None else verdict_of(only=lots[0])
            ran += found.pop("begun")
            if (
                found["how"] in {"failed", "time-out"}
                and not verdict_of(only=[found["last"]])["how"]
            ):
                doubtful.append(found["last"])
                found["how"] = ""
                lots[0] = None if lots[0] is None else [n for n in lots[0] if n not in doubtful]
                done += doubtful[-1:]
            elif not found["how"]:
                done += lots.pop(0) or []
    row = {"number": number, **found, "ran": ran, "doubtful": doubtful, "name": asdict(site.name)}
    return {**row, "seconds": round(time.monotonic() - began, 1)}


def run(shop: Workshop, options: argparse.Namespace) -> None:
    """Tries every mutant that has no result yet."""
    tests, sites = work(options)
    done = results(options.results) if options.results.exists() else {}
    if any(row["suite"] != options.suite for row in done.values()):
        sys.exit(f"{options.results} is of another suite")
    shop.prepare()
    with ThreadPoolExecutor(options.jobs) as pool:
        tasks = [
            pool.submit(tried, shop, tests, site, number)
            for number, site in enumerate(sites, 1)
            if site.name not in done
        ]
        try:
            for task in as_completed(tasks):
                row = {"suite": options.suite, **task.result()}
                with options.results.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                where = f"{row['number']:2} {row['name']['path']}"
                say(f"{row['seconds']:6.1f} s {row['ran']:5} tests {where}: {verdict(row)}")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            shop.close()
            raise


def control(shop: Workshop, options: argparse.Namespace) -> None:
    """Runs the first tests of every mutant, then the others, in a copy without a mutant."""
    tests, sites = work(options)
    shop.prepare()
    lots = [lot for site in sites for lot in tests.stages(site)[:1]]
    first = list(dict.fromkeys(name for lot in lots for name in lot))
    with shop.copy("control") as copy:
        shop.build(copy)
        plans: list[dict[str, Any]] = [{"only": first}, {"without": first}]
        rows = [shop.verdict(copy, {**plan, "usual": tests.seconds}) for plan in plans]
    say(json.dumps(rows, indent=1))
    sys.exit("not green without a mutant" if any(row["how"] for row in rows) else 0)


def results(path: Path) -> dict[Name, dict[str, Any]]:
    """The results in a file."""
    rows = map(json.loads, path.read_text().splitlines())
    return {Name(**row["name"]): row for row in rows}


def verdict(row: dict[str, Any] | None) -> str:
    """A result in a few words."""
    if row is None:
        return "not run"
    if not row["how"]:
        once = ", ".join(row.get("doubtful", ())).removeprefix("tests/")
        return "**alive**" + (f" (failed once: {once})" if once else "")
    how = f" ({row['how']})" if row["how"] != "failed" else ""
    caught: str = row["last"]
    return caught.removeprefix("tests/")[:90] + how


def table(options: argparse.Namespace) -> None:
    """Prints what was caught, and by which test."""

    def code(text: str) -> str:
        return "`" + (text if len(text) <= 100 else text[:97] + "...").replace("`", "'") + "`"

    found, names = [results(path) for path in options.results], stored(TABLE)
    titles = ["no.", "where", "change", *("caught before by", "caught after by")[: len(found)]]
    rows = [titles, ["---"] * len(titles)]
    for number, name in enumerate(names, 1):
        where = f"{name.path.removeprefix('secagg/')}, {name.function}"
        change = f"{code(name.original)} → {code(name.replacement)}"
        rows.append([str(number), where, change, *(verdict(one.get(name)) for one in found)])
    for row in rows:
        say("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
    counts = (sum(bool(one[name]["how"]) for name in names if name in one) for one in found)
    say("\nCaught: " + ", then ".join(f"{count} of {len(names)}" for count in counts))


def main() -> None:
    """Reads the command line. An interrupt ends every child and removes the copies."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["draw", "cover", "control", "run", "table"])
    parser.add_argument("before_after", type=Path, nargs="*", help="results for `table`")
    parser.add_argument("--data", type=Path, help="folder for what is noted, and for object files")
    parser.add_argument("--results", type=Path, help="JSON lines that `run` adds to")
    parser.add_argument("--suite", default="", metavar="ARGS", help="which tests: for pytest")
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side")
    options = parser.parse_intermixed_args()
    if options.command == "table":
        options.results = options.before_after
        return table(options)
    if options.data is None or (options.command == "run" and options.results is None):
        parser.error("--data and, to run, --results are needed")
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: sys.exit("interrupted"))
    shop = Workshop(options.data.resolve() / "objects", options.suite)
    try:
        if options.command == "draw":
            draw(shop)
        else:
            {"cover": cover, "control": control, "run": run}[options.command](shop, options)
    except (KeyboardInterrupt, InterruptedError):
        sys.exit("interrupted")
    finally:
        shop.close()


if __name__ == "__main__":
    main()
