import { createHash } from 'node:crypto';
import { entryKey } from './catalog.ts';
import { DAY, formatPattern, Interval, SECOND, type Micros } from './date-time.ts';
import {
  cast,
  commonType,
  constant,
  negate,
  strict,
  typeOf,
  unify,
  union,
  type Expression,
  type ParameterTypes,
} from './expression.ts';
import { arrayOfJson, jsonTextOf, jsonTypeOf, setAt, withoutNulls } from './json-values.ts';
import { canonicalJson, formatJson, parseJson } from './json.ts';
import { Numeric } from './numeric.ts';
import { operate } from './operators.ts';
import { PostgresError, unsupported } from './postgres-error.ts';
import { Blocked, type Run } from './run.ts';
import {
  arrayOf,
  BOOL,
  DATE,
  FLOAT8,
  INT4,
  INT8,
  INTERVAL,
  isNumber,
  JSON_TYPE,
  JSONB,
  NAME,
  NUMERIC,
  TEXT,
  TIMESTAMP,
  TIMESTAMPTZ,
  UNKNOWN,
  UUID_TYPE,
  VOID,
  type Row,
  type SqlType,
  type Value,
} from './types.ts';

type Builder = (given: Given) => Expression;

interface Given {
  readonly name: string;
  readonly parameters: ParameterTypes;
  readonly args: readonly Expression[];
  /** Of the arguments that were named. */
  readonly named: ReadonlyMap<string, Expression>;
}

function simple(
  types: readonly SqlType[],
  returns: SqlType,
  apply: (values: readonly Value[], run: Run) => Value,
  options: { readonly volatile?: boolean } = {},
): Builder {
  return ({ name, parameters, args }) => {
    if (args.length !== types.length) throw noFunction(name, args);
    const given = args.map((each, index) => cast(parameters, each, types[index] as SqlType, 'implicit'));
    return strict(returns, given, apply, options.volatile ?? false);
  };
}

export function noFunction(name: string, args: readonly Expression[]): PostgresError {
  return new PostgresError(
    '42883',
    `function ${name}(${args.map(({ type }) => type.name).join(', ')}) does not exist`,
    { hint: 'If Postgres has it, the simulated Postgres does not know it yet: see functions.ts there.' },
  );
}

/** By the number of arguments. */
function overloaded(...builders: readonly (readonly [number, Builder])[]): Builder {
  return (given) => {
    const found = builders.find(([count]) => count === given.args.length);
    if (found === undefined) throw noFunction(given.name, given.args);
    return found[1](given);
  };
}

function byFirstType(choose: (type: SqlType) => Builder | undefined): Builder {
  return (given) => {
    const [first] = given.args;
    const type = first === undefined ? UNKNOWN : typeOf(given.parameters, first);
    const builder = choose(type);
    if (builder === undefined) throw noFunction(given.name, given.args);
    return builder(given);
  };
}

const now = (run: Run): Micros => run.session.transactionTime;
const volatile = { volatile: true };

/** A stable number for a text: not Postgres' own hash, which no statement shows. */
function hashText(text: string, seed: bigint): bigint {
  const digest = createHash('md5').update(`${seed}\u0000${text}`).digest();
  return digest.readBigInt64LE(0);
}

const hashes = new Map<string, bigint>();

function hashTextExtended([text, seed]: readonly Value[]): Value {
  const key = `${String(seed)} ${String(text)}`;
  let hash = hashes.get(key);
  if (hash === undefined) {
    hash = hashText(String(text), seed as bigint);
    if (hashes.size > 20_000) hashes.clear();
    hashes.set(key, hash);
  }
  return hash;
}

interface AdvisoryKind {
  readonly session: boolean;
  readonly shared: boolean;
  readonly attempt: boolean;
}

function advisory({ session, shared, attempt }: AdvisoryKind): Builder {
  const take = (key: string, run: Run): Value => {
    const { session: state, advisory: progress } = run;
    if (progress.passed < progress.taken) {
      progress.passed += 1;
      return attempt ? true : '';
    }
    const { database, transaction } = state;
    const blockers = database.advisoryBlockers(state, key, shared);
    if (blockers.length > 0) {
      if (attempt) return false;
      // Not an error: it is caught where the statement can wait.
      // eslint-disable-next-line @typescript-eslint/only-throw-error
      throw new Blocked({
        blockers: () => database.advisoryBlockers(state, key, shared),
        what: 'an advisory lock',
      });
    }
    database.takeAdvisory({ key, holder: state, shared, transaction: session ? undefined : transaction });
    if (!attempt) {
      progress.taken += 1;
      progress.passed += 1;
    }
    return attempt ? true : '';
  };
  return withLockKey(attempt ? BOOL : VOID, take);
}

