import { AuthorizationError, type NatsConnection } from '@nats-io/nats-core';
import { connect, type NodeConnectionOptions } from '@nats-io/transport-node';
import { backoffDelayMs, errorMessage, systemClock, type Clock } from '@flotilla/kernel';
import { BrokerUnavailableError, UnsupportedServerError } from '../messaging.errors.ts';
import { assertTlsFiles, type NatsTls } from './nats-tls.ts';
import { assertServerOf } from './server-version.ts';

export interface NatsCredentials {
  readonly user: string;
  readonly password: string;
}

export interface ConnectNatsOptions {
  /** `host:port` or `nats://host:port`, one or more of a cluster. */
  readonly servers: string | readonly string[];
  /** Shown in the server's list of connections. */
  readonly name: string;
  readonly credentials?: NatsCredentials;
  /** Encrypts, and refuses a server that does not. Default: only where the server asks for it, with the authorities that Node knows. */
  readonly tls?: NatsTls;
  /**
   * Where answers to this client go; its user may subscribe to nothing else of the kind. Default `_INBOX`. Services
   * use {@link inboxPrefixOf}.
   */
  readonly inboxPrefix?: string;
  /** How long to try to connect at first, in milliseconds. Default 30,000. Afterwards it reconnects for ever. */
  readonly connectTimeoutMs?: number;
  readonly clock?: Clock;
}

/** The subjects under which a service gets its answers: nobody else may subscribe to them. */
export function inboxPrefixOf(service: string): string {
  return `_INBOX_${service}`;
}

/**
 * Connects, trying until the deadline, and checks the server's version. Throws `BrokerUnavailableError`,
 * `UnsupportedServerError`, or `NatsTlsError`. Refused credentials are not tried again.
 */
export async function connectNats(options: ConnectNatsOptions): Promise<NatsConnection> {
  const clock = options.clock ?? systemClock;
  if (options.tls) await assertTlsFiles(options.tls);
  const deadlineMs = clock.monotonicMs() + (options.connectTimeoutMs ?? 30_000);
  const servers = typeof options.servers === 'string' ? [options.servers] : [...options.servers];
  for (let attempt = 1; ; attempt++) {
    try {
      const connection = await connect(connectionOptions(options, servers, deadlineMs - clock.monotonicMs()));
      try {
        assertServerOf(connection);
      } catch (error) {
        await connection.close();
        throw error;
      }
      return connection;
    } catch (error) {
      if (error instanceof UnsupportedServerError) throw error;
      const delayMs = backoffDelayMs(attempt, { initialMs: 50, maxMs: 2_000 });
      const refused = error instanceof AuthorizationError;
      if (refused || clock.monotonicMs() + delayMs >= deadlineMs) {
        throw new BrokerUnavailableError(
          `Connecting to NATS at ${servers.join(', ')}`,
          refused
            ? `the credentials of ${options.credentials?.user ?? 'nobody'} were refused`
            : errorMessage(error),
          error,
        );
      }
      await clock.sleep(delayMs);
    }
  }
}

function connectionOptions(
  options: ConnectNatsOptions,
  servers: string[],
  leftMs: number,
): NodeConnectionOptions & { readonly pendingLimit: number } {
  return {
    servers,
    name: options.name,
    ...(options.credentials && { user: options.credentials.user, pass: options.credentials.password }),
    ...(options.tls && { tls: options.tls }),
    ...(options.inboxPrefix !== undefined && { inboxPrefix: options.inboxPrefix }),
    timeout: Math.max(100, Math.min(5_000, leftMs)),
    reconnect: true,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 250,
    reconnectJitter: 250,
    reconnectJitterTLS: 1_000,
    // A rotated password must not end a service that is up: it goes on trying, and says so.
    ignoreAuthErrorAbort: true,
    // A server that is cut off is left after 10 to 15 seconds: nothing else tells of it.
    pingInterval: 5_000,
    maxPingOut: 2,
    // What one turn of the event loop has to say goes out in one write: the client's own limit, 32 KiB, is 60 answers.
    // Its types do not have the option; without it there are more writes.
    pendingLimit: 262_144,
    // A stack per request costs more than the request.
    noAsyncTraces: true,
  };
}
