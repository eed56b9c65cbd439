/** The page: which view is shown, and the road from files to a take. */

import "./style.css";
import { estimate, fetchExample, listExample, listFormats, listModels, Problem } from "./api";
import { axisName, type Camera, upAxis } from "./camera";
import { announce, byId, h, status } from "./dom";
import { fillMenu } from "./download";
import { readAnswer } from "./files";
import { LiveStream } from "./live";
import { LiveSetup } from "./livesetup";
import { type Clip, Setup } from "./setup";
import { type FrameRecord, type Header, Take } from "./take";
import { watchTheme } from "./theme";
import { Viewer } from "./viewer";

let viewer: Viewer | null = null;
let running: AbortController | null = null;
let streaming: LiveStream | null = null;
let answer: { parts: BlobPart[]; name: string; cameras?: readonly Camera[] } = { parts: [], name: "pose" };

const setup = new Setup(
  (clip) => void run(clip, "pose"),
  (file, clip) => void openAnswer(file, clip),
  () => live.refresh(),
);
const live = new LiveSetup(() => setup.clip().cameras, watchLive);
watchTheme(() => viewer?.paint());

function showSetup(): void {
  running?.abort();
  running = null;
  streaming?.stop();
  streaming = null;
  viewer?.dispose();
  viewer = null;
  answer = { parts: [], name: "pose" };
  byId("setup").hidden = false;
  byId("watch").hidden = true;
  byId("watch").replaceChildren();
  byId("download").hidden = byId("again").hidden = byId("stop").hidden = true;
  status("");
}

function startAnew(): void {
  showSetup();
  live.close();
}

function showViewer(take: Take, clip: Clip, cameras?: ReadonlyMap<string, HTMLVideoElement>): Viewer {
  const videos = cameras ?? new Map([...clip.videos].map(([camera, file]) => [camera, player(file)]));
  viewer?.dispose();
  viewer = new Viewer({ take, cameras: clip.cameras, videos, live: cameras !== undefined });
  byId("setup").hidden = true;
  byId("watch").hidden = false;
  byId("watch").replaceChildren(viewer.element);
  scrollTo(0, 0);
  byId("again").hidden = false;
  Object.assign(window, { viewer }); // for measuring from outside
  return viewer;
}

function player(file: File): HTMLVideoElement {
  const video = h("video", { muted: true, playsinline: true, preload: "auto", "aria-hidden": "true", tabindex: -1 });
  video.muted = true;
  video.src = URL.createObjectURL(file);
  return video;
}

async function run(clip: Clip, name: string): Promise<void> {
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  const begin = byId<HTMLButtonElement>("estimate");
  begin.disabled = true;
  answer = { parts: [], name };
  let shown: Viewer | null = null;
  let take: Take | null = null;
  let started = 0;
  try {
    const lengths = durations(clip.videos);
    status("Uploading", 0);
    await estimate(
      clip.videos,
      clip.calibration,
      clip.choice,
      {
        uploaded: (share) => {
          if (share < 1) status(`Uploading ${Math.round(share * 100)} %`, share);
          else status("Looking for people");
        },
        header: (header) => {
          take = new Take(
            header,
            clip.cameras.map((camera) => camera.name),
          );
          started = performance.now();
          shown = showViewer(take, clip);
          shown.player.growing = true;
          const view = shown;
          void lengths.then((known) => {
            const left = [...known].map(([camera, seconds]) => seconds - view.take.lead(camera));
            if (view.player.growing && left.length) view.timeline.expected = Math.round(Math.min(...left) * header.fps);
          });
        },
        frame: (frame) => {
          take!.add(frame);
          if (take!.length === 1) shown!.player.play();
          const total = Math.max(take!.length, shown!.timeline.expected);
          const rate = take!.length / Math.max(0.2, (performance.now() - started) / 1000);
          status(`Computing frame ${take!.length} of ${total} · ${rate.toFixed(0)} a second`, take!.length / total);
        },
        text: (line) => answer.parts.push(line),
      },
      signal,
    );
    done(shown!, take!);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") return;
    const { message } = error as Error;
    if (shown && take && (take as Take).length) {
      done(shown, take);
      status(`The estimate ended early: ${message}`);
    } else {
      showSetup();
      setup.fail(error);
    }
    announce(message);
  } finally {
    begin.disabled = false;
  }
}

function done(shown: Viewer, take: Take): void {
  answer.cameras = shown.cameras;
  shown.finish();
  byId("download").hidden = false;
  const { model, skeleton } = take.header;
  const people = take.tracks.length;
  const who = people === 1 ? "1 person" : people ? `${people} people` : "nobody was found";
  status(`${take.length} frames · ${who} · model ${model.name} · ${skeleton.name}`);
  announce(`Done: ${take.length} frames, ${who}. Space plays and pauses.`);
}

const LIVE_FRAMES = 36_000; // twenty minutes at 30 a second: what is kept must end somewhere

