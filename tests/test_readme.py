"""What README.md, CONTRIBUTING.md and docs/ show is true: commands can be read, whatever they name
exists, and README's table is what its first command ends in.
"""

import ast
import importlib
import json
import pathlib
import re
import runpy
import shlex
import tomllib

import pytest
import tiny
import yaml
from absl import flags
from PIL import Image

from benchmarks import groups as benchmark_groups
from dajax import tasks
from dajax.cli import command as command_line  # defines the flags
from dajax.cli import recipe, sweep_plan, table
from dajax.engine.config_check import flatten
from dajax.engine.old_config import with_added_keys
from dajax.methods import METHODS

DOCS = tiny.ROOT / "docs"
README, CONTRIBUTING = tiny.ROOT / "README.md", tiny.ROOT / "CONTRIBUTING.md"
PAGES = [README, CONTRIBUTING, *sorted(DOCS.rglob("*.md"))]
METHOD_PAGES = sorted((DOCS / "methods").glob("*.md"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
# Programs that are not of this repository, which a page may show.
FOREIGN = {
    "git",
    "cd",
    "tfds",
    "sha256sum",
    "ruff",
    "mkdocs",
    "pre-commit",
    "nvidia-smi",
    "tensorboard",
}


def name_of(path):
    """How a page is called in messages."""
    return str(path.relative_to(tiny.ROOT))


def blocks(path, language):
    """Text of the fenced blocks of a page in one language."""
    return [text for found, text in FENCE.findall(path.read_text()) if found == language]


def prose(path):
    """A page without its fenced blocks."""
    return FENCE.sub("", path.read_text())


def commands_of(path):
    """The single commands of a page, as lists of words: fenced as sh, or indented; of scripts,
    fenced as bash, those of run.py.
    """
    scripts = "\n".join(blocks(path, "bash"))
    found = [["python", *shlex.split(x)] for x in re.findall(r'python (run\.py [^"&\n]*)', scripts)]
    lines = [line for block in blocks(path, "sh") for line in block.splitlines()]
    lines += re.findall(r"^    (\S*(?:python3?|pip|dajax) .*)$", prose(path), re.M)
    for line in lines:
        for part in line.split(" #")[0].split("&&"):
            words = shlex.split(part)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):  # of the environment
                words.pop(0)
            found += [words] if words else []
    return found


# {command: the first page that shows it}
COMMANDS = {tuple(words): name_of(path) for path in PAGES[::-1] for words in commands_of(path)}
RECIPES = [words for words in COMMANDS if words[0] == "dajax" or words[1:2] == ("run.py",)]
OTHERS = [words for words in COMMANDS if words not in RECIPES]
SNIPPETS = [(name_of(path), text) for path in PAGES for text in blocks(path, "python")]


def functions_of(path):
    """(function, file) for "`cdd` in `dajax/losses/cdd.py`"; "the same file" is the one before."""
    names, place = r"((?:`\w+`(?:, | and )?)+)", r"(the same file|`[\w/]+\.py`)"
    file = None
    for found, where in re.findall(rf"{names} in {place}", " ".join(prose(path).split())):
        file = file if where == "the same file" else where.strip("`")
        yield from ((name, file) for name in re.findall(r"`(\w+)`", found))


FUNCTIONS = sorted({pair for path in PAGES for pair in functions_of(path)})


def test_there_is_something_to_check():
    """An empty list of cases would be skipped without a word."""
    of_readme = [words for words in RECIPES if COMMANDS[words] == "README.md"]
    sweeps = [words for words in RECIPES if any(word.startswith("--seeds=") for word in words)]
    assert len(of_readme) > 4 and len(sweeps) > 2 and len(RECIPES) > 30
    assert len(OTHERS) > 10 and len(SNIPPETS) > 1 and len(PAGES) > 20 and len(FUNCTIONS) > 40


def test_the_two_commands_are_readmes_first():
    first, second = re.findall(r"^    (.*)$", README.read_text(), re.M)[:2]
    assert "-r requirements-cpu.txt" in first and first.endswith("run.py --config=configs/can.py")
    assert "-r tests/requirements.txt" in second and second.endswith("-m pytest tests -q")


@pytest.mark.parametrize("words", RECIPES, ids=" ".join)
def test_recipes_can_be_read(words, tmp_path):
    """With every argument and every override, in the modes that there are; a sweep is planned. What
    has no recipe predicts with a workdir.
    """
    words = words[1 if words[0] == "dajax" else 2 :]
    overrides = recipe.overrides_in(words)
    given = dict(word[2:].split("=", 1) for word in words if word not in overrides)
    modes = flags.FLAGS["mode"].parser.enum_values
    assert command_line and given.get("mode", "train") in modes
    own = command_line._OF_MODE.get(given.get("mode"))
    if own:
        needed = {name for name, example in own.items() if example is not None}
        known = {"mode", "config", "workdir", *own}
        assert needed <= given.keys() <= known
        assert {"config", "workdir", "workdirs"} & given.keys()
        for name in ("folders", "format"):
            assert given.get(name) in (None, *flags.FLAGS[name].parser.enum_values)
        return
    assert given.keys() <= {"config", "mode", "seeds", "tasks", "parallel", "workdir"}
    config = recipe.read(given["config"], overrides)
    if config.task == "table":
        assert "tasks" not in given and sweep_plan.numbers_of(given.get("seeds"), overrides, 0)
        assert table.plan(config, (0,), overrides, tmp_path)
        return
    assert config.stages and all("method" in config[stage] for stage in config.stages)
    if "seeds" in given or "tasks" in given:
        seeds, several = given.get("seeds"), given.get("tasks")
        runs = sweep_plan.plan(given["config"], seeds, several, overrides, tmp_path, 0)
        assert len(runs) == len((seeds or "0").split(",")) * len((several or "").split(";"))
        assert int(given.get("parallel", 1)) > 0


@pytest.mark.parametrize("words", OTHERS, ids=" ".join)
def test_other_commands_name_what_exists(words):
    program = pathlib.PurePath(words[0]).name
    if program in ("python", "python3"):
        check_python(words[1:])
    elif program == "pip":
        check_pip(words[1:])
    else:
        assert program in FOREIGN, f"{COMMANDS[words]}: who knows {program}?"


def check_python(words):
    """Of a command that begins with python: a module, a line of code, or a script with flags."""
    if words[0] == "-m":
        assert words[1] in ("venv", "pytest", "dajax", "pip", "benchmarks"), words
        named = [word for word in words[2:] if word.startswith(("tests", "configs"))]
        assert all((tiny.ROOT / word.split("::")[0]).exists() for word in named), words
        if words[1] == "benchmarks":
            given = dict(word.removeprefix("--").partition("=")[::2] for word in words[2:])
            assert given.keys() <= {"list", "only", "quick", "out"}, words
            assert benchmark_groups.chosen(given.get("only")), words
    elif words[0] == "-c":
        compile(words[1], "-c", "exec")
    else:
        script = tiny.ROOT / words[0]
        assert script.is_file(), words
        known = set(re.findall(r'add_argument\(\s*"(?:--)?([\w-]+)"', script.read_text()))
        overrides = recipe.overrides_in(words) if script.stem == "seeds_table" else []
        flags_of_its_own = [word for word in words[1:] if word not in overrides]
        given = [word[2:].split("=")[0] for word in flags_of_its_own if word.startswith("--")]
        assert set(given) <= known, f"{words}: the script has {sorted(known)}"
        if script.stem == "seeds_table":
            file, _, rows = runpy.run_path(str(script))["TABLES"][words[1]]
            config = recipe.read(file, overrides)
            assert config.stages and set(config.stages) & set(rows), words


def check_pip(words):
    """Of `pip install`: its requirement files, and its extras of this package."""
    assert words[0] == "install", words
    for flag, value in zip(words, words[1:], strict=False):
        assert flag != "-r" or (tiny.ROOT / value).is_file(), value
    project = tomllib.loads((tiny.ROOT / "pyproject.toml").read_text())["project"]
    for extra in re.findall(r"\.\[([\w,]+)\]", " ".join(words)):
        assert set(extra.split(",")) <= set(project["optional-dependencies"]), words


@pytest.mark.parametrize("page,text", SNIPPETS, ids=[page for page, _ in SNIPPETS])
def test_python_snippets_compile_and_import_what_exists(page, text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                assert exists(node.module, alias.name), f"{page}: {node.module}.{alias.name}"


def exists(module, name):
    """Whether `from module import name` works: an attribute, or a module of the package."""
    if hasattr(importlib.import_module(module), name):
        return True
    return importlib.util.find_spec(f"{module}.{name}") is not None


def slugs(path):
    """Anchors of a page's headings, as mkdocs and GitHub both make them."""
    titles = re.findall(r"^#+ (.*)$", prose(path), re.M)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title) for title in titles]
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", x).strip().lower()) for x in plain}


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_resolve(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), f"{target}"
        assert not anchor or anchor in slugs(there), f"{target}: no such heading"


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_files_that_are_named_exist(path):
    named = r"`((?:dajax|configs|data_pipeline|tests|notebooks|benchmarks|docs)/[\w./]*)`"
    for name in re.findall(named, prose(path)):
        assert "NAME" in name or (tiny.ROOT / name).exists(), name


