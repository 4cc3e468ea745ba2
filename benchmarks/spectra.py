"""Do low shells carry twice the norm of high ones? Images and crystals.

    python benchmarks/spectra.py --crystals CIF_FOLDER

Writes ``spectra.md``, ``spectra.csv`` and two pictures beside this script. Images are those that come with
scikit-learn; without ``--crystals`` only they are measured. Modes of PCA are fitted on one half of the samples and
measured on the other. Intervals are 95 % bootstrap over samples.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits, load_sample_images

from kflow_sci import __version__
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.model.batch import collate
from kflow_sci.assembly.model.cluster_model import ClusterModel, ModelConfig
from kflow_sci.assembly.reading.crystal import cluster_from_crystal, read_crystal
from kflow_sci.flow.rigid import to_chart
from kflow_sci.report.spectra import draw_spectra
from kflow_sci.report.tables import Column, Estimate, Row, markdown_table, write_csv
from kflow_sci.transforms.base import KTransform
from kflow_sci.transforms.fourier import FourierTransform
from kflow_sci.transforms.graph import GraphSpectralTransform
from kflow_sci.transforms.nested import NestedTransform
from kflow_sci.transforms.node_pca import NodePCATransform
from kflow_sci.transforms.pca import PCATransform
from kflow_sci.transforms.spectrum import Interval, Spectrum
from kflow_sci.transforms.wavelet import WaveletTransform

HERE = Path(__file__).parent
READING = """\
What the numbers say. The K-Flow paper (Du et al., ICLR 2026) reports that low shells carry about twice the norm of high
ones. That is no law; it depends on the data, on the mean and on what is moved.

- *Which images.* Photographs have 11 per dimension (7 to 9 in whole norms), at 16² as at 64²: their spectra have no
  scale of their own, so resolution changes little. Digits, whose strokes are as thin as a pixel, have 3.
- *Whose mean.* An image as it is holds its mean in the lowest shell. About the mean image digits come to 2 per
  dimension with two Fourier rings, which is the paper's figure, and to 1 in whole norms with one wavelet level.
- *What is moved.* For crystals the ratio is high only on the graph of the truth itself, which is not known at
  generation time. Of the displacement that a flow has to make, low shells carry 1.6 times the norm per dimension if
  copies are numbered at random. Once copies are assigned and the whole is aligned they carry 1, like white noise, and
  so do rotations: there an order from coarse to fine has nothing to gain, which is what training found too. Molecules
  over atoms are the opposite: the few dimensions that move molecules as wholes carry ten times the norm of the others.
