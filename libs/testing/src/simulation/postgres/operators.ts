import { addInterval, DAY, Interval } from './date-time.ts';
import {
  arithmetic,
  cast,
  noOperator,
  strict,
  typeOf,
  unify,
  union,
  type Expression,
  type ParameterTypes,
} from './expression.ts';
import { memberOf } from './json-values.ts';
import { contains, formatJson, jsonText, parseJson, type Json } from './json.ts';
import { unsupported } from './postgres-error.ts';
import {
  arrayOf,
  BOOL,
  DATE,
  FLOAT8,
  INT4,
  INTERVAL,
  isNumber,
  JSON_TYPE,
  JSONB,
  TEXT,
  TIMESTAMP,
  TIMESTAMPTZ,
  UNKNOWN,
  type Row,
  type SqlType,
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
