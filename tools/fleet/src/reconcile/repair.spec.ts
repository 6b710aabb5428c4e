import type { Divergence, RepairStep } from './divergence.ts';
import { planRepair } from './repair.ts';

let count = 0;
const divergence = (service: string, aggregate: string, repair?: RepairStep): Divergence => ({
  id: String((count += 1)),
  kind: 'lost',
  service,
  aggregate,
  what: 'it is not there',
  ...(repair && { repair }),
  ...(repair && 'position' in repair && { position: repair.position, origin: service }),
});

describe('the plan of a repair', () => {
  it('asks each owner once for what goes together, messages before what is made of them', () => {
    const plan = planRepair(
      [
        divergence('tracking', 'o-1', { action: 'mend' }),
        divergence('orders', 'o-1', { action: 'redeliver', position: '3', consumer: 'mail' }),
        divergence('orders', 'o-1', { action: 'republish', position: '1' }),
        divergence('orders', 'o-2', { action: 'republish', position: '2' }),
        divergence('orders', 'o-2', { action: 'redeliver', position: '4', consumer: 'other' }),
        divergence('orders', 'o-3', { action: 'fire', saga: 'fulfilment' }),
        divergence('tracking', 'o-1', { action: 'mend' }),
        divergence('orders', 'o-4'),
      ],
      'ada',
    );
    expect(plan.map(({ service, body }) => [service, body])).toEqual([
      ['orders', { action: 'republish', operator: 'ada', positions: ['1', '2'] }],
      ['orders', { action: 'redeliver', operator: 'ada', positions: ['3'], consumer: 'mail' }],
      ['orders', { action: 'redeliver', operator: 'ada', positions: ['4'], consumer: 'other' }],
      ['orders', { action: 'fire', operator: 'ada', saga: 'fulfilment', id: 'o-3' }],
      ['tracking', { action: 'mend', operator: 'ada', aggregates: ['o-1'] }],
    ]);
  });

  it('asks for so much at a time as a service takes', () => {
    const many = Array.from({ length: 1_001 }, (_, at) =>
      divergence('orders', `o-${at}`, { action: 'republish', position: String(at) }),
    );
    const views = many
      .slice(0, 41)
      .map(({ aggregate }) => divergence('tracking', aggregate, { action: 'mend' }));
    const plan = planRepair([...many, ...views], 'ada');
    expect(plan.map(({ divergences }) => divergences.length)).toEqual([500, 500, 1, 20, 20, 1]);
  });
});
