"""Clusters in a notebook: the frame holds the page, draws it, and keeps what was brought in from running."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kflow_sci import view, write_clusters
from kflow_sci.errors import ClusterError, KFlowError
from kflow_sci.report.page.document import write_page
from tests.report.page.by_hand import cluster, walked
from tests.report.page.conftest import Visit

CLUSTERS = [cluster(seed=k, rank=k + 1, energy=-1.5 * k) for k in range(2)]


def test_a_cell_shows_the_page_of_a_report_in_a_frame_that_may_only_run_scripts() -> None:
    shown = view(CLUSTERS, title="<b>water</b>")
    cell = shown._repr_html_()
    frame = re.fullmatch(
        r'<iframe title="([^"]*)" sandbox="([^"]*)" style="[^"]*" srcdoc="([^"]*)"></iframe>', cell
    )
    assert frame is not None
    assert html.unescape(frame[3]) == shown.html
    assert frame[2] == "allow-scripts allow-downloads"
    assert "<b>water" not in cell and "<b>water" not in shown.html
    assert "2 candidates" in shown.html and "height: 900px" in cell
    assert repr(shown) == "<view of <b>water</b>: the last value of a notebook's cell, or write('page.html')>"


def test_the_report_of_a_folder_is_shown_as_it_is(tmp_path: Path) -> None:
    write_page(tmp_path / "report.html", [walked(CLUSTERS[0])], title="made before")
    assert view(tmp_path).html == (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["file", "folder", "one", "ase"])
def test_files_folders_clusters_and_ase_atoms_are_shown(tmp_path: Path, kind: str) -> None:
    write_clusters(tmp_path / "clusters.extxyz", CLUSTERS)
    source = {
        "file": tmp_path / "clusters.extxyz",
        "folder": str(tmp_path),
        "one": CLUSTERS[0],
        "ase": CLUSTERS[0].to_ase(),
    }[kind]
    assert "4 × H2O" in view(source).html


def test_the_page_can_be_kept(tmp_path: Path) -> None:
    shown = view(CLUSTERS)
    shown.write(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == shown.html


def test_nothing_to_show_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="no candidate to show"):
        view([])
    with pytest.raises(ClusterError, match=r"holds neither report\.html nor clusters\.extxyz"):
        view(tmp_path)
    with pytest.raises(KFlowError, match="cannot make a cluster of a int"):
        view(3)


def test_the_frame_draws_without_errors(launch: Callable[..., Any], tmp_path: Path) -> None:
    notebook = tmp_path / "notebook.html"
    notebook.write_text(f"<!doctype html><body>{view(CLUSTERS)._repr_html_()}", encoding="utf-8")
    visit = Visit(launch(), notebook, drawn=False)
    frame = visit.page.frame_locator("iframe")
    frame.locator("#picture[data-ready]").wait_for(state="attached")
    assert frame.locator("#row1").count() == 1
    assert visit.errors == []
