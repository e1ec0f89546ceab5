"""The sections of a report in their order."""

from dajax.report import about, features, pixels, predictions, training
from dajax.report.runs import LeftOut

# (title of what is left out, function of a Context -> Section, or None where it does not apply)
SECTIONS = (
    ("Results", training.results),
    ("Snapshots chosen without labels", training.choices),
    ("Predictions on the target", predictions.scenes),
    ("Confusion matrices", training.confusion),
    ("Failures", predictions.failures),
    ("Predictions on the target", predictions.confidence),
    ("Training curves", training.losses),
    ("Evaluations over training", training.evaluations),
    ("Clusters and labels, loop after loop", training.refreshes),
    ("Pseudo-labels", training.pseudo_labels),
    ("Static, dynamic, calibrated and hybrid labels", pixels.bicl_kinds),
    ("Rounds of self-training", training.verdicts),
    ("Frequencies of the classes", pixels.frequencies),
    ("t-SNE of images", features.image_embedding),
    ("t-SNE of pixels", features.pixel_embedding),
    ("Distances between class centers", features.centers),
    ("A-distance", features.a_distance),
    ("Similarity to a chosen pixel", pixels.similarities),
    ("What was run", about.about),
)


def made(context):
    """Every section that these runs allow.

    Args:
      context: context.Context.

    Returns:
      (list of Section, [(title, why)] of those that are left out).

    Raises:
      DataError: an image is broken. UserError: matplotlib is missing.
    """
    found, left_out = [], []
    for title, make in SECTIONS:
        try:
            section = make(context)
        except LeftOut as reason:
            left_out.append((title, str(reason)))
            continue
        if section is not None:
            found.append(section)
    return found, left_out
