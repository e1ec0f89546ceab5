"""The argument of a recipe, "variant,word,key=value,...": what it says is used and in the run's
name, or refused in one line. The grammar is configs/base/arguments.py's, the same in every recipe.
"""

import itertools
import re

import pytest
import recipes

from dajax.recipes.base import arguments as grammar
from dajax.recipes.base import classification as cls_base
from dajax.recipes.base import domains as seg_domains
from dajax.recipes.base import segmentation as seg_base

VARIANTS = {
    "small": ("ablations", "settings", "size"),
    "real": ("root", "weights", "settings"),
    "bare": (),
}
DEFAULTS = dict(ablations=False, root="", weights="", settings=("code", "paper"), size=64)
NONE_GIVEN = dict(variant="small", ablations=False, root="", weights="", settings="code", size=64)


def parse(arg):
    return grammar.parse_arg(
        arg, VARIANTS, pretrained=("real",), renamed={"folder": "root"}, **DEFAULTS
    )


def test_every_key_has_a_value_and_the_first_variant_is_the_default():
    assert parse(None).to_dict() == NONE_GIVEN
    assert parse("size=32,settings=paper").to_dict() == NONE_GIVEN | dict(settings="paper", size=32)
    assert parse("real,root=a=b,weights=w.pth").to_dict() == NONE_GIVEN | dict(
        variant="real", root="a=b", weights="w.pth"
    )
    assert parse("real,weights=none").weights == ""


def test_a_word_stands_alone_behind_the_variant_or_in_its_place():
    assert parse("small,ablations,size=3") == parse("ablations,size=3") == parse("size=3,ablations")
    assert parse("ablations").to_dict() == NONE_GIVEN | dict(ablations=True)


def test_a_variant_and_a_word_stand_in_either_order():
    assert parse("ablations,small,size=3") == parse("small,ablations,size=3")
    assert parse("size=3,small") == parse("small,size=3")
    folder = "root=DIR,source=a,target=b"
    one = recipes.get_config("can", f"ablations,folder,{folder}")
    assert one == recipes.get_config("can", f"folder,ablations,{folder}")
    assert recipes.get_config("plca", "ablations,scenes") == recipes.get_config("plca", "ablations")
    pair = recipes.get_config("clan", "weights=none,cityscapes_to_acdc")
    assert pair == recipes.get_config("clan", "cityscapes_to_acdc,weights=none")


def test_of_a_key_given_twice_the_last_counts_as_a_sweep_appends_it():
    assert parse("size=32,size=16").size == 16


@pytest.mark.parametrize(
    "arg, message",
    [
        ("tiny", "unknown variant 'tiny'; known: small, real, bare"),
        (
            "small,colour=red",
            "configuration argument 'colour=red': expected key=value with a key among root,"
            " weights, settings, size, or the word ablations",
        ),
        (
            "small,real",
            "configuration argument 'real': the variant is small already, and a run has one: leave"
            " one of them out",
        ),
        ("size=3,real,ablations,small", "'small': the variant is real already"),
        (
            "ablations,smal",
            "configuration argument 'smal': expected key=value with a key among root, weights,"
            " settings, size, or the word ablations; variants: small, real, bare",
        ),
        ("small,ablations=yes", "configuration argument 'ablations=yes': expected key=value"),
        ("small,size", "configuration argument 'size': expected key=value"),
        (
            "real,weights=none,ablations",
            "configuration argument 'ablations': variant real does not use ablations; it takes"
            " root, weights, settings",
        ),
        (
            "small,weights=w.pth",
            "configuration argument 'weights=w.pth': variant small does not use weights; it takes"
            " ablations, settings, size",
        ),
        ("weights=none", "'weights=none': variant small does not use weights"),
        (
            "real,weights=w.pth,size=32",
            "'size=32': variant real does not use size; it takes root, weights, settings",
        ),
        ("real,folder=D", "'folder=D': folder is now called root: write root=D"),
        ("bare,root=", "'root=': variant bare does not use root; it takes none"),
        ("settings=papers", "'settings=papers': known: code, paper"),
        ("size=big", "'size=big': expected a value of type int"),
        ("size=", "'size=': expected a value of type int"),
        ("real", "variant real trains from pretrained weights: add weights=FILE"),
        ("real,weights=", "variant real trains from pretrained weights: add weights=FILE"),
    ],
)
def test_what_a_variant_does_not_use_is_an_error_of_one_line(arg, message):
    with pytest.raises(ValueError) as error:
        parse(arg)
    assert message in str(error.value) and "\n" not in str(error.value)


