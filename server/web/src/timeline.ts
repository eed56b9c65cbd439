/** Play, scrub, speed, and a strip that shows how well the person is known over time. */

import { sigmaCss } from "./colour";
import { h } from "./dom";
import { type Player, SPEEDS } from "./player";
import type { Take } from "./take";

const PLAY = "M7 5v14l12-7z";
const PAUSE = "M7 5h4v14H7zm6 0h4v14h-4z";

export class Timeline {
  readonly element: HTMLElement;
  /** Frames that the take will have; 0 where nobody knows. */
  expected = 0;
  private readonly slider: HTMLInputElement;
  private readonly clock = h("output", { class: "clock", "aria-label": "Time" });
  private readonly strip = h("canvas", { class: "strip", "aria-hidden": "true" });
  private readonly head = h("i", { class: "playhead" });
  private readonly play: HTMLButtonElement;
  private readonly icon: SVGPathElement;
  private readonly speed: HTMLSelectElement;
  private readonly loop: HTMLButtonElement;
  private painted = "";
  private shown = "";
  private pointed = -1;

  constructor(
    private readonly take: Take,
    private readonly player: Player,
  ) {
    this.slider = h("input", {
      type: "range",
      min: 0,
      max: 0,
      step: 1,
      value: 0,
      "aria-label": "Frame",
      oninput: () => {
        player.pause();
        player.seek(take.timestamps[this.slider.valueAsNumber] ?? 0);
      },
    });
    this.play = h("button", { class: "round", "aria-label": "Play", title: "Play or pause (space)" });
    this.play.addEventListener("click", () => player.toggle());
    this.play.innerHTML = '<svg viewBox="0 0 24 24" aria-hidden="true"><path/></svg>';
    this.icon = this.play.querySelector("path")!;
    this.speed = h(
      "select",
      { "aria-label": "Speed", title: "Speed ( [ and ] )", onchange: () => player.setSpeed(Number(this.speed.value)) },
      ...SPEEDS.map((speed) => h("option", { value: speed }, `${speed}×`)),
    );
    this.loop = h("button", { class: "quiet", title: "Repeat (L)", onclick: () => this.setLoop(!player.loop) }, "Loop");
    const step = (frames: number, label: string, text: string) =>
      h("button", { class: "quiet step", "aria-label": label, title: label, onclick: () => player.step(frames) }, text);
    this.element = h(
      "div",
      { class: "timeline", role: "group", "aria-label": "Timeline" },
      step(-1, "One frame back", "‹"),
      this.play,
      step(1, "One frame on", "›"),
      h("div", { class: "track" }, this.strip, this.head, this.slider),
      this.clock,
      this.speed,
      this.loop,
    );
    this.refresh();
  }

  setLoop(loop: boolean): void {
    this.player.loop = loop;
    this.refresh();
  }

  /** Show whether it plays, how fast, and whether it repeats. */
  refresh(): void {
    const { playing, speed, loop } = this.player;
    this.icon.setAttribute("d", playing ? PAUSE : PLAY);
    this.play.setAttribute("aria-label", playing ? "Pause" : "Play");
    this.speed.value = String(speed);
    this.loop.setAttribute("aria-pressed", String(loop));
  }

  /** Move the playhead to where the take is. */
  point(): void {
    const share = (this.player.frame + 0.5) / Math.max(1, this.take.length, this.expected);
    if (share === this.pointed) return;
    this.pointed = share;
    this.head.style.transform = `translateX(${100 * share}%)`;
  }

  /** Say where the take is. */
  draw(): void {
    const { take, player } = this;
    const total = Math.max(take.length, this.expected);
    const shown = `${player.frame}/${total}`;
    this.paint(total);
    if (shown === this.shown) return;
    this.shown = shown;
    this.slider.max = String(Math.max(0, take.length - 1));
    this.slider.value = String(player.frame);
    const seconds = take.timestamps[player.frame] ?? 0;
    this.slider.setAttribute(
      "aria-valuetext",
      `frame ${player.frame + 1} of ${take.length}, ${seconds.toFixed(2)} seconds`,
    );
    this.slider.style.width = `${total > 1 ? (100 * Math.max(1, take.length)) / total : 100}%`;
    this.clock.textContent = `${minutes(seconds)}  ·  ${player.frame + 1}/${take.length}`;
  }

  /** One column a pixel: the mean sigma of the first person there, dark where nobody is. */
  private paint(total: number): void {
    const { strip, take } = this;
    const ratio = Math.min(2, devicePixelRatio);
    const [width, height] = [Math.round(strip.clientWidth * ratio), Math.round(strip.clientHeight * ratio)];
    const painted = `${width}:${total}:${take.length > 512 && take.length < total ? take.length >> 6 : take.length}`;
    if (painted === this.painted || !width || !total) return;
    this.painted = painted;
    strip.width = width;
    strip.height = height;
    const g = strip.getContext("2d")!;
    const columns = Math.max(1, Math.min(width, total));
    for (let column = 0; column < columns; column++) {
      const frame = Math.floor((column * total) / columns);
      if (frame >= take.length) break;
      const sigma = meanSigma(take, frame);
      if (Number.isNaN(sigma)) continue;
      g.fillStyle = sigmaCss(sigma);
      const left = Math.floor((column * width) / columns);
      g.fillRect(left, 0, Math.ceil(((column + 1) * width) / columns) - left, height);
    }
  }
}

function meanSigma(take: Take, frame: number): number {
  for (const track of take.tracks) {
    if (!track.has(frame)) continue;
    let sum = 0;
    let count = 0;
    for (let j = 0; j < track.jointCount; j++) {
      const sigma = track.sigma[frame * track.jointCount + j];
      if (Number.isNaN(sigma)) continue;
      sum += sigma;
      count++;
    }
    if (count) return sum / count;
  }
  return Number.NaN;
}

function minutes(seconds: number): string {
  const whole = Math.floor(seconds / 60);
  return `${whole}:${(seconds - whole * 60).toFixed(2).padStart(5, "0")}`;
}
