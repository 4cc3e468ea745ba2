"""What can be held and what changes: frozen noise, edits of a given face, energy of each shell along the flow.

    python benchmarks/images_edit.py

Writes beside this script ``images_edit.md`` and ``.csv``, ``images_edit_energy.md`` and ``.csv``, and into
``docs/figures`` ``images_edit_vary``, ``_given``, ``_flow_kflow``, ``_flow_plain`` and ``_spectra``. The nets are
strict K-Flow in Haar wavelets and plain flow matching of ``images_faces.py``; the shells are those of the wavelets:
6 × 6, the details up to 12 × 12, and those up to 24 × 24.

*Vary*: of 12 samples the noise of the coarse shells is frozen and that of the last one drawn anew 8 times, and the
reverse. *Edit*: of 12 held-out faces the coarse shells (or the last) are kept and the rest generated 8 times. Scores
are shell by shell the variance among the 8, as a share of the variance among independent samples: 0 is held, 1 is drawn
anew. Intervals are 95 % bootstrap over the 12. *Energy*: that of each shell of samples over that of held-out faces, and
the projection error (what is left when only the shells up to this one are kept, as a share of the norm).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from images_faces import METHODS, arguments, held_out_faces, net_of
from torch import Tensor

from kflow_sci import __version__
from kflow_sci.flow.steer import Clamp, above, below, vary
from kflow_sci.images.model import ImageModel
from kflow_sci.images.pixels import to_bytes
from kflow_sci.report.pictures import write_grid
from kflow_sci.report.spectra import draw_flow, draw_spectra
from kflow_sci.report.tables import Column, Estimate, Row, write_csv, write_markdown
from kflow_sci.transforms.base import KTransform
from kflow_sci.transforms.spectrum import Spectrum, energy_along

CHOSEN = ("K-Flow, wavelets", "plain flow matching")
STEPS = 32
GIVEN, VARIANTS = 12, 8
K = 2.0  # the scale of the cut: 12 × 12 pixels


def shares(transform: KTransform, variants: Tensor, independent: Tensor) -> list[Estimate]:
    """Variance among variants over that among independent samples, shell by shell.

    Args:
        transform: Its shells.
        variants: ``(given, variants, …)``.
        independent: ``(n, …)``.
    """
    off = variants - variants.mean(1, keepdim=True)
    inner = transform.energy(off.flatten(0, 1)).view(*variants.shape[:2], -1).sum(1) / (variants.shape[1] - 1)
    free = independent - independent.mean(0)
    whole = transform.energy(free).sum(0) / (len(independent) - 1)
    share = (inner / whole).numpy()
    drawn = np.random.default_rng(0).integers(len(share), size=(10_000, len(share)))
    low, high = np.quantile(share[drawn].mean(1), [0.025, 0.975], axis=0)
    return [
        Estimate(float(m), float(a), float(b), len(share))
        for m, a, b in zip(share.mean(0), low, high, strict=True)
    ]


def varied(model: ImageModel, weights: Sequence[float], generator: torch.Generator) -> Tensor:
    """Variants of samples: new noise where the weight is 1; the first is the sample itself."""
    start = model.start(GIVEN, generator)
    whole = start.repeat_interleave(VARIANTS, 0)
    other = vary(model.path().transform, whole, weights, generator)
    other[::VARIANTS] = start
    found = model.sample(len(other), generator, STEPS, label="face", start=other).x
    return found.view(GIVEN, VARIANTS, *found.shape[1:])


def edited(model: ImageModel, faces: Tensor, keep: Sequence[float], generator: torch.Generator) -> Tensor:
    """Variants of given faces: kept where the weight is 1."""
    known = faces[:GIVEN].repeat_interleave(VARIANTS, 0)
    steer = Clamp(model.path(), known, keep)
    found = model.sample(len(known), generator, STEPS, label="face", steer=[steer]).x
    return found.view(GIVEN, VARIANTS, *found.shape[1:])


def main() -> None:
    """Vary, edit, follow the energies, draw, and write the tables."""
    options = arguments(__doc__, "images_edit").parse_args()
    torch.set_num_threads(1)
    faces = held_out_faces()
    rows: list[Row] = []
    energies: list[Row] = []
    spectra = {
        "held-out faces": Spectrum.of(
            net_of(METHODS[CHOSEN[0]], options.runs, options.train_steps).path().transform, faces
        )
    }
    vary_picture, edit_picture = [], []

    def beside(ending: str) -> str:
        return str(options.figures / f"images_edit_{ending}.png")

    for method in CHOSEN:
        model = net_of(METHODS[method], options.runs, options.train_steps)
        transform, n_shells = model.path().transform, model.schedule.n_shells
        generator = torch.Generator().manual_seed(options.seed)
        free = model.sample(96, generator, STEPS, label="face", keep=True)
        coarse, fine = below(n_shells, K), above(n_shells, K)
        for what, variants in (
            ("coarse noise frozen, fine varied", varied(model, fine, generator)),
            ("fine noise frozen, coarse varied", varied(model, coarse, generator)),
            ("coarse of a face kept", edited(model, faces, coarse, generator)),
            ("fine of a face kept", edited(model, faces, fine, generator)),
        ):
            found = shares(transform, variants, free.x)
            rows.append({"method": method, "what": what, **{f"shell{j}": e for j, e in enumerate(found)}})
            print(*rows[-1].values(), flush=True)
            if "frozen" in what:
                vary_picture += [variants[i] for i in range(3)]
            else:
                edit_picture += [torch.cat([faces[i : i + 1], variants[i]]) for i in range(3)]
        spectrum = Spectrum.of(transform, free.x)
        spectra[method] = spectrum
        name = "kflow" if method == CHOSEN[0] else "plain"
        target = spectra["held-out faces"].energy.mean(0)
        draw_flow(
            energy_along(transform, free.states),
            free.times,
            beside(f"flow_{name}"),
            target=target,
            title=method,
        )
    truth = spectra["held-out faces"].energy.mean(0)
    for name, spectrum in spectra.items():
        error = spectrum.projection_error()
        ratio = spectrum.bootstrap(lambda energy: energy / truth)
        for j in range(spectrum.n_shells):
            energies.append(
                {
                    "of": name,
                    "shell": j,
                    "dimension": int(spectrum.dimension[j]),
                    "ratio": Estimate(*(float(part[j]) for part in ratio), len(spectrum.energy)),
                    "error": Estimate(*(float(part[j]) for part in error), len(spectrum.energy)),
                }
            )
    draw_spectra(spectra, beside("spectra"))
    write_grid(to_bytes(torch.cat(vary_picture)), beside("vary"), columns=VARIANTS)
    write_grid(to_bytes(torch.cat(edit_picture)), beside("given"), columns=VARIANTS + 1)
    sizes = ("6 × 6", "to 12 × 12", "to 24 × 24")
    columns = [
        Column("method", "method"),
        Column("what", "what"),
        *(Column(f"shell{j}", s) for j, s in enumerate(sizes)),
    ]
    title = (
        f"# Held and changed\n\nVariance among {VARIANTS} variants of {GIVEN} samples or held-out faces, as a share "
        "of that among independent samples, in each shell: 0 is held, 1 is drawn anew. Coarse is up to 12 × 12. "
        f"{STEPS} network calls, seed {options.seed}, kflow_sci {__version__}."
    )
    write_markdown(options.out.with_suffix(".md"), rows, columns, above=title)
    write_csv(options.out.with_suffix(".csv"), rows)
    columns = [
        Column("of", "of"),
        Column("shell", "shell", 0),
        Column("dimension", "coefficients", 0),
        Column("ratio", "energy over that of held-out faces", 2, "target 1"),
        Column("error", "projection error", 3),
    ]
    title = "# Energy of each shell\n\nOf 20 held-out faces and of 96 samples, with 95 % bootstrap intervals over them."
    flow = options.out.with_name(f"{options.out.name}_energy")
    write_markdown(flow.with_suffix(".md"), energies, columns, above=title)
    write_csv(flow.with_suffix(".csv"), energies)


if __name__ == "__main__":
    main()