function withLockKey(returns: SqlType, apply: (key: string, run: Run) => Value): Builder {
  return overloaded(
    [1, simple([INT8], returns, ([key], run) => apply(String(key), run), volatile)],
    [
      2,
      simple(
        [INT4, INT4],
        returns,
        ([one, two], run) => apply(`${String(one)}/${String(two)}`, run),
        volatile,
      ),
    ],
  );
}

const unlock = (shared: boolean): Builder =>
  withLockKey(BOOL, (key, { session }) => session.database.releaseAdvisory(session, key, shared));

const numberFunction =
  (apply: (value: number) => number, exact: (value: Numeric) => Numeric): Builder =>
  ({ name, parameters, args }) => {
    const [given] = args;
    if (given === undefined || args.length !== 1) throw noFunction(name, args);
    const type = typeOf(parameters, given);
    if (type === NUMERIC) return strict(NUMERIC, [given], ([value]) => exact(value as Numeric));
    return strict(FLOAT8, [cast(parameters, given, FLOAT8, 'implicit')], ([value]) => apply(value as number));
  };

const floorOf = (value: Numeric): Numeric => {
  const down = value.toScale(0);
  return down.compare(value) > 0 ? down.minus(Numeric.of(1)) : down;
};

const anyToText = ({ parameters, args }: Given): readonly Expression[] =>
  args.map((each) => cast(parameters, each, TEXT, 'explicit'));

function buildObject(type: SqlType): Builder {
  return ({ parameters, args }) => {
    const pairs = args.map((each, index) =>
      index % 2 === 0 || typeOf(parameters, each) === UNKNOWN
        ? cast(parameters, each, TEXT, 'explicit')
        : each,
    );
    return {
      type,
      slots: union(pairs),
      eval: (run) => {
        const entries: string[] = [];
        for (let index = 0; index < pairs.length; index += 2) {
          const key = pairs[index]?.eval(run) ?? null;
          if (key === null) throw new PostgresError('22023', 'null value not allowed for object key');
          const value = pairs[index + 1] as Expression;
          entries.push(`${JSON.stringify(String(key))} : ${jsonTextOf(value.eval(run), value.type)}`);
        }
        const text = `{${entries.join(', ')}}`;
        return type === JSONB ? canonicalJson(text) : text;
      },
    };
  };
}

function buildArray(type: SqlType): Builder {
  return ({ parameters, args }) => {
    const items = args.map((each) =>
      typeOf(parameters, each) === UNKNOWN ? cast(parameters, each, TEXT, 'explicit') : each,
    );
    return {
      type,
      slots: union(items),
      eval: (run) => {
        const text = `[${items.map((each) => jsonTextOf(each.eval(run), each.type)).join(', ')}]`;
        return type === JSONB ? canonicalJson(text) : text;
      },
    };
  };
}

function toJson(type: SqlType): Builder {
  return ({ name, parameters, args }) => {
    const [given] = args;
    if (given === undefined) throw noFunction(name, args);
    const known = typeOf(parameters, given) === UNKNOWN ? cast(parameters, given, TEXT, 'implicit') : given;
    return strict(type, [known], ([value]) => {
      const text = jsonTextOf(value as Value, known.type);
      return type === JSONB ? canonicalJson(text) : text;
    });
  };
}

const arrayFunction =
  (returns: SqlType, apply: (value: Row) => Value): Builder =>
  ({ name, args }) => {
    const [given] = args;
    if (given?.type.element === undefined) throw noFunction(name, args);
    return strict(returns, [given], ([value]) => apply(value as Row));
  };

const MAKE_INTERVAL = ['years', 'months', 'weeks', 'days', 'hours', 'mins', 'secs'] as const;

