import { expect, test } from "vitest";
import { Pace } from "../src/pace";

function feed(pace: Pace, milliseconds: number, times: number): number {
  for (let i = 0; i < times; i++) pace.add(milliseconds);
  return pace.level;
}

test("frames in time leave everything to be drawn, and a single late one changes nothing", () => {
  const pace = new Pace();
  for (let i = 0; i < 200; i++) feed(pace, i % 25 ? 16.7 : 80, 1);
  expect(pace.level).toBe(0);
});

test("late frames bring the level up, to its end and no further", () => {
  const pace = new Pace();
  expect(feed(pace, 60, 8)).toBe(1);
  expect(feed(pace, 60, 100)).toBe(3);
});

test("a fifth of late frames is too many", () => {
  const pace = new Pace();
  for (let i = 0; i < 1000; i++) pace.add(i % 5 ? 16.7 : 50);
  expect(pace.level).toBeGreaterThan(0);
});

test("two refreshes of the screen for one frame are late, but not on a screen of half as many", () => {
  const [sixty, thirty] = [new Pace(), new Pace()];
  for (let i = 0; i < 1000; i++) {
    sixty.add(i % 12 ? 16.7 : 33.3);
    thirty.add(33.3);
  }
  expect(sixty.level).toBe(2);
  expect(thirty.level).toBe(0);
});

test("a screen that is slowed down, as to save energy, soon counts as slow", () => {
  const pace = new Pace();
  feed(pace, 16.7, 100);
  expect(feed(pace, 33.3, 100)).toBe(2);
  expect(feed(pace, 33.3, 1000)).toBe(0);
});

test("after a while in time more is drawn again, later each time that was too much", () => {
  const pace = new Pace();
  const back = () => {
    let frames = 0;
    for (; pace.level; frames++) pace.add(20);
    return frames;
  };
  feed(pace, 60, 8);
  const first = back();
  feed(pace, 60, 8);
  expect(back()).toBeGreaterThan(1.8 * first);
});
