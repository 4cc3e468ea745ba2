"""How noisy a log-density by random probes is, inside the moving shells and over all of them.

    python benchmarks/divergence.py

Writes ``divergence.md`` and ``divergence.csv`` beside this script. Targets: two mixtures of two Gaussians on a periodic
line of 16 points, with the closed-form velocity, so that nothing is trained and the true density is known. In one the
shells are nearly independent and their energy falls with k, in the other they are strongly correlated. For each
schedule: error of the exact divergence, spread (standard deviation over draws, averaged over points) of one Rademacher
probe per step, restricted to the moving shells and unrestricted, and what each costs.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import torch

from kflow_sci import __version__
from kflow_sci.flow.exact import GaussianMixture, projectors
from kflow_sci.flow.likelihood import Density, log_density
from kflow_sci.flow.path import Path as FlowPath
from kflow_sci.flow.schedule import ShellSchedule
from kflow_sci.report.tables import Column, Row, write_csv, write_markdown
from kflow_sci.transforms.fourier import FourierTransform

HERE = Path(__file__).parent
SIZE = 16


def target(transform: FourierTransform, schedule: ShellSchedule, correlated: bool) -> GaussianMixture:
    """Two components whose energy falls with the shell, or whose axes are at random to the shells."""
    generator = torch.Generator().manual_seed(0)
    p = projectors(transform, (SIZE,))
    amplitude = sum(p[j] / (1.0 if correlated else 1.0 + j) for j in range(len(p)))
    low, high = (0.05, 3.0) if correlated else (0.7, 1.3)
    mix = torch.linalg.qr(torch.randn(2, SIZE, SIZE, generator=generator, dtype=torch.float64))[0]
    local = mix @ torch.diag(torch.linspace(low, high, SIZE, dtype=torch.float64)) @ mix.transpose(1, 2)
    mean = torch.randn(2, SIZE, generator=generator, dtype=torch.float64) @ amplitude * 1.5
    return GaussianMixture(p, schedule, [0.5, 0.5], mean, amplitude @ local @ amplitude)


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=8)
    parser.add_argument("--draws", type=int, default=64)
    parser.add_argument("--steps", type=int, default=32, help="Runge-Kutta steps in all")
    parser.add_argument("--out", type=Path, default=HERE / "divergence")
    options = parser.parse_args()

    transform = FourierTransform((SIZE,), [1, 3, 5])
    k = transform.n_shells
    rows: list[Row] = []
    for correlated, overlap in itertools.product((False, True), (0.0, 0.5, 1.0)):
        schedule = ShellSchedule.equal(k, overlap=overlap)
        mixture = target(transform, schedule, correlated)
        path = FlowPath(transform, schedule)
        x1 = mixture.sample(options.points, torch.Generator().manual_seed(1))
        truth = mixture.log_density(x1)
        steps = schedule.spend(options.steps)

        def density(
            x: torch.Tensor, path: FlowPath = path, field=mixture.velocity, steps=steps, **how: object
        ) -> Density:  # type: ignore[no-untyped-def]
            return log_density(field, x, path, steps, method="rk4", **how)  # type: ignore[arg-type]

        exact = density(x1)
        row: dict[str, str | int | float] = {
            "shells": "correlated" if correlated else "nearly independent",
            "schedule": {0.0: "strict", 1.0: "plain (all at once)"}.get(overlap, f"overlap {overlap}"),
            "error": float((exact.log_density - truth).abs().mean()),
            "exact_gradients": exact.gradients,
        }
        for probes in ("moving", "all"):
            generator = torch.Generator().manual_seed(2)
            drawn = density(
                x1.repeat_interleave(options.draws, 0),
                divergence="hutchinson",
                probes=probes,
                generator=generator,
            )
            row[probes] = float(drawn.log_density.reshape(options.points, -1).std(1).mean())
            row["gradients"] = drawn.gradients
        row["variance"] = (float(row["moving"]) / float(row["all"])) ** 2
        rows.append(row)
    columns = [
        Column("shells", "shells of the target"),
        Column("schedule", "schedule"),
        Column("error", "error of the exact divergence, nats", 4),
        Column("exact_gradients", "its gradients"),
        Column("moving", "spread, probes in the moving shells, nats", 2),
        Column("all", "spread, full probes, nats", 2),
        Column("variance", "ratio of variances", 2, "lower"),
        Column("gradients", "gradients"),
    ]
    above = (
        f"# Noise of the log-density\n\nMixtures of two Gaussians on {SIZE} points, {k} Fourier shells of "
        f"{', '.join(map(str, transform.dimension.tolist()))} coefficients, closed-form velocity, {options.steps} "
        f"steps of rk4, {options.points} points, {options.draws} draws each, seeds 0 to 2, kflow_sci {__version__}."
    )
    write_markdown(options.out.with_suffix(".md"), rows, columns, above=above)
    write_csv(options.out.with_suffix(".csv"), rows)
    print(options.out.with_suffix(".md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
