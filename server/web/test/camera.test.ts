import { describe, expect, it } from "vitest";
import { type Camera, centre, project, resized, toWorld, upAxis } from "../src/camera";
import opencv from "./opencv.json";

const cameras = opencv.views.map(({ camera }) => camera as unknown as Camera);

describe("project", () => {
  it.each(opencv.views.map((view) => [view.camera.name, view] as const))(
    "agrees with OpenCV, distortion %s",
    (_, view) => {
      const out = new Float64Array(2);
      for (const [i, [x, y, z]] of opencv.points.entries()) {
        expect(project(view.camera as unknown as Camera, x, y, z, out)).toBe(true);
        expect(out[0]).toBeCloseTo(view.pixels[i][0], 5);
        expect(out[1]).toBeCloseTo(view.pixels[i][1], 5);
      }
    },
  );

  it("gives nothing for a point behind the camera", () => {
    const out = new Float64Array([7, 7]);
    const behind = toWorld(cameras[0], [0, 0, -1]);
    expect(project(cameras[0], ...behind, out)).toBe(false);
    expect([...out]).toEqual([7, 7]);
  });
});

describe("resized", () => {
  it("leaves K alone where a codec has trimmed a few columns", () => {
    expect(resized(cameras[1], 1272, 720).K).toEqual(cameras[1].K);
  });

  it("scales pixels, whose centres sit at whole numbers", () => {
    const half = resized(cameras[1], 640, 360);
    const [full, small] = [new Float64Array(2), new Float64Array(2)];
    project(cameras[1], 0.2, -0.1, 0.3, full);
    project(half, 0.2, -0.1, 0.3, small);
    expect(small[0]).toBeCloseTo((full[0] + 0.5) / 2 - 0.5, 9);
    expect(small[1]).toBeCloseTo((full[1] + 0.5) / 2 - 0.5, 9);
  });
});

describe("poses of cameras", () => {
  it("puts the centre where the camera frame begins", () => {
    expect(centre(cameras[0])).toEqual(toWorld(cameras[0], [0, 0, 0]));
  });

  it("takes up from where the tops of the cameras point", () => {
    const level = {
      ...cameras[0],
      R: [
        [1, 0, 0],
        [0, 0, -1],
        [0, 1, 0],
      ],
    };
    expect(upAxis([level])).toEqual([0, 0, 1]);
    const tilted = {
      ...cameras[0],
      R: [
        [1, 0, 0],
        [0, 0.9, 0.436],
        [0, -0.436, 0.9],
      ],
    };
    expect(upAxis([tilted])).toEqual([0, -1, 0]);
  });
});
