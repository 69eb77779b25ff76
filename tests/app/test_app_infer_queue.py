"""One segmentation at a time per device, in order, and not too many that wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from fastapi import HTTPException

from lib.infers.device_queue import InferenceQueue
from lib.refusals import BusyError, answered_as_http


def waiting(queue: InferenceQueue, count: int) -> None:
    """Return once so many wait."""
    deadline = time.monotonic() + 30
    while len(queue._line) != count:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def in_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_turns_come_one_at_a_time_and_in_order() -> None:
    queue, order, inside = InferenceQueue(), list[int](), list[int]()

    def work(number: int) -> None:
        with queue.turn():
            inside.append(number)
            assert inside == [number]
            order.append(number)
            inside.clear()

    threads = []
    with queue.turn():
        for number in range(12):
            threads.append(in_thread(lambda number=number: work(number)))  # type: ignore[misc]
            waiting(queue, number + 1)
    for thread in threads:
        thread.join()
    assert order == list(range(12))


def test_one_more_than_may_wait_is_refused_and_those_who_wait_are_served() -> None:
    queue, served = InferenceQueue(most_waiting=2), list[int]()

    def work() -> None:
        with queue.turn():
            served.append(1)

    with queue.turn():
        threads = [in_thread(work) for _ in range(2)]
        waiting(queue, 2)
        refused: list[BusyError] = []

        def one_more() -> None:
            with pytest.raises(BusyError) as caught, queue.turn():
                pass
            refused.append(caught.value)

        in_thread(one_more).join()
        assert "2 segmentations are waiting" in str(refused[0])
    for thread in threads:
        thread.join()
    assert served == [1, 1]


def test_who_gave_up_is_passed_over() -> None:
    queue, served, gone = InferenceQueue(), list[str](), threading.Event()

    def give_up() -> None:
        with pytest.raises(BusyError, match="closed the connection"), queue.turn(gone.is_set):
            served.append("who gave up")

    def wait() -> None:
        with queue.turn():
            served.append("who waited")

    with queue.turn():
        threads = [in_thread(give_up)]
        waiting(queue, 1)
        threads.append(in_thread(wait))
        waiting(queue, 2)
        gone.set()
    for thread in threads:
        thread.join()
    assert served == ["who waited"]


def test_a_turn_ends_when_its_work_fails_and_may_be_taken_again_within() -> None:
    queue = InferenceQueue(most_waiting=0)
    with pytest.raises(ValueError, match="broken"), queue.turn(), queue.turn():
        raise ValueError("broken")
    with queue.turn():
        pass


def test_busy_is_answered_by_503_and_when_to_come_back() -> None:
    with pytest.raises(HTTPException) as caught, answered_as_http():
        raise BusyError("16 segmentations are waiting.")
    assert caught.value.status_code == 503 and caught.value.detail == "16 segmentations are waiting."
    assert int((caught.value.headers or {})["Retry-After"]) > 0
