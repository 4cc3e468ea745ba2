"""Clusters in a notebook: the page of a report as the value of a cell.

The one idea: what ``report.html`` shows is shown here too, by the same code, inside a frame that can run the scripts of
the page and nothing else.
"""

from __future__ import annotations

import os
from html import escape
from pathlib import Path

from kflow_sci.files import atomic_write
from kflow_sci.report.page.document import make_page
from kflow_sci.report.page.payload import Candidate
from kflow_sci.report.page.reading import REPORT, read_source


class View:
    """A page that a notebook shows where it is the last value of a cell. Its size, some 5 MB, goes into the notebook.

    Attributes:
        html: The page: one document without links, see ``document.make_page``.
        height: Of the frame, in pixels.
    """

    def __init__(self, html: str, height: int, says: str) -> None:
        self.html = html
        self.height = height
        self._says = says

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the page, to be opened in a browser.

        Raises:
            OutputError: the file cannot be written.
        """
        with atomic_write(path) as temporary:
            temporary.write_text(self.html, encoding="utf-8", newline="\n")

    def _repr_html_(self) -> str:
        return (
            f'<iframe title="{escape(self._says)}" sandbox="allow-scripts allow-downloads" '
            f'style="width: 100%; height: {self.height}px; border: 0" srcdoc="{escape(self.html)}"></iframe>'
        )

    def __repr__(self) -> str:
        return f"<{self._says}: the last value of a notebook's cell, or write('page.html')>"


def view(source: object, *, title: str | None = None, height: int = 900) -> View:
    """Clusters that turn in a notebook, with the table of their scores.

    Args:
        source: A ``Cluster`` or several, best first; ASE atoms, an RDKit or pymatgen molecule; a file that
            ``kflow view`` takes; or the folder that ``kflow assemble`` wrote, whose report is shown as it is, with the
            way along the scale.
        title: Heading; what is shown if None.
        height: Of the frame, in pixels.

    Raises:
        ClusterError: there is nothing to show, or it cannot be shown.
        KFlowError: a file is refused by its reader.
    """
    command = made = None
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if title is None and (path / REPORT).is_file():
            return View((path / REPORT).read_text(encoding="utf-8"), height, f"report of {path.name}")
        candidates, name, made = read_source(path)
        command = made.pop("command", None)
    else:
        from kflow_sci.assembly.exchange.objects import to_cluster

        many = source if isinstance(source, list | tuple) else [source]
        candidates = [Candidate(to_cluster(one)) for one in many]
        name = f"{len(candidates)} cluster{'s' if len(candidates) != 1 else ''}"
    text, _ = make_page(candidates, title=title or name, command=command, made=made)
    return View(text, height, f"view of {title or name}")
