/** What is plotted of a track: angles of joints and the speed of one. */

import type { Skeleton, Track } from "./take";

export interface Angle {
  name: string;
  side: "left" | "right";
  /** Joints a, b, c; the angle is that between b→a and b→c. */
  joints: [number, number, number];
}

const ANGLES: Record<string, [string, string, string]> = {
  knee: ["hip", "knee", "ankle"],
  hip: ["shoulder", "hip", "knee"],
  elbow: ["shoulder", "elbow", "wrist"],
  shoulder: ["hip", "shoulder", "elbow"],
};

/** The angles that a skeleton has, left before right. */
export function anglesOf({ joints }: Skeleton): Angle[] {
  const found: Angle[] = [];
  for (const [name, parts] of Object.entries(ANGLES))
    for (const side of ["left", "right"] as const) {
      const indices = parts.map((part) => joints.indexOf(`${side}_${part}`)) as [number, number, number];
      if (indices.every((index) => index >= 0)) found.push({ name, side, joints: indices });
    }
  return found;
}

/** Degrees of an angle in each frame: 0 is straight for knee, hip and elbow, arm at the side for the shoulder. */
export function degrees(track: Track, { name, joints: [a, b, c] }: Angle, length: number): (number | null)[] {
  const J = track.jointCount;
  const p = track.joints;
  return Array.from({ length }, (_, frame) => {
    const [ia, ib, ic] = [a, b, c].map((j) => (frame * J + j) * 3);
    const u = [0, 1, 2].map((k) => p[ia + k] - p[ib + k]);
    const v = [0, 1, 2].map((k) => p[ic + k] - p[ib + k]);
    const dot = u[0] * v[0] + u[1] * v[1] + u[2] * v[2];
    const between = (Math.acos(Math.max(-1, Math.min(1, dot / (Math.hypot(...u) * Math.hypot(...v))))) * 180) / Math.PI;
    if (Number.isNaN(between)) return null;
    return name === "shoulder" ? between : 180 - between;
  });
}

/** Metres a second of a joint in each frame, by central differences over ±`reach` frames; null where unknown. */
export function speeds(track: Track, joint: number, times: Float64Array, length: number, reach = 2): (number | null)[] {
  const J = track.jointCount;
  const p = track.joints;
  return Array.from({ length }, (_, frame) => {
    const [from, to] = [Math.max(0, frame - reach), Math.min(length - 1, frame + reach)];
    const [i, k] = [(from * J + joint) * 3, (to * J + joint) * 3];
    const speed = Math.hypot(p[k] - p[i], p[k + 1] - p[i + 1], p[k + 2] - p[i + 2]) / (times[to] - times[from]);
    return Number.isFinite(speed) ? speed : null;
  });
}
