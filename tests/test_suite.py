"""The default suite is the same everywhere: nothing in it waits for files that a plain clone has
not, and it can find every test it names.
"""

import ast
import pathlib

import tiny

# What a default test may be skipped for: that the machine is no Linux, which CI and the users are.
OF_LINUX = ("sys.platform != 'linux'", "pathlib.Path('/proc').exists()")
FILES = sorted(pathlib.Path(tiny.ROOT, "tests").rglob("test_*.py"))


def cases_of(path):
    """(name, names of its arguments, text of its decorators) of every test in a file, and whether
    the whole file is slow.
    """
    tree = ast.parse(path.read_text())
    is_slow = any(
        isinstance(node, ast.Assign) and ast.unparse(node) == "pytestmark = pytest.mark.slow"
        for node in tree.body
    )
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            marks = " ".join(ast.unparse(mark) for mark in node.decorator_list)
            yield (
                node.name,
                {argument.arg for argument in node.args.args},
                "pytest.mark.slow" if is_slow else marks,
            )


def test_no_default_test_needs_real_pictures_or_is_skipped():
    found = [(path.name, *test) for path in FILES for test in cases_of(path)]
    assert len(found) > 500
    needs = [test for test in found if "shared_data" in test[2]]
    assert needs and all("pytest.mark.slow" in marks for *_, marks in needs), (
        "needs ../shared: mark it slow, and draw its like for the rest"
    )
    marks = {(file, name): marks for file, name, _, marks in found if "skip" in marks}
    for test, mark in marks.items():
        assert "pytest.mark.slow" in mark or any(reason in mark for reason in OF_LINUX), test


def test_no_test_hides_another_of_its_name():
    """Two functions of one name in a file: the first never runs."""
    for path in FILES:
        names = [name for name, *_ in cases_of(path)]
        assert len(names) == len(set(names)), path
