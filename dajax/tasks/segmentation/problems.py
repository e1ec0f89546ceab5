"""What is wrong with the sets of a segmentation run, or with what its stages ask of them, found
before anything is spent on training.
"""

from dajax.tasks.segmentation.domains import is_oracle
from data_pipeline.check.start_checks import segmentation_problems
from data_pipeline.decode import image_size_hw
from data_pipeline.errors import DataError
from data_pipeline.segmentation import pseudo_label_files
from data_pipeline.segmentation.margins import from_config as read_margins


def problems(config, domains, *, files=True, training=True):
    """See dajax.tasks."""
    found, transforms = [], domains.transforms
    names = {"source": ["source"], "target": ["target"], "evaluation": []}
    for stage_config in (config[name] for name in config.stages if "transform" in config[name]):
        role = stage_config.domain if stage_config.method == "source_only_seg" else "target"
        if role in names:  # an unknown one is _stage_problems' finding
            names[role].append(stage_config.transform)
    for role in names:
        ways = [transforms[name] for name in names[role] if name in transforms]
        if training or role == "evaluation":
            found += segmentation_problems(getattr(domains, role), ways, files=files)
    return list(dict.fromkeys(found + (_stage_problems(config, domains) if training else [])))


def _stage_problems(config, domains):
    """What the stages need of the data and do not find, which would come out hours later, when they
    begin.
    """
    found = []
    for name in config.stages:
        stage_config = config[name]
        if is_oracle(stage_config) and domains.target.label_paths is None:
            found.append(
                f"config.{name}.domain='target': an oracle trains on the target's labels, and"
                f" {domains.target.name} has none; unpack them, or take '{name}' out of"
                " config.stages"
            )
        is_supervised = stage_config.method == "source_only_seg"
        if is_supervised and stage_config.domain not in ("source", "target"):
            domain = stage_config.domain
            found.append(
                f"config.{name}.domain='{domain}': the labels of '{domain}' are not for training;"
                " known: source, target"
            )
        is_its_domains = is_supervised and not stage_config.transform
        if "transform" in stage_config and not is_its_domains:
            transform = stage_config.transform
            if transform not in domains.transforms:
                found.append(
                    f"config.{name}.transform='{transform}' is not in config.data.transforms;"
                    f" known: {', '.join(domains.transforms)}"
                )
        size_hw = domains.transforms["target"].size_hw
        if "target_hw" in stage_config and tuple(stage_config.target_hw) != size_hw:
            found.append(
                f"config.{name}.target_hw={tuple(stage_config.target_hw)}, and"
                f" config.data.transforms.target.size={size_hw} (height, width): a target image is"
                " judged at target_hw, which is the size that the transform gives it; set both"
                " alike"
            )
        found += _margin_problems(name, stage_config, domains)
        if stage_config.method == "pseudo_labels":
            try:
                pseudo_label_files.check_names(domains.target)
            except DataError as error:
                found.append(str(error))
    return found


def _margin_problems(name, stage_config, domains):
    """Margins that are none, or as large as a crop."""
    found, transforms = [], domains.transforms
    try:
        where = f"config.{name}.margins"
        margins = read_margins(stage_config.margins, where) if "margins" in stage_config else None
        if margins is not None:
            for size_hw in {image_size_hw(path) for path in domains.target.image_paths}:
                frame_hw = transforms["target"].largest_hw(size_hw)
                margins.check_crop(frame_hw, transforms["target"].size_hw, where)
    except DataError as error:
        found.append(str(error))
    return found
