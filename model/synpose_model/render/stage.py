"""Draws scenes with OpenGL (moderngl on EGL; Mesa's llvmpipe is enough) as an ideal pinhole camera sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import moderngl
import numpy as np
from numpy.typing import NDArray

from synpose.rig import Camera
from synpose_model.render.clothing import Outfit
from synpose_model.render.environment import Environment
from synpose_model.render.scene import Material, Scene

__all__ = ["Stage"]

Array = NDArray[np.float64]
Single = NDArray[np.float32]
Image = NDArray[np.uint8]

_SHADERS = Path(__file__).parent / "shaders"
_NEAR, _FAR = 0.2, 100.0
_SHADOW_SIZE = 1024
_SHADOW_REACH = 2.5  # metres around the person in which things cast shadows


class Stage:
    """One OpenGL context with a scene on it: `enter` sets the scene, `dress` the people, `pose` a frame, `draw` a view.

    Use as a context manager: leaving it frees the GPU's memory.
    """

    def __init__(self) -> None:
        self._gl = moderngl.create_context(standalone=True, backend="egl")
        self._gl.enable(moderngl.DEPTH_TEST)
        self._gl.depth_func = "<="  # the sky lies at the very end of the depth buffer
        self._programs = {
            name: self._gl.program(
                vertex_shader=(_SHADERS / f"{vertex}.vert").read_text(),
                fragment_shader=(_SHADERS / "light.glsl").read_text() + (_SHADERS / f"{name}.frag").read_text(),
            )
            for name, vertex in (("sky", "sky"), ("surface", "surface"), ("body", "body"))
        }
        self._programs["depth"] = self._gl.program(
            vertex_shader=(_SHADERS / "depth.vert").read_text(),
            fragment_shader="#version 330\nvoid main() {}\n",
        )
        self._corners = self._gl.buffer(_cube().tobytes())
        self._screen = self._gl.buffer(np.array((-1, -1, 3, -1, -1, 3), dtype=np.float32).tobytes())
        self._sky = self._gl.vertex_array(self._programs["sky"], [(self._screen, "2f", "corner")])
        self._surface = self._gl.vertex_array(
            self._programs["surface"], [(self._corners, "3f 3f", "position", "normal")]
        )
        self._surface_depth = self._gl.vertex_array(self._programs["depth"], [(self._corners, "3f 12x", "position")])
        self._shadow = self._gl.depth_texture((_SHADOW_SIZE, _SHADOW_SIZE))
        self._shadow.compare_func = "<="
        self._shadow.repeat_x = self._shadow.repeat_y = False
        self._shadow_target = self._gl.framebuffer(depth_attachment=self._shadow)
        # random dots, which the texture's own interpolation smooths
        dots = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
        self._grain = self._gl.texture((64, 64), 1, dots.tobytes())
        self._targets: dict[tuple[int, int], moderngl.Framebuffer] = {}

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self._gl.release()

    def enter(self, scene: Scene, environment: Environment) -> None:
        """Puts up `scene` in the light of `environment`."""
        self._scene = scene
        height, width = environment.image.shape[:2]
        # mip levels would blend the two ends of a row into a seam
        self._surroundings = self._gl.texture((width, height), 3, environment.image.tobytes(), dtype="f4")
        self._surroundings.repeat_x, self._surroundings.repeat_y = True, False
        irradiance = environment.irradiance().tolist()
        for program in (self._programs[name] for name in ("sky", "surface", "body")):
            for name, value in (
                ("surroundings", 0),
                ("shadow_map", 1),
                ("grain", 2),
                ("irradiance", irradiance),
                ("sun", tuple(scene.sun)),
                ("sunlight", scene.sunlight),
                ("exposure", scene.exposure),
            ):
                if name in program:
                    program[name] = value
        self._to_lamp = _lamp_matrix(scene)

    def dress(self, outfits: Sequence[Outfit], faces: NDArray[np.int32]) -> None:
        """Brings in people: the mesh `faces` `(F, 3)` once in each of the `outfits`."""
        index = self._gl.buffer(faces.astype(np.int32).tobytes())
        self._bodies = [_Figure(self._gl, self._programs, outfit, index) for outfit in outfits]

    def pose(self, skins: Sequence[tuple[Single, Single]], time: float) -> None:
        """The frame at `time` seconds: of each person the surface and its normals `(V, 3)`, world frame."""
        for body, (vertices, normals) in zip(self._bodies, skins, strict=True):
            body.moving.write(np.concatenate((vertices, normals), -1).astype(np.float32).tobytes())
        self._time = time
        self._shadow_target.use()
        self._shadow_target.clear()
        self._draw_depth(self._to_lamp, room=False)

    def draw(self, camera: Camera) -> Image:
        """What the ideal `camera` sees: RGB `(height, width, 3)`. Its distortion is ignored (see `Lens`)."""
        target = self._target(camera.size)
        target.use()
        target.clear(depth=1.0)
        self._surroundings.use(0)
        self._shadow.use(1)
        self._grain.use(2)
        view = _view_matrix(camera)
        shared = {"view": _columns(view), "to_lamp": _columns(self._to_lamp), "eye": tuple(camera.center)}
        self._set("surface", **shared)
        self._set("body", view=shared["view"], to_lamp=shared["to_lamp"])
        # near things first: a pixel behind them is then never shaded
        for body in self._bodies:
            body.visible.render()
        for box in reversed(self._scene.boxes):
            self._draw_surface(box.material, box.transform(self._time), 1e3)
        floor = np.diag((60.0, 60.0, 0.05, 1.0))
        floor[:3, 3] = (*self._scene.middle[:2], -0.05)
        self._draw_surface(self._scene.floor, floor, self._scene.horizon)
        self._set("sky", to_world=_columns(_ray_matrix(camera)))
        self._sky.render()
        width, height = camera.size
        return np.frombuffer(target.read(components=3, alignment=1), np.uint8).reshape(height, width, 3)

    def hidden(self, camera: Camera, points: Array, within: Array) -> NDArray[np.bool_]:
        """Which world `points` `(N, 3)` the ideal `camera` cannot see for what stands in front of them `(N,)`.

        `within` `(N,)` metres is how deep each lies in the body: a surface that much nearer hides it. Points outside
        the image count as seen.
        """
        width, height = camera.size
        target = self._target(camera.size)
        target.use()
        target.clear()
        self._draw_depth(_view_matrix(camera), room=True)
        assert isinstance(target.depth_attachment, moderngl.Texture)
        stored = np.frombuffer(target.depth_attachment.read(alignment=1), np.float32).reshape(height, width)
        nearest = _NEAR * _FAR / (_FAR - stored * (_FAR - _NEAR))
        depth = camera.to_camera(points)[:, 2]
        column, row = np.round(np.nan_to_num(camera.project(points), nan=-1.0)).astype(int).T
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        return np.asarray(inside & (nearest[row * inside, column * inside] < depth - within))

    def _draw_depth(self, view: Array, room: bool) -> None:
        """Boxes and people into the current depth buffer; without the `room`, which contains the lamp's rays."""
        for box in self._scene.boxes:
            inside_of_it = bool((np.abs(box.center - self._scene.middle)[:2] < box.half[:2] - 1).all())
            if room or not inside_of_it:
                self._set("depth", view=_columns(view @ box.transform(self._time)))
                self._surface_depth.render()
        self._set("depth", view=_columns(view))
        for body in self._bodies:
            body.depth.render()

    def _draw_surface(self, material: Material, transform: Array, horizon: float) -> None:
        self._set(
            "surface",
            model=_columns(transform),
            pattern=material.pattern,
            color=material.color,
            accent=material.accent,
            size=material.size,
            middle=tuple(self._scene.middle),
            horizon=horizon,
        )
        self._surface.render()

    def _set(self, program: str, **uniforms: object) -> None:
        for name, value in uniforms.items():
            self._programs[program][name] = value

    def _target(self, size: tuple[int, int]) -> moderngl.Framebuffer:
        """A framebuffer of `size`. Not multisampled, which would triple llvmpipe's time: `Sensor` softens edges."""
        if size not in self._targets:
            self._targets[size] = self._gl.framebuffer(self._gl.renderbuffer(size, 4), self._gl.depth_texture(size))
        return self._targets[size]


