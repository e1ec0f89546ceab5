"""What the labels of further street sets mean in the 19 classes of Cityscapes. A table for each
set; whose mapping it is stands above it.

Every space here has the class names of Cityscapes, so that each of these sets can be the target of
a network that was trained on any other.
"""

import dataclasses

from data_pipeline.segmentation.labels import (
    CITYSCAPES,
    CITYSCAPES_16,
    CLASSES_16,
    IGNORED,
    LabelClass,
    LabelSpace,
)


def _mapped(name, ids_of_class, ignored, colors=None) -> LabelSpace:
    """A space of Cityscapes' 19 classes.

    Args:
      name: of the set, and of the scheme of its ids.
      ids_of_class: {Cityscapes' class: ids}.
      ignored: {id: name}.
      colors: {id: RGB} where the labels hold colours; else Cityscapes', for pictures.
    """
    official = {entry.name: entry for entry in CITYSCAPES.trained}
    entries = [
        LabelClass(
            class_name,
            label_id,
            official[class_name].train_id,
            colors[label_id] if colors else official[class_name].color,
        )
        for class_name, ids in ids_of_class.items()
        for label_id in ids
    ]
    entries += [
        LabelClass(ignored_name, label_id, IGNORED, colors[label_id] if colors else (0, 0, 0))
        for label_id, ignored_name in ignored.items()
    ]
    return LabelSpace(name, name, tuple(entries))


def with_16_classes(space: LabelSpace) -> LabelSpace:
    """The same labels over the 16 classes that SYNTHIA has; terrain, truck and train are ignored.

    Args:
      space: with the 19 class names of Cityscapes.
    """
    if space is CITYSCAPES:
        return CITYSCAPES_16
    classes = tuple(
        entry
        if entry.train_id == IGNORED
        else entry._replace(
            train_id=CLASSES_16.index(space.class_names[entry.train_id])
            if space.class_names[entry.train_id] in CLASSES_16
            else IGNORED
        )
        for entry in space.classes
    )
    return dataclasses.replace(space, name=f"{space.name}_16", classes=classes)


# BDD100K's semantic segmentation is published in Cityscapes' train ids, 255 for what is ignored
# (bdd100k's documentation, "Semantic Segmentation").
BDD100K = _mapped(
    "bdd100k", {name: (k,) for k, name in enumerate(CITYSCAPES.class_names)}, {255: "unknown"}
)

# IDD's own map, the column csTrainId of helpers/anue_labels.py (AutoNUE/public-code). It reads
# "non-drivable fallback" as terrain, and ignores autorickshaw, curb, billboard and guard rail.
IDD_IDS = {
    "road": 0,
    "parking": 1,
    "drivable fallback": 2,
    "sidewalk": 3,
    "rail track": 4,
    "non-drivable fallback": 5,
    "person": 6,
    "animal": 7,
    "rider": 8,
    "motorcycle": 9,
    "bicycle": 10,
    "autorickshaw": 11,
    "car": 12,
    "truck": 13,
    "bus": 14,
    "caravan": 15,
    "trailer": 16,
    "train": 17,
    "vehicle fallback": 18,
    "curb": 19,
    "wall": 20,
    "fence": 21,
    "guard rail": 22,
    "billboard": 23,
    "traffic sign": 24,
    "traffic light": 25,
    "pole": 26,
    "polegroup": 27,
    "obs-str-bar-fallback": 28,
    "building": 29,
    "bridge": 30,
    "tunnel": 31,
    "vegetation": 32,
    "sky": 33,
    "fallback background": 34,
    "unlabeled": 35,
    "ego vehicle": 36,
    "rectification border": 37,
    "out of roi": 38,
    "license plate": 39,
}
_IDD_CLASSES = {
    name: (IDD_IDS["non-drivable fallback" if name == "terrain" else name],)
    for name in CITYSCAPES.class_names
}
IDD = _mapped(
    "idd",
    _IDD_CLASSES,
    {
        label_id: name
        for name, label_id in IDD_IDS.items()
        if (label_id,) not in _IDD_CLASSES.values()
    },
)

