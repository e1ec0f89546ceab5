"""Pretrained MiT and what stands on it: mit_b*.pth of SegFormer's authors, Hugging Face's
nvidia/mit-b* in both of its spellings, and the released checkpoints of DAFormer, HRDA and MIC.
"""

import re

import numpy as np

from dajax.models.mit import STAGES, variant_of
from dajax.models.torch_names import Entries, names_of, without_prefix
from dajax.models.weight_report import check_complete, check_finite, make_report, mismatch_hint
from dajax.models.weights import pour

ENCODER = re.compile(r"(patch_embed\d|block\d|norm\d)\.")
HEAD = re.compile(r"decode_head\.")
# Left out on purpose: the classifiers of ImageNet, in both spellings, and torch's counters.
LEFT_OUT = re.compile(r"(head|classifier)\.|.*num_batches_tracked$")
# DAFormer's checkpoints hold, beside the student's "model.", its teacher and the frozen encoder.
STUDENT, OTHERS = re.compile(r"(module\.)?model\."), re.compile(r"(module\.)?(ema|imnet)_model\.")
# Hugging Face's names: on disk, and those that transformers 5 has in memory and may save.
_PLACES = (
    (r"(?:.*\.)?encoder\.patch_embeddings\.(\d)\.(.*)", "patch_embed{0}.{1}"),
    (r"(?:.*\.)?encoder\.layer_norm\.(\d)\.(.*)", "norm{0}.{1}"),
    (r"(?:.*\.)?encoder\.block\.(\d)\.(\d+\..*)", "block{0}.{1}"),
    (r"(?:.*\.)?stages\.(\d)\.patch_embeddings\.(.*)", "patch_embed{0}.{1}"),
    (r"(?:.*\.)?stages\.(\d)\.layer_norm\.(.*)", "norm{0}.{1}"),
    (r"(?:.*\.)?stages\.(\d)\.blocks\.(\d+\..*)", "block{0}.{1}"),
)
_LAYERS = (
    ("attention.self.layer_norm.", "attn.norm."),
    ("attention.sequence_reduction.layer_norm.", "attn.norm."),
    ("attention.self.sr.", "attn.sr."),
    ("attention.sequence_reduction.sequence_reduction.", "attn.sr."),
    ("attention.self.query.", "attn.q."),
    ("attention.q_proj.", "attn.q."),
    ("attention.self.key.", "attn.k."),
    ("attention.k_proj.", "attn.k."),
    ("attention.self.value.", "attn.v."),
    ("attention.v_proj.", "attn.v."),
    ("attention.output.dense.", "attn.proj."),
    ("attention.o_proj.", "attn.proj."),
    ("layer_norm_1.", "norm1."),
    ("layernorm_before.", "norm1."),
    ("layer_norm_2.", "norm2."),
    ("layernorm_after.", "norm2."),
    ("layer_norm.", "norm."),
    ("mlp.dense1.", "mlp.fc1."),
    ("mlp.dense2.", "mlp.fc2."),
)


def from_torch_mit(state_dict, params, batch_stats, *, skip_heads=False, allow_partial=False):
    """Pours a file into a MiT with a decoder: an encoder alone, or a whole segmenter.

    Of DAFormer's checkpoints the student counts. Hugging Face's decoders are others than those
    here, and are left out.

    Args, Returns, Raises: as seg_weights.from_torch_segmenter.
    """
    own = names_of(params, batch_stats)
    whole, ignored = _canonical(state_dict, own)
    heads = {name for name in whole.arrays if HEAD.match(name)}
    taken = whole.arrays
    if skip_heads:
        ignored |= heads
        taken = {name: array for name, array in taken.items() if name not in heads}
    new_params, new_batch_stats, poured = pour(taken, params, batch_stats)
    check_finite(whole, poured.loaded)
    report = make_report(whole, poured, ignored)
    if not allow_partial:
        has_heads = bool(heads - ignored)
        absent = [name for name in poured.absent if has_heads or not HEAD.match(name)]
        left_over = [name for name in report.unexpected if ENCODER.match(name) or HEAD.match(name)]
        needed = poured._replace(absent=absent)
        check_complete(needed, left_over, _hint(needed, left_over, whole, params["backbone"]))
    return new_params, new_batch_stats, report


