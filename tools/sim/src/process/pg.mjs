// What `pg` is in a simulation process. The database is made before anything imports this.
const driver = globalThis[Symbol.for('flotilla.simulated-pg')];
if (driver === undefined) throw new Error('The simulated database has to be made before pg is imported');

export const { Client, Pool, types } = driver;
export default driver;
