/** The 3D scene: floor, cameras with their images, people coloured by sigma, and where they have been. */

import * as THREE from "three";
import { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";
import { type Camera, centre, toWorld, upAxis, type Vec3 } from "./camera";
import { sigmaColour } from "./colour";
import { h } from "./dom";
import { CANVAS, SOFTWARE_GL } from "./gpu";
import type { Pace } from "./pace";
import type { Take } from "./take";
import { colourOf } from "./theme";
import type { Hit } from "./videos";

const MOST_PEOPLE = 8;
const TRAIL_FRAMES = 90;
const TRAIL_JOINTS = ["left_wrist", "right_wrist", "left_ankle", "right_ankle"];
const IMAGE_HEIGHT = 160; // px of the image in a frustum
const FRUSTUM = 0.42; // metres from a camera to its image
const REACH = 16;
const STILL_DRAWS = 12;
const RATIOS = [1, 0.85, 0.72, 0.6]; // share of the screen's pixels that moving pictures have, by pace
const IMAGE_MS = [160, 500, 1000, 2000]; // between two images in a frustum while it plays, by pace

export class Scene {
  readonly element: HTMLElement;
  trails = true;
  uncertainty = false;
  private readonly renderer: THREE.WebGLRenderer;
  private readonly scene = new THREE.Scene();
  private readonly camera = new THREE.PerspectiveCamera(40, 1, 0.05, 200);
  private readonly controls: OrbitControls;
  private readonly world = new THREE.Group(); // the calibration's axes, turned so that up is y
  private readonly joints: THREE.InstancedMesh;
  private readonly bones: THREE.InstancedMesh;
  private readonly halos: THREE.InstancedMesh;
  private readonly trail: THREE.LineSegments;
  private readonly ring: THREE.Mesh;
  private readonly floor = new THREE.Group();
  private readonly frusta: Frustum[];
  private readonly trailJoints: number[];
  private readonly screen: Float32Array;
  private readonly up: Vec3;
  private floorKnown = 0;
  private target = new THREE.Vector3(0, 0.9, 0);
  private home = new THREE.Vector3();
  private touched = false;
  private dirty = true;
  private nextImage = 0;
  private ratio = 0; // of the drawing buffer, pixels a CSS pixel
  private still = 0; // draws since anything moved
  private drawn = "";

  constructor(
    private readonly take: Take,
    cameras: readonly Camera[],
    videos: ReadonlyMap<string, HTMLVideoElement>,
    private readonly pace: Pace,
  ) {
    this.renderer = new THREE.WebGLRenderer({
      antialias: !SOFTWARE_GL,
      alpha: true,
      powerPreference: "high-performance",
    });
    const canvas = this.renderer.domElement;
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    canvas.setAttribute(
      "aria-label",
      "3D scene. Arrow keys turn it, plus and minus zoom, 1 to 9 look through a camera.",
    );
    this.element = h("div", { class: "scene" }, canvas);
    this.up = upAxis(cameras);
    this.world.quaternion.setFromUnitVectors(new THREE.Vector3(...this.up), new THREE.Vector3(0, 1, 0));
    this.scene.add(this.world, this.floor);
    this.scene.add(new THREE.HemisphereLight(0xffffff, 0x8090a0, 2.4));
    const sun = new THREE.DirectionalLight(0xffffff, 1.6);
    sun.position.set(2, 5, 3);
    this.scene.add(sun);

    const J = take.skeleton.joints.length;
    const body = new THREE.MeshLambertMaterial();
    this.joints = instances(new THREE.SphereGeometry(1, 12, 8), body, MOST_PEOPLE * J);
    this.bones = instances(limb(), body, MOST_PEOPLE * J);
    const glass = new THREE.MeshBasicMaterial({ transparent: true, opacity: 0.16, depthWrite: false });
    this.halos = instances(new THREE.SphereGeometry(1, 12, 8), glass, MOST_PEOPLE * J);
    this.trailJoints = TRAIL_JOINTS.map((name) => take.skeleton.joints.indexOf(name)).filter((j) => j >= 0);
    this.trail = trailLines(MOST_PEOPLE * this.trailJoints.length * TRAIL_FRAMES);
    this.ring = new THREE.Mesh(
      new THREE.SphereGeometry(0.055, 14, 10),
      new THREE.MeshBasicMaterial({ color: 0xffffff, transparent: true, opacity: 0.45, depthTest: false }),
    );
    this.ring.visible = false;
    this.world.add(this.joints, this.bones, this.halos, this.trail, this.ring);
    this.screen = new Float32Array(MOST_PEOPLE * J * 2);
    this.frusta = cameras.map((camera) => new Frustum(camera, videos.get(camera.name)));
    for (const frustum of this.frusta) {
      this.world.add(frustum.group);
      this.element.append(frustum.label);
    }

    this.controls = new OrbitControls(this.camera, canvas);
    this.controls.enableDamping = true;
    this.controls.dampingFactor = 0.12;
    this.controls.maxPolarAngle = Math.PI * 0.52;
    this.controls.minDistance = 0.4;
    this.controls.maxDistance = 40;
    this.controls.addEventListener("start", () => {
      this.touched = true;
    });
    this.controls.addEventListener("change", () => {
      this.dirty = true;
    });
    canvas.addEventListener("keydown", (event) => this.key(event));
    this.world.updateMatrixWorld();
    this.frame();
    this.paint();
  }

  /** Take over the colours of the theme. */
  paint(): void {
    const colour = (name: `--${string}`) => new THREE.Color(colourOf(name));
    this.floor.clear();
    this.floor.add(grid(colour("--grid"), 6));
    for (const frustum of this.frusta) frustum.lines.color = colour("--frustum");
    (this.trail.material as THREE.LineBasicMaterial).color = colour("--trail");
    this.dirty = true;
  }

  resize(): void {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!width || !height) return;
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
    this.renderer.setSize(width, height);
    this.dirty = true;
  }

  /** Look at everything from where it is seen best. */
  reset(): void {
    this.touched = false;
    this.controls.enabled = true;
    this.camera.fov = 40;
    this.camera.updateProjectionMatrix();
    this.frame();
    this.dirty = true;
  }

  /** Look through the camera of this index. */
  lookThrough(index: number): string | null {
    const frustum = this.frusta[index];
    if (!frustum) return null;
    const { camera } = frustum;
    this.touched = true;
    const eye = this.toScene(centre(camera));
    const ahead = this.toScene(toWorld(camera, [0, 0, 1])).sub(eye);
    const distance = Math.max(0.5, this.target.clone().sub(eye).dot(ahead));
    this.camera.position.copy(eye).addScaledVector(ahead, 0.02);
    this.controls.target.copy(eye).addScaledVector(ahead, distance);
    const fov = (2 * Math.atan(camera.size[1] / 2 / camera.K[1][1]) * 180) / Math.PI;
    this.camera.fov = Math.min(90, fov * 1.08);
    this.camera.updateProjectionMatrix();
    this.controls.update();
    this.dirty = true;
    return camera.name;
  }

  /** The joint nearest to a point of the element. */
  pick(x: number, y: number): Hit | null {
    const J = this.take.skeleton.joints.length;
    let best: Hit | null = null;
    let nearest = REACH;
    for (let i = 0; i < Math.min(MOST_PEOPLE, this.take.tracks.length) * J; i++) {
      const distance = Math.hypot(this.screen[i * 2] - x, this.screen[i * 2 + 1] - y);
      if (distance < nearest) {
        nearest = distance;
        best = { person: Math.floor(i / J), joint: i % J };
      }
    }
    return best;
  }

  /** Where a joint was drawn, in pixels of the element. */
  at({ person, joint }: Hit): [number, number] {
    const i = (person * this.take.skeleton.joints.length + joint) * 2;
    return [this.screen[i], this.screen[i + 1]];
  }

  /** Draw what has changed; whether that was anything. */
  draw(frame: number, hover: Hit | null): boolean {
    this.controls.update();
    this.placeFloor(frame);
    const stamp = `${frame}:${this.take.length ? 1 : 0}:${hover?.person}.${hover?.joint}:${this.trails}${this.uncertainty}`;
    const moved = stamp !== this.drawn || this.take.length <= 1;
    if (moved) {
      this.drawn = stamp;
      this.trail.visible = this.trails;
      this.halos.visible = this.uncertainty;
      this.placePeople(frame, hover);
      if (this.trails) this.placeTrails(frame);
    }
    this.still = moved || this.dirty ? 0 : this.still + 1;
    const images = this.refreshImage();
    const ratio = this.wantedRatio();
    if (!moved && !images && !this.dirty && ratio === this.ratio) return false;
    if (ratio !== this.ratio) this.renderer.setPixelRatio(ratio);
    this.ratio = ratio;
    this.dirty = false;
    this.renderer.render(this.scene, this.camera);
    this.placeOnScreen(frame);
    return true;
  }

  dispose(): void {
    this.controls.dispose();
    this.scene.traverse((object) => {
      if (object instanceof THREE.Mesh || object instanceof THREE.LineSegments) {
        object.geometry.dispose();
        (object.material as THREE.Material).dispose();
      }
    });
    for (const frustum of this.frusta) frustum.dispose();
    this.renderer.dispose();
    this.renderer.forceContextLoss();
  }

  private toScene(point: Vec3): THREE.Vector3 {
    return this.world.localToWorld(new THREE.Vector3(...point));
  }

  /** Stand so that the people's place and as many cameras as possible are in sight. */
  private frame(): void {
    const eyes = this.frusta.map(({ camera }) => this.toScene(centre(camera)));
    if (!this.floorKnown) {
      // where the cameras look: the point nearest to all their axes would do; a step ahead of them is enough
      this.target = this.frusta.reduce(
        (sum, { camera }) => sum.add(this.toScene(toWorld(camera, [0, 0, 3]))),
        new THREE.Vector3(),
      );
      this.target.divideScalar(Math.max(1, eyes.length));
    }
    const around = eyes.map((eye) => Math.atan2(eye.x - this.target.x, eye.z - this.target.z));
    const angle = widestGap(around);
    const radius = Math.max(2.2, ...eyes.map((eye) => Math.hypot(eye.x - this.target.x, eye.z - this.target.z)));
    const distance = Math.min(radius * 0.9 + 1, 8);
    this.home.set(Math.sin(angle), 0.3, Math.cos(angle)).multiplyScalar(distance).add(this.target);
    this.camera.position.copy(this.home);
    this.controls.target.copy(this.target);
    this.controls.update();
  }

  /** The floor is where the feet are lowest; look again while the first frames come in. */
  private placeFloor(frame: number): void {
    const length = this.take.length;
    if (!length || (this.floorKnown && (length < this.floorKnown * 2 || this.floorKnown > 400))) return;
    const heights: number[] = [];
    const centres = new THREE.Vector3();
    let seen = 0;
    const point = new THREE.Vector3();
    const J = this.take.skeleton.joints.length;
    for (const { joints } of this.take.tracks)
      for (let f = 0; f < length; f += Math.max(1, Math.floor(length / 200))) {
        let lowest = Number.POSITIVE_INFINITY;
        for (let j = 0; j < J; j++) {
          const i = (f * J + j) * 3;
          if (Number.isNaN(joints[i])) continue;
          this.world.localToWorld(point.set(joints[i], joints[i + 1], joints[i + 2]));
          lowest = Math.min(lowest, point.y);
          centres.add(point);
          seen++;
        }
        if (Number.isFinite(lowest)) heights.push(lowest);
      }
    if (!seen) return;
    const first = !this.floorKnown;
    this.floorKnown = length;
    heights.sort((a, b) => a - b);
    const ankle = this.take.skeleton.joints.some((name) => name.includes("heel")) ? 0.02 : 0.08;
    this.floor.position.copy(centres.divideScalar(seen)).setY(heights[Math.floor(heights.length * 0.05)] - ankle);
    this.target.copy(centres);
    if (first && !this.touched && frame >= 0) this.frame();
    this.dirty = true;
  }

  private placePeople(frame: number, hover: Hit | null): void {
    const { parents, joints: names } = this.take.skeleton;
    const J = names.length;
    let bones = 0;
    let spheres = 0;
    this.ring.visible = false;
    for (let p = 0; p < Math.min(MOST_PEOPLE, this.take.tracks.length); p++) {
      const track = this.take.tracks[p];
      if (!track.has(frame)) continue;
      for (let j = 0; j < J; j++) {
        const i = (frame * J + j) * 3;
        if (Number.isNaN(track.joints[i])) continue;
        A.fromArray(track.joints, i);
        const sigma = track.sigma[frame * J + j];
        sigmaColour(sigma, COLOUR);
        COLOUR.convertSRGBToLinear();
        const face = /eye|ear|nose/.test(names[j]);
        MATRIX.makeScale(1, 1, 1)
          .scale(SCALE.setScalar(face ? 0.016 : 0.028))
          .setPosition(A);
        this.joints.setMatrixAt(spheres, MATRIX);
        this.joints.setColorAt(spheres, COLOUR);
        MATRIX.makeScale(1, 1, 1)
          .scale(SCALE.setScalar(Math.max(0.001, sigma || 0.001)))
          .setPosition(A);
        this.halos.setMatrixAt(spheres, MATRIX);
        this.halos.setColorAt(spheres, COLOUR);
        spheres++;
        if (hover?.person === p && hover.joint === j) {
          this.ring.visible = true;
          this.ring.position.copy(A);
        }
        if (parents[j] < 0) continue;
        B.fromArray(track.joints, (frame * J + parents[j]) * 3);
        if (Number.isNaN(B.x)) continue;
        const length = B.distanceTo(A);
        DIRECTION.subVectors(A, B).divideScalar(Math.max(1e-6, length));
        TURN.setFromUnitVectors(Y, DIRECTION);
        const thick = face ? 0.008 : 0.02;
        MATRIX.compose(B, TURN, SCALE.set(thick, length, thick));
        this.bones.setMatrixAt(bones, MATRIX);
        this.bones.setColorAt(bones, COLOUR);
        bones++;
      }
    }
    this.joints.count = this.halos.count = spheres;
    this.bones.count = bones;
    for (const mesh of [this.joints, this.halos, this.bones]) {
      if (!mesh.visible) continue;
      update(mesh.instanceMatrix, mesh.count);
      update(mesh.instanceColor!, mesh.count);
    }
  }

  private placeTrails(frame: number): void {
    const positions = this.trail.geometry.getAttribute("position") as THREE.BufferAttribute;
    const colours = this.trail.geometry.getAttribute("color") as THREE.BufferAttribute;
    const J = this.take.skeleton.joints.length;
    let n = 0;
    for (let p = 0; p < Math.min(MOST_PEOPLE, this.take.tracks.length); p++) {
      const { joints } = this.take.tracks[p];
      for (const joint of this.trailJoints)
        for (let age = 0; age < TRAIL_FRAMES - 1 && frame - age > 0; age++) {
          const i = ((frame - age) * J + joint) * 3;
          const k = i - J * 3;
          if (Number.isNaN(joints[i]) || Number.isNaN(joints[k])) continue;
          positions.setXYZ(n, joints[i], joints[i + 1], joints[i + 2]);
          colours.setXYZW(n++, 1, 1, 1, (1 - age / TRAIL_FRAMES) ** 1.5);
          positions.setXYZ(n, joints[k], joints[k + 1], joints[k + 2]);
          colours.setXYZW(n++, 1, 1, 1, (1 - (age + 1) / TRAIL_FRAMES) ** 1.5);
        }
    }
    this.trail.geometry.setDrawRange(0, n);
    update(positions, n);
    update(colours, n);
  }

  private placeOnScreen(frame: number): void {
    const { clientWidth: width, clientHeight: height } = this.element;
    const J = this.take.skeleton.joints.length;
    this.screen.fill(Number.NaN);
    const toPixels = (point: THREE.Vector3): boolean => {
      this.world.localToWorld(point).project(this.camera);
      const inFront = point.z < 1;
      point.set(((point.x + 1) / 2) * width, ((1 - point.y) / 2) * height, 0);
      return inFront;
    };
    for (let p = 0; p < Math.min(MOST_PEOPLE, this.take.tracks.length); p++) {
      const track = this.take.tracks[p];
      if (!track.has(frame)) continue;
      for (let j = 0; j < J; j++) {
        A.fromArray(track.joints, (frame * J + j) * 3);
        if (Number.isNaN(A.x) || !toPixels(A)) continue;
        this.screen[(p * J + j) * 2] = A.x;
        this.screen[(p * J + j) * 2 + 1] = A.y;
      }
    }
    for (const { label, eye } of this.frusta) {
      const ahead = toPixels(A.copy(eye));
      label.hidden = !ahead || A.x < 0 || A.y < 0 || A.x > width || A.y > height;
      label.style.transform = `translate(${Math.round(A.x)}px, ${Math.round(A.y)}px)`;
    }
  }

  /** Refresh the image of one camera at a time, each a few times a second: uploads are what costs. */
  private refreshImage(): boolean {
    const now = performance.now();
    const wait = this.still ? IMAGE_MS[0] : IMAGE_MS[this.pace.level];
    for (let tried = 0; tried < this.frusta.length; tried++) {
      const frustum = this.frusta[this.nextImage++ % this.frusta.length];
      if (frustum.refresh(now, wait)) return true;
    }
    return false;
  }

  /** While it moves, what the pace allows; a scene that stands still has two pixels a pixel, or what the screen has. */
  private wantedRatio(): number {
    if (this.still >= STILL_DRAWS) return Math.max(2, devicePixelRatio);
    return Math.min(SOFTWARE_GL ? 1 : 2, devicePixelRatio) * RATIOS[this.pace.level];
  }

  private key(event: KeyboardEvent): void {
    const turns: Record<string, [number, number, number]> = {
      ArrowLeft: [-0.1, 0, 1],
      ArrowRight: [0.1, 0, 1],
      ArrowUp: [0, -0.08, 1],
      ArrowDown: [0, 0.08, 1],
      "+": [0, 0, 0.9],
      "=": [0, 0, 0.9],
      "-": [0, 0, 1.1],
    };
    const turn = turns[event.key];
    if (!turn || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.touched = true;
    const offset = this.camera.position.clone().sub(this.controls.target);
    const s = new THREE.Spherical().setFromVector3(offset);
    s.theta += turn[0];
    s.phi = Math.max(0.05, Math.min(this.controls.maxPolarAngle, s.phi + turn[1]));
    s.radius = Math.max(this.controls.minDistance, Math.min(this.controls.maxDistance, s.radius * turn[2]));
    this.camera.position.copy(this.controls.target).add(offset.setFromSpherical(s));
    this.dirty = true;
  }
}

/** A camera as a pyramid that ends in its image. */
class Frustum {
  readonly group = new THREE.Group();
  readonly lines = new THREE.LineBasicMaterial();
  readonly label: HTMLElement;
  readonly eye: THREE.Vector3;
  private readonly canvas = document.createElement("canvas");
  private readonly texture: THREE.CanvasTexture;
  private readonly screen: THREE.Mesh;
  private context: CanvasRenderingContext2D | null = null;
  private since = 0;
  private shown = -1;

  constructor(
    readonly camera: Camera,
    private readonly video: HTMLVideoElement | undefined,
  ) {
    const [w, hgt] = camera.size;
    this.eye = new THREE.Vector3(...centre(camera));
    this.label = h("span", { class: "camera-label", "aria-hidden": "true" }, camera.name);
    const corner = (x: number, y: number) =>
      toWorld(camera, [
        ((x - camera.K[0][2]) / camera.K[0][0]) * FRUSTUM,
        ((y - camera.K[1][2]) / camera.K[1][1]) * FRUSTUM,
        FRUSTUM,
      ]);
    const corners = [corner(0, 0), corner(w, 0), corner(w, hgt), corner(0, hgt)];
    const eye = this.eye.toArray();
    const ends = corners.flatMap((at, i) => [...eye, ...at, ...at, ...corners[(i + 1) % 4]]);
    const wire = new THREE.BufferGeometry().setAttribute("position", new THREE.Float32BufferAttribute(ends, 3));
    this.canvas.height = IMAGE_HEIGHT;
    this.canvas.width = Math.max(1, Math.round((IMAGE_HEIGHT * w) / hgt));
    this.texture = new THREE.CanvasTexture(this.canvas);
    this.texture.colorSpace = THREE.SRGBColorSpace;
    this.texture.generateMipmaps = false;
    this.texture.minFilter = THREE.LinearFilter;
    const plane = new THREE.BufferGeometry();
    plane.setAttribute("position", new THREE.Float32BufferAttribute(corners.flat(), 3));
    plane.setAttribute("uv", new THREE.Float32BufferAttribute([0, 1, 1, 1, 1, 0, 0, 0], 2));
    plane.setIndex([0, 2, 1, 0, 3, 2]);
    this.screen = new THREE.Mesh(plane, new THREE.MeshBasicMaterial({ map: this.texture, side: THREE.DoubleSide }));
    this.screen.visible = false; // until there is an image
    this.group.add(new THREE.LineSegments(wire, this.lines), this.screen);
  }

  /** Draw the video's image if it is new and the last one was `wait` milliseconds ago. */
  refresh(now: number, wait: number): boolean {
    const { video } = this;
    if (!video || video.readyState < 2 || now < this.since + wait || video.currentTime === this.shown) return false;
    this.since = now;
    this.shown = video.currentTime;
    this.context ??= this.canvas.getContext("2d", { ...CANVAS, alpha: false });
    this.context?.drawImage(video, 0, 0, this.canvas.width, this.canvas.height);
    this.texture.needsUpdate = this.screen.visible = true;
    return true;
  }

  dispose(): void {
    this.texture.dispose();
    this.label.remove();
  }
}

const A = new THREE.Vector3();
const B = new THREE.Vector3();
const DIRECTION = new THREE.Vector3();
const SCALE = new THREE.Vector3();
const Y = new THREE.Vector3(0, 1, 0);
const TURN = new THREE.Quaternion();
const MATRIX = new THREE.Matrix4();
const COLOUR = new THREE.Color();

function instances(geometry: THREE.BufferGeometry, material: THREE.Material, most: number): THREE.InstancedMesh {
  const mesh = new THREE.InstancedMesh(geometry, material, most);
  mesh.instanceMatrix.setUsage(THREE.DynamicDrawUsage);
  mesh.frustumCulled = false;
  mesh.count = 0;
  mesh.setColorAt(0, COLOUR); // makes room for colours before the first frame
  return mesh;
}

/** Send the first `count` items to the GPU, and not the room behind them. */
function update(attribute: THREE.BufferAttribute, count: number): void {
  attribute.clearUpdateRanges();
  attribute.addUpdateRange(0, count * attribute.itemSize);
  attribute.needsUpdate = true;
}

/** The direction farthest from all of these: what stands there is not in the way. */
function widestGap(angles: readonly number[]): number {
  if (!angles.length) return 0.6;
  const apart = (a: number, b: number) => Math.abs(Math.atan2(Math.sin(a - b), Math.cos(a - b)));
  const room = (candidate: number) => Math.min(...angles.map((angle) => apart(angle, candidate)));
  const candidates = Array.from({ length: 72 }, (_, i) => (i * Math.PI) / 36);
  return candidates.reduce((best, candidate) => (room(candidate) > room(best) + 1e-6 ? candidate : best));
}

/** A limb of length 1 along y: thick at its begin, thin at its end. */
function limb(): THREE.BufferGeometry {
  return new THREE.CylinderGeometry(0.75, 1.15, 1, 10, 1, true).translate(0, 0.5, 0);
}

function trailLines(segments: number): THREE.LineSegments {
  const geometry = new THREE.BufferGeometry();
  for (const [name, size] of [
    ["position", 3],
    ["color", 4],
  ] as const)
    geometry.setAttribute(
      name,
      new THREE.BufferAttribute(new Float32Array(segments * 2 * size), size).setUsage(THREE.DynamicDrawUsage),
    );
  const lines = new THREE.LineSegments(
    geometry,
    new THREE.LineBasicMaterial({ vertexColors: true, transparent: true, depthWrite: false }),
  );
  lines.frustumCulled = false;
  return lines;
}

/** A floor of half-metre squares that fades out with distance. */
function grid(colour: THREE.Color, reach: number): THREE.LineSegments {
  const positions: number[] = [];
  const colours: number[] = [];
  const put = (x: number, z: number, strong: boolean) => {
    const fade = Math.max(0, 1 - Math.hypot(x, z) / reach);
    positions.push(x, 0, z);
    colours.push(colour.r, colour.g, colour.b, fade * fade * (strong ? 0.9 : 0.4));
  };
  for (let i = -reach; i <= reach; i += 0.5)
    for (let j = -reach; j < reach; j++) {
      if (Math.hypot(i, j + 0.5) > reach) continue;
      const strong = Number.isInteger(i);
      put(i, j, strong);
      put(i, j + 1, strong);
      put(j, i, strong);
      put(j + 1, i, strong);
    }
  const geometry = new THREE.BufferGeometry();
  geometry.setAttribute("position", new THREE.Float32BufferAttribute(positions, 3));
  geometry.setAttribute("color", new THREE.Float32BufferAttribute(colours, 4));
  const material = new THREE.LineBasicMaterial({ vertexColors: true, transparent: true, depthWrite: false });
  return new THREE.LineSegments(geometry, material);
}
