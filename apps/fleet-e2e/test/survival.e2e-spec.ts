import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { retailFile } from './support/invoices.ts';
import { RunningFleet, type CommandResult } from './support/running-fleet.ts';

const INVOICES = 250;
const file = retailFile(INVOICES);
const gross = (file.grossMinor / 100).toFixed(2);
const returned = (file.returnedMinor / 100).toFixed(2);

let fleet: RunningFleet;
let csv: string;

beforeAll(async () => {
  fleet = await RunningFleet.start();
  csv = join(fleet.dataDir, 'retail.csv');
  await writeFile(csv, file.csv);
});
afterAll(() => fleet[Symbol.asyncDispose]());

const importFile = (path = csv): Promise<CommandResult> =>
  fleet.run('import', path, '--url', fleet.apiUrl, '--json', '--concurrency', '16');
const verify = (): Promise<CommandResult> => fleet.run('verify', '--data', fleet.dataDir);

interface Summary {
  readonly orders: {
    readonly placedNew: number;
    readonly replayed: number;
    readonly byStatus: Readonly<Record<string, number>>;
  };
  readonly grossPlaced: { readonly amount: string };
  readonly captured: { readonly amount: string };
  readonly returns: { readonly refunded: { readonly amount: string } };
}

const summaryOf = (result: CommandResult): Summary => {
  expect({ code: result.code, stderr: result.code === 0 ? '' : result.stderr }).toEqual({
    code: 0,
    stderr: '',
  });
  return JSON.parse(result.stdout) as Summary;
};

describe('an import, while services are killed', () => {
  it('ends with every order fulfilled and every penny right', async () => {
    const importing = importFile();
    for (const service of [
      'orders',
      'inventory',
      'payments',
      'shipping',
      'tracking',
      'notifications',
      'catalog',
      'gateway',
    ]) {
      await fleet.killService(service);
    }
    const { orders, grossPlaced, captured, returns } = summaryOf(await importing);
    // A request that was answered by a service which died is repeated, and may be a replay already.
    expect(orders.placedNew + orders.replayed).toBe(INVOICES);
    expect(orders.byStatus).toEqual({ completed: INVOICES });
    expect([grossPlaced.amount, captured.amount]).toEqual([gross, gross]);
    expect(returns.refunded.amount).toBe(returned);
    expect(await verify()).toMatchObject({ code: 0 });
  });

  it('places nothing new when it is run again', async () => {
    expect(summaryOf(await importFile()).orders).toMatchObject({ placedNew: 0, replayed: INVOICES });
    expect(await verify()).toMatchObject({ code: 0 });
  });
});

describe('Ctrl-C of the whole fleet in the middle of an import', () => {
  it('loses nothing: after a new start the import ends, and the books are right', async () => {
    const second = join(fleet.dataDir, 'second.csv');
    // Other invoices: the same numbers with another first digit.
    await writeFile(second, file.csv.replaceAll(/^(C?)6/gm, '$17'));
    const importing = importFile(second);
    expect(await fleet.interrupt()).toBe(0);
    expect(fleet.output).toContain('Stopped');
    await fleet.up();
    const imported = await importing;
    // The import outlasted the restart, or gave up and is simply run again.
    const completed = imported.code === 0 ? imported : await importFile(second);
    const { orders, captured, returns } = summaryOf(completed);
    expect(orders.placedNew + orders.replayed).toBe(INVOICES);
    expect([captured.amount, returns.refunded.amount]).toEqual([gross, returned]);
    expect(await verify()).toMatchObject({ code: 0 });
  });
});
