"""Whole iterations of the authors' own training scripts, through the train steps that runs use: the
golden network, a run of it, and how its states are compared.
"""

import jax
import jax.numpy as jnp
import numpy as np
from batches import part
from compare import assert_close, assert_value
from golden_arrays import channels_first
from recipe_weights import discriminator_params, recipe_state_dict

from dajax.models.apply import predict_scores
from dajax.models.build import build_segmenter
from dajax.models.seg_weights import from_torch_segmenter

# tests/golden/README.md: train-step losses 1e-4 relative, parameters 1e-4 of the array's max, final
# logits 1e-3 of max, all float32 against float64.
LOSS_TOLERANCE, PARAMETER_TOLERANCE, LOGIT_TOLERANCE = 1e-4, 1e-4, 1e-3


def make(case, recipe, argument, *, warmup_steps=0):
    """The recipe's own network and stage, with as many blocks, steps and pixels as the golden file
    has.
    """
    whole = recipe.get_config(argument)
    config = whole[whole.stages[0]]
    model = build_segmenter(whole.model, config, num_classes=case["final_eval_logits2"].shape[1])
    stage_sizes = tuple(case["layers"].tolist())
    model = model.clone(backbone=model.backbone.clone(stage_sizes=stage_sizes))
    config.steps = int(case["num_steps"])
    if "target_hw" in config:
        config.target_hw = case["tgt_images"].shape[2:]
    optimizers = [config[key] for key in config if key.endswith("optimizer")]
    for optimizer in optimizers:
        optimizer.horizon_steps = config.steps  # of the authors' NUM_STEPS
        if warmup_steps:
            optimizer.warmup_steps = config.warmup_steps = warmup_steps
    return model, config


def weights(names, salt, heads):
    """Of the golden network: {torch name: array}. A single head is the main one of two, by another
    name.
    """
    found = recipe_state_dict(names, salt, one_block=True)
    if heads == "single":
        found = {name: array for name, array in found.items() if not name.startswith("layer5.")}
        found = {name.replace("layer6.", "layer5."): array for name, array in found.items()}
    return found


def run(case, method, model, config, names, salts):
    """Metrics of every iteration, and the state after each."""
    rng = jax.random.key(0)
    state = method.init(rng, jnp.zeros((1, 33, 33, 3)), config=config, model=model)
    network, salt = state.params["segmenter"], str(case["salt"])
    params, stats, report = from_torch_segmenter(
        weights(names, salt, model.heads), network, state.batch_stats["segmenter"]
    )
    assert not report.missing and not report.unexpected
    params = {"segmenter": params} | {
        name: discriminator_params(salt + extra) for name, extra in salts.items()
    }
    state = state.replace(params=params, batch_stats={"segmenter": stats})
    step = jax.jit(
        lambda state, batch: method.train_step(state, batch, rng, config=config, model=model)
    )
    assert config.batch_size == 1, "the files hold one image an iteration"
    history = []
    for i in range(len(case["losses"])):
        source, target = (
            np.moveaxis(case[key][i], 0, -1)[None] for key in ("src_images", "tgt_images")
        )
        batch = {"source": part(source, case["src_labels"][i][None]), "target": part(target)}
        state, metrics = step(state, batch)
        history.append((metrics, state))
    assert len(history) > 1
    return history


def torch_leaf(tree, name):
    """A parameter by its torch name, in torch's layout; running statistics by "bn1"."""
    name = name.replace("downsample.0", "downsample_conv")
    *path, leaf = name.replace("downsample.1", "downsample_bn").split(".")
    joined = []
    for word in path:
        joined[-1:] = [f"{joined[-1]}_{word}"] if word.isdigit() else joined[-1:] + [word]
    node = tree if joined[0] in tree else tree["backbone"]
    for word in joined:
        node = node[word]
    value = np.asarray(node["bias" if leaf == "bias" else "kernel"])
    return value.transpose(3, 2, 0, 1) if value.ndim == 4 else value


def stored_names(case, prefix):
    """What follows a prefix in the keys of a golden file; never nothing."""
    names = [key.removeprefix(prefix) for key in case if key.startswith(prefix)]
    assert names, prefix
    return names


def assert_parameters(case, iteration, state, discriminators, of_single_head=False):
    """The parameters of which the file holds the first entries, and their norms where it does."""
    after, norms = f"it{iteration}_after8_", f"it{iteration}_afternorm_"
    with_norm = set(stored_names(case, norms))
    networks, seen = {"G": "segmenter"} | discriminators, set()
    for name in stored_names(case, after):
        network, _, leaf = name.partition(".")
        if of_single_head:
            # The script's second head and its discriminator have weight 0, and the recipe neither.
            if network not in networks or name.startswith("G.layer5."):
                continue
            leaf = leaf.replace("layer6.", "layer5.")
        value, first = torch_leaf(state.params[networks[network]], leaf), case[after + name]
        seen.add(network)
        found, unit = value.reshape(-1)[: len(first)], np.abs(value).max()
        assert_close(found, first, PARAMETER_TOLERANCE, unit=unit, err_msg=name)
        if name in with_norm:
            norm = np.linalg.norm(value.astype(np.float64))
            assert_value(norm, case[norms + name], PARAMETER_TOLERANCE, err_msg=name)
    assert seen == networks.keys()


def assert_statistics(case, iteration, state):
    """Running statistics after both passes: the source's, then the target's."""
    for kind, leaf in (("runmean", "mean"), ("runvar", "var")):
        prefix = f"it{iteration}_{kind}_"
        for name in stored_names(case, prefix):
            path = name.replace("downsample.1", "downsample_bn").split(".")
            node = state.batch_stats["segmenter"]["backbone"]
            for word in [f"{path[0]}_{path[1]}", *path[2:]] if len(path) > 1 else path:
                node = node[word]
            expected = case[prefix + name]
            found = node[leaf][0][: len(expected)]
            assert_close(found, expected, PARAMETER_TOLERANCE, err_msg=name)


def assert_final_logits(case, model, state, expected):
    """Of the first target image, in evaluation mode, after the last iteration."""
    image = np.moveaxis(case["tgt_images"][0], 0, -1)[None]
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    found = channels_first(predict_scores(model, variables, image, norm_set=0))
    assert_close(found, expected, LOGIT_TOLERANCE)
