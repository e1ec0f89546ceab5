"""Draws the vehicles of the embedded scenes: the body, which is a side view pulled out to the
vehicle's width, wheels, panes, lights.
"""

import itertools
from typing import NamedTuple

import numpy as np

from data_pipeline.scenes.canvas import NEAREST
from data_pipeline.scenes.street import ID

_TYRE = (26, 26, 28)


class Pose(NamedTuple):
    """Middle of the tail (X, Z) and the direction (X, Z) that the nose points to, of length 1."""

    x: float
    z: float
    heading: tuple[float, float]

    def at(self, along, across):
        """(X, Z) of a place in metres from the tail towards the nose, and to the right of the
        middle.
        """
        hx, hz = self.heading
        return self.x + hx * along + hz * across, self.z + hz * along - hx * across


def draw_vehicle(canvas, street, shape, pose, label, colors, dice):
    """Draws one vehicle, unless it reaches behind the camera.

    Args:
      shape: vehicle_shapes.Shape.
      label: id of its class.
      colors: RGB of paint, load and glass.
    """
    length = dice.between(shape.length)
    width = dice.between(shape.width)
    height = dice.between(shape.height)
    corners = [pose.at(s, w) for s in (0, length) for w in (-width / 2, width / 2)]
    if min(z for _, z in corners) < NEAREST:
        return
    profile = [(s * length, y * height) for s, y in shape.profile]
    paint, load, glass = (np.array(color, np.float32) for color in colors)
    tones = {"p": paint, "l": load, "g": glass}
    hx, hz = pose.heading
    _draw_underside(canvas, pose, length, width, shape.clearance, label)
    steps = []
    edges = zip(itertools.pairwise(profile), shape.surfaces, strict=True)
    for ((s0, y0), (s1, y1)), letter in edges:
        slope, rise = s1 - s0, y1 - y0  # the outward normal is (-rise, slope)
        norm = np.sqrt(slope * slope + rise * rise)
        light = street.light(-hx * rise / norm, -hz * rise / norm) + 0.2 * slope / norm
        quad = [
            (*pose.at(s, w), y)
            for (s, y), w in (
                ((s0, y0), -width / 2),
                ((s0, y0), width / 2),
                ((s1, y1), width / 2),
                ((s1, y1), -width / 2),
            )
        ]
        quad = [(x, y, z) for x, z, y in quad]
        middle = pose.at((s0 + s1) / 2, 0)
        facing = -rise * (hx * (canvas.camera.x - middle[0]) - hz * middle[1]) + slope * (
            canvas.camera.height - (y0 + y1) / 2
        )
        if facing > 0:
            steps.append((middle[1], quad, tones[letter] * light))
    for _, quad, color in sorted(steps, key=lambda step: -step[0]):
        canvas.polygon(quad, color, label)
    is_tail_seen = hx * (canvas.camera.x - pose.x) - hz * pose.z < 0
    _draw_lamps(
        canvas,
        pose,
        0.0 if is_tail_seen else length,
        width,
        height,
        (196, 24, 20) if is_tail_seen else (250, 248, 220),
        is_tail_seen,
    )
    _draw_side(canvas, street, shape, pose, (length, width, height), (paint, load, glass), label)


def _draw_underside(canvas, pose, length, width, clearance, label):
    """Darkness and wheels under both ends, and the contact shadow around them."""
    ring = [
        pose.at(s, w)
        for s, w in (
            (-0.1, -width / 1.8),
            (-0.1, width / 1.8),
            (length + 0.1, width / 1.8),
            (length + 0.1, -width / 1.8),
        )
    ]
    found = canvas.inside([canvas.project(x, 0.0, max(z, NEAREST)) for x, z in ring])
    if found:
        canvas.image[found[0], found[1]][found[2]] *= np.float32(0.4)
    far, near = sorted((0.0, length), key=lambda s: -pose.at(s, 0)[1])
    for s in (far, near):
        canvas.face(
            pose.at(s, -width / 2),
            pose.at(s, width / 2),
            0.0,
            clearance * 1.6,
            label,
            lambda s, y, z: (
                _TYRE,
                (y > clearance * 0.6) | (np.abs(s - width / 2) > width / 2 - 0.25),
            ),
        )


def _draw_lamps(canvas, pose, s, width, height, color, is_tail):
    low = min(height * 0.3, 0.75)
    for sign in (-1, 1):
        a, b = pose.at(s, sign * width * 0.47), pose.at(s, sign * width * 0.33)
        canvas.face(a, b, low, low + 0.16, None, lambda s, y, z: (color, None))
    a, b = pose.at(s, -0.26), pose.at(s, 0.26)
    canvas.face(
        a,
        b,
        low * 0.7,
        low * 0.7 + 0.12,
        None,
        lambda s, y, z: ((236, 236, 226) if is_tail else (60, 60, 60), None),
    )


