"""Calibration files of many tools, read into one `Rig` in metres.

`read_calibration` finds the format by looking at the content; each format is a module with `matches` and `parse`:
`native` (Synpose JSON, also written), `toml` (anipose and its family), `qualisys`, `opencv_yaml` (EasyMocap) and
`panoptic` (CMU Panoptic).
"""

from synpose.calibration.native import write_calibration
from synpose.calibration.read import MAX_BYTES, read_calibration

__all__ = ["MAX_BYTES", "read_calibration", "write_calibration"]
