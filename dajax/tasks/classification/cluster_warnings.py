"""When the clusters of the target and the classes of the head part ways: words for the log, found
without a label.

CAN aligns each cluster with the class that it was matched to, right or wrong, so a wrong match is
learnt. Then the head, which the source's labels hold in place, and the clusters say different
things of the same images. The thresholds are ours.
"""

from dajax.ops.filtering import MAJORITY

FALL = 0.05  # of head_agreement from one clustering to the next, more than late loops swing (0.02)
# Of N / K images, an even share. The classes of VisDA-2017's target have 0.45 to 2.25 of it.
SCARCE, CROWDED = 0.1, 3.0
MAX_LISTED = 5  # clusters in a line
REMEDY = (
    "if it goes on, cluster more often (a smaller class_aware.update_fraction with more max_loops)"
    " or align less (a smaller clustering.max_distance, clustering.drop_contradicted, a larger"
    " clustering.min_agreement)"
)


def cluster_warnings(figures, earlier, class_names):
    """The warnings of one clustering, a line of all of them or none.

    The first clustering gives none: it is there to differ from a head that has seen the source
    alone. A cluster's size is told when it leaves its bounds, not at every clustering after.

    Args:
      figures: of this clustering, as cluster_figures in
        dajax/methods/classification/_clustering_loop.py has them; others have nothing to warn of.
      earlier: list of figures of the clusterings before; those of a version before, which lack
        them, do not count.
      class_names: K names.

    Returns:
      [str].
    """
    earlier = [figures for figures in earlier if "head_agreement" in figures]
    if "head_agreement" not in figures or not earlier:
        return []
    now, before = figures["head_agreement"], earlier[-1]["head_agreement"]
    told = []
    if now < before - FALL:
        told.append(
            f"head and clusters agree on {now:.0%} of the target images, after {before:.0%} at the"
            " clustering before"
        )
    shares = figures["head_agreement_per_cluster"]
    apart = [
        f"{name} ({share:.0%})"
        for name, share in zip(class_names, shares, strict=True)
        if share is not None and share < MAJORITY
    ]
    if apart:
        told.append(f"the head calls most images of these clusters something else: {listed(apart)}")
    told += _sizes(figures["images_per_cluster"], earlier[-1]["images_per_cluster"], class_names)
    return [f"clusters and classes part ways: {'; '.join(told)}; {REMEDY}"] if told else []


def _sizes(now, before, class_names):
    """A line for the clusters that have become far smaller, and one for those far larger, than an
    even share.
    """
    even, lines = sum(now) / len(now), []
    for word, is_beyond in (
        ("few", lambda count: count < SCARCE * even),
        ("many", lambda count: count > CROWDED * even),
    ):
        found = [
            f"{name} ({count})"
            for name, count, old in zip(class_names, now, before, strict=True)
            if is_beyond(count) and not is_beyond(old)
        ]
        if found:
            lines.append(
                f"far from an even share of {even:.0f} images, too {word}: {listed(found)}"
            )
    return lines


def listed(items):
    """The first of them in words, and how many more there are."""
    more = f" and {len(items) - MAX_LISTED} more" if len(items) > MAX_LISTED else ""
    return ", ".join(items[:MAX_LISTED]) + more
