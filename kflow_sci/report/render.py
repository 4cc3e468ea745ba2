"""Balls and sticks, drawn exactly: a small ray caster for spheres and cylinders seen from far away.

The one idea: seen from infinity a sphere and a cylinder have closed-form depth and normal at every pixel, so a depth
buffer in numpy gives correct overlaps, smooth edges and soft shadows, which stacked circles of a plotting library
cannot.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import gaussian_filter, map_coordinates

# Samples per pixel and direction; they are averaged, which smooths the edges.
_SAMPLES = 2
_LIGHT = np.array([-0.42, 0.55, 0.72], dtype=np.float32) / np.float32(np.linalg.norm([-0.42, 0.55, 0.72]))
_AMBIENT, _DIFFUSE, _SHINE = 0.50, 0.58, 0.20
# Far things fade into the white of the paper by this much.
_HAZE = 0.55
# Strength and widths (Å) of the shadow that near things throw on what lies behind them.
_SHADOW, _SHADOW_WIDTHS = 0.5, (0.5, 1.6)
# How dark the rim of a ball is where the next thing lies this much (Å) farther away.
_OUTLINE, _STEP = 0.55, 0.7


@dataclass(frozen=True, eq=False)
class Scene:
    """What to draw; x to the right, y up, z towards the viewer, in Å.

    Attributes:
        position: Centres of the balls, ``(n, 3)``.
        radius: Å, ``(n,)``.
        color: Red, green, blue in [0, 1], ``(n, 3)``.
        sticks: Pairs of balls to join, ``(m, 2)``; each half has the colour of its ball.
        stick_radius: Å, ``(m,)``.
    """

    position: Float[np.ndarray, "n 3"]
    radius: Float[np.ndarray, " n"]
    color: Float[np.ndarray, "n 3"]
    sticks: Int[np.ndarray, "m 2"]
    stick_radius: Float[np.ndarray, " m"]


def render(
    scene: Scene,
    width: float,
    height: float,
    pixels_per_angstrom: float,
    depth: tuple[float, float] | None = None,
) -> Float[np.ndarray, "h w 3"]:
    """Picture of a scene, the origin in the middle, on white.

    Args:
        scene: What to draw; parts outside are cut off.
        width: Å.
        height: Å.
        pixels_per_angstrom: Scale of the picture.
        depth: z that is drawn palest and z that is drawn clearest; those of the scene if None.

    Returns:
        Red, green, blue in [0, 1], ``float32``; the first row is the top.
    """
    scale = pixels_per_angstrom * _SAMPLES
    canvas = _Canvas(
        _SAMPLES * round(width * pixels_per_angstrom), _SAMPLES * round(height * pixels_per_angstrom), scale
    )
    for (i, j), radius in zip(scene.sticks, scene.stick_radius, strict=True):
        canvas.stick(scene.position[i], scene.position[j], float(radius), int(i), int(j))
    for i, (center, radius) in enumerate(zip(scene.position, scene.radius, strict=True)):
        canvas.ball(center, float(radius), i)
    near, far = float(scene.position[:, 2].max()), float(scene.position[:, 2].min())
    if depth is not None:
        far, near = depth
    return canvas.shade(scene.color, far, near)


def _columns(seen: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> Float[np.ndarray, "s 3"]:
    """The vectors (x, y, z) at the samples that are seen; x is one row, y one column."""
    rows, columns = np.nonzero(seen)
    return np.stack([x[0, columns], y[rows, 0], z[rows, columns]], axis=1)


class _Canvas:
    """Depth, normal and owner of what is seen at each sample."""

    def __init__(self, width: int, height: int, scale: float) -> None:
        self.scale = scale
        self.depth = np.full((height, width), -np.inf, dtype=np.float32)
        self.normal = np.zeros((height, width, 3), dtype=np.float32)
        self.owner = np.full((height, width), -1, dtype=np.int32)

    def _window(
        self, low: np.ndarray, high: np.ndarray
    ) -> tuple[slice, slice, np.ndarray, np.ndarray] | None:
        """Samples between two corners (Å): slices of rows and columns, and their x and y; None outside."""
        height, width = self.depth.shape
        left, right = (int(np.floor(v * self.scale + width / 2)) for v in (low[0], high[0]))
        top, bottom = (int(np.floor(height / 2 - v * self.scale)) for v in (high[1], low[1]))
        columns, rows = (
            slice(max(left, 0), min(right + 2, width)),
            slice(max(top, 0), min(bottom + 2, height)),
        )
        if columns.start >= columns.stop or rows.start >= rows.stop:
            return None
        x = (np.arange(columns.start, columns.stop, dtype=np.float32) + 0.5 - width / 2) / self.scale
        y = (height / 2 - 0.5 - np.arange(rows.start, rows.stop, dtype=np.float32)) / self.scale
        return rows, columns, x[None, :], y[:, None]

    def ball(self, center: np.ndarray, radius: float, owner: int) -> None:
        window = self._window(center - radius, center + radius)
        if window is None:
            return
        rows, columns, x, y = window
        x, y = x - np.float32(center[0]), y - np.float32(center[1])
        height = np.float32(radius**2) - x * x - y * y
        z = np.sqrt(np.maximum(height, 0))
        seen = (height > 0) & (z + np.float32(center[2]) > self.depth[rows, columns])
        self.depth[rows, columns][seen] = z[seen] + np.float32(center[2])
        self.owner[rows, columns][seen] = owner
        self.normal[rows, columns][seen] = _columns(seen, x, y, z) / np.float32(radius)

    def stick(self, start: np.ndarray, end: np.ndarray, radius: float, first: int, second: int) -> None:
        length = float(np.linalg.norm(end - start))
        window = self._window(np.minimum(start, end) - radius, np.maximum(start, end) + radius)
        if window is None or length < 1e-6:
            return
        rows, columns, x, y = window
        axis = ((end - start) / length).astype(np.float32)
        slope = np.float32(max(1.0 - float(axis[2]) ** 2, 1e-6))
        u, v = x - np.float32(start[0]), y - np.float32(start[1])
        # |w − (w·a) a|² = r² for w = (u, v, t): a quadratic in the height t above the start.
        along = u * axis[0] + v * axis[1]
        root = (along * axis[2]) ** 2 - slope * (u * u + v * v - along * along - np.float32(radius**2))
        t = (along * axis[2] + np.sqrt(np.maximum(root, 0))) / slope
        position = along + t * axis[2]
        z = t + np.float32(start[2])
        seen = (root > 0) & (position > 0) & (position < length) & (z > self.depth[rows, columns])
        if not seen.any():
            return
        self.depth[rows, columns][seen] = z[seen]
        self.owner[rows, columns][seen] = np.where(position[seen] < length / 2, first, second)
        offset = _columns(seen, u, v, t) - position[seen][:, None] * axis
        self.normal[rows, columns][seen] = offset / np.float32(radius)

    def shade(self, color: Float[np.ndarray, "n 3"], far: float, near: float) -> Float[np.ndarray, "h w 3"]:
        """Light, shadow, outline and haze, averaged to pixels."""
        rows, columns = np.nonzero(self.owner >= 0)
        normal, depth = self.normal[rows, columns], self.depth[rows, columns]
        facing = normal @ _LIGHT
        light = _AMBIENT + _DIFFUSE * np.maximum(facing, 0)
        light *= 1.0 - _SHADOW * self._shadow(rows, columns, far)
        light *= 1.0 - _OUTLINE * self._outline(rows, columns, depth)
        # The mirror direction of the light, seen from the front: a small soft spot on each ball.
        shine = np.maximum(2.0 * facing * normal[:, 2] - _LIGHT[2], 0) ** 24
        paint = color.astype(np.float32)[self.owner[rows, columns]] * light[:, None] + _SHINE * shine[:, None]
        haze = _HAZE * np.clip((near - depth) / np.float32(max(near - far, 1e-6)), 0, 1) ** np.float32(1.3)
        paint = np.clip(paint, 0, 1) * (1 - haze[:, None]) + haze[:, None]
        # White, less what the samples of each pixel lack of it.
        height, width = self.owner.shape[0] // _SAMPLES, self.owner.shape[1] // _SAMPLES
        pixel = (rows // _SAMPLES) * width + columns // _SAMPLES
        image = np.empty((height * width, 3), dtype=np.float32)
        for k in range(3):
            lack = np.bincount(pixel, 1.0 - paint[:, k], minlength=height * width)
            image[:, k] = 1.0 - lack / _SAMPLES**2
        return np.clip(image, 0, 1).reshape(height, width, 3)

    def _shadow(
        self, rows: Int[np.ndarray, " s"], columns: Int[np.ndarray, " s"], far: float
    ) -> Float[np.ndarray, " s"]:
        """How much of what surrounds a sample lies before it, 0 to 1: the difference from the blurred depth."""
        # The shadow is smooth and the blur takes the time: every fourth pixel will do, linear in between.
        step = 4 * _SAMPLES
        coarse = np.maximum(self.depth[step // 2 :: step, step // 2 :: step], np.float32(far - 2.0))
        shadow = np.zeros_like(coarse)
        for width in _SHADOW_WIDTHS:
            blurred = gaussian_filter(coarse, width * self.scale / step, mode="nearest", truncate=2.5)
            shadow += np.clip((blurred - coarse) / (1.2 * width + 0.4), 0, 1) / len(_SHADOW_WIDTHS)
        place = np.stack([rows, columns]).astype(np.float32) / step - 0.5
        return map_coordinates(gaussian_filter(shadow, 0.6), place, order=1, mode="nearest")

    def _outline(
        self, rows: Int[np.ndarray, " s"], columns: Int[np.ndarray, " s"], depth: Float[np.ndarray, " s"]
    ) -> Float[np.ndarray, " s"]:
        """1 where a sample borders on something much farther away, else 0."""
        height, width = self.depth.shape
        edge = np.zeros(len(rows), dtype=bool)
        for down, right in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            beside = self.depth[np.clip(rows + down, 0, height - 1), np.clip(columns + right, 0, width - 1)]
            edge |= depth - beside > _STEP
        return edge.astype(np.float32)
