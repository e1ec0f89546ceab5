"""Pretrained vision transformers: DINOv2's and DINOv3's files in the authors', timm's and Hugging
Face's spelling, and segmenters of VFM-UDA.
"""

import re

import jax
import numpy as np

from dajax.models.torch_names import Entries, names_of, torch_name, torch_shape, without_prefix
from dajax.models.vit import VARIANTS
from dajax.models.weight_report import check_complete, check_finite, make_report, mismatch_hint
from dajax.models.weights import pour

# (name in the file, name here). Hugging Face has two spellings of attention: that of its files,
# and that which transformers 5 has in memory and writes.
RENAMED = tuple(
    (re.compile(rf"(^|\.){pattern}"), rf"\1{replacement}")
    for pattern, replacement in (
        (r"embeddings\.(cls_token|mask_token|register_tokens)$", r"\2"),
        (r"embeddings\.position_embeddings$", "pos_embed"),
        (r"embeddings\.patch_embeddings\.(projection\.)?(weight|bias)$", r"patch_embed.proj.\3"),
        (r"(encoder\.|model\.)?layer\.(\d+)\.", r"blocks.\3."),
        (r"layernorm\.", "norm."),
        (r"attention\.attention\.(query|key|value)\.", r"attn.\2."),
        (r"attention\.([qkv])_proj\.", r"attn.\2."),
        (r"attention\.(output\.dense|o_proj)\.", "attn.proj."),
        (r"layer_scale([12])\.lambda1$", r"ls\2.gamma"),
        (r"mlp\.up_proj\.", "mlp.fc1."),
        (r"mlp\.down_proj\.", "mlp.fc2."),
        (r"gamma_([12])$", r"ls\2.gamma"),  # timm's DINOv3
        (r"(reg_token|storage_tokens)$", "register_tokens"),  # timm; DINOv3's authors
        (r"encoder\.(?=(blocks|norm|patch_embed|cls_token|pos_embed|mask_token)\b)", ""),  # VFM-UDA
        (r"(?<!head\.)upscale\.(?=\d)", "head.upscale."),
        (r"(?<!head\.)out\.(?=weight$)", "head.out."),
    )
)
TEACHER = "network_ema."  # of VFM-UDA's checkpoints, whose student is "network."
PARTS_OF_QKV = (("query", "key", "value"), ("q", "k", "v"))
HEAD = re.compile(r"head\.(upscale\.\d|out)\.")
# Left out on purpose: classifiers, what DINOv3 trained with alone, VFM-UDA's teacher.
IGNORED = re.compile(
    r"(head|fc_norm|classifier|linear_head|local_cls_norm|cls_norm|rope_embed|pooler)\b"
    rf"|{re.escape(TEACHER)}|.*\.bias_mask$"
)


def from_torch_vit(state_dict, params, batch_stats, *, skip_heads=False, allow_partial=False):
    """Pours a file into a ViTSegmenter: an encoder alone, or a segmenter of VFM-UDA or of dajax.

    The head stays as it is where the file has none, and so does `mask_token`, which timm's files
    lack.

    Args:
      state_dict: {torch name: array}, see weight_files.load_torch_file; names may have a prefix.
      params, batch_stats: trees of a ViTSegmenter, for names and shapes; not changed.
      skip_heads: take the encoder only.
      allow_partial: keep what the file lacks or has in another shape as it is, instead of refusing.

    Returns:
      (params, batch_stats, Report). Its names are the network's, and its checksum is of the arrays
        as they were loaded.

    Raises:
      WeightsError: entries are missing, of another shape, not finite, or the encoder is of another
        variant.
    """
    whole = _canonical(state_dict, names_of(params, batch_stats))
    heads = {name for name in whole.arrays if HEAD.match(name)}
    ignored = {name for name in whole.arrays if IGNORED.match(name)} - heads
    if skip_heads:
        ignored |= heads
    taken = {name: array for name, array in whole.arrays.items() if name not in ignored}
    new_params, new_batch_stats, poured = pour(taken, params, batch_stats)
    check_finite(whole, poured.loaded)
    report = make_report(whole, poured, ignored)
    if not allow_partial:
        has_heads = bool(heads - ignored)
        needed = [
            name
            for name in poured.absent
            if name != "mask_token" and (has_heads or not HEAD.match(name))
        ]
        needed = poured._replace(absent=needed)
        left_over = [name for name in report.unexpected if not HEAD.match(name)]
        check_complete(needed, left_over, _hint(needed, left_over, whole, params))
    return new_params, new_batch_stats, report


