/** Live mode: images of connected cameras over the WebSocket `/v1/stream`, and what comes back. */

import { apiKey, type Choice, Problem } from "./api";
import type { Camera } from "./camera";
import type { FrameRecord, Header } from "./take";

const QUALITY = 0.8; // JPEG
const MOST_PENDING = 3; // captures that wait for their result: more would only be overtaken
const PATIENCE = 3; // seconds until a capture without a result is no longer waited for
const MOST_BUFFERED = 4 << 20; // bytes that have not left the browser

export interface LiveEvents {
  opened(header: Header): void;
  /** A frame, its time counted from the first, and seconds since its images were taken. */
  result(frame: FrameRecord, latency: number, dropped: number): void;
  /** The stream is over; an error says why it did not end as it was told. */
  closed(error?: Problem): void;
}

interface Result {
  frame: FrameRecord;
  counters: { dropped: number };
}

/** One live stream; it begins when it is made. */
export class LiveStream {
  private readonly socket: WebSocket;
  private timer = 0;
  private pending: number[] = []; // times of captures whose results are awaited
  private busy = false;
  private stopped = false;
  private first = -1;
  private error: Problem | undefined;
  private readonly canvases = new Map<string, HTMLCanvasElement>();

  constructor(
    cameras: readonly Camera[],
    private readonly videos: ReadonlyMap<string, HTMLVideoElement>,
    choice: Choice,
    private readonly events: LiveEvents,
  ) {
    this.socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1/stream`);
    this.socket.binaryType = "arraybuffer";
    const { units: _, ...options } = choice; // the cameras are in metres already
    const policy = { mode: "latest", cameras: [...videos.keys()] };
    const calibration = { units: "m", cameras };
    this.socket.onopen = () => {
      // a browser's WebSocket sends no headers, so the key comes first
      if (apiKey()) this.socket.send(JSON.stringify({ api_key: apiKey() }));
      this.socket.send(JSON.stringify({ type: "start", calibration, options, policy }));
    };
    this.socket.onmessage = ({ data }) => this.read(JSON.parse(String(data)));
    this.socket.onclose = ({ code }) => {
      clearInterval(this.timer);
      const broken = code === 1000 || this.error ? undefined : new Problem("The connection to the server broke.", 0);
      events.closed(this.error ?? broken);
    };
  }

  /** Send nothing more; `closed` follows when the last results are here. */
  stop(): void {
    this.stopped = true;
    clearInterval(this.timer);
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ type: "end" }));
    else this.socket.close();
  }

  private read(message: { type: string } & Record<string, unknown>): void {
    if (message.type === "opened") {
      this.events.opened(message.header as Header);
      if (!this.stopped) this.timer = window.setInterval(() => void this.capture(), 1000 / 30);
    } else if (message.type === "result") {
      const { frame, counters } = message as unknown as Result;
      this.pending = this.pending.filter((time) => time > frame.timestamp);
      const latency = performance.now() / 1000 - frame.timestamp;
      if (this.first < 0) this.first = frame.timestamp;
      this.events.result({ ...frame, timestamp: frame.timestamp - this.first }, latency, counters.dropped);
      this.socket.send(JSON.stringify({ type: "ack", sequence: frame.index }));
    } else if (message.type === "error") {
      const problem = message.error as { status: number };
      this.error = Problem.from(problem, problem.status);
    }
  }

  /** One frame set: all cameras at this instant. */
  private async capture(): Promise<void> {
    const timestamp = performance.now() / 1000;
    this.pending = this.pending.filter((time) => time > timestamp - PATIENCE);
    if (this.busy || this.pending.length >= MOST_PENDING || this.socket.bufferedAmount > MOST_BUFFERED) return;
    this.busy = true;
    try {
      const drawn = [...this.videos]
        .filter(([, video]) => video.readyState >= 2)
        .map(([name, video]) => this.draw(name, video));
      const images = await Promise.all(drawn);
      // while they were encoded, the stream may have been stopped: nothing may follow its end
      if (images.length && !this.stopped && this.socket.readyState === WebSocket.OPEN) {
        this.socket.send(packed(timestamp, images));
        this.pending.push(timestamp);
      }
    } finally {
      this.busy = false;
    }
  }

  /** The image of a camera as JPEG; it is drawn before this returns, and only encoded later. */
  private draw(name: string, video: HTMLVideoElement): Promise<[string, Blob]> {
    let canvas = this.canvases.get(name);
    if (!canvas) {
      canvas = document.createElement("canvas");
      this.canvases.set(name, canvas);
    }
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d", { alpha: false })!.drawImage(video, 0, 0);
    return new Promise((resolve, reject) => {
      canvas.toBlob((blob) => (blob ? resolve([name, blob]) : reject(new Error("no image"))), "image/jpeg", QUALITY);
    });
  }
}

/** A capture as the server reads it: the length of a JSON header, the header, the images. */
export function packed(timestamp: number, images: readonly (readonly [string, Blob])[]): Blob {
  const listed = images.map(([camera, image]) => ({ camera, bytes: image.size }));
  const header = new TextEncoder().encode(JSON.stringify({ timestamp, images: listed, whole: true }));
  const length = new DataView(new ArrayBuffer(4));
  length.setUint32(0, header.length);
  return new Blob([length.buffer, header, ...images.map(([, image]) => image)]);
}

export interface Connected {
  id: string;
  label: string;
  video: HTMLVideoElement;
}

/** Every camera that is connected and that the person allows, each running. Rejects with what is wrong. */
export async function openCameras(): Promise<Connected[]> {
  if (!navigator.mediaDevices)
    throw new Error("Browsers give cameras only to pages of https:// or of this computer (localhost).");
  try {
    // names of devices are told only once a camera was allowed
    for (const track of (await navigator.mediaDevices.getUserMedia({ video: true })).getTracks()) track.stop();
  } catch (error) {
    const name = error instanceof DOMException ? error.name : "";
    if (name === "NotFoundError") throw new Error("No camera is connected.");
    if (name === "NotAllowedError")
      throw new Error("The browser was not allowed to use cameras. Allow it in the address bar.");
    throw new Error("The cameras cannot be opened; another program may be using them.");
  }
  const devices = (await navigator.mediaDevices.enumerateDevices()).filter(({ kind }) => kind === "videoinput");
  const opened = await Promise.allSettled(devices.map(openOne));
  return opened.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
}

async function openOne({ deviceId, label }: MediaDeviceInfo, index: number): Promise<Connected> {
  // an image that the browser has cropped to a wanted size is no longer that of the calibration
  const size = { width: { ideal: 1280 }, height: { ideal: 720 }, resizeMode: { ideal: "none" } };
  const wanted = { deviceId: { exact: deviceId }, ...size } as MediaTrackConstraints;
  const video = document.createElement("video");
  video.muted = true;
  video.playsInline = true;
  video.srcObject = await navigator.mediaDevices.getUserMedia({ video: wanted });
  await video.play();
  return { id: deviceId, label: label || `Camera ${index + 1}`, video };
}

export function closeCameras(cameras: readonly Connected[]): void {
  for (const { video } of cameras) {
    for (const track of (video.srcObject as MediaStream | null)?.getTracks() ?? []) track.stop();
    video.srcObject = null;
  }
}
