import { createHash } from 'node:crypto';
import { addInterval, DAY, formatPattern, Interval, SECOND, type Micros } from './date-time.ts';
import { entryKey } from './catalog.ts';
import {
  arithmetic,
  cast,
  commonType,
  constant,
  negate,
  noOperator,
  strict,
  typeOf,
  unify,
  union,
  type Expression,
  type ParameterTypes,
} from './expression.ts';
import { canonicalJson, contains, formatJson, jsonText, parseJson, type Json } from './json.ts';
import { Numeric } from './numeric.ts';
import { PostgresError, unsupported } from './postgres-error.ts';
import { Blocked, type Run } from './run.ts';
import {
  arrayOf,
  BOOL,
  DATE,
  FLOAT4,
  FLOAT8,
  INT2,
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

/** The operators that are neither comparisons nor AND, OR, NOT. */
export function operate(
  parameters: ParameterTypes,
  operator: string,
  left: Expression,
  right: Expression,
): Expression {
  const leftType = typeOf(parameters, left);
  const rightType = typeOf(parameters, right);
  const as = (expression: Expression, type: SqlType): Expression =>
    cast(parameters, expression, type, 'implicit');
  if ('+-*/%'.includes(operator) && operator.length === 1) {
    const times = timesArithmetic(operator, leftType, rightType, left, right, as);
    if (times !== undefined) return times;
    const both = unify(parameters, left, right);
    if (both === undefined || !isNumber(both[0].type)) throw noOperator(operator, leftType, rightType);
    return arithmetic(operator, both[0], both[1]);
  }
  switch (operator) {
    case '||': {
      if (leftType === JSONB || rightType === JSONB) {
        return strict(JSONB, [as(left, JSONB), as(right, JSONB)], ([a, b]) =>
          concatJson(String(a), String(b)),
        );
      }
      if (leftType.element !== undefined || rightType.element !== undefined)
        return concatArrays(parameters, left, right);
      const text = (each: Expression): Expression => cast(parameters, each, TEXT, 'explicit');
      return strict(TEXT, [text(left), text(right)], ([a, b]) => `${String(a)}${String(b)}`);
    }
    case '->':
    case '->>': {
      if (leftType !== JSONB && leftType !== JSON_TYPE) break;
      const byIndex = isNumber(rightType);
      const key = byIndex ? as(right, INT4) : as(right, TEXT);
      return strict(operator === '->' ? leftType : TEXT, [left, key], ([value, name]) => {
        const member = memberOf(parseJson(String(value)), name as string | number);
        if (member === undefined) return null;
        return operator === '->' ? formatJson(member) : jsonText(member);
      });
    }
    case '#>':
    case '#>>': {
      const path = as(right, arrayOf(TEXT));
      return strict(operator === '#>' ? leftType : TEXT, [left, path], ([value, names]) => {
        let member: Json | undefined = parseJson(String(value));
        for (const name of names as Row)
          member =
            member === undefined
              ? undefined
              : memberOf(member, Array.isArray(member) ? Number(name) : String(name));
        if (member === undefined) return null;
        return operator === '#>' ? formatJson(member) : jsonText(member);
      });
    }
    case '@>':
    case '<@': {
      const [whole, part] = operator === '@>' ? [left, right] : [right, left];
      if (leftType === JSONB || rightType === JSONB) {
        return strict(BOOL, [as(whole, JSONB), as(part, JSONB)], ([a, b]) =>
          contains(parseJson(String(a)), parseJson(String(b))),
        );
      }
      const both = unify(parameters, whole, part);
      const element = both?.[0].type.element;
      if (both === undefined || element === undefined) break;
      return strict(BOOL, both, ([a, b]) =>
        (b as Row).every((item) =>
          (a as Row).some((each) => each !== null && item !== null && element.compare(each, item) === 0),
        ),
      );
    }
    case '?': {
      return strict(BOOL, [left, as(right, TEXT)], ([value, key]) => {
        const json = parseJson(String(value));
        if (Array.isArray(json)) return (json as readonly Json[]).includes(key as string);
        return typeof json === 'object' && json !== null && Object.hasOwn(json, key as string);
      });
    }
    case '~':
    case '~*':
    case '!~':
    case '!~*': {
      const flags = operator.endsWith('*') ? 'iu' : 'u';
      const wanted = !operator.startsWith('!');
      return strict(
        BOOL,
        [as(left, TEXT), as(right, TEXT)],
        ([text, pattern]) => new RegExp(String(pattern), flags).test(String(text)) === wanted,
      );
    }
    case '~~':
    case '!~~':
    case '~~*': {
      const flags = operator.endsWith('*') ? 'isu' : 'su';
      return strict(
        BOOL,
        [as(left, TEXT), as(right, TEXT)],
        ([text, pattern]) => like(String(pattern), flags).test(String(text)) !== operator.startsWith('!'),
      );
    }
    case '^':
      return strict(
        FLOAT8,
        [as(left, FLOAT8), as(right, FLOAT8)],
        ([a, b]) => (a as number) ** (b as number),
      );
    default:
  }
  throw leftType === UNKNOWN || rightType === UNKNOWN || operator.length > 3
    ? unsupported(`the operator ${leftType.name} ${operator} ${rightType.name}`)
    : noOperator(operator, leftType, rightType);
}

function like(pattern: string, flags: string): RegExp {
  const source = pattern.replace(/\\(.)|[%_]|[.*+?^${}()|[\]\\]/gs, (part, escaped: string | undefined) => {
    if (part === '%') return '.*';
    if (part === '_') return '.';
    return (escaped ?? part).replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  });
  return new RegExp(`^${source}$`, flags);
}

function timesArithmetic(
  operator: string,
  leftType: SqlType,
  rightType: SqlType,
  left: Expression,
  right: Expression,
  as: (expression: Expression, type: SqlType) => Expression,
): Expression | undefined {
  const isTime = (type: SqlType): boolean => type.category === 'D';
  if (!isTime(leftType) && !isTime(rightType) && leftType !== INTERVAL && rightType !== INTERVAL)
    return undefined;
  if (isTime(leftType) && (operator === '+' || operator === '-')) {
    if (leftType === DATE && isNumber(rightType)) {
      const sign = operator === '+' ? 1 : -1;
      return strict(
        DATE,
        [left, as(right, INT4)],
        ([day, days]) => (day as number) + sign * (days as number) * DAY,
      );
    }
    if (rightType === INTERVAL || (rightType === UNKNOWN && operator === '+')) {
      const result = leftType === DATE ? TIMESTAMP : leftType;
      const sign = operator === '+' ? 1 : -1;
      return strict(result, [left, as(right, INTERVAL)], ([at, interval]) =>
        addInterval(at as number, interval as Interval, sign),
      );
    }
    if (operator === '-') {
      const other = rightType === UNKNOWN ? leftType : rightType;
      if (leftType === DATE && other === DATE)
        return strict(INT4, [left, as(right, DATE)], ([a, b]) => ((a as number) - (b as number)) / DAY);
      const common = leftType === TIMESTAMPTZ || other === TIMESTAMPTZ ? TIMESTAMPTZ : TIMESTAMP;
      return strict(INTERVAL, [as(left, common), as(right, common)], ([a, b]) => {
        const micros = (a as number) - (b as number);
        const days = Math.trunc(micros / DAY);
        return new Interval(0, days, micros - days * DAY);
      });
    }
  }
  if (isTime(rightType) && leftType === INTERVAL && operator === '+')
    return timesArithmetic('+', rightType, leftType, right, left, as);
  if (operator === '*' || operator === '/') {
    const [interval, factor] = leftType === INTERVAL ? [left, right] : [right, left];
    return strict(INTERVAL, [as(interval, INTERVAL), as(factor, FLOAT8)], ([value, by]) => {
      const times = operator === '*' ? (by as number) : 1 / (by as number);
      const { months, days, micros } = value as Interval;
      const wholeMonths = Math.trunc(months * times);
      const exactDays = days * times + (months * times - wholeMonths) * 30;
      const wholeDays = Math.trunc(exactDays);
      return new Interval(wholeMonths, wholeDays, Math.round(micros * times + (exactDays - wholeDays) * DAY));
    });
  }
  const sign = operator === '+' ? 1 : -1;
  return strict(INTERVAL, [as(left, INTERVAL), as(right, INTERVAL)], ([a, b]) => {
    const [x, y] = [a as Interval, b as Interval];
    return new Interval(x.months + sign * y.months, x.days + sign * y.days, x.micros + sign * y.micros);
  });
}

function concatJson(a: string, b: string): string {
  const [x, y] = [parseJson(a), parseJson(b)];
  const isObject = (json: Json): boolean => typeof json === 'object' && json !== null && !Array.isArray(json);
  if (isObject(x) && isObject(y)) return formatJson({ ...(x as object), ...(y as object) });
  const list = (json: Json): readonly Json[] => (Array.isArray(json) ? (json as readonly Json[]) : [json]);
  return formatJson([...list(x), ...list(y)]);
}

function concatArrays(parameters: ParameterTypes, left: Expression, right: Expression): Expression {
  const leftType = typeOf(parameters, left);
  const rightType = typeOf(parameters, right);
  const type = leftType.element === undefined ? rightType : leftType;
  const element = type.element as SqlType;
  const part = (each: Expression, own: SqlType): Expression =>
    cast(parameters, each, own.element !== undefined || own === UNKNOWN ? type : element, 'implicit');
  const [a, b] = [part(left, leftType), part(right, rightType)];
  return {
    type,
    slots: union([a, b]),
    eval: (run) => {
      const list = (each: Expression): Row => {
        const value = each.eval(run);
        return each.type.element === undefined ? [value] : ((value as Row | null) ?? []);
      };
      return [...list(a), ...list(b)];
    },
  };
}

function memberOf(json: Json, key: string | number): Json | undefined {
  if (Array.isArray(json)) {
    const list = json as readonly Json[];
    return typeof key === 'number' ? list.at(key) : undefined;
  }
  if (typeof json !== 'object' || json === null || json instanceof Numeric || typeof key === 'number')
    return undefined;
  return Object.hasOwn(json, key) ? (json as Readonly<Record<string, Json>>)[key] : undefined;
}

/** The JSON of any value, as to_jsonb makes it. */
export function jsonOf(value: Value, type: SqlType): Json {
  if (value === null) return null;
  if (type === BOOL) return value as boolean;
  if (type === JSONB || type === JSON_TYPE) return parseJson(String(value));
  if (type === INT8) return new Numeric(value as bigint, 0);
  if (type === NUMERIC) return value as Numeric;
  if (isNumber(type)) {
    const number = value as number;
    return Number.isFinite(number) ? number : type.output(value);
  }
  if (type.element !== undefined) {
    const { element } = type;
    return (value as Row).map((each) => jsonOf(each, element));
  }
  if (type.fields !== undefined) {
    const { fields } = type;
    return Object.fromEntries(
      (value as Row).map((each, index) => [
        fields[index]?.name ?? `f${index + 1}`,
        jsonOf(each, fields[index]?.type ?? TEXT),
      ]),
    );
  }
  if (type === TIMESTAMPTZ || type === TIMESTAMP) {
    return type.output(value).replace(' ', 'T').replace(/\+00$/, '+00:00');
  }
  return type.output(value);
}

/** The value of a column from JSON, as jsonb_to_recordset reads it. */
export function fromJson(json: Json | undefined, type: SqlType): Value {
  if (json === undefined || json === null) return null;
  if (type === JSONB || type === JSON_TYPE)
    return type === JSONB ? canonicalJson(formatJson(json)) : formatJson(json);
  if (type.element !== undefined && Array.isArray(json)) {
    const { element } = type;
    return (json as readonly Json[]).map((each) => fromJson(each, element));
  }
  return type.input(jsonText(json) ?? '');
}

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

function arrayOfJson(text: string): readonly Json[] {
  const json = parseJson(text);
  if (!Array.isArray(json)) throw new PostgresError('22023', 'cannot get array length of a non-array');
  return json as readonly Json[];
}

function jsonTypeOf(json: Json): string {
  if (json === null) return 'null';
  if (Array.isArray(json)) return 'array';
  return json instanceof Numeric ? 'number' : typeof json;
}

function withoutNulls(json: Json): Json {
  if (Array.isArray(json)) return (json as readonly Json[]).map(withoutNulls);
  if (typeof json !== 'object' || json === null || json instanceof Numeric) return json;
  return Object.fromEntries(
    Object.entries(json as Readonly<Record<string, Json>>)
      .filter(([, value]) => value !== null)
      .map(([key, value]) => [key, withoutNulls(value)]),
  );
}

function setAt(json: Json, [name, ...rest]: readonly string[], value: Json): Json {
  if (name === undefined) return value;
  if (Array.isArray(json)) {
    const copy = [...(json as readonly Json[])];
    const index = Number(name) < 0 ? copy.length + Number(name) : Number(name);
    if (index < copy.length) copy[index] = setAt(copy[index] as Json, rest, value);
    else if (rest.length === 0) copy.push(value);
    return copy;
  }
  if (typeof json !== 'object' || json === null || json instanceof Numeric)
    throw new PostgresError('22023', 'cannot set path in scalar');
  const object = json as Readonly<Record<string, Json>>;
  if (!Object.hasOwn(object, name)) return rest.length === 0 ? { ...object, [name]: value } : object;
  return { ...object, [name]: setAt(object[name] as Json, rest, value) };
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

/** A function that gives a table. */
export interface TableFunction {
  readonly columns: readonly { readonly name: string; readonly type: SqlType }[];
  readonly slots: ReadonlySet<number>;
  rows(run: Run): readonly Row[];
}

type ColumnDefinitions = readonly { readonly name: string; readonly type: SqlType }[];

/** A call of a built-in function in FROM; undefined: it gives a single value. */
export function callTableFunction(
  parameters: ParameterTypes,
  name: string,
  args: readonly Expression[],
  definitions: ColumnDefinitions | undefined,
): TableFunction | undefined {
  switch (name) {
    case 'unnest': {
      const arrays = args.map((each) => {
        if (each.type.element === undefined) throw noFunction(name, args);
        return { expression: each, element: each.type.element };
      });
      return {
        columns: arrays.map(({ element }) => ({ name: 'unnest', type: element })),
        slots: union(args),
        rows: (run) => {
          const values = arrays.map(({ expression }) => (expression.eval(run) as Row | null) ?? []);
          const length = Math.max(0, ...values.map((each) => each.length));
          return Array.from({ length }, (_, index) => values.map((each) => each[index] ?? null));
        },
      };
    }
    case 'generate_series': {
      const [from, to, step] = args;
      if (from === undefined || to === undefined) throw noFunction(name, args);
      const type = typeOf(parameters, from);
      if (type === TIMESTAMPTZ || type === TIMESTAMP) {
        if (step === undefined) throw noFunction(name, args);
        const given = [
          from,
          cast(parameters, to, type, 'implicit'),
          cast(parameters, step, INTERVAL, 'implicit'),
        ];
        return {
          columns: [{ name, type }],
          slots: union(given),
          rows: (run) => {
            const [start, end, by] = given.map((each) => each.eval(run)) as [number, number, Interval];
            const rows: Row[] = [];
            for (let at = start; at <= end; at = addInterval(at, by, 1)) rows.push([at]);
            return rows;
          },
        };
      }
      const common = commonType(step === undefined ? [from, to] : [from, to, step], parameters);
      if (common !== INT4 && common !== INT8) throw noFunction(name, args);
      const given = [from, to, step ?? constant(INT4, 1)].map((each) =>
        cast(parameters, each, common, 'explicit'),
      );
      return {
        columns: [{ name, type: common }],
        slots: union(given),
        rows: (run) => {
          const [start, end, by] = given.map((each) => each.eval(run));
          if (start === null || end === null || by === null) return [];
          if (start === undefined || end === undefined || by === undefined) return [];
          const rows: Row[] = [];
          for (
            let at = Number(start);
            Number(by) > 0 ? at <= Number(end) : at >= Number(end);
            at += Number(by)
          )
            rows.push([common === INT8 ? BigInt(at) : at]);
          return rows;
        },
      };
    }
    case 'jsonb_to_recordset':
    case 'json_to_recordset':
    case 'jsonb_to_record':
    case 'json_to_record': {
      const json = name.startsWith('jsonb') ? JSONB : JSON_TYPE;
      const [given] = args;
      if (given === undefined) throw noFunction(name, args);
      if (definitions === undefined)
        throw new PostgresError(
          '42601',
          `a column definition list is required for functions returning "record"`,
        );
      const source = cast(parameters, given, json, 'implicit');
      const rowOf = (each: Json): Row => {
        if (typeof each !== 'object' || each === null || Array.isArray(each))
          throw new PostgresError('22023', `argument of ${name} must be an array of objects`);
        const object = each as Readonly<Record<string, Json>>;
        return definitions.map((column) =>
          fromJson(Object.hasOwn(object, column.name) ? object[column.name] : undefined, column.type),
        );
      };
      return {
        columns: definitions,
        slots: source.slots,
        rows: (run) => {
          const value = source.eval(run);
          if (value === null) return [];
          const parsed = parseJson(String(value));
          if (!name.endsWith('set')) return [rowOf(parsed)];
          if (!Array.isArray(parsed)) throw new PostgresError('22023', `cannot call ${name} on a non-array`);
          return (parsed as readonly Json[]).map(rowOf);
        },
      };
    }
    case 'jsonb_array_elements':
    case 'json_array_elements':
    case 'jsonb_array_elements_text':
    case 'json_array_elements_text': {
      const json = name.startsWith('jsonb') ? JSONB : JSON_TYPE;
      const asText = name.endsWith('_text');
      const [given] = args;
      if (given === undefined) throw noFunction(name, args);
      const source = cast(parameters, given, json, 'implicit');
      return {
        columns: [{ name: 'value', type: asText ? TEXT : json }],
        slots: source.slots,
        rows: (run) => {
          const value = source.eval(run);
          return value === null
            ? []
            : arrayOfJson(String(value)).map((each) => [asText ? jsonText(each) : formatJson(each)]);
        },
      };
    }
    case 'jsonb_each':
    case 'jsonb_each_text': {
      const [given] = args;
      if (given === undefined) throw noFunction(name, args);
      const source = cast(parameters, given, JSONB, 'implicit');
      const asText = name.endsWith('_text');
      return {
        columns: [
          { name: 'key', type: TEXT },
          { name: 'value', type: asText ? TEXT : JSONB },
        ],
        slots: source.slots,
        rows: (run) => {
          const value = source.eval(run);
          if (value === null) return [];
          const object = parseJson(String(value)) as Readonly<Record<string, Json>>;
          return Object.entries(object).map(([key, each]) => [
            key,
            asText ? jsonText(each) : formatJson(each),
          ]);
        },
      };
    }
    case 'jsonb_object_keys': {
      const source = cast(parameters, args[0] as Expression, JSONB, 'implicit');
      return {
        columns: [{ name, type: TEXT }],
        slots: source.slots,
        rows: (run) => {
          const value = source.eval(run);
          return value === null ? [] : Object.keys(parseJson(String(value)) as object).map((key) => [key]);
        },
      };
    }
    case 'current_database':
    case 'current_schema':
    default:
      return undefined;
  }
}

/** An aggregate: a state, what adds to it, and what is made of it. */
export interface Aggregate {
  readonly type: SqlType;
  start(): unknown;
  add(state: unknown, values: readonly Value[]): unknown;
  finish(state: unknown): Value;
  /** Whether rows whose first value is null count too. */
  readonly takesNulls: boolean;
}

const AGGREGATES = new Set([
  'count',
  'sum',
  'avg',
  'min',
  'max',
  'bool_or',
  'bool_and',
  'every',
  'array_agg',
  'string_agg',
  'json_agg',
  'jsonb_agg',
  'json_object_agg',
  'jsonb_object_agg',
]);

export function isAggregate(name: string): boolean {
  return AGGREGATES.has(name);
}

/** The aggregate for arguments of these types, and the types that they have to have. */
export function aggregate(
  name: string,
  types: readonly SqlType[],
): { readonly aggregate: Aggregate; readonly types: readonly SqlType[] } {
  const [type = UNKNOWN] = types;
  const known = type === UNKNOWN ? TEXT : type;
  const of = (
    rest: Omit<Aggregate, 'takesNulls'> & { takesNulls?: boolean },
    ...given: SqlType[]
  ): ReturnType<typeof aggregate> => ({
    aggregate: { takesNulls: false, ...rest },
    types: given,
  });
  switch (name) {
    case 'count':
      return of(
        {
          type: INT8,
          start: () => 0,
          add: (state) => (state as number) + 1,
          finish: (state) => BigInt(state as number),
        },
        ...(types.length === 0 ? [] : [known]),
      );
    case 'sum': {
      if (known === FLOAT8 || known === FLOAT4) {
        return of(
          {
            type: known,
            start: () => null,
            add: (state, [value]) => ((state as number | null) ?? 0) + (value as number),
            finish: (state) => state as Value,
          },
          known,
        );
      }
      if (known === INT2 || known === INT4) {
        return of(
          {
            type: INT8,
            start: () => null,
            add: (state, [value]) => ((state as bigint | null) ?? 0n) + BigInt(value as number),
            finish: (state) => state as Value,
          },
          known,
        );
      }
      if (known === INT8 || known === NUMERIC) {
        return of(
          {
            type: NUMERIC,
            start: () => null,
            add: (state, [value]) => {
              const number = value instanceof Numeric ? value : Numeric.of(value as bigint);
              return state === null ? number : (state as Numeric).plus(number);
            },
            finish: (state) => state as Value,
          },
          known,
        );
      }
      break;
    }
    case 'avg': {
      const isFloat = known === FLOAT8 || known === FLOAT4;
      if (!isNumber(known)) break;
      return of(
        {
          type: isFloat ? FLOAT8 : NUMERIC,
          start: () => [Numeric.of(0), 0, 0],
          add: (state, [value]) => {
            const [sum, count, float] = state as [Numeric, number, number];
            return isFloat
              ? [sum, count + 1, float + (value as number)]
              : [sum.plus(value instanceof Numeric ? value : Numeric.of(value as number)), count + 1, float];
          },
          finish: (state) => {
            const [sum, count, float] = state as [Numeric, number, number];
            if (count === 0) return null;
            return isFloat ? float / count : sum.dividedBy(Numeric.of(count));
          },
        },
        known,
      );
    }
    case 'min':
    case 'max': {
      const sign = name === 'max' ? 1 : -1;
      return of(
        {
          type: known,
          start: () => null,
          add: (state, [value]) =>
            state === null || known.compare(value as Value, state as Value) * sign > 0 ? value : state,
          finish: (state) => state as Value,
        },
        known,
      );
    }
    case 'bool_or':
    case 'bool_and':
    case 'every': {
      const any = name === 'bool_or';
      return of(
        {
          type: BOOL,
          start: () => null,
          add: (state, [value]) =>
            state === null
              ? value
              : any
                ? state === true || value === true
                : state === true && value === true,
          finish: (state) => state as Value,
        },
        BOOL,
      );
    }
    case 'array_agg':
      return of(
        {
          type: arrayOf(known),
          takesNulls: true,
          start: () => null,
          add: (state, [value]) => [...((state as Row | null) ?? []), value as Value],
          finish: (state) => state as Value,
        },
        known,
      );
    case 'string_agg':
      return of(
        {
          type: TEXT,
          start: () => null,
          add: (state, [value, by]) =>
            state === null ? String(value) : `${state as string}${String(by ?? '')}${String(value)}`,
          finish: (state) => state as Value,
        },
        TEXT,
        TEXT,
      );
    case 'json_agg':
    case 'jsonb_agg':
      return of(
        {
          type: name === 'json_agg' ? JSON_TYPE : JSONB,
          takesNulls: true,
          start: () => null,
          add: (state, [value]) => [...((state as string[] | null) ?? []), jsonTextOf(value as Value, known)],
          finish: (state) => {
            if (state === null) return null;
            const text = `[${(state as string[]).join(', ')}]`;
            return name === 'json_agg' ? text : canonicalJson(text);
          },
        },
        known,
      );
    case 'json_object_agg':
    case 'jsonb_object_agg': {
      const second = types[1] ?? TEXT;
      return of(
        {
          type: name === 'json_object_agg' ? JSON_TYPE : JSONB,
          start: () => null,
          add: (state, [key, value]) => ({
            ...(state ?? {}),
            [String(key)]: jsonOf(value ?? null, second),
          }),
          finish: (state) => (state === null ? null : formatJson(state as Json)),
        },
        TEXT,
        second,
      );
    }
    default:
  }
  throw new PostgresError(
    '42883',
    `function ${name}(${types.map((each) => each.name).join(', ')}) does not exist`,
  );
}

/** The text that the functions for json make of a value: JSON as it is, arrays and rows without spaces. */
function jsonTextOf(value: Value, type: SqlType): string {
  if (value === null) return 'null';
  if (type === JSON_TYPE || type === JSONB) return String(value);
  if (type.element !== undefined) {
    const { element } = type;
    return `[${(value as Row).map((each) => jsonTextOf(each, element)).join(',')}]`;
  }
  if (type.fields !== undefined) {
    const fields = type.fields.map(
      ({ name, type: of }, index) =>
        `${JSON.stringify(name)}:${jsonTextOf((value as Row)[index] ?? null, of)}`,
    );
    return `{${fields.join(',')}}`;
  }
  return formatJson(jsonOf(value, type));
}
