"""Settings of the replay of generated images: the section `replay` of a recipe."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ReplayConfig(BaseModel):
    """Settings of replay: uses of a generated image, and its changes when it is used again.

    Making an image of 1.5 mm costs a CPU core 2.5 s and training on it 1.2 s; an image that is used three times costs
    less than the training on it.

    Attributes:
        reuse: items of the stream for each image that is made; the first of them is the image as it was made. 1 replays
            nothing.
        pool: the images, counted back from the newest, that a replay is chosen from. They are kept in memory: 3 bytes a
            voxel, 5.4 MB for 112 x 144 x 112 voxels.
        together: images that are made in one go; 1 on a CPU, more where a GPU makes them.
        flip_probability: of a replay, to be mirrored from left to right.
        change_probability: of a replay, to get a gamma and a smooth field.
        gamma_log_deviation: standard deviation of the logarithm of the exponent of intensities on [0, 1].
        field_log_strength: largest logarithm of the smooth field that intensities are multiplied by.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reuse: int = Field(default=3, ge=1)
    pool: int = Field(default=400, ge=1)
    together: int = Field(default=1, ge=1)
    flip_probability: float = Field(default=0.5, ge=0, le=1)
    change_probability: float = Field(default=0.7, ge=0, le=1)
    gamma_log_deviation: float = Field(default=0.25, ge=0, allow_inf_nan=False)
    field_log_strength: float = Field(default=0.3, ge=0, allow_inf_nan=False)

    def check_use(self, *, synthetic: bool, sided: bool) -> None:
        """Refuse images that cannot be replayed like this.

        Args:
            synthetic: whether there are synthetic images, with classes of voxels.
            sided: whether classes are left or right.

        Raises:
            ValueError: saying which setting is wrong.
        """
        if not synthetic:
            raise ValueError("replay: expected synthetic images for the task segmentation, got others")
        if sided and self.flip_probability > 0:
            raise ValueError(
                "replay.flip_probability: expected 0 for a parcellation, whose classes are left or right, got "
                f"{self.flip_probability}"
            )
