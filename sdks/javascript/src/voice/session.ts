/** One session with the server, over as many sockets as it takes. No sound, no replies. */
import {
  AbortedError,
  AssistantError,
  ConnectionError,
  ResumeExpiredError,
  TimeoutError,
  errorOfCode,
} from "../errors.js";
import { placeOf, unreachable } from "../unreachable.js";
import { closed, errorOfClosing } from "./errors.js";
import type { Closing, Reconnected, Reconnecting, ServerEvent } from "./events.js";
import { Link, type WebSocketClass } from "./link.js";
import { Outbox } from "./outbox.js";
import type { SoundPosition } from "./output.js";
import {
  AUDIO,
  addressOf,
  type Access,
  type ClientMessage,
  type SessionMetadata,
} from "./protocol.js";
import { backoffMs, isLost, type ReconnectPolicy } from "./reconnect.js";
import { limit } from "./timers.js";

export interface SessionOptions {
  socketUrl: string | URL;
  assistantId: string;
  /** Asked before each connection: a ticket serves once. */
  access: () => Access | Promise<Access>;
  metadata: SessionMetadata;
  reconnect: ReconnectPolicy;
  timeoutMs: number;
  signal?: AbortSignal | undefined;
  socketClass?: WebSocketClass | undefined;
}

export interface SessionListener {
  event(event: ServerEvent): void;
  audio(pcm: ArrayBuffer): void;
  reconnecting(attempt: Reconnecting): void;
  /** `sound`: where the next sound lies, if a reply was cut off in the middle of its own. */
  reconnected(how: Reconnected, sound: SoundPosition | null): void;
  /** Once. */
  closed(closing: Closing): void;
}

/**
 * What a resumed session is recognised by. Each resumption brings another token; the one before is
 * good until something was sent over the new socket.
 */
interface Token {
  token: string;
  withinMs: number;
}

/** The beginning of a session, or its resumption, over one socket. */
interface Beginning {
  first: ClientMessage;
  expects: "session.started" | "session.resumed";
  /** Called with the answer, before the next message is looked at. */
  answered: (answer: ServerEvent) => void;
}

interface Attempt extends Beginning {
  resolve: () => void;
  reject: (error: Error) => void;
}

/** Between these, a last error event tells why a socket is closed. */
const FAREWELL =
  /^(session\.stopped|response\.interrupted|output\.audio\.clear|assistant\.tool_result|metrics\.)/;
/** The server does not understand or allow the message, and lets the socket open. */
const REFUSED_MESSAGE = /^(protocol\.(?!assistant_id)|audio\.|session\.resume)/;
const GOODBYE_MS = 1500;
const RESUME_EXPIRED = 4410;
const LOST = 1006;
const BROKEN = 1011;

export class Session {
  readonly #options: SessionOptions;
  readonly #listener: SessionListener;
  readonly #outbox = new Outbox();
  /** The socket of now; events of any other are late. */
  #link: Link | null = null;
  #attempt: Attempt | null = null;
  #state: "connecting" | "open" | "lost" | "closing" | "closed" = "connecting";
  #token: Token | null = null;
  #sessionId = "";
  #lastSeq = 0;
  /** The last error event, while it may be why the socket is closed next. */
  #told: ServerEvent | null = null;
  /** Why the session was stopped; null while it goes on. */
  #stopReason: string | null = null;
  /** What happened before anybody could listen. */
  #held: (() => void)[] | null = [];
  #wake: (() => void) | null = null;

  constructor(options: SessionOptions, listener: SessionListener) {
    this.#options = options;
    this.#listener = listener;
  }

  get sessionId(): string {
    return this.#sessionId;
  }

