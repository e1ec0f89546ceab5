"""The benchmark of the photos' input still runs; its numbers are nobody's test."""

import photo_files
import pytest

from benchmarks import photo_input


@pytest.mark.slow
def test_it_prints_a_row_of_every_way(tmp_path, capsys):
    photo_files.write_images(tmp_path, *(f"a/x/{i}.jpg" for i in range(6)))
    photo_input.main([f"--root={tmp_path}", "--domain=a", "--size=16", "--batches=2"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == ["decoded", "filling", "kept"]
    assert all(float(row[1].replace(",", "")) > 0 for row in rows)
