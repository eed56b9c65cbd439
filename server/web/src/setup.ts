/** The first view: videos, calibration and options, each with its errors beside it. */

import { type Choice, type Model, Problem, parseCalibration } from "./api";
import { PersonCalibration } from "./calibrate";
import type { Camera } from "./camera";
import { byId, h } from "./dom";
import { guessCamera, sortFiles, stem } from "./files";
import { parseOffsets } from "./offsets";

/** What has a place of its own for errors. */
const PLACES = ["calibration", "video", "height", "max_offset", "offsets", "model", "skeleton", "max_people"];

export interface Clip {
  cameras: readonly Camera[];
  videos: Map<string, File>;
  calibration: readonly File[];
  choice: Choice;
}

interface Video {
  file: File;
  camera: string;
}

export class Setup {
  private videos: Video[] = [];
  private calibration: File[] = [];
  private cameras: Camera[] = [];
  private models: readonly Model[] = [];
  private readonly offsets = byId<HTMLInputElement>("offsets"); // of these recordings, and gone with them
  private readonly person = new PersonCalibration(
    () => this.videos.map(({ file }) => file),
    () => this.clip().choice.model,
    async (file, offsets) => {
      await this.add([file]);
      this.offsets.value = offsets;
    },
    (problem) => {
      this.clearErrors();
      this.fail(problem);
    },
  );