class _Figure:
    """One person's mesh on the graphics card: what changes from frame to frame, and the two ways to draw it."""

    def __init__(
        self,
        context: moderngl.Context,
        programs: Mapping[str, moderngl.Program],
        outfit: Outfit,
        index: moderngl.Buffer,
    ) -> None:
        looks = np.concatenate((outfit.colors, outfit.accents, outfit.pattern[:, None], outfit.vertices), -1)
        static = context.buffer(looks.astype(np.float32).tobytes())
        self.moving = context.buffer(reserve=len(looks) * 24, dynamic=True)
        self.visible = context.vertex_array(
            programs["body"],
            [
                (self.moving, "3f 3f", "position", "normal"),
                (static, "3f 3f 1f 3f", "color", "accent", "pattern", "rest"),
            ],
            index,
        )
        self.depth = context.vertex_array(programs["depth"], [(self.moving, "3f 12x", "position")], index)


def _view_matrix(camera: Camera) -> Array:
    """World to clip coordinates `(4, 4)`. Row 0 of an image is OpenGL's lowest, so reading gives the top row first."""
    width, height = camera.size
    K = camera.K
    project = np.zeros((4, 4))
    # pixel (0, 0) is the centre of the first pixel, which OpenGL has half a pixel inside the edge
    project[0, :3] = 2 / width * (K[0] + (0, 0, 0.5)) - (0, 0, 1)
    project[1, :3] = 2 / height * (K[1] + (0, 0, 0.5)) - (0, 0, 1)
    project[2, 2:] = (_FAR + _NEAR) / (_FAR - _NEAR), -2 * _FAR * _NEAR / (_FAR - _NEAR)
    project[3, 2] = 1
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = camera.R, camera.t
    return project @ pose


