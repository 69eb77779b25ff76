"""StrokeLabel as a MONAI Label app: `monailabel start_server --app monailabel_app --studies FOLDER`."""

from __future__ import annotations

from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.tasks.activelearning.first import First

import strokelabel
from lib import checked_app
from lib.activelearning.random_sample import RandomSample
from lib.datastore import StudiesDatastore
from lib.dicomweb.connect import is_dicomweb, open_dicomweb
from lib.infers.lesion import SegmentLesion
from lib.infers.refine import RecentScans, RefineLesion
from lib.infers.tissues import SegmentTissues
from lib.model import ServedModel
from lib.trainers.setup import make_trainers, versions_folder


# The server takes the first class of this module whose bases name MONAILabelApp: ours must name it, and no other
# such class may be imported by name.
class StrokeLabelApp(checked_app.CheckedApp, MONAILabelApp):
    """Builds the tasks around one model: "base", or that of `--conf model NAME|PATH`."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        conf = conf or {}
        self._model = ServedModel(conf.get("model", "base"), versions_folder(app_dir, studies, conf))
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name="StrokeLabel",
            description=strokelabel.__doc__ or "",
            version=strokelabel.__version__,
        )

    def init_datastore(self) -> Datastore:
        """A studies folder, a DICOMweb server, or what else MONAI Label finds at a web address."""
        if is_dicomweb(self.studies):
            return open_dicomweb(self.studies, self.conf, lambda: self._model.spec)
        if self.studies.startswith(("http://", "https://")):
            return super().init_datastore()
        return StudiesDatastore(
            self.studies, settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD, settings.MONAI_LABEL_DATASTORE_READ_ONLY
        )

    def init_infers(self) -> dict[str, InferTask]:
        """Lesion and tissues, and corrections by clicks and by strokes."""
        recent = RecentScans(self._model)
        return {
            "segment": SegmentLesion(self._model),
            "segment_tissues": SegmentTissues(self._model),
            "refine": RefineLesion(recent),
            "refine_scribbles": RefineLesion(recent, InferType.SCRIBBLES),
        }

    def init_trainers(self) -> dict[str, TrainTask]:
        """Fine-tuning on submitted labels."""
        return make_trainers(self._model, self.conf)

    def init_strategies(self) -> dict[str, Strategy]:
        """By the names that viewers start with."""
        return {"random": RandomSample(), "first": First()}
