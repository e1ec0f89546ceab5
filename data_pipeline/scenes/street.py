"""The street itself: its cross-section, sky, ground, and what lines it (buildings, walls, fences,
parks).
"""

from typing import NamedTuple

import numpy as np

from data_pipeline.scenes.canvas import NEAREST
from data_pipeline.segmentation.labels import CITYSCAPES

ID = {entry.name: entry.id for entry in CITYSCAPES.classes}
END = 130.0  # metres; the street's far end
IS_GROUND = np.isin(
    np.arange(256),
    [ID[name] for name in ("road", "sidewalk", "terrain", "ground", "parking", "rail track")],
)

_YARDS = ("terrain", "sidewalk", "ground")
_LOTS = ("building", "wall", "fence", "park", "open")


class Side(NamedTuple):
    """One side of a street, left (-1) or right (+1); metres."""

    sign: int
    verge: float
    pavement: float
    setback: float
    yard: str  # the class of the ground beyond the pavement


class Street(NamedTuple):
    """A straight or slightly bent street along Z; metres."""

    half_road: float
    bend: float
    sides: tuple[Side, Side]
    # first and last Z of a side road; both beyond END where there is none
    crossing: tuple[float, float]
    tracks: float  # X of the middle of the rails; beyond 100 where there are none
    sun: tuple[float, float]  # direction to the sun over the ground (X, Z), of length 1
    brightness: float  # of the sunlit over the shaded side

    def at(self, x, z):
        """X of a place that lies x beside the middle of the street at distance z."""
        return x + self.bend * z * z

    def kerb(self, side):
        """Where verge or pavement begin."""
        return side.sign * self.half_road

    def line(self, side):
        """Where the pavement ends."""
        return side.sign * (self.half_road + side.verge + side.pavement)

    def light(self, nx, nz):
        """Brightness of an upright face with the normal (nx, nz)."""
        return 1 + self.brightness * (max(0.0, nx * self.sun[0] + nz * self.sun[1]) - 0.5)


def plan(layout, paint, dice) -> Street:
    """Throws the dice for a street."""
    sides = []
    for sign in (-1, 1):
        verge = dice.between(layout.verge) if dice.chance(layout.verge_chance) else 0.0
        yard = _YARDS[dice.weighted(layout.yard)]
        sides.append(
            Side(sign, verge, dice.between(layout.pavement), dice.between(layout.setback), yard)
        )
    start = dice.between((12.0, 34.0)) if dice.chance(layout.crossing_chance) else 2 * END
    half_road = dice.between(layout.half_road)
    has_tracks = dice.chance(layout.large[2])
    tracks = dice.between((-0.6, 0.1)) * half_road if has_tracks else 2 * END
    sun = (dice.pick((-0.8, 0.8)), dice.pick((-0.6, 0.6)))
    return Street(
        half_road,
        dice.between(layout.bend),
        tuple(sides),
        (start, start + half_road * 1.6),
        tracks,
        sun,
        dice.between(paint.sun),
    )


def draw_sky(canvas, street, world, dice):
    """The sky, hills, and a skyline at the street's end."""
    paint, height = world.paint, canvas.hw[0]
    top = np.array(dice.pick(paint.sky_top), np.float32)
    low = np.array(dice.pick(paint.sky_low), np.float32)
    share = np.clip(canvas.ys / max(canvas.camera.row, 1.0), 0, 1).astype(np.float32)[:, None, None]
    canvas.image[:] = top + (low - top) * share
    canvas.ids[:] = ID["sky"]
    if dice.chance(paint.clouds * 2):
        for _ in range(dice.count((3, 9))):
            x, y = dice.between((-160, 160)), dice.between((20, 120))
            canvas.ellipse(
                x,
                y,
                300.0,
                dice.between((15, 60)),
                dice.between((3, 9)),
                (244, 246, 250),
                None,
                ragged=0.7,
                lit=0.02,
            )
    canvas.depth[:] = 1e4
    if dice.chance(world.layout.hills_chance):
        for _ in range(5):
            color = np.array(dice.pick(paint.terrain)) * 0.6 + low * 0.4
            canvas.ellipse(
                dice.between((-250, 250)),
                -4.0,
                400.0,
                dice.between((60, 160)),
                dice.between((14, 46)),
                color,
                ID["terrain"],
                ragged=0.02,
            )
    x = -90.0
    while x < 90:
        wide, tall = dice.between((6, 18)), dice.between(world.layout.height) * 0.8
        if dice.chance(0.45):
            canvas.ellipse(
                x + wide / 2,
                tall * 0.2,
                END,
                wide * 0.7,
                tall * 0.45,
                dice.pick(paint.leaves),
                ID["vegetation"],
                ragged=0.5,
                lit=0.2,
            )
        else:
            draw_building(
                canvas, [((x, END), (x + wide, END), street.light(0, -1))], tall, world, dice
            )
        x += wide * dice.between((0.7, 1.5))
    # what lies below the horizon, until the ground covers it
    row = int(np.clip(canvas.camera.row, 0, height))
    canvas.image[row:], canvas.ids[row:] = low * 0.5, ID["road"]


