"""`strokelabel prepare --em`: label maps of intensity clusters, which merge to exactly what they were split from."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from strokelabel.errors import DataError, GeometryError, ImageError, LabelMapError, OptionError
from strokelabel.fit.recipe import load_recipe
from strokelabel.geometry.crop import dilate_box
from strokelabel.synthesis.anatomy.deformation import head_coordinates, sample_deformation
from strokelabel.synthesis.anatomy.head import make_head, stack_heads
from strokelabel.synthesis.anatomy.parcellation import ParcellationTarget
from strokelabel.synthesis.anatomy.skull_strip import SkullStripParameters, without_extracerebral
from strokelabel.synthesis.config import DeformationConfig, SynthesisConfig
from strokelabel.synthesis.generator import Synthesizer
from strokelabel.synthesis.prepared.cluster_preparation import (
    ClusterOptions,
    find_image_pairs,
    prepare_clusters,
)
from strokelabel.synthesis.prepared.dataset import PreparedData
from strokelabel.synthesis.sampling import Sampler
from support.head_phantom import phantom_affine, phantom_ids
from support.organ_phantom import LEFT, RIGHT, SHAPE, WALL, oblique_affine, organ, write_organs
from support.slice_data import write_slices

PLAIN = ClusterOptions(foreground=1, background=(1, 1))
"""No clusters at all."""


@pytest.fixture(scope="module")
def organs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_organs(tmp_path_factory.mktemp("organs"), count=2)


@pytest.fixture(scope="module")
def split(organs: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return prepare_clusters(organs, tmp_path_factory.mktemp("split"))


@pytest.fixture(scope="module")
def plain(organs: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return prepare_clusters(organs, tmp_path_factory.mktemp("plain"), options=PLAIN)


def parents_of(data: PreparedData, name: str) -> np.ndarray:
    """(x, y, z) ids of the structures that a prepared label map is made of."""
    return np.array([data.table.parent(label) for label in data.table.labels])[data.brain(name).labels]


def head_of(data: PreparedData, spacing_mm: float):
    return make_head(data.brain("heart-01"), data.table, spacing_mm)


def test_prepared_label_maps_lie_where_the_organ_lies_at_1_mm(split: PreparedData):
    _, labels, affine = organ(1)
    brain, ids = split.brain("heart-01"), parents_of(split, "heart-01")
    np.testing.assert_allclose(np.linalg.norm(brain.affine[:3, :3], axis=0), 1, rtol=0.02)
    for label in (LEFT, RIGHT, WALL):
        expected = affine[:3, :3] @ np.argwhere(labels == label).mean(0) + affine[:3, 3]
        found = brain.affine[:3, :3] @ np.argwhere(ids == label).mean(0) + brain.affine[:3, 3]
        np.testing.assert_allclose(found, expected, atol=0.5)
        volume = (ids == label).sum() * abs(np.linalg.det(brain.affine[:3, :3]))
        assert volume == pytest.approx((labels == label).sum() * 15.0, rel=0.05)


def test_each_structure_has_two_clusters_and_the_background_three_to_ten(split: PreparedData):
    for name in split.brain_names:
        present = [split.table.labels[index] for index in np.unique(split.brain(name).labels)]
        counts = {
            parent: sum(split.table.parent(one) == parent for one in present)
            for parent in (LEFT, RIGHT, WALL)
        }
        assert set(counts.values()) == {2}
        assert 3 <= sum(split.table.parent(one) == 0 for one in present) <= 10
        assert present[0].id == 0  # air, the darkest


def test_clusters_are_those_of_the_image(split: PreparedData):
    """Blood and papillary muscle of a chamber, above and below its middle, become clusters of their own."""
    brain = split.brain("heart-01")
    rows = [i for i, label in enumerate(split.table.labels) if split.table.parent(label) == LEFT]
    heights = [
        brain.affine[2, 3] + brain.affine[2, 2] * np.argwhere(brain.labels == row)[:, 2].mean()
        for row in rows
    ]
    assert heights[0] > heights[1] + 4  # darker above


def test_the_same_seed_gives_the_same_clusters_and_another_one_others(
    organs: Path, split: PreparedData, tmp_path: Path
):
    again = prepare_clusters(organs, tmp_path / "again")
    other = prepare_clusters(organs, tmp_path / "other", options=ClusterOptions(seed=5))
    np.testing.assert_array_equal(again.brain("heart-02").labels, split.brain("heart-02").labels)
    assert again.digest == split.digest != other.digest
    assert (other.brain("heart-01").labels != split.brain("heart-01").labels).any()


def test_merged_clusters_are_the_label_map_before_it_was_split(split: PreparedData, plain: PreparedData):
    for name in split.brain_names:
        np.testing.assert_array_equal(parents_of(split, name), parents_of(plain, name))


@pytest.mark.parametrize("spacing_mm", [1.0, 3.0])
def test_the_target_of_clusters_is_exactly_that_of_structures_however_it_is_deformed(
    split: PreparedData, plain: PreparedData, spacing_mm: float
):
    shape = (30, 34, 26)
    config = DeformationConfig(flip_probability=(1.0, 0.0, 0.0))
    drawn = [sample_deformation(Sampler(seed), config, (90.0, 100.0, 80.0)) for seed in range(3)]
    targets = []
    for data in (split, plain):
        head = head_of(data, spacing_mm)
        target = ParcellationTarget(data.table, [head], structures=data.structures)
        batch = stack_heads([head] * len(drawn))
        coordinates = head_coordinates(drawn, batch.center_mm, shape, 3.0)
        nothing = torch.zeros(len(drawn), *shape)
        targets.append(target.label(drawn, batch, coordinates, nothing, nothing + 1))
    assert len(targets[0].unique()) == 4
    assert torch.equal(*targets)


def test_a_head_of_clusters_has_the_brain_mask_and_centre_of_its_structures(
    split: PreparedData, plain: PreparedData
):
    first, second = head_of(split, 2.0), head_of(plain, 2.0)
    torch.testing.assert_close(first.center_mm, second.center_mm, atol=0.05, rtol=0)
    assert (first.brain.int() - second.brain.int()).abs().max() <= 1
    assert np.linalg.norm(first.center_mm.numpy() - [20, -30, 11]) < 5


def test_images_show_clusters_that_no_label_names(split: PreparedData, plain: PreparedData):
    """Without noise, bias and blur, a label map without clusters gives an empty background."""
    config = SynthesisConfig.model_validate(
        {
            "shape": (32, 40, 28),
            "spacing_mm": 3.0,
            "deformation": {"zoom": (1, 1), "elastic_fraction": (0, 0), "rotation_degrees": (0, 0)},
            "contrast": {"deviation": (0, 0), "shared_mean_probability": 0, "background_zero_probability": 1},
            "artefacts": {
                "bias_strength": (0, 0),
                "full_resolution_probability": 1,
                "noise_deviation": (0, 0),
            },
            "skull_strip": {"probability": 0},
            "lesion": {"count_weights": {0: 1}},
        }
    )
    spreads = []
    for data in (split, plain):
        head = head_of(data, 3.0)
        target = ParcellationTarget(data.table, [head], structures=data.structures)
        batch = Synthesizer([head], data.lesions, data.table, config, parcellation=target).generate([3])
        assert set(batch.target.unique().tolist()) == {0, 1, 2, 3}
        near = batch.target[0] != 0
        for _ in range(4):
            near = dilate_box(near)
        spreads.append(float(batch.image[0, 0][~near].std()))
    assert spreads[0] > 0.3 and spreads[1] < 0.01


def test_background_clusters_are_what_skull_stripping_removes(split: PreparedData):
    stack = stack_heads([head_of(split, 2.0)])
    stripped = without_extracerebral(
        stack, [SkullStripParameters(False, 0, 0, remove_labels=True)], split.table
    )
    kept = {split.table.parent(split.table.labels[i]) for i in stripped.first.unique().tolist() if i}
    assert kept == {LEFT, RIGHT, WALL}


def test_what_is_finished_is_kept_and_what_changed_is_made_again(organs: Path, tmp_path: Path):
    folder = write_organs(tmp_path / "in", count=2)
    prepare_clusters(folder, tmp_path / "out")
    files = [tmp_path / "out" / "brains" / f"heart-0{n}.nii.gz" for n in (1, 2)]
    before = [file.stat().st_mtime_ns for file in files]
    image, _, affine = organ(7)
    nib.Nifti1Image(image, affine).to_filename(folder / "heart-02.nii.gz")
    prepare_clusters(folder, tmp_path / "out")
    after = [file.stat().st_mtime_ns for file in files]
    assert (after[0] == before[0]) and after[1] > before[1]


def test_variants_of_an_image_have_names_and_numbers_of_clusters_of_their_own(organs: Path, tmp_path: Path):
    data = prepare_clusters(organs, tmp_path, options=ClusterOptions(variants=3))
    assert (
        data.brain_names[:2] == ("heart-01_clusters-1", "heart-01_clusters-2") and len(data.brain_names) == 6
    )
    assert len({int(np.unique(data.brain(name).labels).size) for name in data.brain_names}) > 1


def test_structures_without_a_table_are_named_after_their_values(tmp_path: Path):
    data = prepare_clusters(write_organs(tmp_path / "in", count=1, table=""), tmp_path / "out")
    assert [(one.id, one.name) for one in data.structures[1:]] == [
        (205, "label 205"),
        (420, "label 420"),
        (550, "label 550"),
    ]


def test_sides_of_structures_are_mirrored_cluster_by_cluster(split: PreparedData):
    by_id = {label.id: label for label in split.table.labels}
    for label in split.table.labels:
        mirror = {LEFT: RIGHT, RIGHT: LEFT}.get(split.table.parent(label), split.table.parent(label))
        assert split.table.parent(by_id[label.mirror]) == mirror
        assert by_id[label.mirror].mirror == label.id


@pytest.mark.parametrize(
    ("image", "labels"),
    [
        ("heart.nii.gz", "heart_seg.nii.gz"),
        ("mr_1001_image.nii.gz", "mr_1001_label.nii.gz"),
        ("sub-01/anat/sub-01_T1w.nii.gz", "derivatives/manual/sub-01/anat/sub-01_desc-manual_dseg.nii.gz"),
        ("sub-01/ses-2/anat/sub-01_ses-2_T2w.nii", "sub-01/ses-2/anat/sub-01_ses-2_T2w_dseg.nii"),
    ],
)
def test_label_maps_find_their_images_by_name(tmp_path: Path, image: str, labels: str):
    volume, values, affine = organ()
    for name, data in ((image, volume), (labels, values)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        nib.Nifti1Image(data, affine).to_filename(tmp_path / name)
    (pair,) = find_image_pairs(tmp_path)
    assert (pair.image, pair.labels) == (tmp_path / image, tmp_path / labels)


def test_label_maps_in_a_folder_of_their_own_have_the_names_of_their_images(tmp_path: Path):
    volume, values, affine = organ()
    for name, data in (
        ("imagesTr/la_003_0000", volume),
        ("imagesTr/la_004", volume),
        ("labelsTr/la_003", values),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        nib.Nifti1Image(data, affine).to_filename(tmp_path / f"{name}.nii.gz")
    (pair,) = find_image_pairs(tmp_path / "imagesTr", tmp_path / "labelsTr")
    assert (pair.name, pair.image.name) == ("la_003", "la_003_0000.nii.gz")


def test_of_several_sequences_the_one_on_the_grid_of_the_label_map_is_meant(tmp_path: Path):
    volume, values, affine = organ()
    thick = volume[:, :, ::3], affine @ np.diag([1, 1, 3, 1])
    for name, (data, place) in {"T1w": (volume, affine), "FLAIR": thick, "dseg": (values, affine)}.items():
        nib.Nifti1Image(data, place).to_filename(tmp_path / f"sub-01_{name}.nii.gz")
    (pair,) = find_image_pairs(tmp_path)
    assert pair.image.name == "sub-01_T1w.nii.gz"
    nib.Nifti1Image(volume, affine).to_filename(tmp_path / "sub-01_T2w.nii.gz")
    with pytest.raises(DataError, match=r"expected the one image .*, found .*T1w.*T2w"):
        find_image_pairs(tmp_path)


def test_an_image_whose_axes_are_stored_in_another_order_gives_the_same_clusters(tmp_path: Path):
    volume, values, affine = organ()
    for folder in ("as-is", "turned"):
        (tmp_path / folder).mkdir()
        nib.Nifti1Image(values, affine).to_filename(tmp_path / folder / "a_dseg.nii.gz")
    scan = nib.Nifti1Image(volume, affine)
    scan.to_filename(tmp_path / "as-is" / "a.nii.gz")
    turned = scan.as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
    turned.to_filename(tmp_path / "turned" / "a.nii.gz")
    first, second = (
        prepare_clusters(tmp_path / folder, tmp_path / f"{folder}-out").brain("a").labels
        for folder in ("as-is", "turned")
    )
    np.testing.assert_array_equal(first, second)


def save(folder: Path, **files) -> Path:
    """Write volumes with one affine, by stem."""
    for name, data in files.items():
        nib.Nifti1Image(data, oblique_affine()).to_filename(folder / f"{name}.nii.gz")
    return folder


VOLUME, VALUES, _ = organ()


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ({"heart_dseg": VALUES}, DataError, "heart_dseg.nii.gz: expected the one image .* found none"),
        ({"heart": VOLUME}, DataError, "expected label maps, such as .* found none"),
        ({"heart": VOLUME[:, :-1], "heart_dseg": VALUES}, GeometryError, "expected the grid of .*heart_dseg"),
        ({"heart": VOLUME, "heart_dseg": VALUES / 2}, LabelMapError, "heart_dseg.*whole numbers"),
        ({"heart": VOLUME, "heart_dseg": VALUES * 0}, LabelMapError, "expected labels from 1 to 65535"),
        ({"heart": VOLUME, "heart_dseg": -VALUES}, LabelMapError, "found values from -550 to 0"),
        ({"heart": VOLUME * 0, "heart_dseg": VALUES}, ImageError, "heart.nii.gz: "),
        (
            {"heart": VOLUME, "heart_dseg": np.where(np.arange(VALUES.size).reshape(SHAPE) == 9, 7, VALUES)},
            LabelMapError,
            "heart_dseg.nii.gz: label 7: expected at least 2 voxels for 2 clusters, found 1",
        ),
    ],
)
def test_what_cannot_be_split_is_refused_by_name(tmp_path: Path, files, error, message: str):
    with pytest.raises(error, match=message):
        prepare_clusters(save(tmp_path, **files), tmp_path / "out")
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_values_that_the_table_does_not_name_are_refused(tmp_path: Path):
    table = tmp_path / "table.tsv"
    table.write_text(f"index\tname\n{LEFT}\tchamber\n")
    with pytest.raises(
        LabelMapError, match=r"values of the table of structures \(0, 420\), found \[205, 550\]"
    ):
        prepare_clusters(save(tmp_path, heart=VOLUME, heart_dseg=VALUES), tmp_path / "out", structures=table)


def test_more_clusters_than_a_label_map_can_hold_are_refused(organs: Path, tmp_path: Path):
    with pytest.raises(LabelMapError, match="expected at most 256 clusters in all, found 310"):
        prepare_clusters(organs, tmp_path, options=ClusterOptions(foreground=100))
    with pytest.raises(OptionError, match="the lower number first"):
        ClusterOptions(background=(4, 3))


@pytest.fixture(scope="module")
def brain(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    """A head with FreeSurfer's labels of the brain alone, and the scan that shows the whole of it."""
    folder = tmp_path_factory.mktemp("brain")
    ids = phantom_ids()
    image = np.random.default_rng(0).normal(10 * (ids % 50) + 20.0 * (ids > 0), 3).astype(np.float32)
    ids[ids > 500] = 0
    nib.Nifti1Image(image, phantom_affine()).to_filename(folder / "brain-01.nii.gz")
    nib.Nifti1Image(ids.astype(np.int16), phantom_affine()).to_filename(folder / "brain-01_dseg.nii.gz")
    return prepare_clusters(folder, folder / "prepared")


