"""What do the transforms cost? Filters against what they cannot do without, and against a peer, in one run.

    python benchmarks/transforms_cost.py

Writes ``transforms_cost.md`` and ``transforms_cost.csv`` beside this script. Ours and theirs take turns, so that the
load of the machine falls on both; times are the fastest of all turns, and the ratio is that of these. Memory is the
largest growth of the process during one call, in multiples of the batch itself (Linux only).
"""

from __future__ import annotations

import argparse
import ctypes
import math
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import ptwt
import pywt
import torch
from threadpoolctl import threadpool_limits

from kflow_sci import __version__
from kflow_sci.report.tables import Column, Row, markdown_table, write_csv
from kflow_sci.transforms.base import KTransform
from kflow_sci.transforms.fourier import FourierTransform
from kflow_sci.transforms.graph import GraphSpectralTransform
from kflow_sci.transforms.nested import NestedTransform
from kflow_sci.transforms.partial import PartialGraphTransform, TruncatedNodeTransform
from kflow_sci.transforms.pca import PCATransform
from kflow_sci.transforms.wavelet import WaveletTransform

HERE = Path(__file__).parent
Work = Callable[[], object]


def taking_turns(works: list[Work], seconds: float) -> list[float]:
    """Fastest call of each, in seconds; they take turns of about five milliseconds until the time is used up."""
    calls = []
    for work in works:
        work()
        start = time.perf_counter()
        work()
        calls.append(max(1, int(0.005 / (time.perf_counter() - start))))
    best = [math.inf] * len(works)
    began, turns = time.perf_counter(), 0
    while turns < 5 or time.perf_counter() - began < seconds:
        for i, work in enumerate(works):
            for _ in range(calls[i]):
                start = time.perf_counter()
                work()
                best[i] = min(best[i], time.perf_counter() - start)
        turns += 1
    return best


def normal(*shape: int) -> torch.Tensor:
    """Seeded noise."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def filtering(transform: KTransform, x: torch.Tensor) -> Work:
    """One call of the filter with other weights for every sample."""
    w = torch.rand(len(x), transform.n_shells, generator=torch.Generator().manual_seed(1))
    return lambda: transform.filter(x, w)


def bare_fourier(x: torch.Tensor, shape: tuple[int, ...]) -> Work:
    """A transform to the half spectrum and back, nothing between."""
    axes = tuple(range(-len(shape), 0))
    return lambda: torch.fft.irfftn(torch.fft.rfftn(x, dim=axes), s=shape, dim=axes)


def ptwt_convolutions(x: torch.Tensor, name: str, levels: int) -> Work:
    """Decomposition and reconstruction by convolution; no isometry at the borders beyond Haar."""
    wavelet = pywt.Wavelet(name)
    return lambda: ptwt.waverec2(ptwt.wavedec2(x, wavelet, mode="periodic", level=levels), wavelet)


def ptwt_matrices(x: torch.Tensor, name: str, levels: int) -> Work:
    """Decomposition and reconstruction by sparse matrices with orthogonal borders, built before the clock runs."""
    forward, back = ptwt.MatrixWavedec2(name, level=levels), ptwt.MatrixWaverec2(name)
    return lambda: back(forward(x))


def fourier_rows(seconds: float) -> list[Row]:
    """Fourier filters against bare transforms."""
    rows: list[Row] = []
    for lead, shape in (
        ((16, 4), (32, 32)),
        ((16, 3), (256, 256)),
        ((16, 4), (4096,)),
        ((4, 1), (32, 32, 32)),
    ):
        x = normal(*lead, *shape)
        limit = 1.3 if len(shape) == 2 else None
        for shells in (3, "unit"):
            ours, bare = taking_turns(
                [filtering(FourierTransform(shape, shells), x), bare_fourier(x, shape)], seconds
            )
            size = " × ".join(map(str, (*lead, *shape)))
            rows.append(
                row(f"Fourier {size}, shells {shells}", ours, "bare rfftn + irfftn", bare, ours / bare, limit)
            )
    return rows


def wavelet_rows(seconds: float) -> list[Row]:
    """Wavelet filters against the faster of ptwt's two ways."""
    rows: list[Row] = []
    cases = [
        (16, 4, 32, 1),
        (16, 4, 32, 2),
        (16, 4, 64, 2),
        (16, 3, 128, 3),
        (16, 3, 256, 1),
        (16, 3, 256, 3),
        (4, 3, 512, 3),
    ]
    for batch, channels, n, levels in cases:
        for name in ("haar", "db6"):
            x = normal(batch, channels, n, n)
            works = [
                filtering(WaveletTransform((n, n), name, levels), x),
                ptwt_convolutions(x, name, levels),
                ptwt_matrices(x, name, levels),
            ]
            ours, *theirs = taking_turns(works, seconds)
            peer = min(theirs)
            who = ("ptwt convolutions", "ptwt matrices")[theirs.index(peer)]
            label = f"wavelet {name} {batch} × {channels} × {n} × {n}, {levels} levels"
            rows.append(row(label, ours, who, peer, peer / ours, 5.0, faster=True))
    return rows


