import { connectNats, NatsBroker, provision } from '@flotilla/messaging';
import { conformanceTopology, launch, padCommands } from '../src/testing/conformance-messages.ts';
import { startNats, locateNatsServer } from '@flotilla/embedded';
import { jetstreamManager, RetentionPolicy } from '@nats-io/jetstream';
import { mkdtempSync } from 'node:fs';
const dir = mkdtempSync('/tmp/msgbench/nats-');
for (const round of [1, 2]) for (const mode of ['workqueue', 'limits', 'limits+purge'] as const) {
  const nats = await startNats({ binary: (await locateNatsServer()).path, storeDir: dir + mode + round });
  const admin = await connectNats({ servers: nats.url, name: 'a' });
  const topo = conformanceTopology({ ackWaitMs: 30000, queueMaxBytes: 1e9 });
  if (mode !== 'workqueue') for (const s of topo.streams) if (s.name === 'CMD_pad') Object.assign(s.config, { retention: RetentionPolicy.Limits, deny_purge: false });
  await provision(admin, topo);
  const jsm = await jetstreamManager(admin);
  const b = await NatsBroker.connect({ servers: nats.url, name: 'b', service: 'pad' });
  const N = 12000; let n = 0; let last = 0;
  const timer = mode === 'limits+purge' ? setInterval(() => { void jsm.consumers.info('CMD_pad', 'pad').then((i) => { if (i.ack_floor.stream_seq > last) { last = i.ack_floor.stream_seq; return jsm.streams.purge('CMD_pad', { seq: last + 1 } as never); } return undefined; }); }, 1000) : undefined;
  const t = performance.now(); const c0 = process.cpuUsage();
  const done = new Promise<void>((res) => { void b.consume(padCommands, { maxInFlight: 64 }, async () => { if (++n === N) res(); }); });
  let i = 0;
  await Promise.all(Array.from({ length: 64 }, async () => { while (i < N) { i++; await b.publish(launch(`r${i % 500}`, i)); } }));
  const p = (performance.now() - t) / 1000;
  await done; 
  // settle acks
  for (;;) { const inf = await jsm.consumers.info('CMD_pad', 'pad'); if (inf.num_ack_pending === 0) break; }
  const s = (performance.now() - t) / 1000; const c = process.cpuUsage(c0);
  console.log(`${mode}: publish ${Math.round(N / p)}/s, all done and acked ${Math.round(N / s)}/s, cpu ${((c.user + c.system) / N).toFixed(1)} us; left ${(await jsm.streams.info('CMD_pad')).state.messages}`);
  clearInterval(timer);
  await b.close(); await admin.close(); await nats.stop();
}
