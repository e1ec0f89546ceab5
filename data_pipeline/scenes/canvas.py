"""Paper, pencil and dice for the embedded scenes: a picture, its label ids and its depths, drawn
together in perspective.

World coordinates in metres: X to the right, Y up from the ground, Z ahead of the camera. Everything
is painted from far to near, image and label through the same mask. Only raw Philox words, integers
and the four exactly rounded operations of IEEE floats are used (no sines, no powers, no sums whose
order a library chooses), so that a scene has the same bits on every machine.
"""

from typing import NamedTuple

import numpy as np

NEAREST = 0.8  # metres; nothing closer to the camera is drawn
_WORDS = 512  # drawn from Philox at a time
_GRAIN = 64  # size of the table of random grey values that gives surfaces their texture


class Dice:
    """A stream of random numbers that depends on (key, number) only."""

    def __init__(self, key: int, number: int):
        self._philox = np.random.Philox(key=np.array([key, number], np.uint64))
        self._units = []

    def unit(self) -> float:
        """In [0, 1), a multiple of 2**-24."""
        if not self._units:
            self._units = ((self._philox.random_raw(_WORDS) >> np.uint64(40)) * 2.0**-24).tolist()
        return self._units.pop()

    def between(self, limits) -> float:
        """Uniform in (low, high)."""
        return limits[0] + (limits[1] - limits[0]) * self.unit()

    def chance(self, probability) -> bool:
        """True that often."""
        return self.unit() < probability

    def count(self, limits) -> int:
        """A whole number whose mean is uniform in (low, high)."""
        return int(self.between(limits) + self.unit())

    def pick(self, choices):
        """One of a sequence."""
        return choices[int(self.unit() * len(choices))]

    def weighted(self, weights) -> int:
        """The position of one of the weights, as often as it weighs."""
        mark = self.unit() * sum(weights)
        for i, weight in enumerate(weights):
            mark -= weight
            if mark < 0:
                return i
        return len(weights) - 1

    def grey(self, *shape) -> np.ndarray:
        """float32 in [-1, 1), of a shape."""
        count = int(np.prod(shape))
        words = np.atleast_1d(self._philox.random_raw((count + 3) // 4)).view(
            "<u2" if np.little_endian else ">u2"
        )[:count]
        return (words.astype(np.float32) * np.float32(2.0**-15) - np.float32(1)).reshape(shape)


class Camera(NamedTuple):
    """A pinhole, not tilted: the horizon's row does that. Lengths in pixels of the canvas, or
    metres.
    """

    focal: float
    column: float  # of the vanishing point
    row: float  # of the horizon
    x: float
    height: float


class Canvas:
    """Image float32 [H, W, 3] (0..255), ids uint8 [H, W], depth float32 [H, W] in metres, and the
    camera that sees them.
    """

    def __init__(self, size_hw, camera, dice):
        height, width = size_hw
        self.hw, self.camera = (height, width), camera
        self.image = np.zeros((height, width, 3), np.float32)
        self.ids = np.zeros((height, width), np.uint8)
        self.depth = np.full((height, width), 1e4, np.float32)
        self.xs, self.ys = np.arange(width) + 0.5, np.arange(height) + 0.5
        # slope of each column's rays, X over Z
        self.rights = (self.xs - camera.column) / camera.focal
        self.ups = (camera.row - self.ys) / camera.focal  # slope of each row's rays, Y over Z
        self._grain = dice.grey(_GRAIN, _GRAIN)

    def project(self, x, y, z):
        """Column and row of a point ahead of the camera."""
        camera = self.camera
        return (
            camera.column + camera.focal * (x - camera.x) / z,
            camera.row - camera.focal * (y - camera.height) / z,
        )

    def grain(self, a, b) -> np.ndarray:
        """Random texture in [-1, 1), the same for the same cells of the coordinates a and b; they
        broadcast.
        """
        return self._grain[
            np.floor(a).astype(np.int64) & (_GRAIN - 1), np.floor(b).astype(np.int64) & (_GRAIN - 1)
        ]

    def paint(self, rows, columns, mask, color, label, depth):
        """Colours bool [h, w] of a window (two slices); `color` [3] or [h, w, 3]; `label` and
        `depth` None leave what is there.
        """
        np.copyto(self.image[rows, columns], np.asarray(color, np.float32), where=mask[..., None])
        if label is not None:
            np.copyto(self.ids[rows, columns], np.uint8(label), where=mask)
        if depth is not None:
            np.copyto(self.depth[rows, columns], np.asarray(depth, np.float32), where=mask)

    def window(self, left, top, right, bottom):
        """The slices (rows, columns) of pixels whose centres may lie in a box; None when it is
        outside the picture.
        """
        c0, c1 = max(int(max(left, 0) + 0.5), 0), min(int(min(right, self.hw[1]) + 0.5), self.hw[1])
        r0, r1 = max(int(max(top, 0) + 0.5), 0), min(int(min(bottom, self.hw[0]) + 0.5), self.hw[0])
        return (slice(r0, r1), slice(c0, c1)) if r0 < r1 and c0 < c1 else None

    def inside(self, points):
        """(rows, columns, mask) of the pixels of a convex polygon [(column, row), ...]; None when
        there is none.
        """
        us, vs = [p[0] for p in points], [p[1] for p in points]
        window = self.window(min(us), min(vs), max(us), max(vs))
        area = sum(
            a[0] * b[1] - b[0] * a[1] for a, b in zip(points, points[1:] + points[:1], strict=True)
        )
        if window is None or area == 0:
            return None
        rows, columns = window
        x, y = self.xs[columns], self.ys[rows, None]
        mask = np.ones((rows.stop - rows.start, columns.stop - columns.start), bool)
        for (u0, v0), (u1, v1) in zip(points, points[1:] + points[:1], strict=True):
            side = (u1 - u0) * (y - v0) - (v1 - v0) * (x - u0)
            mask &= side >= 0 if area > 0 else side <= 0
        return rows, columns, mask

    def polygon(self, corners, color, label):
        """Fills the picture of a convex polygon [(X, Y, Z), ...]; one that reaches behind the
        camera is left out.
        """
        if min(c[2] for c in corners) < NEAREST:
            return
        found = self.inside([self.project(*c) for c in corners])
        if found:
            self.paint(*found, color, label, min(c[2] for c in corners))

    def shade_ground(self, corners, factor, ground_ids):
        """Darkens the ground in a convex polygon [(X, Z), ...], where it is still to be seen."""
        found = self.inside([self.project(x, 0.0, max(z, NEAREST)) for x, z in corners])
        if found:
            rows, columns, mask = found
            self.image[rows, columns][mask & ground_ids[self.ids[rows, columns]]] *= np.float32(
                factor
            )

    def face(self, a, b, bottom, top, label, shade):
        """Paints an upright rectangle that stands on the ground's line from a to b, each (X, Z).

        bottom, top: metres above the ground. shade(s, Y, Z): from metres along a-b [w], height [h,
        w] and distance [w] to (color [3] or [h, w, 3], visible: bool [h, w] or None); or (color,
        visible, painted), where `painted` is the part of the visible that also hides what is behind
        it in the image, such as the bars of a fence.
        """
        camera, (xa, za), (xb, zb) = self.camera, a, b
        columns = slice(0, self.hw[1])
        if min(za, zb) > NEAREST:
            ends = [self.project(x, 0.0, z)[0] for x, z in (a, b)]
            window = self.window(min(ends), 0, max(ends), 1)
            if window is None:
                return
            columns = window[1]
        slope = self.rights[columns]
        with np.errstate(divide="ignore", invalid="ignore"):
            # where each column's rays meet the line
            t = (slope * za - (xa - camera.x)) / ((xb - xa) - slope * (zb - za))
            z = za + t * (zb - za)
            met = np.flatnonzero((t >= 0) & (t <= 1) & (z > NEAREST))
        if not met.size:
            return
        columns = slice(columns.start + int(met[0]), columns.start + int(met[-1]) + 1)
        t, z = t[met[0] : met[-1] + 1], z[met[0] : met[-1] + 1]
        near, far = float(z.min()), float(z.max())
        edges = [self.project(0.0, y, depth)[1] for y in (bottom, top) for depth in (near, far)]
        window = self.window(0, min(edges), 1, max(edges))
        if window is None:
            return
        rows = window[0]
        y = camera.height + self.ups[rows, None] * z  # [h, w]
        dx, dz = xb - xa, zb - za
        color, visible, *painted = shade(t * np.sqrt(dx * dx + dz * dz), y, z)
        mask = (y >= bottom) & (y <= top)
        mask = mask if visible is None else mask & visible
        depth = np.broadcast_to(z, mask.shape)
        if painted:
            self.paint(rows, columns, mask & painted[0], color, None, None)
            np.copyto(self.ids[rows, columns], np.uint8(label), where=mask)
        else:
            self.paint(rows, columns, mask, color, label, depth)

    def box(self, x0, x1, y0, y1, z, color, label):
        """A rectangle that faces the camera at distance z."""
        if z < NEAREST:
            return
        (left, top), (right, bottom) = self.project(x0, y1, z), self.project(x1, y0, z)
        window = self.window(left, top, right, bottom)
        if window:
            self.image[window], self.depth[window] = color, z
            if label is not None:
                self.ids[window] = label

    def ellipse(self, x, y, z, rx, ry, color, label, ragged=0.0, lit=0.0):
        """An ellipse with radii rx, ry that faces the camera; `ragged` frays its rim, `lit`
        brightens its top and darkens its foot.
        """
        if z < NEAREST:
            return
        (left, top), (right, bottom) = (
            self.project(x - rx, y + ry, z),
            self.project(x + rx, y - ry, z),
        )
        window = self.window(left, top, right, bottom)
        if window is None:
            return
        rows, columns = window
        across = (self.xs[columns] - (left + right) / 2) * (2 / (right - left))
        down = (self.ys[rows, None] - (top + bottom) / 2) * (2 / (bottom - top))
        inside = across * across + down * down
        if not ragged:
            self.paint(rows, columns, inside <= 1, color, label, z)
            return
        step = self.camera.focal / z * 0.22  # a leaf's size in pixels
        texture = self.grain(self.ys[rows, None] / step + x * 7, self.xs[columns] / step)
        mask = inside <= 1 + ragged * texture
        shades = 1 + lit * (0.6 * texture - down)
        self.paint(rows, columns, mask, np.asarray(color) * shades[..., None], label, z)
