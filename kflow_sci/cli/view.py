"""``kflow view``: a cluster file or an output folder as a page that turns in the browser.

The one idea: what was written as a report is opened as it is; of anything else a page is made, beside which nothing is
needed and which replaces no file but an earlier page.
"""

from __future__ import annotations

from pathlib import Path

import click

from kflow_sci.cli.voice import give

REPORT = "report.html"


@click.command(name="view")
@click.argument("source", metavar="FILE|DIR", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="The page.  [default: NAME.html beside where you are]"
)
@click.option("--open/--no-open", "opens", default=True, show_default=True, help="Open it in a browser.")
@click.option("--force", is_flag=True, help="Overwrite --out though it is no page of kflow.")
def command(source: Path, out: Path | None, opens: bool, force: bool) -> None:
    """Look at clusters in the browser: one page that needs no network.

    FILE is an extxyz or xyz with one frame per cluster, a cif, or a molecule (sdf, mol, mol2, pdb). DIR is what
    kflow assemble or kflow crystal wrote; its report.html is opened as it is.

    \b
    Example:  kflow view aspirin
    """
    from kflow_sci.errors import OutputError

    page = source / REPORT
    if not (source.is_dir() and out is None and page.is_file()):
        from kflow_sci.report.page.reading import read_source

        candidates, title, settings = read_source(source)
        page = out or Path(f"{title or 'clusters'}.html")
        if page.exists() and not force and not _is_ours(page):
            raise OutputError(f"{page} is there and is no page of kflow: choose another --out, or --force")

        from kflow_sci.report.page.document import write_page

        command_line = settings.pop("command", None)
        payload = write_page(
            page,
            candidates,
            title=title,
            command=None if command_line is None else str(command_line),
            made=settings or {"file": str(source)},
        )
        give(candidates=len(candidates), shown=payload.shown)
        click.echo(f"{page}: {payload.shown} of {len(candidates)} candidates")
    give(page=page)
    if opens:
        import webbrowser

        if webbrowser.open(page.resolve().as_uri()):
            return
        click.echo("no browser could be started here", err=True)
    click.echo(f"Open {page} in a browser.")


def _is_ours(page: Path) -> bool:
    """Whether a file is a page that kflow wrote."""
    if not page.is_file():
        return False
    with open(page, "rb") as stream:
        return b'<meta name="generator" content="kflow_sci' in stream.read(2000)
