"""The numbers that tell the two worlds of the embedded scenes apart, and how far apart they are.

A world is a table of numbers; the same code (layout, objects, look) draws every scene of both.
"source" looks like a game: an American boulevard in the sun, seen from above and behind a car.
"target" looks like a street: a narrow, crowded European one under clouds, seen by a windscreen
camera of the proportions of Cityscapes'. All numbers were chosen by eye for these drawings.

The gap constants below place the target on the line from the source world (0) to the street world
(1), each for its part of the table. They are set once, from source-only, AdaBN and oracle trainings
alone, before any adaptation method runs; then they stay.
"""

import dataclasses
from typing import NamedTuple

# camera, street, facades, shapes of vehicles and trees, how often and how far objects stand
LAYOUT_GAP = 0.6
PAINT_GAP = 0.45  # palettes, sunlight and shadows, textures
SENSOR_GAP = 0.6  # blur, noise, saturation, vignette, lens, compression

WORLDS = ("source", "target")


class Layout(NamedTuple):
    """Geometry and statistics. Pairs are ranges (low, high), metres unless stated; chances are in
    0..1; others are weights of choices.
    """

    camera_height: tuple = (2.2, 3.2)
    focal: tuple = (1.15, 1.5)  # of the image's height; Cityscapes: 2.2
    horizon: tuple = (0.32, 0.42)  # of the image's height, from the top
    bend: tuple = (-0.0006, 0.0006)  # sideways drift of the street per squared distance, 1/m
    half_road: tuple = (6.5, 9.0)
    pavement: tuple = (1.5, 2.6)
    setback: tuple = (1.5, 7.0)  # from the pavement to the facade
    yard: tuple = (0.7, 0.15, 0.15)  # what lies there: terrain, pavement, void ground
    verge_chance: float = 0.35  # grass between road and pavement
    verge: tuple = (0.8, 2.0)
    lots: tuple = (0.42, 0.22, 0.19, 0.11, 0.06)  # building, wall, fence, park, open
    lot_length: tuple = (12.0, 26.0)
    height: tuple = (3.5, 22.0)  # of buildings
    tower_chance: float = 0.18  # adds up to 40 m
    storey: tuple = (3.4, 4.6)
    bay: tuple = (2.8, 5.0)  # from window to window
    # share of the bay (low, high), share of the storey (low, high)
    window: tuple = (0.72, 0.9, 0.45, 0.6)
    roof: tuple = (0.0, 0.04)  # visible roof, share of the height
    shop_chance: float = 0.15
    wall_height: tuple = (1.3, 2.4)
    fence_height: tuple = (1.9, 2.8)
    fence_bars: tuple = (0.6, 0.28)  # period and width of its bars
    hills_chance: float = 0.5
    crossing_chance: float = 0.5
    traffic: tuple = (2.0, 6.0)  # cars that drive
    parked: float = 0.18  # chance for each place at the kerb
    # sports car, pickup, saloon, hatchback, estate, van
    car_shapes: tuple = (0.4, 0.3, 0.3, 0.0, 0.0, 0.0)
    truck_shapes: tuple = (0.8, 0.2)  # with a bonnet, with the cab over the engine
    large: tuple = (0.30, 0.26, 0.24)  # chances of a truck, a bus, a tram
    large_distance: tuple = (9.0, 32.0)
    persons: tuple = (2.0, 5.5)
    person_distance: tuple = (4.5, 14.0)
    person_width: tuple = (0.40, 0.48)
    riders: tuple = (0.25, 0.40)  # chances of one on a bicycle, on a motorcycle
    two_wheelers: tuple = (0.7, 0.55)  # chances of a parked group of bicycles, motorcycles
    rider_distance: tuple = (5.0, 14.0)
    lamp_spacing: tuple = (18.0, 28.0)
    pole_width: tuple = (0.26, 0.36)
    mast_arm: float = 0.85  # traffic lights hang over the road rather than stand beside it
    lights: tuple = (1.0, 2.5)
    signs: tuple = (1.5, 4.0)
    sign_shapes: tuple = (0.55, 0.30, 0.05, 0.10)  # board, diamond, disc, triangle
    tree_spacing: tuple = (11.0, 24.0)
    tree_shapes: tuple = (0.6, 0.3, 0.1)  # palm, round, broad
    clutter: tuple = (0.0, 1.5)  # bins, benches: void
    own_car: float = 0.35  # seen from behind (void); in the target the bonnet, see below
    bonnet: float = 0.0


