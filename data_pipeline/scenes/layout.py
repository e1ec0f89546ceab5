"""One scene from its dice: where things stand, and their drawing from far to near."""

import numpy as np

from data_pipeline.scenes import look as scene_look
from data_pipeline.scenes import objects as scene_objects
from data_pipeline.scenes import street as scene_street
from data_pipeline.scenes import vehicle_shapes
from data_pipeline.scenes import vehicles as scene_vehicles
from data_pipeline.scenes.canvas import Camera, Canvas
from data_pipeline.scenes.street import ID
from data_pipeline.scenes.vehicles import Pose

SUPERSAMPLING = 3  # odd, so that a pixel has a middle for its label
_SHAPES = {
    "truck": vehicle_shapes.TRUCKS,
    "bus": vehicle_shapes.BUSES,
    "train": vehicle_shapes.TRAMS,
    "car": vehicle_shapes.CARS,
}
_AHEAD, _TOWARDS = (0.0, 1.0), (0.0, -1.0)


def draw_scene(world, dice, size_hw):
    """One picture and its labels. The arrangement does not depend on the size.

    Args:
      world: worlds.World.
      dice: canvas.Dice.
      size_hw: height and width in pixels.
    Returns: RGB uint8 [h, w, 3] and Cityscapes label ids uint8 [h, w].
    """
    layout, paint = world.layout, world.paint
    street = scene_street.plan(layout, paint, dice)
    height, width = (n * SUPERSAMPLING for n in size_hw)
    camera = Camera(
        dice.between(layout.focal) * height,
        width * dice.between((0.4, 0.6)),
        height * dice.between(layout.horizon),
        street.half_road * dice.between((0.15, 0.5)),
        dice.between(layout.camera_height),
    )
    canvas = Canvas((height, width), camera, dice)
    scene_street.draw_sky(canvas, street, world, dice)
    haze = canvas.image[min(max(int(camera.row) - 1, 0), height - 1), 0].copy()
    scene_street.draw_ground(canvas, street, world, dice)
    scene_street.draw_lots(canvas, street, world, dice)
    things = (
        _place_vehicles(street, world, dice)
        + _place_roadside(street, world, dice)
        + _place_people(street, world, dice)
    )
    _cast_shadows(canvas, street, world, dice, things)
    for *_, draw in sorted(things, key=lambda thing: -thing[0]):
        draw(canvas)
    scene_look.add_haze(canvas, haze, dice.between(paint.haze))
    image, ids = scene_look.bend(canvas.image, canvas.ids, world.sensor.lens)
    image, ids = scene_look.reduce(image, ids, SUPERSAMPLING)
    _draw_own_car(image, ids, layout, dice)
    return scene_look.develop(image, world.sensor, dice), ids


def _cast_shadows(canvas, street, world, dice, things):
    factor = dice.between(world.paint.shadow)
    for _, x, z, (width, height), _ in things:
        scene_objects.cast_shadow(canvas, street, x, z, width, height, factor)


