/** Calibrated cameras as the server gives them: the pinhole model with OpenCV's distortions. */

export type Vec3 = [number, number, number];

/** World to camera by `R x + t` in metres; pixel (0, 0) is the centre of the top-left pixel. */
export interface Camera {
  name: string;
  size: [number, number];
  K: number[][];
  R: number[][];
  t: Vec3;
  distortion?: number[];
  model?: "pinhole" | "fisheye";
}

const CODEC_PADDING = 16;

/** Write the pixel of a world point into `out`; false, and nothing written, for a point behind the camera. */
export function project(camera: Camera, x: number, y: number, z: number, out: Float64Array): boolean {
  const { R, t, K } = camera;
  const depth = R[2][0] * x + R[2][1] * y + R[2][2] * z + t[2];
  if (!(depth > 1e-6)) return false;
  let u = (R[0][0] * x + R[0][1] * y + R[0][2] * z + t[0]) / depth;
  let v = (R[1][0] * x + R[1][1] * y + R[1][2] * z + t[1]) / depth;
  const d = camera.distortion ?? [];
  if (d.length) {
    const r2 = u * u + v * v;
    if (camera.model === "fisheye") {
      const r = Math.sqrt(Math.max(r2, 1e-18));
      const theta = Math.atan(r);
      const q = theta * theta;
      const scale = (theta * (1 + q * (d[0] + q * (d[1] + q * (d[2] + q * d[3]))))) / r;
      u *= scale;
      v *= scale;
    } else {
      const [k1, k2, p1, p2, k3 = 0, k4 = 0, k5 = 0, k6 = 0] = d;
      const radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)));
      const x0 = u;
      u = x0 * radial + 2 * p1 * x0 * v + p2 * (r2 + 2 * x0 * x0);
      v = v * radial + p1 * (r2 + 2 * v * v) + 2 * p2 * x0 * v;
    }
  }
  out[0] = K[0][0] * u + K[0][1] * v + K[0][2];
  out[1] = K[1][0] * u + K[1][1] * v + K[1][2];
  return true;
}

/**
 * The camera as a video of this size shows it, by the server's rule: up to 16 px are a codec's padding at the right
 * and lower edge, anything else is a scaling.
 */
export function resized(camera: Camera, width: number, height: number): Camera {
  const [w, h] = camera.size;
  const size: [number, number] = [width, height];
  if (Math.abs(width - w) <= CODEC_PADDING && Math.abs(height - h) <= CODEC_PADDING) return { ...camera, size };
  const [sx, sy] = [width / w, height / h];
  const [kx, ky] = camera.K;
  const K = [
    [kx[0] * sx, kx[1] * sx, (kx[2] + 0.5) * sx - 0.5],
    [ky[0] * sy, ky[1] * sy, (ky[2] + 0.5) * sy - 0.5],
    [0, 0, 1],
  ];
  return { ...camera, size, K };
}

/** The camera's centre in the world, `−Rᵀ t`. */
export function centre({ R, t }: Camera): Vec3 {
  return [0, 1, 2].map((i) => -(R[0][i] * t[0] + R[1][i] * t[1] + R[2][i] * t[2])) as Vec3;
}

/** A point of the camera frame in the world, `Rᵀ (p − t)`. */
export function toWorld({ R, t }: Camera, p: Vec3): Vec3 {
  const q = [p[0] - t[0], p[1] - t[1], p[2] - t[2]];
  return [0, 1, 2].map((i) => R[0][i] * q[0] + R[1][i] * q[1] + R[2][i] * q[2]) as Vec3;
}

/** The world axis that points up: the one nearest to the mean of where the cameras' tops point. */
export function upAxis(cameras: readonly Camera[]): Vec3 {
  const sum = [0, 0, 0];
  for (const { R } of cameras) for (let i = 0; i < 3; i++) sum[i] -= R[1][i];
  const axis = [0, 1, 2].reduce((best, i) => (Math.abs(sum[i]) > Math.abs(sum[best]) ? i : best), 0);
  const up: Vec3 = [0, 0, 0];
  up[axis] = sum[axis] < 0 ? -1 : 1;
  return up;
}

/** The server's name of an axis that `upAxis` gives. */
export function axisName(up: Vec3): string {
  const axis = up.findIndex((part) => part !== 0);
  return (up[axis] < 0 ? "-" : "") + "xyz"[axis];
}
