import { PortBusyError, PostgresVersionMismatchError } from './errors.ts';

describe('errors of the embedded servers', () => {
  it('name the port, and what to do', () => {
    const error = new PortBusyError(4222, 'NATS');
    expect([error.code, error.port]).toEqual(['PORT_BUSY', 4222]);
    expect(error.message).toContain('NATS cannot listen on 127.0.0.1:4222');
    expect(error.message).toContain('choose another port');
  });

  it('name both versions of Postgres, and both ways out', () => {
    const error = new PostgresVersionMismatchError('/data', '17', '18');
    expect(error.message).toMatch(/written by Postgres 17.*is Postgres 18.*--fresh.*pg_dumpall/);
  });
});
