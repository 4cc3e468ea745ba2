"""``kflow data fetch``: get a data set from the network, or say what to put where."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kflow_sci.cli.common import out_dir, progress_bar
from kflow_sci.cli.voice import give, resumable
from kflow_sci.errors import FetchError

if TYPE_CHECKING:
    from kflow_sci.fetching.download import Patience
    from kflow_sci.fetching.wanted import Wanted

POLITE = 0.2  # s between two files of a server that gives single files to everybody


@click.command("fetch")
@click.argument("name", required=False)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for the files.  [default: NAME in this folder]"
)
@click.option("--mirror", metavar="URL", help="Ask this server in place of the usual one.")
@click.option("--url", metavar="URL", help="Fetch the file at this address in place of those known for NAME.")
@click.option(
    "--ids", type=click.Path(path_type=Path), help="For crystals: another list of numbers, text or csv."
)
@click.option(
    "--tries", type=click.IntRange(1), default=5, show_default=True, help="Tries that bring nothing."
)
@click.option(
    "--stall", type=click.FloatRange(0.1), default=30.0, show_default=True, help="Seconds without a byte."
)
@click.option("--verify", is_flag=True, help="Fetch nothing: compare the files that are there.")
def command(
    name: str | None,
    out: Path | None,
    mirror: str | None,
    url: str | None,
    ids: Path | None,
    tries: int,
    stall: float,
    verify: bool,
) -> None:
    """Fetch the data set NAME; without NAME, list what can be fetched.

    What was interrupted goes on when called again. Every file is checked before it takes its name, and what is there
    and right is not fetched again.

    Example:  kflow data fetch crystals
    """
    from kflow_sci.assembly.data.cod import listed_crystals, read_ids, wanted_crystals, write_tables
    from kflow_sci.fetching.download import NotReached, Patience
    from kflow_sci.fetching.recipes import recipe_of, recipes, wanted_address, wanted_files

    if name is None:
        give(
            sets=[
                {key: getattr(one, key) for key in ("name", "title", "licence")} for one in recipes().values()
            ]
        )
        for recipe in recipes().values():
            click.echo(f"{recipe.name:15} {recipe.title} ({recipe.licence})")
        return
    recipe = recipe_of(name)
    folder = Path(name) if out is None else out
    if ids is not None and recipe.kind != "cod":
        raise FetchError(f"--ids is a list of crystals, which {name} does not take: leave it out")
    if verify and url is not None:
        raise FetchError("--verify compares with what is known, and nothing is known of --url: leave one out")
    if folder.exists() and not folder.is_dir():
        raise FetchError(f"{folder} is a file: name a folder with --out")
    if verify and not folder.is_dir():
        raise FetchError(f"{folder} does not exist: name the folder of the files with --out")
    resumable()
    patience = Patience(tries=tries, stall=stall)
    server = mirror or recipe.server
    rows = []
    try:
        if url is not None:
            files = [wanted_address(url)]
        elif recipe.kind == "cod":
            rows = read_ids(listed_crystals() if ids is None else ids)
            files = wanted_crystals(rows, server)
        else:
            files = wanted_files(recipe, mirror, patience)
        if verify:
            _verify(files, folder)
            return
        _fetch(files, out_dir(folder), patience, POLITE if recipe.kind == "cod" and mirror is None else 0.0)
    except NotReached as error:
        raise FetchError(f"{error}. Without a network: {recipe.by_hand.format(folder=folder)}") from None
    write_tables(rows, folder)
    give(name=name, folder=folder)
    if recipe.then:
        click.echo(f"next: {recipe.then.format(folder=folder)}")


def _verify(files: list[Wanted], folder: Path) -> None:

    wrong = elsewhere = 0
    for file in files:
        complaint = file.complaint(folder)
        if complaint == "missing" and not file.urls:
            elsewhere += 1
        elif complaint:
            wrong += 1
            click.echo(f"{folder / file.path}: {complaint}")
    give(folder=folder, files=len(files), right=len(files) - wrong - elsewhere, wrong=wrong)
    click.echo(f"{len(files) - wrong - elsewhere} of {len(files)} files are there and right")
    _tell_elsewhere(elsewhere)
    if wrong:
        raise FetchError(f"{wrong} of {len(files)} files in {folder} are missing or differ: fetch them again")


def _fetch(files: list[Wanted], folder: Path, patience: Patience, pause: float) -> None:
    from kflow_sci.fetching.wanted import fetch_all

    known = [file for file in files if file.urls]
    with progress_bar("fetching") as advance:
        done = fetch_all(known, folder, patience=patience, pause=pause, progress=advance)
    give(files=len(known), there=done.new + done.kept, new=done.new)
    click.echo(f"{done.new + done.kept} of {len(known)} files are in {folder} ({done.new} fetched now)")
    _tell_elsewhere(len(files) - len(known))
    for path, problem in done.failed:
        click.echo(f"{path}: {problem}")
    if done.failed:
        path, problem = done.failed[0]
        raise FetchError(
            f"{len(done.failed)} of {len(known)} files cannot be had, the first is {path}: {problem}"
        )


def _tell_elsewhere(count: int) -> None:
    if count:
        click.echo(
            f"{count} listed files are not in the database: the card of the data set says where they are"
        )