# {key: (a value, another)}; of a word "" stands for the word
OTHER_VALUES = dict(
    ablations=("",),
    root=("A", "B"),
    source_root=("A", "B"),
    target_root=("A", "B"),
    source=("dslr+amazon", "dslr+webcam"),
    target=("dslr", "amazon"),
    weights=("a.pth", "x/b.pth", "none"),
    backbone=("resnet101", "resnet50"),
    size=("96", "128"),
    network=("can", "own"),
    bsa=("average", "source", "batch"),
    settings=("paper", "code"),
    levels=("multi", "single"),
    host=("daformer", "hrda"),
    gan=("least_squares", "vanilla"),
    density=("0.343", "0.3430000001"),
    regulariser=("mrkld", "mrkld_paper", "none"),
    ranking=("normalised", "entropy"),
    flip=("no", "yes"),
    affine=("yes", "no"),
    jitter=("0.2", "yes", "0.4"),
    invert=("0.3000000001", "0.3"),
    erase=("yes", "0.25"),
    evaluation=("dslr", "amazon"),
    held_out=("0.2", "0.25"),
    like=("plca", "spcl", "adaptsegnet"),
    vary=("decay", "weight"),
)
PLACES = ("root", "source_root", "target_root")  # where files lie is in no name
BICL = {"settings": ("code", "slides")}
TWO_LEVELS = {"levels": ("single", "multi")}  # of those that have two by default
# {recipe: backbones, which are the networks of its own folders, too}; else those of OTHER_VALUES
BACKBONES = {
    **dict.fromkeys(("bicl", "plca"), ("mit_b0", "dinov2_vits14", "resnet101")),
    "clan": ("mit_b0", "vgg16_fcn8s", "resnet101"),
    "cbst": ("vgg16_fcn8s", "vgg16", "resnet101"),
    "spcl": ("resnet101", "vgg16"),
    "fada": ("vgg16", "resnet101"),
    **dict.fromkeys(("daformer", "hrda", "mic"), ("mit_b0", "mit_b5")),
    "vfm": ("dinov2_vits14", "dinov2_vitb14"),
}
# of segmentation's variant own, whose source and target are folders
OWN = dict(
    source=("A", "B"),
    target=("A", "B"),
    evaluation=("A", "B"),
    classes=("a.csv", "b.csv"),
    image_name=("NAME_a", "NAME_b"),
    label_name=("NAME_a", "NAME_b"),
    size=("96x128", "64x128", "512x1024"),
    network=("resnet101", "small"),
)
TABLES = {name: recipes.module(name).VARIANTS for name in recipes.NAMES}
ALL = [(name, variant) for name, table in TABLES.items() for variant in table]
OF_OWN_FOLDERS = [name for name in recipes.of_task("segmentation") if "own" in TABLES[name]]
# Variants that take Office-31's arguments by the same lines: two recipes stand for all.
AS_OFFICE31 = ("officehome", "pacs", "imageclef")
DIFFERENT = [
    (name, variant)
    for name, variant in ALL
    if variant not in AS_OFFICE31 or name in ("can", "dann")
]


def values_of(recipe, variant):
    """{key: values to try} of a variant of a recipe."""
    known = OTHER_VALUES | (BICL if recipe == "bicl" else {})
    if recipe in ("advent", "minent"):
        known = known | TWO_LEVELS
    if recipe in BACKBONES:
        known = known | {"backbone": BACKBONES[recipe]}
    if variant == "own":
        return known | OWN | {"network": (large(recipe)["network"], "small")}
    return known | dict.fromkeys(OWN.keys() - known.keys(), ("A",))


