/** A take to watch: videos, scene, timeline, plots and table, on one clock and one drawing loop. */

import type { Camera } from "./camera";
import { WORST_SIGMA } from "./colour";
import { announce, h } from "./dom";
import { JointTable, JointTip } from "./joints";
import { Pace } from "./pace";
import { Player } from "./player";
import { Plots } from "./plots";
import { Scene } from "./scene";
import type { Take } from "./take";
import { Timeline } from "./timeline";
import { arrange, type Hit, VideoTile } from "./videos";

const TURNS = [1, 2, 4, 16]; // animation frames over which the tiles are spread, by pace
const EVERY = 100; // ms between two texts of a clock that runs
const EVERY_LATE = 200; // the same, and for the playheads, where frames come late

export interface ViewerParts {
  take: Take;
  cameras: readonly Camera[];
  videos: ReadonlyMap<string, HTMLVideoElement>;
  /** A live view shows the newest frame: it has no timeline and no plots, and its videos are not its own. */
  live?: boolean;
}

export class Viewer {
  readonly element: HTMLElement;
  readonly player: Player;
  readonly timeline: Timeline;
  /** Milliseconds between the last animation frames, newest overwriting oldest; for measuring. */
  readonly frameTimes = new Float32Array(4096);
  framesDrawn = 0;
  readonly take: Take;
  readonly cameras: readonly Camera[];
  private readonly scene: Scene | null;
  private readonly tiles: VideoTile[];
  private readonly plots: Plots | null;
  private readonly table: JointTable;
  private readonly tip: JointTip;
  private readonly stage: HTMLElement;
  private readonly grid = h("div", { class: "videos" });
  private readonly notices = h("ul", { class: "notices" });
  private readonly observer: ResizeObserver;
  private readonly controller = new AbortController();
  readonly pace = new Pace();
  private turn = 0; // of the tile that is drawn next
  private busy = false; // whether much was drawn in the last animation frame
  private hover: Hit | null = null;
  private pointer: { x: number; y: number } | null = null;
  private enlarged = "";
  private told = 0;
  private last = 0;
  private written = 0; // when the clock was, last
  private request = 0;

  constructor({ take, cameras, videos, live = false }: ViewerParts) {
    this.take = take;
    this.cameras = cameras;
    const named = cameras.map(({ name }) => name);
    const led = live ? [] : [...videos].map(([camera, video]) => ({ video, lead: take.lead(camera) }));
    this.player = new Player(take, led, () => this.timeline.refresh());
    this.player.live = live;
    this.timeline = new Timeline(take, this.player);
    this.scene = makeScene(take, cameras, videos, this.pace);
    this.plots = live ? null : new Plots(take, this.player);
    this.table = new JointTable(take, named);
    this.tip = new JointTip(take, named);
    this.tiles = cameras
      .filter(({ name }) => videos.has(name))
      .map(
        (camera) =>
          new VideoTile(camera.name, camera, videos.get(camera.name)!, take, () => this.enlarge(camera.name), live),
      );
    this.grid.append(...this.tiles.map(({ element }) => element));
    this.stage = h("div", { class: this.tiles.length ? "stage" : "stage alone" }, this.sceneCard());
    const { stage } = this;
    if (this.tiles.length) stage.append(this.grid);
    this.element = h("div", { class: live ? "viewer live" : "viewer" }, stage);
    if (!live) this.element.append(this.timeline.element);
    if (this.plots) this.element.append(this.plots.element);
    this.element.append(this.table.element, this.notices, this.tip.element);

    const { signal } = this.controller;
    this.element.addEventListener(
      "pointermove",
      ({ clientX: x, clientY: y }) => {
        this.pointer = { x, y };
      },
      { signal },
    );
    this.element.addEventListener(
      "pointerleave",
      () => {
        this.pointer = null;
      },
      { signal },
    );
    this.element.addEventListener(
      "click",
      ({ target }) => {
        if (this.hover && target instanceof HTMLCanvasElement) this.plots?.choose(this.hover.joint, this.hover.person);
      },
      { signal },
    );
    document.addEventListener("keydown", (event) => this.key(event), { signal });
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(stage);
    for (const video of videos.values()) video.addEventListener("loadedmetadata", () => this.resize(), { signal });
    this.request = requestAnimationFrame((now) => this.draw(now));
  }