  /** Begins the session. Rejects with what the server or the network has against it. */
  async open(): Promise<void> {
    const { signal } = this.#options;
    const aborted = new AbortedError("aborted", "The connection was given up.");
    const abort = (): void => this.#fail(aborted);
    signal?.addEventListener("abort", abort);
    try {
      if (signal?.aborted) throw aborted;
      await this.#connect(this.#start((answer) => this.#begin(answer)));
    } catch (error) {
      this.#state = "closed";
      throw error;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
    // Whoever waits for this attaches their listeners first.
    soon(() => this.#release());
  }

  /** Sends, now or when there is a connection again; what is lost with one, by the next. */
  send(message: ClientMessage): void {
    if (!this.#isGoingOn) return;
    this.#outbox.add(message);
    this.#flush();
  }

  /** Whole frames. What is lost with a connection is lost. */
  sendAudio(pcm: Uint8Array<ArrayBuffer>): void {
    if (!this.#isGoingOn) return;
    this.#outbox.addAudio(pcm);
    this.#flush();
  }

  /** Whether the message still waits for a connection. */
  isWaiting(message: ClientMessage): boolean {
    return this.#outbox.isWaiting(message);
  }

  /** Ends the session in order. */
  async close(): Promise<void> {
    if (this.#state === "closed") return;
    if (this.#state === "open") await this.#sayGoodbye();
    this.#finishInOrder();
  }

  // --- One connection --------------------------------------------------------------------------

  #start(answered: Beginning["answered"]): Beginning {
    const { metadata } = this.#options;
    const first = { type: "session.start", audio: AUDIO, metadata } as const;
    return { first, expects: "session.started", answered };
  }

  /** Opens a socket; its first message was answered as expected, or this rejects. */
  async #connect(beginning: Beginning): Promise<void> {
    this.#told = null;
    const timer = setTimeout(() => this.#fail(this.#late()), this.#options.timeoutMs);
    try {
      await new Promise<void>((resolve, reject) => {
        const attempt = { ...beginning, resolve, reject };
        this.#attempt = attempt;
        this.#dial(attempt).catch(reject);
      });
    } catch (error) {
      this.#link?.drop();
      this.#link = null;
      throw error;
    } finally {
      this.#attempt = null;
      clearTimeout(timer);
    }
  }

  async #dial(attempt: Attempt): Promise<void> {
    const { socketUrl, assistantId, access, socketClass } = this.#options;
    const address = addressOf(socketUrl, assistantId, await access());
    // It was given up meanwhile.
    if (this.#attempt !== attempt) return;
    const link: Link = new Link(address, socketClass, {
      opened: () => link.send(attempt.first),
      event: (event) => this.#link === link && this.#receive(event),
      audio: (pcm) => this.#link === link && this.#receiveAudio(pcm),
      refused: (cause) => this.#link === link && this.#refused(cause),
      closed: (code, reason) => this.#link === link && this.#disconnected(code, reason),
    });
    this.#link = link;
  }

  #refused(cause: unknown): void {
    const message = unreachable(this.#options.socketUrl, cause);
    const details = { retryable: true, closeCode: LOST, cause };
    this.#fail(new ConnectionError("connection.unreachable", message, details));
  }

  #fail(error: Error): void {
    this.#attempt?.reject(error);
  }

  #late(): AssistantError {
    if (this.#told) return errorOfEvent(this.#told);
    return new TimeoutError("connection.timeout", "The server did not answer in time.");
  }

  #receive(event: ServerEvent): void {
    if (this.#attempt) return this.#receiveAnswer(this.#attempt, event);
    // What was sent again after a reconnect is known already.
    if (event.seq <= this.#lastSeq) return;
    this.#lastSeq = event.seq;
    if (event.type === "error") this.#told = event;
    else if (!FAREWELL.test(event.type)) this.#told = null;
    if (event.type === "session.stopped") this.#stopReason = event.data["reason"] ?? "";
    if (event.type === "heartbeat") this.#outbox.noteReceived(event.data["received"] ?? 0);
    this.#deliver(() => this.#listener.event(event));
    if (event.type === "session.stopped") this.#awaitClose();
  }

  #receiveAnswer(attempt: Attempt, event: ServerEvent): void {
    if (event.type === "error") {
      this.#told = event;
      // After a refusal of the caller the socket is closed with a code that says more.
      if (REFUSED_MESSAGE.test(event.data["code"])) attempt.reject(errorOfEvent(event));
    }
    if (event.type !== attempt.expects) return;
    this.#attempt = null;
    this.#told = null;
    this.#state = "open";
    attempt.answered(event);
    attempt.resolve();
  }

  #begin(event: ServerEvent): void {
    this.#sessionId = event.sessionId;
    this.#lastSeq = event.seq;
    this.#keepToken(event);
    this.#deliver(() => this.#listener.event(event));
  }

  #keepToken({ data }: ServerEvent): void {
    const { resume_token: token, resume_within_s: withinS } = data;
    const isOffered = typeof token === "string" && typeof withinS === "number";
    this.#token = isOffered ? { token, withinMs: withinS * 1000 } : null;
  }

  #receiveAudio(pcm: ArrayBuffer): void {
    this.#deliver(() => this.#listener.audio(pcm));
  }

  #deliver(what: () => void): void {
    if (this.#held) this.#held.push(what);
    else what();
  }

  #release(): void {
    const held = this.#held ?? [];
    this.#held = null;
    for (const what of held) what();
  }

