// One line of JSON per test, for those who started the runner.
export default async function* reporter(source) {
  for await (const { type, data } of source) {
    if (type !== "test:pass" && type !== "test:fail") continue;
    const { name, file, details, skip } = data;
    if (details.type === "suite") continue;
    const error = type === "test:fail" ? String(details.error?.cause?.stack ?? details.error) : null;
    yield `${JSON.stringify({ name, file, error, isSkipped: Boolean(skip) })}\n`;
  }
}
