"""Images and labels of a DICOMweb server (a PACS).

Series come by QIDO and WADO, labels go as DICOM SEG.
"""
