import { watch, type FSWatcher } from 'node:fs';
import { join } from 'node:path';
import { systemClock, type TimerHandle } from '@flotilla/kernel';

/** Editors write a file in several steps, and a branch switch touches many: wait until it is quiet. */
const QUIET_MS = 150;

/** Calls `onChange` after sources below the `src` folders have changed; returns the function that stops watching. */
export function watchSources(
  folders: readonly string[],
  onChange: (files: readonly string[]) => void,
): () => void {
  const changed = new Set<string>();
  let timer: TimerHandle | undefined;
  const watchers = folders.map((folder): FSWatcher => {
    const source = join(folder, 'src');
    return watch(source, { recursive: true }, (_event, name) => {
      if (name === null || /\.(?:spec|int-spec|e2e-spec)\.ts$/.test(name)) return;
      changed.add(join(source, name));
      timer?.cancel();
      timer = systemClock.after(QUIET_MS, () => {
        const files = [...changed];
        changed.clear();
        onChange(files);
      });
    });
  });
  return () => {
    timer?.cancel();
    for (const watcher of watchers) watcher.close();
  };
}
