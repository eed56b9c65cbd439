/** Dark or light: the system's choice until the person makes one. */

import { byId, h } from "./dom";

const probe = h("i", { hidden: true });

/** A colour of the style sheet's palette, as the theme that is chosen has it. */
export function colourOf(name: `--${string}`): string {
  if (!probe.isConnected) document.body.append(probe);
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}

export function watchTheme(changed: () => void): void {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const button = byId("theme");
  const current = () => root.dataset.theme ?? (dark.matches ? "dark" : "light");
  const show = () => {
    button.setAttribute("aria-label", current() === "dark" ? "Use light colours" : "Use dark colours");
    changed();
  };
  const kept = localStorage.getItem("theme");
  if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  button.addEventListener("click", () => {
    root.dataset.theme = current() === "dark" ? "light" : "dark";
    localStorage.setItem("theme", root.dataset.theme);
    show();
  });
  dark.addEventListener("change", show);
  show();
}
