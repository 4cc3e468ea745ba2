"""Pictures of spectra: they are made, whole, and say what they show."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kflow_sci.errors import OutputError, TransformError
from kflow_sci.report.spectra import draw_flow, draw_spectra
from kflow_sci.transforms.fourier import FourierTransform
from kflow_sci.transforms.spectrum import Spectrum


@pytest.fixture
def spectrum() -> Spectrum:
    x = torch.randn(40, 32, generator=torch.Generator().manual_seed(0)).cumsum(1)
    return Spectrum.of(FourierTransform(32), x)


def test_the_picture_names_every_line_and_its_slope(spectrum: Spectrum, tmp_path: Path) -> None:
    draw_spectra({"walk": spectrum, "again": spectrum}, tmp_path / "spectra.svg", title="Random walks")
    text = (tmp_path / "spectra.svg").read_text(encoding="utf-8")
    for word in ("walk: slope \N{MINUS SIGN}", "again: slope", "Random walks", "energy per dimension"):
        assert f"<!-- {word}" in text, word


def test_a_spectrum_of_one_scale_has_no_slope_and_is_drawn(tmp_path: Path) -> None:
    flat = Spectrum(torch.ones(5, 2), torch.ones(2), torch.tensor([0.0, 1.0]))
    draw_spectra({"flat": flat}, tmp_path / "flat.png", per_dimension=False, dpi=40)
    assert (tmp_path / "flat.png").stat().st_size > 1000


def test_the_flow_of_energies_is_drawn_with_its_target(tmp_path: Path) -> None:
    draw_flow(
        torch.rand(6, 3) + 0.1,
        torch.linspace(0, 1, 6),
        tmp_path / "flow.svg",
        target=torch.ones(3),
        title="Flow",
    )
    text = (tmp_path / "flow.svg").read_text(encoding="utf-8")
    for word in ("shell 0", "shell 2", "flow time s"):
        assert f"<!-- {word}" in text, word


def test_what_cannot_be_drawn_or_written_is_refused(spectrum: Spectrum, tmp_path: Path) -> None:
    with pytest.raises(TransformError, match="no spectra to draw"):
        draw_spectra({}, tmp_path / "none.png")
    with pytest.raises(TransformError, match="one row per time"):
        draw_flow(torch.ones(3, 2), torch.ones(2), tmp_path / "none.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot"):
        draw_spectra({"walk": spectrum}, tmp_path / "file" / "spectra.png")
    assert not (tmp_path / "none.png").exists()