class Paint(NamedTuple):
    """Colours (RGB, 0..255) and light. A list of colours is a choice."""

    sun: tuple = (0.45, 0.6)  # brightness of the sunlit side over the other
    shadow: tuple = (0.45, 0.55)  # brightness of the ground in shadow
    sky_top: tuple = ((70, 140, 235), (95, 165, 245), (60, 110, 215))
    sky_low: tuple = ((190, 220, 250), (225, 225, 235), (250, 215, 180))
    clouds: float = 0.35
    haze: tuple = (0.0005, 0.0025)  # per metre
    road: tuple = ((128, 124, 120), (112, 112, 116), (142, 134, 124))
    marking: tuple = ((240, 225, 110), (250, 250, 245))
    pavement: tuple = ((205, 198, 184), (190, 186, 182), (214, 200, 178))
    terrain: tuple = ((186, 168, 104), (120, 170, 62), (100, 156, 50))
    leaves: tuple = ((58, 138, 40), (88, 160, 46), (44, 116, 52))
    facades: tuple = (
        (236, 214, 178),
        (222, 164, 120),
        (246, 240, 226),
        (186, 96, 74),
        (150, 176, 204),
        (240, 206, 132),
    )
    glass: tuple = ((64, 104, 140), (50, 72, 96), (110, 156, 186))
    roofs: tuple = ((150, 90, 70), (120, 112, 108), (186, 120, 90))
    walls: tuple = ((214, 204, 188), (176, 166, 156), (224, 190, 160))
    fences: tuple = ((236, 236, 236), (150, 152, 156), (170, 120, 76))
    poles: tuple = ((90, 92, 96), (120, 110, 100), (70, 84, 76))
    cars: tuple = (
        (214, 32, 32),
        (240, 240, 244),
        (36, 82, 196),
        (250, 196, 30),
        (34, 34, 40),
        (44, 160, 90),
    )
    loads: tuple = ((240, 240, 240), (214, 60, 44), (236, 190, 60))  # of trucks
    buses: tuple = ((240, 150, 30), (238, 240, 244), (60, 110, 200))
    trams: tuple = ((190, 196, 204), (226, 226, 230), (50, 120, 170))
    clothes: tuple = (
        (230, 60, 60),
        (60, 110, 220),
        (245, 245, 240),
        (250, 190, 50),
        (60, 170, 90),
        (40, 40, 50),
    )
    skins: tuple = ((236, 190, 150), (196, 140, 100), (120, 80, 56))
    grain: tuple = (0.05, 0.06, 0.16)  # contrast of the texture of ground, facades, leaves


class Sensor(NamedTuple):
    """From the drawn light to the file."""

    exposure: tuple = (0.98, 1.10)
    saturation: tuple = (1.10, 1.25)
    contrast: tuple = (1.05, 1.20)
    tint: tuple = (1.03, 1.0, 0.95)
    blur: tuple = (0.0, 0.0)  # weight of the neighbours, 0..1
    sharpen: tuple = (0.25, 0.45)
    noise: tuple = (0.0, 1.0)  # standard deviation, grey levels
    vignette: tuple = (0.0, 0.05)  # darkening of the corners
    lens: float = 0.0  # barrel distortion at the corners, share of the radius
    blocks: tuple = (0.0, 0.0)  # quantiser step of the 8x8 transform, grey levels; 0: none


@dataclasses.dataclass(frozen=True)
class World:
    """Everything that scenes of one world have in common."""

    layout: Layout
    paint: Paint
    sensor: Sensor


GAME = World(Layout(), Paint(), Sensor())