def _canonical(state_dict, own):
    """(the file's Entries under the network's names, set of those left out on purpose)."""
    chosen = state_dict
    if any(STUDENT.match(name) for name in state_dict):
        chosen = {name: array for name, array in state_dict.items() if not OTHERS.match(name)}
    renamed = {name: _renamed(name) for name in chosen}
    is_hugging_face = any(name != new for name, new in renamed.items())
    if is_hugging_face:
        arrays, file_names = _joined(chosen, renamed)
        found = Entries(arrays, file_names, "")
    else:
        found = without_prefix(chosen, {name for name in own if not HEAD.match(name)})
    others = {name: state_dict[name] for name in state_dict.keys() - chosen.keys()}
    arrays, file_names = found.arrays | others, found.file_names | {name: name for name in others}
    ignored = {name for name in arrays if LEFT_OUT.match(name)} | set(others)
    if is_hugging_face:
        ignored |= {name for name in arrays if re.match(r"(.*\.)?decode_head\.", name)}
    # mmseg gives every decoder this layer; SegFormer's has a last layer of its own beside it
    ignored |= {name for name in arrays if re.match(r"decode_head\.conv_seg\.", name)} - own
    return Entries(arrays, file_names, found.prefix), ignored


def _renamed(name):
    """SegFormer's authors' name of an encoder's entry of Hugging Face; other names stay."""
    for pattern, place in _PLACES:
        found = re.fullmatch(pattern, name)
        if found:
            stage, rest = int(found[1]) + 1, found[2]
            for theirs, ours in _LAYERS:
                block, is_there, leaf = rest.partition(theirs)
                if is_there and re.fullmatch(r"(\d+\.)?", block):
                    rest = block + ours + leaf
                    break
            return place.format(stage, rest)
    return name


def _joined(state_dict, renamed):
    """(arrays, file names) under new names; keys and values are one layer, keys first."""
    arrays = {new: state_dict[name] for name, new in renamed.items()}
    file_names = {new: name for name, new in renamed.items()}
    for key in [name for name in arrays if ".attn.k." in name]:
        value, both = key.replace(".attn.k.", ".attn.v."), key.replace(".attn.k.", ".attn.kv.")
        if value in arrays:
            arrays[both] = np.concatenate([arrays.pop(key), arrays.pop(value)])
            file_names[both] = f"{file_names.pop(key)} and {file_names.pop(value)}"
    return arrays, file_names


def _hint(poured, left_over, entries, backbone):
    """What to do about a file that does not fit; arguments as weights.mismatch_hint, and the
    network's own parameters.
    """
    names = [*poured.absent, *poured.misfits, *left_over]
    if all(HEAD.match(name) for name in names):
        return (
            "only the decoder differs: choose config.model.head, its head_channels and"
            " config.model.hrda.detail_hw as in the file, or config.model.skip_heads=True for a"
            " fresh one"
        )
    found, here = _variant_in(entries.arrays), _variant_here(backbone)
    if found is not None and found != here:
        return (
            f"the file is {found}, this network is {here}: choose config.model.backbone as in the"
            " file, or another file"
        )
    return mismatch_hint(poured, left_over, entries)


def _variant_in(arrays):
    """What MiT a file holds, in words; None where it holds none."""
    first = [arrays.get(f"patch_embed{i + 1}.proj.weight") for i in range(len(STAGES))]
    if any(array is None for array in first):
        return None
    found = [re.match(r"(block\d)\.(\d+)\.", name) for name in arrays]
    blocks = {(match[1], match[2]) for match in found if match}
    depths = [sum(stage == name for stage, _ in blocks) for name in STAGES]
    return variant_of([len(array) for array in first], depths)


def _variant_here(backbone):
    """The name of a MiT from its parameters."""
    widths = [backbone[f"patch_embed{i + 1}"]["proj"]["bias"].shape[0] for i in range(len(STAGES))]
    depths = [sum(key.startswith(f"{name}_") for key in backbone) for name in STAGES]
    return variant_of(widths, depths)