  /** Take over the colours of the theme. */
  paint(): void {
    this.scene?.paint();
    this.plots?.paint();
  }

  /** The whole answer is here. */
  finish(): void {
    this.player.growing = false;
    this.timeline.expected = 0;
  }

  dispose(): void {
    cancelAnimationFrame(this.request);
    this.controller.abort();
    this.observer.disconnect();
    this.player.pause();
    this.plots?.dispose();
    this.scene?.dispose();
    for (const tile of this.tiles) tile.dispose();
    for (const { video } of this.player.live ? [] : this.tiles) {
      const { src } = video;
      video.removeAttribute("src");
      video.load();
      if (src) URL.revokeObjectURL(src);
    }
    this.element.remove();
  }

  private sceneCard(): HTMLElement {
    const { scene } = this;
    if (!scene)
      return h(
        "div",
        { class: "scene" },
        h("p", { class: "tile-note" }, "This browser offers no WebGL, so there is no 3D scene. Everything else works."),
      );
    const toggle = (label: string, key: "trails" | "uncertainty", title: string) => {
      const button = h(
        "button",
        { class: "chip", "aria-pressed": String(scene[key]), title, "data-toggle": key },
        label,
      );
      button.addEventListener("click", () => {
        scene[key] = !scene[key];
        button.setAttribute("aria-pressed", String(scene[key]));
      });
      return button;
    };
    const tools = h(
      "div",
      { class: "scene-tools", role: "toolbar", "aria-label": "Scene" },
      toggle("Trails", "trails", "Where hands and feet have been (T)"),
      toggle("Uncertainty", "uncertainty", "Spheres that hold the true joint with 68 % probability (U)"),
      h("button", { class: "chip", title: "Back to the whole scene (R)", onclick: () => scene.reset() }, "Reset view"),
    );
    const worst = `${WORST_SIGMA * 1000} mm`;
    const legend = h(
      "div",
      { class: "legend", "aria-label": `Colour: error of a joint, 0 to ${worst}` },
      h("span", {}, "± 0"),
      h("i"),
      h("span", {}, worst),
    );
    scene.element.append(tools, legend);
    return scene.element;
  }

  private enlarge(name: string): void {
    this.enlarged = this.enlarged === name ? "" : name;
    for (const tile of this.tiles) {
      tile.element.classList.toggle("away", this.enlarged !== "" && tile.name !== this.enlarged);
      tile.element.querySelector("button")!.title = this.enlarged ? "Show all" : "Enlarge";
    }
    this.resize();
  }

  private resize(): void {
    const { stage } = this;
    if (this.tiles.length) {
      const shown = this.tiles.filter(({ name }) => !this.enlarged || name === this.enlarged);
      const stacked = matchMedia("(max-width: 860px)").matches;
      const width = stage.clientWidth * (stacked ? 1 : 0.46);
      const wide = arrange(shown, this.grid, width, stacked ? innerHeight * 0.6 : stage.clientHeight);
      stage.style.gridTemplateColumns = stacked ? "" : `minmax(0, 1fr) ${wide}px`;
    }
    this.scene?.resize();
    this.plots?.resize();
  }

