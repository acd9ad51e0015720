/** Server-sent events, as the HTML standard has them. */

export interface ServerSentEvent {
  /** "message" where the server names no other type. */
  type: string;
  data: string;
  id: string | undefined;
}

/** The events in the pieces of a stream; a last one that was cut off is none. */
export async function* eventsOf(
  pieces: AsyncIterable<Uint8Array>,
): AsyncGenerator<ServerSentEvent> {
  const lines = new Lines();
  let fields = new Fields();
  for await (const piece of pieces) {
    for (const line of lines.add(piece)) {
      if (line !== "") {
        fields.add(line);
        continue;
      }
      const event = fields.event();
      fields = new Fields();
      if (event) yield event;
    }
  }
}

/** Cuts a stream into lines, whichever of the three ends of lines it uses. */
class Lines {
  readonly #decoder = new TextDecoder();
  #rest = "";

  *add(piece: Uint8Array): Generator<string> {
    this.#rest += this.#decoder.decode(piece, { stream: true });
    // A CR at the end may be half of a CRLF; what follows it tells.
    const lines = this.#rest.split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop() ?? "";
    yield* lines;
  }
}

class Fields {
  readonly #data: string[] = [];
  #type = "message";
  #id: string | undefined;

  add(line: string): void {
    const [, name, value] = /^([^:]*):? ?([^]*)$/.exec(line) ?? [];
    if (name === "data") this.#data.push(value ?? "");
    else if (name === "event") this.#type = value || "message";
    else if (name === "id") this.#id = value;
  }

  event(): ServerSentEvent | undefined {
    if (this.#data.length === 0) return undefined;
    return { type: this.#type, data: this.#data.join("\n"), id: this.#id };
  }
}