  // --- The end of a connection -----------------------------------------------------------------

  #disconnected(code: number, reason: string): void {
    if (this.#state === "closing") return this.#finishInOrder();
    const error = errorOfClosing(code, this.#told);
    if (this.#attempt) return this.#attempt.reject(error ?? closed());
    this.#link = null;
    if (this.#mayGoOn(code)) {
      this.#state = "lost";
      this.#deliver(() => void this.#reconnect(code, error));
    } else {
      this.#finish({ code, reason: this.#stopReason || reason, error });
    }
  }

  /** A session that the server has stopped is over, whatever its socket is closed with. */
  #mayGoOn(code: number): boolean {
    const { isOn, fresh } = this.#options.reconnect;
    const isWanted = this.#state === "open" && isOn && (this.#token !== null || fresh);
    return isWanted && this.#stopReason === null && isLost(code);
  }

  /** Closes the socket of a stopped session where the server or the network does not. */
  #awaitClose(): void {
    if (this.#state !== "open") return;
    const link = this.#link;
    limit(GOODBYE_MS, () => this.#link === link && this.#disconnected(LOST, ""));
  }

  #finishInOrder(): void {
    this.#finish({ code: 1000, reason: this.#stopReason || "client", error: null });
  }

  #finish(closing: Closing): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#link?.drop(1000);
    this.#link = null;
    this.#fail(closed());
    this.#wake?.();
    this.#deliver(() => this.#listener.closed(closing));
  }

