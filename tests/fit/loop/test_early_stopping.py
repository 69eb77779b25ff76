import math

from strokelabel.fit.loop.objective import BestValidation


def test_the_first_number_is_the_best_until_a_higher_one_comes():
    best = BestValidation()
    assert [best.update(value, step) for step, value in enumerate([0.2, 0.2, 0.1, 0.3])] == [
        True,
        False,
        False,
        True,
    ]
    assert (best.metric, best.step, best.validations_since) == (0.3, 3, 0)


def test_an_undefined_metric_is_never_the_best_and_does_not_hide_later_ones():
    best = BestValidation()
    assert [best.update(value, step) for step, value in enumerate([math.nan, 0.1, math.nan])] == [
        False,
        True,
        False,
    ]
    assert (best.metric, best.validations_since) == (0.1, 1)


def test_patience_is_the_number_of_validations_in_a_row_that_are_no_better():
    best = BestValidation(0.5, 10)
    exhausted = []
    for step in range(3):
        best.update(0.4, step)
        exhausted.append(best.is_exhausted(2))
    assert exhausted == [False, True, True]
    assert not best.is_exhausted(0)


def test_of_a_loss_the_lowest_is_the_best():
    class Objective:
        metric = "loss"

    best = BestValidation.of(Objective())  # type: ignore[arg-type]
    assert [best.update(value, step) for step, value in enumerate([0.5, 0.6, math.nan, 0.4])] == [
        True,
        False,
        False,
        True,
    ]
    assert (best.metric, best.step) == (0.4, 3)