def large(recipe):
    """What weights of variant own are for."""
    return {"network": BACKBONES.get(recipe, ("resnet101",))[0]}


def places_of(variant):
    """Keys that say where files lie or what they are called."""
    return seg_domains.OWN_PLACES if variant == "own" else PLACES


def content_of(recipe, variant, **values):
    """(name, content) of the recipe's config with these arguments, and what else its variant needs;
    a value None leaves the key out.
    """
    keys = TABLES[recipe][variant]
    needed = {"source": "amazon+webcam", "target": "webcam", "weights": "w.pth"}
    if variant == "own":
        needed = {"source": "S", "target": "T"} | (
            {"weights": "w.pth"} if "network" in values else {}
        )
        if values.get("network") == "small":
            del needed["weights"]
        if "weights" in values and values["weights"] is not None:
            needed |= large(recipe)
    values = {key: value for key, value in needed.items() if key in keys} | values
    items = [
        key if key == "ablations" else f"{key}={value}"
        for key, value in values.items()
        if value is not None
    ]
    config = recipes.get_config(recipe, ",".join([variant, *items]))
    content = config.copy_and_resolve_references().to_dict()
    return content.pop("name"), content


def test_there_are_recipes_to_check():
    """An empty list of cases would be skipped without a word."""
    assert len(ALL) > 60 and {"can", "clan", "dann"} < TABLES.keys()
    assert set().union(*(keys for table in TABLES.values() for keys in table.values())) == set(
        OTHER_VALUES | OWN
    )


@pytest.mark.parametrize("recipe", recipes.NAMES)
def test_the_commands_of_a_recipes_docstring_are_commands_of_this_recipe(recipe):
    """And "...,settings=paper" is one of the last of them."""
    text = recipes.module(recipe).__doc__
    commands = re.findall(r"run\.py --config=(\w+)(?::(\S+))?", text)
    assert commands and {name for name, _ in commands} == {recipe}
    arguments = [argument for _, argument in commands]
    arguments += [f"{arguments[-1]},{more}" for more in re.findall(r"^  \.\.\.,(\S+)", text, re.M)]
    for argument in arguments:
        assert recipes.get_config(recipe, argument).stages, argument


def is_large(variant, key):
    """Whether a key of variant own is one that a large network alone takes."""
    return variant == "own" and key == "weights"


@pytest.mark.parametrize("recipe, variant", DIFFERENT)
def test_every_argument_is_used_and_named_or_refused(recipe, variant):
    """What changes nothing is refused, and two runs have one name where they are one run."""
    for key, values in values_of(recipe, variant).items():
        if key not in TABLES[recipe][variant]:
            with pytest.raises(ValueError, match=f"'{key}(=.*)?'") as error:
                content_of(recipe, variant, **{key: values[0]})
            assert "\n" not in str(error.value)
            continue
        more = large(recipe) if is_large(variant, key) else {}
        found = [content_of(recipe, variant, **more)]
        found += [content_of(recipe, variant, **{key: value}) for value in values]
        pairs = list(itertools.combinations(found, 2))
        assert any(one != other for (_, one), (_, other) in pairs), f"{key} changes nothing"
        for (name, content), (other_name, other) in pairs:
            is_place = key in places_of(variant) and key != "weights"
            assert (name == other_name) == (content == other or is_place), key