def node_rows(seconds: float) -> list[Row]:
    """Bases and filters on point clouds, in milliseconds."""
    clusters, cloud = normal(64, 17, 3), normal(1, 1500, 3)
    molecule = torch.arange(60).repeat_interleave(25)[None]
    graph = GraphSpectralTransform.from_points(clusters, 3)
    cases: list[tuple[str, Work, float | None]] = [
        ("graph basis, 64 clusters of 17", lambda: GraphSpectralTransform.from_points(clusters, 3), 3.0),
        ("graph filter, 64 clusters of 17", filtering(graph, clusters), 0.3),
        ("graph basis, 1,500 atoms, all modes", lambda: GraphSpectralTransform.from_points(cloud, 3), None),
        ("graph basis, 1,500 atoms, 40 modes", lambda: PartialGraphTransform.from_points(cloud, 3, 40), None),
        (
            "molecules over atoms, 60 of 25",
            lambda: NestedTransform.from_points(cloud, molecule, (2, 2)),
            None,
        ),
        (
            "graph filter, 1,500 atoms, all modes",
            filtering(GraphSpectralTransform.from_points(cloud, 3), cloud),
            None,
        ),
        (
            "graph filter, 1,500 atoms, 40 modes",
            filtering(PartialGraphTransform.from_points(cloud, 3, 40), cloud),
            None,
        ),
    ]
    rows: list[Row] = []
    for label, work, limit in cases:
        (took,) = taking_turns([work], seconds)
        rows.append(row(label, took, "", math.nan, 1e3 * took, limit))
    return rows


def row(
    label: str, ours: float, who: str, theirs: float, value: float, limit: float | None, faster: bool = False
) -> Row:
    """One line: times in milliseconds, the figure that has a limit, and whether it holds."""
    holds = "" if limit is None else ("yes" if (value >= limit if faster else value <= limit) else "NO")
    sign = "" if limit is None else f"{'≥' if faster else '≤'} {limit:g}"
    return {
        "case": label,
        "ours": 1e3 * ours,
        "against": who,
        "theirs": 1e3 * theirs,
        "figure": value,
        "limit": sign,
        "holds": holds,
    }


def peak_growth(work: Work) -> float:
    """Bytes by which the process grows at most while ``work`` runs."""
    ctypes.CDLL(None).malloc_trim(0)  # what was freed before must not serve this call unseen
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    status = Path("/proc/self/status")

    def read(key: str) -> int:
        line = next(line for line in status.read_text().splitlines() if line.startswith(key))
        return 1024 * int(line.split()[1])

    before = read("VmRSS")
    result = work()
    peak = read("VmHWM")
    del result
    return float(peak - before)


def memory_rows() -> list[Row]:
    """Memory of one filter in multiples of the batch, for two sizes of the batch."""
    images, clouds, clusters = normal(64, 3, 128, 128), normal(64, 1500, 3), normal(8192, 17, 3)
    modes = torch.linalg.qr(normal(3 * 128 * 128, 32)).Q
    falling = torch.arange(32, 0, -1).float()
    node_modes = torch.linalg.qr(normal(64, 1500, 40)).Q
    halves = (torch.arange(40) // 20).expand(64, -1)
    makers: list[tuple[str, torch.Tensor, Callable[[int], KTransform]]] = [
        ("Fourier 128², unit shells", images, lambda n: FourierTransform((128, 128))),
        ("wavelet haar 128², 3 levels", images, lambda n: WaveletTransform((128, 128), "haar", 3)),
        ("wavelet db6 128², 3 levels", images, lambda n: WaveletTransform((128, 128), "db6", 3)),
        (
            "PCA 3 × 128 × 128, 32 modes",
            images,
            lambda n: PCATransform(modes, falling, 3, shape=(3, 128, 128)),
        ),
        (
            "1,500 nodes, 40 modes",
            clouds,
            lambda n: TruncatedNodeTransform(node_modes[:n], halves[:n], 3, halves[:n]),
        ),
        ("17 nodes, all modes", clusters, lambda n: GraphSpectralTransform.from_points(clusters[:n], 3)),
    ]
    rows: list[Row] = []
    for label, data, make in makers:
        for share in (4, 1):
            x = data[: len(data) // share]
            transform = make(len(x))
            work = filtering(transform, x)
            work()
            size = 4 * x.numel()
            rows.append(
                {"case": label, "batch": len(x), "MiB": size / 2**20, "times": peak_growth(work) / size}
            )
    return rows


def main() -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="more suffer from whatever else the machine does"
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="for each case")
    parser.add_argument("--out", type=Path, default=HERE / "transforms_cost")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    threadpool_limits(options.threads)
    warnings.simplefilter("ignore", UserWarning)  # PyWavelets on levels at which all is border
    with torch.no_grad():
        rows = [*fourier_rows(options.seconds), *wavelet_rows(options.seconds), *node_rows(options.seconds)]
        memory = memory_rows() if Path("/proc/self/clear_refs").exists() else []
    columns = [
        Column("case", "case"),
        Column("ours", "ours, ms", 3),
        Column("against", "against"),
        Column("theirs", "theirs, ms", 3),
        Column("figure", "figure", 2),
        Column("limit", "limit"),
        Column("holds", "holds"),
    ]
    text = (
        "# Cost of the transforms\n\n"
        f"kflow_sci {__version__}, torch {torch.__version__}, ptwt {version('ptwt')}, {options.threads} thread(s), "
        "float32. Ours and theirs took turns; times are the fastest. The figure is ours over theirs for Fourier, "
        "theirs over ours for wavelets, and milliseconds for point clouds. A wavelet filter weighs the shells between "
        "decomposition and reconstruction, which ptwt is spared here; of its two ways the faster is shown. Made by "
        "`python benchmarks/transforms_cost.py`.\n\n"
        + markdown_table(rows, columns)
        + "\nLargest growth of the process during one filter, in multiples of the batch (the result itself is 1):\n\n"
        + markdown_table(
            memory,
            [
                Column("case", "filter"),
                Column("batch", "samples"),
                Column("MiB", "batch, MiB", 1),
                Column("times", "growth", 1),
            ],
        )
    )
    options.out.with_suffix(".md").write_text(text, encoding="utf-8")
    write_csv(
        options.out.with_suffix(".csv"),
        [{"version": __version__, "threads": options.threads, **r} for r in [*rows, *memory]],
    )
    print(text)


if __name__ == "__main__":
    main()