def _draw_own_car(image, ids, layout, dice):
    """Void that belongs to the camera: the car that it follows or the bonnet below it, and the
    border that a correction of the lens leaves.
    """
    color = np.array((60, 62, 66)) + int(dice.unit() * 60)
    middle = dice.between((0.44, 0.56))
    low = dice.between((0.05, 0.10))
    y, x = ((np.arange(n) + 0.5) / n for n in ids.shape)
    y, across = 1 - y[:, None], np.abs(x[None, :] - middle)
    if dice.chance(layout.bonnet):
        is_bonnet = y < low * (1 - across * across * 3)
        image[is_bonnet] = color // 2
        ids[is_bonnet] = ID["ego vehicle"]
        edge = max(1, len(ids) // 64)
        ids[:edge] = ids[-edge:] = ID["rectification border"]
        ids[:, :edge] = ids[:, -edge:] = ID["out of roi"]
    elif dice.chance(layout.own_car):
        is_own = (across < 0.10) & (y < low * 1.3)
        is_own |= (across < 0.075) & (y < low * 1.3 + 0.06)
        image[is_own & (y > low * 1.3)] = color // 3 + 30
        image[is_own & (y <= low * 1.3)] = color
        ids[is_own] = ID["ego vehicle"]


def _vehicle(street, name, shape, x, z, heading, paint, dice):
    """A thing: (nearest distance, X and Z of its middle, (width, height) of its shadow, draw).

    x: metres beside the middle of the street; z: distance of the nearest end.
    """
    tail = z + shape.length[1] if heading == _TOWARDS else z
    pose = Pose(street.at(x, z), tail, heading)
    colors = {"car": paint.cars, "truck": paint.cars, "bus": paint.buses, "train": paint.trams}[
        name
    ]
    painted = (dice.pick(colors), dice.pick(paint.loads), dice.pick(paint.glass))

    def draw(canvas):
        scene_vehicles.draw_vehicle(canvas, street, shape, pose, ID[name], painted, dice)

    middle = pose.at(shape.length[0] / 2, 0)
    return (
        z,
        middle[0],
        middle[1],
        (shape.length[0] if heading == _AHEAD or heading == _TOWARDS else 2.0, shape.height[0]),
        draw,
    )


def _place_vehicles(street, world, dice):
    """Cars that drive, park and cross; at times a truck, a bus, a tram."""
    layout, paint, half = world.layout, world.paint, street.half_road
    wanted = []  # (class, shape, x, z, heading)
    for name, chance in zip(("truck", "bus", "train"), layout.large, strict=True):
        if name == "train" and street.tracks > 100 or name != "train" and not dice.chance(chance):
            continue
        shapes = _SHAPES[name]
        shape = shapes[dice.weighted(layout.truck_shapes)] if name == "truck" else dice.pick(shapes)
        x = street.tracks if name == "train" else dice.pick((-0.4, 0.35, 0.7)) * half
        wanted.append(
            (name, shape, x, dice.between(layout.large_distance), _AHEAD if x > 0 else _TOWARDS)
        )
    for sign, heading in ((1, _AHEAD), (-1, _TOWARDS)):
        for i in range(7):
            if dice.chance(layout.parked):
                wanted.append(
                    (
                        "car",
                        None,
                        sign * (half - 1.05),
                        5.0 + 6.3 * i + dice.between((0, 0.9)),
                        heading,
                    )
                )
    for _ in range(dice.count(layout.traffic)):
        x = dice.between((0.15, 0.55)) * half * dice.pick((-1, 1))
        wanted.append(("car", None, x, dice.between((6, 55)), _AHEAD if x > 0 else _TOWARDS))
    if street.crossing[0] < 40 and dice.chance(0.6):
        wanted.append(
            (
                "car",
                None,
                dice.between((-9, 5)),
                sum(street.crossing) / 2,
                dice.pick(((1.0, 0.0), (-1.0, 0.0))),
            )
        )
    things, taken = [], []
    for name, shape, x, z, heading in wanted:
        shape = shape or _SHAPES["car"][dice.weighted(layout.car_shapes)]
        end = z + shape.length[1] + 1
        if all(abs(x - other) > 2.4 or end < start or z > stop for other, start, stop in taken):
            taken.append((x, z, end))
            things.append(_vehicle(street, name, shape, x, z, heading, paint, dice))
    return things


def _place_roadside(street, world, dice):
    """Lamps, lights, signs, trees and clutter along both pavements."""
    layout, paint, things = world.layout, world.paint, []

    def add(x, z, shadow, draw, *arguments):
        x = street.at(x, z)
        things.append((z, x, z, shadow, lambda canvas: draw(canvas, x, z, *arguments, dice)))

    for side in street.sides:
        kerb = street.kerb(side) + side.sign * 0.5
        z = dice.between((4.0, 4.0 + layout.lamp_spacing[1]))
        while z < 60:
            add(kerb, z, (0.25, 7.0), scene_objects.draw_lamp, side.sign, layout, paint)
            z += dice.between(layout.lamp_spacing)
        z = dice.between((3.0, 3.0 + layout.tree_spacing[1]))
        while z < 70 and dice.chance(0.9):
            back = dice.between((0.3, 0.9)) * (abs(street.line(side)) - street.half_road)
            add(
                street.kerb(side) + side.sign * back,
                z,
                (3.0, 6.0),
                scene_objects.draw_tree,
                layout,
                paint,
            )
            z += dice.between(layout.tree_spacing)
    for _ in range(dice.count(layout.signs)):
        side = dice.pick(street.sides)
        add(
            street.kerb(side) + side.sign * dice.between((0.3, 1.2)),
            dice.between((6.0, 26.0)),
            (0.5, 2.5),
            scene_objects.draw_sign,
            layout,
            paint,
        )
    first = street.crossing[0] - 3 if street.crossing[0] < 26 else dice.between((9.0, 22.0))
    for _ in range(dice.count(layout.lights)):
        side, z = dice.pick(street.sides), first + dice.between((-2.0, 4.0))
        add(
            street.kerb(side) + side.sign * 0.4,
            z,
            (0.3, 4.0),
            scene_objects.draw_traffic_light,
            side.sign,
            street.half_road * 0.6,
            layout,
            paint,
        )
    for _ in range(dice.count(layout.clutter)):
        side = dice.pick(street.sides)
        x = street.kerb(side) + side.sign * dice.between((0.6, 0.9 + side.pavement))
        add(x, dice.between((5.0, 30.0)), (0.8, 0.9), scene_objects.draw_clutter)
    return things


def _place_people(street, world, dice):
    """Pedestrians on the pavement or crossing, riders, and parked two-wheelers."""
    layout, paint, things = world.layout, world.paint, []

    def add(x, z, height, draw):
        things.append((z, street.at(x, z), z, (0.5, height), draw))

    for _ in range(dice.count(layout.persons)):
        side, z = dice.pick(street.sides), dice.between(layout.person_distance)
        x = street.kerb(side) + side.sign * dice.between((0.3, side.verge + side.pavement))
        if dice.chance(0.15):
            x, z = dice.between((-0.8, 0.8)) * street.half_road, max(z, 9.0)
        for i in range(1 + dice.chance(0.3)):
            place = street.at(x + 0.6 * i, z)
            add(
                x + 0.6 * i,
                z,
                1.7,
                lambda canvas, place=place, z=z: scene_objects.draw_person(
                    canvas, place, z, layout, paint, dice
                ),
            )
    for is_motorcycle, chance in enumerate(layout.riders):
        if dice.chance(chance):
            x = dice.between((0.35, 0.75)) * street.half_road * dice.pick((-1, 1))
            z = dice.between(layout.rider_distance)
            heading = dice.pick((_AHEAD, _TOWARDS, (0.6, 0.8), (1.0, 0.0), (-1.0, 0.0)))
            pose = Pose(street.at(x, z), z, heading)
            add(
                x,
                z,
                1.7,
                lambda canvas, pose=pose, kind=is_motorcycle: scene_objects.draw_rider(
                    canvas, pose, bool(kind), layout, paint, dice
                ),
            )
    for is_motorcycle, chance in enumerate(layout.two_wheelers):
        if dice.chance(chance):
            side, z = dice.pick(street.sides), dice.between((4.0, 13.0))
            x = street.kerb(side) + side.sign * dice.between((0.6, 1.0 + side.pavement * 0.6))
            place = street.at(x, z)
            add(
                x,
                z,
                1.0,
                lambda canvas, place=place, z=z, kind=is_motorcycle: (
                    scene_objects.draw_parked_two_wheelers(
                        canvas, place, z, bool(kind), paint, dice
                    )
                ),
            )
    return things
