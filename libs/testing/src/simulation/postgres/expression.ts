import { Interval } from './date-time.ts';
import { canonicalJson } from './json.ts';
import { Numeric } from './numeric.ts';
import { PostgresError } from './postgres-error.ts';
import type { Run } from './run.ts';
import {
  arrayOf,
  BOOL,
  DATE,
  FLOAT4,
  FLOAT8,
  INT2,
  INT4,
  INT8,
  INT8_MAX,
  INT8_MIN,
  INTERVAL,
  isNumber,
  isText,
  JSON_TYPE,
  JSONB,
  NUMERIC,
  OID,
  rankOf,
  REGCLASS,
  TEXT,
  TIMESTAMP,
  TIMESTAMPTZ,
  UNKNOWN,
  VOID,
  type Row,
  type SqlType,
  type Value,
} from './types.ts';

/** A compiled expression. */
export interface Expression {
  readonly type: SqlType;
  readonly eval: (run: Run) => Value;
  /** The items of FROM lists that it reads. */
  readonly slots: ReadonlySet<number>;
  /** A literal of no type yet. */
  readonly literal?: string | null;
  /** A parameter of no type yet. */
  readonly parameter?: number;
  /** The same in every evaluation. */
  readonly constant?: boolean;
  readonly column?: { readonly slot: number; readonly index: number };
  readonly elements?: readonly Expression[];
  /** What an index can be asked for: `left` = `right`, or `left` = any of `right`. */
  readonly lookup?: { readonly left: Expression; readonly right: Expression; readonly any: boolean };
}

/** Whose parameters get their types by how they are used. */
export interface ParameterTypes {
  readonly types: (SqlType | undefined)[];
}

export const NO_SLOTS: ReadonlySet<number> = new Set();

export function union(expressions: readonly Expression[]): ReadonlySet<number> {
  let all: Set<number> | undefined;
  let first: ReadonlySet<number> = NO_SLOTS;
  for (const { slots } of expressions) {
    if (slots.size === 0 || slots === first) continue;
    if (first.size === 0) first = slots;
    else {
      all ??= new Set(first);
      for (const slot of slots) all.add(slot);
    }
  }
  return all ?? first;
}

export function constant(type: SqlType, value: Value): Expression {
  return { type, eval: () => value, slots: NO_SLOTS, constant: true };
}

export function untyped(literal: string | null): Expression {
  return { type: UNKNOWN, eval: () => literal, slots: NO_SLOTS, literal, constant: true };
}

/** Applies a function to values of which none is null; null otherwise. */
export function strict(
  type: SqlType,
  parameters: readonly Expression[],
  apply: (values: readonly Value[], run: Run) => Value,
  volatile = false,
): Expression {
  const slots = union(parameters);
  const isConstant = !volatile && parameters.every((each) => each.constant === true);
  const flags = isConstant ? { constant: true } : {};
  const evals = parameters.map((each) => each.eval);
  const [first, second] = evals;
  if (evals.length === 1 && first !== undefined) {
    return {
      type,
      slots,
      ...flags,
      eval: (run) => {
        const value = first(run);
        return value === null ? null : apply([value], run);
      },
    };
  }
  if (evals.length === 2 && first !== undefined && second !== undefined) {
    return {
      type,
      slots,
      ...flags,
      eval: (run) => {
        const a = first(run);
        if (a === null) return null;
        const b = second(run);
        return b === null ? null : apply([a, b], run);
      },
    };
  }
  return {
    type,
    slots,
    ...flags,
    eval: (run) => {
      const values: Value[] = [];
      for (const evaluate of evals) {
        const value = evaluate(run);
        if (value === null) return null;
        values.push(value);
      }
      return apply(values, run);
    },
  };
}

export type CastContext = 'implicit' | 'assignment' | 'explicit';

