import { userInfo } from 'node:os';

/** Who is at the keyboard, for what is kept of a change. */
export function operatorName(): string {
  try {
    return userInfo().username;
  } catch {
    return 'unknown'; // no such user in the system's list, as in many containers
  }
}
