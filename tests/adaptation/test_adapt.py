"""A model is adapted to a scan: not at all without iterations, never for good, and only where that is safe."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from strokelabel.adaptation import objective
from strokelabel.adaptation.adapt import AdaptingPredictor, adapt
from strokelabel.adaptation.denoiser import LabelDenoiser
from strokelabel.adaptation.objective import EntropyObjective, mean_entropy
from strokelabel.adaptation.options import AdaptationOptions, Method
from strokelabel.adaptation.safety import OutputWatch
from strokelabel.adaptation.windows import Corner
from strokelabel.errors import OptionError
from strokelabel.inference.interruption import interruptible
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.io import Image
from strokelabel.networks.unet import UNetConfig, build_network
from support.bright_network import BrightNetwork, centred_affine, make_spec, phantom, rotation
from support.tiny_denoiser import denoiser_spec, idle_denoiser

CPU = torch.device("cpu")
LESION_MM = (9.0, -12.0, 5.0)
METHODS: tuple[Method, ...] = ("tent", "dae")


class CancelledError(Exception):
    pass


@pytest.fixture(scope="module")
def scan() -> Image:
    """An oblique scan whose lesion is not as bright as the network expects."""
    shape = (31, 44, 17)
    axes = np.array([[0, 0, -1], [-1, 0, 0], [0, 1, 0]])
    matrix = rotation((11, 0, 4)) @ axes @ np.diag([1.9, 1.6, 3.4])
    image, _ = phantom(shape, centred_affine(matrix, shape), LESION_MM)
    return Image(np.minimum(image.data, 240), image.affine, source="oblique")


@pytest.fixture
def predictor() -> Predictor:
    """A U-Net with random weights."""
    spec = make_spec()
    torch.manual_seed(3)
    return Predictor(spec, build_network(UNetConfig(**spec.network)).eval(), CPU)


def bright() -> Predictor:
    return Predictor(make_spec(), BrightNetwork(), CPU)


def denoiser() -> LabelDenoiser:
    return LabelDenoiser(idle_denoiser(), denoiser_spec(), make_spec())


def options(method: Method, iterations: int = 3) -> AdaptationOptions:
    return AdaptationOptions(method, iterations=iterations)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("tta", [False, True])
def test_without_iterations_the_adapted_output_is_the_plain_one_bit_for_bit(
    predictor: Predictor, scan: Image, method: Method, tta: bool
) -> None:
    asked = PredictionOptions(tta=tta)
    plain = predictor.predict(scan, asked)
    found = adapt(predictor, scan, options(method, 0), asked, denoiser=denoiser())
    for prediction in (found.adapted, found.plain, found.prediction):
        np.testing.assert_array_equal(prediction.lesion_probability, plain.lesion_probability)
        np.testing.assert_array_equal(prediction.lesion_mask, plain.lesion_mask)
    assert plain.probabilities is not None and found.prediction.probabilities is not None
    np.testing.assert_array_equal(found.prediction.probabilities, plain.probabilities)
    assert found.report.plain == found.report.adapted


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cancel_after", [None, 2])
def test_the_network_is_the_same_after_success_and_after_a_cancellation(
    predictor: Predictor, scan: Image, method: Method, cancel_after: int | None
) -> None:
    network = predictor.network
    for index, parameter in enumerate(network.parameters()):
        parameter.requires_grad_(index % 2 == 0)
    before = deepcopy(network.state_dict())
    flags = [parameter.requires_grad for parameter in network.parameters()]
    told = 0

    def progress(stage: str, fraction: float) -> None:
        nonlocal told
        told += stage == "adapting"
        if told == cancel_after:
            raise CancelledError

    if cancel_after is None:
        adapt(predictor, scan, options(method), progress=progress, denoiser=denoiser())
    else:
        with pytest.raises(CancelledError):
            adapt(predictor, scan, options(method), progress=progress, denoiser=denoiser())
    assert told == (cancel_after or 3)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert [parameter.requires_grad for parameter in network.parameters()] == flags
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module.training for module in network.modules())


def test_a_cancellation_need_not_wait_for_the_end_of_an_iteration(predictor: Predictor, scan: Image) -> None:
    iterations: list[float] = []
    checks_within_iterations = 0

    def told(stage: str, fraction: float) -> None:
        if stage == "adapting":
            iterations.append(fraction)

    def check() -> None:
        nonlocal checks_within_iterations
        checks_within_iterations += len(iterations) == 1
        if checks_within_iterations == 20:
            raise CancelledError

    with pytest.raises(CancelledError), interruptible(predictor.network, check):
        adapt(predictor, scan, options("tent"), progress=told)
    assert len(iterations) == 1


def test_tent_lowers_the_entropy_and_keeps_the_adapted_prediction(scan: Image) -> None:
    found = adapt(bright(), scan, replace(options("tent", 10), learning_rate=2e-4))
    report = found.report
    assert report.adapted.entropy < report.plain.entropy
    assert (report.choice.kept, report.objective) == ("adapted", "entropy")
    np.testing.assert_array_equal(found.prediction.lesion_mask, found.adapted.lesion_mask)
    assert found.prediction.lesion_mask.shape == scan.data.shape
    assert (found.adapted.lesion_probability != found.plain.lesion_probability).any()


def test_the_denoiser_is_agreed_with_more_after_an_adaptation(scan: Image) -> None:
    wants_background = idle_denoiser()
    *_, last = (layer for layer in wants_background.modules() if isinstance(layer, torch.nn.Conv3d))
    with torch.no_grad():
        last.bias[:16] = 3.0  # replaces half of each voxel, and that by background; eight values to a channel
    careful = replace(options("dae", 30), learning_rate=2e-4)
    opinionated = LabelDenoiser(wants_background, denoiser_spec(), make_spec())
    report = adapt(bright(), scan, careful, denoiser=opinionated).report
    assert report.adapted.objective < 0.95 * report.plain.objective
    assert report.objective == "disagreement with the denoiser"


def test_every_scan_starts_from_a_new_normaliser_so_that_the_order_of_scans_does_not_matter(
    scan: Image,
) -> None:
    adapting = AdaptingPredictor(bright(), options("tent"))
    other = Image(scan.data[::-1].copy(), scan.affine, source="other")
    first = adapting.predict(scan)
    adapting.predict(other)
    np.testing.assert_array_equal(adapting.predict(scan).lesion_probability, first.lesion_probability)


def test_progress_never_goes_back_and_is_told_of_every_iteration(scan: Image) -> None:
    told: list[tuple[str, float]] = []
    adapt(bright(), scan, options("tent", 5), progress=lambda *step: told.append(step))
    fractions = [fraction for _, fraction in told]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    assert [stage for stage, _ in told].count("adapting") == 5


def test_a_suspicious_result_leaves_the_plain_prediction_and_a_note(scan: Image) -> None:
    eager = AdaptationOptions("tent", iterations=25, learning_rate=1.0)
    found = adapt(bright(), scan, eager)
    assert found.report.choice.kept == "plain"
    np.testing.assert_array_equal(found.prediction.lesion_mask, bright().predict(scan).lesion_mask)
    assert any(
        "not adapted" in note and found.report.choice.reason in note for note in found.prediction.notes
    )


def test_iterations_that_spoil_the_output_end_and_the_last_good_weights_are_kept(
    scan: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    def objection(watch: OutputWatch, output: torch.Tensor) -> str:
        looks.append(len(looks))  # the first is at the plain output
        return "the brain collapsed" if len(looks) > 5 else ""

    monkeypatch.setattr(OutputWatch, "objection", objection)
    told: list[str] = []
    careful = replace(options("tent", 30), learning_rate=2e-4)
    found = adapt(bright(), scan, careful, progress=lambda stage, _: told.append(stage))
    report = found.report
    assert (report.iterations, report.iterations_done) == (30, 8) == (30, told.count("adapting"))
    assert report.choice.kept == "adapted"
    assert report.choice.reason.endswith("after 8 iterations, the brain collapsed")
    short = adapt(bright(), scan, replace(careful, iterations=3))
    np.testing.assert_array_equal(found.prediction.lesion_probability, short.prediction.lesion_probability)


def test_a_model_of_lesions_alone_can_be_adapted_too(scan: Image) -> None:
    config = UNetConfig(channels=(2, 2), strides=(2,), out_channels=2)
    spec = make_spec(class_names=("background", "lesion"), network=config.model_dump(mode="json"))
    torch.manual_seed(0)
    report = adapt(Predictor(spec, build_network(config).eval(), CPU), scan, options("tent")).report
    assert np.isfinite([report.plain.entropy, report.adapted.entropy]).all()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"method": "best"}, "'tent' or 'dae', got 'best'"),
        ({"iterations": -1}, "0 or more iterations"),
        ({"learning_rate": 0.0}, "learning rate above 0"),
    ],
)
def test_impossible_options_are_refused(changes: dict[str, object], expected: str) -> None:
    with pytest.raises(OptionError, match=expected):
        AdaptationOptions(**({"method": "tent"} | changes))


def test_a_class_that_is_ruled_out_does_not_stop_the_adaptation() -> None:
    logits = torch.tensor([200.0, 0.0, -200.0]).view(1, 3, 1, 1, 1).requires_grad_()
    head = torch.ones(1, 1, 1, dtype=torch.bool)
    EntropyObjective(head).loss(logits, (0, 0, 0)).backward()
    assert logits.grad is not None and logits.grad.isfinite().all()


def test_the_loss_is_the_mean_entropy_of_the_head_with_its_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objective, "_BLOCK", 50)
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(1, 4, 5, 6, 7, generator=generator, dtype=torch.float64).requires_grad_()
    head = torch.rand(7, 8, 9, generator=generator) < 0.5
    part = head[2:, 1:7, 1:8]
    expected = mean_entropy(torch.softmax(logits, dim=1)[0], part)
    found = EntropyObjective(head).loss(logits, (2, 1, 1))
    torch.testing.assert_close(found, expected)
    wanted, gradient = (torch.autograd.grad(value, logits)[0] for value in (expected, found))
    torch.testing.assert_close(gradient, wanted)


def test_the_iterations_see_the_output_at_the_model_s_temperature(
    scan: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    loss = EntropyObjective.loss

    def noted(entropy: EntropyObjective, logits: torch.Tensor, corner: Corner) -> torch.Tensor:
        found = loss(entropy, logits, corner)
        seen.append(float(found.detach()))
        return found

    monkeypatch.setattr(EntropyObjective, "loss", noted)
    warm = Predictor(replace(make_spec(), temperature=3.0), BrightNetwork(), CPU)
    plain = adapt(warm, scan, options("tent", 1)).report.plain.entropy
    assert seen[0] == pytest.approx(plain, rel=0.01)
    assert plain != pytest.approx(adapt(bright(), scan, options("tent", 1)).report.plain.entropy, rel=0.05)
