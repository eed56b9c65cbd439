"""Bundle adjustment: cameras, the person's joints at every instant, the lengths of the bones and clocks, all at once.

Minimised is the sum of robust squared errors of projection, with bones that keep their length (left as long as right)
and priors on what the images hardly tell. The unit of length is the person's stature. Levenberg-Marquardt; the normal
equations have the shape of an arrow, one block an instant, whose border holds everything else: instants are
eliminated in one batch (the Schur complement of B. Triggs et al., Bundle Adjustment - A Modern Synthesis, 1999), which
leaves a small dense system and, in the end, its inverse, the covariance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from synpose_server.calibrate.body import BONES, KINDS, LENGTHS, STATURE
from synpose_server.calibrate.tracks import Tracks

__all__ = ["CLOCK", "FOCAL", "KERNEL", "RADIAL", "WIDTH", "Adjusted", "Free", "Views", "adjust", "rotation"]

Array = NDArray[np.float64]

WIDTH = 9  # parameters of a view: rotation 0-2, translation 3-5, then
FOCAL, RADIAL, CLOCK = 6, 7, 8
KERNEL = 2.0
"""Standard deviations at which an error of projection counts half (Geman and McClure)."""
_GAUGE = 1e-4  # statures, of the stature itself: fixes the scale
_LENGTH_SPREAD = 0.12  # of people's bones around the usual, as a share
_FOCAL_SPREAD = 0.25  # of log focal length around the first guess
_RADIAL_SPREAD = 0.05
_CLOCK_SPREAD = 1.0  # frames around the first guess


@dataclass(frozen=True, eq=False)
class Views:
    """V cameras as they are adjusted: `R` `(V, 3, 3)`, `t` `(V, 3)` world to camera in statures, and (V,) each:
    `focal` in long sides of the image, `radial` (OpenCV's k1), `clock` frames that the view is ahead of the first.
    """

    R: Array
    t: Array
    focal: Array
    radial: Array
    clock: Array

    @property
    def centers(self) -> Array:
        """`(V, 3)`, world."""
        return np.asarray(-np.einsum("vij,vi->vj", self.R, self.t))

    def subset(self, rows: NDArray[np.int64]) -> Views:
        """The views `rows` alone."""
        return Views(self.R[rows], self.t[rows], self.focal[rows], self.radial[rows], self.clock[rows])

    def project(self, points: Array) -> Array:
        """World points `(T, K, 3)` to `(T, V, K, 2)` in long sides around the principal point; NaN behind a camera."""
        seen = np.einsum("vij,tkj->tvki", self.R, points) + self.t[None, :, None]
        plane = seen[..., :2] / np.where(seen[..., 2:] > 1e-3, seen[..., 2:], np.nan)
        r2 = (plane**2).sum(-1, keepdims=True)
        return np.asarray(plane * self.focal[:, None, None] * (1 + self.radial[:, None, None] * r2))


@dataclass(frozen=True, eq=False)
class Free:
    """What may change beside the poses, `(V,)` each: focal lengths and `radial` of unknown lenses, `clock`.

    With `same_lens` all lenses that may change do so together.
    """

    focal: NDArray[np.bool_]
    radial: NDArray[np.bool_]
    clock: NDArray[np.bool_]
    same_lens: bool = False

    def subset(self, rows: NDArray[np.int64]) -> Free:
        """The views `rows` alone."""
        return replace(self, focal=self.focal[rows], radial=self.radial[rows], clock=self.clock[rows])


@dataclass(frozen=True, eq=False)
class Adjusted:
    """`views`, the joints `points` `(T, K, 3)` in statures, NaN where unknown, `lengths` of `KINDS`, the `cost`.

    `residuals` `(T, V, K, 2)` are those of projection in long sides, NaN where a keypoint or its joint is not known;
    `weights` `(T, V, K)` what each counts for. `covariance` `(V * WIDTH, V * WIDTH)` is that of the views' parameters
    if errors of projection were independent with the spread that was assumed; zero for what was fixed.
    """

    views: Views
    points: Array
    lengths: Array
    cost: float
    residuals: Array
    weights: Array
    covariance: Array


def rotation(vectors: Array) -> Array:
    """Rotation matrices `(..., 3, 3)` of rotation vectors `(..., 3)` (Rodrigues)."""
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).reshape(*vectors.shape[:-1], 3, 3)
    return np.asarray(
        np.eye(3) + np.sinc(angle / np.pi) * cross + np.sinc(angle / (2 * np.pi)) ** 2 / 2 * cross @ cross
    )


def adjust(tracks: Tracks, views: Views, points: Array, free: Free, *, rounds: int = 30) -> Adjusted:
    """The best views and joints near `views` and `points` `(T, K, 3)`, NaN for joints that are not known.

    The first view stays where it is. `points` are at the instants `tracks.instants`, in any unit of length near the
    stature.
    """
    known: NDArray[np.bool_] = np.asarray(np.isfinite(points).all(-1))
    state = _State(views, np.where(known[..., None], points, 0.0), LENGTHS.copy())
    problem = _Problem(tracks, known, free, views)
    system = problem.linearise(state)
    damping = 1e-3
    for _ in range(rounds):
        step = system.solve(damping)
        tried = problem.moved(state, *step)
        after = problem.cost(tried)
        if after < system.cost:
            gained = 1 - after / system.cost
            state, damping = tried, max(damping / 5, 1e-9)
            system = problem.linearise(state)
            if gained < 1e-5:
                break
        else:
            damping *= 6
            if damping > 1e6:
                break
    residuals, weights, *_ = problem.errors(state)
    shown = np.where((weights > 0)[..., None], residuals, np.nan)
    return Adjusted(
        state.views,
        np.where(known[..., None], state.points, np.nan),
        state.lengths,
        system.cost,
        shown,
        weights,
        system.covariance(),
    )


@dataclass(frozen=True, eq=False)
class _State:
    views: Views
    points: Array
    lengths: Array


@dataclass(frozen=True, eq=False)
class _System:
    """Normal equations: border `(C, C)`, `(C,)`; blocks `(T, 3K, 3K)`, `(T, 3K)`; between them `(T, C, 3K)`."""

    cost: float
    border: Array
    border_gradient: Array
    blocks: Array
    block_gradients: Array
    between: Array
    free: Array  # (C, F): what the free parameters do to all

    def solve(self, damping: float) -> tuple[Array, Array]:
        """The step of the border `(C,)` and of the points `(T, 3K)`."""
        reduced, gradient, inverse = self._reduced(damping)
        step = self.free @ np.linalg.solve(self.free.T @ reduced @ self.free, -self.free.T @ gradient)
        rest = -self.block_gradients - np.einsum("tcp,c->tp", self.between, step)
        return step, np.einsum("tpq,tq->tp", inverse, rest)

    def covariance(self) -> Array:
        """That of the views' parameters."""
        reduced, _, _ = self._reduced(0.0)
        out = self.free @ np.linalg.pinv(self.free.T @ reduced @ self.free, hermitian=True) @ self.free.T
        return np.asarray(out[: -len(KINDS), : -len(KINDS)])

    def _reduced(self, damping: float) -> tuple[Array, Array, Array]:
        size = self.blocks.shape[-1]
        diagonal = np.einsum("tpp->tp", self.blocks)
        damped = self.blocks + np.eye(size) * (damping * diagonal + 1e-9)[:, None]
        inverse = np.linalg.inv(damped)
        lifted = self.between @ inverse  # (T, C, 3K)
        reduced = self.border + np.diag(damping * np.diag(self.border))
        reduced = reduced - np.einsum("tcp,tdp->cd", lifted, self.between, optimize=True)
        gradient = self.border_gradient - np.einsum("tcp,tp->c", lifted, self.block_gradients)
        return reduced, gradient, inverse


class _Problem:
    def __init__(self, tracks: Tracks, known: NDArray[np.bool_], free: Free, start: Views) -> None:
        self.tracks, self.known, self.start = tracks, known, start
        V = len(start.t)
        columns = np.ones((V, WIDTH), np.bool_)
        columns[0, :6] = columns[0, CLOCK] = False
        columns[:, FOCAL] &= free.focal
        columns[:, RADIAL] &= free.radial
        columns[:, CLOCK] &= free.clock
        every = np.eye(V * WIDTH + len(KINDS))
        self.free = every[:, np.concatenate((columns.ravel(), np.ones(len(KINDS), np.bool_)))]
        if free.same_lens:
            for part in (FOCAL, RADIAL):
                rows = np.flatnonzero(columns[:, part]) * WIDTH + part
                together = every[:, rows].sum(1, keepdims=True)
                self.free = np.hstack((self.free[:, ~self.free[rows].any(0)], together[:, : len(rows)]))
        self.priors = np.zeros((V, WIDTH))
        self.priors[:, (FOCAL, RADIAL, CLOCK)] = 1 / np.square((_FOCAL_SPREAD, _RADIAL_SPREAD, _CLOCK_SPREAD))
        self.priors[~columns] = 0.0
        self.bones = known[:, BONES.ends[:, 0]] & known[:, BONES.ends[:, 1]]  # (T, B)

    # -- errors ------------------------------------------------------------------------------------------------

    def errors(self, state: _State) -> tuple[Array, Array, Array, Array]:
        """Residuals `(T, V, K, 2)` in long sides, weights `(T, V, K)`, their robust costs, slopes `(T, V, K, 2)`."""
        seen, slope, weight = self.tracks.at(state.views.clock)
        residual = state.views.project(state.points) - seen
        weight = np.where(self.known[:, None], weight, 0.0) / self.tracks.spread[:, None] ** 2
        # behind the camera: as wrong as can be, and no way to tell which way
        lost: NDArray[np.bool_] = np.asarray(np.isnan(residual[..., 0]))
        residual = np.where(lost[..., None], 0.0, residual)
        square = (residual**2).sum(-1) / self.tracks.spread[:, None] ** 2
        share = 1 / (1 + square / KERNEL**2)
        cost = np.where(lost, KERNEL**2, square * share) * weight * self.tracks.spread[:, None] ** 2
        return residual, np.where(lost, 0.0, weight * share**2), cost, slope

    def bent(self, state: _State) -> tuple[Array, Array]:
        """Errors `(T, B)` of the bones' lengths in standard deviations, 0 where unknown, and directions `(T, B, 3)`."""
        ends = state.points[:, BONES.ends]  # (T, B, 2, 3)
        along = ends[:, :, 0] - ends[:, :, 1]
        length = np.maximum(np.linalg.norm(along, axis=-1), 1e-6)
        error = (length - state.lengths[BONES.kinds]) / BONES.spread
        return np.where(self.bones, error, 0.0), along / length[..., None]

    def _prior_errors(self, state: _State) -> tuple[Array, Array]:
        views, start = state.views, self.start
        off = np.zeros((len(views.t), WIDTH))
        off[:, FOCAL] = np.log(views.focal / start.focal)
        off[:, RADIAL] = views.radial  # of a usual lens: none
        off[:, CLOCK] = views.clock - start.clock
        return off, (state.lengths - LENGTHS) / (_LENGTH_SPREAD * LENGTHS)

    def cost(self, state: _State) -> float:
        off, unusual = self._prior_errors(state)
        error, _ = self.bent(state)
        gauge = (STATURE @ state.lengths - 1) / _GAUGE
        bones = error**2 / (1 + error**2 / KERNEL**2)
        own = (self.priors * off**2).sum() + (unusual**2).sum() + gauge**2
        return float(self.errors(state)[2].sum() + bones.sum() + own)

    # -- the system --------------------------------------------------------------------------------------------

    def linearise(self, state: _State) -> _System:
        views, points = state.views, state.points
        T, K = self.known.shape
        V, G = len(views.t), len(KINDS)
        residual, weight, _, slope = self.errors(state)
        to_view, to_point = _derivatives(views, points, slope)
        weighted = to_view * weight[..., None, None]
        pointed = to_point * weight[..., None, None]
        border = np.zeros((V * WIDTH + G, V * WIDTH + G))
        gradient = np.zeros(V * WIDTH + G)
        own = np.einsum("tvkip,tvkiq->vpq", weighted, to_view, optimize=True)
        for v in range(V):
            border[v * WIDTH : (v + 1) * WIDTH, v * WIDTH : (v + 1) * WIDTH] = own[v]
        gradient[: V * WIDTH] = np.einsum("tvkip,tvki->vp", weighted, residual, optimize=True).ravel()
        between = np.zeros((T, V * WIDTH + G, K, 3))
        between[:, : V * WIDTH] = np.einsum("tvkip,tvkiq->tvpkq", weighted, to_point, optimize=True).reshape(
            T, V * WIDTH, K, 3
        )
        blocks = np.zeros((T, K, 3, K, 3))
        every = np.arange(K)
        blocks[:, every, :, every] = np.einsum("tvkip,tvkiq->ktpq", pointed, to_point, optimize=True)
        pull = np.einsum("tvkip,tvki->tkp", pointed, residual, optimize=True)

        error, towards = self.bent(state)
        share = np.where(self.bones, 1 / (1 + error**2 / KERNEL**2) ** 2, 0.0)
        for b, ((i, j), kind, spread) in enumerate(zip(BONES.ends, BONES.kinds, BONES.spread, strict=True)):
            w, along, column = share[:, b], towards[:, b], V * WIDTH + kind
            outer = np.einsum("t,tp,tq->tpq", w, along, along) / spread**2
            blocks[:, i, :, i] += outer
            blocks[:, j, :, j] += outer
            blocks[:, i, :, j] -= outer
            blocks[:, j, :, i] -= outer
            force = (w * error[:, b] / spread)[:, None] * along
            pull[:, i] += force
            pull[:, j] -= force
            between[:, column, i] -= (w / spread**2)[:, None] * along
            between[:, column, j] += (w / spread**2)[:, None] * along
            border[column, column] += w.sum() / spread**2
            gradient[column] -= (w * error[:, b]).sum() / spread

        off, unusual = self._prior_errors(state)
        views_part = slice(0, V * WIDTH)
        border[views_part, views_part] += np.diag(self.priors.ravel())
        gradient[views_part] += (self.priors * off).ravel()
        lengths_part = slice(V * WIDTH, None)
        border[lengths_part, lengths_part] += np.diag(1 / (_LENGTH_SPREAD * LENGTHS) ** 2)
        border[lengths_part, lengths_part] += np.outer(STATURE, STATURE) / _GAUGE**2
        gradient[lengths_part] += unusual / (_LENGTH_SPREAD * LENGTHS)
        gradient[lengths_part] += STATURE * (STATURE @ state.lengths - 1) / _GAUGE**2
        return _System(
            self.cost(state),
            border,
            gradient,
            blocks.reshape(T, 3 * K, 3 * K),
            pull.reshape(T, 3 * K),
            between.reshape(T, -1, 3 * K),
            self.free,
        )

    def moved(self, state: _State, border: Array, points: Array) -> _State:
        """`state` after a step of the border and the points."""
        V = len(state.views.t)
        step = border[: V * WIDTH].reshape(V, WIDTH)
        views = Views(
            rotation(step[:, :3]) @ state.views.R,
            state.views.t + step[:, 3:6],
            state.views.focal * np.exp(np.clip(step[:, FOCAL], -0.5, 0.5)),
            state.views.radial + step[:, RADIAL],
            state.views.clock + step[:, CLOCK],
        )
        lengths = np.maximum(state.lengths + border[V * WIDTH :], 0.01)
        return replace(state, views=views, points=state.points + points.reshape(state.points.shape), lengths=lengths)


def _derivatives(views: Views, points: Array, slope: Array) -> tuple[Array, Array]:
    """Of the residuals `(T, V, K, 2)`: by the views' parameters `(..., WIDTH)`, and by the points `(..., 3)`."""
    turned = np.einsum("vij,tkj->tvki", views.R, points)
    seen = turned + views.t[None, :, None]
    depth = np.where(seen[..., 2] > 1e-3, seen[..., 2], np.inf)
    x, y = seen[..., 0] / depth, seen[..., 1] / depth
    r2 = x * x + y * y
    focal, radial = views.focal[:, None], views.radial[:, None]
    lens = 1 + radial * r2
    # of the image by the plane z = 1, then by the camera frame
    by_plane = (
        np.stack(
            (lens + 2 * radial * x * x, 2 * radial * x * y, 2 * radial * x * y, lens + 2 * radial * y * y), -1
        ).reshape(*x.shape, 2, 2)
        * focal[..., None, None]
    )
    zero = np.zeros_like(x)
    by_frame = np.stack((1 / depth, zero, -x / depth, zero, 1 / depth, -y / depth), -1).reshape(*x.shape, 2, 3)
    by_frame = by_plane @ by_frame
    to_view = np.zeros((*x.shape, 2, WIDTH))
    # exp(w) R X turns by w × R X: its derivative by w is that of the frame crossed with R X
    to_view[..., :3] = np.cross(turned[..., None, :], by_frame)
    to_view[..., 3:6] = by_frame
    plane = np.stack((x, y), -1)
    to_view[..., FOCAL] = plane * (focal * lens)[..., None]
    to_view[..., RADIAL] = plane * (focal * r2)[..., None]
    to_view[..., CLOCK] = -slope
    return to_view, by_frame @ views.R[None, :, None]