  private draw(now: number): void {
    this.request = requestAnimationFrame((next) => this.draw(next));
    const passed = this.last ? now - this.last : 16;
    this.last = now;
    this.frameTimes[this.framesDrawn++ % this.frameTimes.length] = passed;
    if (this.busy) this.pace.add(passed);
    const { player, take, pace } = this;
    player.tick(now);
    this.pick();
    const running = player.playing || player.live;
    const most = running ? Math.ceil(this.tiles.length / TURNS[pace.level]) : this.tiles.length;
    // where one frame cannot hold both, tiles and scene alternate
    const apart = running && pace.level === 3;
    const odd = this.framesDrawn % 2 === 1;
    const tiles = (!apart || odd) && this.drawTiles(most, !running);
    const scene = (!apart || !odd) && this.scene?.draw(player.frame, this.hover);
    this.busy = tiles || Boolean(scene);
    const often = pace.level ? EVERY_LATE : EVERY;
    if (!running || now - this.written > often || now < this.written) {
      this.written = now;
      this.timeline.draw();
      this.table.draw(player.frame, player.playing);
    }
    if (!running || !pace.level || this.written === now) {
      this.timeline.point();
      this.plots?.draw(!player.growing);
    }
    if (take.notices.length > this.told) this.tell();
  }

  /** Draw at most this many of the tiles that have something new, each in its turn; whether there was one. */
  private drawTiles(most: number, fine: boolean): boolean {
    let drawn = 0;
    for (let tried = 0; tried < this.tiles.length && drawn < most; tried++) {
      const tile = this.tiles[this.turn++ % this.tiles.length];
      if (!tile.element.classList.contains("away") && tile.draw(this.player.frame, this.hover, fine)) drawn++;
    }
    return drawn > 0;
  }

  /** Which joint is under the pointer; it may have moved there by itself. */
  private pick(): void {
    const { pointer } = this;
    this.hover = null;
    if (pointer && this.take.length) {
      for (const tile of this.tiles) {
        const box = tile.element.getBoundingClientRect();
        if (inside(box, pointer)) this.hover = tile.pick(pointer.x - box.left, pointer.y - box.top);
      }
      if (!this.hover && this.scene) {
        const box = this.scene.element.getBoundingClientRect();
        if (inside(box, pointer)) this.hover = this.scene.pick(pointer.x - box.left, pointer.y - box.top);
      }
    }
    if (this.hover && pointer && this.take.tracks[this.hover.person].has(this.player.frame))
      this.tip.show(this.hover, this.player.frame, pointer.x, pointer.y);
    else this.tip.hide();
  }

  private tell(): void {
    for (const { message, camera } of this.take.notices.slice(this.told))
      if (this.told++ < 50) this.notices.append(h("li", {}, camera && h("b", {}, camera), message));
    this.told = this.take.notices.length;
  }

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const target = event.target as HTMLElement;
    const onControl = target.closest("button, select, summary, a, [popover]") !== null;
    if (target.closest("input:not([type=range]), textarea, select, dialog, [popover]")) return;
    const { player, scene } = this;
    if (player.live && /^(Arrow|Home|End| |\[|\])/.test(event.key)) return;
    const far = event.shiftKey ? 10 : 1;
    const digit = /^[1-9]$/.exec(event.key);
    const press = (toggle: string) => this.element.querySelector<HTMLElement>(`[data-toggle=${toggle}]`)?.click();
    const actions: Record<string, () => void> = {
      ArrowLeft: () => player.step(-far),
      ArrowRight: () => player.step(far),
      Home: () => player.seek(0),
      End: () => player.seek(Number.POSITIVE_INFINITY),
      "[": () => player.shiftSpeed(-1),
      "]": () => player.shiftSpeed(1),
      l: () => this.timeline.setLoop(!player.loop),
      t: () => press("trails"),
      u: () => press("uncertainty"),
      r: () => scene?.reset(),
    };
    if (!onControl) actions[" "] = () => player.toggle();
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (digit) {
      const name = scene?.lookThrough(Number(digit[0]) - 1);
      if (name) announce(`Looking through ${name}`);
    } else if (action) {
      event.preventDefault();
      action();
    }
  }
}

function makeScene(
  take: Take,
  cameras: readonly Camera[],
  videos: ReadonlyMap<string, HTMLVideoElement>,
  pace: Pace,
): Scene | null {
  try {
    return new Scene(take, cameras, videos, pace);
  } catch {
    return null; // no WebGL here
  }
}

function inside(box: DOMRect, { x, y }: { x: number; y: number }): boolean {
  return x >= box.left && x <= box.right && y >= box.top && y <= box.bottom;
}
