/** How much is drawn in one animation frame: less where they come late, more again after they have long been in time. */

const LATE = 36; // ms: fewer than 28 frames a second
const RISE = 8; // late frames before less is drawn, where ten in time make up for one
const PATIENCE = 4; // seconds in time before more is drawn; twice as long each time that was too much
const LONGEST_PATIENCE = 120;

export class Pace {
  /** 0: everything whenever it changes; up to 3: ever less, and not all of it in the same frame. */
  level = 0;
  private late = 0;
  private inTime = 0; // seconds
  private patience = PATIENCE;
  private tried = false; // to draw more again, since less was drawn

  /** Take in the time from one animation frame to the next, in milliseconds, of a frame in which much was drawn. */
  add(passed: number): void {
    if (passed > LATE) {
      this.inTime = Math.max(0, this.inTime - 1);
      if (++this.late < RISE || this.level === 3) return;
      this.level++;
      this.late = this.inTime = 0;
      if (this.tried) this.patience = Math.min(LONGEST_PATIENCE, this.patience * 2);
      this.tried = false;
      return;
    }
    this.late = Math.max(0, this.late - 0.1);
    this.inTime += passed / 1000;
    if (this.level === 0 || this.inTime < this.patience) return;
    this.level--;
    this.inTime = 0;
    this.tried = true;
  }
}
