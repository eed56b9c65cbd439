/** How much is drawn in one animation frame: less where they come late, more again after they have long been in time. */

const LATE = 25; // ms: a screen that shows 60 frames a second went without one
const VERY_LATE = 36; // ms; on a screen that long showed no two frames within `LATE` nothing below it is late
const FORGET = 1.001; // what the shortest time grows by with each frame: some 400 until a screen counts as slow
const RISE = 8; // late frames before less is drawn, where twenty in time make up for one
const PATIENCE = 4; // seconds in time before more is drawn; twice as long each time that was too much
const LONGEST_PATIENCE = 120;

export class Pace {
  /** 0: everything whenever it changes; up to 3: ever less, and not all of it in the same frame. */
  level = 0;
  private late = 0;
  private shortest = Number.POSITIVE_INFINITY; // ms from one frame to the next, of late
  private inTime = 0; // seconds
  private patience = PATIENCE;
  private tried = false; // to draw more again, since less was drawn

  /** Take in the time from one animation frame to the next, in milliseconds, of a frame in which much was drawn. */
  add(passed: number): void {
    this.shortest = Math.min(this.shortest * FORGET, passed);
    if (passed > (this.shortest < LATE ? LATE : VERY_LATE)) {
      this.inTime = Math.max(0, this.inTime - 1);
      // at level 3 videos are redrawn so rarely that a few more frames a second are not worth it
      if (this.level >= (passed > VERY_LATE ? 3 : 2) || ++this.late < RISE) return;
      this.level++;
      this.late = this.inTime = 0;
      if (this.tried) this.patience = Math.min(LONGEST_PATIENCE, this.patience * 2);
      this.tried = false;
      return;
    }
    this.late = Math.max(0, this.late - 0.05);
    this.inTime += passed / 1000;
    if (this.level === 0 || this.inTime < this.patience) return;
    this.level--;
    this.inTime = 0;
    this.tried = true;
  }
}
