/** Calibration from the person in the videos, for who has no calibration file: height in, cameras and a report out. */

import { type CalibrationAnswer, type CameraReport, calibrate } from "./api";
import { sigmaCss, WORST_SIGMA } from "./colour";
import { announce, byId, h, status } from "./dom";
import { save } from "./download";
import { stem } from "./files";
import { formatOffsets } from "./offsets";

const REFUSED = { distance: 0.25, degrees: 8 }; // uncertainties from which the server refuses a camera
const FIRM = 0.2; // share of those up to which a camera is held firmly
const FAIR = 0.5;

export class PersonCalibration {
  private running: AbortController | null = null;
  private file: File | null = null;
  private readonly button = byId<HTMLButtonElement>("calibrate");

  constructor(
    private readonly videos: () => readonly File[],
    private readonly model: () => string,
    private readonly found: (calibration: File, offsets: string) => Promise<void>,
    private readonly fail: (problem: unknown) => void,
  ) {
    this.button.addEventListener("click", () => {
      if (this.running) this.running.abort();
      else void this.run();
    });
    for (const id of ["height", "max_offset"])
      byId(id).addEventListener("keydown", (event) => {
        if (event.key !== "Enter") return;
        event.preventDefault(); // it would send the form, which needs the calibration
        if (!this.running) void this.run();
      });
  }

  /** Offer a calibration where there are videos and no `calibration`, and show the report of the one made here. */
  show(calibration: File | undefined): void {
    const offered = calibration === undefined && this.videos().length > 0;
    byId("from-person").hidden = !offered;
    byId("estimate").hidden = offered;
    byId("calibrated").hidden = calibration === undefined || calibration !== this.file;
  }

  /** Stop what is running. */
  stop(): void {
    this.running?.abort();
  }

  private async run(): Promise<void> {
    const max_offset = given("max_offset", "Give seconds, 0 where all cameras started together.");
    const height = given("height", "Give the person's height in metres: it sets the scale.");
    if (height === null || max_offset === null) return;
    this.running = new AbortController();
    this.button.textContent = "Stop";
    status("Uploading", 0);
    try {
      const answer = await calibrate(
        new Map(this.videos().map((file) => [stem(file.name), file])),
        { model: this.model(), height, max_offset, same_lens: byId<HTMLInputElement>("same_lens").checked },
        {
          uploaded: (share) => {
            if (share < 1) status(`Uploading ${Math.round(share * 100)} %`, share);
            else status("Looking for the person");
          },
          progress: (done, total) => {
            if (done === total) status("Computing the cameras");
            else if (total) status(`Looking at frame ${done + 1} of ${total}`, done / total);
            else status(`Looking at frame ${done + 1}`);
          },
        },
        this.running.signal,
      );
      this.file = new File([`${JSON.stringify(answer.calibration, null, 1)}\n`], "calibration.json");
      this.report(answer);
      await this.found(this.file, formatOffsets(answer.report.cameras));
      announce("The cameras are calibrated.");
    } catch (problem) {
      if (problem instanceof DOMException && problem.name === "AbortError") return;
      this.fail(problem);
      announce((problem as Error).message);
    } finally {
      this.running = null;
      this.button.textContent = "Calibrate from the person";
      status("");
    }
  }

  private report({ report }: CalibrationAnswer): void {
    const apart = report.cameras.some(({ offset }) => offset); // whether offsets were looked for
    const head = ["Camera", "Held", "In the image", "Position", "Direction", "Focal length", apart && "Frames ahead"];
    const rows = report.cameras.map((camera, index) => {
      const weakness = Math.max(camera.relative_error / REFUSED.distance, camera.rotation_error / REFUSED.degrees);
      const dot = h("i", { class: "dot" });
      dot.style.background = sigmaCss(weakness * WORST_SIGMA);
      const held = weakness <= FIRM ? "firmly" : weakness <= FAIR ? "fairly" : "weakly";
      return h(
        "tr",
        {},
        h("th", { scope: "row" }, camera.name),
        h("td", {}, ...(index ? [dot, held] : ["reference"])),
        h("td", {}, `${camera.reprojection.toFixed(1)} px`),
        h("td", {}, index ? `± ${(camera.position_error * 100).toFixed(1)} cm` : "–"),
        h("td", {}, index ? `± ${camera.rotation_error.toFixed(2)}°` : "–"),
        h("td", {}, focal(camera)),
        apart && h("td", {}, index ? `${camera.offset.toFixed(2)} ± ${camera.offset_error.toFixed(2)}` : "–"),
      );
    });
    const notices = [...report.notices];
    if (report.cameras.some(({ focal_error }) => focal_error > 0))
      notices.push(
        "The lenses were found from the motion, too. Known ones make distances surer: synpose calibrate takes a " +
          "calibration file or videos of a board for them.",
      );
    const button = h("button", { type: "button", id: "calibration-save" }, "Save the calibration");
    button.addEventListener("click", () => this.file && save(this.file, this.file.name));
    byId("calibrated").replaceChildren(
      h(
        "div",
        { class: "scroll" },
        h(
          "table",
          {},
          h("caption", {}, "Uncertainties are those of each camera against the first one."),
          h("thead", {}, h("tr", {}, ...head.map((text) => text && h("th", { scope: "col" }, text)))),
          h("tbody", {}, ...rows),
        ),
      ),
      h("ul", { class: "notices" }, ...notices.map((text) => h("li", {}, text))),
      button,
    );
  }
}

/** The number in a field, or null, and why it is needed beside the field. */
function given(id: string, need: string): number | null {
  const field = byId<HTMLInputElement>(id);
  const missing = Number.isNaN(field.valueAsNumber);
  byId(`${id}-error`).textContent = missing ? need : "";
  if (missing) field.focus();
  return missing ? null : field.valueAsNumber;
}

function focal({ focal, focal_error }: CameraReport): string {
  return `${focal.toFixed(0)} px${focal_error ? ` ± ${(focal_error * 100).toFixed(1)} %` : ""}`;
}
