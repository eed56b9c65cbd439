import { describe, expect, it } from "vitest";
import { guessCamera } from "../src/files";
import { anglesOf, degrees, speeds } from "../src/kinematics";
import { type FrameRecord, type Header, Lines, Take } from "../src/take";

const header: Header = {
  model: { name: "m", version: "1" },
  skeleton: { name: "leg", joints: ["left_hip", "left_knee", "left_ankle"], parents: [-1, 0, 1] },
  units: "m",
  fps: 10,
};

function frame(index: number, ankle: [number, number, number] | null): FrameRecord {
  const joints: FrameRecord["people"][0]["joints"] = [[0, 0, 1], [0, 0, 0.5], ankle];
  const sigma = [0.01, 0.01, ankle && 0.02];
  return { index, timestamp: index / 10, people: [{ id: 4, score: 0.9, joints, sigma, views: ["b"] }] };
}

describe("Take", () => {
  it("keeps what it was given when it grows", () => {
    const take = new Take(header, ["a", "b"], 2);
    for (let i = 0; i < 9; i++) take.add(i === 3 ? { index: 3, timestamp: 0.3, people: [] } : frame(i, [i, 0, 0]));
    const [track] = take.tracks;
    expect(take.length).toBe(9);
    expect(take.duration).toBeCloseTo(0.9);
    expect([track.has(2), track.has(3), track.has(4)]).toEqual([true, false, true]);
    expect(track.joints[(8 * 3 + 2) * 3]).toBe(8);
    expect(track.views[8]).toBe(0b10);
  });

  it("knows joints that nobody knows", () => {
    const take = new Take(header, []);
    take.add(frame(0, null));
    expect(take.tracks[0].joints[6]).toBeNaN();
    expect(take.tracks[0].sigma[2]).toBeNaN();
  });

  it("shows at a time the last frame that has begun", () => {
    const take = new Take(header, []);
    for (let i = 0; i < 5; i++) take.add(frame(i, [0, 0, 0]));
    expect([-1, 0, 0.05, 0.1, 0.29, 0.3, 9].map((time) => take.frameAt(time))).toEqual([0, 0, 0, 1, 2, 3, 4]);
  });

  it("begins so many images later as were left out of a camera's video", () => {
    const take = new Take({ ...header, left_out: { b: 7 } }, ["a", "b"]);
    expect(["a", "b"].map((camera) => take.lead(camera))).toEqual([0, 0.7]);
    expect(new Take(header, ["a", "b"]).lead("b")).toBe(0);
  });
});

describe("Lines", () => {
  it("cuts text that comes in pieces", () => {
    const lines = new Lines();
    expect([...lines.push('{"a":')]).toEqual([]);
    expect([...lines.push("1}\n\n2\n3")]).toEqual(['{"a":1}', "2"]);
    expect([...lines.push("\n")]).toEqual(["3"]);
  });
});

describe("kinematics", () => {
  const take = new Take(header, []);
  for (const [i, ankle] of ([[0, 0, 0], [0.5, 0, 0.5], null, [0, 0, 0]] as const).entries())
    take.add(frame(i, ankle as [number, number, number] | null));

  it("calls a straight knee 0° and leaves gaps", () => {
    const [knee] = anglesOf(header.skeleton);
    const found = degrees(take.tracks[0], knee, take.length);
    expect([knee.name, knee.side]).toEqual(["knee", "left"]);
    expect(found[0]).toBeCloseTo(0);
    expect(found[1]).toBeCloseTo(90);
    expect(found[2]).toBeNull();
  });

  it("measures speed in metres a second", () => {
    const found = speeds(take.tracks[0], 2, take.timestamps, take.length, 1);
    expect(found[0]).toBeCloseTo(Math.SQRT1_2 / 0.1);
    expect(found[1]).toBeNull();
  });
});

describe("guessCamera", () => {
  it("takes the camera of the name, else the longest that it holds", () => {
    expect(guessCamera("cam1.mp4", ["cam1", "cam10"])).toBe("cam1");
    expect(guessCamera("walk_Cam10_b.mp4", ["cam1", "cam10"])).toBe("cam10");
    expect(guessCamera("GOPR0001.mp4", ["cam1"])).toBeUndefined();
  });
});
