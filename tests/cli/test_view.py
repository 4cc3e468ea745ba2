"""``kflow view`` from the outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from kflow_sci.assembly.writing import write_clusters
from kflow_sci.cli.main import main
from tests.report.page.by_hand import cluster

DIMER = "6\n\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\nO 3 0 0\nH 3.96 0 0\nH 2.76 0.93 0\n"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses that a browser was asked to open."""
    addresses: list[str] = []

    def note(address: str) -> bool:
        addresses.append(address)
        return True

    monkeypatch.setattr("webbrowser.open", note)
    return addresses


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], code: int) -> str:
    text = capsys.readouterr().err
    assert code == 2, text
    assert text.startswith("kflow: error: ") and text.count("\n") == 1, text
    return text


def test_a_file_becomes_a_page_that_is_opened(folder: Path, opened: list[str]) -> None:
    (folder / "dimer.xyz").write_text(DIMER)
    assert main(["view", "dimer.xyz"]) == 0
    assert opened == [(folder / "dimer.html").as_uri()]
    text = (folder / "dimer.html").read_text(encoding="utf-8")
    assert "1 candidate; 2 × H2O" in text
    assert main(["view", "dimer.xyz"]) == 0  # an earlier page may be replaced


def test_a_report_is_opened_as_it_is(folder: Path, opened: list[str]) -> None:
    (folder / "made").mkdir()
    (folder / "made" / "report.html").write_text("a report")
    assert main(["view", "made"]) == 0
    assert opened == [(folder / "made" / "report.html").as_uri()]
    assert (folder / "made" / "report.html").read_text() == "a report"
    assert [p.name for p in folder.iterdir()] == ["made"]


def test_an_output_folder_without_a_report_gets_a_page_with_its_settings(
    folder: Path, opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "made").mkdir()
    write_clusters(folder / "made" / "clusters.extxyz", [cluster(rank=1), cluster(seed=1, rank=2)])
    (folder / "made" / "settings.json").write_text('{"command": "kflow assemble O", "seed": 5}')
    assert main(["view", "made", "--no-open", "--out", "page.html"]) == 0
    assert opened == [] and "page.html" in capsys.readouterr().out
    text = (folder / "page.html").read_text(encoding="utf-8")
    assert "kflow assemble O" in text and "2 candidates; 4 × H2O" in text


def test_where_no_browser_starts_the_page_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("webbrowser.open", lambda address: False)
    (folder / "dimer.xyz").write_text(DIMER)
    assert main(["view", "dimer.xyz"]) == 0
    told = capsys.readouterr()
    assert "Open dimer.html in a browser" in told.out and "no browser" in told.err


def test_a_file_name_that_looks_like_html_is_text(folder: Path) -> None:
    name = "<img src=x onerror=alert(1)>.xyz"
    (folder / name).write_text(DIMER)
    assert main(["view", name, "--no-open"]) == 0
    text = (folder / "<img src=x onerror=alert(1)>.html").read_text(encoding="utf-8")
    assert "<img" not in text.split("<script>")[0]
    assert "&lt;img src=x onerror=alert(1)&gt;" in text


def test_a_page_of_others_is_not_overwritten_without_force(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "dimer.xyz").write_text(DIMER)
    (folder / "dimer.html").write_text("mine")
    assert "--force" in refused(capsys, main(["view", "dimer.xyz", "--no-open"]))
    assert (folder / "dimer.html").read_text() == "mine"
    assert main(["view", "dimer.xyz", "--no-open", "--force"]) == 0


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("none.xyz", "does not exist"),
        ("empty", "clusters.extxyz"),
        ("a.doc", "suffix"),
        ("bad.xyz", "bad.xyz"),
    ],
)
def test_bad_input_gets_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], source: str, expected: str
) -> None:
    (folder / "empty").mkdir()
    (folder / "a.doc").write_text("text")
    (folder / "bad.xyz").write_text("5\n\nC 0 0 0\n")
    assert expected in refused(capsys, main(["view", source, "--no-open"]))
    assert not list(folder.glob("*.html"))
