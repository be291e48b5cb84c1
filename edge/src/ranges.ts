/** Byte ranges (RFC 9110 section 14) of a body that is at hand, as the origin reads them: one range, or none. */

const RANGE = /^bytes=([0-9]{0,12})-([0-9]{0,12})$/i;

/** The asked-for `[start, end)` of `size` bytes; "beyond" if it begins past the end; null: all of it. */
export function byteRange(header: string | null, size: number): readonly [number, number] | "beyond" | null {
  const found = header === null ? null : RANGE.exec(header.trim());
  const [from, to] = [found?.[1] ?? "", found?.[2] ?? ""];
  if (from === "" && to === "") return null;
  if (from === "") {
    const wanted = Math.min(Number(to), size);
    return wanted > 0 ? [size - wanted, size] : "beyond";
  }
  const start = Number(from);
  const last = to === "" ? size - 1 : Number(to);
  if (to !== "" && last < start) return null;
  return start < size ? [start, Math.min(last + 1, size)] : "beyond";
}

/** Whether `header` (If-None-Match) names `etag` or everything; weakly compared, as RFC 9110 section 13.1.2 asks for. */
export function isKnown(header: string | null, etag: string): boolean {
  if (header === null) return false;
  return header.split(",").some((tag) => ["*", etag].includes(tag.trim().replace(/^W\//, "")));
}