@pytest.mark.parametrize("recipe, variant", DIFFERENT)
def test_no_two_runs_share_a_workdir(recipe, variant):
    """With every combination of arguments, but for where files lie."""
    values = values_of(recipe, variant)
    places = [key for key in places_of(variant) if key != "weights"]
    keys = [key for key in TABLES[recipe][variant] if key not in places]
    most = len(keys) if len(keys) < 6 else 2  # of many keys, every pair
    contents = {}
    for chosen in (c for n in range(most + 1) for c in itertools.combinations(keys, n)):
        given = dict.fromkeys(keys) | {key: values[key][0] for key in chosen}
        try:
            name, content = content_of(recipe, variant, **given)
        except (
            ValueError
        ):  # what does not go together is refused; test_cls_recipes, test_seg_recipes
            continue
        assert contents.setdefault(name, content) == content, name
        assert not set("/:\\ ") & set(name), "it names a folder"
    assert len(contents) > 1 or keys in ([], ["weights"])


@pytest.mark.parametrize(
    "recipe, variant",
    [
        ("can", "office31"),
        ("dann", "folder"),
        ("clan", "gta5_to_cityscapes"),
        ("adaptsegnet", "synthia_to_cityscapes"),
        ("spcl", "synscapes_to_cityscapes"),
    ],
)
def test_the_workdir_is_named_after_the_file_of_weights_and_not_after_its_folder(recipe, variant):
    names = {
        weights: content_of(recipe, variant, weights=weights)[0]
        for weights in ("none", "a/w.pth", "b/w.pth", "v.pth")
    }
    assert names["a/w.pth"] == names["b/w.pth"] and names["a/w.pth"].endswith("-w")
    assert len(set(names.values())) == 3


@pytest.mark.parametrize(
    "recipe, argument, name",
    [
        ("can", None, "can-digits"),
        ("can", "ablations", "can-ablations"),
        ("can", "ablations,source=stencil", "can-ablations-stencil"),
        ("spcl", "ablations,settings=paper", "spcl-ablations-paper"),
        ("can", "office31,ablations,weights=w.pth", "can-ablations-office31-amazon-webcam-w"),
        ("compare_cls", None, "compare_cls-digits-network_can"),
        ("compare_seg", None, "compare-seg"),
        ("adaptsegnet", None, "adaptsegnet-scenes-single"),
        ("bicl", "scenes,density=0.5", "bicl-scenes-density0.5"),
    ],
)
def test_a_run_keeps_its_name(recipe, argument, name):
    """Workdirs of versions before are found by it."""
    assert recipes.get_config(recipe, argument).name == name


PRETRAINED = [
    (name, variant)
    for name, variant in ALL
    if variant in (*cls_base.PRETRAINED, *seg_base.REAL_VARIANTS)
]


@pytest.mark.parametrize("recipe, variant", PRETRAINED)
def test_a_variant_that_needs_weights_asks_for_them(recipe, variant):
    several = (
        "" if recipe not in ("mscan", "m3sda") or variant == "domainnet" else ",source=amazon+dslr"
    )
    with pytest.raises(ValueError) as error:
        recipes.get_config(recipe, variant)
    assert f"variant {variant} trains from pretrained weights: add weights=FILE" in str(error.value)
    assert "or weights=none" in str(error.value) and "\n" not in str(error.value)
    for weights, found in (("none", ""), ("file.pth", "file.pth")):
        config = recipes.get_config(recipe, f"{variant},weights={weights}{several}")
        assert config.model.weights == found


