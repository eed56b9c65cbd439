/** The server's REST interface as the page uses it. */

import type { Camera } from "./camera";
import type { FrameRecord, Header } from "./take";
import { Lines } from "./take";

export interface Format {
  name: string;
  media_type: string;
  suffix: string;
}

export interface Model {
  name: string;
  version: string;
  description: string;
  skeletons: string[];
  is_default: boolean;
}

export interface Choice {
  model: string;
  skeleton: string;
  max_people: number;
  units?: "m" | "cm" | "mm";
  /** By how many frames each camera's video is ahead of those of cameras that are not named. */
  offsets?: Record<string, number>;
}

/** An error of the server: `field` and `camera` say what it is about. */
export class Problem extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly field?: string,
    readonly camera?: string,
  ) {
    super(message);
  }

  static from(document: unknown, status: number): Problem {
    const problem = (document ?? {}) as { detail?: unknown; title?: unknown; field?: string; camera?: string };
    const message = problem.detail ?? problem.title ?? `The server answered with status ${status}.`;
    return new Problem(String(message), status, problem.field, problem.camera);
  }
}

const UNREACHABLE = "The server cannot be reached. Is it still running?";

/** The API key that this tab was given, for servers that ask for one. */
export const apiKey = (): string => sessionStorage.getItem("api-key") ?? "";

async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  if (apiKey()) headers.set("X-Api-Key", apiKey());
  let response: Response;
  try {
    response = await fetch(path, { ...init, headers });
  } catch {
    throw new Problem(UNREACHABLE, 0);
  }
  if (!response.ok) throw Problem.from(await response.json().catch(() => null), response.status);
  return response;
}

const json = async <T>(path: string): Promise<T> => (await ask(path)).json() as Promise<T>;

export const listModels = async () => (await json<{ models: Model[] }>("/v1/models")).models;
export const listFormats = async () => (await json<{ formats: Format[] }>("/v1/formats")).formats;
export const listExample = async () => (await json<{ files: string[] }>("/v1/example")).files;

export async function fetchExample(name: string): Promise<File> {
  const blob = await (await ask(`/v1/example/${encodeURIComponent(name)}`)).blob();
  return new File([blob], name, { type: name.endsWith(".mp4") ? "video/mp4" : "text/plain" });
}

/** The cameras in calibration files of any format that the server reads. */
export async function parseCalibration(files: readonly File[], units?: Choice["units"]): Promise<Camera[]> {
  const form = new FormData();
  for (const file of files) form.append("calibration", file);
  const query = units ? `?units=${units}` : "";
  const sent = await ask(`/v1/calibrations${query}`, { method: "POST", body: form });
  const { hash } = (await sent.json()) as { hash: string };
  return (await json<{ cameras: Camera[] }>(`/v1/calibrations/${hash}`)).cameras;
}

/** An answer, given as NDJSON, in another format; `up` is the axis of its world that points up. */
export async function convert(answer: Blob, format: Format, up?: string): Promise<Blob> {
  const headers = { Accept: format.media_type, "Content-Type": "application/x-ndjson" };
  return (await ask(`/v1/convert${up ? `?up=${up}` : ""}`, { method: "POST", body: answer, headers })).blob();
}

export interface EstimateEvents {
  uploaded(share: number): void;
  header(header: Header): void;
  frame(frame: FrameRecord): void;
  /** The lines of the answer as they came. */
  text(lines: string): void;
}

/** Send a clip and hand on the frames of its answer as they come. Rejects as `post` does. */
export function estimate(
  videos: ReadonlyMap<string, File>,
  calibration: readonly File[],
  choice: Choice,
  events: EstimateEvents,
  signal: AbortSignal,
): Promise<void> {
  const form = new FormData();
  for (const file of calibration) form.append("calibration", file);
  form.append("options", JSON.stringify(choice));
  for (const [camera, file] of videos) form.append("video", file, `${camera}${suffix(file.name)}`);
  let begun = false;
  const record = (line: string) => {
    if (begun) events.frame(JSON.parse(line) as FrameRecord);
    else events.header(JSON.parse(line) as Header);
    begun = true;
    events.text(`${line}\n`);
  };
  return post("/v1/pose3d", form, events.uploaded, record, signal);
}