/** The expression as that type. */
export function cast(
  parameters: ParameterTypes,
  expression: Expression,
  type: SqlType,
  context: CastContext,
): Expression {
  if (expression.parameter !== undefined) {
    const known = parameters.types[expression.parameter - 1];
    if (known === undefined) {
      parameters.types[expression.parameter - 1] = type;
      return { ...withoutParameter(expression), type };
    }
    return cast(parameters, { ...withoutParameter(expression), type: known }, type, context);
  }
  if (expression.type === type || type === UNKNOWN) return expression;
  if (expression.type === UNKNOWN) {
    if (expression.literal === null) return constant(type, null);
    if (expression.literal !== undefined) {
      const { literal } = expression;
      if (literal === 'now' && type.category === 'D') {
        return {
          type,
          slots: NO_SLOTS,
          eval: (run) => type.input(literal, () => run.session.transactionTime),
        };
      }
      if (type === REGCLASS) return regclass(expression);
      return constant(type, type.input(literal));
    }
    return strict(type, [expression], ([value]) => type.input(String(value)));
  }
  if (type.element !== undefined && expression.type.element !== undefined) {
    const { element } = type;
    const convert = converter(expression.type.element, element, context);
    return strict(type, [expression], ([value]) =>
      (value as Row).map((each) => (each === null ? null : convert(each))),
    );
  }
  if (type === REGCLASS && isText(expression.type)) return regclass(expression);
  if (type.name === 'record' && expression.type.name === 'record') return expression;
  const convert = converter(expression.type, type, context);
  return strict(type, [expression], ([value]) => convert(value as NonNullable<Value>));
}

function withoutParameter({ type, eval: evaluate, slots }: Expression): Expression {
  return { type, eval: evaluate, slots };
}

function regclass(expression: Expression): Expression {
  return strict(
    REGCLASS,
    [expression],
    ([value], run) => {
      const parts = String(value).replaceAll('"', '').split('.');
      const name = parts.at(-1) ?? '';
      run.session.catalog.requireTable(parts.length > 1 ? parts[0] : undefined, name);
      return parts[0] === 'public' ? name : parts.join('.');
    },
    true,
  );
}

/** What no value of a type may be beyond. */
function intRange(type: SqlType): readonly [number, number] {
  return type === INT2 ? [-32_768, 32_767] : [-2_147_483_648, 2_147_483_647];
}

function ranged(type: SqlType, value: number): number {
  const [min, max] = intRange(type);
  if (!(value >= min && value <= max)) throw new PostgresError('22003', `${type.name} out of range`);
  return value;
}

export function rangedBig(value: bigint): bigint {
  if (value < INT8_MIN || value > INT8_MAX) throw new PostgresError('22003', 'bigint out of range');
  return value;
}

