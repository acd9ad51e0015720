// The Node libraries in a process of their own; python/driver.py says what it reads and writes.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const PATIENCE_MS = 20_000;

function client({ library, address, key, options }) {
  const own = { apiKey: key, timeout: PATIENCE_MS };
  if ("max_retries" in options) own.maxRetries = options.max_retries;
  return library === "anthropic"
    ? new Anthropic({ ...own, baseURL: address })
    : new OpenAI({ ...own, baseURL: `${address}/v1` });
}

const CALLS = {
  async "messages.create"(sdk, body, answer) {
    answer.value = await sdk.messages.create(body);
  },
  async "messages.stream"(sdk, body, answer) {
    const stream = sdk.messages.stream(body);
    stream.on("text", (text) => answer.pieces.push(text));
    answer.value = await stream.finalMessage();
  },
  async "messages.count_tokens"(sdk, body, answer) {
    answer.value = await sdk.messages.countTokens(body);
  },
  async "chat.create"(sdk, body, answer) {
    answer.value = await sdk.chat.completions.create(body);
  },
  async "chat.stream"(sdk, body, answer) {
    const stream = sdk.chat.completions.stream(body);
    stream.on("chunk", (chunk) => answer.pieces.push(structuredClone(chunk)));
    answer.value = await stream.finalChatCompletion();
  },
  async "embeddings.create"(sdk, body, answer) {
    answer.value = await sdk.embeddings.create(body);
  },
  async "models.list"(sdk, body, answer) {
    for await (const model of sdk.models.list(body)) answer.pieces.push(model);
  },
  async "models.retrieve"(sdk, { id }, answer) {
    answer.value = await sdk.models.retrieve(id);
  },
};

function classesOf(error) {
  const names = [];
  let each = error.constructor;
  for (; each !== Function.prototype; each = Object.getPrototypeOf(each)) names.push(each.name);
  return names;
}

async function answered(call) {
  const answer = { value: null, pieces: [] };
  try {
    await CALLS[call.name](client(call), call.body, answer);
    answer.request_id = answer.value?._request_id;
  } catch (error) {
    if (!(error instanceof Anthropic.APIError || error instanceof OpenAI.APIError)) throw error;
    const { message } = error;
    answer.error = { classes: classesOf(error), status: error.status ?? null, message };
  }
  return answer;
}

const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const require = createRequire(import.meta.url);
const version = (name) => require(`./node_modules/${name}/package.json`).version;

say({ anthropic: version("@anthropic-ai/sdk"), openai: version("openai") });
for await (const line of createInterface({ input: process.stdin })) say(await answered(JSON.parse(line)));
