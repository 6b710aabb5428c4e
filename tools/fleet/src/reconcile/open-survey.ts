import { connectNats } from '@flotilla/messaging';
import type { NatsConnection } from '@nats-io/nats-core';
import { askOver } from '../operate/ask-owner.ts';
import { discoverServices } from '../services.ts';
import type { DataDir } from '../stack/data-dir.ts';
import { findDatabases } from '../stack/migrations.ts';
import { findNats } from '../stack/nats-access.ts';
import { Survey, type Examine } from './survey.ts';

/** Asks a service to repair, or to compare, something. */
export type AskRepair = (service: string, about: string, body: object) => Promise<unknown>;

/** Opens everything that is compared, of the fleet of `dir` or of the environment, and closes it again. */
export async function withSurvey<T>(
  dir: DataDir,
  work: (survey: Survey, ask: AskRepair) => Promise<T>,
): Promise<T> {
  const services = (await discoverServices()).filter(({ manifest }) => manifest.database);
  const databases = await findDatabases(services, dir);
  const nats = await connectNats({ ...(await findNats(dir)), name: 'fleet operator' });
  try {
    const ask = askRepairOver(nats);
    const examine: Examine = async (service, aggregates) => {
      const answer = await ask(service, 'views', { action: 'examine', aggregates });
      return (answer as { readonly examined: Awaited<ReturnType<Examine>> }).examined;
    };
    const survey = await Survey.open({ services, databases, nats, examine });
    try {
      return await work(survey, ask);
    } finally {
      await survey.close();
    }
  } finally {
    await nats.close();
  }
}

function askRepairOver(nats: NatsConnection): AskRepair {
  return (service, about, body) => {
    const { action } = body as { readonly action: string };
    return askOver(nats, service, {
      subject: `ops.${service}.repair`,
      type: `ops.repair.${action}`,
      about,
      what: `${action} of ${about}`,
      body,
    });
  };
}
