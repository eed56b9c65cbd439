import { describe, expect, it } from "vitest";
import { Player } from "../src/player";
import { Take } from "../src/take";

const FPS = 10;

function take(left_out: Record<string, number> = {}): Take {
  const skeleton = { name: "point", joints: ["nose"], parents: [-1] };
  const header = { model: { name: "m", version: "1" }, skeleton, units: "m" as const, fps: FPS, left_out };
  const found = new Take(header, ["early", "late"]);
  for (let i = 0; i < 50; i++) found.add({ index: i, timestamp: i / FPS, people: [] });
  return found;
}

/** As much of a video as a player looks at. */
function film(): HTMLVideoElement {
  const video = Object.assign(new EventTarget(), {
    currentTime: 0,
    duration: 100,
    paused: true,
    seeking: false,
    readyState: 4,
    playbackRate: 1,
    error: null,
  });
  return Object.assign(video, {
    play: async () => Object.assign(video, { paused: false }),
    pause: () => Object.assign(video, { paused: true }),
  }) as unknown as HTMLVideoElement;
}

function playing(left_out?: Record<string, number>) {
  const [early, late] = [film(), film()];
  const found = take(left_out);
  const videos = [
    { video: early, lead: found.lead("early") },
    { video: late, lead: found.lead("late") },
  ];
  return { early, late, player: new Player(found, videos, () => undefined) };
}

describe("Player", () => {
  it("shows each video as many images later as were left out of it", () => {
    const { early, late, player } = playing({ early: 7, late: 2 });
    expect([early.currentTime, late.currentTime]).toEqual([0.75, 0.25]); // the middle of the first frame
    player.seek(2);
    expect(player.frame).toBe(20);
    expect(early.currentTime).toBeCloseTo(2.75);
    expect(late.currentTime).toBeCloseTo(2.25);
    player.step(-3);
    expect(early.currentTime).toBeCloseTo(2.45);
  });

  it("takes the time from the video that leads, and brings the others to it", () => {
    const { early, late, player } = playing({ early: 7, late: 2 });
    player.play();
    player.tick(1000);
    early.currentTime = 0.7 + 0.04; // it stalls
    late.currentTime = 3;
    player.tick(1100);
    expect(player.time).toBeCloseTo(0.04);
    expect(player.frame).toBe(0);
    expect(late.currentTime).toBeCloseTo(0.24);
  });

  it("sets a video that is being set once that is over, to where it was last asked to be", () => {
    const { early, late, player } = playing();
    const ended = () => {
      Object.assign(early, { seeking: false });
      early.dispatchEvent(new Event("seeked"));
    };
    Object.assign(early, { seeking: true });
    player.seek(1);
    player.seek(2);
    expect([early.currentTime, late.currentTime]).toEqual([0.05, 2.05]);
    ended();
    expect(early.currentTime).toBe(2.05);
    early.currentTime = 3;
    ended(); // one that nobody asked of the player
    expect(early.currentTime).toBe(3);
  });

  it("holds that none was left out where the answer says nothing of it", () => {
    const { early, late, player } = playing();
    player.seek(2);
    expect([early.currentTime, late.currentTime]).toEqual([2.05, 2.05]);
  });
});
