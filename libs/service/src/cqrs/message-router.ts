import { contractOf, isMessage, type AnyMessage, type ServiceManifest } from '@flotilla/contracts-protocol';
import { currentUnitOfWork } from '@flotilla/persistence';
import { RemoteCallInsideUnitOfWorkError, UnlistedMessageError } from '../service.errors.ts';
import type { RemoteCalls } from './remote-calls.ts';

/** Decides for each command and query whether it is answered here or by another service. */
export class MessageRouter {
  readonly #service: string;
  readonly #answers: ReadonlySet<string>;
  readonly #calls: ReadonlySet<string>;
  readonly #remote: RemoteCalls;

  constructor(manifest: ServiceManifest, remote: RemoteCalls) {
    this.#service = manifest.name;
    this.#answers = new Set(manifest.answers.map(({ contract }) => contract.type));
    this.#calls = new Set(manifest.calls.map(({ contract }) => contract.type));
    this.#remote = remote;
  }

  /** Whether it is handled in this process: plain classes, and contracts that the service answers. */
  isLocal(message: object): boolean {
    return !isMessage(message) || this.#answers.has(contractOf(message).type);
  }

  /** Calls the owner of the message; throws if the service did not say that it does so. */
  callRemote(message: AnyMessage): Promise<unknown> {
    const { type } = contractOf(message);
    if (!this.#calls.has(type)) throw new UnlistedMessageError(type, this.#service);
    if (currentUnitOfWork()) throw new RemoteCallInsideUnitOfWorkError(type);
    return this.#remote.call(message);
  }
}
