"""The table of how fast a training runs."""

import csv
from types import SimpleNamespace

from strokelabel.fit.offline_training.training import SpeedTable


def test_each_interval_counts_what_was_done_in_it_alone(tmp_path):
    images = SimpleNamespace(made=10, delivered=40, waited_seconds=5.0)
    table = SpeedTable(tmp_path / "speed.csv", 100, images)
    for step, made, delivered in ((104, 12, 48), (106, 13, 50)):
        images.made, images.delivered = made, delivered
        table.add(step)
    rows = list(csv.DictReader((tmp_path / "speed.csv").open()))
    assert [(row["step"], row["fresh_share"], row["waiting_share"]) for row in rows] == [
        ("104", "0.25", "0.0"),
        ("106", "0.5", "0.0"),
    ]
    assert table.step == 106


def test_a_stream_without_a_counter_has_a_table_of_steps(tmp_path):
    table = SpeedTable(tmp_path / "speed.csv", 0, None)
    assert table.add(3).images_per_second == 0
