"""Qualisys Track Manager's calibration (`.qca.txt`, plain XML), in millimetres.

Lengths on the sensor are 1/64 pixel: focal lengths and principal point are divided by 64, and the principal point,
which counts from the sensor's corner, is moved to the corner of the recorded field of view (`fov_video`). The
distortion coefficients are OpenCV's and have no unit, so that nothing is to be divided. `transform` places the camera
in the world: `x y z` is its centre, and `r11 … r33` turns world into a camera frame whose y points up and whose z
points backwards, half a turn about x from ours.
"""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np

from synpose.calibration.fields import Array, camera_of, numbers
from synpose.calibration.parsed import Parsed
from synpose.errors import CalibrationError
from synpose.rig import Camera

__all__ = ["matches", "parse"]

_SUBPIXELS = 64.0
_HALF_TURN = np.diag((1.0, -1.0, -1.0))
_NO = ("0", "false")


def matches(content: str) -> bool:
    head = content.lstrip()[:2000]
    return head.startswith("<") and "<calibration" in content


def parse(content: str) -> Parsed:
    if "<!" in content.replace("<!--", ""):  # a DTD could make entities that grow without bound
        raise CalibrationError("document types and entities are not accepted", field="calibration")
    try:
        root = ElementTree.fromstring(content.encode())
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise CalibrationError(f"this XML is broken: {str(error)[:100]}", field="calibration") from None
    elements = [
        element
        for element in root.findall("cameras/camera")
        if element.get("active", "1").lower() not in _NO and element.get("calibrated", "1").lower() not in _NO
    ]
    # where a system has both, its marker cameras record no video
    video = [element for element in elements if "video" in element.get("model", "").lower()]
    return Parsed(tuple(_camera(element) for element in video or elements), states="mm")


def _camera(element: ElementTree.Element) -> Camera:
    name = element.get("serial", "")
    turned = element.get("viewrotation", "0")
    if turned not in ("0", "90", "270"):  # a video turned by 90° shows by its shape, one turned by 180° by nothing
        raise CalibrationError(
            f"the view is turned by {turned:.10}°, and whether its video is, too, cannot be known; write"
            ' viewrotation="0" if the video is as the sensor saw it',
            field="calibration.viewrotation",
            camera=name,
        )
    lens, pose = _attributes(element, "intrinsic", name), _attributes(element, "transform", name)

    def read(source: dict[str, str], *keys: str) -> Array:
        return np.concatenate([numbers(source, key, name, 1) for key in keys])

    fu, fv, cu, cv, skew = read(lens, "focalLengthU", "focalLengthV", "centerPointU", "centerPointV", "skew")
    if skew:
        raise CalibrationError("skewed sensors are not supported", field="calibration.skew", camera=name)
    if element.find("fov_video") is not None:
        left, top, right, bottom = read(_attributes(element, "fov_video", name), "left", "top", "right", "bottom")
    else:
        left, top, right, bottom = np.floor(
            read(lens, "sensorMinU", "sensorMinV", "sensorMaxU", "sensorMaxV") / _SUBPIXELS
        )
    K = np.array(
        (
            (fu / _SUBPIXELS, 0.0, cu / _SUBPIXELS - left),
            (0.0, fv / _SUBPIXELS, cv / _SUBPIXELS - top),
            (0.0, 0.0, 1.0),
        )
    )
    R = _HALF_TURN @ read(pose, *(f"r{row}{column}" for row in "123" for column in "123")).reshape(3, 3)
    return camera_of(
        name,
        np.array((right - left + 1, bottom - top + 1)),  # both borders belong to the image
        K,
        R.ravel(),
        -R @ read(pose, "x", "y", "z"),
        read(
            lens,
            "radialDistortion1",
            "radialDistortion2",
            "tangentalDistortion1",
            "tangentalDistortion2",
            "radialDistortion3",
        ),
    )


def _attributes(element: ElementTree.Element, tag: str, camera: str) -> dict[str, str]:
    child = element.find(tag)
    if child is None:
        raise CalibrationError(f"<{tag}> is missing", field=f"calibration.{tag}", camera=camera)
    return child.attrib
