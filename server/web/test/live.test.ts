import { afterEach, expect, test, vi } from "vitest";
import { LiveStream } from "../src/live";

const choice = { model: "fast", skeleton: "coco17", units: "m" } as unknown as ConstructorParameters<
  typeof LiveStream
>[2];

/** The parts of a browser that a stream touches; `encoded` lets the image go that is being encoded. */
class Browser {
  readonly sent: unknown[] = [];
  tick: (() => void) | undefined;
  encoded: ((image: Blob) => void) | undefined;
  socket!: { onopen(): void; onmessage(message: { data: string }): void };

  constructor() {
    const browser = this;
    class Socket {
      static readonly OPEN = 1;
      readyState = 1;
      bufferedAmount = 0;
      constructor() {
        browser.socket = this as unknown as Browser["socket"];
      }
      send(message: unknown) {
        browser.sent.push(typeof message === "string" ? JSON.parse(message).type : "capture");
      }
    }
    const canvas = {
      getContext: () => ({ drawImage: () => {} }),
      toBlob: (done: (image: Blob) => void) => {
        browser.encoded = done;
      },
    };
    vi.stubGlobal("WebSocket", Socket);
    vi.stubGlobal("location", { protocol: "http:", host: "here" });
    vi.stubGlobal("sessionStorage", { getItem: () => null });
    vi.stubGlobal("document", { createElement: () => canvas });
    vi.stubGlobal("window", {
      setInterval: (tick: () => void) => {
        browser.tick = tick;
        return 1;
      },
    });
    vi.stubGlobal("clearInterval", () => {
      browser.tick = undefined;
    });
  }

  stream(): LiveStream {
    const video = { readyState: 4, videoWidth: 4, videoHeight: 2 } as HTMLVideoElement;
    const events = { opened: () => {}, result: () => {}, closed: () => {} };
    const stream = new LiveStream([], new Map([["left", video]]), choice, events);
    this.socket.onopen();
    return stream;
  }

  open(): void {
    this.socket.onmessage({ data: JSON.stringify({ type: "opened", header: {} }) });
  }

  async encode(): Promise<void> {
    this.encoded?.(new Blob(["image"]));
    await new Promise((resolve) => setTimeout(resolve));
  }
}

afterEach(() => vi.unstubAllGlobals());

test("each tick sends the images of one instant", async () => {
  const browser = new Browser();
  browser.stream();
  browser.open();
  browser.tick?.();
  await browser.encode();
  expect(browser.sent).toEqual(["start", "capture"]);
});

test("nothing follows the end, not even images that were being encoded", async () => {
  const browser = new Browser();
  const stream = browser.stream();
  browser.open();
  browser.tick?.();
  stream.stop();
  await browser.encode();
  expect(browser.sent).toEqual(["start", "end"]);
});

test("a stream that was stopped before the server opened it takes no images", () => {
  const browser = new Browser();
  const stream = browser.stream();
  stream.stop();
  browser.open();
  expect(browser.tick).toBeUndefined();
  expect(browser.sent).toEqual(["start", "end"]);
});
