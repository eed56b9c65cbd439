import { readFileSync } from "node:fs";
import { defineConfig, type Plugin } from "vite";

/** The licences of what is bundled travel with it. */
const licences: Plugin = {
  name: "licences",
  generateBundle() {
    const texts = ["three", "uplot"].map(
      (name) => `${name}\n\n${readFileSync(`node_modules/${name}/LICENSE`, "utf8").trim()}\n`,
    );
    this.emitFile({ type: "asset", fileName: "assets/licences.txt", source: texts.join("\n\n") });
  },
};

// Names without hashes: the built files are committed, and a change of a file should read as one.
export default defineConfig({
  base: "/",
  plugins: [licences],
  build: {
    outDir: "../synpose_server/http/static",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 1000,
    modulePreload: { polyfill: false },
    rollupOptions: {
      output: { entryFileNames: "assets/page.js", assetFileNames: "assets/page[extname]" },
    },
  },
  server: { proxy: { "/v1": { target: "http://127.0.0.1:8000", ws: true } } },
});
