"""StrokeLabel as a MONAI Label app: `monailabel start_server --app monailabel_app --studies FOLDER`."""

from __future__ import annotations

from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask

import strokelabel
from lib.app import CheckedApp
from lib.dicomweb.connect import is_dicomweb, open_dicomweb
from lib.infers.adapted_task import SegmentAdapted
from lib.infers.batch import PseudoLabelBatch
from lib.infers.caches import DEFAULT_MEGABYTES, ResultCache
from lib.infers.device_queue import MOST_WAITING
from lib.infers.refine import RefineLesion
from lib.infers.segment_tasks import SegmentEnsemble, SegmentLesion, SegmentLesionAccurately, SegmentTissues
from lib.infers.segmenter import Segmenter
from lib.infers.structures import StructureFinder
from lib.model import ServedModel
from lib.places import cache_folder, is_web_address, versions_folder
from lib.request_values import as_number
from lib.scoring.dice import DiceScoring
from lib.scoring.uncertainty import UncertaintyScoring
from lib.strategies import make_strategies
from lib.studies.datastore import StudiesDatastore
from lib.studies.datastore_file import labels_folder
from lib.training.fine_tune_task import make_trainers
from strokelabel.outcome.estimate import OutcomeEstimator


# The server takes the first class of this module whose bases name MONAILabelApp: ours must name it, and no other
# such class may be imported by name.
class StrokeLabelApp(CheckedApp, MONAILabelApp):
    """MONAI Label app around one model: "base", or that of `--conf model NAME|PATH`."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        conf = conf or {}
        kept_in = labels_folder(studies, conf)
        self._model = ServedModel(conf.get("model", "base"), versions_folder(app_dir, kept_in, conf))
        about = {"description": strokelabel.__doc__ or "", "version": strokelabel.__version__}
        super().__init__(app_dir, studies, conf, name="StrokeLabel", **about)

    def init_datastore(self) -> Datastore:
        """Return the datastore of a studies folder, a DICOMweb server, or another web address that MONAI Label
        supports.
        """
        if is_dicomweb(self.studies):
            return open_dicomweb(self.studies, self.conf, lambda: self._model.spec)
        if is_web_address(self.studies):
            return super().init_datastore()
        return StudiesDatastore(
            self.studies,
            settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
            settings.MONAI_LABEL_DATASTORE_READ_ONLY,
            self.labels_folder,
        )

    def init_infers(self) -> dict[str, InferTask]:
        """Return the infer tasks: lesion and tissues, fast or accurate, from one sequence or all, and corrections by
        prompts, around one model, one cache and one queue per device.

        `--conf cache_mb N` bounds the results that are kept on disk, in megabytes (0: none); `--conf queue N` the
        requests that may wait; `--conf structures NAME|PATH|none` the parcellation for tables of structures, which is
        the model "synthseg" where that is installed; `--conf outcome NAME|PATH` the outcome that is estimated of acute
        strokes, by default none.

        Raises:
            InvalidRequestError: one of these is not a number.
            UnknownModelError, WeightsError, OptionError: a model that was named cannot be used.
        """
        megabytes = as_number(self.conf.get("cache_mb"), "--conf cache_mb", DEFAULT_MEGABYTES)
        most_waiting = int(as_number(self.conf.get("queue"), "--conf queue", MOST_WAITING))
        cache = ResultCache(cache_folder(self.app_dir, self.labels_folder), int(megabytes * 10**6))
        structures = StructureFinder.configured(self.conf.get("structures"))
        outcome = self.conf.get("outcome") or "none"
        estimator = None if outcome == "none" else OutcomeEstimator.from_model(outcome)
        segmenter = Segmenter(self._model, cache, max(0, most_waiting), structures, estimator)
        return {
            "segment": SegmentLesion(segmenter),
            "segment_accurate": SegmentLesionAccurately(segmenter),
            "segment_tissues": SegmentTissues(segmenter),
            "segment_ensemble": SegmentEnsemble(segmenter),
            "segment_adapted": SegmentAdapted(segmenter),
            "refine": RefineLesion(segmenter),
            "refine_scribbles": RefineLesion(segmenter, InferType.SCRIBBLES),
        }

    def init_batch_infer(self) -> PseudoLabelBatch:
        """Return the batch task: a model's labels for many scans."""
        return PseudoLabelBatch(self._model, self._infers)

    def init_trainers(self) -> dict[str, TrainTask]:
        """Return the train task: fine-tuning on submitted labels."""
        return make_trainers(self._model, self.conf)

    def init_strategies(self) -> dict[str, Strategy]:
        """Return the strategies, by the names that viewers start with."""
        return make_strategies()

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        """Return the scoring methods: uncertainty of the model, and changes by annotators."""
        return {"uncertainty": UncertaintyScoring(self._model), "dice": DiceScoring()}
