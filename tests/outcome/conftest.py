from __future__ import annotations

import pytest

from strokelabel.outcome.patients import OUTCOMES
from strokelabel.outcome.predictors import Cohort
from support.outcome_patients import cohort


@pytest.fixture(scope="session")
def acute() -> Cohort:
    return cohort(150, OUTCOMES["nihss"])


@pytest.fixture(scope="session")
def chronic() -> Cohort:
    return cohort(60, OUTCOMES["language"], seed=1)