/** As C's rint: halves go to the even neighbour. */
function toEven(value: number): number {
  const rounded = Math.round(value);
  return Math.abs(value % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

const IMPLICIT_TIMES: readonly (readonly [SqlType, SqlType])[] = [
  [DATE, TIMESTAMP],
  [DATE, TIMESTAMPTZ],
  [TIMESTAMP, TIMESTAMPTZ],
];

export function isImplicit(from: SqlType, to: SqlType): boolean {
  if (from === to || from === UNKNOWN) return true;
  if (isNumber(from) && isNumber(to)) return rankOf(to) > rankOf(from);
  if (isText(from) && isText(to)) return true;
  if (to === OID && isNumber(from)) return true;
  return IMPLICIT_TIMES.some(([one, other]) => one === from && other === to);
}

function isAssignable(from: SqlType, to: SqlType): boolean {
  if (isImplicit(from, to)) return true;
  if (isNumber(from) && isNumber(to)) return true;
  if (isText(to)) return true;
  if (from.category === 'D' && to.category === 'D') return true;
  return (from === JSON_TYPE && to === JSONB) || (from === JSONB && to === JSON_TYPE);
}

function converter(from: SqlType, to: SqlType, context: CastContext): (value: NonNullable<Value>) => Value {
  if (from === to) return (value) => value;
  if (
    (context === 'implicit' && !isImplicit(from, to)) ||
    (context === 'assignment' && !isAssignable(from, to))
  ) {
    throw new PostgresError('42804', `${from.name} cannot be taken as ${to.name} here`, {
      hint: 'You will need to rewrite or cast the expression.',
    });
  }
  if (isNumber(from) && isNumber(to)) return numberConverter(from, to);
  if (isText(to)) {
    if (from === BOOL) return (value) => (value === true ? 'true' : 'false');
    if (isText(from)) return (value) => value;
    return (value) => from.output(value);
  }
  if (isText(from)) return (value) => to.input(String(value));
  if (from === JSON_TYPE && to === JSONB) return (value) => canonicalJson(String(value));
  if (from === JSONB && to === JSON_TYPE) return (value) => value;
  if (from === JSONB || from === JSON_TYPE)
    return (value) => to.input(String(value).replace(/^"(.*)"$/, '$1'));
  if (from.category === 'D' && to === DATE)
    return (value) => Math.floor((value as number) / 86_400_000_000) * 86_400_000_000;
  if (from.category === 'D' && to.category === 'D') return (value) => value;
  if (from === INT4 && to === BOOL) return (value) => value !== 0;
  if (from === BOOL && to === INT4) return (value) => (value === true ? 1 : 0);
  if (to === OID || from === OID || from === REGCLASS || to === REGCLASS || to === VOID)
    return (value) => value;
  throw new PostgresError('42846', `cannot cast type ${from.name} to ${to.name}`);
}

function numberConverter(from: SqlType, to: SqlType): (value: NonNullable<Value>) => Value {
  const asNumber = (value: NonNullable<Value>): number =>
    value instanceof Numeric ? value.toNumber() : Number(value);
  if (to === FLOAT8) return asNumber;
  if (to === FLOAT4) return (value) => Math.fround(asNumber(value));
  if (to === NUMERIC) return (value) => Numeric.of(value as number | bigint);
  const whole = (value: NonNullable<Value>): number | bigint =>
    value instanceof Numeric
      ? value.toScale(0).units
      : typeof value === 'number' && (from === FLOAT8 || from === FLOAT4)
        ? toEven(value)
        : (value as number | bigint);
  if (to === INT8) {
    return (value) => {
      const rounded = whole(value);
      if (typeof rounded === 'number' && !Number.isFinite(rounded))
        throw new PostgresError('22003', 'bigint out of range');
      return rangedBig(BigInt(rounded));
    };
  }
  return (value) => ranged(to, Number(whole(value)));
}

/** The type that all of them can be: of the branches of a CASE, the arguments of coalesce, and so on. */
export function commonType(expressions: readonly Expression[], parameters: ParameterTypes): SqlType {
  let common: SqlType | undefined;
  for (const expression of expressions) {
    const type =
      expression.parameter === undefined
        ? expression.type
        : (parameters.types[expression.parameter - 1] ?? UNKNOWN);
    if (type === UNKNOWN || type === common) continue;
    if (common === undefined || (!isImplicit(type, common) && isImplicit(common, type))) common = type;
    else if (!isImplicit(type, common))
      throw new PostgresError('42804', `types ${common.name} and ${type.name} cannot be matched`);
  }
  return common ?? TEXT;
}

/** Whether two values of a type, neither of them null, are equal. */
export function equality(type: SqlType): (a: Value, b: Value) => boolean {
  if (type === NUMERIC || type === INTERVAL || type.element !== undefined || type.fields !== undefined)
    return (a, b) => type.compare(a, b) === 0;
  return (a, b) => a === b;
}

const COMPARISONS: Readonly<Record<string, (order: number) => boolean>> = {
  '=': (order) => order === 0,
  '<>': (order) => order !== 0,
  '<': (order) => order < 0,
  '<=': (order) => order <= 0,
  '>': (order) => order > 0,
  '>=': (order) => order >= 0,
};

export function isComparison(operator: string): boolean {
  return Object.hasOwn(COMPARISONS, operator);
}

export function noOperator(operator: string, left: SqlType | undefined, right: SqlType): PostgresError {
  return new PostgresError(
    '42883',
    `operator does not exist: ${left === undefined ? '' : `${left.name} `}${operator} ${right.name}`,
  );
}

/** Both operands as one type; undefined: there is none. */
export function unify(
  parameters: ParameterTypes,
  left: Expression,
  right: Expression,
): readonly [Expression, Expression] | undefined {
  const leftType = typeOf(parameters, left);
  const rightType = typeOf(parameters, right);
  let type: SqlType;
  if (leftType === rightType) type = leftType === UNKNOWN ? TEXT : leftType;
  else if (leftType === UNKNOWN) type = rightType;
  else if (rightType === UNKNOWN) type = leftType;
  else if (isText(leftType) && isText(rightType)) type = TEXT;
  else if (isImplicit(leftType, rightType)) type = rightType;
  else if (isImplicit(rightType, leftType)) type = leftType;
  else if (leftType.name === 'record' && rightType.name === 'record') return [left, right];
  else if (leftType.element !== undefined && rightType.element !== undefined) type = leftType;
  else return undefined;
  return [cast(parameters, left, type, 'implicit'), cast(parameters, right, type, 'implicit')];
}

export function typeOf(parameters: ParameterTypes, expression: Expression): SqlType {
  return expression.parameter === undefined
    ? expression.type
    : (parameters.types[expression.parameter - 1] ?? UNKNOWN);
}

export function comparison(
  parameters: ParameterTypes,
  operator: string,
  left: Expression,
  right: Expression,
): Expression {
  if (left.elements !== undefined && right.elements !== undefined)
    return rowComparison(parameters, operator, left.elements, right.elements);
  const both = unify(parameters, left, right);
  if (both === undefined) throw noOperator(operator, typeOf(parameters, left), typeOf(parameters, right));
  const [{ type }] = both;
  if (type === JSON_TYPE) throw noOperator(operator, type, type);
  const test = COMPARISONS[operator] as (order: number) => boolean;
  const [a, b] = [both[0].eval, both[1].eval];
  const slots = union(both);
  const flags = both.every((each) => each.constant === true) ? { constant: true } : {};
  if (operator === '=' || operator === '<>') {
    const equal = equality(type);
    const wanted = operator === '=';
    return {
      type: BOOL,
      slots,
      ...flags,
      ...(wanted && { lookup: { left: both[0], right: both[1], any: false } }),
      eval: (run) => {
        const x = a(run);
        if (x === null) return null;
        const y = b(run);
        return y === null ? null : equal(x, y) === wanted;
      },
    };
  }
  return {
    type: BOOL,
    slots,
    ...flags,
    eval: (run) => {
      const x = a(run);
      if (x === null) return null;
      const y = b(run);
      return y === null ? null : test(type.compare(x, y));
    },
  };
}

/** (a, b) < (c, d): the first pair that differs decides. */
function rowComparison(
  parameters: ParameterTypes,
  operator: string,
  left: readonly Expression[],
  right: readonly Expression[],
): Expression {
  if (left.length !== right.length)
    throw new PostgresError('42601', 'unequal number of entries in row expressions');
  const pairs = left.map((each, index) => {
    const both = unify(parameters, each, right[index] as Expression);
    if (both === undefined) throw noOperator(operator, each.type, (right[index] as Expression).type);
    return both;
  });
  const test = COMPARISONS[operator] as (order: number) => boolean;
  const decides = operator === '=' || operator === '<>';
  return {
    type: BOOL,
    slots: union(pairs.flat()),
    eval: (run) => {
      let unknown = false;
      for (const [a, b] of pairs) {
        const x = a.eval(run);
        const y = b.eval(run);
        if (x === null || y === null) {
          if (!decides) return null;
          unknown = true;
          continue;
        }
        const order = a.type.compare(x, y);
        if (order !== 0) return test(order);
      }
      return unknown ? null : test(0);
    },
  };
}

export function both(left: Expression, right: Expression): Expression {
  return {
    type: BOOL,
    slots: union([left, right]),
    eval: (run) => {
      const a = left.eval(run);
      if (a === false) return false;
      const b = right.eval(run);
      return b === false ? false : a === null || b === null ? null : true;
    },
  };
}

/** Whether `left` compares so with any (or with every) element of an array. */
export function quantified(
  parameters: ParameterTypes,
  operator: string,
  left: Expression,
  array: Expression,
  every: boolean,
): Expression {
  const leftType = typeOf(parameters, left);
  let given = array;
  let element = typeOf(parameters, array).element;
  if (element === undefined) {
    element = leftType === UNKNOWN ? TEXT : leftType;
    given = cast(parameters, array, arrayOf(element), 'implicit');
  }
  // The array goes to the other side's type where it can.
  if (leftType !== UNKNOWN && leftType !== element && isImplicit(element, leftType)) {
    given = cast(parameters, given, arrayOf(leftType), 'explicit');
    element = leftType;
  }
  const known = cast(parameters, left, element, 'implicit');
  const type = element;
  const test = COMPARISONS[operator];
  if (test === undefined) throw noOperator(operator, leftType, array.type);
  return {
    type: BOOL,
    slots: union([known, given]),
    ...(operator === '=' && !every && { lookup: { left: known, right: given, any: true } }),
    eval: (run) => {
      const values = given.eval(run) as Row | null;
      if (values === null) return null;
      const value = known.eval(run);
      if (values.length === 0) return every;
      if (value === null) return null;
      let unknown = false;
      for (const each of values) {
        if (each === null) unknown = true;
        else if (test(type.compare(value, each)) !== every) return !every;
      }
      return unknown ? null : every;
    },
  };
}

export function not(expression: Expression): Expression {
  return strict(BOOL, [expression], ([value]) => value !== true);
}

/** + - * / % of numbers. */
export function arithmetic(operator: string, left: Expression, right: Expression): Expression {
  const { type } = left;
  if (type === NUMERIC) {
    return strict(NUMERIC, [left, right], ([a, b]) => {
      const [x, y] = [a as Numeric, b as Numeric];
      if (operator === '+') return x.plus(y);
      if (operator === '-') return x.minus(y);
      if (operator === '*') return x.times(y);
      return operator === '/' ? x.dividedBy(y) : x.remainder(y);
    });
  }
  if (type === INT8) {
    return strict(INT8, [left, right], ([a, b]) => {
      const [x, y] = [a as bigint, b as bigint];
      if (operator === '+') return rangedBig(x + y);
      if (operator === '-') return rangedBig(x - y);
      if (operator === '*') return rangedBig(x * y);
      if (y === 0n) throw new PostgresError('22012', 'division by zero');
      return operator === '/' ? rangedBig(x / y) : x % y;
    });
  }
  const isFloat = type === FLOAT8 || type === FLOAT4;
  return strict(type, [left, right], ([a, b]) => {
    const [x, y] = [a as number, b as number];
    let result: number;
    if (operator === '+') result = x + y;
    else if (operator === '-') result = x - y;
    else if (operator === '*') result = x * y;
    else {
      if (y === 0) throw new PostgresError('22012', 'division by zero');
      if (operator === '%') result = x % y;
      else result = isFloat ? x / y : Math.trunc(x / y);
    }
    if (!isFloat) return ranged(type, result);
    return type === FLOAT4 ? Math.fround(result) : result;
  });
}

export function negate(expression: Expression): Expression {
  const { type } = expression;
  if (!isNumber(type) && type !== INTERVAL) throw noOperator('-', undefined, type);
  return strict(type, [expression], ([value]) => {
    if (value instanceof Numeric) return new Numeric(-value.units, value.scale);
    if (value instanceof Interval) return new Interval(-value.months, -value.days, -value.micros);
    return -(value as number);
  });
}
