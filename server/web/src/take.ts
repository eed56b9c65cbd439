/** One recording: the answer of an estimate in flat arrays that grow as its lines arrive. */

export interface Skeleton {
  name: string;
  joints: string[];
  parents: number[];
}

export interface Header {
  model: { name: string; version: string };
  skeleton: Skeleton;
  units: "m";
  fps: number;
  /** Images at the start of a camera's recording that the answer does not use. */
  left_out?: Record<string, number>;
}

export interface Notice {
  code: string;
  message: string;
  camera?: string;
}

export interface PersonRecord {
  id: number;
  score: number;
  joints: ([number, number, number] | null)[];
  sigma: (number | null)[];
  views: string[];
}

export interface FrameRecord {
  index: number;
  timestamp: number;
  people: PersonRecord[];
  notices?: Notice[];
}

/** One person over the take; a frame without them has score NaN. Joints in metres, NaN where unknown. */
export class Track {
  joints: Float32Array;
  sigma: Float32Array;
  score: Float32Array;
  /** Bit i is set where the take's camera i was used. */
  views: Uint32Array;

  constructor(
    readonly id: number,
    readonly jointCount: number,
    capacity: number,
  ) {
    this.joints = new Float32Array(capacity * jointCount * 3).fill(Number.NaN);
    this.sigma = new Float32Array(capacity * jointCount).fill(Number.NaN);
    this.score = new Float32Array(capacity).fill(Number.NaN);
    this.views = new Uint32Array(capacity);
  }

  grow(capacity: number): void {
    this.joints = grown(this.joints, capacity * this.jointCount * 3, Number.NaN);
    this.sigma = grown(this.sigma, capacity * this.jointCount, Number.NaN);
    this.score = grown(this.score, capacity, Number.NaN);
    this.views = grown(this.views, capacity, 0);
  }

  has(frame: number): boolean {
    return !Number.isNaN(this.score[frame]);
  }
}

function grown<T extends Float32Array | Float64Array | Uint32Array>(array: T, length: number, fill: number): T {
  const larger = new (array.constructor as new (length: number) => T)(length);
  larger.fill(fill);
  larger.set(array);
  return larger;
}

export class Take {
  length = 0;
  timestamps: Float64Array;
  readonly tracks: Track[] = [];
  readonly notices: Notice[] = [];
  private capacity: number;

  constructor(
    readonly header: Header,
    readonly cameraNames: readonly string[],
    capacity = 1024,
  ) {
    this.capacity = capacity;
    this.timestamps = new Float64Array(capacity);
  }

  get skeleton(): Skeleton {
    return this.header.skeleton;
  }

  /** Seconds from the first frame's time to the end of the last frame. */
  get duration(): number {
    return this.length ? this.timestamps[this.length - 1] + 1 / this.header.fps : 0;
  }

  /** Seconds of a camera's video that come before the take. */
  lead(camera: string): number {
    return (this.header.left_out?.[camera] ?? 0) / this.header.fps;
  }

  add(record: FrameRecord): void {
    if (this.length === this.capacity) this.grow();
    const frame = this.length++;
    this.timestamps[frame] = record.timestamp;
    if (record.notices) this.notices.push(...record.notices);
    for (const person of record.people) this.addPerson(frame, person);
  }

  /** The frame that is shown at a time: the last that has begun. */
  frameAt(time: number): number {
    let low = 0;
    let high = this.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.timestamps[middle] <= time + 1e-4) low = middle;
      else high = middle - 1;
    }
    return Math.max(low, 0);
  }

  private addPerson(frame: number, person: PersonRecord): void {
    const joints = this.skeleton.joints.length;
    let track = this.tracks.find((known) => known.id === person.id);
    if (!track) {
      track = new Track(person.id, joints, this.capacity);
      this.tracks.push(track);
    }
    track.score[frame] = person.score;
    track.views[frame] = person.views.reduce((bits, name) => bits | (1 << this.cameraNames.indexOf(name)), 0);
    for (let j = 0; j < joints; j++) {
      const joint = person.joints[j];
      for (let axis = 0; axis < 3; axis++)
        track.joints[(frame * joints + j) * 3 + axis] = joint ? joint[axis] : Number.NaN;
      track.sigma[frame * joints + j] = person.sigma[j] ?? Number.NaN;
    }
  }

  private grow(): void {
    this.capacity *= 2;
    this.timestamps = grown(this.timestamps, this.capacity, 0);
    for (const track of this.tracks) track.grow(this.capacity);
  }
}

/** Cuts text that arrives in pieces into lines. */
export class Lines {
  private rest = "";

  *push(text: string): Generator<string> {
    this.rest += text;
    let start = 0;
    for (let end = this.rest.indexOf("\n"); end >= 0; end = this.rest.indexOf("\n", start)) {
      const line = this.rest.slice(start, end);
      start = end + 1;
      if (line) yield line;
    }
    this.rest = this.rest.slice(start);
  }
}