def draw_ground(canvas, street, world, dice):
    """Road with markings, verge, pavement and yards, each with its texture in metres."""
    # farther away than that it is the horizon's line
    paint, rows = world.paint, canvas.ups < -canvas.camera.height / 400
    z = canvas.camera.height / -canvas.ups[rows, None]
    # [h, W], from the middle of the street
    x = canvas.camera.x + canvas.rights * z - street.bend * z * z
    edges, names = [], []
    for side in street.sides:
        outward = [
            street.half_road,
            street.half_road + side.verge,
            street.half_road + side.verge + side.pavement,
        ]
        kinds = ["terrain", "sidewalk", side.yard]
        edges += [side.sign * edge for edge in outward][:: side.sign]
        names += kinds[:: side.sign] if side.sign > 0 else kinds[::-1] + ["road"]
    kind = np.searchsorted(np.array(edges), x)
    crosses = (z > street.crossing[0]) & (z < street.crossing[1])
    kind = np.where(crosses, names.index("road"), kind)
    tones = {
        "ground": paint.pavement,
        "sidewalk": paint.pavement,
        "road": paint.road,
        "terrain": paint.terrain,
    }
    chosen = {name: dice.pick(tones[name]) for name in sorted(tones)}
    color = np.array([chosen[name] for name in names], np.float32)[kind]
    color *= (1 + paint.grain[0] * (canvas.grain(x * 1.3, z * 0.7) + canvas.grain(x * 5, z * 3)))[
        ..., None
    ].astype(np.float32)
    is_paved = np.isin(names, ("sidewalk",))[kind] & (z < 25)
    joints = (x - np.floor(x) < 0.1) | (z - np.floor(z) < 0.1)
    color[is_paved & joints] *= np.float32(1 - 2 * paint.grain[0])
    color[_markings(street, x, z, crosses, dice)] = dice.pick(paint.marking)
    ids = np.array([ID[name] for name in names], np.uint8)[kind]
    is_track = (np.abs(x - street.tracks) < 1.3) & ~crosses
    if dice.chance(0.4):  # rails sunk into the road are road
        ids[is_track] = ID["rail track"]
    color[is_track & (np.abs(np.abs(x - street.tracks) - 0.72) < 0.1)] = (70, 66, 62)
    canvas.image[rows], canvas.ids[rows], canvas.depth[rows] = (
        color,
        ids,
        np.broadcast_to(z, kind.shape),
    )


def _markings(street, x, z, crosses, dice):
    """bool [h, W]: middle line, lane lines and, before a crossing, zebra stripes."""
    dashes = z / 6 - np.floor(z / 6) < 0.5
    lines = np.abs(x) < 0.09
    if street.half_road > 5:
        lines = lines | ((np.abs(np.abs(x) - street.half_road / 2) < 0.09) & dashes)
    elif dice.chance(0.5):
        lines = lines & dashes
    before = street.crossing[0] - z
    stripes = (
        (before > 0.6) & (before < 3.6) & (x - np.floor(x) < 0.5) & (np.abs(x) < street.half_road)
    )
    return (lines & ~crosses & (before > 4)) | stripes


def draw_lots(canvas, street, world, dice):
    """Lines both sides of the street, from its end to the camera, and casts their shadows."""
    layout, shadow = world.layout, dice.between(world.paint.shadow)
    for side in street.sides:
        lots, z = [], NEAREST + dice.between((0.0, 6.0))
        lots.append((0.0, z, _LOTS[dice.weighted(layout.lots)]))
        while z < END:
            length = dice.between(layout.lot_length)
            if not (z + length > street.crossing[0] and z < street.crossing[1]):
                lots.append((z, z + length, _LOTS[dice.weighted(layout.lots)]))
            z += length
        tall = dice.between(layout.height)  # neighbours resemble each other
        for start, end, kind in reversed(lots):
            height = max(layout.height[0], tall * dice.between((0.7, 1.3))) + (
                dice.between((8, 40)) if dice.chance(layout.tower_chance) else 0.0
            )
            _draw_lot(canvas, street, side, (start, end), kind, height, shadow, world, dice)