# What goes against the grammar with the recipes' own keys.
REFUSED = [
    (
        "can",
        "folder,source=a,target=b,held_out=1",
        "'held_out=1.0': expected a share of the target",
    ),
    ("can", "folder,source=a,target=b,held_out=nan", "'held_out=nan': expected a share"),
    ("can", "folder,source=a,target=b,held_out=0.2,evaluation=c", "evaluation=c is measured on"),
    ("can", "folder,source=a,target=b,evaluation=b", "'evaluation=b': this is the target, which"),
    ("can", "office31,weights=none,evaluation=dslr", "variant office31 does not use evaluation"),
    ("can", "digits,weights=w.pth", "variant digits does not use weights; it takes source"),
    ("can", "target=foo", "variant digits does not use target"),
    ("can", "ablations,weights=w.pth", "variant digits does not use weights; it takes source"),
    (
        "can",
        "office31,root=DIR,weights=w.pth,size=64",
        "variant office31 does not use size; it takes root, source, target, weights",
    ),
    (
        "can",
        "folder,root=DIR,source=a,target=b,backbone=resnet101",
        "variant folder uses backbone with weights=FILE only",
    ),
    (
        "can",
        "tfds,source=a,target=b,weights=none,backbone=resnet50",
        "variant tfds uses backbone with weights=FILE only",
    ),
    ("can", "folder,weights=w.pth,backbone=vgg", "known: resnet50, resnet101"),
    ("can", "folder,size=-8", "expected pixels, above 0"),
    ("can", "folder,size=big", "expected a value of type int"),
    ("can", "digits,network=can", "expected key=value with a key among root, source, target"),
    ("mscan", "network=own", "expected key=value with a key among root, source, target"),
    ("mscan", "ablations", "'ablations': this recipe has no rows of ablations, whatever the"),
    ("mscan", "folder,ablations,source=a+b", "'ablations': this recipe has no rows of ablations"),
    ("dann", "ablations,folder,source=a,target=b", "this recipe has no rows of ablations"),
    ("mscan", "source=type", "name two sources or more, joined by '+'"),
    ("dann", "digits,network=cans", "known: own, can"),
    ("dann", "digits,target=foo", "variant digits does not use target; it takes source, network"),
    ("plca", "ablations,settings=code", "variant scenes does not use settings; it takes ablations"),
    (
        "plca",
        "gta5_to_cityscapes,weights=none,backbone=vgg16",
        "'backbone=vgg16': known: resnet101, mit_b0",
    ),
    ("clan", "ablations_gta5,weights=none", "this recipe has no rows of ablations, whatever the"),
    ("plca", "ablations_gta6,weights=none", "unknown variant 'gta6_to_cityscapes'"),
    ("spcl", "ablations,vary=decay", "vary=decay: the rows of two tables; leave one of them out"),
    ("spcl", "gta5_to_cityscapes,weights=none,backbone=resnet50", "known: resnet101, vgg16"),
    ("fada", "gta5_to_cityscapes,weights=none,backbone=vgg16_fcn8s", "known: resnet101, vgg16"),
    (
        "cbst",
        "gta5_to_cityscapes,weights=none,backbone=vgg16,regulariser=mrkld",
        "regulariser=mrkld: CRST's paper has no VGG-16; leave it out",
    ),
    *(
        (
            name,
            "gta5_to_cityscapes,weights=none,backbone=vgg16",
            "'backbone=vgg16': expected key=value with a key among source_root",
        )
        for name in ("intrada", "pixmatch", "proda")
    ),
    *(
        (name, "own,source=A,target=B,network=vgg16,weights=none", "known: small, resnet101")
        for name in ("intrada", "pixmatch", "proda")
    ),
    (
        "source_only_seg",
        "gta5_to_cityscapes,weights=none,like=bicl,settings=paper",
        "settings=paper: changes nothing for like=bicl",
    ),
    (
        "source_only_seg",
        "gta5_to_cityscapes,weights=none,like=plca,backbone=vgg16",
        "'backbone=vgg16': known: resnet101, mit_b0",
    ),
    (
        "clan",
        "gta5_to_cityscapes,source=DIR,weights=none",
        "does not use source; it takes source_root, target_root, weights, backbone, settings:"
        " write source_root=DIR",
    ),
    ("clan", "target=DIR", "variant scenes does not use target; it takes settings"),
    ("compare_seg", "source=DIR", "variant scenes does not use source; it takes none"),
    ("clan", "own,source=DIR", "needs source=DIR and target=DIR; target is missing"),
    ("clan", "own,source=A,target=B,size=96", "'size=96': expected HEIGHTxWIDTH in pixels"),
    (
        "clan",
        "own,source=A,target=B,size=16x128",
        "expected HEIGHTxWIDTH in pixels, such as 96x128",
    ),
    ("clan", "own,source=A,target=B,network=vgg19", "'network=vgg19': known: small, resnet101"),
    ("plca", "own,source=A,target=B,network=vgg19", "known: small, resnet101, vgg16"),
    ("plca", "own,source=A,target=B,weights=w.pth", "network=small trains from random weights"),
    ("plca", "own,source=A,target=B,network=vgg16", "variant own trains from pretrained weights"),
    ("plca", "network=vgg16,source=A,target=B,own", "variant own trains from pretrained weights"),
    ("clan", "own,source_root=A,target=B", "variant own does not use source_root; it takes source"),
    (
        "adaptsegnet",
        "own,source=A,target=B,network=vgg16,weights=none,levels=multi",
        "levels=multi: backbone vgg16 has one head",
    ),
    ("clan", "gta5_to_kitti,weights=none", "TARGET one of cityscapes, acdc, dark_zurich, bdd100k"),
    ("clan", "weights=none,gta5_to_kitti", "TARGET one of cityscapes, acdc, dark_zurich, bdd100k"),
    ("clan", "acdc_to_acdc,weights=none", "SOURCE_to_TARGET of two different sets"),
    ("clan", "cityscapes_to_acdc", "variant cityscapes_to_acdc trains from pretrained weights"),
    (
        "compare_seg",
        "gta5_to_cityscapes",
        "unknown variant 'gta5_to_cityscapes'; known: scenes, own",
    ),
    ("adaptsegnet", "scenes,backbone=vgg16", "does not use backbone; it takes levels, gan"),
    ("source_only_seg", "scenes,backbone=vgg16", "does not use backbone; it takes none"),
    ("bicl", "ablations,settings=code", "leave out either ablations or settings=code"),
    (
        "bicl",
        "scenes,density=1",
        "density=1.0: a share of the target's pixels, from 0 (a fixed threshold) to below 1",
    ),
    ("bicl", "scenes,density=nan", "density=nan: a share"),
    ("bicl", "scenes,density=much", "'density=much': expected a value of type float"),
    ("bicl", "density=0.3,settings=code", "density=0.3: settings=code has no dynamic labels"),
    ("adaptsegnet", "scenes,levels=triple", "'levels=triple': known: single, multi"),
    ("adaptsegnet", "scenes,gan=LS", "'gan=LS': known: vanilla, least_squares"),
    ("clan", "scenes,settings=papers", "'settings=papers': known: code, paper"),
    (
        "adaptsegnet",
        "gta5_to_cityscapes,weights=none,backbone=vgg19",
        "'backbone=vgg19': known: resnet101, resnet50, vgg16, vgg16_fcn8s",
    ),
    (
        "adaptsegnet",
        "gta5_to_cityscapes,weights=none,backbone=vgg16,levels=multi",
        "levels=multi: backbone vgg16 has one head",
    ),
    (
        "adaptsegnet",
        "gta5_to_cityscapes,weights=none,backbone=vgg16_fcn8s,settings=paper",
        "settings=paper: changes nothing for backbone vgg16_fcn8s",
    ),
    (
        "source_only_seg",
        "gta5_to_cityscapes,weights=none,backbone=vgg16,settings=paper",
        "settings=paper: changes nothing for backbone vgg16",
    ),
]


