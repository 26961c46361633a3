// Bundles every src/**/*.test.ts and runs them with node's own test runner.
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { spawnSync } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as esbuild from "esbuild";

const root = new URL("src/", import.meta.url).pathname;
const tests = readdirSync(root, { recursive: true }).filter((name) => name.endsWith(".test.ts"));
const out = mkdtempSync(join(tmpdir(), "guildlite-frontend-"));
let status = 1;
try {
  await esbuild.build({
    entryPoints: tests.map((name) => join(root, name)),
    bundle: true,
    format: "esm",
    platform: "node",
    outdir: out,
    outExtension: { ".js": ".mjs" },
    logLevel: "warning",
  });
  const made = readdirSync(out, { recursive: true }).filter((name) => name.endsWith(".mjs"));
  status = spawnSync(process.execPath, ["--test", ...made.map((name) => join(out, name))], {
    stdio: "inherit",
  }).status ?? 1;
} finally {
  rmSync(out, { recursive: true, force: true });
}
process.exit(status);
