"""What a data set of the size of the whole COD costs, from small ones.

    python benchmarks/data_build.py --crystals CRYSTALS

Writes ``data_build.md`` and ``data_build.csv`` beside this script. The crystals of the folder (its subfolders too) are
linked many times under other names, nested as the database is (``1/00/00/1000000.cif``). Each step runs at two sizes in
a process of its own; times are those of the processor, so a busy machine does not count. Memory is what the process
holds beyond what the same process holds before the step, at its most.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from kflow_sci import __version__
from kflow_sci.assembly.data.build import PART, build_part
from kflow_sci.assembly.data.listing import count_cifs, list_cifs, stamp_of
from kflow_sci.assembly.data.parts import cut
from kflow_sci.assembly.data.store import merge_stores
from kflow_sci.report.tables import Column, Row, write_csv, write_markdown

HERE = Path(__file__).parent
ROOT = HERE.parent
WHOLE = 500_000
COPIES = 32
SIZES = {"list": (10_000, 40_000), "read": (400, 1600), "join": (6_400, 25_600)}
TITLES = {
    "list": "list, check the ids, cut into parts (parent)",
    "read": "read a crystal, cut the cluster, store the part (worker)",
    "join": "join the parts (parent)",
}
COLUMNS = [
    Column("step", "step"),
    Column("crystals", "crystals"),
    Column("ms", "ms of one core per crystal", 3, "lower"),
    Column("memory", "memory, MB", 1, "lower"),
    Column("hours", f"core hours for {WHOLE:,}", 2),
]


def link(crystals: Path, folder: Path, count: int) -> None:
    """Lay out links to the crystals as the database lays out its files."""
    files = sorted(crystals.rglob("*.cif"))
    for k in range(count):
        number = 1_000_000 + k
        place = folder / str(number)[0] / str(number)[1:3] / str(number)[3:5]
        if k % 100 == 0:
            place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.cif").symlink_to(files[k % len(files)])


def measure(step: str, folder: Path, count: int) -> None:
    """Do a step in this process and print its seconds and its bytes."""
    scratch = Path(tempfile.mkdtemp(dir=folder.parent))
    some = sorted(list_cifs(folder))[:PART] if step != "list" else []
    if step != "list":
        build_part(scratch / "first.part", some, COPIES, "first")  # what is imported now does not count
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    if step == "list":
        count_cifs(folder)
        sum(1 for _ in cut(list_cifs(folder), scratch, [], size=PART, stamp=partial(stamp_of, folder=folder)))
    elif step == "read":
        for part in cut(list_cifs(folder), scratch, [], size=PART):
            build_part(part.path, part.items, COPIES, "first")
    else:
        merge_stores(scratch / "all.kfc", (scratch / "first.part" for _ in range(count // PART)))
    spent = time.process_time() - began
    print(spent, 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--crystals",
        type=Path,
        default=Path(os.environ.get("KFLOW_CRYSTALS", ROOT.parent / "shared" / "crystals")),
    )
    parser.add_argument("--out", type=Path, default=HERE / "data_build")
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        step, folder, count = options.step
        measure(step, Path(folder), int(count))
        return
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as place:
        for step, counts in SIZES.items():
            for count in counts:
                folder = Path(place) / f"{step}_{count}"
                link(options.crystals, folder, count if step != "join" else PART)
                words = [sys.executable, __file__, "--step", step, str(folder), str(count)]
                done = subprocess.run(words, check=True, capture_output=True, text=True)
                seconds, memory = (float(word) for word in done.stdout.split())
                rows.append(
                    {
                        "step": TITLES[step],
                        "crystals": count,
                        "ms": 1e3 * seconds / count,
                        "memory": memory / 1e6,
                        "hours": seconds / count * WHOLE / 3600,
                    }
                )
    above = (
        "# Cost of a data set of the size of the whole COD\n\n`kflow data build` on links to the crystals of this "
        f"project, {COPIES} molecules per cluster, kflow_sci {__version__}. All of them are accepted; a refused one "
        "costs less, and one with a huge cell more: 384,000 atoms in a cell took 20 s and 0.6 GB in a separate trial. "
        f"The last column carries the cost per crystal over to {WHOLE:,} of the same kind; that was not run."
    )
    write_markdown(options.out.with_suffix(".md"), rows, COLUMNS, above=above)
    write_csv(options.out.with_suffix(".csv"), rows)
    print(options.out.with_suffix(".md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
