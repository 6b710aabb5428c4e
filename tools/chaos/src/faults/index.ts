import { clusterCut, clusterLeader } from './cluster.ts';
import { commitReset } from './commit-reset.ts';
import { duplicates, lateDuplicates } from './duplicates.ts';
import type { Fault } from './fault.ts';
import { killAtPoints } from './kill-at-point.ts';
import { killRelay } from './kill-relay.ts';
import { killService } from './kill-service.ts';
import { natsRestart, natsWipe } from './nats-restart.ts';
import { latency, partition, resets } from './network.ts';
import { pauseService } from './pause.ts';
import { fullWindow, killerMessage, poison } from './poison.ts';
import { postgresRestart } from './postgres-restart.ts';
import { rollingRestart, scaling } from './rollout.ts';

/** Every kind of fault, in the order of the report. */
export const faults: readonly Fault[] = [
  killService,
  ...killAtPoints,
  killRelay,
  pauseService,
  natsRestart,
  natsWipe,
  postgresRestart,
  commitReset,
  resets,
  latency,
  partition,
  fullWindow,
  poison,
  killerMessage,
  duplicates,
  lateDuplicates,
  rollingRestart,
  scaling,
  clusterLeader,
  clusterCut,
];