def _draw_lot(canvas, street, side, span, kind, height, shadow, world, dice):
    paint, line = world.paint, street.line(side)
    start, end = span
    away = 2.5 if kind in ("wall", "fence") else 0.0
    x = line + side.sign * (side.setback + away)
    a, b = (street.at(x, start), start), (street.at(x, end), end)
    if kind == "building" or (kind in ("wall", "fence") and dice.chance(0.5)):
        if side.sign * street.sun[0] > 0:
            reach = [
                (ax - street.sun[0] * height * 0.7, az - street.sun[1] * height * 0.7)
                for ax, az in (a, b)
            ]
            canvas.shade_ground([a, b, reach[1], reach[0]], shadow, IS_GROUND)
        fronts = [
            (a, (a[0] + side.sign * 14, start), street.light(0, -1)),
            (a, b, street.light(-side.sign, 0)),
        ]
        draw_building(canvas, fronts, height, world, dice)
    elif kind != "open":
        for _ in range(dice.count((2, 5))):
            z, wide = dice.between((start, end)), dice.between((1.5, 3.5))
            tall = dice.between((1.0, 6.0))
            place = street.at(x + side.sign * dice.between((wide * 0.7, 9.0)), z)
            canvas.ellipse(
                place,
                tall * 0.45,
                z,
                wide,
                tall * 0.6,
                dice.pick(paint.leaves),
                ID["vegetation"],
                ragged=0.5,
                lit=0.3,
            )
    a = (street.at(line + side.sign * 0.2, start), start)
    b = (street.at(line + side.sign * 0.2, end), end)
    light = street.light(-side.sign, 0)
    if kind == "wall":
        _draw_wall(canvas, a, b, light, world, dice)
    elif kind == "fence":
        _draw_fence(canvas, a, b, light, world, dice)


def _draw_wall(canvas, a, b, light, world, dice):
    """A wall from a to b, each (X, Z), with a dark joint every quarter of a metre."""
    color = np.array(dice.pick(world.paint.walls), np.float32) * light
    texture = world.paint.grain[1]

    def shade(s, y, z):
        is_joint = y * 4 - np.floor(y * 4) < 0.2
        tone = 1 + texture * canvas.grain(s * 2.5, y * 4) - 0.25 * is_joint
        return color * tone[..., None], None

    canvas.face(a, b, 0.0, dice.between(world.layout.wall_height), ID["wall"], shade)


def _draw_fence(canvas, a, b, light, world, dice):
    """A fence from a to b, each (X, Z): upright bars and two rails, with nothing between them."""
    color = np.array(dice.pick(world.paint.fences), np.float32) * light
    period, bar = world.layout.fence_bars
    top = dice.between(world.layout.fence_height)

    def shade(s, y, z):
        is_bar = s / period - np.floor(s / period) < bar / period
        is_rail = (np.abs(y - 0.15) < 0.06) | (y > top - 0.12)
        return color, None, is_bar | is_rail

    canvas.face(a, b, 0.0, top, ID["fence"], shade)


def draw_building(canvas, fronts, height, world, dice):
    """Upright fronts with windows, storeys, a shop and a roof. fronts: [(a, b, brightness)], lines
    from a to b, far ones first.
    """
    layout, paint = world.layout, world.paint
    storey, bay, texture = dice.between(layout.storey), dice.between(layout.bay), paint.grain[1]
    wide, tall = dice.between(layout.window[:2]) / 2, dice.between(layout.window[2:]) / 2
    roof = height * (1 - dice.between(layout.roof))
    has_shop = dice.chance(layout.shop_chance)
    wall, glass, shop, tiles = (
        np.array(dice.pick(choices))
        for choices in (paint.facades, paint.glass, paint.facades, paint.roofs)
    )

    def shade(s, y, z):
        column, level = s / bay, y / storey
        column, across = np.floor(column), column - np.floor(column) - 0.5
        level, up = np.floor(level), level - np.floor(level) - 0.5
        is_glass = (np.abs(across) < wide) & (np.abs(up) < tall)
        material = np.where(
            is_glass, 1 + (canvas.grain(level, column * 3) > 0.45), np.where(up < -0.44, 5, 0)
        )
        if has_shop:
            material = np.where(
                level > 0,
                material,
                np.where((np.abs(across) < 0.42) & (up < 0.2) & (up > -0.38), 1, 4),
            )
        material = np.where(y > roof, 3, material)
        return (
            colors[material]
            * (1 + texture * canvas.grain(s * 3, y * 3))[..., None].astype(np.float32),
            None,
        )

    for a, b, light in fronts:
        colors = np.array(
            [
                wall * light,
                glass,
                glass * 0.6 + 90,
                tiles * light,
                shop * 0.7 * light,
                wall * 0.85 * light,
            ],
            np.float32,
        )
        canvas.face(a, b, 0.0, height, ID["building"], shade)
