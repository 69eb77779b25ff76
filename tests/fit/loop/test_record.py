import pytest

from strokelabel.errors import CheckpointError
from strokelabel.fit.loop.record import TrainingRecord, read_metrics


def write(folder, steps, start=0):
    record = TrainingRecord(folder, start, ("dice",))
    for step in steps:
        record.add({"step": step, "loss": step / 3, "learning_rate": 1e-3, "gradient_norm": float("inf")})
    record.sync()
    record.close()


def test_numbers_survive_to_the_last_bit_and_empty_cells_stay_empty(tmp_path):
    write(tmp_path, [1, 2])
    rows = read_metrics(tmp_path / "metrics.csv")
    assert rows[1] == {"step": 2, "loss": 2 / 3, "learning_rate": 1e-3, "gradient_norm": float("inf")}


def test_rows_after_the_step_resumed_from_are_cut_off(tmp_path):
    write(tmp_path, [1, 2, 3, 4])
    write(tmp_path, [3], start=2)
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.csv")] == [1, 2, 3]


def test_a_line_that_a_kill_cut_short_is_dropped(tmp_path):
    write(tmp_path, [1, 2])
    path = tmp_path / "metrics.csv"
    path.write_text(path.read_text()[:-4])
    assert [row["step"] for row in read_metrics(path)] == [1]


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "step,loss\nx,y\n"])
def test_another_programs_table_is_refused_and_left_alone(tmp_path, text):
    path = tmp_path / "metrics.csv"
    path.write_text(text)
    with pytest.raises(CheckpointError, match="move it away"):
        TrainingRecord(tmp_path, 0, ("dice",))
    assert path.read_text() == text


def test_a_run_with_other_scores_does_not_continue_a_record(tmp_path):
    write(tmp_path, [1])
    with pytest.raises(CheckpointError, match="another folder"):
        TrainingRecord(tmp_path, 1, ("error",))
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.csv")] == [1]
