import { readFileSync } from 'node:fs';
import { errorCode } from '@flotilla/kernel';

/** Whether a process runs. One that has ended and that nobody has collected yet (a zombie) does not. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    // EPERM: it lives, and belongs to somebody else.
    if (errorCode(error) !== 'EPERM') return false;
  }
  const state = statOf(pid)?.[0];
  return state !== 'Z' && state !== 'X';
}

/** When a process started, in the kernel's ticks: tells it from a later one with the same pid. On Linux only. */
export function startTimeOf(pid: number): string | undefined {
  return statOf(pid)?.[19];
}

/** The fields of /proc/<pid>/stat after the program's name; undefined where there is no such file. */
function statOf(pid: number): string[] | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return undefined; // another system, or it has just ended
  }
  // The name is in parentheses and may hold anything, parentheses too.
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}
