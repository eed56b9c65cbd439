/** What is known of a joint: the tip under the pointer, and the same for all joints as a table. */

import { sigmaCss } from "./colour";
import { h, spoken } from "./dom";
import type { Take } from "./take";
import type { Hit } from "./videos";

export class JointTip {
  readonly element = h("div", { class: "tip", hidden: true });
  private shown = "";

  constructor(
    private readonly take: Take,
    private readonly cameras: readonly string[],
  ) {}

  show(hit: Hit, frame: number, x: number, y: number): void {
    const { take, element } = this;
    const track = take.tracks[hit.person];
    const stamp = `${hit.person}.${hit.joint}@${frame}`;
    if (stamp !== this.shown) {
      this.shown = stamp;
      const i = frame * track.jointCount + hit.joint;
      const sigma = track.sigma[i];
      const dot = h("i", { class: "dot" });
      dot.style.background = sigmaCss(sigma);
      const bits = track.views[frame];
      element.replaceChildren(
        h("strong", {}, dot, spoken(take.skeleton.joints[hit.joint])),
        h("span", {}, `${error(sigma)} · score ${track.score[frame].toFixed(2)}`),
        h("span", { class: "views" }, ...this.cameras.map((name, c) => h(bits & (1 << c) ? "b" : "s", {}, name))),
        h(
          "span",
          { class: "dim" },
          `x ${metres(track.joints[i * 3])}  y ${metres(track.joints[i * 3 + 1])}  z ${metres(track.joints[i * 3 + 2])}`,
        ),
      );
    }
    element.hidden = false;
    const { offsetWidth: width, offsetHeight: height } = element;
    const left = x + 18 + width > innerWidth ? x - width - 18 : x + 18;
    element.style.transform = `translate(${Math.round(left)}px, ${Math.round(Math.min(y + 14, innerHeight - height - 8))}px)`;
  }

  hide(): void {
    this.element.hidden = true;
    this.shown = "";
  }
}

/** The joints of the frame that is shown, for those who cannot point; filled while it is open. */
export class JointTable {
  readonly element: HTMLDetailsElement;
  private readonly body = h("tbody");
  private readonly caption = h("caption");
  private shown = "";

  constructor(
    private readonly take: Take,
    private readonly cameras: readonly string[],
  ) {
    const head = ["Joint", "x", "y", "z", "± (68 %)"].map((text) => h("th", { scope: "col" }, text));
    this.element = h(
      "details",
      { class: "panel joints" },
      h("summary", {}, "Joints of this frame"),
      h("div", { class: "scroll" }, h("table", {}, this.caption, h("thead", {}, h("tr", {}, ...head)), this.body)),
    );
  }

  draw(frame: number, playing: boolean): void {
    const stamp = `${frame}:${this.take.length > 0}`;
    if (!this.element.open || stamp === this.shown || (playing && frame % 6)) return;
    this.shown = stamp;
    const rows: HTMLElement[] = [];
    const used = new Set<string>();
    for (const track of this.take.tracks) {
      if (!track.has(frame)) continue;
      this.cameras.forEach((name, c) => {
        if (track.views[frame] & (1 << c)) used.add(name);
      });
      this.take.skeleton.joints.forEach((name, j) => {
        const i = frame * track.jointCount + j;
        const dot = h("i", { class: "dot" });
        dot.style.background = sigmaCss(track.sigma[i]);
        const label = this.take.tracks.length > 1 ? `${track.id}: ${spoken(name)}` : spoken(name);
        const cells = [0, 1, 2].map((axis) => h("td", {}, metres(track.joints[i * 3 + axis])));
        rows.push(h("tr", {}, h("th", { scope: "row" }, dot, label), ...cells, h("td", {}, error(track.sigma[i]))));
      });
    }
    this.caption.textContent = rows.length
      ? `Frame ${frame + 1}, seen by ${[...used].join(", ")}`
      : "Nobody is seen in this frame.";
    this.body.replaceChildren(...rows);
  }
}

function metres(value: number): string {
  return Number.isNaN(value) ? "–" : `${value.toFixed(3)} m`;
}

function error(sigma: number): string {
  return Number.isNaN(sigma) ? "unknown" : `± ${(sigma * 1000).toFixed(0)} mm`;
}
