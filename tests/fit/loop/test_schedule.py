import pytest
from pydantic import ValidationError

from strokelabel.fit.config import TrainingConfig
from strokelabel.fit.loop.optimizer import learning_rate
from support.tiny_run import tiny_config, tiny_run


def test_the_rate_falls_from_its_peak_to_zero_as_a_power_of_what_remains():
    config = tiny_config(steps=200, learning_rate=0.01)
    assert learning_rate(0, config) == 0.01
    assert learning_rate(50, config) == pytest.approx(0.01 * 0.75**0.9)
    assert learning_rate(200, config) == 0
    assert learning_rate(201, config) == 0


def test_the_rate_rises_first_when_asked_to():
    config = tiny_config(steps=200, learning_rate=0.01, warmup_steps=9)
    rates = [learning_rate(step, config) for step in range(11)]
    assert rates[0] == pytest.approx(0.001)
    assert rates == sorted(rates[:10]) + rates[10:]
    assert rates[10] == learning_rate(10, tiny_config(steps=200, learning_rate=0.01))


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"learning_rate": -1},
        {"learning_rate": float("nan")},
        {"precision": "64"},
        {"ema_decay": 1.0},
        {"keep_last": 1},
        {"stpes": 5},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        TrainingConfig(**({"steps": 10} | wrong))


def test_a_cosine_stays_then_falls_to_its_floor():
    config = tiny_config(
        steps=100, learning_rate=0.01, schedule="cosine", constant_fraction=0.3, final_fraction=0.05
    )
    assert [learning_rate(step, config) for step in (0, 15, 30)] == [0.01] * 3
    assert learning_rate(65, config) == pytest.approx(0.005), "half way down the cosine"
    assert learning_rate(100, config) == learning_rate(500, config) == pytest.approx(0.0005)
    rates = [learning_rate(step, config) for step in range(101)]
    assert rates == sorted(rates, reverse=True)
    assert learning_rate(0, config.model_copy(update={"warmup_steps": 9})) == pytest.approx(0.001)


@pytest.mark.parametrize("schedule", ["polynomial", "cosine"])
def test_a_schedule_of_minutes_goes_by_the_time_alone(schedule):
    by_time = tiny_config(steps=10**9, schedule=schedule, schedule_minutes=2, warmup_steps=0)
    by_steps = tiny_config(steps=120, schedule=schedule, warmup_steps=0)
    for seconds in (0, 31, 90, 119):
        rates = learning_rate(7, by_time, seconds), learning_rate(seconds, by_steps)
        assert rates[0] == pytest.approx(rates[1], rel=1e-6)
    assert learning_rate(7, by_time, 500) == pytest.approx(learning_rate(120, by_steps), abs=1e-12)


def test_a_run_of_minutes_ends_with_its_schedule(tmp_path):
    result = tiny_run(tmp_path, tiny_config(steps=10**9, schedule_minutes=0.01, validate_every=0))
    assert (result.stopped_by, result.finished) == ("schedule", True)
    assert 0.6 <= result.seconds < 10
    again = tiny_run(tmp_path, tiny_config(steps=10**9, schedule_minutes=0.01, validate_every=0))
    assert (again.steps, again.stopped_by) == (result.steps, "schedule")