const makeInterval: Builder = ({ parameters, args, named }) => {
  const parts = MAKE_INTERVAL.map((name, index) => {
    const given = named.get(name) ?? args[index];
    const type = name === 'secs' ? FLOAT8 : INT4;
    return given === undefined ? constant(type, 0) : cast(parameters, given, type, 'implicit');
  });
  return strict(INTERVAL, parts, (values) => {
    const [years = 0, months = 0, weeks = 0, days = 0, hours = 0, mins = 0, secs = 0] = values as number[];
    return new Interval(
      years * 12 + months,
      weeks * 7 + days,
      Math.round(((hours * 60 + mins) * 60 + secs) * SECOND),
    );
  });
};

const extract: Builder = ({ name, parameters, args }) => {
  const [field, from] = args;
  const what = field?.literal?.toLowerCase();
  if (from === undefined || what === undefined) throw noFunction(name, args);
  const type = typeOf(parameters, from) === UNKNOWN ? TIMESTAMPTZ : typeOf(parameters, from);
  const given = cast(parameters, from, type, 'implicit');
  const seconds = (micros: number): Numeric => new Numeric(BigInt(micros), 6);
  return strict(NUMERIC, [given], ([value]) => {
    if (value instanceof Interval) {
      if (what === 'epoch') {
        const years = Math.trunc(value.months / 12);
        const micros = (years * 365.25 + (value.months % 12) * 30 + value.days) * DAY + value.micros;
        return seconds(micros);
      }
      if (what === 'day') return Numeric.of(value.days);
      throw unsupported(`extract(${what} FROM interval)`);
    }
    const at = value as number;
    if (what === 'epoch') return type === DATE ? Numeric.of(at / SECOND) : seconds(at);
    const date = new Date(Math.floor(at / 1000));
    const parts: Readonly<Record<string, number>> = {
      year: date.getUTCFullYear(),
      month: date.getUTCMonth() + 1,
      day: date.getUTCDate(),
      hour: date.getUTCHours(),
      minute: date.getUTCMinutes(),
      dow: date.getUTCDay(),
      isodow: date.getUTCDay() === 0 ? 7 : date.getUTCDay(),
    };
    const part = Object.hasOwn(parts, what) ? parts[what] : undefined;
    if (part === undefined) throw unsupported(`extract(${what} ...)`);
    return Numeric.of(part);
  });
};

const timeZone: Builder = ({ name, parameters, args }) => {
  const [zone, at] = args;
  if (zone?.literal?.toUpperCase() !== 'UTC' || at === undefined)
    throw zone?.literal === undefined ? noFunction(name, args) : unsupported(`the time zone ${zone.literal}`);
  const type = typeOf(parameters, at) === TIMESTAMP ? TIMESTAMPTZ : TIMESTAMP;
  return strict(
    type,
    [cast(parameters, at, type === TIMESTAMP ? TIMESTAMPTZ : TIMESTAMP, 'implicit')],
    ([value]) => value as Value,
  );
};

function truncateTo(field: string, at: Micros): Micros {
  const date = new Date(Math.floor(at / 1000));
  const start = (month: number, day: number): Micros => Date.UTC(date.getUTCFullYear(), month, day) * 1000;
  switch (field) {
    case 'second':
      return Math.floor(at / SECOND) * SECOND;
    case 'minute':
      return Math.floor(at / (60 * SECOND)) * 60 * SECOND;
    case 'hour':
      return Math.floor(at / (3600 * SECOND)) * 3600 * SECOND;
    case 'day':
      return Math.floor(at / DAY) * DAY;
    case 'milliseconds':
      return Math.floor(at / 1000) * 1000;
    case 'month':
      return start(date.getUTCMonth(), 1);
    case 'year':
      return start(0, 1);
    default:
      throw unsupported(`date_trunc('${field}', ...)`);
  }
}

