/** The menu of formats: one click opens it, the next saves a file. */

import { convert, type Format } from "./api";
import { announce, h } from "./dom";

const ABOUT: Record<string, string> = {
  json: "everything, as one document",
  ndjson: "everything, a line a frame",
  csv: "spreadsheets, pandas, R",
  trc: "OpenSim, Pose2Sim",
  c3d: "Mokka, Visual3D, Vicon, MATLAB",
  bvh: "Blender, MotionBuilder, Maya",
  glb: "Blender, Unity, web viewers",
  gltf: "Blender, Unity, web viewers",
  parquet: "pandas, DuckDB, Spark",
  npz: "NumPy",
  rrd: "Rerun viewer",
};

// what people ask for first comes first; a format that is not named here follows
const ORDER = ["c3d", "trc", "bvh", "glb", "csv", "json"];

/** The items of the menu; `answer` gives what there is to save and its name without suffix. */
export function fillMenu(
  menu: HTMLElement,
  formats: readonly Format[],
  answer: () => { content: Blob; name: string; up?: string },
  failed: (message: string) => void,
): void {
  const rank = ({ name }: Format) => (ORDER.indexOf(name) + ORDER.length + 1) % (ORDER.length + 1);
  const sorted = [...formats].sort((a, b) => rank(a) - rank(b));
  const items = sorted.map((format) => {
    const item = h(
      "button",
      { "data-format": format.name, type: "button" },
      h("strong", {}, format.name.toUpperCase()),
      h("span", {}, ABOUT[format.name] ?? format.media_type),
    );
    item.addEventListener("click", async () => {
      item.disabled = true;
      try {
        const { content, name, up } = answer();
        save(format.name === "ndjson" ? content : await convert(content, format, up), `${name}${format.suffix}`);
        announce(`${name}${format.suffix} is saved`);
        menu.hidePopover();
      } catch (error) {
        menu.hidePopover();
        failed(error instanceof Error ? error.message : String(error));
      } finally {
        item.disabled = false;
      }
    });
    return item;
  });
  menu.replaceChildren(...items);
  menu.onkeydown = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = items.indexOf(document.activeElement as HTMLButtonElement) + step;
    items[(next + items.length) % items.length].focus();
  };
}

/** Have the browser save this under a name. */
export function save(content: Blob, name: string): void {
  const url = URL.createObjectURL(content);
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
