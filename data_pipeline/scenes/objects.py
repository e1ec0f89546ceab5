"""What stands and walks in the embedded scenes: people, poles, lights, signs, trees, clutter. Each
is drawn at (x, z), metres.
"""

import numpy as np

from data_pipeline.scenes.street import ID, IS_GROUND
from data_pipeline.scenes.vehicles import Pose, draw_two_wheeler

_BOARD, _DIAMOND, _DISC, _TRIANGLE = range(4)
_PALM, _ROUND, _BROAD = range(3)
_LAMPS = ((230, 40, 30), (240, 180, 40), (40, 210, 110))


def cast_shadow(canvas, street, x, z, width, height, factor):
    """Darkens the ground on the far side of the sun, before anything is drawn on it."""
    sx, sz = street.sun
    dx, dz = sx * height * 0.7, sz * height * 0.7
    w = width / 2
    across = (sz * w, -sx * w)  # perpendicular to the sun's direction
    canvas.shade_ground(
        [
            (x - across[0], z - across[1]),
            (x + across[0], z + across[1]),
            (x + across[0] - dx, z + across[1] - dz),
            (x - across[0] - dx, z - across[1] - dz),
        ],
        factor,
        IS_GROUND,
    )


def draw_person(canvas, x, z, layout, paint, dice):
    """A pedestrian."""
    tall, wide = dice.between((1.55, 1.9)), dice.between(layout.person_width)
    if dice.chance(0.12):
        tall, wide = tall * 0.65, wide * 0.7  # a child
    coat, trousers, skin = (
        np.array(dice.pick(choices)) for choices in (paint.clothes, paint.clothes, paint.skins)
    )
    step, hem = dice.between((0.02, 0.16)), dice.between((0.42, 0.52)) * tall
    for sign in (-1, 1):
        tone, foot, hip = trousers * (0.8 + 0.1 * sign), x + sign * (0.07 + step), x + sign * 0.09
        canvas.box(foot - 0.075, foot + 0.075, 0.0, hem * 0.55, z, tone, ID["person"])
        canvas.box(hip - 0.09, hip + 0.09, hem * 0.5, hem * 1.02, z, tone, ID["person"])
    canvas.ellipse(
        x,
        hem + (0.83 * tall - hem) / 2,
        z,
        wide / 2,
        (0.88 * tall - hem) / 2 + 0.06,
        coat,
        ID["person"],
    )
    canvas.box(
        x - wide * 0.42, x + wide * 0.42, hem * 0.96, hem + 0.22, z, coat * 0.85, ID["person"]
    )
    if dice.chance(0.4):
        # a bag
        canvas.box(
            x + wide * 0.4,
            x + wide * 0.4 + 0.2,
            0.3 * tall,
            0.5 * tall,
            z,
            coat * 0.5,
            ID["person"],
        )
    _draw_head(canvas, x, tall, z, skin, paint, ID["person"], dice)


def draw_rider(canvas, pose, is_motorcycle, layout, paint, dice):
    """A rider on a motorcycle or bicycle."""
    draw_two_wheeler(canvas, pose, is_motorcycle, dice.pick(paint.cars), dice)
    coat, trousers, skin = (
        np.array(dice.pick(choices)) for choices in (paint.clothes, paint.clothes, paint.skins)
    )
    wide = dice.between(layout.person_width)
    x, z = pose.at(0.8, 0)
    lean = pose.heading[0] * 0.16
    canvas.ellipse(x + lean, 0.74, z, 0.15 + abs(lean), 0.34, trousers, ID["rider"])
    canvas.ellipse(x + lean, 1.22, z, wide / 2, 0.38, coat, ID["rider"])
    canvas.box(
        x + lean - wide * 0.55, x + lean + wide * 0.55, 1.12, 1.3, z, coat * 0.85, ID["rider"]
    )
    has_helmet = is_motorcycle or dice.chance(0.4)
    _draw_head(
        canvas,
        x + lean * 1.6,
        1.8,
        z,
        np.array(dice.pick(paint.cars)) if has_helmet else skin,
        paint,
        ID["rider"],
        dice,
    )


def _draw_head(canvas, x, top, z, color, paint, label, dice):
    canvas.ellipse(x, top - 0.13, z, 0.11, 0.14, color, label)
    canvas.box(
        x - 0.09, x + 0.09, top - 0.08, top, z, np.array(dice.pick(paint.clothes)) * 0.6, label
    )


def draw_lamp(canvas, x, z, sign, layout, paint, dice):
    """A street lamp whose arm reaches over the road; sign: -1 on its left side, +1 on its right."""
    tall = dice.between((6.0, 9.0))
    wide = dice.between(layout.pole_width)
    color = dice.pick(paint.poles)
    canvas.box(x - wide / 2, x + wide / 2, 0.0, tall, z, color, ID["pole"])
    if dice.chance(0.7):
        ends = sorted((x, x - sign * dice.between((0.8, 2.4))))
        canvas.box(*ends, tall - 0.12, tall + 0.06, z, color, ID["pole"])
        canvas.box(ends[0] - 0.2, ends[0] + 0.4, tall - 0.2, tall, z, (220, 216, 200), ID["pole"])


