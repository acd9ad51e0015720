// Builds what the product itself serves, readable and unminified, into the folder that is named
// (default: static/sdk of the repository), and the worklets' source that the SDK carries.
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const [target = join(root, "../../static/sdk"), carried = join(root, "src/voice/audio")] =
  process.argv.slice(2);
const out = resolve(target);
const WORKLETS = ["capture", "playback"];
const ORIGIN = "// Built from sdks/javascript by scripts/build_sdks.sh; change it there.";

const SHARED = {
  absWorkingDir: root,
  bundle: true,
  format: "esm",
  platform: "browser",
  target: "es2022",
  charset: "utf8",
  logLevel: "warning",
};

const readable = (entry, name, format = "esm") =>
  build({
    ...SHARED,
    entryPoints: [entry],
    outfile: join(out, name),
    banner: { js: ORIGIN },
    format,
  });

/** A worklet as one line of source, for pages that serve no files of ours. */
async function minified(name) {
  const options = { ...SHARED, entryPoints: [`src/voice/worklets/${name}.ts`] };
  const { outputFiles } = await build({ ...options, minify: true, write: false });
  return outputFiles[0].text.trim();
}

async function carry() {
  const constants = WORKLETS.map(async (name) => {
    const source = JSON.stringify(await minified(name));
    return `export const ${name.toUpperCase()}_WORKLET =\n  ${source};`;
  });
  const header = "// Made by scripts/static.mjs from src/voice/worklets; change them there.";
  mkdirSync(carried, { recursive: true });
  const text = [header, ...(await Promise.all(constants)), ""].join("\n");
  writeFileSync(join(carried, "worklet-sources.ts"), text);
}

await carry();
await Promise.all([
  readable("src/voice/index.ts", "ai-video-assistant.js"),
  readable("src/widget/index.ts", "widget.js", "iife"),
  ...WORKLETS.map((name) => readable(`src/voice/worklets/${name}.ts`, `${name}.worklet.js`)),
]);
