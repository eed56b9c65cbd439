/** Joint angles and speed over the take, with the playhead across both. */

import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { h, spoken } from "./dom";
import { anglesOf, degrees, speeds } from "./kinematics";
import type { Player } from "./player";
import type { Take } from "./take";
import { colourOf } from "./theme";

const HEIGHT = 138;
const COLOURS: Record<string, `--${string}`> = { left: "--left", right: "--right" };
const FASTEST = ["right_wrist", "left_wrist", "nose"];

export class Plots {
  readonly element: HTMLElement;
  private readonly charts: { chart: uPlot; head: HTMLElement; redraw: () => void }[] = [];
  private drawn = 0;
  private width = 0;
  private readonly person: HTMLSelectElement;
  private readonly joint: HTMLSelectElement;
  private readonly angle: HTMLSelectElement;

  constructor(
    private readonly take: Take,
    private readonly player: Player,
  ) {
    const { joints } = take.skeleton;
    const angles = anglesOf(take.skeleton);
    const kinds = [...new Set(angles.map(({ name }) => name))];
    const update = () => this.update();
    this.angle = h("select", { "aria-label": "Joint angle", onchange: update });
    for (const kind of kinds) this.angle.append(h("option", { value: kind }, kind));
    this.joint = h("select", { "aria-label": "Joint whose speed is shown", onchange: update });
    for (const name of joints) this.joint.append(h("option", { value: name }, spoken(name)));
    this.joint.value = FASTEST.find((name) => joints.includes(name)) ?? joints[0];
    this.person = h("select", { "aria-label": "Person", onchange: update, hidden: true });
    const legend = h(
      "span",
      { class: "sides" },
      h("b", { class: "left" }, "left"),
      h("b", { class: "right" }, "right"),
    );
    const panel = (title: string, ...tools: Node[]) => {
      const body = h("div", { class: "chart", role: "img", "aria-label": `${title} over time` });
      const section = h("section", { class: "panel" }, h("header", {}, h("h2", {}, title), ...tools), body);
      return { section, body };
    };
    const angle = panel("Angle", this.angle, legend, this.person);
    const speed = panel("Speed", this.joint);
    this.element = h("div", { class: "plots" }, angle.section, speed.section);
    this.add(angle.body, "°", ["left", "right"], () =>
      (["left", "right"] as const).map((side) => {
        const found = angles.find((a) => a.name === this.angle.value && a.side === side);
        const track = this.track();
        return found && track ? degrees(track, found, take.length) : empty(take.length);
      }),
    );
    this.add(speed.body, " m/s", ["speed"], () => {
      const track = this.track();
      const joint = joints.indexOf(this.joint.value);
      return [track ? speeds(track, joint, take.timestamps, take.length) : empty(take.length)];
    });
  }

  /** Show the speed of a joint of a person. */
  choose(joint: number, person: number): void {
    this.joint.value = this.take.skeleton.joints[joint];
    this.person.value = String(person);
    this.update();
  }

  /** Take over the colours of the theme. */
  paint(): void {
    for (const { chart } of this.charts) chart.redraw(false);
  }

  resize(): void {
    const width = this.charts[0]?.chart.root.parentElement?.clientWidth ?? 0;
    if (width === this.width || width < 80) return;
    this.width = width;
    for (const { chart } of this.charts) chart.setSize({ width, height: HEIGHT });
  }

  /** Follow the take: new frames a few times a second, the playhead at once. */
  draw(done: boolean): void {
    const { take } = this;
    if (take.length && take.length !== this.drawn && (done || take.length > this.drawn * 1.05 + 5)) this.update();
    const time = take.timestamps[this.player.frame] ?? 0;
    for (const { chart, head } of this.charts) {
      const x = chart.valToPos(time, "x");
      const inside = Number.isFinite(x) && x >= 0 && x <= chart.over.clientWidth;
      head.style.transform = `translateX(${inside ? x : -9}px)`;
    }
  }

  dispose(): void {
    for (const { chart } of this.charts) chart.destroy();
  }

  private track() {
    return this.take.tracks[Math.max(0, this.person.selectedIndex)];
  }

  private update(): void {
    const { tracks } = this.take;
    this.drawn = this.take.length;
    while (this.person.options.length < tracks.length) {
      const index = this.person.options.length;
      this.person.append(h("option", { value: index }, `person ${tracks[index].id}`));
    }
    this.person.hidden = tracks.length < 2;
    for (const { redraw } of this.charts) redraw();
  }

  private add(body: HTMLElement, unit: string, names: string[], data: () => (number | null)[][]): void {
    const css = (name: `--${string}`) => () => colourOf(name);
    const axis = { stroke: css("--muted"), font: "11px system-ui, sans-serif", ticks: { show: false }, gap: 4 };
    const lines = { stroke: css("--line"), width: 1 };
    const head = h("i", { class: "chart-head" });
    const chart = new uPlot(
      {
        width: 400,
        height: HEIGHT,
        padding: [8, 8, 0, 0],
        legend: { show: false },
        cursor: { drag: { x: true, y: false, setScale: true }, points: { show: false }, y: false },
        scales: { x: { time: false } },
        axes: [
          {
            ...axis,
            size: 30,
            gap: 10,
            grid: { show: false },
            values: (_, ticks) => ticks.map((t) => `${+t.toFixed(3)} s`),
          },
          { ...axis, size: 46, grid: lines, values: (_, ticks) => ticks.map((t) => `${+t.toFixed(2)}${unit}`) },
        ],
        series: [
          {},
          ...names.map((name) => ({
            label: name,
            stroke: css(COLOURS[name] ?? "--accent"),
            width: 1.6,
            points: { show: false },
          })),
        ],
        hooks: {
          ready: [
            (plot) => {
              plot.over.append(head);
              plot.over.addEventListener("click", (event) => {
                const time = plot.posToVal(event.offsetX, "x");
                this.player.pause();
                this.player.seek(time);
              });
            },
          ],
        },
      },
      [[], ...names.map(() => [])] as unknown as uPlot.AlignedData,
      body,
    );
    const redraw = () =>
      chart.setData([Array.from(this.take.timestamps.subarray(0, this.take.length)), ...data()] as uPlot.AlignedData);
    this.charts.push({ chart, head, redraw });
  }
}

function empty(length: number): null[] {
  return new Array<null>(length).fill(null);
}
