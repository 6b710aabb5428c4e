import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { errorCode } from '@flotilla/kernel';
import { NatsTlsError } from '../messaging.errors.ts';

export interface NatsTls {
  /** File with the certificates that the server's is checked against. Default: the authorities that Node knows. */
  readonly caFile?: string;
  /** Files of the client's own certificate and key, when the server asks for one. */
  readonly certFile?: string;
  readonly keyFile?: string;
}

/**
 * Throws {@link NatsTlsError} for a file that cannot be read or is not what it is named for. The client itself would only
 * say that it could not connect, after trying for as long as it may.
 */
export async function assertTlsFiles({ caFile, certFile, keyFile }: NatsTls): Promise<void> {
  if ((certFile === undefined) !== (keyFile === undefined)) {
    const [given, missing] =
      certFile === undefined ? ['NATS_TLS_KEY', 'NATS_TLS_CERT'] : ['NATS_TLS_CERT', 'NATS_TLS_KEY'];
    throw new NatsTlsError(
      missing,
      certFile ?? keyFile ?? '',
      `it is missing beside ${given}: a certificate is used with its key`,
    );
  }
  if (caFile !== undefined) await read('NATS_TLS_CA', caFile, NO_CERTIFICATE, certificateOf);
  if (certFile === undefined || keyFile === undefined) return;
  const certificate = await read('NATS_TLS_CERT', certFile, NO_CERTIFICATE, certificateOf);
  const key = await read('NATS_TLS_KEY', keyFile, 'no private key', keyOf);
  if (!certificate.checkPrivateKey(key))
    throw new NatsTlsError('NATS_TLS_KEY', keyFile, `it is not the key of the certificate in ${certFile}`);
}

const NO_CERTIFICATE = 'no certificate';

async function read<T>(setting: string, file: string, what: string, parse: (pem: Buffer) => T): Promise<T> {
  let pem: Buffer;
  try {
    pem = await readFile(file);
  } catch (error) {
    throw new NatsTlsError(setting, file, `it cannot be read (${errorCode(error)})`, error);
  }
  try {
    return parse(pem);
  } catch (error) {
    throw new NatsTlsError(setting, file, `it holds ${what} in PEM`, error);
  }
}

function certificateOf(pem: Buffer): X509Certificate {
  return new X509Certificate(pem);
}

function keyOf(pem: Buffer): KeyObject {
  return createPrivateKey(pem);
}
