/** The one clock: where the take is, whether it runs, how fast. The videos run beside it and lead it where they can. */

import type { Take } from "./take";

export const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 4, 8] as const;

const SEEK_SECONDS = 0.25; // a video that is farther off is set, not waited for
const SLOWEST_VIDEO = 0.0625; // what browsers play
const FOLLOW_SECONDS = 0.6; // how far behind the newest frame a take is shown while it is computed

/** A video, and how many seconds of it come before the take. */
export interface LedVideo {
  video: HTMLVideoElement;
  lead: number;
}

export class Player {
  time = 0;
  frame = 0;
  playing = false;
  speed = 1;
  loop = true;
  /** More frames are on their way. */
  growing = false;
  /** The newest frame is shown, whatever the time. */
  live = false;
  private last = 0;
  private rate = 0;
  private readonly next = new Map<HTMLVideoElement, number>(); // where those that are being set go after that

  constructor(
    readonly take: Take,
    private readonly videos: readonly LedVideo[],
    private readonly changed: () => void,
  ) {
    for (const { video } of videos)
      video.addEventListener("seeked", () => {
        const time = this.next.get(video);
        this.next.delete(video);
        if (time !== undefined) video.currentTime = time;
      });
    this.seek(0);
  }

  play(): void {
    if (this.playing || !this.take.length) return;
    if (!this.growing && this.time >= this.take.duration - 0.5 / this.take.header.fps) this.seek(0);
    this.playing = true;
    this.last = 0;
    this.rate = 0;
    this.changed();
  }

  pause(): void {
    if (!this.playing) return;
    this.playing = false;
    for (const { video } of this.videos) video.pause();
    this.seek(this.take.timestamps[this.frame] ?? 0);
    this.changed();
  }

  toggle(): void {
    if (this.playing) this.pause();
    else this.play();
  }

  setSpeed(speed: number): void {
    this.speed = speed;
    this.rate = 0;
    this.changed();
  }

  /** Go faster (+1) or slower (−1). */
  shiftSpeed(step: number): void {
    const index = SPEEDS.indexOf(this.speed as (typeof SPEEDS)[number]) + step;
    if (index >= 0 && index < SPEEDS.length) this.setSpeed(SPEEDS[index]);
  }

  seek(time: number): void {
    this.time = Math.max(0, Math.min(time, Math.max(0, this.take.duration - 1e-3)));
    this.frame = this.take.frameAt(this.time);
    // the middle of the frame's time: at its very begin some players still show the one before
    const middle = (this.take.timestamps[this.frame] ?? 0) + 0.5 / this.take.header.fps;
    for (const { video, lead } of this.videos) this.set(video, lead + middle);
  }

  /** Set a video to a time, or let that follow the setting under way: Chromium now and then never ends one set over. */
  private set(video: HTMLVideoElement, time: number): void {
    if (video.seeking) this.next.set(video, time);
    else video.currentTime = time;
  }

  step(frames: number): void {
    this.pause();
    const target = Math.max(0, Math.min(this.take.length - 1, this.frame + frames));
    this.seek(this.take.timestamps[target] ?? 0);
    this.changed();
  }

  /** Move on to `now`, the time of an animation frame in milliseconds. */
  tick(now: number): void {
    const passed = this.last ? Math.min(0.1, (now - this.last) / 1000) : 0;
    this.last = now;
    if (this.live) this.frame = Math.max(0, this.take.length - 1);
    if (this.live || !this.playing || !this.take.length) return;
    const end = this.take.duration;
    const ahead = end - this.time;
    // while frames are still being computed, go only as fast as they come
    const rate = this.growing ? Math.min(this.speed, Math.max(0, ahead / FOLLOW_SECONDS) * this.speed) : this.speed;
    this.setRate(rate);
    const leader = this.videos.find(({ video }) => !video.paused && !video.seeking && video.readyState >= 3);
    const free = this.time + passed * rate;
    const led = leader ? leader.video.currentTime - leader.lead : free;
    // a leading video that stalls holds the clock; one that is far off is being set
    this.time = Math.abs(led - free) < SEEK_SECONDS ? led : free;
    if (this.time >= end - 1e-3) {
      if (this.growing) this.time = Math.max(0, end - 1e-3);
      else if (this.loop) this.seek(0);
      else {
        this.time = end - 1e-3;
        this.frame = this.take.length - 1;
        this.pause();
        return;
      }
    }
    this.frame = this.take.frameAt(this.time);
    for (const { video, lead } of this.videos)
      if (
        video !== leader?.video &&
        !video.seeking &&
        Math.abs(video.currentTime - lead - this.time) > SEEK_SECONDS * Math.max(1, rate)
      )
        if (video.duration > lead + this.time) video.currentTime = lead + this.time;
  }

  /** Run every video at this rate; changes of less than a tenth are not worth the hiccup. */
  private setRate(rate: number): void {
    if (this.rate > 0 && Math.abs(rate / this.rate - 1) < 0.1) {
      for (const { video } of this.videos) if (video.paused && video.currentTime < video.duration) start(video);
      return;
    }
    this.rate = rate;
    for (const { video } of this.videos) {
      if (rate < SLOWEST_VIDEO) video.pause();
      else {
        video.playbackRate = Math.min(16, rate);
        if (video.paused) start(video);
      }
    }
  }
}

function start(video: HTMLVideoElement): void {
  if (video.readyState < 2 || video.error) return;
  video.play().catch(() => undefined); // interrupted by the next pause: nothing is wrong
}