STREET = World(
    Layout(
        camera_height=(1.15, 1.4),
        focal=(1.8, 2.1),
        horizon=(0.40, 0.48),
        bend=(-0.0018, 0.0018),
        half_road=(3.6, 5.6),
        pavement=(2.4, 5.2),
        setback=(0.0, 0.8),
        yard=(0.3, 0.45, 0.25),
        verge_chance=0.35,
        verge=(0.8, 2.4),
        lots=(0.48, 0.20, 0.22, 0.06, 0.04),
        lot_length=(8.0, 18.0),
        height=(9.0, 19.0),
        tower_chance=0.0,
        storey=(2.9, 3.5),
        bay=(1.7, 2.7),
        window=(0.38, 0.55, 0.5, 0.68),
        roof=(0.1, 0.28),
        shop_chance=0.55,
        wall_height=(1.8, 3.2),
        fence_height=(1.3, 2.2),
        fence_bars=(0.4, 0.2),
        hills_chance=0.0,
        crossing_chance=0.35,
        traffic=(1.0, 3.5),
        parked=0.36,
        car_shapes=(0.0, 0.02, 0.13, 0.45, 0.28, 0.12),
        truck_shapes=(0.05, 0.95),
        large=(0.28, 0.28, 0.28),
        large_distance=(9.0, 36.0),
        persons=(2.0, 8.0),
        person_distance=(5.0, 19.0),
        person_width=(0.48, 0.66),
        riders=(0.34, 0.34),
        two_wheelers=(0.65, 0.6),
        rider_distance=(5.0, 16.0),
        lamp_spacing=(11.0, 20.0),
        pole_width=(0.17, 0.26),
        mast_arm=0.08,
        lights=(0.5, 3.0),
        signs=(1.5, 5.0),
        sign_shapes=(0.15, 0.05, 0.45, 0.35),
        tree_spacing=(9.0, 24.0),
        tree_shapes=(0.0, 0.35, 0.65),
        clutter=(0.5, 4.0),
        own_car=0.0,
        bonnet=0.85,
    ),
    Paint(
        sun=(0.02, 0.12),
        shadow=(0.86, 0.95),
        sky_top=((196, 202, 208), (222, 224, 224), (168, 180, 194)),
        sky_low=((226, 228, 228), (236, 236, 232), (206, 212, 216)),
        clouds=0.12,
        haze=(0.002, 0.008),
        road=((96, 98, 100), (82, 84, 88), (112, 112, 112)),
        marking=((206, 208, 206), (214, 214, 210)),
        pavement=((136, 130, 128), (150, 144, 138), (118, 116, 118)),
        terrain=((92, 102, 66), (84, 98, 60), (112, 108, 84)),
        leaves=((50, 64, 44), (66, 78, 46), (38, 50, 40)),
        facades=(
            (166, 154, 136),
            (136, 104, 88),
            (192, 186, 174),
            (118, 114, 112),
            (164, 138, 110),
            (146, 152, 158),
        ),
        glass=((52, 58, 62), (74, 82, 88), (118, 124, 128)),
        roofs=((88, 62, 54), (66, 64, 66), (96, 74, 64)),
        walls=((124, 116, 106), (108, 84, 72), (138, 134, 128)),
        fences=((62, 70, 66), (100, 102, 102), (92, 78, 66)),
        poles=((104, 106, 106), (84, 88, 86), (120, 122, 120)),
        cars=(
            (52, 54, 60),
            (150, 154, 158),
            (28, 30, 34),
            (44, 56, 84),
            (186, 186, 184),
            (104, 44, 42),
        ),
        loads=((196, 196, 192), (92, 102, 122), (150, 130, 100)),
        buses=((196, 178, 120), (150, 60, 52), (186, 188, 184)),
        trams=((176, 58, 50), (206, 196, 150), (70, 96, 84)),
        clothes=(
            (44, 46, 54),
            (66, 70, 84),
            (88, 74, 64),
            (120, 116, 112),
            (96, 48, 50),
            (34, 34, 36),
        ),
        grain=(0.12, 0.13, 0.30),
    ),
    Sensor(
        exposure=(0.9, 1.2),
        saturation=(0.7, 0.9),
        contrast=(0.8, 1.0),
        tint=(0.94, 1.02, 0.99),
        blur=(0.05, 0.35),
        sharpen=(0.0, 0.0),
        noise=(2.0, 6.0),
        vignette=(0.15, 0.35),
        lens=0.06,
        blocks=(8.0, 22.0),
    ),
)


def make_world(name: str) -> World:
    """The table of "source" or "target", the latter as far from the source as the gap constants
    say.
    """
    if name not in WORLDS:
        raise ValueError(f"unknown world {name!r}; known: {', '.join(WORLDS)}")
    if name == "source":
        return GAME
    return World(
        Layout(*_between(GAME.layout, STREET.layout, LAYOUT_GAP)),
        Paint(*_between(GAME.paint, STREET.paint, PAINT_GAP)),
        Sensor(*_between(GAME.sensor, STREET.sensor, SENSOR_GAP)),
    )


def _between(start, end, share):
    """Numbers, or tuples of them of equal structure, on the line from start to end."""
    if isinstance(start, tuple):
        return tuple(_between(a, b, share) for a, b in zip(start, end, strict=True))
    return start + (end - start) * share