@pytest.mark.parametrize("name,file", FUNCTIONS, ids=[" in ".join(pair) for pair in FUNCTIONS])
def test_functions_stand_in_the_files_that_are_named(name, file):
    text = (tiny.ROOT / file).read_text()
    assert re.search(rf"^\s*(?:def|class) {name}\b|^{name} = ", text, re.M)


def test_every_method_has_a_row_in_readme():
    """Which links to its page, or to its file where nobody has written a page yet."""
    text = README.read_text()
    for name, method in METHODS.items():
        page, file = f"docs/methods/{name}.md", method.__name__.replace(".", "/") + ".py"
        assert f"({page})" in text or f"({file})" in text, f"README has no row for {name}"
        if (tiny.ROOT / page).exists():
            said = (tiny.ROOT / page).read_text()
            assert f'`method="{name}"`' in said and f"`{file}`" in said, page


def test_adding_a_method_shows_the_files_of_its_example():
    """The loss, the method and the recipe word for word, and the beginning of the test."""
    page = DOCS / "adding_a_method.md"
    files = re.findall(r"^\| the \w+ \| `([\w/]+\.py)`", prose(page), re.M)
    assert len(files) == 4
    for name, shown in zip(files, blocks(page, "python"), strict=True):
        text = (tiny.ROOT / name).read_text()
        assert text == shown or name.startswith("tests/") and text.startswith(shown), name


