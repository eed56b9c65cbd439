"""Calibration files of many tools, read into one `Rig` in metres.

`read_calibration` finds the format by looking at the content; each format is a module with `matches` and `parse`:
`native` (Synpose JSON, also written), `toml` (anipose and its family, also written), `qualisys`, `opencv_yaml`
(EasyMocap) and `panoptic` (CMU Panoptic).
"""

from synpose.calibration.native import write_calibration
from synpose.calibration.read import MAX_BYTES, read_calibration, read_lenses
from synpose.calibration.toml import write_toml

__all__ = ["MAX_BYTES", "read_calibration", "read_lenses", "write_calibration", "write_toml"]