export interface CameraReport {
  name: string;
  reprojection: number;
  position_error: number;
  relative_error: number;
  rotation_error: number;
  focal: number;
  focal_error: number;
  /** By how many frames the video is ahead of the first camera's. */
  offset: number;
  offset_error: number;
}

export interface CalibrationAnswer {
  calibration: { cameras: Camera[] };
  report: { cameras: CameraReport[]; notices: string[] };
}

export interface CalibrationEvents {
  uploaded(share: number): void;
  /** Frame sets that were seen, and of how many; both are equal while the cameras are computed. */
  progress(done: number, total: number | null): void;
}

/** The cameras that filmed one moving person. Rejects as `post` does. */
export async function calibrate(
  videos: ReadonlyMap<string, File>,
  options: { model: string; height: number; max_offset: number; same_lens: boolean },
  events: CalibrationEvents,
  signal: AbortSignal,
): Promise<CalibrationAnswer> {
  const form = new FormData();
  form.append("options", JSON.stringify(options));
  for (const [camera, file] of videos) form.append("video", file, `${camera}${suffix(file.name)}`);
  let answer: CalibrationAnswer | undefined;
  const record = (line: string) => {
    const read = JSON.parse(line) as CalibrationAnswer & { progress?: { done: number; total: number | null } };
    if (read.progress) events.progress(read.progress.done, read.progress.total);
    else answer = read;
  };
  await post("/v1/calibrations/estimate", form, events.uploaded, record, signal);
  if (!answer) throw new Problem("The server's answer is empty.", 200);
  return answer;
}

/**
 * Send a form and hand on the lines of its answer as they come. XMLHttpRequest, since fetch tells nothing of an
 * upload's progress. Rejects with a `Problem`, also with one that a line holds, or with an `AbortError` when `signal`
 * says so.
 */
function post(
  path: string,
  form: FormData,
  uploaded: (share: number) => void,
  record: (line: string) => void,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const lines = new Lines();
    let read = 0;
    let begun = false;
    let failure: Problem | undefined;
    const drain = () => {
      if (request.status !== 200 || failure) return;
      const text = request.responseText;
      const end = text.lastIndexOf("\n") + 1;
      if (end <= read) return;
      const fresh = text.slice(read, end);
      read = end;
      for (const line of lines.push(fresh)) {
        if (line.startsWith('{"error"')) {
          const { error } = JSON.parse(line) as { error: { status: number } };
          failure = Problem.from(error, error.status);
          return;
        }
        record(line);
        begun = true;
      }
    };
    request.upload.onprogress = (event) => uploaded(event.total ? event.loaded / event.total : 1);
    request.upload.onload = () => uploaded(1);
    request.onprogress = drain;
    request.onerror = () => reject(failure ?? new Problem(UNREACHABLE, 0));
    request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    request.onload = () => {
      if (request.status !== 200) {
        let document: unknown = null;
        try {
          document = JSON.parse(request.responseText);
        } catch {
          // not a problem document; the status has to do
        }
        reject(Problem.from(document, request.status));
        return;
      }
      try {
        drain();
      } catch {
        failure = new Problem("The server's answer cannot be read.", 200);
      }
      if (failure) reject(failure);
      else if (!begun) reject(new Problem("The server's answer is empty.", 200));
      else resolve();
    };
    signal.addEventListener("abort", () => request.abort());
    request.open("POST", path);
    request.setRequestHeader("Accept", "application/x-ndjson");
    if (apiKey()) request.setRequestHeader("X-Api-Key", apiKey());
    request.send(form);
  });
}

function suffix(name: string): string {
  const dot = name.lastIndexOf(".");
  return dot > 0 ? name.slice(dot) : ".mp4";
}
