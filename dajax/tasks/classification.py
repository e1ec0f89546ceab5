"""One label an image: digits, and folders of photos. See dajax.tasks for what the functions are asked."""

from data_pipeline import sources
from data_pipeline.errors import DataError
from data_pipeline.image_set import merged
from data_pipeline.preprocess import from_config as make_transform
from dajax.evaluate import evaluate_classifier, pseudo_label_accuracy
from dajax.feed import Feed
from dajax.models.build import build_model as build_network
from dajax.models.build import load_pretrained as load_backbone
from dajax.report import classification_table
from dajax.tasks.common import Domains, Evaluation, check_figures

MAX_CLASSES_LISTED = 31  # at the head of a run; Office-31 has so many, DomainNet 345


def open_data(config):
    """See dajax.tasks."""
    opened = sources.load_domains(config.data)
    source = merged(opened.sources)
    transform = make_transform(config.data.transform)
    channels = 3 if source.images is None else source.images.shape[-1]  # files are read as RGB
    return Domains(
        source=source, target=opened.target, evaluation=opened.evaluation, sources=opened.sources,
        transforms={"train": transform, "eval": transform.for_evaluation()},
        image_shape=(*transform.size_hw, channels), class_names=tuple(source.class_names),
    )


def domains_to_check(config):
    """See dajax.tasks."""
    try:
        opened = sources.load_domains(config.data)
    except DataError as error:  # itself a finding of the check
        return [("source and target", error)]
    apart = [] if opened.evaluation is opened.target else [("evaluation", opened.evaluation)]
    return [*(("source", images) for images in opened.sources), ("target", opened.target), *apart]


def describe(config, domains):
    """See dajax.tasks."""
    lines = []
    apart = [] if domains.evaluation is domains.target else [("evaluation", domains.evaluation)]
    for domain, images in [*(("source", images) for images in domains.sources), ("target", domains.target), *apart]:
        found = f"{len(images)} images, no labels"
        if images.labels is not None:
            counts = _describe_counts(images)
            found = f"{len(images)} images ({counts}){'' if domain == 'source' else ' - labels for evaluation only'}"
        lines.append(f"{domain}: {images.name}, {found}")
    return lines


def _describe_counts(images):
    counts = images.class_counts()
    if len(counts) > MAX_CLASSES_LISTED:
        return f"{len(counts)} classes of {counts.min()} to {counts.max()}"
    return ", ".join(f"{name} {count}" for name, count in zip(images.class_names, counts))


def make_feed(domains, config, name, *, directory, devices, check_stop):
    """See dajax.tasks."""
    del directory
    return Feed(
        domains.sources, domains.target, domains.evaluation, transforms=domains.transforms, seed=config.seed, stage=name, devices=devices,
        check_stop=check_stop,
    )


def build_model(config, stage_config, domains):
    """See dajax.tasks."""
    return build_network(config.model, stage_config, num_classes=len(domains.class_names))


def load_pretrained(config, state):
    """See dajax.tasks."""
    return load_backbone(config.model, state)


def evaluate(state, *, data, model, config, run):
    """See dajax.tasks. Report: accuracy, mean_class_accuracy, per_class, confusion."""
    report = evaluate_classifier(state, data=data, model=model, config=config, batch_size=run.runtime.eval_batch_size)
    if report is None:
        return Evaluation(report=None)
    return Evaluation(report, f"target accuracy {report['accuracy']:.2f} %, mean-class {report['mean_class_accuracy']:.2f} %")


def judge_refresh(state, *, data):
    """See dajax.tasks: the accuracy of the pseudo-labels."""
    accuracy = pseudo_label_accuracy(state.extra["pseudo_labels"], data)
    return {} if accuracy is None else {"pseudo_label_accuracy_evaluation_only": accuracy}


def check_result(result, class_names):
    """See dajax.tasks."""
    check_figures(result, ("accuracy", "mean_class_accuracy"), "per_class", class_names)


def table(results, domains):
    """See dajax.tasks."""
    del domains
    return "target accuracy in %, last step\n" + classification_table(results)