/** Stream until somebody stops it; then what came is a take like any other. */
function watchLive(videos: Map<string, HTMLVideoElement>): void {
  const clip = { ...setup.clip(), videos: new Map<string, File>() };
  const names = clip.cameras.map(({ name }) => name);
  let take: Take | null = null;
  const arrivals: number[] = [];
  answer = { parts: [], name: "live" };
  status("Connecting");
  const stream = new LiveStream(clip.cameras, videos, clip.choice, {
    opened: (header) => {
      take = new Take(header, names);
      answer.parts.push(`${JSON.stringify(header)}\n`);
      showViewer(take, clip, videos);
      byId("stop").hidden = false;
      status("Live · waiting for the first frame");
    },
    result: (frame, latency, dropped) => {
      take!.add(frame);
      answer.parts.push(`${JSON.stringify({ ...frame, index: take!.length - 1 })}\n`);
      arrivals.push(performance.now());
      if (arrivals.length > 30) arrivals.shift();
      const rate = (1000 * (arrivals.length - 1)) / Math.max(1, arrivals[arrivals.length - 1] - arrivals[0]);
      const late = `${Math.round(latency * 1000)} ms behind`;
      status(`Live · ${rate.toFixed(0)} frames a second · ${late}${dropped ? ` · ${dropped} left out` : ""}`);
      if (take!.length >= LIVE_FRAMES) stream.stop();
    },
    closed: (error) => {
      byId("stop").hidden = true;
      if (streaming !== stream) return; // somebody has gone back to the start
      streaming = null;
      if (take?.length) {
        done(showViewer(take, clip), take);
        live.close();
      } else {
        showSetup();
        live.fail(error?.message ?? "The stream ended before its first frame.");
      }
      if (error && take?.length) status(`The stream ended early: ${error.message}`);
      if (error) announce(error.message);
    },
  });
  streaming = stream;
}

async function openAnswer(file: File, clip: Clip): Promise<void> {
  let take: Take | null = null;
  const parts: string[] = [];
  status("Opening", 0);
  try {
    for await (const record of readAnswer(file)) {
      parts.push(`${JSON.stringify(record)}\n`);
      if (take) take.add(record as FrameRecord);
      else
        take = new Take(
          record as Header,
          clip.cameras.map((camera) => camera.name),
        );
    }
    if (!take?.length || !take.skeleton?.joints) throw new Error("it has no frames");
  } catch {
    status("");
    setup.fail(new Error(`${file.name} is no answer of Synpose.`));
    return;
  }
  answer = { parts: [new Blob(parts)], name: file.name.replace(/\.[^.]+$/, "") };
  const shown = showViewer(take, clip);
  done(shown, take);
  shown.player.play();
}

/** Seconds of each camera's video that this browser can read. */
async function durations(videos: ReadonlyMap<string, File>): Promise<Map<string, number>> {
  const lengths = [...videos].map(
    ([camera, file]) =>
      new Promise<[string, number]>((resolve) => {
        const video = document.createElement("video");
        const end = (seconds: number) => {
          const { src } = video;
          video.onerror = null;
          video.removeAttribute("src"); // or it would go on to read what is gone
          video.load();
          URL.revokeObjectURL(src);
          resolve([camera, Number.isFinite(seconds) ? seconds : 0]);
        };
        video.preload = "metadata";
        video.onloadedmetadata = () => end(video.duration);
        video.onerror = () => end(0);
        video.src = URL.createObjectURL(file);
      }),
  );
  return new Map((await Promise.all(lengths)).filter(([, seconds]) => seconds > 0));
}

async function runExample(names: readonly string[]): Promise<void> {
  const button = byId<HTMLButtonElement>("example");
  button.disabled = true;
  try {
    let fetched = 0;
    status("Loading the example", 0);
    const files = await Promise.all(
      names.map(async (name) => {
        const file = await fetchExample(name);
        status("Loading the example", ++fetched / names.length);
        return file;
      }),
    );
    await setup.add(files);
    await run(setup.clip(), "balancing");
  } catch (error) {
    status("");
    setup.fail(error);
  } finally {
    button.disabled = false;
  }
}

byId("stop").addEventListener("click", () => {
  status("Stopping");
  streaming?.stop();
});
byId("again").addEventListener("click", startAnew);
byId("home").addEventListener("click", (event) => {
  event.preventDefault();
  startAnew();
});
byId("help-open").addEventListener("click", () => byId<HTMLDialogElement>("help").showModal());
document.addEventListener("keydown", (event) => {
  const typing = (event.target as HTMLElement).closest("input, textarea, select");
  if (event.key === "?" && !typing) byId<HTMLDialogElement>("help").showModal();
});

/** Ask for the API key if that is what is wrong; the page begins anew with it. */
function refused(error: unknown): void {
  if (!(error instanceof Problem && error.status === 401)) {
    setup.fail(error);
    return;
  }
  const dialog = byId<HTMLDialogElement>("key");
  byId("key-error").textContent = sessionStorage.getItem("api-key") ? error.message : "";
  if (!dialog.open) dialog.showModal();
}

byId("key").addEventListener("submit", () => {
  sessionStorage.setItem("api-key", byId<HTMLInputElement>("key-value").value.trim());
  location.reload();
});

listModels().then((models) => setup.setModels(models), refused);
listFormats().then(
  (formats) =>
    fillMenu(
      byId("formats"),
      formats,
      () => ({
        content: new Blob(answer.parts),
        name: answer.name,
        ...(answer.cameras?.length ? { up: axisName(upAxis(answer.cameras)) } : {}),
      }),
      (message) => status(message),
    ),
  refused,
);
listExample().then(
  (names) => {
    byId("example-card").hidden = !names.length;
    byId("example").addEventListener("click", () => void runExample(names));
  },
  () => undefined,
);
