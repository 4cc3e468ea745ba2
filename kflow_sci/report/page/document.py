"""Writes the page: one file with everything in it, that asks nobody for anything.

The one idea: the page may not fetch, and may run only the scripts that were put in, whose digests its policy names.
What a user or a file brought in is escaped where it stands; if that ever failed, the browser would still refuse to run
it.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources

from kflow_sci import __version__
from kflow_sci.files import atomic_write
from kflow_sci.report.page.payload import Candidate, Payload, pack
from kflow_sci.report.page.scores import (
    NOT_MEANT,
    NOT_MEANT_OF_A_WALK,
    NOT_MEANT_OF_CRYSTALS,
    NOT_MEANT_OF_FILES,
    Score,
    columns_for,
    is_lattice,
    show_value,
)

LARGEST_PAGE = 6_000_000  # bytes
MOST_ROWS = 200
GENERATOR = "kflow_sci"


def write_page(
    path: str | os.PathLike[str],
    candidates: Sequence[Candidate],
    *,
    title: str,
    command: str | None = None,
    made: Mapping[str, object] | None = None,
) -> Payload:
    """Write a page that shows candidates, whole or not at all.

    Args:
        path: The html file to make or replace.
        candidates: Best first.
        title: Heading. Any text.
        command: What was typed to make them; left out if None.
        made: Names and values of settings; left out if None.

    Returns:
        What was packed.

    Raises:
        ClusterError: see ``payload.pack``.
        OutputError: the file cannot be written.
    """
    text, payload = make_page(candidates, title=title, command=command, made=made)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return payload


def make_page(
    candidates: Sequence[Candidate],
    *,
    title: str,
    command: str | None = None,
    made: Mapping[str, object] | None = None,
) -> tuple[str, Payload]:
    """A page that shows candidates, as text.

    Balls and sticks that turn, the way along the scale where it is known, the table of scores with what each means, and
    how all was made. The page holds as many candidates as fit into ``LARGEST_PAGE`` bytes and says how many were left
    out; of the table, ``MOST_ROWS`` rows.

    Args:
        candidates: Best first.
        title: Heading. Any text.
        command: What was typed to make them; left out if None.
        made: Names and values of settings; left out if None.

    Returns:
        The page, and what was packed into it.

    Raises:
        ClusterError: see ``payload.pack``.
    """
    infos = [candidate.cluster.info for candidate in candidates]
    columns, constants = columns_for(infos)
    rows = infos[:MOST_ROWS]
    library, script = _library(), _resource("page.js")
    parts = {
        "generator": f"{GENERATOR} {__version__}",
        "policy": _policy([library, script]),
        "title": escape(title),
        "subtitle": escape(_subtitle(candidates)),
        "style": _resource("page.css"),
        "table": _table(columns, rows),
        "constants": _constants(constants),
        "meanings": "".join(
            f"<dt>{escape(score.title)}</dt><dd>{escape(score.meaning)}</dd>"
            for score in [*columns, *(score for score, _ in constants)]
        ),
        "limits": "".join(f"<li>{escape(line)}</li>" for line in _limits(candidates)),
        "made": _made(command, made),
        "footer": f"Written by kflow_sci {escape(__version__)}; drawn with plotly.js (MIT licence), which is in this "
        "file. The page needs no network and sends nothing.",
        "library": library,
        "script": script,
    }
    frame = _resource("page.html")
    taken = (
        len(_fill(frame, parts | {"data": "", "notes": ""}).encode()) + 2000
    )  # notes are shorter than that
    payload = pack(candidates[:MOST_ROWS], LARGEST_PAGE - taken)
    parts |= {"data": payload.text, "notes": _notes(candidates, payload)}
    return _fill(frame, parts), payload


def _fill(frame: str, parts: Mapping[str, str]) -> str:
    # In one pass, so that nothing in a part is taken for the place of another.
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], frame)


def _library() -> str:
    import plotly

    return (resources.files(plotly) / "package_data" / "plotly.min.js").read_text(encoding="utf-8")


def _resource(name: str) -> str:
    return (resources.files("kflow_sci.report.page") / name).read_text(encoding="utf-8")


def _policy(scripts: Sequence[str]) -> str:
    """What the page may do: run these scripts, style itself, show pictures that it made."""
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _subtitle(candidates: Sequence[Candidate]) -> str:
    first = candidates[0].cluster if candidates else None
    if first is None:
        return ""
    counts: dict[str, int] = {}
    for k in first.kind:
        formula = first.molecules[k].formula
        counts[formula] = counts.get(formula, 0) + 1
    named = " + ".join(f"{count} × {formula}" for formula, count in list(counts.items())[:6])
    more = " + …" if len(counts) > 6 else ""
    alike = all(len(c.cluster) == len(first) for c in candidates)
    count = f"{len(candidates)} candidate{'s' if len(candidates) != 1 else ''}"
    return f"{count}; {'' if alike else 'the first has '}{named}{more}"


def _table(columns: Sequence[Score], rows: Sequence[Mapping[str, object]]) -> str:
    def is_text(score: Score) -> bool:
        return any(isinstance(row.get(score.key), str) for row in rows)

    head = "".join(
        f'<th scope="col"{_text(is_text(score))} title="{escape(score.meaning)}">{escape(score.title)}</th>'
        for score in columns
    )
    lines = []
    for number, row in enumerate(rows):
        cells = "".join(
            f"<td{_text(is_text(score))}>{escape(show_value(row.get(score.key), score.decimals))}</td>"
            for score in columns
        )
        button = f'<td><button type="button" data-show="{number}">Show {number + 1}</button></td>'
        lines.append(f'<tr id="row{number}">{button}{cells}</tr>')
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="Table of scores"><table><thead><tr>'
        f'<th scope="col">Candidate</th>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
    )


def _text(is_text: bool) -> str:
    return ' class="text"' if is_text else ""


def _constants(constants: Sequence[tuple[Score, object]]) -> str:
    if not constants:
        return ""
    told = "; ".join(
        f"{escape(score.title)}: {escape(show_value(value, score.decimals))}" for score, value in constants
    )
    return f'<p class="note">The same for all: {told}.</p>'


def _limits(candidates: Sequence[Candidate]) -> list[str]:
    scored = any("rank" in candidate.cluster.info for candidate in candidates)
    walked = any(candidate.walk is not None for candidate in candidates)
    infos = [candidate.cluster.info for candidate in candidates]
    of_what = NOT_MEANT_OF_CRYSTALS if any(map(is_lattice, infos)) else NOT_MEANT
    return [*(of_what if scored else NOT_MEANT_OF_FILES), *(NOT_MEANT_OF_A_WALK if walked else ())]


def _made(command: str | None, made: Mapping[str, object] | None) -> str:
    parts = []
    if command is not None:
        parts.append(f'<pre tabindex="0" aria-label="Command">{escape(command)}</pre>')
    if made:
        lines = "".join(
            f"<dt>{escape(str(name))}</dt><dd>{escape(_plain(value))}</dd>" for name, value in made.items()
        )
        parts.append(f"<dl>{lines}</dl>")
    return "".join(parts) or "<p>Nothing is known of how this was made.</p>"


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(one) for one in value)
    if value is None:
        return "not given"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _notes(candidates: Sequence[Candidate], payload: Payload) -> str:
    """What the page leaves out."""
    walks = sum(candidate.walk is not None for candidate in candidates)
    notes = []
    if payload.shown < len(candidates):
        notes.append(f"The first {payload.shown} of {len(candidates)} candidates are here; more do not fit.")
    if payload.walks < walks:
        notes.append(f"The way along the scale is here for the first {payload.walks} of {walks} candidates.")
    if payload.unknown:
        names = ", ".join(payload.unknown[:6])
        notes.append(f"No contacts of {names} are drawn: no van der Waals radius is known.")
    return "".join(f'<p class="note">{escape(note)}</p>' for note in notes)
