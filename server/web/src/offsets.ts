/** Offsets of recordings that did not start together, written as on the command line: `cam02=6.86, cam04=-12`. */

import { type CameraReport, Problem } from "./api";

const ENTRY = /^\s*(.+?)\s*=\s*([^\s=,]+)\s*(?:,\s*|$)/; // a name may hold commas and equals signs

/**
 * Frames by camera. Throws a `Problem` of the option's field for what cannot be read, for a camera that is none of
 * `cameras`, and for one that is named twice.
 */
export function parseOffsets(text: string, cameras: readonly string[]): Record<string, number> {
  const offsets = new Map<string, number>();
  for (let rest = text.trim(); rest; ) {
    const [entry, camera, frames] = ENTRY.exec(rest) ?? [""];
    if (!entry || !Number.isFinite(Number(frames)))
      throw refused(`Give cameras and their frames, as in cam02=6.86, cam04=-12, not ${rest}`);
    if (!cameras.includes(camera))
      throw refused(`the calibration has no such camera; it has ${cameras.join(", ")}.`, camera);
    if (offsets.has(camera)) throw refused("two offsets were given for this camera.", camera);
    offsets.set(camera, Number(frames));
    rest = rest.slice(entry.length);
  }
  return Object.fromEntries(offsets);
}

/** What `parseOffsets` reads, of a calibration's report; nothing where no camera is half a frame off. */
export function formatOffsets(cameras: readonly Pick<CameraReport, "name" | "offset">[]): string {
  if (cameras.every(({ offset }) => Math.abs(offset) < 0.5)) return "";
  return cameras
    .map(({ name, offset }) => ({ name, frames: Number(offset.toFixed(2)) }))
    .filter(({ frames }) => frames)
    .map(({ name, frames }) => `${name}=${frames}`)
    .join(", ");
}

function refused(message: string, camera?: string): Problem {
  return new Problem(message, 0, "options.offsets", camera);
}
