"""Images and labels of a DICOMweb server (a PACS): series come by QIDO and WADO, labels go as DICOM SEG by STOW."""