  constructor(
    private readonly run: (clip: Clip) => void,
    private readonly open: (answer: File, clip: Clip) => void,
    private readonly changed: () => void,
  ) {
    const zone = byId("drop");
    const picker = byId<HTMLInputElement>("picker");
    picker.addEventListener("change", () => {
      void this.add([...(picker.files ?? [])]);
      picker.value = "";
    });
    byId("browse").addEventListener("click", () => picker.click());
    for (const kind of ["dragenter", "dragover"] as const)
      addEventListener(kind, (event) => {
        event.preventDefault();
        zone.classList.add("over");
      });
    addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) zone.classList.remove("over");
    });
    addEventListener("drop", (event) => {
      event.preventDefault();
      zone.classList.remove("over");
      if (!byId("setup").hidden) void this.add([...(event.dataTransfer?.files ?? [])]);
    });
    byId("start").addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    byId("calibration-remove").addEventListener("click", () => {
      this.calibration = [];
      this.cameras = [];
      this.offsets.value = "";
      this.clearErrors();
      this.match();
      this.show();
    });
    byId<HTMLSelectElement>("model").addEventListener("change", () => this.fillSkeletons());
    byId<HTMLSelectElement>("units").addEventListener("change", () => void this.readCalibration());
  }

  setModels(models: readonly Model[]): void {
    this.models = models;
    byId("model").replaceChildren(
      ...models.map(({ name, is_default }) => h("option", { value: name, selected: is_default }, name)),
    );
    this.fillSkeletons();
  }

  /** Take these files in, beside those that are there. */
  async add(files: readonly File[]): Promise<void> {
    this.clearErrors();
    const { videos, calibration, answer } = await sortFiles(files);
    if (!videos.length && !calibration.length && !answer && files.length)
      this.error("general", `${files[0].name} is neither a video nor a calibration that Synpose knows.`);
    for (const file of videos) {
      this.remove(this.videos.find((known) => known.file.name === file.name));
      this.videos.push({ file, camera: "" });
    }
    if (calibration.length) {
      this.person.stop();
      this.calibration = calibration;
      await this.readCalibration();
    }
    this.match();
    this.show();
    if (answer) this.open(answer, this.clip());
  }

  /** Show an error beside the field that caused it. */
  fail(problem: unknown): void {
    const { message } = problem instanceof Error ? problem : new Error(String(problem));
    const { field = "", camera } = problem instanceof Problem ? problem : {};
    const row = camera !== undefined && byId("videos").querySelector(`[data-camera="${CSS.escape(camera)}"] .error`);
    if (row && !field.startsWith("calibration") && field !== "options.offsets") {
      row.textContent = message;
      row.closest("li")?.querySelector("select")?.focus();
      return;
    }
    const place =
      field.startsWith("calibration") || field === "options.units" ? "calibration" : field.replace("options.", "");
    const known = PLACES.includes(place);
    this.error(known ? place : "general", camera ? `${camera}: ${message}` : message);
    if (!known) return;
    const at = document.getElementById(place);
    at?.closest("details")?.setAttribute("open", ""); // or nobody sees it
    at?.focus();
  }

  clip(): Clip {
    const units = byId<HTMLSelectElement>("units").value as Choice["units"] | "";
    return {
      cameras: this.cameras,
      videos: new Map(this.videos.filter(({ camera }) => camera).map(({ file, camera }) => [camera, file])),
      calibration: this.calibration,
      choice: {
        model: byId<HTMLSelectElement>("model").value || "default",
        skeleton: byId<HTMLSelectElement>("skeleton").value || "coco17",
        max_people: byId<HTMLInputElement>("max_people").valueAsNumber || 1,
        ...(units ? { units } : {}),
      },
    };
  }

  private async readCalibration(): Promise<void> {
    if (!this.calibration.length) return;
    this.error("calibration", "");
    try {
      const { units } = this.clip().choice;
      this.cameras = await parseCalibration(this.calibration, units);
    } catch (problem) {
      this.cameras = [];
      this.fail(problem);
    }
    this.match();
    this.show();
  }

  private remove(video: Video | undefined): void {
    if (!video) return;
    this.videos = this.videos.filter((other) => other !== video);
    this.offsets.value = "";
  }

  private match(): void {
    const names = this.cameras.map(({ name }) => name);
    const free = new Set(names);
    for (const video of this.videos) {
      const guess = guessCamera(video.file.name, names);
      video.camera = guess && free.delete(guess) ? guess : "";
    }
    // names that say nothing: when as many are left on both sides, their order does
    const open = this.videos.filter(({ camera }) => !camera);
    if (open.length === free.size) for (const [i, name] of [...free].entries()) open[i].camera = name;
  }

  private show(): void {
    const names = this.cameras.map(({ name }) => name);
    byId("videos").replaceChildren(
      ...this.videos.map((video) => {
        const select = h(
          "select",
          { "aria-label": `Camera of ${video.file.name}` },
          h("option", { value: "" }, "not used"),
        );
        for (const name of names) select.append(h("option", { value: name, selected: name === video.camera }, name));
        const remove = h("button", { type: "button", class: "remove", "aria-label": `Remove ${video.file.name}` }, "×");
        remove.addEventListener("click", () => {
          this.remove(video);
          this.show();
        });
        const row = h(
          "li",
          { "data-camera": names.length ? video.camera : stem(video.file.name) },
          h("span", { class: "file" }, video.file.name),
          h("span", { class: "dim" }, megabytes(video.file.size)),
          names.length ? select : null,
          remove,
          h("p", { class: "error", role: "alert" }),
        );
        select.addEventListener("change", () => {
          for (const other of this.videos) if (other.camera === select.value) other.camera = "";
          video.camera = select.value;
          this.show();
        });
        return row;
      }),
    );
    const files = this.calibration.map(({ name }) => name).join(", ");
    byId("calibration-name").textContent = files
      ? `${files}${names.length ? ` · ${names.length} ${names.length === 1 ? "camera" : "cameras"}: ${names.join(", ")}` : ""}`
      : "";
    byId("calibration-remove").hidden = !files;
    byId("apart").hidden = names.length < 2;
    this.person.show(this.calibration[0]);
    this.changed();
    byId("chosen").hidden = !this.videos.length && !this.calibration.length;
    byId("drop").classList.toggle("small", !byId("chosen").hidden);
  }

  private submit(): void {
    this.clearErrors();
    const clip = this.clip();
    if (!this.calibration.length) this.error("calibration", "Add the calibration of these cameras, or calibrate.");
    else if (!clip.cameras.length) this.error("calibration", "This calibration cannot be read; add another.");
    else if (!clip.videos.size) this.error("video", "Add the videos of these cameras.");
    else
      try {
        const offsets = parseOffsets(
          this.offsets.value,
          clip.cameras.map(({ name }) => name),
        );
        this.run({ ...clip, choice: { ...clip.choice, offsets } });
      } catch (problem) {
        this.fail(problem);
      }
  }

  private fillSkeletons(): void {
    const model = this.models.find(({ name }) => name === byId<HTMLSelectElement>("model").value);
    const wanted = byId<HTMLSelectElement>("skeleton").value || "halpe26";
    const skeletons = model?.skeletons ?? ["coco17"];
    byId("skeleton").replaceChildren(
      ...skeletons.map((name) => h("option", { value: name, selected: name === wanted }, name)),
    );
    byId("model-about").textContent = model?.description ?? "";
  }

  private error(place: string, message: string): void {
    byId(`${place}-error`).textContent = message;
  }

  private clearErrors(): void {
    for (const element of document.querySelectorAll("#setup .error")) element.textContent = "";
  }
}

function megabytes(bytes: number): string {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
