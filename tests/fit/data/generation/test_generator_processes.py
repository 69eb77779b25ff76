"""Images made by other processes: the same ones, and no hang whatever happens to a process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing import active_children
from pathlib import Path

import pytest

from strokelabel.errors import DataError, RecipeError, TrainingError
from strokelabel.fit.config import TrainingConfig
from strokelabel.fit.data.generation.pool import LocalSource
from strokelabel.fit.data.generation.processes import GeneratorProcesses
from strokelabel.fit.data.generation.replay import ReplayConfig
from strokelabel.fit.data.generation.stream import ReplayStream
from strokelabel.fit.data.recipe_streams import generator_places, make_streams
from strokelabel.fit.loop.prefetch import PrefetchStream
from strokelabel.synthesis.prepared.dataset import PreparedData
from support.noise_images import SHAPE, Images, assert_equal, open_images, open_nothing, open_troubled
from support.tiny_prepared import make_recipe

TESTS = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def pair() -> Iterator[GeneratorProcesses]:
    """Two processes, groups of two images."""
    source = GeneratorProcesses(open_images, ["cpu", "cpu"], SHAPE, together=2)
    yield source
    source.close()


@pytest.fixture(scope="module")
def troubled() -> Iterator[GeneratorProcesses]:
    source = GeneratorProcesses(open_troubled, ["cpu"], SHAPE)
    yield source
    source.close()


def test_images_are_those_of_the_stream_whoever_makes_them(pair):
    asked = {group: pair.submit(group) for group in (7, 0, 3, 12, 1, 2, 5)}
    for group, made in asked.items():
        assert_equal(made.result(60), Images().items([2 * group, 2 * group + 1]))


def test_a_replayed_stream_is_the_same_with_processes_and_without(pair):
    config = ReplayConfig(reuse=3, pool=6, together=2)
    ours = PrefetchStream(ReplayStream(pair, config, 4, seed=2))
    theirs = ReplayStream(LocalSource(Images(), 2), config, 4, seed=2)
    for step in (*range(12), 3, 40, 41, 2):
        assert_equal(ours.batch(step), theirs.batch(step))
    ours.close()


class Recorded:
    """A source that notes what it is asked for, and when it is far enough ahead."""

    def __init__(self, ahead: int) -> None:
        self.ahead = ahead
        self.asked: list[int] = []
        self._local = LocalSource(Images())

    def submit(self, group):
        self.asked.append(group)
        return self._local.submit(group)


def test_what_the_next_items_need_is_asked_for_ahead_and_nothing_twice():
    source = Recorded(ahead=4)
    stream = ReplayStream(source, ReplayConfig(reuse=3, pool=5), 4, seed=1)
    stream.batch(0)
    assert source.asked == [0, 1, 2, 3, 4, 5]
    for step in range(1, 30):
        stream.batch(step)
    assert source.asked == list(range(max(source.asked) + 1))
    assert 40 + 4 <= len(source.asked) <= 40 + 5


def test_a_resumed_stream_asks_at_once_for_all_that_its_pool_lacks():
    source = Recorded(ahead=6)
    stream = ReplayStream(source, ReplayConfig(reuse=3, pool=50), 1, seed=1)
    stream.batch(300)
    needed = []
    for position in range(300, 400):
        number = stream.draw(position).number
        if number not in needed:
            needed.append(number)
    assert source.asked == needed[:7]


def test_processes_that_share_a_stream_ask_for_their_own_images_alone():
    source = Recorded(ahead=3)
    ReplayStream(source, ReplayConfig(reuse=1, pool=1), 2, seed=1, stride=4).batch(1)
    assert source.asked == [2, 3, 10, 11, 18]


def test_an_image_that_cannot_be_made_fails_alone_and_says_why(troubled):
    with pytest.raises(DataError, match="image 3 has no lesion"):
        troubled.submit(3).result(60)
    with pytest.raises(TrainingError, match="failed at making image 5: ZeroDivisionError: five") as caught:
        troubled.submit(5).result(60)
    assert "noise_images.py" in caught.value.__notes__[0]
    assert_equal(troubled.submit(4).result(60), Images().items([4]))


def test_data_that_cannot_be_opened_are_reported_to_whoever_waits():
    source = GeneratorProcesses(open_nothing, ["cpu"], SHAPE)
    with pytest.raises(DataError, match="no data on cpu"):
        source.submit(0).result(60)
    with pytest.raises(DataError, match="no data on cpu"):
        source.submit(1).result(60)
    source.close()


def test_images_of_another_shape_than_announced_are_an_error():
    source = GeneratorProcesses(open_images, ["cpu"], (6, 8, 12))
    with pytest.raises(TrainingError, match=r"expected \(1, 1, 6, 8, 12\) torch.float32"):
        source.submit(0).result(60)
    source.close()


def test_a_process_that_dies_ends_the_waiting_of_all():
    source = GeneratorProcesses(open_troubled, ["cpu"], SHAPE)
    asked = [source.submit(group) for group in (0, 666, 1)]
    assert_equal(asked[0].result(60), Images().items([0]))
    for made in (*asked[1:], source.submit(2)):
        with pytest.raises(TrainingError, match="ended with exit code -9 while making group 666"):
            made.result(60)
    source.close()


def test_closing_ends_processes_that_are_busy_and_tells_who_waits():
    before = set(active_children())
    source = GeneratorProcesses(open_troubled, ["cpu"], SHAPE)
    source.submit(0).result(60)
    asked = [source.submit(group) for group in (1000, 1001)]
    start = time.monotonic()
    source.close()
    source.close()
    assert time.monotonic() - start < 4
    for made in asked:
        with pytest.raises(TrainingError, match="ended before the image was made"):
            made.result(1)
    assert set(active_children()) == before


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, dict[str, object]], str]:
    """How the trainings of `end_trainers.py` ended, and what they wrote to standard error."""
    folder = tmp_path_factory.mktemp("ends")
    done = subprocess.run(
        [sys.executable, "-m", "support.end_trainers", str(folder)],
        cwd=TESTS,
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    return json.loads((folder / "ends.json").read_text()), done.stderr


@pytest.mark.parametrize("name", ["interrupted", "terminated"])
def test_a_signal_to_all_of_a_terminal_stops_the_training_in_good_order(ends, name):
    assert ends[0][name] == {"ran": True, "code": 0, "stopped_by": "request"}
    assert "KeyboardInterrupt" not in ends[1] and "Error" not in ends[1]


def test_generator_processes_die_with_a_trainer_that_is_killed(ends):
    assert ends[0]["killed"] == {"ran": True, "code": -signal.SIGKILL, "stopped_by": ""}


def test_a_recipe_s_images_are_made_by_its_generators(prepared_folder, tmp_path):
    data = PreparedData.load(prepared_folder)
    training = {"steps": 6, "threads": 1, "batch_size": 2}
    plain = make_streams(make_recipe(training=training), data, "cpu", tmp_path)
    streams = make_streams(make_recipe(training=training | {"generators": 1}), data, "cpu", tmp_path)
    try:
        for step in (0, 1):
            assert_equal(streams.training.batch(step), plain.training.batch(step))
    finally:
        streams.close()
        plain.close()


def test_processes_on_a_gpu_are_refused_where_the_network_is_on_a_cpu():
    config = TrainingConfig(steps=1, gpu_generators=2, generators=1)
    with pytest.raises(RecipeError, match=r"gpu_generators: expected 0 .* on the cpu, got 2"):
        generator_places(config, "cpu")
    assert generator_places(config, "cuda:1") == ["cuda:1", "cuda:1", "cpu"]