def draw_traffic_light(canvas, x, z, sign, reach, layout, paint, dice):
    """A traffic light beside the road, or hanging `reach` metres over it."""
    wide, color, lit = dice.between(layout.pole_width), dice.pick(paint.poles), int(dice.unit() * 3)
    hangs = dice.chance(layout.mast_arm)
    tall = dice.between((5.4, 6.2)) if hangs else dice.between((2.4, 3.2))
    canvas.box(x - wide / 2, x + wide / 2, 0.0, tall, z, color, ID["pole"])
    if hangs:
        canvas.box(*sorted((x, x - sign * reach)), tall - 0.2, tall, z, color, ID["pole"])
    for place in (reach, reach * 0.4) if hangs else (0.0,):
        at = x - sign * place
        height = 1.5 if hangs else 1.3
        bottom = tall - height * 0.7
        back = (236, 190, 40) if hangs and dice.chance(0.5) else (24, 26, 26)
        canvas.box(at - 0.3, at + 0.3, bottom, bottom + height, z, back, ID["traffic light"])
        for i in range(3):
            on = np.array(_LAMPS[i]) if i == lit else np.array((44, 44, 42))
            canvas.ellipse(
                at, bottom + height * (0.83 - 0.33 * i), z, 0.2, 0.2, on, ID["traffic light"]
            )


def draw_sign(canvas, x, z, layout, paint, dice):
    """A traffic sign on its pole."""
    kind = dice.weighted(layout.sign_shapes)
    top = dice.between((2.3, 3.2))
    wide = dice.between(layout.pole_width) * 0.6
    label, radius = ID["traffic sign"], dice.between((0.34, 0.5))
    canvas.box(x - wide / 2, x + wide / 2, 0.0, top, z, dice.pick(paint.poles), ID["pole"])
    if kind == _BOARD:
        color = dice.pick(((30, 120, 70), (240, 240, 240), (20, 80, 170)))
        across, down = radius * dice.between((0.8, 1.8)), radius * dice.between((0.7, 1.3))
        canvas.box(x - across, x + across, top - 2 * down, top, z, (245, 245, 245), label)
        canvas.box(
            x - across * 0.9,
            x + across * 0.9,
            top - 1.85 * down,
            top - 0.15 * down,
            z,
            color,
            label,
        )
    elif kind == _DIAMOND:
        for size, color in ((1.1, (30, 30, 30)), (1.0, (250, 200, 30))):
            r, y = radius * size * 1.2, top - radius
            canvas.polygon(
                [(x - r, y, z), (x, y + r, z), (x + r, y, z), (x, y - r, z)], color, label
            )
    elif kind == _DISC:
        rim, inner = dice.pick(
            (
                ((200, 30, 36), (240, 240, 240)),
                ((200, 30, 36), (40, 80, 170)),
                ((30, 80, 170), (30, 80, 170)),
            )
        )
        canvas.ellipse(x, top - radius, z, radius, radius, rim, label)
        canvas.ellipse(x, top - radius, z, radius * 0.7, radius * 0.7, inner, label)
    else:
        for size, color in ((1.0, (200, 30, 36)), (0.6, (240, 240, 236))):
            r, y = radius * size * 1.15, top - radius
            canvas.polygon(
                [(x - r, y - r * 0.8, z), (x, y + r, z), (x + r, y - r * 0.8, z)], color, label
            )


def draw_tree(canvas, x, z, layout, paint, dice):
    """A palm, a round or a broad, irregular tree. Trunks are vegetation, as in Cityscapes."""
    kind = dice.weighted(layout.tree_shapes)
    leaves = np.array(dice.pick(paint.leaves), np.float32)
    label = ID["vegetation"]
    contrast = 0.15 + paint.grain[2]
    if kind == _PALM:
        tall = dice.between((6.0, 12.0))
        canvas.box(x - 0.16, x + 0.16, 0.0, tall, z, (150, 120, 86), label)
        for across, up, rx, ry in (
            (-1.1, 0.1, 1.2, 0.28),
            (1.1, 0.1, 1.2, 0.28),
            (-0.8, -0.5, 0.6, 0.6),
            (0.8, -0.5, 0.6, 0.6),
            (0, 0.5, 0.5, 0.8),
        ):
            canvas.ellipse(
                x + across, tall + up, z, rx, ry, leaves, label, ragged=0.5, lit=contrast
            )
        return
    trunk = dice.between((1.8, 3.0))
    canvas.box(x - 0.15, x + 0.15, 0.0, trunk + 1.0, z, (80, 66, 52), label)
    if kind == _ROUND:
        radius = dice.between((1.4, 2.4))
        canvas.ellipse(
            x, trunk + radius, z, radius, radius, leaves, label, ragged=0.25, lit=contrast
        )
        return
    spread = dice.between((1.8, 3.4))
    for _ in range(6):
        place = x + dice.between((-spread, spread)) * 0.7
        y = trunk + dice.between((0.3, 1.6)) * spread
        canvas.ellipse(
            place,
            y,
            z,
            spread * dice.between((0.5, 0.8)),
            spread * dice.between((0.4, 0.7)),
            leaves * dice.between((0.8, 1.15)),
            label,
            ragged=0.6,
            lit=contrast,
        )


def draw_clutter(canvas, x, z, dice):
    """A bin, a bench or a cart: void."""
    wide = dice.between((0.4, 1.6))
    tall = dice.between((0.5, 1.3))
    color = np.array(dice.pick(((70, 90, 70), (110, 80, 60), (90, 92, 96))))
    canvas.box(
        x - wide / 2, x + wide / 2, 0.0, tall, z, color, ID[dice.pick(("static", "dynamic"))]
    )
    canvas.box(x - wide / 2, x + wide / 2, tall - 0.15, tall, z, color * 0.6, None)


def draw_parked_two_wheelers(canvas, x, z, is_motorcycle, paint, dice):
    """A row of one to four, along or across the pavement."""
    heading = dice.pick(((0.0, 1.0), (1.0, 0.0), (-1.0, 0.0), (0.8, 0.6), (-0.8, 0.6)))
    for i in reversed(range(1 + int(dice.unit() * (2 if is_motorcycle else 4)))):
        pose = Pose(x - heading[0] * 0.9, z + i * 0.9, heading)
        draw_two_wheeler(canvas, pose, is_motorcycle, dice.pick(paint.cars), dice)
