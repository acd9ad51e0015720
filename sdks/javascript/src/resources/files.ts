import { ValidationError } from "../errors.js";

/** What can be uploaded: a file of a form or a disk, or bytes or text that get a name. */
export type Uploadable = Blob | ArrayBuffer | Uint8Array<ArrayBuffer> | string;

/** Uploads take longer than other calls. */
export const UPLOAD_TIMEOUT_MS = 600_000;

/**
 * A form with the file, under its own name or the one given, and with the fields that are set.
 * Throws ValidationError without a name.
 */
export function formWith(
  file: Uploadable,
  name: string | undefined,
  fields: Record<string, string | undefined> = {},
): FormData {
  const form = new FormData();
  const blob = file instanceof Blob ? file : new Blob([file]);
  const own = "name" in blob && typeof blob.name === "string" ? blob.name : undefined;
  const called = name ?? own;
  if (!called) {
    const message = "The name is missing: text, bytes and a Blob have none of their own.";
    throw new ValidationError("invalid_argument", message, { param: "name" });
  }
  form.append("file", blob, called);
  for (const [field, value] of Object.entries(fields)) {
    if (value !== undefined) form.append(field, value);
  }
  return form;
}
