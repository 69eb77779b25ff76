"""StrokeLabel as a MONAI Label app: `monailabel start_server --app monailabel_app --studies FOLDER`."""

from __future__ import annotations

from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask

import strokelabel
from lib.app import CheckedApp
from lib.dicomweb.connect import is_dicomweb, open_dicomweb
from lib.infers.batch import PseudoLabelBatch
from lib.infers.task_list import make_infers
from lib.model import ServedModel
from lib.places import is_web_address, versions_folder
from lib.scoring.dice import DiceScoring
from lib.scoring.uncertainty import UncertaintyScoring
from lib.strategies import make_strategies
from lib.studies.datastore import StudiesDatastore
from lib.studies.table import labels_folder
from lib.training.fine_tune_task import make_trainers


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
        prompts.
        """
        return make_infers(self._model, self.app_dir, self.labels_folder, self.conf)

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
