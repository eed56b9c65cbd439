/** Whether WebGL is drawn by the processor: then canvases are better kept there, too, and finer edges cost too much. */

function isSoftware(): boolean {
  const gl = document.createElement("canvas").getContext("webgl2");
  if (!gl) return true;
  const info = gl.getExtension("WEBGL_debug_renderer_info");
  const name = String(gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return /swiftshader|llvmpipe|softpipe|basic render/i.test(name);
}

export const SOFTWARE_GL = isSoftware();

/** Settings of a 2D canvas that is drawn often. */
export const CANVAS: CanvasRenderingContext2DSettings = { willReadFrequently: SOFTWARE_GL };
