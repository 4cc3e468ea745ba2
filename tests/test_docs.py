"""The pages: they build without a warning and without a network, and what they say can be typed."""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import click
import pytest

import kflow_sci
from kflow_sci.cli.main import kflow

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
TEXTS = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "datasets").rglob("*.md"))]
LOADED = re.compile(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=\"?((?:https?:)?//[^\s\">]+)")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
RUN = ("index.md", "own_net.md", "own_transform.md")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    offline = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | offline | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_the_pages_build_strictly_and_load_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    loaded = {address for page in pages for address in LOADED.findall(page.read_text(encoding="utf-8"))}
    assert not loaded


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    known = (site / "objects.inv").read_bytes()
    import zlib

    listed = zlib.decompress(known.split(b"\n", 4)[4]).decode()
    public = [kflow_sci._HOME[one] + "." + one for one in kflow_sci.__all__ if one in kflow_sci._HOME]
    assert not [one for one in public if f"{one} " not in listed]


def test_the_help_of_every_command_is_there(site: Path) -> None:
    text = (site / "reference" / "command.html").read_text(encoding="utf-8")
    for heading in ("kflow assemble", "kflow data build", "kflow image sample", "kflow bench cluster17"):
        assert f">{heading}<" in text.replace("\n", "")
    assert "--steps-per-shell" in text


def commands() -> list[tuple[str, str]]:
    """What stands in code of the texts and begins with ``kflow``, with its file."""
    found = []
    for path in TEXTS:
        text = path.read_text(encoding="utf-8")
        blocks = [
            body for language, body in FENCED.findall(text) if language in ("", "bash", "sh", "console")
        ]
        blocks += re.findall(r"(?:^ {4}\S.*\n?)+", FENCED.sub("", text), re.MULTILINE)
        for line in "\n".join(blocks).splitlines():
            line = line.strip().removeprefix("srun ")
            if line.startswith("kflow "):
                found.append((name(path), line))
    return found


@pytest.mark.parametrize(("where", "line"), commands(), ids=lambda value: value[:60])
def test_a_command_in_the_texts_can_be_typed(where: str, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    command: click.Command = kflow
    context = click.Context(kflow, info_name="kflow")
    while isinstance(command, click.Group):
        assert words, f"{where}: {line} names no command"
        inner = command.get_command(context, words.pop(0))
        assert inner is not None, f"{where}: {line}"
        command, context = inner, click.Context(inner, info_name=inner.name, parent=context)
    options = {text for option in command.params for text in (*option.opts, *option.secondary_opts)}
    options |= {"--help", "--json", "--quiet", "-v"}
    unknown = [word for word in words if word.startswith("--") and word.split("=")[0] not in options]
    assert not unknown, f"{where}: {line}"


def python_blocks() -> list[tuple[str, str]]:
    """The examples of a page, joined, since later ones use the names of earlier ones."""
    joined = []
    for page in RUN:
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        joined.append(
            (page, "\n".join(body for language, body in FENCED.findall(text) if language == "python"))
        )
    return joined


@pytest.mark.parametrize(
    ("page", "code"), python_blocks(), ids=lambda value: value if len(value) < 30 else ""
)
def test_the_examples_of_a_page_run(page: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    exec(compile(code, page, "exec"), {"__name__": "page"})


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_addresses_are_well_formed(path: Path) -> None:
    for address in re.findall(r"https?://[^\s<>)\"'`]+", path.read_text(encoding="utf-8")):
        parts = urlsplit(address.rstrip(".,;"))
        assert parts.hostname and ("." in parts.hostname or parts.hostname in ("host", "localhost")), address


def test_every_table_is_linked_from_the_list_of_benchmarks_and_every_script_named() -> None:
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    folder = ROOT / "benchmarks"
    assert not [
        path.name
        for path in sorted(folder.glob("*.md"))
        if path != folder / "README.md" and f"({path.name})" not in text
    ]
    assert not [path.name for path in sorted(folder.glob("*.py")) if path.name not in text]


def short(value: float, decimals: int) -> str:
    """``.055`` for 0.055, as numbers stand in the texts."""
    return re.sub(r"^(-?)0\.", r"\1.", f"{value:.{decimals}f}")


QUALITY = ROOT / "benchmarks" / "assembly_quality.csv"
KFLOW, PLAIN = "K-Flow", "plain flow matching"
DIFFERENCE = f"{KFLOW} − {PLAIN}"
QUOTED = {
    "README.md": [
        (KFLOW, "density_error", 3),
        (KFLOW, "matched_pm", 2),
        (KFLOW, "overlay_n", 2),
        (PLAIN, "density_error", 3),
        (PLAIN, "matched_pm", 2),
        (PLAIN, "overlay_n", 2),
        ("PackMol, true density", "density_error", 3),
        ("PackMol, true density", "matched_pm", 2),
        ("PackMol, true density", "overlay_n", 2),
        ("random ball, true density", "density_error", 3),
        ("random ball, true density", "matched_pm", 2),
        ("random ball, true density", "overlay_n", 2),
        (DIFFERENCE, "overlay_n", 2),
        (DIFFERENCE, "density_error", 3),
        (DIFFERENCE, "gyration_error", 3),
    ],
    "docs/numbers.md": [
        ("the crystal itself, renumbered", "pm_center", 2),
        (KFLOW, "matched_pm", 2),
        (KFLOW, "overlay_n", 2),
        (DIFFERENCE, "overlay_n", 2),
        (DIFFERENCE, "density_error", 3),
        (DIFFERENCE, "gyration_error", 3),
    ],
    "examples/benchmark.ipynb": [(DIFFERENCE, "overlay_n", 2)],
    "kflow_sci/weights/assembly.md": [
        (KFLOW, "density_error", 3),
        (KFLOW, "matched_pm", 2),
        (KFLOW, "overlay_n", 2),
    ],
}


@pytest.mark.parametrize("page", QUOTED)
def test_quoted_numbers_are_those_of_their_table(page: str) -> None:
    with QUALITY.open(encoding="utf-8", newline="") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    text = " ".join((ROOT / page).read_text(encoding="utf-8").replace(" Å", "").split())
    for method, key, decimals in QUOTED[page]:
        mean, low, high = (short(float(rows[method][key + end]), decimals) for end in ("", "_low", "_high"))
        assert f"{mean} [{low}, {high}]" in text, f"{method}, {key}: not {mean} [{low}, {high}]"
