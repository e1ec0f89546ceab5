"""Whose predictions a folder holds, and which are done."""

import json

import pytest

from dajax.errors import UserError
from dajax.predict.out_folder import MARKER, RECORDS, OutFolder

IDENTITY = {
    "task": "classification",
    "model": "abc",
    "stage": "can",
    "step": 7,
    "images": "/photos",
    "window": None,
    "workdir": "/runs/x",
}


def record(name):
    return {"file": f"{name}.jpg", "name": name, "stamp": [3, 4]}


def test_what_is_done_is_known_to_the_next_call(tmp_path):
    with OutFolder(tmp_path / "out", IDENTITY) as out:
        out.add([record("a"), record("b")])
    with OutFolder(tmp_path / "out", IDENTITY) as out:
        assert out.records == {"a.jpg": record("a"), "b.jpg": record("b")}
    assert json.loads((tmp_path / "out" / MARKER).read_text())["step"] == 7


def test_a_line_without_its_end_is_not_done_and_the_next_one_is_whole(tmp_path):
    with OutFolder(tmp_path / "out", IDENTITY) as out:
        out.add([record("a")])
    with open(tmp_path / "out" / RECORDS, "a") as file:
        file.write(json.dumps(record("b"))[:9])
    with OutFolder(tmp_path / "out", IDENTITY) as out:
        assert list(out.records) == ["a.jpg"]
        out.add([record("c")])
    with OutFolder(tmp_path / "out", IDENTITY) as out:
        assert list(out.records) == ["a.jpg", "c.jpg"]


def test_damaged_lines_are_predicted_again(tmp_path):
    with OutFolder(tmp_path / "out", IDENTITY) as out:
        out.add([record("a")])
    path = tmp_path / "out" / RECORDS
    path.write_text('nonsense\n3\n{"file": "b.jpg"}\n' + path.read_text())
    with OutFolder(tmp_path / "out", IDENTITY) as out:
        assert list(out.records) == ["a.jpg"]


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"model": "def"}, "another model, stage can at step 7 of /runs/x; this is stage can at"),
        ({"stage": "source_only"}, "another stage, stage can .* this is stage source_only at"),
        ({"step": 9}, "another step, stage can at step 7 .* at step 9 of"),
        ({"images": "/other"}, "another --images, /photos; this is /other: name another --out"),
        ({"window": [4, 4]}, "another --window"),
        ({"task": "segmentation"}, "another task"),
    ],
)
def test_predictions_of_something_else_are_refused(tmp_path, changes, says):
    OutFolder(tmp_path / "out", IDENTITY).close()
    with pytest.raises(UserError, match=f"^--out=.*: holds predictions of {says}"):
        OutFolder(tmp_path / "out", IDENTITY | changes)


def test_a_workdir_that_was_moved_is_the_same_model(tmp_path):
    OutFolder(tmp_path / "out", IDENTITY).close()
    OutFolder(tmp_path / "out", IDENTITY | {"workdir": "/elsewhere"}).close()


def test_a_folder_that_holds_other_things_is_left_alone(tmp_path):
    for name in ("a.txt", "b.txt", "c", "d"):
        (tmp_path / name).write_text("")
    with pytest.raises(UserError, match=r"holds other things \(a.txt, b.txt, c and 1 more\)"):
        OutFolder(tmp_path, IDENTITY)
    assert len(list(tmp_path.iterdir())) == 4
    with pytest.raises(UserError, match="a.txt: is a file; name a folder"):
        OutFolder(tmp_path / "a.txt", IDENTITY)
    with pytest.raises(UserError, match="^--out=.*a.txt/x: cannot be made .Not a directory.; name"):
        OutFolder(tmp_path / "a.txt" / "x", IDENTITY)


def test_a_damaged_marker_is_one_line(tmp_path):
    OutFolder(tmp_path / "out", IDENTITY).close()
    (tmp_path / "out" / MARKER).write_text("{}")
    with pytest.raises(UserError, match="predictions.json: is damaged .* name another --out"):
        OutFolder(tmp_path / "out", IDENTITY)


def test_two_processes_do_not_write_into_one_folder(tmp_path):
    with OutFolder(tmp_path / "out", IDENTITY):
        with pytest.raises(UserError, match="another process is writing its predictions there"):
            OutFolder(tmp_path / "out", IDENTITY)