def _draw_side(canvas, street, shape, pose, size, colors, label):
    """The flank that the camera sees."""
    (length, width, height), (paint, load, glass), (hx, hz) = size, colors, pose.heading
    # along the normal (-hz, hx) of the left flank, from the middle line
    left = -hz * (canvas.camera.x - pose.x) - hx * pose.z
    sign = -1 if left > 0 else 1
    if abs(left) < width / 2:  # right behind or ahead of it
        return
    light = street.light(sign * hz, -sign * hx)
    roof = [(s * length, y * height) for s, y in shape.profile[1:-1]]
    first, last, low, high, pillar = shape.panes
    places, radius = shape.wheels
    tones = np.stack(
        [
            paint * light,
            load * light,
            glass * (0.7 + 0.3 * light),
            np.array(_TYRE, np.float32),
            np.array((120, 120, 122), np.float32),
        ]
    )

    def shade(s, y, z):
        top = np.full(s.shape, roof[-1][1])
        # not np.interp, which may fuse its operations, a little differently here and there
        for (s0, y0), (s1, y1) in zip(roof[-2::-1], roof[:0:-1], strict=True):
            if s1 > s0:
                top = np.where(s <= s1, y0 + (y1 - y0) * (s - s0) / (s1 - s0), top)
        is_pane = (
            (s > first * length) & (s < last * length) & (s / pillar - np.floor(s / pillar) > 0.12)
        )
        material = np.where(
            is_pane & (y > low * height) & (y < high * height) & (y < top - 0.08), 2, 0
        )
        material = np.where((s < shape.load * length) & (y > shape.clearance * 2), 1, material)
        visible = (y < top) & (y > shape.clearance)
        for place in places:
            away = (s - place * length) * (s - place * length) + (y - radius) * (y - radius)
            material = np.where(
                away < radius * radius, np.where(away < 0.3 * radius * radius, 4, 3), material
            )
            visible = visible | (away < radius * radius)
        return tones[material], visible

    canvas.face(
        pose.at(0, sign * width / 2), pose.at(length, sign * width / 2), 0.0, height, label, shade
    )


def draw_two_wheeler(canvas, pose, is_motorcycle, color, dice):
    """A bicycle or motorcycle, its wheels filled in the label as Cityscapes has them."""
    label = ID["motorcycle" if is_motorcycle else "bicycle"]
    length, radius = (2.1, 0.33) if is_motorcycle else (1.75, 0.35)
    height, bar = (1.15, 0.38) if is_motorcycle else (1.05, 0.28)
    tone, frame = np.array(color, np.float32), 0.05 if not is_motorcycle else 0.0

    def shade(s, y, z):
        disc = np.full(y.shape, 9.0)
        for place in (radius, length - radius):
            disc = np.minimum(disc, (s - place) * (s - place) + (y - radius) * (y - radius))
        disc = disc / (radius * radius)
        if is_motorcycle:
            body = (np.abs(s - length * 0.48) < length * 0.3) & (y > 0.3) & (y < 0.85) | (
                np.abs(s - length * 0.74) < 0.1
            ) & (y > 0.5)
            tones = np.where((disc < 1)[..., None], np.array(_TYRE, np.float32), tone)
            return np.where((body & (y > 0.5))[..., None], tone, tones), (disc < 1) | body
        legs = np.abs(s - radius - (length / 2 - radius) * (1 - np.abs(y - 0.35) * 1.6)) < frame
        body = (
            legs
            | (np.abs(y - 0.72) < frame) & (np.abs(s - length / 2) < 0.4)
            | (np.abs(s - length * 0.74) < frame) & (y > 0.35)
        )
        body = (
            body
            | (np.abs(y - 0.9) < 0.04) & (np.abs(s - length * 0.3) < 0.14)
            | (np.abs(s - length * 0.74) < 0.12) & (y > 0.97)
        )
        rim = (disc < 1) & (disc > 0.6)
        return (
            np.where(body[..., None], tone, np.array((34, 34, 36), np.float32)),
            (disc < 1) | body,
            body | rim,
        )

    canvas.face(pose.at(0, 0), pose.at(length, 0), 0.0, height, label, shade)
    # the thickness of the wheels, for views along the heading
    for s in sorted((radius, length - radius), key=lambda s: -pose.at(s, 0)[1]):
        x, z = pose.at(s, 0)
        canvas.ellipse(x, radius, z, 0.11 if is_motorcycle else 0.05, radius, _TYRE, label)
    if is_motorcycle:
        canvas.face(
            pose.at(0.5, -bar / 2),
            pose.at(0.5, bar / 2),
            0.45,
            0.85,
            label,
            lambda s, y, z: (tone * np.float32(0.9), None),
        )
    canvas.face(
        pose.at(length * 0.74, -bar),
        pose.at(length * 0.74, bar),
        height - 0.09,
        height,
        label,
        lambda s, y, z: ((50, 50, 54), None),
    )