@pytest.mark.parametrize("recipe, argument, message", REFUSED)
def test_an_argument_without_effect_or_sense_is_an_error_of_one_line(recipe, argument, message):
    with pytest.raises(ValueError) as error:
        recipes.get_config(recipe, argument)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_any_pair_of_known_street_sets_is_a_variant():
    """In their own splits, over the classes that both have, with the settings of its source."""
    pairs = [
        (source, target)
        for source in seg_domains.SOURCES
        for target in seg_domains.TARGETS
        if source != target
    ]
    assert len(pairs) > 40
    for source, target in pairs:
        argument = f"{source}_to_{target},source_root=A,target_root=B,weights=none"
        data = recipes.get_config("spcl", argument).data
        found = (data.source.dataset, data.target.dataset, data.evaluation.dataset)
        assert found == (source, target, target), argument
        assert (data.source.root, data.target.root, data.evaluation.root) == ("A", "B", "B")
        splits = (data.target.split, data.evaluation.split)
        assert splits == seg_domains.TARGETS[target]
        assert data.target.space == ("cityscapes_16" if source == "synthia" else "cityscapes")
    like = recipes.get_config("clan", "cityscapes_to_acdc,weights=none")
    gta5 = recipes.get_config("clan", "gta5_to_cityscapes,weights=none")
    assert like.clan == gta5.clan and like.name == "clan-cityscapes_to_acdc-random_weights"
    synthia = recipes.get_config("clan", "synthia_to_idd,weights=none")
    assert synthia.clan.adversarial.local_weight == 10.0


