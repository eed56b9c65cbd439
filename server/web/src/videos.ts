/** The videos side by side, each with the skeleton as its camera sees it. */

import { type Camera, project, resized } from "./camera";
import { sigmaCss } from "./colour";
import { h } from "./dom";
import { CANVAS, SOFTWARE_GL } from "./gpu";
import type { Take } from "./take";

/** A joint under the pointer. */
export interface Hit {
  person: number;
  joint: number;
}

const REACH = 14; // px around a joint in which the pointer means it

export class VideoTile {
  readonly element: HTMLElement;
  readonly canvas = h("canvas", { "aria-hidden": "true" });
  camera: Camera;
  private readonly pixels: Float64Array; // (people, J, 2), CSS pixels of the tile
  private readonly point = new Float64Array(2);
  private readonly context = this.canvas.getContext("2d", CANVAS)!;
  private drawn = -1;
  private shown = -1;
  private stamp = "";
  private size: [number, number] = [0, 0]; // CSS pixels
  private images = 0; // that the video has shown
  private callback = 0;

  constructor(
    readonly name: string,
    calibrated: Camera,
    readonly video: HTMLVideoElement,
    private readonly take: Take,
    enlarge: () => void,
    live: boolean,
  ) {
    this.camera = calibrated;
    this.pixels = new Float64Array(8 * take.skeleton.joints.length * 2).fill(Number.NaN);
    const note = h("p", { class: "tile-note", hidden: true });
    const button = h("button", { class: "tile-name", title: "Enlarge", onclick: enlarge }, name);
    // without a GPU it is the browser's layers that cost most, so there the canvas holds the image as well
    this.element = h("figure", { class: "tile" }, SOFTWARE_GL ? null : video, this.canvas, button, note);
    const measure = () => {
      if (video.videoWidth) this.camera = resized(calibrated, video.videoWidth, video.videoHeight);
      this.shown = -1;
      this.images++;
    };
    video.addEventListener("loadedmetadata", measure);
    for (const kind of ["loadeddata", "seeked"]) video.addEventListener(kind, () => this.images++);
    if (video.videoWidth) measure();
    video.addEventListener("error", () => {
      note.textContent = "This browser cannot play this video. The server can still read it.";
      note.hidden = false;
    });
    // the skeleton belongs to the image that is on the screen, which may lag behind the clock
    const presented = (_: number, { mediaTime }: VideoFrameCallbackMetadata) => {
      if (!live) this.shown = take.frameAt(mediaTime - take.lead(name) + 0.25 / take.header.fps);
      this.images++;
      this.callback = video.requestVideoFrameCallback(presented);
    };
    if ("requestVideoFrameCallback" in video) this.callback = video.requestVideoFrameCallback(presented);
  }

  get aspect(): number {
    return this.camera.size[0] / this.camera.size[1];
  }

  /** Take this place of the stage, in CSS pixels. */
  place(width: number, height: number): void {
    this.size = [width, height];
    this.element.style.width = `${width}px`;
    this.element.style.height = `${height}px`;
  }

  /** Let go of the video. */
  dispose(): void {
    if (this.callback) this.video.cancelVideoFrameCallback(this.callback);
  }

