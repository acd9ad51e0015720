// @ts-check
/**
 * The camera with its preview. Nothing of the picture leaves the page.
 *
 * @typedef {"denied" | "missing" | "busy" | "insecure"} CameraProblem
 */

/** @type {Record<string, CameraProblem>} */
const PROBLEMS = {
  NotAllowedError: "denied",
  SecurityError: "denied",
  NotFoundError: "missing",
  OverconstrainedError: "missing",
  NotReadableError: "busy",
  AbortError: "busy",
};

/** Why there is no picture. */
export class CameraError extends Error {
  /** @param {CameraProblem} problem */
  constructor(problem) {
    super(problem);
    this.problem = problem;
  }
}

/** @returns {Promise<MediaStream>} */
async function openStream() {
  if (!navigator.mediaDevices) throw new CameraError("insecure");
  try {
    return await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user", width: { ideal: 640 } } });
  } catch (error) {
    const problem = error instanceof DOMException ? PROBLEMS[error.name] : undefined;
    if (problem) throw new CameraError(problem);
    throw error;
  }
}

/** Dispatches "change" when it goes on or off, also by hand or because the device is gone. */
export class Camera extends EventTarget {
  /** @param {HTMLElement} frame shown while the camera is on @param {HTMLVideoElement} video */
  constructor(frame, video) {
    super();
    this.frame = frame;
    this.video = video;
    /** @type {MediaStream | null} */
    this.stream = null;
    /** Raised by each wish: a picture that comes after another wish is not shown. */
    this.wishes = 0;
  }

  get isOn() {
    return this.stream !== null;
  }

  /** Whether it is on now. Raises CameraError. @returns {Promise<boolean>} */
  async turnOn() {
    if (this.stream) return true;
    const wish = (this.wishes += 1);
    const stream = await openStream();
    if (wish !== this.wishes) {
      for (const track of stream.getTracks()) track.stop();
      return this.isOn;
    }
    stream.getVideoTracks()[0].addEventListener("ended", () => this.turnOff());
    this.show(stream);
    return true;
  }

  turnOff() {
    this.wishes += 1;
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.show(null);
  }

  /** @param {MediaStream | null} stream */
  show(stream) {
    const hasChanged = this.stream !== stream;
    this.stream = stream;
    this.video.srcObject = stream;
    this.frame.hidden = stream === null;
    if (hasChanged) this.dispatchEvent(new Event("change"));
  }
}
