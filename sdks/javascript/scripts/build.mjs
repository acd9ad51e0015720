// Builds dist/: one ESM and one CJS file with their types, for browsers and Node 20.
import { cpSync, rmSync, statSync, writeFileSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(root, "dist");

async function bundle(format) {
  await build({
    absWorkingDir: root,
    entryPoints: ["src/index.ts"],
    outfile: `dist/${format}/index.js`,
    bundle: true,
    format,
    platform: "neutral",
    target: "es2022",
    charset: "utf8",
    sourcemap: true,
    sourcesContent: true,
    logLevel: "warning",
  });
}

/** Declarations of every module, once per format: a `.d.ts` has the format of its folder. */
function declare() {
  const compiler = join(root, "node_modules/typescript/bin/tsc");
  const options = ["--project", join(root, "tsconfig.types.json")];
  execFileSync(process.execPath, [compiler, ...options], { stdio: "inherit" });
  // The compiler writes declarations of sources, and leaves those that are declarations already.
  cpSync(join(root, "src/generated"), join(dist, "esm/generated"), { recursive: true });
  const filter = (path) => statSync(path).isDirectory() || path.endsWith(".d.ts");
  cpSync(join(dist, "esm"), join(dist, "cjs"), { recursive: true, filter });
  writeFileSync(join(dist, "cjs/package.json"), '{ "type": "commonjs" }\n');
}

rmSync(dist, { recursive: true, force: true });
await Promise.all([bundle("esm"), bundle("cjs")]);
declare();
console.log(`Built ${relative(process.cwd(), dist) || "."}.`);
