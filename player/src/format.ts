/** Times as people read them. Pure. */

/** `75_300` → `1:15`, from an hour on `1:02:03`. */
export function formatTime(ms: number): string {
  const seconds = Math.floor(Math.max(0, ms) / 1000);
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const shown = parts[0] === 0 ? parts.slice(1) : parts;
  return shown.map((part, index) => (index === 0 ? String(part) : String(part).padStart(2, "0"))).join(":");
}

/** `75_300` → `1:15.3`. */
export function formatFine(ms: number): string {
  return formatTime(ms) + formatTenths(ms);
}

/** `75_300` → `.3`. */
export function formatTenths(ms: number): string {
  return `.${Math.floor(Math.max(0, ms) / 100) % 10}`;
}

/** `75_300` of `240_000` → `1 minute 15 seconds of 4 minutes`: for screen readers. */
export function spokenTime(ms: number): string {
  const seconds = Math.floor(Math.max(0, ms) / 1000);
  const units: [number, string][] = [
    [Math.floor(seconds / 3600), "hour"],
    [Math.floor(seconds / 60) % 60, "minute"],
    [seconds % 60, "second"],
  ];
  const spoken = units.filter(([count]) => count > 0).map(([count, unit]) => `${count} ${unit}${count === 1 ? "" : "s"}`);
  return spoken.join(" ") || "0 seconds";
}

/** `1` → `1×`, `1.25` → `1.25×`. */
export function formatRate(rate: number): string {
  return `${Number(rate.toFixed(2))}×`;
}

/** `0.426` → `42 %`: rounded down, so that all of it is there at 100 %. */
export function formatShare(share: number): string {
  return `${Math.floor(share * 100 + 1e-9)} %`;
}

/** What is left of a time, as one says it: `840_001` → `15 min left`, `42_000` → `42 s left`. */
export function formatLeft(ms: number): string {
  const seconds = Math.ceil(Math.max(0, ms) / 1000);
  return seconds < 60 ? `${seconds} s left` : `${Math.ceil(seconds / 60)} min left`;
}
