import { describe, expect, it } from "vitest";
import type { Problem } from "../src/api";
import { formatOffsets, parseOffsets } from "../src/offsets";

const CAMERAS = ["cam01", "cam02", "cam04", "left=cam", "a, b"];

function refusal(text: string): Problem {
  try {
    parseOffsets(text, CAMERAS);
  } catch (problem) {
    return problem as Problem;
  }
  throw new Error(`${text} was read`);
}

describe("parseOffsets", () => {
  it("reads frames by camera, as the command line writes them", () => {
    expect(parseOffsets("cam02=6.86, cam04=-12", CAMERAS)).toEqual({ cam02: 6.86, cam04: -12 });
    expect(parseOffsets(" cam02 = +7,cam04=.5 , ", CAMERAS)).toEqual({ cam02: 7, cam04: 0.5 });
    expect(parseOffsets("  ", CAMERAS)).toEqual({});
  });

  it("reads names that hold commas and equals signs", () => {
    expect(parseOffsets("left=cam=3, a, b=-1", CAMERAS)).toEqual({ "left=cam": 3, "a, b": -1 });
  });

  it("says what cannot be read", () => {
    for (const [text, part] of [
      ["cam02", "not cam02"],
      ["cam02=", "not cam02="],
      ["cam01=1, cam02=seven", "not cam02=seven"],
      ["cam02=6,86", "not 86"],
      ["cam02=Infinity", "not cam02=Infinity"],
    ]) {
      const { message, field, camera } = refusal(text);
      expect([field, camera]).toEqual(["options.offsets", undefined]);
      expect(message).toContain(part);
    }
  });

  it("names a camera that is unknown, or comes twice", () => {
    expect(refusal("cam09=1")).toMatchObject({ field: "options.offsets", camera: "cam09" });
    expect(refusal("cam09=1").message).toContain("it has cam01, cam02");
    expect(refusal("cam02=1, cam02=1")).toMatchObject({ field: "options.offsets", camera: "cam02" });
  });
});

describe("formatOffsets", () => {
  const camera = (name: string, offset: number) => ({ name, offset });

  it("writes what parseOffsets reads, without cameras that are not ahead", () => {
    const text = formatOffsets([camera("cam01", 0), camera("cam02", 6.8649), camera("cam04", -12.001)]);
    expect(text).toBe("cam02=6.86, cam04=-12");
    expect(parseOffsets(text, CAMERAS)).toEqual({ cam02: 6.86, cam04: -12 });
  });

  it("writes nothing where no camera is half a frame off", () => {
    expect(formatOffsets([camera("cam01", 0), camera("cam02", 0.49), camera("cam04", -0.3)])).toBe("");
  });
});
