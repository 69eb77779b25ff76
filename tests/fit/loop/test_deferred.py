import torch

from strokelabel.fit.loop.record import DeferredRows


def test_on_the_cpu_rows_come_back_at_once_as_numbers_in_their_order():
    rows = DeferredRows(torch.device("cpu"))
    given = {"step": 3, "loss": torch.tensor(1 / 3), "learning_rate": 0.1, "norm": torch.tensor(float("inf"))}
    (row,) = rows.add(given)
    assert row == {"step": 3, "loss": torch.tensor(1 / 3).item(), "learning_rate": 0.1, "norm": float("inf")}
    assert list(row) == list(given)
    assert rows.flush() == []


def test_a_row_of_plain_numbers_is_kept_as_it_is():
    assert DeferredRows(torch.device("cpu")).add({"step": 1, "loss": 0.5}) == [{"step": 1, "loss": 0.5}]
