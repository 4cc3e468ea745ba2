"""K-Flow: flow matching along the K-amplitude, for molecular clusters and images.

The few names most people need are here. Nothing heavy is imported until a name is used.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Cluster": "kflow_sci.assembly.cluster",
    "FourierTransform": "kflow_sci.transforms.fourier",
    "GraphSpectralTransform": "kflow_sci.transforms.graph",
    "KFlowError": "kflow_sci.errors",
    "Molecule": "kflow_sci.assembly.molecule",
    "NestedTransform": "kflow_sci.transforms.nested",
    "NodePCATransform": "kflow_sci.transforms.node_pca",
    "PCATransform": "kflow_sci.transforms.pca",
    "Path": "kflow_sci.flow.path",
    "PartialGraphTransform": "kflow_sci.transforms.partial",
    "ShellSchedule": "kflow_sci.flow.schedule",
    "Spectrum": "kflow_sci.transforms.spectrum",
    "WaveletTransform": "kflow_sci.transforms.wavelet",
    "assemble": "kflow_sci.assembly.model.generate",
    "open_store": "kflow_sci.assembly.data.store",
    "read_molecule": "kflow_sci.assembly.reading.formats",
    "solve": "kflow_sci.flow.solve",
    "view": "kflow_sci.report.page.notebook",
    "write_clusters": "kflow_sci.assembly.writing",
}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """All public names, also those not imported yet."""
    return sorted(set(globals()) | set(_HOME))