def test_an_oracle_stands_where_the_target_has_labels_and_only_there(tmp_path):
    argument = f"own,source={tmp_path},target={tmp_path}"
    seg_recipes = OF_OWN_FOLDERS
    for name in seg_recipes:
        assert "oracle" not in recipes.get_config(name, argument).stages, name
    (tmp_path / "labels").mkdir()
    for name in seg_recipes:
        network = large(name)["network"]
        for more in ("", f",network={network},weights=none"):
            stages = recipes.get_config(name, argument + more).stages
            # neither a ViT nor a VGG has statistics to estimate again
            has_none = name == "vfm" or ("vgg" in network and more)
            floor = {"source_only"} | (set() if has_none else {"adabn"})
            # of a table that has grown since, the new rows are last
            assert stages[-1] == "oracle" or (name == "compare_seg" and "oracle" in stages), name
            assert floor < set(stages), name
            assert "control" in stages or name == "source_only_seg"


def test_a_target_without_a_csv_has_the_sources_classes(tmp_path):
    for name in ("day", "dusk"):
        (tmp_path / name).mkdir()
    (tmp_path / "day/classes.csv").write_text("")
    argument = f"own,source={tmp_path}/day,target={tmp_path}/dusk"
    data = recipes.get_config("clan", argument).data
    assert data.source.classes == "classes.csv"
    assert data.target.classes == data.evaluation.classes == f"{tmp_path}/day/classes.csv"
    (tmp_path / "dusk/classes.csv").write_text("")
    assert recipes.get_config("clan", argument).data.target.classes == "classes.csv"
    with pytest.raises(ValueError, match="has no folder labels, so there is nothing to measure on"):
        recipes.get_config("clan", f"{argument},evaluation={tmp_path}/dusk")


# those without an ASPP of DeepLab's, and those whose VGG is not here
WITHOUT_VGG = (
    *("daformer", "mic", "vfm", "advent", "minent", "maxsquare", "fda"),
    *("intrada", "pixmatch", "proda"),
)


@pytest.mark.parametrize("network, rates", [("small", (1, 1, 3, 4)), ("vgg16", (1, 2, 3, 4))])
def test_every_size_of_own_folders_follows_from_one(network, rates):
    """96x128, 48x64 with ASPP's rates in the proportion of the published to their maps, square
    crops as high as the frame, and edges that reach them.
    """
    size = {"small": "48x64", "vgg16": "96x128"}[network]
    height, width = map(int, size.split("x"))
    for name in OF_OWN_FOLDERS:
        if name == "vfm" or (name in WITHOUT_VGG and network == "vgg16"):
            continue
        argument = f"own,source=A,target=B,size={size},network={network}"
        config = recipes.get_config(
            name, argument + ("" if network == "small" else ",weights=none")
        )
        assert config.model.aspp_rates == rates, name
        for transform in config.data.transforms.values():
            cropped = transform.shorter_edge is not None
            side = transform.size[0] if "source_only" in config.data.transforms else height
            assert transform.size == ((side, side) if cropped else (height, width)), name
            assert transform.scale_range is None
            assert not cropped or transform.shorter_edge[0] >= transform.size[0]
        for stage in config.stages:
            assert config[stage].get("target_hw", (height, width)) == (height, width)