  /**
   * Draw the skeleton of the image that is shown, or of `frame` while none is; does nothing, and is false, if it is
   * there. `fine` is for pictures that stand still.
   */
  draw(frame: number, hover: Hit | null, fine: boolean): boolean {
    const index = this.shown >= 0 && !this.video.error && this.shown < this.take.length ? this.shown : frame;
    const [width, height] = this.size;
    const ratio = SOFTWARE_GL && !fine ? 1 : Math.min(2, devicePixelRatio);
    const image = SOFTWARE_GL ? this.images : 0;
    // while a video looks for its next image, the last one stays, as it does in the browser's own player
    if (SOFTWARE_GL && this.video.seeking && this.drawn >= 0) return false;
    const stamp = `${width}x${height}@${ratio}:${image}${fine}:${hover ? `${hover.person}.${hover.joint}` : ""}`;
    if (index === this.drawn && stamp === this.stamp && this.take.length > index + 1) return false;
    this.drawn = index;
    this.stamp = stamp;
    const [w, hgt] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.canvas.width !== w || this.canvas.height !== hgt) {
      this.canvas.width = w;
      this.canvas.height = hgt;
    }
    const g = this.context;
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, width, height);
    if (SOFTWARE_GL) this.drawImage(width, height, fine);
    this.locate(index, width, height);
    const line = Math.max(1.5, Math.min(3.5, height / 160));
    g.lineCap = "round";
    const { parents } = this.take.skeleton;
    const J = parents.length;
    for (let p = 0; p < this.take.tracks.length && p < 8; p++) {
      const track = this.take.tracks[p];
      if (!track.has(index)) continue;
      const base = p * J;
      g.beginPath();
      for (let j = 0; j < J; j++) this.bone(base + parents[j], base + j, parents[j] < 0);
      g.lineWidth = line + 2;
      g.strokeStyle = "rgb(0 0 0 / 0.55)";
      g.stroke();
      g.lineWidth = line;
      for (let j = 0; j < J; j++) {
        if (parents[j] < 0) continue;
        g.beginPath();
        this.bone(base + parents[j], base + j);
        g.strokeStyle = sigmaCss(Math.max(track.sigma[index * J + j], track.sigma[index * J + parents[j]]));
        g.stroke();
      }
      if (hover?.person === p) {
        const at = (base + hover.joint) * 2;
        g.beginPath();
        g.arc(this.pixels[at], this.pixels[at + 1], line + 5, 0, 2 * Math.PI);
        g.lineWidth = 2;
        g.strokeStyle = "white";
        g.stroke();
      }
    }
    return true;
  }

  /** The joint nearest to a point of the tile. */
  pick(x: number, y: number): Hit | null {
    let best: Hit | null = null;
    let nearest = REACH;
    const J = this.take.skeleton.joints.length;
    for (let i = 0; i < this.take.tracks.length * J && i < 8 * J; i++) {
      const distance = Math.hypot(this.pixels[i * 2] - x, this.pixels[i * 2 + 1] - y);
      if (distance < nearest) {
        nearest = distance;
        best = { person: Math.floor(i / J), joint: i % J };
      }
    }
    return best;
  }

  private bone(from: number, to: number, isRoot = false): void {
    if (isRoot || Number.isNaN(this.pixels[from * 2]) || Number.isNaN(this.pixels[to * 2])) return;
    this.context.moveTo(this.pixels[from * 2], this.pixels[from * 2 + 1]);
    this.context.lineTo(this.pixels[to * 2], this.pixels[to * 2 + 1]);
  }

  private drawImage(width: number, height: number, fine: boolean): void {
    const { video, context } = this;
    if (video.readyState < 2) return;
    const [left, top, scale] = this.fit(width, height);
    context.imageSmoothingQuality = fine ? "high" : "low";
    context.drawImage(video, left, top, this.camera.size[0] * scale, this.camera.size[1] * scale);
  }

  /** Where the image lies in a box, as `object-fit: contain` places it: left, top, scale. */
  private fit(width: number, height: number): [number, number, number] {
    const [w, hgt] = this.camera.size;
    const scale = Math.min(width / w, height / hgt);
    return [(width - w * scale) / 2, (height - hgt * scale) / 2, scale];
  }

  private locate(frame: number, width: number, height: number): void {
    const [left, top, scale] = this.fit(width, height);
    const J = this.take.skeleton.joints.length;
    this.pixels.fill(Number.NaN);
    for (let p = 0; p < this.take.tracks.length && p < 8; p++) {
      const { joints } = this.take.tracks[p];
      for (let j = 0; j < J; j++) {
        const i = (frame * J + j) * 3;
        if (Number.isNaN(joints[i]) || !project(this.camera, joints[i], joints[i + 1], joints[i + 2], this.point))
          continue;
        this.pixels[(p * J + j) * 2] = left + (this.point[0] + 0.5) * scale;
        this.pixels[(p * J + j) * 2 + 1] = top + (this.point[1] + 0.5) * scale;
      }
    }
  }
}

/** Give the tiles the columns that make them largest in a box; among almost equal ones the fewest. Returns their width. */
export function arrange(tiles: readonly VideoTile[], grid: HTMLElement, width: number, height: number): number {
  const gap = 8;
  const aspect = Math.max(...tiles.map((tile) => tile.aspect));
  let best = { size: 0, columns: 1 };
  for (let columns = 1; columns <= tiles.length; columns++) {
    const rows = Math.ceil(tiles.length / columns);
    const size = Math.min((width - gap * (columns - 1)) / columns / aspect, (height - gap * (rows - 1)) / rows);
    if (size > best.size * 1.12) best = { size, columns };
  }
  grid.style.setProperty("--columns", String(best.columns));
  for (const tile of tiles) tile.place(Math.floor(best.size * tile.aspect), Math.floor(best.size));
  return Math.ceil(best.columns * (best.size * aspect + gap) - gap);
}