def test_clusters_of_freesurfer_s_labels_are_synthseg_s_structures(brain: PreparedData):
    head = make_head(brain.brain("brain-01"), brain.table, 4.0)
    config = load_recipe("synthseg").synthesis.at_spacing(5.0)
    target = ParcellationTarget(brain.table, [head])
    maker = Synthesizer([head], brain.lesions, brain.table, config, parcellation=target)
    batches = [maker.generate([seed]) for seed in range(6)]
    found = {target.structures[int(i)].id for batch in batches for i in batch.target.unique()}
    assert found == {0, 2, 3, 4, 24, 41, 42, 43}
    assert {batch.parameters[0].skull_strip.remove_labels for batch in batches} == {True, False}
    without_csf = [
        b
        for b in batches
        if b.parameters[0].skull_strip.remove_labels and not b.parameters[0].skull_strip.keep_csf
    ]
    csf = [one.id for one in target.structures].index(24)
    assert all(csf not in batch.target.unique() for batch in without_csf)


def test_labels_that_are_no_structure_of_synthseg_are_named_by_their_own_number(split: PreparedData):
    with pytest.raises(LabelMapError, match=r"found 205 \(wall, cluster 1\)"):
        ParcellationTarget(split.table, [head_of(split, 3.0)])


@pytest.mark.parametrize(("view", "across"), [("axial", 2), ("coronal", 1), ("sagittal", 0)])
def test_slices_with_lesion_masks_become_slabs_with_the_lesion_as_the_only_structure(
    tmp_path: Path, view: str, across: int
):
    path = write_slices(tmp_path / "slices", view, count=3)
    stored = dict(np.load(path))
    stored["lesion"][1] = 0  # no lesion: nothing to learn from
    np.savez_compressed(path, **stored)
    data = prepare_clusters(tmp_path / "slices", tmp_path / "out")
    assert [one.name for one in data.structures] == ["background", "lesion"]
    assert data.brain_names == (f"cohort_{view}_sub-0000", f"cohort_{view}_sub-0002")
    for name in data.brain_names:
        brain, lesion = data.brain(name), parents_of(data, name) == 1
        assert lesion.sum() * abs(np.linalg.det(brain.affine[:3, :3])) == pytest.approx(
            20 * 32 * 24, rel=0.02
        )
        extent = [np.ptp(where) + 1 for where in np.nonzero(lesion)]
        assert extent[across] == pytest.approx(24, abs=1)
        assert 3 <= len(np.unique(brain.labels[~lesion])) <= 10


def test_an_image_of_a_few_slices_is_split_as_any_other(tmp_path: Path, rng: np.random.Generator):
    affine = np.diag([1.0, 1.0, 6.0, 1.0])
    labels = np.zeros((40, 48, 3), np.uint8)
    labels[10:30, 12:36] = 1
    image = (labels * 100 + rng.uniform(20, 60, labels.shape)).astype(np.float32)
    nib.save(nib.Nifti1Image(image, affine), tmp_path / "few.nii.gz")
    nib.save(nib.Nifti1Image(labels, affine), tmp_path / "few_dseg.nii.gz")
    data = prepare_clusters(tmp_path, tmp_path / "out")
    volume = (parents_of(data, "few") == 1).sum() * abs(np.linalg.det(data.brain("few").affine[:3, :3]))
    assert volume == pytest.approx(20 * 24 * 18, rel=0.1)
