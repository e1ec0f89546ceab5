"""Shapes of the vehicles of the embedded scenes, as a table."""

from typing import NamedTuple


class Shape(NamedTuple):
    """A side view, which is pulled out to the vehicle's width.

    Attributes:
      length, width, height: ranges in metres.
      profile: points (share of the length, share of the height), from the tail over the roof to the
        nose.
      surfaces: one letter for each step of the profile: p paint, g glass, l load.
      panes: on the sides: first and last share of the length, lowest and highest share of the
        height, metres from pillar to pillar.
      wheels: (shares of the length, radius in metres).
      clearance: metres under the body.
      load: share of the length, from the tail, that has the load's colour.
    """

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

# fmt: off
CARS = (
    Shape(  # a sports car
        length=(4.4, 4.8), width=(1.9, 2.05), height=(1.1, 1.25),
        profile=(
            (0, 0.2), (0, 0.68), (0.14, 0.74), (0.36, 1),
            (0.52, 1), (0.72, 0.66), (1, 0.48), (1, 0.2),
        ),
        surfaces="ppgpgpp", panes=(0.3, 0.66, 0.68, 0.93, 3.0),
        wheels=_CAR_WHEELS, clearance=0.15,
    ),
    Shape(  # a pickup
        length=(5.3, 5.9), width=(1.95, 2.1), height=(1.75, 1.95),
        profile=(
            (0, 0.2), (0, 0.58), (0.4, 0.58), (0.43, 1),
            (0.62, 1), (0.71, 0.62), (1, 0.58), (1, 0.2),
        ),
        surfaces="ppgpgpp", panes=(0.44, 0.68, 0.64, 0.93, 0.9),
        wheels=((0.2, 0.82), 0.42), clearance=0.35,
    ),
    Shape(  # a saloon
        length=(4.7, 5.1), width=(1.8, 1.95), height=(1.38, 1.46),
        profile=(
            (0, 0.2), (0, 0.66), (0.17, 0.7), (0.29, 1),
            (0.57, 1), (0.72, 0.66), (1, 0.56), (1, 0.2),
        ),
        surfaces="ppgpgpp", panes=(0.25, 0.68, 0.67, 0.94, 1.0),
        wheels=_CAR_WHEELS,
    ),
    Shape(  # a hatchback
        length=(3.6, 4.2), width=(1.66, 1.8), height=(1.44, 1.54),
        profile=(
            (0, 0.2), (0, 0.6), (0.07, 0.97), (0.16, 1),
            (0.58, 1), (0.76, 0.64), (1, 0.52), (1, 0.2),
        ),
        surfaces="pgppgpp", panes=(0.1, 0.72, 0.63, 0.93, 1.1),
        wheels=_CAR_WHEELS,
    ),
    Shape(  # an estate
        length=(4.5, 4.8), width=(1.75, 1.85), height=(1.44, 1.52),
        profile=(
            (0, 0.2), (0, 0.6), (0.06, 0.97), (0.12, 1),
            (0.62, 1), (0.76, 0.64), (1, 0.55), (1, 0.2),
        ),
        surfaces="pgppgpp", panes=(0.08, 0.72, 0.63, 0.93, 1.0),
        wheels=_CAR_WHEELS,
    ),
    Shape(  # a van
        length=(4.6, 5.3), width=(1.85, 2.0), height=(1.85, 2.1),
        profile=(
            (0, 0.15), (0, 0.55), (0.02, 0.98), (0.06, 1),
            (0.76, 1), (0.89, 0.62), (1, 0.52), (1, 0.15),
        ),
        surfaces="pgppgpp", panes=(0.4, 0.85, 0.6, 0.9, 1.3),
        wheels=_CAR_WHEELS,
    ),
)
TRUCKS = (
    Shape(  # with a bonnet
        length=(7.5, 9.5), width=(2.4, 2.6), height=(3.0, 3.4),
        profile=(
            (0, 0.12), (0, 1), (0.66, 1), (0.66, 0.8),
            (0.76, 0.8), (0.8, 0.52), (1, 0.48), (1, 0.12),
        ),
        surfaces="lllpgpp", panes=(0.68, 0.77, 0.52, 0.74, 1.2),
        wheels=((0.12, 0.24, 0.88), 0.52), clearance=0.5, load=0.65,
    ),
    Shape(  # with the cab over the engine
        length=(6.5, 9.0), width=(2.3, 2.55), height=(3.2, 3.8),
        profile=(
            (0, 0.12), (0, 1), (0.76, 1), (0.76, 0.82),
            (0.95, 0.82), (1, 0.48), (1, 0.12),
        ),
        surfaces="lllpgp", panes=(0.82, 0.96, 0.5, 0.74, 1.2),
        wheels=((0.15, 0.26, 0.86), 0.5), clearance=0.45, load=0.75,
    ),
)
BUSES = (
    Shape(
        length=(11.0, 12.5), width=(2.5, 2.6), height=(3.0, 3.3),
        profile=(
            (0, 0.1), (0, 0.5), (0, 0.88), (0.02, 1),
            (0.98, 1), (1, 0.9), (1, 0.4), (1, 0.1),
        ),
        surfaces="pgpppgp", panes=(0.02, 0.98, 0.45, 0.84, 1.5),
        wheels=((0.2, 0.75), 0.5), clearance=0.3,
    ),
)
TRAMS = (
    Shape(
        length=(18.0, 28.0), width=(2.4, 2.65), height=(3.5, 3.8),
        profile=(
            (0, 0.06), (0, 0.45), (0.015, 0.8), (0.03, 1),
            (0.97, 1), (0.985, 0.8), (1, 0.45), (1, 0.06),
        ),
        surfaces="pgpppgp", panes=(0.03, 0.97, 0.45, 0.78, 2.2),
        wheels=((), 0.4), clearance=0.12,
    ),
)
# fmt: on
