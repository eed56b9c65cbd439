/** What a person dropped: videos, calibration files or a saved answer, told by their names. */

import type { FrameRecord, Header } from "./take";

export interface Sorted {
  videos: File[];
  calibration: File[];
  answer: File | null;
}

const VIDEO = /\.(mp4|m4v|mov|mkv|webm|avi|mpe?g|mts|m2ts|ts|wmv|3gp)$/i;
const CALIBRATION = /\.(toml|json|ya?ml|txt|xml|qca)$/i;

export async function sortFiles(files: readonly File[]): Promise<Sorted> {
  const sorted: Sorted = { videos: [], calibration: [], answer: null };
  for (const file of files)
    if (file.type.startsWith("video/") || VIDEO.test(file.name)) sorted.videos.push(file);
    else if (/\.ndjson$/i.test(file.name) || (await isAnswer(file))) sorted.answer = file;
    else if (CALIBRATION.test(file.name)) sorted.calibration.push(file);
  sorted.videos.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
  return sorted;
}

async function isAnswer(file: File): Promise<boolean> {
  return /\.json$/i.test(file.name) && (await file.slice(0, 4096).text()).includes('"skeleton"');
}

/** The camera that a video is probably of: the one of its name, else the one that its name holds. */
export function guessCamera(file: string, cameras: readonly string[]): string | undefined {
  const name = stem(file);
  const held = cameras.filter((camera) => name.toLowerCase().includes(camera.toLowerCase()));
  return cameras.find((camera) => camera === name) ?? held.sort((a, b) => b.length - a.length)[0];
}

export function stem(name: string): string {
  const dot = name.lastIndexOf(".");
  return dot > 0 ? name.slice(0, dot) : name;
}

/** Read a saved answer, JSON or NDJSON: its header, then its frames, without halting the page for long. */
export async function* readAnswer(file: File): AsyncGenerator<Header | FrameRecord> {
  const text = await file.text();
  const first = text.slice(0, text.indexOf("\n") + 1 || undefined);
  if (text.includes('"frames"') && first.includes('"frames"')) {
    const { frames, notices, ...header } = JSON.parse(text) as Header & { frames: FrameRecord[]; notices?: [] };
    yield header;
    if (frames[0] && notices) frames[0].notices = notices;
    yield* frames;
    return;
  }
  let start = 0;
  for (let count = 0; start < text.length; count++) {
    const end = text.indexOf("\n", start);
    const line = text.slice(start, end < 0 ? undefined : end);
    if (line.trim()) yield JSON.parse(line) as Header | FrameRecord;
    if (end < 0) return;
    start = end + 1;
    if (count % 500 === 499) await new Promise((resolve) => setTimeout(resolve));
  }
}
