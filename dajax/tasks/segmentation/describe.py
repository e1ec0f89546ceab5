"""What the head of a segmentation run says of its sets."""

from dajax.ops import sliding_window
from dajax.tasks.common import left_out_lines, small_set_lines
from dajax.tasks.segmentation.domains import HELD_OUT_KEY, ROLES, is_oracle
from data_pipeline.check.official import describe_other_count
from data_pipeline.errors import printable
from data_pipeline.segmentation.labels import CITYSCAPES


def describe(config, domains):
    """See dajax.tasks."""
    lines = []
    for role in ROLES:
        images = getattr(domains, role)
        labelled = "no labels" if images.label_paths is None else "labelled"
        use = (
            " - labels for evaluation, and for an oracle stage, only"
            if role != "source" and images.label_paths is not None
            else ""
        )
        lines.append(
            f"{role}: {images.name}, {len(images)} images, {labelled}{use}; ids of"
            f" {images.space.name}"
        )
        lines += left_out_lines(role, images.left_out)
        official = describe_other_count(images.name, len(images))
        lines += [f"note: {images.name}: {official}"] if official else []
    for apart in domains.held_out:
        lines.append(
            f"held out: {len(apart):,} of the {len(apart) + len(domains.source):,} images of"
            f" {domains.source.name} are not trained on, for the rule dev"
            f" ({HELD_OUT_KEY}={config.evaluation.source_held_out:g})"
        )
    if not set(domains.evaluation.image_paths).isdisjoint(domains.source.image_paths):
        lines.append(
            "note: source and evaluation share images: their labels are trained on, so no figure of"
            " this run is one of adaptation"
        )
    lines += [
        f"note: config.{name} trains on labels of the evaluation images, since no others are given"
        " (evaluation=DIR): its figures are of pictures that it knows"
        for name in config.stages
        if is_oracle(config[name])
        and not set(domains.evaluation.image_paths).isdisjoint(domains.target.image_paths)
    ]
    lines += _lines_of_things(config, domains.class_names)
    height, width = domains.transforms["evaluation"].size_hw
    resize = "corners aligned" if config.evaluation.align_corners else "half-pixel centres"
    alpha = config.evaluation.aggregation_alpha
    window = sliding_window.from_config(config.evaluation, (height, width))
    lines.append(
        f"protocol: evaluation images at {height}x{width} (height x width){_through(window)},"
        f" scores brought to each"
        f" label's own size (bilinear, {resize}), argmax; {len(domains.class_names)} classes, one"
        " confusion matrix over all pixels, 255 not counted"
        + (f"; once more with spatial aggregation, alpha {alpha:g}" if alpha else "")
    )
    sizes = {"source": len(domains.source), "target": len(domains.target)}
    return [printable(line) for line in lines + small_set_lines(config, _drawn_from, sizes)]


def _lines_of_things(config, class_names):
    """Of stages that hold the features of some classes, by default those of Cityscapes' things:
    which those are, where the run has other classes.
    """
    lines = []
    for name in config.stages:
        settings = config[name].get("feature_distance")
        if settings is None or not settings.weight or class_names == CITYSCAPES.class_names:
            continue
        held = [class_names[i] for i in settings.classes if i < len(class_names)]
        lines.append(
            f"note: {name} holds the features of {', '.join(held) or 'no class'}:"
            f" config.{name}.feature_distance.classes, train ids from 0 to {len(class_names) - 1}"
        )
    return lines


def _through(window):
    """What the protocol says of windows."""
    if window is None:
        return ""
    (height, width), (down, right) = window.crop_hw, window.stride_hw
    what = "logits" if window.average == "logits" else "class probabilities"
    return (
        f" through windows of {height}x{width} every {down}x{right} pixels, whose {what} are"
        " brought to the windows' size and averaged"
    )


def _drawn_from(stage_config):
    """Sets that the shuffled batches of a stage come from."""
    if stage_config.method == "source_only_seg":
        return (stage_config.domain,)
    if stage_config.method == "self_training":
        sees_source = stage_config.source_weight or stage_config.source_share
        return ("source", "target") if sees_source else ("target",)
    others = {"adabn": ("target",), "pseudo_labels": ()}
    return others.get(stage_config.method, ("source", "target"))
