import { formatDurationMs, systemClock, withoutPersonalData } from '@flotilla/kernel';

/** Where a command writes: facts to standard output, what happens meanwhile to standard error. */
export interface Terminal {
  /** A line of the command's result. */
  print(text: string): void;
  /** A line about what is being done. */
  note(text: string): void;
  /** How far it is: replaces the line before on a terminal; elsewhere at most one line every 2 s, and none twice. */
  progress(text: string): void;
}

/** The terminal for what came from callers: without the e-mail addresses, card numbers and tokens in it. */
export function discreet(terminal: Terminal): Terminal {
  return {
    print: (text) => terminal.print(withoutPersonalData(text)),
    note: (text) => terminal.note(withoutPersonalData(text)),
    progress: (text) => terminal.progress(withoutPersonalData(text)),
  };
}

const PROGRESS_EVERY_MS = 2_000;

/** The terminal of this process. */
export function processTerminal(): Terminal {
  const { stdout, stderr } = process;
  const fancy = stderr.isTTY;
  let shown = false;
  let lastMs = -Infinity;
  let lastText = '';
  const clear = (): void => {
    if (shown) stderr.write('\r\u001b[K');
    shown = false;
  };
  return {
    print(text) {
      clear();
      stdout.write(`${text}\n`);
    },
    note(text) {
      clear();
      stderr.write(`${text}\n`);
    },
    progress(text) {
      if (fancy) {
        stderr.write(`\r\u001b[K${text.slice(0, Math.max(20, (stderr.columns ?? 80) - 1))}`);
        shown = true;
        return;
      }
      const now = systemClock.monotonicMs();
      if (now - lastMs < PROGRESS_EVERY_MS || text === lastText) return;
      lastMs = now;
      lastText = text;
      stderr.write(`${text}\n`);
    },
  };
}

/** Rows as aligned columns; columns of numbers are aligned to the right. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)));
  const numeric = header.map(
    (_, column) => rows.length > 0 && rows.every((row) => /^[-\d.,]*$/.test(row[column] ?? '')),
  );
  return all
    .map((row) =>
      row
        .map((cell, column) => {
          const width = widths[column] ?? 0;
          return numeric[column] === true ? cell.padStart(width) : cell.padEnd(width);
        })
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** Measures how long something takes: `const took = stopwatch(); ...; took()` is text such as `1.2s`. */
export function stopwatch(): () => string {
  const start = systemClock.monotonicMs();
  return () => formatDurationMs(systemClock.monotonicMs() - start);
}
