/** Where the broker says what happens to it; a pino logger is one. */
export interface MessagingLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

const write =
  (level: string) =>
  (fields: object, message: string): void => {
    process.stderr.write(
      `${JSON.stringify({ level, time: new Date().toISOString(), ...fields, msg: message })}\n`,
    );
  };

/** One line of JSON per entry on standard error; `info` is left out. */
export const stderrLog: MessagingLog = {
  info: () => undefined,
  warn: write('warn'),
  error: write('error'),
};
