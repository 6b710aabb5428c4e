/**
 * The entries from position `after + 1` on, up to the first gap. What lies behind a gap is held back until the
 * missing entry comes, so that a reader who continues after the last position it saw never misses one.
 */
export function contiguous<T extends { readonly position: number }>(entries: readonly T[], after = 0): T[] {
  const sorted = entries.filter(({ position }) => position > after).sort((a, b) => a.position - b.position);
  const gap = sorted.findIndex(({ position }, index) => position !== after + 1 + index);
  return gap === -1 ? sorted : sorted.slice(0, gap);
}