def _canonical(state_dict, wanted):
    """The file's Entries under the network's names, queries, keys and values joined."""
    arrays, file_names = {}, {}
    for file_name, array in state_dict.items():
        if file_name.startswith(TEACHER):  # it would be a second network that fits
            continue
        name = file_name
        for pattern, replacement in RENAMED:
            name = pattern.sub(replacement, name)
        arrays[name], file_names[name] = np.asarray(array), file_name
    arrays, file_names = _joined(arrays, file_names)
    found = without_prefix(arrays, {name for name in wanted if not HEAD.match(name)})
    names = {name: file_names[joined] for name, joined in found.file_names.items()}
    aside = {name: name for name in state_dict if name.startswith(TEACHER)}
    taken = _shaped(dict(found.arrays)) | {name: state_dict[name] for name in aside}
    return Entries(taken, names | aside, found.prefix)


def _joined(arrays, file_names):
    """Arrays and file names with "attn.qkv" in place of its three parts. DINOv3's keys have no
    bias: it is 0.
    """
    joined, names = {}, {}
    is_rotary = not any(name.endswith("pos_embed") for name in arrays)
    for name, array in arrays.items():
        found = re.fullmatch(r"(.*\battn)\.(query|key|value|q|k|v)\.(weight|bias)", name)
        if not found:
            joined[name], names[name] = array, file_names[name]
            continue
        block, part, leaf = found.groups()
        whole = f"{block}.qkv.{leaf}"
        if whole in joined:
            continue
        (parts,) = (parts for parts in PARTS_OF_QKV if part in parts)
        thirds = [arrays.get(f"{block}.{other}.{leaf}") for other in parts]
        if leaf == "bias" and is_rotary and thirds[1] is None:
            thirds[1] = np.zeros_like(array)
        if any(third is None for third in thirds):  # is reported as missing
            joined[name], names[name] = array, file_names[name]
            continue
        joined[whole], names[whole] = np.concatenate(thirds), file_names[name]
    return joined, names


def _shaped(arrays):
    """The arrays with the axes that the network has, and without the differences of timm's files
    and of DINOv3's: a class token that has its position in it already, no bias at all, a bias with
    a mask.
    """
    if "mask_token" in arrays:
        arrays["mask_token"] = arrays["mask_token"].reshape(1, 1, -1)
    table = arrays.get("pos_embed")
    if (
        table is not None
        and table.ndim == 3
        and round(table.shape[1] ** 0.5) ** 2 == table.shape[1]
    ):
        arrays["pos_embed"] = np.concatenate([np.zeros_like(table[:, :1]), table], 1)
    for name in [name for name in arrays if name.endswith("attn.qkv.weight")]:
        bias = name.removesuffix("weight") + "bias"
        mask = arrays.get(f"{bias}_mask")
        if bias not in arrays and table is None:
            arrays[bias] = np.zeros(len(arrays[name]), np.float32)
        elif mask is not None:  # the keys' third, whatever its numbers are
            arrays[bias] = np.where(np.nan_to_num(mask) != 0, arrays[bias], 0.0)
    return arrays


def _hint(poured, left_over, entries, params):
    """What to do about a file that does not fit; arguments as weights.mismatch_hint, and the
    network's own parameters.
    """
    names = [*poured.absent, *poured.misfits, *left_over]
    if names and all(HEAD.match(name) for name in names):
        return "only the head differs: set config.model.skip_heads=True to keep a fresh one"
    theirs = variant_of({name: np.shape(array) for name, array in entries.arrays.items()})
    own = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params["backbone"]):
        keys = [entry.key for entry in path]
        own[torch_name(keys)] = torch_shape(keys[-1], leaf.shape)
    ours = variant_of(own)
    if theirs and theirs != ours:
        return (
            f"the encoder in the file is {theirs}, this network has {ours}: choose"
            " config.model.backbone as in the file, or another file"
        )
    return mismatch_hint(poured, left_over, entries)


def variant_of(shapes):
    """The encoder that entries belong to, in words: a key of VARIANTS where there is one; "" where
    they are of no ViT.

    Args:
      shapes: {name: shape}, names as the network's.
    """
    blocks = [re.match(r"blocks\.(\d+)\.", name) for name in shapes]
    depth = 1 + max((int(found[1]) for found in blocks if found), default=-1)
    patches = shapes.get("patch_embed.proj.weight")
    if not depth or patches is None or len(patches) != 4:
        return ""
    width, _, patch, _ = patches
    registers = shapes.get("register_tokens", (1, 0, width))[1]
    found = (width, depth, patch, registers, "pos_embed" in shapes)
    for name, known in VARIANTS.items():
        if found == (known.width, known.depth, known.patch, known.registers, bool(known.grid)):
            return name
    return f"a ViT of width {width}, {depth} blocks, patches of {patch} and {registers} registers"
