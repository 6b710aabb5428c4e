import { ServerHost } from './server-host.ts';
import { askDesk, openDesk } from './server-desk.ts';

class FailingHost extends ServerHost {
  override natsUrl(): Promise<string> {
    return Promise.reject(new Error('no nats-server was found'));
  }
  override postgresUrl(): Promise<string> {
    return Promise.resolve('postgres://there');
  }
}

describe('the desk', () => {
  it('hands on addresses and errors, and only to those who know its secret', async () => {
    const desk = await openDesk(new FailingHost());
    expect(await askDesk(desk.url, 'postgres')).toBe('postgres://there');
    await expect(askDesk(desk.url, 'nats')).rejects.toThrow('no nats server: no nats-server was found');
    await expect(askDesk(new URL('/guess', desk.url).href, 'nats')).rejects.toThrow('no such server');
    await desk.close();
    await expect(askDesk(desk.url, 'nats')).rejects.toThrow('ECONNREFUSED');
  });
});