"""


def estimate(interval: Interval, n: int) -> Estimate:
    """An interval as a cell of a table."""
    return Estimate(float(interval.value), float(interval.low), float(interval.high), n)


def row(data: str, how: str, spectrum: Spectrum, split: int | None = None) -> Row:
    """Norm ratios of lower to upper shells, and the share of all dimensions that is below."""
    split = spectrum.n_shells // 2 if split is None else split
    n = len(spectrum.energy)
    return {
        "data": data,
        "transform": how,
        "samples": n,
        "share": float(spectrum.dimension[:split].sum() / spectrum.dimension.sum()),
        "ratio": estimate(spectrum.low_over_high(split), n),
        "per_dimension": estimate(spectrum.low_over_high(split, per_dimension=True), n),
    }


def image_sets() -> dict[str, torch.Tensor]:
    """Digits, patches of two photographs at two resolutions, and noise; values of images in [−1, 1]."""
    digits = torch.from_numpy(load_digits().images)[:, None] / 8.0 - 1.0
    photos = (
        torch.from_numpy(np.stack(load_sample_images().images)).permute(0, 3, 1, 2).double() / 127.5 - 1.0
    )
    tiles = photos.unfold(2, 64, 64).unfold(3, 64, 64)  # photograph, colour, row, column, 64, 64
    fine = tiles.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
    coarse = torch.nn.functional.avg_pool2d(fine, 4)
    noise = torch.randn(400, 3, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return {"digits 8²": digits, "photographs 16²": coarse, "photographs 64²": fine, "white noise 64²": noise}


def measure_images() -> tuple[list[Row], dict[str, Spectrum]]:
    """Norm ratios of images as they are and about their mean, and their Fourier spectra."""
    rows: list[Row] = []
    spectra = {}
    for name, images in image_sets().items():
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(1))
        train, test = images[order[::2]], images[order[1::2]]
        size = tuple(images.shape[-2:])
        transforms: dict[str, KTransform] = {
            "Fourier, 2 rings of equal width": FourierTransform(size, 2),
            "wavelet haar, 1 level": WaveletTransform(size, "haar", 1),
            "wavelet db6, 1 level": WaveletTransform(size, "db6", 1),
        }
        if len(train) > images[0].numel():
            transforms["PCA, half of the modes"] = PCATransform.fit(train, 2, dtype=torch.float64)
        for how, transform in transforms.items():
            rows.append(row(name, how, Spectrum.of(transform, test)))
            if "noise" not in name:
                rows.append(
                    row(f"{name}, about their mean", how, Spectrum.of(transform, test - train.mean(0)))
                )
        spectra[name] = Spectrum.of(FourierTransform(size), test)
    return rows, spectra


def crystal_clusters(
    folder: Path, ids: Path, split: str, copies: int, most: int
) -> tuple[list[Cluster], str]:
    """Clusters of one split, and a hash of the files they came from."""
    with open(ids, encoding="utf-8") as file:
        wanted = sorted(line["id"] for line in csv.DictReader(file) if line["split"] == split)[:most]
    digest, clusters = hashlib.sha256(), []
    for name in wanted:
        path = next(folder.rglob(f"{name}.cif"))
        digest.update(path.read_bytes())
        clusters.append(cluster_from_crystal(read_crystal(path), copies))
    return clusters, digest.hexdigest()[:12]


def measure_crystals(clusters: Sequence[Cluster], seed: int) -> tuple[list[Row], dict[str, Spectrum]]:
    """Norm ratios of centroids, of what a flow has to move, and of atoms; lengths in units of the cube edge."""
    batch = collate(clusters, torch.float64)
    model = ClusterModel(ModelConfig()).double()
    coupled, start = model.pair(batch, torch.Generator().manual_seed(seed))
    unit = batch.length[:, None, None]
    truth = batch.pose.centroid / unit
    move = (coupled.pose.centroid - start.centroid) / unit
    turn = to_chart(coupled.pose, start.rotation)[..., 3:]
    # What is left to move where copies are numbered at random and the whole is not turned.
    order = torch.rand(batch.mask.shape, generator=torch.Generator().manual_seed(seed + 1)).argsort(1)
    loose = (truth.gather(1, order[..., None].expand(-1, -1, 3))) - start.centroid / unit
    near = truth.gather(1, truth.square().sum(-1).argsort(1)[..., None].expand(-1, -1, 3))
    half = len(near) // 2
    basis, values = NodePCATransform.fit(near[:half])
    copies = near.shape[1]
    ordered = NodePCATransform(basis, values, 2, torch.arange(copies).expand(len(near) - half, -1))

    def on(points: torch.Tensor, shells: int) -> GraphSpectralTransform:
        return GraphSpectralTransform.from_points(points, shells)

    cases = [
        ("centroids", "graph of the truth (not known beforehand)", on(truth, 2), truth),
        ("centroids", "graph of a random start", on(start.centroid, 2), truth),
        ("centroids by distance", "PCA of nodes", ordered, near[half:]),
        ("displacement, copies numbered at random", "graph of the start", on(start.centroid, 2), loose),
        ("displacement, assigned and aligned", "graph of the start", on(start.centroid, 2), move),
        ("rotation vector, assigned", "graph of the start", on(start.centroid, 2), turn),
    ]
    rows = [row(name, how, Spectrum.of(transform, x)) for name, how, transform, x in cases]
    rows.append(row("atoms of crystals", "molecules over atoms", atoms(clusters), 1))
    spectra = {
        "displacement, numbered at random": Spectrum.of(on(start.centroid, 8), loose),
        "displacement, assigned and aligned": Spectrum.of(on(start.centroid, 8), move),
        "rotation vector, assigned": Spectrum.of(on(start.centroid, 8), turn),
    }
    return rows, spectra


def atoms(clusters: Sequence[Cluster]) -> Spectrum:
    """Atom positions in two shells: molecules as wholes, and atoms inside their molecule."""
    parts = []
    for cluster in clusters:
        x = torch.from_numpy(cluster.positions - cluster.positions.mean(0))[None]
        transform = NestedTransform.from_points(x, torch.from_numpy(cluster.molecule_of)[None], (1, 1))
        parts.append(Spectrum.of(transform, x))
    return Spectrum.join(parts)


def main() -> None:
    """Measure and write the tables and the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--crystals", type=Path, help="folder with the CIF files of the id list")
    parser.add_argument("--ids", type=Path, default=HERE.parent / "datasets" / "crystals" / "ids.csv")
    parser.add_argument("--split", default="train")
    parser.add_argument("--most", type=int, default=100, help="crystals at most")
    parser.add_argument("--copies", type=int, default=17)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE / "spectra")
    options = parser.parse_args()
    rows, spectra = measure_images()
    draw_spectra(spectra, Path(f"{options.out}_images.png"), title="Images: energy per dimension, by scale")
    origin = ""
    if options.crystals:
        clusters, digest = crystal_clusters(
            options.crystals, options.ids, options.split, options.copies, options.most
        )
        found, spectra = measure_crystals(clusters, options.seed)
        rows = rows + found
        title = "Crystals: energy per dimension, by scale (graph of the start)"
        draw_spectra(spectra, Path(f"{options.out}_crystals.png"), title=title)
        origin = f", {len(clusters)} crystals of the {options.split} split with {options.copies} copies, data {digest}"
    columns = [
        Column("data", "data"),
        Column("transform", "shells"),
        Column("samples", "n"),
        Column("share", "share of dimensions below", 3),
        Column("ratio", "norm below / above", 2),
        Column("per_dimension", "the same per dimension", 2),
    ]
    head = (
        f"# Do low shells carry twice the norm of high ones?\n\nkflow_sci {__version__}, seed {options.seed}{origin}. "
        "Ratio of norms [95 % bootstrap over samples]; white noise has 1 per dimension.\n"
    )
    text = f"{head}\n{markdown_table(rows, columns)}\n{READING}"
    options.out.with_suffix(".md").write_text(text, encoding="utf-8")
    write_csv(
        options.out.with_suffix(".csv"), [{"version": __version__, "seed": options.seed, **r} for r in rows]
    )
    print(text)


if __name__ == "__main__":
    main()
