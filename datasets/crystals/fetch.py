"""Fetch the listed crystals from the Crystallography Open Database, or check a folder of them.

    python datasets/crystals/fetch.py get FOLDER      # fills FOLDER/experimental; run again to continue
    python datasets/crystals/fetch.py verify FOLDER   # compares FOLDER/experimental and FOLDER/predicted with ids.csv

The one idea: every file is asked for in the revision that was used, checked before it takes its name, and never fetched
twice. Exit code 0: all there; 1: some are missing or differ; 2: nothing could be done, with one line that says why.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from table import FACTS, TABLE, check, read_table, write_table

SERVER = "https://www.crystallography.net/cod"
TRIES = 3


class Stop(Exception):
    """Nothing more can be done; the message is the line to show."""


def main(words: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["get", "verify"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ids", type=Path, default=TABLE, help="another list with the columns of ids.csv")
    parser.add_argument("--server", default=SERVER, help="a mirror of the database")
    parser.add_argument("--pause", type=float, default=0.2, help="seconds between two files")
    options = parser.parse_args(words)
    try:
        rows = read_table(options.ids)
        if options.action == "get":
            return get(options.folder, rows, options.server, options.pause)
        return verify(options.folder, rows)
    except Stop as stop:
        print(stop, file=sys.stderr)
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted; what was fetched stays, run again to continue", file=sys.stderr)
        return 130
    return 2


def get(folder: Path, rows: list[dict[str, str]], server: str, pause: float) -> int:
    """Fetch what is missing, and write the tables of what is there (``experimental.csv``, ``predicted.csv``).

    Args:
        folder: Gets a subfolder ``experimental``; a subfolder ``predicted`` is left as it is.
        rows: Rows of ``ids.csv``; those without a COD number are passed over.
        server: Address in front of ``/NUMBER.cif``.
        pause: Seconds between two files.

    Returns:
        0 if all files of the list that the database has are there, else 1.
    """
    wanted = [row for row in rows if row["cod"]]
    bad = []
    for count, row in enumerate(wanted, 1):
        path = folder / row["folder"] / f"{row['id']}.cif"
        path.parent.mkdir(parents=True, exist_ok=True)
        if check(path, row) not in ("same", "revised"):
            status = _fetch(path, row, server)
            if status:
                bad.append(f"{row['id']}: {status}")
            time.sleep(pause)
        print(f"\r{count} of {len(wanted)}  {row['id']}  ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    for name in dict.fromkeys(row["folder"] for row in rows):
        there = [
            row for row in rows if row["folder"] == name and (folder / name / f"{row['id']}.cif").is_file()
        ]
        write_table(folder / f"{name}.csv", there, FACTS)
    print(f"{len(wanted) - len(bad)} of {len(wanted)} crystals of the database are in {folder}")
    for line in bad:
        print(line)
    others = Counter(row["folder"] for row in rows if not row["cod"])
    for name, number in others.items():
        print(f"{number} crystals of {name} are not in the database: see card.md")
    return 1 if bad else 0


def _fetch(path: Path, row: dict[str, str], server: str) -> str:
    """Fetch one file; returns what is wrong with it, or nothing."""
    address = f"{server}/{row['cod']}.cif"
    # The revision that was used; should the database no longer give it, the newest may hold the same crystal.
    for url in (f"{address}@{row['revision']}", address) if row["revision"] else (address,):
        content = _download(url)
        if content is None:
            continue
        temporary = path.with_name(f".{path.name}.part")
        temporary.write_bytes(content)
        try:
            if check(temporary, row) in ("same", "revised"):
                os.replace(temporary, path)
                return ""
        finally:
            temporary.unlink(missing_ok=True)
    return (
        "not in the database"
        if content is None
        else "the database now holds another crystal under this number"
    )


def _download(url: str) -> bytes | None:
    """Content at an address; None if the server has no such file.

    Raises:
        Stop: the server cannot be reached.
    """
    problem: object = ""
    for attempt in range(TRIES):
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            if error.code in (400, 404, 410):
                return None
            problem = f"HTTP {error.code} {error.reason}"
        except urllib.error.URLError as error:
            problem = error.reason
        except (OSError, ValueError) as error:
            problem = error
        if attempt + 1 < TRIES:
            time.sleep(2**attempt)
    raise Stop(f"cannot get {url} ({problem}): check the network and run again, what was fetched stays")


def verify(folder: Path, rows: list[dict[str, str]]) -> int:
    """Compare a folder with the list; prints one line per file that is missing or differs."""
    if not folder.is_dir():
        raise Stop(f"{folder} is no folder: give the one that holds experimental/ and predicted/")
    found: Counter[str] = Counter()
    for row in rows:
        path = folder / row["folder"] / f"{row['id']}.cif"
        status = check(path, row)
        found[status] += 1
        if status in ("missing", "other"):
            print(f"{path}: {'missing' if status == 'missing' else 'another crystal than the listed one'}")
    print(", ".join(f"{status} {number}" for status, number in sorted(found.items())))
    return 1 if found["missing"] or found["other"] else 0


if __name__ == "__main__":
    sys.exit(main())