  async #sayGoodbye(): Promise<void> {
    this.#link?.send({ type: "session.stop", reason: "client" });
    this.#state = "closing";
    const timer = setTimeout(() => this.#wake?.(), GOODBYE_MS);
    await new Promise<void>((resolve) => (this.#wake = resolve));
    clearTimeout(timer);
  }

  // --- Another connection ----------------------------------------------------------------------

  /** Tries until the session goes on, another begins, or it is hopeless. */
  async #reconnect(code: number, cause: AssistantError | null): Promise<void> {
    const lostAt = performance.now();
    const lostForMs = (): number => performance.now() - lostAt;
    let last: unknown = cause;
    for (let attempt = 1; lostForMs() < this.#options.reconnect.giveUpAfterMs; attempt += 1) {
      const delayMs = backoffMs(attempt);
      this.#listener.reconnecting({ attempt, delayMs });
      // A listener may have closed it.
      if (this.#state === "lost") await this.#pause(delayMs);
      if (this.#state !== "lost") return;
      const failure = await this.#goOn(lostForMs()).then(() => null, (error: unknown) => error);
      if (failure === null || this.#state !== "lost") return;
      if (isFinal(failure)) return this.#giveUp(failure, { code, cause });
      last = failure;
    }
    this.#finish({ code, reason: "", error: this.#unreached(last) });
  }

  /** Why nothing came of reconnecting: what the server said last, or that nobody was there. */
  #unreached(last: unknown): AssistantError {
    if (last instanceof AssistantError && !(last instanceof ConnectionError)) return last;
    const { socketUrl, reconnect } = this.#options;
    const forHowLong = `for ${reconnect.giveUpAfterMs / 1000} s`;
    const message = `The server at ${placeOf(socketUrl)} was not reachable ${forHowLong}.`;
    return new ConnectionError("connection.unreachable", message, { retryable: true, cause: last });
  }

  /** Resumes the session or, where that is too late and allowed, begins another. */
  async #goOn(lostForMs: number): Promise<void> {
    const { fresh } = this.#options.reconnect;
    // Without another session to begin, only the server says that it is too late.
    if (this.#token !== null && (!fresh || lostForMs < this.#token.withinMs)) {
      try {
        return await this.#connect(this.#resume(this.#token));
      } catch (error) {
        if (!isExpired(error)) throw error;
        if (!fresh) throw errorOfClosing(RESUME_EXPIRED, null);
      }
    }
    this.#token = null;
    await this.#connect(this.#start((answer) => this.#beginAgain(answer)));
  }

  #resume({ token }: Token): Beginning {
    const first = {
      type: "session.resume",
      session_id: this.#sessionId,
      resume_token: token,
      last_seq: this.#lastSeq,
    } as const;
    return { first, expects: "session.resumed", answered: (answer) => this.#takeUp(answer) };
  }

  #takeUp(answer: ServerEvent): void {
    this.#keepToken(answer);
    const { missed, received, audio } = answer.data;
    const sound = audio ? { ttsId: audio.tts_id, offsetMs: audio.offset_ms } : null;
    this.#outbox.resume(received);
    this.#flush();
    this.#listener.reconnected({ isFresh: false, missed }, sound);
  }

  #beginAgain(answer: ServerEvent): void {
    this.#outbox.restart();
    this.#listener.reconnected({ isFresh: true, missed: 0 }, null);
    this.#begin(answer);
    this.#flush();
  }

  /** Whether there is a connection, or another may come. */
  get #isGoingOn(): boolean {
    return this.#state === "open" || this.#state === "lost";
  }

  /** Sends what waits, as far as it goes: a socket may close before it says so. */
  #flush(): void {
    if (this.#state === "open") this.#outbox.give((item) => this.#link?.send(item) ?? false);
  }

  #giveUp(error: AssistantError, lost: { code: number; cause: AssistantError | null }): void {
    // Of a session that the server itself broke off, that says more than that it is gone.
    if (lost.code === BROKEN && isExpired(error)) {
      return this.#finish({ code: lost.code, reason: "", error: lost.cause });
    }
    this.#finish({ code: error.closeCode ?? LOST, reason: "", error });
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** After all that goes on now, however long its chain of promises; no timer, which may be late. */
function soon(task: () => void): void {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    port1.close();
    task();
  };
  port2.postMessage(null);
}

function errorOfEvent({ data }: ServerEvent): AssistantError {
  return errorOfCode(data["code"], data["message"], { retryable: data["retryable"] === true });
}

/** A server that knows nothing of resuming refuses the message itself. */
function isExpired(error: unknown): boolean {
  const isRefused = error instanceof AssistantError && REFUSED_MESSAGE.test(error.code);
  return isRefused || (error instanceof AssistantError && error.closeCode === RESUME_EXPIRED);
}

/** Whether another attempt would fare no better; what a caller's own `access` throws may pass. */
function isFinal(failure: unknown): failure is AssistantError {
  if (failure instanceof ResumeExpiredError) return true;
  if (!(failure instanceof AssistantError)) return false;
  return !failure.retryable && !(failure instanceof ConnectionError);
}
