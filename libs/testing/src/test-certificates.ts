import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** PEM files of a certificate authority of the test's own, and of what it has signed. */
export interface TestCertificates extends AsyncDisposable {
  readonly caFile: string;
  /** For a server on the loopback address. */
  readonly server: { readonly certFile: string; readonly keyFile: string };
  readonly client: { readonly certFile: string; readonly keyFile: string };
  /** The `tls` block of a `nats.conf`: clients are asked for a certificate of this authority too. */
  readonly natsConfig: string;
}

const run = promisify(execFile);
const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

/** Makes certificates that are valid for two days, with the `openssl` of the machine. Dispose of them. */
export async function createTestCertificates(): Promise<TestCertificates> {
  const folder = await mkdtemp(join(tmpdir(), 'flotilla-certificates-'));
  const file = (name: string): string => join(folder, name);
  const openssl = (...args: string[]): Promise<unknown> => run('openssl', args);
  const signed = async (name: string): Promise<{ certFile: string; keyFile: string }> => {
    const [keyFile, certFile] = [file(`${name}.key`), file(`${name}.pem`)];
    const asked = file(`${name}.csr`);
    await openssl('req', ...NEW_KEY, '-keyout', keyFile, '-out', asked, '-subj', `/CN=${name}`);
    await openssl(
      ...['x509', '-req', '-in', asked, '-out', certFile, '-days', '2', '-extfile', file('names')],
      ...['-CA', file('ca.pem'), '-CAkey', file('ca.key'), '-CAcreateserial'],
    );
    return { certFile, keyFile };
  };
  try {
    await writeFile(file('names'), 'subjectAltName=IP:127.0.0.1,DNS:localhost\n');
    await openssl(
      ...['req', '-x509', ...NEW_KEY, '-keyout', file('ca.key'), '-out', file('ca.pem')],
      ...['-days', '2', '-subj', '/CN=test authority'],
    );
    const caFile = file('ca.pem');
    const [server, client] = [await signed('server'), await signed('client')];
    return {
      caFile,
      server,
      client,
      natsConfig: `tls { cert_file: "${server.certFile}", key_file: "${server.keyFile}", ca_file: "${caFile}", verify: true, timeout: 10 }`,
      [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
    };
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}
