"""How sure, how varied and how dense the predictions for a domain without labels are: figures by
which a snapshot can be chosen where nothing can be measured. docs/selection.md has the equations.

  entropy  mean entropy of the predictions; low is good (C-Ent in Saito et al., ICCV 2021)
  im       information maximisation: the entropy of the mean prediction less the mean entropy; high
           is good (Krause, Perona, Gomes, NIPS 2010; SHOT, Liang, Hu, Feng, ICML 2020)
  snd      soft neighbourhood density (Saito et al., ICCV 2021); high is good
  dev      deep embedded validation (You, Wang, Long, Jordan, ICML 2019): the risk on source images
           that were not trained on, weighted to look like the target; low is good
"""

import jax
import jax.numpy as jnp

from dajax.ops.row_blocks import fold_blocks, put_rows, take_rows
from dajax.ops.similarity import as_float, normalize, product
from dajax.typing import Array, Float, Int

# SND's tau: section 4 of the paper; T=0.05 in its authors' eval.py.
TEMPERATURE = 0.05
# Rows of the similarity matrix at a time: 512 x 10,000 float32 are 20 MB. Memory only; ours.
BLOCK_ROWS = 512
# Decays that the domain classifier of DEV is tried with, the strongest first: the ends and the
# middle of the nine in the authors' dev.py, of which each costs a fit.
DECAYS = (1e-1, 1e-3, 1e-5)
# Newton steps of a fit. From zero the penalised logistic loss falls to float32's rounding in fewer
# than ten where the classes overlap; where they do not the ratios end at their bound anyway. Ours.
NEWTON_STEPS = 10
# Every fifth row tells which decay is best: train_size=0.8 in the authors' dev.py.
HELD_BACK = 5
# Bound of a ratio's logarithm, so that it and its square stay finite in float32. Ours.
_MAX_LOG_RATIO = 30.0
_STD_FLOOR = 1e-6  # of a feature that is the same everywhere; ours


def row_entropies(logits: Float[Array, "*rows K"]) -> Float[Array, "*rows"]:
    """-sum_k p_k log p_k of every row's softmax, in nats: float32 [...].

    Args:
      logits: float [..., K].
    """
    log_p = jax.nn.log_softmax(as_float(logits))
    return -(jnp.exp(log_p) * log_p).sum(-1)


def mean_entropy(logits: Float[Array, "N K"]) -> Float[Array, ""]:
    """Mean entropy of the predictions, in nats; from 0, all certain, to log K.

    Args:
      logits: float [N, K].
    """
    return row_entropies(logits).mean()


def mutual_information(logits: Float[Array, "N K"]) -> Float[Array, ""]:
    """Information maximisation: H(mean_i p_i) - mean_i H(p_i), in nats; from 0, all alike, to
    log K, all certain and every class predicted as often. (SHOT's L_IM is its negative.)

    Args:
      logits: float [N, K].
    """
    mean_p = jax.nn.softmax(as_float(logits)).mean(0)
    return entropy_of(mean_p) - mean_entropy(logits)


def entropy_of(probabilities: Float[Array, "*rows K"]) -> Float[Array, "*rows"]:
    """-sum_k p_k log p_k of probabilities float32 [..., K], in nats, 0 log 0 being 0: [...]."""
    positive = probabilities > 0
    log_p = jnp.log(jnp.where(positive, probabilities, 1.0))
    return -(probabilities * log_p).sum(-1)


def neighbourhood_density(
    logits: Float[Array, "N K"], temperature: float = TEMPERATURE, block_rows: int = BLOCK_ROWS
) -> Float[Array, ""]:
    """Soft neighbourhood density: with f_i the softmax of row i scaled to length 1 and P_ij the
    softmax over j != i of f_i . f_j / temperature, the mean over i of -sum_j P_ij log P_ij, in
    nats; at most log(N - 1).

    The [N, N] matrix is formed in blocks of rows and never stored. A row is no neighbour of itself:
    the paper's eq. (2) and the authors' eval.py, in which its similarity is -1.

    Args:
      logits: float [N, K].
      temperature: tau.
      block_rows: at a time.

    Returns:
      float32 scalar; 0 for fewer than three rows, which have at most one neighbour each.
    """
    unit = normalize(jax.nn.softmax(as_float(logits)))  # [N, K]
    count = len(unit)
    if count < 3:
        return jnp.zeros((), unit.dtype)
    columns = jnp.arange(count)

    def visit(entropies, start, fresh):
        size = len(fresh)
        scaled = product(take_rows(unit, start, size), unit, 1, 1) / temperature  # [B, N]
        others = columns[None] != (start + jnp.arange(size))[:, None]
        shifted = scaled - scaled.max(1, keepdims=True)
        weights = jnp.where(others, jnp.exp(shifted), 0.0)
        total = weights.sum(1)
        found = jnp.log(total) - (weights * shifted).sum(1) / total  # [B]
        return put_rows(entropies, found, start)

    return fold_blocks(visit, jnp.zeros((count,), unit.dtype), count, block_rows).mean()


