/** Which connected camera is which of the calibration, chosen beside its image. */

import type { Camera } from "./camera";
import { byId, h } from "./dom";
import { type Connected, closeCameras, openCameras } from "./live";

export class LiveSetup {
  private connected: Connected[] = [];

  constructor(
    private readonly calibrated: () => readonly Camera[],
    private readonly run: (videos: Map<string, HTMLVideoElement>) => void,
  ) {
    byId("live-open").addEventListener("click", () => void this.find());
    byId("live-start").addEventListener("click", () => this.start());
  }

  /** Let go of the cameras. */
  close(): void {
    closeCameras(this.connected);
    this.connected = [];
    byId("live").hidden = true;
  }

  /** Offer the cameras of the calibration that is there now. */
  refresh(): void {
    const names = this.calibrated().map(({ name }) => name);
    byId("live-rig").textContent = names.length
      ? `The calibration has ${names.join(", ")}. Say which camera is which.`
      : "Add the calibration of these cameras above.";
    for (const [index, select] of this.selects().entries()) {
      const chosen = select.value || names[index] || "";
      select.replaceChildren(
        h("option", { value: "" }, "not used"),
        ...names.map((name) => h("option", { value: name, selected: name === chosen }, name)),
      );
    }
  }

  fail(message: string): void {
    byId("live-error").textContent = message;
  }

  private async find(): Promise<void> {
    const button = byId<HTMLButtonElement>("live-open");
    button.disabled = true;
    this.close();
    this.fail("");
    byId("live").hidden = false;
    try {
      this.connected = await openCameras();
      if (!this.connected.length) this.fail("No camera could be opened; another program may be using them.");
    } catch (error) {
      this.fail((error as Error).message);
    } finally {
      button.disabled = false;
    }
    byId("live-cameras").replaceChildren(
      ...this.connected.map(({ label, video }) =>
        h(
          "li",
          {},
          video,
          h("label", {}, h("span", { class: "file" }, label), h("select", { "aria-label": `${label} is` })),
        ),
      ),
    );
    this.refresh();
    byId("live").scrollIntoView({ block: "nearest" });
  }

  private start(): void {
    this.fail("");
    const videos = new Map<string, HTMLVideoElement>();
    for (const [index, { value }] of this.selects().entries()) {
      if (videos.has(value)) {
        this.fail(`Two cameras are said to be ${value}.`);
        return;
      }
      if (value) videos.set(value, this.connected[index].video);
    }
    if (!this.calibrated().length) this.fail("Add the calibration of these cameras above.");
    else if (!videos.size) this.fail("Choose which camera is which.");
    else this.run(videos);
  }

  private selects(): HTMLSelectElement[] {
    return [...byId("live-cameras").querySelectorAll("select")];
  }
}
