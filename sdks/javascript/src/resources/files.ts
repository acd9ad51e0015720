/** What can be uploaded: a file of a form or a disk, or bytes or text that get a name. */
export type Uploadable = Blob | ArrayBuffer | Uint8Array<ArrayBuffer> | string;

/** Uploads take longer than other calls. */
export const UPLOAD_TIMEOUT_MS = 600_000;

/** A form with the file, under its own name or the one given, and with the fields that are set. */
export function formWith(
  file: Uploadable,
  name: string | undefined,
  fields: Record<string, string | undefined> = {},
): FormData {
  const form = new FormData();
  const blob = file instanceof Blob ? file : new Blob([file]);
  const own = "name" in blob && typeof blob.name === "string" ? blob.name : "file";
  form.append("file", blob, name ?? own);
  for (const [field, value] of Object.entries(fields)) {
    if (value !== undefined) form.append(field, value);
  }
  return form;
}