function uuid(run: Run): string {
  const hex = Array.from({ length: 8 }, () =>
    Math.floor(run.session.random() * 0x1_0000)
      .toString(16)
      .padStart(4, '0'),
  ).join('');
  const variant = (8 + (Number.parseInt(hex[16] ?? '0', 16) % 4)).toString(16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20)}`;
}

function sequenceId(name: string, run: Run): number {
  const parts = name.replaceAll('"', '').split('.');
  const entry = run.session.catalog.get(
    entryKey('sequence', parts.length > 1 ? parts[0] : undefined, parts.at(-1) ?? ''),
  );
  if (entry?.kind !== 'sequence') throw new PostgresError('42P01', `relation "${name}" does not exist`);
  return entry.id;
}

const FUNCTIONS: Readonly<Record<string, Builder>> = {
  now: simple([], TIMESTAMPTZ, (_, run) => now(run), volatile),
  transaction_timestamp: simple([], TIMESTAMPTZ, (_, run) => now(run), volatile),
  statement_timestamp: simple([], TIMESTAMPTZ, (_, run) => run.session.statementTime, volatile),
  clock_timestamp: simple([], TIMESTAMPTZ, (_, run) => run.session.clock(), volatile),
  to_timestamp: simple([FLOAT8], TIMESTAMPTZ, ([seconds]) => Math.round((seconds as number) * SECOND)),
  make_interval: makeInterval,
  extract,
  date_part: (given) => cast(given.parameters, extract(given), FLOAT8, 'explicit'),
  timezone: timeZone,
  date_trunc: ({ name, parameters, args }) => {
    const [field, at] = args;
    if (typeof field?.literal !== 'string' || at === undefined) throw noFunction(name, args);
    const unit = field.literal;
    const type = typeOf(parameters, at) === TIMESTAMP ? TIMESTAMP : TIMESTAMPTZ;
    return strict(type, [cast(parameters, at, type, 'implicit')], ([value]) =>
      truncateTo(unit, value as number),
    );
  },
  to_char: ({ name, parameters, args }) => {
    const [at, pattern] = args;
    if (at === undefined || pattern === undefined || at.type.category !== 'D') throw noFunction(name, args);
    return strict(TEXT, [at, cast(parameters, pattern, TEXT, 'implicit')], ([value, form]) =>
      formatPattern(value as number, String(form)),
    );
  },
  age: overloaded([
    2,
    ({ parameters, args }) => operate(parameters, '-', args[0] as Expression, args[1] as Expression),
  ]),
  gen_random_uuid: simple([], UUID_TYPE, (_, run) => uuid(run), volatile),
  random: simple([], FLOAT8, (_, run) => run.session.random(), volatile),
  nextval: simple(
    [TEXT],
    INT8,
    ([name], run) => run.session.database.nextOf(sequenceId(String(name), run)),
    volatile,
  ),
  setval: simple(
    [TEXT, INT8],
    INT8,
    ([name, value], run) => {
      run.session.database.sequences.set(sequenceId(String(name), run), value as bigint);
      return value as bigint;
    },
    volatile,
  ),
  hashtextextended: simple([TEXT, INT8], INT8, hashTextExtended),
  hashtext: simple([TEXT], INT4, ([text]) => Number(BigInt.asIntN(32, hashText(String(text), 0n)))),
  md5: simple([TEXT], TEXT, ([text]) => createHash('md5').update(String(text)).digest('hex')),
  pg_advisory_lock: advisory({ session: true, shared: false, attempt: false }),
  pg_advisory_lock_shared: advisory({ session: true, shared: true, attempt: false }),
  pg_try_advisory_lock: advisory({ session: true, shared: false, attempt: true }),
  pg_try_advisory_lock_shared: advisory({ session: true, shared: true, attempt: true }),
  pg_advisory_xact_lock: advisory({ session: false, shared: false, attempt: false }),
  pg_advisory_xact_lock_shared: advisory({ session: false, shared: true, attempt: false }),
  pg_try_advisory_xact_lock: advisory({ session: false, shared: false, attempt: true }),
  pg_try_advisory_xact_lock_shared: advisory({ session: false, shared: true, attempt: true }),
  pg_advisory_unlock: unlock(false),
  pg_advisory_unlock_shared: unlock(true),
  pg_advisory_unlock_all: simple(
    [],
    VOID,
    (_, { session }) => {
      session.database.releaseAllAdvisory(session);
      return '';
    },
    volatile,
  ),
  pg_notify: simple(
    [TEXT, TEXT],
    VOID,
    ([channel, payload], run) => {
      notify(run, String(channel), String(payload));
      return '';
    },
    volatile,
  ),
  set_config: simple(
    [TEXT, TEXT, BOOL],
    TEXT,
    ([name, value, local], run) => {
      run.session.set(String(name), String(value), local === true);
      return value as Value;
    },
    volatile,
  ),
  current_setting: ({ name, parameters, args }) => {
    const [setting, missing] = args;
    if (setting === undefined) throw noFunction(name, args);
    const given = cast(parameters, setting, TEXT, 'implicit');
    const ok = missing === undefined ? constant(BOOL, false) : cast(parameters, missing, BOOL, 'implicit');
    return strict(
      TEXT,
      [given, ok],
      ([key, missingOk], run) => {
        const value = run.session.setting(String(key));
        if (value === undefined && missingOk !== true)
          throw new PostgresError('42704', `unrecognized configuration parameter "${String(key)}"`);
        return value ?? null;
      },
      true,
    );
  },
  version: simple([], TEXT, () => 'PostgreSQL 18.0 (simulated)'),
  current_database: simple([], NAME, (_, run) => run.session.database.name, volatile),
  current_schema: simple([], NAME, () => 'public'),
  pg_backend_pid: simple([], INT4, (_, run) => run.session.id, volatile),
  txid_current: simple([], INT8, (_, run) => BigInt(run.session.database.lastCommit + 1), volatile),
  to_regclass: simple(
    [TEXT],
    TEXT,
    ([name], run) => {
      const parts = String(name).replaceAll('"', '').split('.');
      const schema = parts.length > 1 ? parts[0] : undefined;
      const entry = run.session.catalog.get(entryKey('table', schema, parts.at(-1) ?? ''));
      return entry === undefined ? null : schema === 'public' ? (parts.at(-1) ?? null) : String(name);
    },
    volatile,
  ),
  pg_sleep: () => {
    throw unsupported('pg_sleep: a simulated server has no time of its own');
  },
  length: simple([TEXT], INT4, ([text]) => [...String(text)].length),
  char_length: simple([TEXT], INT4, ([text]) => [...String(text)].length),
  octet_length: simple([TEXT], INT4, ([text]) => Buffer.byteLength(String(text))),
  pg_column_size: ({ args }) =>
    strict(
      INT4,
      [args[0] as Expression],
      ([value]) => Buffer.byteLength((args[0] as Expression).type.output(value as Value)) + 4,
    ),
  lower: simple([TEXT], TEXT, ([text]) => String(text).toLowerCase()),
  upper: simple([TEXT], TEXT, ([text]) => String(text).toUpperCase()),
  btrim: simple([TEXT], TEXT, ([text]) => String(text).replace(/^ +| +$/g, '')),
  left: simple([TEXT, INT4], TEXT, ([text, n]) =>
    (n as number) >= 0
      ? [...String(text)].slice(0, n as number).join('')
      : [...String(text)].slice(0, n as number).join(''),
  ),
  right: simple([TEXT, INT4], TEXT, ([text, n]) => {
    const all = [...String(text)];
    return (n as number) === 0
      ? ''
      : all.slice((n as number) > 0 ? Math.max(0, all.length - (n as number)) : -(n as number)).join('');
  }),
  substring: overloaded(
    [
      2,
      simple([TEXT, INT4], TEXT, ([text, from]) =>
        [...String(text)].slice(Math.max(0, (from as number) - 1)).join(''),
      ),
    ],
    [
      3,
      simple([TEXT, INT4, INT4], TEXT, ([text, from, count]) => {
        if ((count as number) < 0) throw new PostgresError('22011', 'negative substring length not allowed');
        const end = (from as number) - 1 + (count as number);
        return [...String(text)].slice(Math.max(0, (from as number) - 1), Math.max(0, end)).join('');
      }),
    ],
  ),
  replace: simple([TEXT, TEXT, TEXT], TEXT, ([text, from, to]) =>
    from === '' ? (text as Value) : String(text).replaceAll(String(from), () => String(to)),
  ),
  split_part: simple(
    [TEXT, TEXT, INT4],
    TEXT,
    ([text, by, n]) => String(text).split(String(by))[(n as number) - 1] ?? '',
  ),
  position: simple([TEXT, TEXT], INT4, ([text, part]) => String(text).indexOf(String(part)) + 1),
  starts_with: simple([TEXT, TEXT], BOOL, ([text, start]) => String(text).startsWith(String(start))),
  repeat: simple([TEXT, INT4], TEXT, ([text, times]) => String(text).repeat(Math.max(0, times as number))),
  concat: (given) => {
    const texts = anyToText(given);
    return {
      type: TEXT,
      slots: union(texts),
      eval: (run) => texts.map((each) => each.eval(run) ?? '').join(''),
    };
  },
  concat_ws: (given) => {
    const [separator, ...texts] = anyToText(given);
    return {
      type: TEXT,
      slots: union(separator === undefined ? texts : [separator, ...texts]),
      eval: (run) => {
        const by = separator?.eval(run) ?? null;
        return by === null
          ? null
          : texts
              .map((each) => each.eval(run))
              .filter((each) => each !== null)
              .join(String(by));
      },
    };
  },
  format: (given) => {
    const [pattern, ...rest] = anyToText(given);
    return {
      type: TEXT,
      slots: union(pattern === undefined ? rest : [pattern, ...rest]),
      eval: (run) => {
        const values = rest.map((each) => each.eval(run));
        return String(pattern?.eval(run) ?? '').replace(/%([%sIL])/g, (_, kind: string) => {
          if (kind === '%') return '%';
          const value = String(values.shift() ?? '');
          if (kind === 'I')
            return /^[a-z_][a-z0-9_]*$/.test(value) ? value : `"${value.replaceAll('"', '""')}"`;
          return kind === 'L' ? `'${value.replaceAll("'", "''")}'` : value;
        });
      },
    };
  },
  abs: byFirstType((type) => ({ name, args }) => {
    const [given] = args;
    if (given === undefined || !isNumber(type)) throw noFunction(name, args);
    const negative = negate(given);
    return strict(type, [given], ([value], run) => {
      const below = value instanceof Numeric ? value.units < 0n : (value as number) < 0;
      return below ? negative.eval(run) : (value as Value);
    });
  }),
  floor: numberFunction(Math.floor, floorOf),
  ceil: numberFunction(Math.ceil, (value) => {
    const down = floorOf(value);
    return down.compare(value) === 0 ? down : down.plus(Numeric.of(1));
  }),
  trunc: numberFunction(Math.trunc, (value) => new Numeric(value.units / 10n ** BigInt(value.scale), 0)),
  sqrt: numberFunction(Math.sqrt, (value) => Numeric.of(Math.sqrt(value.toNumber()))),
  round: overloaded(
    [
      1,
      numberFunction(
        (value) => {
          const rounded = Math.round(value);
          return Math.abs(value % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
        },
        (value) => value.toScale(0),
      ),
    ],
    [2, simple([NUMERIC, INT4], NUMERIC, ([value, scale]) => (value as Numeric).toScale(scale as number))],
  ),
  mod: ({ parameters, args }) => operate(parameters, '%', args[0] as Expression, args[1] as Expression),
  power: simple([FLOAT8, FLOAT8], FLOAT8, ([a, b]) => (a as number) ** (b as number)),
  cardinality: arrayFunction(INT4, (value) => value.length),
  array_length: ({ name, parameters, args }) => {
    const [array, dimension] = args;
    if (array?.type.element === undefined || dimension === undefined) throw noFunction(name, args);
    return strict(INT4, [array, cast(parameters, dimension, INT4, 'implicit')], ([value, which]) =>
      which === 1 && (value as Row).length > 0 ? (value as Row).length : null,
    );
  },
  array_position: ({ name, parameters, args }) => {
    const [array, item] = args;
    const element = array?.type.element;
    if (array === undefined || element === undefined || item === undefined) throw noFunction(name, args);
    return strict(INT4, [array, cast(parameters, item, element, 'implicit')], ([value, wanted]) => {
      const index = (value as Row).findIndex(
        (each) => each !== null && element.compare(each, wanted as Value) === 0,
      );
      return index === -1 ? null : index + 1;
    });
  },
  array_remove: ({ name, parameters, args }) => {
    const [array, item] = args;
    const element = array?.type.element;
    if (array === undefined || element === undefined || item === undefined) throw noFunction(name, args);
    return strict(array.type, [array, cast(parameters, item, element, 'implicit')], ([value, gone]) =>
      (value as Row).filter((each) => each === null || element.compare(each, gone as Value) !== 0),
    );
  },
  array_append: ({ parameters, args }) =>
    operate(parameters, '||', args[0] as Expression, args[1] as Expression),
  array_to_string: ({ name, parameters, args }) => {
    const [array, by] = args;
    const element = array?.type.element;
    if (array === undefined || element === undefined || by === undefined) throw noFunction(name, args);
    return strict(TEXT, [array, cast(parameters, by, TEXT, 'implicit')], ([value, separator]) =>
      (value as Row)
        .filter((each) => each !== null)
        .map((each) => element.output(each))
        .join(String(separator)),
    );
  },
  jsonb_build_object: buildObject(JSONB),
  json_build_object: buildObject(JSON_TYPE),
  jsonb_build_array: buildArray(JSONB),
  json_build_array: buildArray(JSON_TYPE),
  to_jsonb: toJson(JSONB),
  to_json: toJson(JSON_TYPE),
  row_to_json: toJson(JSON_TYPE),
  jsonb_array_length: simple([JSONB], INT4, ([value]) => arrayOfJson(String(value)).length),
  json_array_length: simple([JSON_TYPE], INT4, ([value]) => arrayOfJson(String(value)).length),
  jsonb_typeof: simple([JSONB], TEXT, ([value]) => jsonTypeOf(parseJson(String(value)))),
  json_typeof: simple([JSON_TYPE], TEXT, ([value]) => jsonTypeOf(parseJson(String(value)))),
  jsonb_strip_nulls: simple([JSONB], JSONB, ([value]) => formatJson(withoutNulls(parseJson(String(value))))),
  jsonb_set: ({ name, parameters, args }) => {
    const [target, path, value] = args;
    if (target === undefined || path === undefined || value === undefined) throw noFunction(name, args);
    return strict(
      JSONB,
      [
        cast(parameters, target, JSONB, 'implicit'),
        cast(parameters, path, arrayOf(TEXT), 'implicit'),
        cast(parameters, value, JSONB, 'implicit'),
      ],
      ([json, names, fresh]) =>
        formatJson(setAt(parseJson(String(json)), names as readonly string[], parseJson(String(fresh)))),
    );
  },
  nullif: ({ parameters, args }) => {
    const both = unify(parameters, args[0] as Expression, args[1] as Expression);
    if (both === undefined) throw noFunction('nullif', args);
    const [a, b] = both;
    return {
      type: a.type,
      slots: union(both),
      eval: (run) => {
        const value = a.eval(run);
        if (value === null) return null;
        const other = b.eval(run);
        return other !== null && a.type.compare(value, other) === 0 ? null : value;
      },
    };
  },
  greatest: ({ parameters, args }) => extreme(parameters, args, 1),
  least: ({ parameters, args }) => extreme(parameters, args, -1),
  num_nulls: ({ args }) => ({
    type: INT4,
    slots: union(args),
    eval: (run) => args.filter((each) => each.eval(run) === null).length,
  }),
  num_nonnulls: ({ args }) => ({
    type: INT4,
    slots: union(args),
    eval: (run) => args.filter((each) => each.eval(run) !== null).length,
  }),
};

