/** Elements in one line each. */

type Child = Node | string | null | undefined | false;
type Attributes = Record<string, string | number | boolean | ((event: never) => void) | undefined>;

/** An element; attributes that begin with `on` are listeners, `false` and `undefined` leave one out. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value as EventListener);
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child): child is Node | string => Boolean(child)));
  return element;
}

/** The element with this id, which the page is known to have. */
export function byId<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found as T;
}

/** Say what is going on, and how far it is as a share of 1 where that is known. */
export function status(text: string, share?: number): void {
  byId("status").textContent = text;
  const bar = byId<HTMLProgressElement>("progress");
  bar.hidden = share === undefined;
  if (share !== undefined) bar.value = share;
}

/** Say something to screen readers, politely. */
export function announce(text: string): void {
  byId("announcer").textContent = text;
}

/** A joint's or format's name for people: `left_big_toe` is "left big toe". */
export function spoken(name: string): string {
  return name.replaceAll("_", " ");
}
