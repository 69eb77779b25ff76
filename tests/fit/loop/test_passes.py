"""Passes into lasting gradient buffers, as CUDA graphs need them; on a CPU the same code without the recording."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from strokelabel.fit.data.stream import Batch
from strokelabel.fit.loop.passes import Passes, kind_of
from strokelabel.fit.segmentation import SegmentationObjective
from support.tiny_run import CubeStream, assert_same_training, tiny_config, tiny_network, tiny_run


@pytest.mark.parametrize(
    "changes", [{}, {"accumulate": 3}, {"precision": "bf16-mixed"}, {"channels_last": True}]
)
def test_a_training_with_lasting_gradients_is_the_same_to_the_last_bit(tmp_path, changes):
    plain = tiny_run(tmp_path / "plain", tiny_config(**changes))
    lasting = tiny_run(tmp_path / "lasting", tiny_config(**changes, cuda_graphs=True))
    assert_same_training(lasting, plain)


def test_gradients_are_added_to_buffers_that_are_never_replaced():
    network, objective = tiny_network(dropout=0), SegmentationObjective()
    passes = Passes(network, objective, "32-true", divisor=2)
    buffers = [parameter.grad for parameter in network.parameters()]
    batch = CubeStream().batch(0)
    loss = passes(batch, 0)
    once = [buffer.clone() for buffer in buffers]
    passes(batch, 0)
    for buffer, parameter, first in zip(buffers, network.parameters(), once, strict=True):
        assert parameter.grad is buffer
        torch.testing.assert_close(buffer, 2 * first)
    with torch.no_grad():
        expected = objective.loss(network(batch.image), batch, 0) / 2
    torch.testing.assert_close(loss, expected)


def test_a_step_without_finite_gradient_leaves_no_trace_in_the_buffers(tmp_path):
    class Broken(CubeStream):
        def batch(self, step):
            batch = super().batch(step)
            return replace(batch, image=torch.full_like(batch.image, torch.nan)) if step == 3 else batch

    result = tiny_run(tmp_path, tiny_config(cuda_graphs=True), stream=Broken())
    assert result.skipped == 1


def test_batches_are_of_one_kind_where_the_same_kernels_are_launched():
    batch = CubeStream(batch_size=2).batch(0)
    kind = kind_of(batch, 1)
    hash(kind)
    assert kind_of(CubeStream(batch_size=2).batch(1), 1) == kind
    others = [
        kind_of(batch, 0),
        kind_of(replace(batch, weight=0.6), 1),
        kind_of(replace(batch, partial=torch.tensor([False, True])), 1),
        kind_of(CubeStream(batch_size=3).batch(0), 1),
        kind_of(Batch(batch.image.half(), batch.target, batch.partial), 1),
    ]
    assert len({kind, *others}) == 6


def test_graphs_are_refused_where_a_scaler_changes_from_step_to_step():
    with pytest.raises(ValidationError, match="cuda_graphs: expected the precision bf16-mixed or 32-true"):
        tiny_config(cuda_graphs=True, precision="16-mixed")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_recorded_passes_give_the_losses_of_plain_ones(tmp_path, precision):
    changes = {"precision": precision, "validate_every": 0, "tf32": False}
    rows = {}
    for graphs in (False, True):
        result = tiny_run(
            tmp_path / str(graphs), tiny_config(**changes, cuda_graphs=graphs), device="cuda", dropout=0.0
        )
        rows[graphs] = torch.tensor(
            [float(line.split(",")[1]) for line in result.metrics.read_text().split()[1:]]
        )
    torch.testing.assert_close(rows[True], rows[False], rtol=0.05, atol=0.05)
