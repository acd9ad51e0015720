/** What several tests need: the product that was started for them, and servers that misbehave. */

import { createServer as createHttpServer, type RequestListener, type Server } from "node:http";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import type { TestContext } from "node:test";
import { AIVideoAssistant, type ClientOptions } from "@ai-video-assistant/sdk";

function needed(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set; tests/sdks/test_javascript.py sets it.`);
  return value;
}

/** Where the product is; its key is in the environment, where the SDK finds it. */
export const PRODUCT_URL = needed("AI_VIDEO_ASSISTANT_URL");

export function client(options: ClientOptions = {}): AIVideoAssistant {
  return new AIVideoAssistant({ apiUrl: PRODUCT_URL, ...options });
}

/** The address of a server that answers as told. */
export async function serve(t: TestContext, listener: RequestListener): Promise<string> {
  const server = createHttpServer(listener);
  const port = await listening(t, server);
  t.after(() => server.closeAllConnections());
  return `http://127.0.0.1:${port}`;
}

/** A way to the product that can break. */
export class Line {
  readonly #sockets = new Set<Socket>();
  readonly #pairs = new Set<{ near: Socket; far: Socket }>();
  url = "";

  async open(t: TestContext): Promise<this> {
    const { hostname, port } = new URL(PRODUCT_URL);
    const server = createServer((near) => {
      const far = connect(Number(port), hostname);
      const pair = { near, far };
      this.#pairs.add(pair);
      near.on("close", () => this.#pairs.delete(pair));
      for (const socket of [near, far]) {
        this.#sockets.add(socket);
        socket.on("error", () => undefined);
        socket.on("close", () => (near.destroy(), far.destroy(), this.#sockets.delete(socket)));
      }
      near.pipe(far).pipe(near);
    });
    this.url = `http://localhost:${await listening(t, server)}`;
    t.after(() => this.cut());
    return this;
  }

  /** Lets nothing of one side through any more; resolves when there was something. */
  swallow(side: "client" | "server"): Promise<void> {
    return new Promise((resolve) => {
      for (const { near, far } of this.#pairs) {
        const [from, to] = side === "client" ? [near, far] : [far, near];
        from.unpipe(to);
        from.on("data", () => resolve()).resume();
      }
    });
  }

  /** Breaks every connection; new ones may be made. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }
}

async function listening(t: TestContext, server: Server | ReturnType<typeof createServer>) {
  await new Promise<void>((resolve) => server.listen(0, "localhost", resolve));
  t.after(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** A port where nobody answers. */
export async function deadUrl(t: TestContext): Promise<string> {
  const server = createServer();
  const port = await listening(t, server);
  await new Promise((resolve) => server.close(resolve));
  return `http://127.0.0.1:${port}`;
}

/** All that an iteration gives. */
export async function collected<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}
