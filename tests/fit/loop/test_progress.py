from strokelabel.fit.loop.progress import ProgressDisplay, TrainingProgress


def progress(step: int, best: float | None = None) -> TrainingProgress:
    return TrainingProgress(step, steps=100, loss=1.5, seconds_per_step=0.25, best_metric=best)


def test_away_from_a_terminal_there_is_a_line_at_the_start_and_the_end_and_rarely_between(capsys):
    with ProgressDisplay(steps=100, done=0) as display:
        for step in range(1, 101):
            display.show(progress(step, best=0.7))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "step 1/100  loss 1.5000  0.25 s/step  best lesion Dice 0.700",
        "step 100/100  loss 1.5000  0.25 s/step  best lesion Dice 0.700",
    ]


def test_a_display_that_is_off_writes_nothing(capsys):
    with ProgressDisplay(steps=100, done=0, enabled=False) as display:
        display.show(progress(100))
    assert capsys.readouterr() == ("", "")
