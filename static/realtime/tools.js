// @ts-check
/**
 * What an assistant may ask of this device, and how the page does it. No connection: a call of the
 * SDK comes in, an outcome goes out.
 *
 * @typedef {import("./camera.js").Camera} Camera
 * @typedef {import("./prompts.js").Prompts} Prompts
 * @typedef {import("./prompts.js").Option} Option
 * @typedef {import("../../sdks/javascript/src/voice/index.js").ToolCall} ToolCall
 * @typedef {{code: number, message: string, output?: unknown, note: string}} Outcome
 *   `code` as in HTTP; `message` is for the assistant, `note` for the user ("": nothing to tell)
 * @typedef {{code: number, output: string}} Settled how the server says that a call ended
 */
import { CameraError } from "./camera.js";

const STEP = 10;
const LOUDEST = 100;
/** At this level speech is as loud as it was made. */
const PLAIN = 80;

/** @type {Record<import("./camera.js").CameraProblem, {code: number, message: string}>} */
const CAMERA_PROBLEMS = {
  denied: { code: 403, message: "The user or the browser does not allow the camera." },
  missing: { code: 404, message: "The device has no camera." },
  busy: { code: 409, message: "Another program is using the camera." },
  insecure: { code: 501, message: "Browsers allow the camera only over HTTPS." },
};

/** A level as a volume of the SDK. @param {number} level */
export const volumeOf = (level) => level / PLAIN;

/** @param {string} template @param {Record<string, string>} values */
const fill = (template, values) => template.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");

/** Dispatches "volume" (detail: {level, isAsked}) when the level changes. */
export class Device extends EventTarget {
  /**
   * @param {{words: Record<string, string>, prompts: Prompts, camera: Camera, hasSound: () => boolean}} parts
   */
  constructor(parts) {
    super();
    this.words = parts.words;
    this.prompts = parts.prompts;
    this.camera = parts.camera;
    this.hasSound = parts.hasSound;
    this.level = PLAIN;
  }

  /** What the page says while the call runs. @param {ToolCall} call @returns {string} */
  describe(call) {
    return PERFORMERS.get(call.name)?.describe(this, call) ?? this.unknown(call).note;
  }

  /** Does what is asked; the call's signal ends it early. @param {ToolCall} call @returns {Promise<Outcome>} */
  async perform(call) {
    return PERFORMERS.get(call.name)?.perform(this, call) ?? this.unknown(call);
  }

  /** What the page says of a call that the server settled. @param {ToolCall} call @param {Settled} settled @returns {string | undefined} */
  sumUp(call, { code, output }) {
    if (code === 504) return fill(this.words.toolLate, { text: this.titleOf(call) });
    if (code === 499) return fill(this.words.toolWithdrawn, { text: this.titleOf(call) });
    return code < 400 ? PERFORMERS.get(call.name)?.sumUp?.(this, call, output) : undefined;
  }

  /** @param {ToolCall} call */
  titleOf(call) {
    return textOf(call) || call.name;
  }

  /** @param {ToolCall} call @returns {Outcome} */
  unknown({ name }) {
    const note = fill(this.words.toolUnsupported, { name });
    return { code: 501, message: "This page has no such tool.", note };
  }

  /** @param {number} level @param {boolean} isAsked by the assistant, not by hand */
  setLevel(level, isAsked) {
    this.level = Math.min(LOUDEST, Math.max(0, Math.round(level)));
    this.dispatchEvent(new CustomEvent("volume", { detail: { level: this.level, isAsked } }));
  }

  /** @param {ToolCall} call @param {1 | -1} direction @returns {Promise<Outcome>} */
  async turn(call, direction) {
    if (!this.hasSound()) return { code: 501, message: "This call has no sound.", note: this.words.noSound };
    const steps = Number.isInteger(call.arguments.step) ? call.arguments.step : 1;
    this.setLevel(this.level + direction * STEP * steps, true);
    const note = fill(this.words.volumeIs, { level: String(this.level) });
    return { code: 200, message: "ok", output: { volume: this.level }, note };
  }

