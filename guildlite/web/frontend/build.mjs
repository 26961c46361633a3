// Bundles the islands into ../static/dist, with a manifest that tells pages the file names.
//
//   node build.mjs           once, minified, as a wheel carries it
//   node build.mjs --watch   again at each change, with source maps
import { rmSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import * as esbuild from "esbuild";

const watch = process.argv.includes("--watch");
const out = new URL("../static/dist/", import.meta.url).pathname;
const pages = ["compare", "live", "media", "metrics", "output", "runs", "shell", "start"];

/** Writes manifest.json: page → the script and style files it asks for. */
const manifest = {
  name: "manifest",
  setup(build) {
    build.onEnd((result) => {
      if (!result.metafile) return;
      const files = {};
      for (const [path, made] of Object.entries(result.metafile.outputs)) {
        if (!made.entryPoint) continue;
        const page = basename(made.entryPoint).replace(/\.ts$/, "");
        files[page] = { script: basename(path), style: made.cssBundle ? basename(made.cssBundle) : null };
      }
      writeFileSync(`${out}manifest.json`, JSON.stringify(files, null, 1) + "\n");
    });
  },
};

rmSync(out, { recursive: true, force: true });
const context = await esbuild.context({
  entryPoints: pages.map((page) => new URL(`src/pages/${page}.ts`, import.meta.url).pathname),
  bundle: true,
  format: "esm",
  target: ["es2022"],
  outdir: out,
  entryNames: "[name]-[hash]",
  chunkNames: "shared-[hash]",
  splitting: true,
  minify: !watch,
  sourcemap: watch,
  metafile: true,
  // Licences of what is bundled lie beside the bundle.
  legalComments: "linked",
  logLevel: "warning",
  plugins: [manifest],
});
if (watch) {
  await context.watch();
  console.log(`watching, into ${out}`);
} else {
  await context.rebuild();
  await context.dispose();
}