def validation_risk(weights: Float[Array, " N"], losses: Float[Array, " N"]) -> Float[Array, ""]:
    """DEV's risk: mean(w l) + eta mean(w) - eta with eta = -Cov(w l, w) / Var(w), which has the
    least variance of all controls by w, whose mean is 1 (section 4.2; get_dev_risk of dev.py).

    Args:
      weights: float32 [N], density ratios target / source of N source images not trained on.
      losses: float32 [N], of each; the authors' is 1 where the prediction is wrong, else 0.

    Returns:
      float32 scalar; the plain mean where all weights are alike.
    """
    weighted = weights * losses
    spread = weights - weights.mean()
    variance = jnp.square(spread).sum()
    covariance = ((weighted - weighted.mean()) * spread).sum()
    is_flat = variance <= _STD_FLOOR * jnp.square(weights).sum()
    eta = jnp.where(is_flat, 0.0, -covariance / jnp.where(is_flat, 1.0, variance))
    return weighted.mean() + eta * (weights.mean() - 1.0)


def density_ratios(
    source: Float[Array, "S D"],
    target: Float[Array, "T D"],
    queries: Float[Array, "N D"],
    decays: tuple[float, ...] = DECAYS,
) -> Float[Array, " N"]:
    """p_target(f) / p_source(f) of features, by a classifier that tells the domains apart:
    (S / T) * J(target | f) / J(source | f) (DEV, section 4.1).

    The classifier is logistic regression, where the authors have a small network (dev.py). It is
    fitted once for each decay to four fifths of the rows, and the decay with the least loss on the
    other fifth is taken: the authors' measure, accuracy, is the same for a classifier whose weights
    are shrunk, and the ratios are not.

    Args:
      source, target: float32 [S, D], [T, D], what the classifier learns from; five rows or more in
        all.
      queries: float32 [N, D], of source images that are in neither.
      decays: weights of |w|^2 / 2 beside the mean logistic loss, on features scaled to deviation 1.

    Returns:
      float32 [N].
    """
    both = jnp.concatenate([source, target])
    mean, deviation = both.mean(0), both.std(0)
    scale = jnp.where(deviation > _STD_FLOOR, 1.0 / jnp.maximum(deviation, _STD_FLOOR), 0.0)

    def prepared(features):
        return (features - mean[None]) * scale[None]

    is_target = jnp.concatenate([jnp.zeros(len(source)), jnp.ones(len(target))])
    held_back = jnp.arange(len(both)) % HELD_BACK == 0
    inputs = prepared(both)
    fits = [_fit(inputs, is_target, ~held_back, decay) for decay in decays]
    apart = [_logistic(product(inputs, w, 1, 0) + b, is_target, held_back) for w, b in fits]
    best = jnp.argmin(jnp.stack(apart))
    weights, bias = jnp.stack([w for w, _ in fits])[best], jnp.stack([b for _, b in fits])[best]
    log_ratio = product(prepared(queries), weights, 1, 0) + bias
    bounded = jnp.clip(log_ratio, -_MAX_LOG_RATIO, _MAX_LOG_RATIO)
    return jnp.exp(bounded) * (len(source) / len(target))


def _logistic(logits, is_target, counted):
    """Mean logistic loss of the counted rows."""
    weights = counted.astype(jnp.float32)
    losses = jax.nn.softplus(logits) - is_target * logits
    return (weights * losses).sum() / weights.sum()


def _fit(inputs, is_target, counted, decay):
    """(weights [D], bias) of the penalised logistic regression, by Newton's method with steps that
    are halved until the loss falls.
    """
    width = inputs.shape[1]
    design = jnp.concatenate([inputs, jnp.ones((len(inputs), 1))], 1)  # [M, D + 1]
    rows = counted.astype(jnp.float32)
    rows = rows / rows.sum()
    # a bias without any penalty has no minimum where all rows are of one domain
    penalty = jnp.full(width + 1, decay).at[width].set(min(DECAYS))

    def loss(theta):
        fit = _logistic(product(design, theta, 1, 0), is_target, counted)
        return fit + 0.5 * (penalty * jnp.square(theta)).sum()

    def step(_, theta):
        p = jax.nn.sigmoid(product(design, theta, 1, 0))
        gradient = product(design, rows * (p - is_target), 0, 0) + penalty * theta
        curvature = (rows * p * (1.0 - p))[:, None] * design
        hessian = product(design, curvature, 0, 0) + jnp.diag(penalty)
        move = jnp.linalg.solve(hessian, gradient)
        sizes = 0.5 ** jnp.arange(6.0)  # six: a step of 1/32 is none
        losses = jax.vmap(lambda size: loss(theta - size * move))(sizes)
        best = jnp.argmin(losses)
        return jnp.where(losses[best] < loss(theta), theta - sizes[best] * move, theta)

    theta = jax.lax.fori_loop(0, NEWTON_STEPS, step, jnp.zeros(width + 1))
    return theta[:width], theta[width]


def image_figures(
    scores: Float[Array, "N h w K"], picks: Int[Array, "N P"]
) -> tuple[Float[Array, " N"], Float[Array, "N K"], Float[Array, " N"]]:
    """What a segmenter's figures are made of, image by image.

    Args:
      scores: float [N, h, w, K] logits at the network's stride.
      picks: int32 [N, P], places of the pixels in h * w that an image's density is measured on.

    Returns:
      (mean entropy of the pixels float32 [N], mean prediction [N, K], density of the picked pixels
      among themselves [N]).
    """
    logits = as_float(scores).reshape(scores.shape[0], -1, scores.shape[-1])  # [N, h*w, K]
    picked = jnp.take_along_axis(logits, picks[:, :, None], 1)  # [N, P, K]
    return (
        row_entropies(logits).mean(1),
        jax.nn.softmax(logits).mean(1),
        jax.vmap(neighbourhood_density)(picked),
    )