def test_pages_and_navigation_agree():
    config = yaml.safe_load((tiny.ROOT / "mkdocs.yml").read_text())

    def files(entries):
        for entry in entries:
            (value,) = entry.values()
            yield from files(value) if isinstance(value, list) else [value]

    listed = list(files(config["nav"]))
    pages = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    assert len(listed) == len(set(listed)) and set(listed) == pages


def test_readmes_table_is_what_its_first_command_ends_in():
    """The table is that of a stored run of seed 0, whose config is the recipe's of today."""
    stored = json.loads((tiny.ROOT / "tests" / "golden" / "digits_seed0.json").read_text())
    table = tasks.get("classification").table(stored["stages"], None)
    assert table in "\n".join(blocks(README, "text"))
    today = flatten(json.loads(recipe.read("configs/can.py", []).to_json()))
    then = flatten(with_added_keys(stored["config"]))

    def without_runtime(flat):
        return {key: value for key, value in flat.items() if not key.startswith("runtime.")}

    assert without_runtime(then) == without_runtime(today)


def test_readme_fits_on_two_screens():
    assert len(README.read_text().splitlines()) <= 130


def test_pictures_are_small():
    pictures = sorted((DOCS / "pictures").iterdir())
    assert pictures
    for path in pictures:
        assert path.stat().st_size < 400_000, path
        with Image.open(path) as picture:
            assert picture.format == "PNG" and picture.width >= 600, path


def test_citation_names_a_paper_for_every_method_page():
    """The citation file can be read, and its references are of types that the format has."""
    cited = yaml.safe_load((tiny.ROOT / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0" and cited["type"] == "software" and cited["authors"]
    for entry in cited["references"]:
        assert entry["type"] in ("article", "conference-paper"), entry["title"]
        assert entry["title"] and entry["authors"] and 2000 < entry["year"] < 2030
    cited_titles = " ".join(
        entry["title"].lower().replace("-", " ") for entry in cited["references"]
    )
    for path in METHOD_PAGES:
        head = path.read_text().split("##")[0].replace("\n", " ")
        for title in re.findall(r"(?<!\*)\*([^*]{25,})\*(?!\*)", head):
            assert title.lower().replace("-", " ") in cited_titles, f"{path.stem}: {title}"