def _ray_matrix(camera: Camera) -> Array:
    """(x, y, 1) of the screen, both in [−1, 1], to directions in the world `(3, 3)`."""
    width, height = camera.size
    to_pixels = np.array(((width / 2, 0, width / 2 - 0.5), (0, height / 2, height / 2 - 0.5), (0, 0, 1)))
    return np.asarray(camera.R.T @ np.linalg.inv(camera.K) @ to_pixels)


def _lamp_matrix(scene: Scene) -> Array:
    """World to the lamp's clip coordinates `(4, 4)`: parallel rays around the person."""
    z = -scene.sun
    x = np.cross(z, (0.0, 0.0, 1.0))
    x /= np.linalg.norm(x)
    out = np.eye(4)
    out[:3, :3] = np.stack((x, np.cross(z, x), z)) / np.array((_SHADOW_REACH, _SHADOW_REACH, 8.0))[:, None]
    out[:3, 3] = -out[:3, :3] @ scene.middle
    return out


def _columns(matrix: Array) -> Sequence[float]:
    """A matrix in OpenGL's column order."""
    return tuple(matrix.T.reshape(-1).tolist())


def _cube() -> Single:
    """36 corners of [−1, 1]³ with their normals, `(36, 6)`."""
    square = np.array(((-1, -1), (1, -1), (1, 1), (-1, -1), (1, 1), (-1, 1)))
    sides = []
    for axis in range(3):
        for sign in (-1, 1):
            side = np.zeros((6, 6))
            side[:, [a for a in range(3) if a != axis]] = square
            side[:, axis] = side[:, 3 + axis] = sign
            sides.append(side)
    return np.concatenate(sides).astype(np.float32)
