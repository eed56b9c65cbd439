/** One ramp for how well a joint is known: calm where it is exact, loud where it is not. */

const STOPS: [number, number, number, number][] = [
  [0.0, 45, 212, 191],
  [0.02, 52, 211, 153],
  [0.04, 250, 204, 21],
  [0.07, 249, 115, 22],
  [0.1, 225, 29, 72],
];

/** The radius from which the ramp stays at its end, metres. */
export const WORST_SIGMA = 0.1;

/** Write red, green and blue from 0 to 1 for a sigma in metres into `out`; grey where it is unknown. */
export function sigmaColour(sigma: number, out: { r: number; g: number; b: number }): void {
  if (!(sigma >= 0)) {
    out.r = out.g = out.b = 0.55;
    return;
  }
  let i = 1;
  while (i < STOPS.length - 1 && sigma > STOPS[i][0]) i++;
  const [low, high] = [STOPS[i - 1], STOPS[i]];
  const share = Math.min(1, (sigma - low[0]) / (high[0] - low[0]));
  out.r = (low[1] + share * (high[1] - low[1])) / 255;
  out.g = (low[2] + share * (high[2] - low[2])) / 255;
  out.b = (low[3] + share * (high[3] - low[3])) / 255;
}

/** The same ramp in steps of a millimetre, for canvases. */
export const SIGMA_CSS: readonly string[] = Array.from({ length: 101 }, (_, millimetres) => {
  const colour = { r: 0, g: 0, b: 0 };
  sigmaColour(millimetres / 1000, colour);
  return `rgb(${[colour.r, colour.g, colour.b].map((part) => Math.round(part * 255)).join(" ")})`;
});

export function sigmaCss(sigma: number): string {
  return sigma >= 0 ? SIGMA_CSS[Math.min(100, Math.round(sigma * 1000))] : "rgb(140 140 140)";
}
