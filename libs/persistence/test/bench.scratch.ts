import { createTestDatabase } from '@flotilla/testing';
import { createDataSource, migrate, Outbox, requireUnitOfWork, UnitOfWork } from '../src/index.ts';
import { newId } from '@flotilla/kernel';
const database = await createTestDatabase();
await migrate({ url: database.url, migrations: [class T1700000000001 { async up(r: any) { await r.query('create table ord (id text primary key, n int not null, data text)'); } }] });
const log = { log() {}, warn: console.warn, error: console.error };
const N = Number(process.argv[2] ?? 5000), inflight = Number(process.argv[3] ?? 128), mode = process.argv[4] ?? 'full';
const lanes = Number(process.argv[5] ?? 4), maxGroupSize = Number(process.argv[6] ?? 32);
const sizes: number[] = [];
const outbox = new Outbox({ connection: { url: database.url }, log });
let published = 0;
await outbox.start({ publish: async () => { await new Promise((r) => setImmediate(r)); published++; return { stream: 'EVT', sequence: published, duplicate: false }; } });
const dataSource = await createDataSource({ url: database.url, poolSize: 10 }).initialize();
const uow = new UnitOfWork({ dataSource, outbox, log, lanes, maxGroupSize, metrics: { groupEnded: (g) => sizes.push(g.size) } });
const body = JSON.stringify({ lines: Array.from({ length: 5 }, (_, i) => ({ sku: `sku-${i}`, quantity: i })), a: 'x'.repeat(200) });
const headers = { 'ce-id': 'x', 'ce-type': 'orders.Thing.v1', 'ce-source': 'orders', 'ce-time': new Date().toISOString(), 'ce-subject': 's', 'ce-correlationid': newId(), traceparent: '00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01' };
const lat: number[] = [];
async function one(i: number) {
  const id = newId();
  const t = performance.now();
  if (mode === 'empty') await uow.run(async () => {});
  else if (mode === 'read') await uow.run(async () => { await requireUnitOfWork('x').query('select * from ord where id = $1', [id]); });
  else await uow.process({ consumer: 'c', messageId: id, key: id, payloadHash: 'h' }, async () => {
    const u = requireUnitOfWork('x');
    await u.query('insert into ord values ($1, 1, $2)', [id, body]);
    await u.query('select * from ord where id = $1', [id]);
    await u.query('update ord set n = n + 1 where id = $1', [id]);
    u.send({ id: newId(), subject: 'evt.orders.Thing.v1.1.' + id, key: id, headers, body });
    u.remember({ orderId: id });
  }, { onRefusal: () => {}, independent: process.argv[7] === 'i' });
  lat.push(performance.now() - t);
}
async function go(n: number) {
  let next = 0;
  await Promise.all(Array.from({ length: inflight }, async () => { while (next < n) await one(next++); }));
}
await go(Math.min(1000, N)); lat.length = 0; sizes.length = 0;
const cpu = process.cpuUsage(); const t0 = performance.now();
await go(N);
const t = performance.now() - t0; const c = process.cpuUsage(cpu);
await outbox.flush(10000);
lat.sort((a, b) => a - b);
console.log(JSON.stringify({ mode, inflight, lanes, maxGroupSize, perSecond: Math.round(N / t * 1000), cpuUsPerUnit: Math.round((c.user + c.system) / N), groups: sizes.length, avgSize: +(N / sizes.length).toFixed(1), p50: +lat[N >> 1]!.toFixed(2), p99: +lat[Math.floor(N * .99)]!.toFixed(2), published }));
await uow.close(); await outbox.close(); await dataSource.destroy(); await database.drop();
