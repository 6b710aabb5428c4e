import { PostgresError } from './postgres-error.ts';

/** A NUMERIC: `units` / 10^`scale`. */
export class Numeric {
  readonly units: bigint;
  readonly scale: number;

  constructor(units: bigint, scale: number) {
    this.units = units;
    this.scale = scale;
  }

  static parse(text: string): Numeric {
    const match = /^\s*([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d+))?\s*$/.exec(text);
    const digits = `${match?.[2] ?? ''}${match?.[3] ?? ''}`;
    if (match === null || digits === '') {
      throw new PostgresError('22P02', `invalid input syntax for type numeric: "${text}"`);
    }
    const exponent = Number(match[4] ?? 0);
    let scale = (match[3] ?? '').length - exponent;
    let units = BigInt(digits);
    if (scale < 0) {
      units *= 10n ** BigInt(-scale);
      scale = 0;
    }
    return new Numeric(match[1] === '-' ? -units : units, scale);
  }

  static of(value: bigint | number): Numeric {
    return typeof value === 'bigint' || Number.isSafeInteger(value)
      ? new Numeric(BigInt(value), 0)
      : Numeric.parse(String(value));
  }

  toString(): string {
    if (this.scale === 0) return this.units.toString();
    const negative = this.units < 0n;
    const digits = (negative ? -this.units : this.units).toString().padStart(this.scale + 1, '0');
    return `${negative ? '-' : ''}${digits.slice(0, -this.scale)}.${digits.slice(-this.scale)}`;
  }

  toNumber(): number {
    return this.scale === 0 ? Number(this.units) : Number(this.toString());
  }

  /** Rounds half away from zero. */
  toScale(scale: number): Numeric {
    if (scale === this.scale) return this;
    if (scale > this.scale) return new Numeric(this.units * 10n ** BigInt(scale - this.scale), scale);
    const divisor = 10n ** BigInt(this.scale - scale);
    const half = divisor / 2n;
    return new Numeric((this.units + (this.units < 0n ? -half : half)) / divisor, scale);
  }

  plus(other: Numeric): Numeric {
    const scale = Math.max(this.scale, other.scale);
    return new Numeric(this.toScale(scale).units + other.toScale(scale).units, scale);
  }

  minus(other: Numeric): Numeric {
    return this.plus(new Numeric(-other.units, other.scale));
  }

  times(other: Numeric): Numeric {
    return new Numeric(this.units * other.units, this.scale + other.scale);
  }

  /** With at least 16 significant digits, as Postgres chooses the scale of a quotient. */
  dividedBy(other: Numeric): Numeric {
    if (other.units === 0n) throw new PostgresError('22012', 'division by zero');
    const [weight, first] = leading(this);
    const [otherWeight, otherFirst] = leading(other);
    const quotientWeight = weight - otherWeight - (first <= otherFirst ? 1 : 0);
    const scale = Math.min(1000, Math.max(16 - quotientWeight * 4, this.scale, other.scale, 0));
    const up = 10n ** BigInt(scale + other.scale + 1);
    return new Numeric((this.units * up) / (other.units * 10n ** BigInt(this.scale)), scale + 1).toScale(
      scale,
    );
  }

  remainder(other: Numeric): Numeric {
    if (other.units === 0n) throw new PostgresError('22012', 'division by zero');
    const scale = Math.max(this.scale, other.scale);
    return new Numeric(this.toScale(scale).units % other.toScale(scale).units, scale);
  }

  compare(other: Numeric): number {
    const scale = Math.max(this.scale, other.scale);
    const a = this.toScale(scale).units;
    const b = other.toScale(scale).units;
    return a < b ? -1 : a > b ? 1 : 0;
  }

  /** Equal for equal numbers, whatever their scale. */
  get key(): string {
    const text = this.toString();
    return this.scale === 0 ? text : text.replace(/\.?0+$/, '');
  }
}

/** Postgres keeps groups of four decimal digits: the weight of the first group that is not zero, and the group. */
function leading({ units, scale }: Numeric): [number, number] {
  if (units === 0n) return [0, 0];
  const padded = (4 - (scale % 4)) % 4;
  const digits = (units < 0n ? -units : units).toString() + '0'.repeat(padded);
  const groups = Math.ceil(digits.length / 4);
  const first = Number(digits.slice(0, digits.length - (groups - 1) * 4));
  return [groups - 1 - (scale + padded) / 4, first];
}