  /** @returns {Promise<Outcome>} */
  async turnCameraOn() {
    try {
      const isOn = await this.camera.turnOn();
      return { code: 200, message: "ok", output: { camera: isOn ? "on" : "off" }, note: isOn ? this.words.cameraOn : this.words.cameraOff };
    } catch (error) {
      if (!(error instanceof CameraError)) throw error;
      return { ...CAMERA_PROBLEMS[error.problem], note: this.words[`camera.${error.problem}`] };
    }
  }

  /** @returns {Promise<Outcome>} */
  async turnCameraOff() {
    this.camera.turnOff();
    return { code: 200, message: "ok", output: { camera: "off" }, note: this.words.cameraOff };
  }

  /** @param {ToolCall} call @returns {Promise<Outcome>} */
  async tell(call) {
    const text = textOf(call);
    await this.prompts.ask({ text, options: [], endsAt: endOf(call) }, call.signal);
    return { code: 200, message: "ok", note: fill(this.words.message, { text }) };
  }

  /** @param {ToolCall} call @returns {Promise<Outcome>} */
  async choose(call) {
    const options = optionsOf(call);
    if (!options.length) return { ...this.unknown(call), code: 400, message: "The prompt has no options." };
    const option = await this.prompts.ask({ text: textOf(call), options, endsAt: endOf(call) }, call.signal);
    const output = {
      selected_id: option?.id ?? null, selected_label: option?.label ?? null, cancelled: option === null,
    };
    return { code: 200, message: "ok", output, note: this.chosen(call, option?.label) };
  }

  /** @param {ToolCall} call @param {string | null | undefined} label */
  chosen(call, label) {
    const text = textOf(call);
    return label ? fill(this.words.chosen, { text, label }) : fill(this.words.notChosen, { text });
  }
}

/** @param {ToolCall} call @returns {string} */
function textOf({ arguments: given }) {
  return String(given.question ?? given.msg ?? "").trim();
}

/** When the server stops waiting, by `performance.now()`. @param {ToolCall} call */
const endOf = ({ isWaited, timeoutMs }) => (isWaited ? performance.now() + timeoutMs : Infinity);

/** @param {ToolCall} call @returns {Option[]} */
function optionsOf({ arguments: given }) {
  const options = Array.isArray(given.options) ? given.options : [];
  return options.map((option, index) =>
    typeof option === "object" && option !== null
      ? { id: String(option.id), label: String(option.label) }
      : { id: `opt_${index + 1}`, label: String(option) },
  );
}

/**
 * @typedef {object} Performer
 * @property {(device: Device, call: ToolCall) => string} describe
 * @property {(device: Device, call: ToolCall) => Promise<Outcome>} perform
 * @property {(device: Device, call: ToolCall, output: string) => string} [sumUp]
 */

/** @type {Performer} */
const MESSAGE = {
  describe: ({ words }, call) => fill(words.message, { text: textOf(call) }),
  perform: (device, call) => device.tell(call),
};

/** @type {Performer} */
const CHOICE = {
  describe: (_device, call) => textOf(call),
  perform: (device, call) => device.choose(call),
  sumUp: (device, call, output) => device.chosen(call, labelIn(output)),
};

/** @param {string} output @returns {string | null} */
function labelIn(output) {
  try {
    return JSON.parse(output)?.selected_label ?? null;
  } catch {
    return null;
  }
}

/** @type {Map<string, Performer>} */
const PERFORMERS = new Map(Object.entries({
  turn_on_camera: {
    describe: ({ words }) => words.cameraTurningOn,
    perform: (device) => device.turnCameraOn(),
  },
  turn_off_camera: {
    describe: ({ words }) => words.cameraOff,
    perform: (device) => device.turnCameraOff(),
  },
  increase_volume: {
    describe: ({ words }) => words.volume,
    perform: (device, call) => device.turn(call, 1),
  },
  decrease_volume: {
    describe: ({ words }) => words.volume,
    perform: (device, call) => device.turn(call, -1),
  },
  text_msg_prompt: MESSAGE,
  // Its words are part of the answer where the server says them.
  voice_msg_prompt: {
    describe: (device, call) => (call.isSpoken ? "" : MESSAGE.describe(device, call)),
    perform: async (device, call) => (call.isSpoken ? { code: 200, message: "ok", note: "" } : device.tell(call)),
  },
  text_choice_prompt: CHOICE,
  voice_choice_prompt: CHOICE,
}));

/** The tools that this device has. */
export const TOOLS = [...PERFORMERS.keys()];
