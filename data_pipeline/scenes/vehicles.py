"""Vehicles of the embedded scenes: a side view (profile) pulled out to the vehicle's width, wheels,
panes, lights.
"""

from typing import NamedTuple

import numpy as np

from data_pipeline.scenes.canvas import NEAREST
from data_pipeline.scenes.street import ID

_TYRE = (26, 26, 28)


class Shape(NamedTuple):
    """length, width, height: ranges in metres. profile: (share of the length, of the height) from
    the tail over the roof to the nose.
    surfaces: one letter for each step of the profile: p paint, g glass, l load. panes: (first, last
    share of the length, lowest, highest share of the height, metres from pillar to pillar) on the
    sides. load: share of the length, from the tail, that has the load's colour.
    wheels: (shares of the length, radius in metres). clearance: metres under the body."""

    length: tuple
    width: tuple
    height: tuple
    profile: tuple
    surfaces: str
    panes: tuple
    wheels: tuple
    clearance: float = 0.22
    load: float = 0.0


_CAR_WHEELS = ((0.17, 0.81), 0.33)
CARS = (
    Shape(
        (4.4, 4.8),
        (1.9, 2.05),
        (1.1, 1.25),  # sports car
        (
            (0, 0.2),
            (0, 0.68),
            (0.14, 0.74),
            (0.36, 1),
            (0.52, 1),
            (0.72, 0.66),
            (1, 0.48),
            (1, 0.2),
        ),
        "ppgpgpp",
        (0.3, 0.66, 0.68, 0.93, 3.0),
        _CAR_WHEELS,
        0.15,
    ),
    Shape(
        (5.3, 5.9),
        (1.95, 2.1),
        (1.75, 1.95),  # pickup
        (
            (0, 0.2),
            (0, 0.58),
            (0.40, 0.58),
            (0.43, 1),
            (0.62, 1),
            (0.71, 0.62),
            (1, 0.58),
            (1, 0.2),
        ),
        "ppgpgpp",
        (0.44, 0.68, 0.64, 0.93, 0.9),
        ((0.2, 0.82), 0.42),
        0.35,
    ),
    Shape(
        (4.7, 5.1),
        (1.8, 1.95),
        (1.38, 1.46),  # saloon
        (
            (0, 0.2),
            (0, 0.66),
            (0.17, 0.70),
            (0.29, 1),
            (0.57, 1),
            (0.72, 0.66),
            (1, 0.56),
            (1, 0.2),
        ),
        "ppgpgpp",
        (0.25, 0.68, 0.67, 0.94, 1.0),
        _CAR_WHEELS,
    ),
    Shape(
        (3.6, 4.2),
        (1.66, 1.8),
        (1.44, 1.54),  # hatchback
        (
            (0, 0.2),
            (0, 0.60),
            (0.07, 0.97),
            (0.16, 1),
            (0.58, 1),
            (0.76, 0.64),
            (1, 0.52),
            (1, 0.2),
        ),
        "pgppgpp",
        (0.1, 0.72, 0.63, 0.93, 1.1),
        _CAR_WHEELS,
    ),
    Shape(
        (4.5, 4.8),
        (1.75, 1.85),
        (1.44, 1.52),  # estate
        (
            (0, 0.2),
            (0, 0.60),
            (0.06, 0.97),
            (0.12, 1),
            (0.62, 1),
            (0.76, 0.64),
            (1, 0.55),
            (1, 0.2),
        ),
        "pgppgpp",
        (0.08, 0.72, 0.63, 0.93, 1.0),
        _CAR_WHEELS,
    ),
    Shape(
        (4.6, 5.3),
        (1.85, 2.0),
        (1.85, 2.1),  # van
        (
            (0, 0.15),
            (0, 0.55),
            (0.02, 0.98),
            (0.06, 1),
            (0.76, 1),
            (0.89, 0.62),
            (1, 0.52),
            (1, 0.15),
        ),
        "pgppgpp",
        (0.4, 0.85, 0.6, 0.9, 1.3),
        _CAR_WHEELS,
    ),
)
TRUCKS = (
    Shape(
        (7.5, 9.5),
        (2.4, 2.6),
        (3.0, 3.4),  # with a bonnet
        ((0, 0.12), (0, 1), (0.66, 1), (0.66, 0.8), (0.76, 0.8), (0.8, 0.52), (1, 0.48), (1, 0.12)),
        "lllpgpp",
        (0.68, 0.77, 0.52, 0.74, 1.2),
        ((0.12, 0.24, 0.88), 0.52),
        0.5,
        0.65,
    ),
    Shape(
        (6.5, 9.0),
        (2.3, 2.55),
        (3.2, 3.8),  # with the cab over the engine
        ((0, 0.12), (0, 1), (0.76, 1), (0.76, 0.82), (0.95, 0.82), (1, 0.48), (1, 0.12)),
        "lllpgp",
        (0.82, 0.96, 0.5, 0.74, 1.2),
        ((0.15, 0.26, 0.86), 0.5),
        0.45,
        0.75,
    ),
)
BUSES = (
    Shape(
        (11.0, 12.5),
        (2.5, 2.6),
        (3.0, 3.3),
        ((0, 0.1), (0, 0.5), (0, 0.88), (0.02, 1), (0.98, 1), (1, 0.9), (1, 0.4), (1, 0.1)),
        "pgpppgp",
        (0.02, 0.98, 0.45, 0.84, 1.5),
        ((0.2, 0.75), 0.5),
        0.3,
    ),
)
TRAMS = (
    Shape(
        (18.0, 28.0),
        (2.4, 2.65),
        (3.5, 3.8),
        (
            (0, 0.06),
            (0, 0.45),
            (0.015, 0.8),
            (0.03, 1),
            (0.97, 1),
            (0.985, 0.8),
            (1, 0.45),
            (1, 0.06),
        ),
        "pgpppgp",
        (0.03, 0.97, 0.45, 0.78, 2.2),
        ((), 0.4),
        0.12,
    ),
)


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
    """Draws one vehicle. colors: RGB of paint, load and glass. Nothing is drawn of one that reaches
    behind the camera.
    """
    length, width, height = (
        dice.between(shape.length),
        dice.between(shape.width),
        dice.between(shape.height),
    )
    corners = [pose.at(s, w) for s in (0, length) for w in (-width / 2, width / 2)]
    if min(z for _, z in corners) < NEAREST:
        return
    profile = [(s * length, y * height) for s, y in shape.profile]
    paint, load, glass = (np.array(color, np.float32) for color in colors)
    tones = {"p": paint, "l": load, "g": glass}
    hx, hz = pose.heading
    _draw_underside(canvas, pose, length, width, shape.clearance, label)
    steps = []
    for (s0, y0), (s1, y1), letter in zip(profile, profile[1:], shape.surfaces):
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
        for (s0, y0), (s1, y1) in zip(roof[-2::-1], roof[:0:-1]):
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
