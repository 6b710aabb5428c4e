import { fixtureMain, peerMain, type BenchProcess } from '../bench-process.ts';
import {
  assertAllSucceeded,
  assertCount,
  PATIENCE_MS,
  withCpu,
  withStack,
  type BenchContext,
  type Measured,
} from '../context.ts';
import { callerService } from '../fixtures/caller/caller.service.ts';
import { quoterService } from '../fixtures/quoter/quoter.service.ts';
import type { RunRequests } from '../fixtures/quotes.ts';
import { perSecondOf, windowOf, type LoadResult } from '../load.ts';
import { installPeer, peerVersions } from '../peers/install-peers.ts';
import { per, Rows } from '../result.ts';
import type { BenchStack, Fixture } from '../stack.ts';
import { latenciesOf } from '../statistics.ts';

const quoter: Fixture = { name: 'quoter', manifest: quoterService };
const caller: Fixture = { name: 'caller', manifest: callerService };

/** Who asks and who answers, by the same client program and the same questions. */
interface Contestant {
  readonly name: string;
  readonly client: BenchProcess;
  /** The client itself where nothing lies between. */
  readonly server: BenchProcess;
}

/** (a) A question to another service and its answer: the chassis beside what Nest and plain NATS do. */
export async function benchRequests(context: BenchContext): Promise<Measured> {
  return withStack(context, 'a', [quoter, caller], (stack) => measure(context, stack));
}

async function measure({ options, note }: BenchContext, stack: BenchStack): Promise<Measured> {
  const contestants: Contestant[] = [
    { name: 'flotilla', server: await stack.run(quoter), client: await stack.run(caller) },
    await plain(stack, 'nest'),
    await plain(stack, 'raw'),
  ];
  const notes = [
    'flotilla: queryBus.execute with validation at both ends, deadline, envelope, trace context (not exported), metrics.',
    'nest: ClientProxy.send and @MessagePattern of @nestjs/microservices over NATS; no validation, deadline or trace.',
    'raw: request and respond of @nats-io/transport-node with JSON.',
  ];
  if (options.peers) {
    const cqrs = await stack.runMain('cqrs', fixtureMain('cqrs'));
    contestants.push({ name: 'cqrs', client: cqrs, server: cqrs });
    notes.push('cqrs: queryBus.execute of @nestjs/cqrs within one process: no transport, the ceiling.');
    const moleculer = await installPeer('moleculer', note);
    if ('folder' in moleculer) {
      const env = { PEER_FOLDER: moleculer.folder };
      contestants.push({
        name: 'moleculer',
        server: await stack.runMain('moleculer-server', peerMain('moleculer-server'), env),
        client: await stack.runMain('moleculer-client', peerMain('moleculer-client'), env),
      });
      notes.push(`moleculer: an action of ${peerVersions('moleculer')}, over NATS; no validation.`);
    } else {
      notes.push(moleculer.problem);
    }
  }
  const levels = options.inFlight ?? [1, 32, 128];
  const rows = new Rows();
  let requests = 0;
  const run = async (
    { client, server }: Contestant,
    inFlight: number,
    seconds: number,
  ): Promise<LoadResult> => {
    const argument: RunRequests = { inFlight, ...windowOf(seconds) };
    const load = await client.call<LoadResult>('runRequests', argument, argument.windowMs + PATIENCE_MS);
    assertAllSucceeded('a', load);
    const answered = await server.call<number>('takeAnswered', null, PATIENCE_MS);
    assertCount('a', 'questions answered', answered, load.started);
    requests += load.started;
    return load;
  };
  if (options.warmupSeconds > 0) {
    for (const contestant of contestants) await run(contestant, levels.at(-1) ?? 1, options.warmupSeconds);
  }
  for (let at = 1; at <= options.runs; at += 1) {
    for (const inFlight of levels) {
      note(`a: ${inFlight} requests in flight, run ${at} of ${options.runs}`);
      for (const contestant of contestants) {
        const { client, server, name } = contestant;
        const watched = [
          { name: 'client', pid: client.pid },
          ...(server === client ? [] : [{ name: 'server', pid: server.pid }]),
          { name: 'nats', pid: stack.nats.pid },
        ];
        const { result: load, cpuMs } = await withCpu(watched, () =>
          run(contestant, inFlight, options.seconds),
        );
        const { medianMs, p99Ms } = latenciesOf(load.latenciesMs);
        rows.add(
          { who: name, 'in flight': inFlight },
          {
            figures: {
              'requests/s': perSecondOf(load),
              'median ms': medianMs,
              'p99 ms': p99Ms,
            },
            cpuMs: per(load.started, cpuMs),
          },
        );
      }
    }
  }
  return {
    operation: 'request',
    settings: { 'lines per question': 5 },
    rows: rows.finish(),
    counts: { 'requests, each answered once': requests },
    notes,
  };
}

/** A client and a server without the chassis. */
async function plain(stack: BenchStack, name: string): Promise<Contestant> {
  const [server, client] = [`${name}-server`, `${name}-client`];
  return {
    name,
    server: await stack.runMain(server, fixtureMain(server)),
    client: await stack.runMain(client, fixtureMain(client)),
  };
}