# Mapillary Vistas 1.1 and 1.2, ids 0..65 in the order of its config.json. There is no official map
# to Cityscapes. This is RobustNet's (Choi et al., CVPR 2021, datasets/mapillary.py), on which work
# on domain generalisation reports Mapillary. Others count more as road (bike lane, crosswalk,
# service lane, parking), curb cut as sidewalk, street light as pole, sand and snow as terrain
# (Bevandic et al., GCPR 2019).
_MAPILLARY_CLASSES = {
    "road": (13, 24, 41),  # road, general marking, manhole
    "sidewalk": (15, 2),  # sidewalk, curb
    "building": (17,),
    "wall": (6,),
    "fence": (3,),
    "pole": (45, 47),  # pole, utility pole
    "traffic light": (48,),
    "traffic sign": (50,),  # its front
    "vegetation": (30,),
    "terrain": (29,),
    "sky": (27,),
    "person": (19,),
    "rider": (20, 21, 22),  # bicyclist, motorcyclist, other rider
    "car": (55,),
    "truck": (61,),
    "bus": (54,),
    "train": (58,),  # on rails
    "motorcycle": (57,),
    "bicycle": (52,),
}
_MAPILLARY_IGNORED = {
    0: "bird",
    1: "ground animal",
    4: "guard rail",
    5: "other barrier",
    7: "bike lane",
    8: "plain crosswalk",
    9: "curb cut",
    10: "parking",
    11: "pedestrian area",
    12: "rail track",
    14: "service lane",
    16: "bridge",
    18: "tunnel",
    23: "zebra crossing",
    25: "mountain",
    26: "sand",
    28: "snow",
    31: "water",
    32: "banner",
    33: "bench",
    34: "bike rack",
    35: "billboard",
    36: "catch basin",
    37: "cctv camera",
    38: "fire hydrant",
    39: "junction box",
    40: "mailbox",
    42: "phone booth",
    43: "pothole",
    44: "street light",
    46: "traffic sign frame",
    49: "traffic sign's back",
    51: "trash can",
    53: "boat",
    56: "caravan",
    59: "other vehicle",
    60: "trailer",
    62: "wheeled slow",
    63: "car mount",
    64: "ego vehicle",
    65: "unlabeled",
}
MAPILLARY = _mapped("mapillary", _MAPILLARY_CLASSES, _MAPILLARY_IGNORED)

# CamVid's 32 classes in the alphabetical order of its label_colors.txt; the ids are their places in
# it, and occur in no file: the labels are coloured.
_CAMVID_COLORS = {
    "Animal": (64, 128, 64),
    "Archway": (192, 0, 128),
    "Bicyclist": (0, 128, 192),
    "Bridge": (0, 128, 64),
    "Building": (128, 0, 0),
    "Car": (64, 0, 128),
    "CartLuggagePram": (64, 0, 192),
    "Child": (192, 128, 64),
    "Column_Pole": (192, 192, 128),
    "Fence": (64, 64, 128),
    "LaneMkgsDriv": (128, 0, 192),
    "LaneMkgsNonDriv": (192, 0, 64),
    "Misc_Text": (128, 128, 64),
    "MotorcycleScooter": (192, 0, 192),
    "OtherMoving": (128, 64, 64),
    "ParkingBlock": (64, 192, 128),
    "Pedestrian": (64, 64, 0),
    "Road": (128, 64, 128),
    "RoadShoulder": (128, 128, 192),
    "Sidewalk": (0, 0, 192),
    "SignSymbol": (192, 128, 128),
    "Sky": (128, 128, 128),
    "SUVPickupTruck": (64, 128, 192),
    "TrafficCone": (0, 0, 64),
    "TrafficLight": (0, 64, 64),
    "Train": (192, 64, 128),
    "Tree": (128, 128, 0),
    "Truck_Bus": (192, 128, 192),
    "Tunnel": (64, 0, 64),
    "VegetationMisc": (192, 192, 0),
    "Void": (0, 0, 0),
    "Wall": (64, 192, 0),
}
_CAMVID_IDS = {name: i for i, name in enumerate(_CAMVID_COLORS)}
# The map is ours, since none is published. What Cityscapes divides is ignored: Bicyclist is rider
# and bicycle in one, Truck_Bus both, and no class of CamVid is terrain alone. The five classes that
# it so lacks have ids that no colour leads to, as the network has them all the same.
_CAMVID_CLASSES = {
    "road": ("Road", "LaneMkgsDriv", "LaneMkgsNonDriv"),
    "sidewalk": ("Sidewalk",),
    "building": ("Building", "Archway"),
    "wall": ("Wall",),
    "fence": ("Fence",),
    "pole": ("Column_Pole",),
    "traffic light": ("TrafficLight",),
    "traffic sign": ("SignSymbol",),
    "vegetation": ("Tree", "VegetationMisc"),
    "sky": ("Sky",),
    "person": ("Pedestrian", "Child"),
    "car": ("Car", "SUVPickupTruck"),
    "train": ("Train",),
    "motorcycle": ("MotorcycleScooter",),
}


def _camvid() -> LabelSpace:
    lacking = [name for name in CITYSCAPES.class_names if name not in _CAMVID_CLASSES]
    ids = {
        name: tuple(_CAMVID_IDS[member] for member in members)
        for name, members in _CAMVID_CLASSES.items()
    }
    further = {name: (len(_CAMVID_IDS) + i,) for i, name in enumerate(lacking)}
    used = {label_id for members in ids.values() for label_id in members}
    colors = {_CAMVID_IDS[name]: color for name, color in _CAMVID_COLORS.items()}
    official = {entry.name: entry.color for entry in CITYSCAPES.trained}
    colors |= {label_id: official[name] for name, (label_id,) in further.items()}
    ignored = {label_id: name for name, label_id in _CAMVID_IDS.items() if label_id not in used}
    return _mapped("camvid", ids | further, ignored, colors)


CAMVID = _camvid()