export function extreme(parameters: ParameterTypes, args: readonly Expression[], sign: 1 | -1): Expression {
  const type = commonType(args, parameters);
  const given = args.map((each) => cast(parameters, each, type, 'implicit'));
  return {
    type,
    slots: union(given),
    eval: (run) => {
      let best: Value = null;
      for (const each of given) {
        const value = each.eval(run);
        if (value !== null && (best === null || type.compare(value, best) * sign > 0)) best = value;
      }
      return best;
    },
  };
}

/** Sent when the transaction commits; the same twice is sent once. */
export function notify(run: Run, channel: string, payload: string): void {
  const { transaction } = run.session;
  if (transaction.notifications.some((each) => each.channel === channel && each.payload === payload)) return;
  const note = { channel, payload };
  transaction.notifications.push(note);
  transaction.undo.push(() => transaction.notifications.splice(transaction.notifications.indexOf(note), 1));
}

/** A call of a built-in function; undefined: there is none of that name. */
export function callBuiltIn(
  parameters: ParameterTypes,
  name: string,
  args: readonly Expression[],
  named: ReadonlyMap<string, Expression>,
): Expression | undefined {
  const builder = Object.hasOwn(FUNCTIONS, name) ? FUNCTIONS[name] : undefined;
  return builder?.({ name, parameters, args, named });
}
